"""Workers that start, join, end and leave nothing; and those with limits of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from worker_client import MODEL, Kin, login_of, named, run, status, voice, wait_for

from voxprint.db.locks import is_locked
from voxprint.db.server import Server
from voxprint.errors import ModelFileError, UsageError, WorkerUnavailable
from voxprint.worker.supervisor import Site, Worker

#: Starts a worker on a running server, says its pid, and stays until it is killed.
STARTER = """
import sys
from voxprint.db.server import Server
from voxprint.worker.supervisor import Worker
server = Server(sys.argv[1])
server.join_or_start()
with Worker(server, processes=1) as worker:
    print(worker.pid, flush=True)
    sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def lone_server(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Server]:
    """A server of its own: its worker is started and killed at will."""
    folder = server.data.parent / "lone"
    with Server(folder, settings={"fsync": "off"}) as running:
        yield running
    shutil.rmtree(folder)


@contextmanager
def connected(server: Server) -> Iterator[psycopg.Connection]:
    with psycopg.connect(login_of(server), autocommit=True, prepare_threshold=None) as connection:
        yield connection


def family(worker: Worker) -> list[psutil.Process]:
    assert worker.pid is not None
    parent = psutil.Process(worker.pid)
    return [parent, *parent.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=0)[1]


def test_a_stopped_worker_leaves_nothing(lone_server: Server) -> None:
    with Worker(lone_server, processes=1) as worker:
        processes = family(worker)
        assert len(processes) == 3
        assert worker.running
        assert worker.address.socket_path.exists()
    assert all_gone(processes)
    assert not worker.running
    assert worker.pid is None
    assert not worker.address.socket_path.exists()
    assert not any(is_locked(path) for path in lone_server.worker_dir.iterdir())


def test_a_second_worker_joins_the_first(lone_server: Server) -> None:
    with Worker(lone_server, processes=1) as first:
        with Worker(lone_server) as second:
            assert second.joined
            assert second.running
            assert second.pid is None
        assert first.running
        with connected(lone_server) as connection:
            assert connection.execute("PING").fetchone() == ("pong",)
        second.start()
        first.stop()
        assert not second.running
        second.stop()


def test_a_killed_parent_takes_its_children_along(lone_server: Server) -> None:
    with Worker(lone_server, processes=1) as worker:
        parent, *children = family(worker)
        children[0].send_signal(signal.SIGSTOP)  # even one that cannot notice
        parent.kill()
        wait_for(lambda: all_gone(children))
        assert not worker.running
    with Worker(lone_server, processes=1), connected(lone_server) as connection:
        assert connection.execute("PING").fetchone() == ("pong",)


def test_a_worker_ends_with_whoever_started_it(lone_server: Server) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(lone_server.data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with starter:
        assert starter.stdout is not None
        parent = psutil.Process(int(starter.stdout.readline()))
        processes = [parent, *parent.children()]
        starter.kill()
        wait_for(lambda: all_gone(processes))


def test_a_worker_stops_on_sigterm(lone_server: Server) -> None:
    with Worker(lone_server, processes=1) as worker, connected(lone_server) as connection:
        processes = family(worker)
        processes[0].terminate()
        wait_for(lambda: all_gone(processes))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("PING")
        assert not worker.running


def test_weights_that_are_not_there_are_named(lone_server: Server, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nowhere\.pt"):
        Worker(lone_server, weights=tmp_path / "nowhere.pt").start()
    assert not any(is_locked(path) for path in lone_server.worker_dir.iterdir())


def test_an_address_in_use_is_named(lone_server: Server) -> None:
    with Worker.for_dsn(lone_server.conninfo(), processes=1) as first:
        assert first.address.host == "127.0.0.1"
        with connected(lone_server) as connection:
            assert run(connection, voice(60))["model"]
        with pytest.raises(WorkerUnavailable, match=rf"127\.0\.0\.1:{first.address.port}"):
            Worker.for_dsn(lone_server.conninfo(), port=first.address.port).start()


def test_other_addresses_need_a_certificate(lone_server: Server) -> None:
    with pytest.raises(UsageError, match="certificate"):
        Worker.for_dsn(lone_server.conninfo(), host="192.0.2.1")
    with pytest.raises(UsageError, match="reach"):
        Worker.for_dsn("host=db.example.org user=postgres")
    with pytest.raises(UsageError, match="reach"):
        Worker.for_dsn(lone_server.conninfo(), host="0.0.0.0")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_root_s_worker_needs_an_account(lone_server: Server) -> None:
    with pytest.raises(UsageError, match="account"):
        Worker(Site(lone_server.conninfo(), Worker(lone_server).address))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another account")
def test_root_s_worker_makes_its_socket_with_the_account_s_rights(
    lone_server: Server, open_folder: Path
) -> None:
    """The folder belongs to the account, which may put a link in its place."""
    target = open_folder / "of root"
    target.mkdir(mode=0o755)
    (target / ".s.PGSQL.5432").write_text("untouched")
    folder = lone_server.worker_dir
    kept = folder.rename(folder.with_name("kept"))
    folder.symlink_to(target)
    try:
        with pytest.raises(WorkerUnavailable, match=r"cannot listen on .*Permission denied"):
            Worker(lone_server, processes=1).start()
        assert [path.name for path in target.iterdir()] == [".s.PGSQL.5432"]
        assert (target / ".s.PGSQL.5432").read_text() == "untouched"
    finally:
        folder.unlink()
        kept.rename(folder)


# limits


@pytest.fixture(scope="module")
def media(server: Server) -> Iterator[Path]:
    folder = server.data.parent / "media"
    (folder / "inner" / "deep").mkdir(parents=True)
    (folder / "inner" / "deep" / "Stimme ü.wav").write_bytes(voice(70))
    (folder / "large.wav").write_bytes(voice(71, padding=1_000_000))
    (folder / "link.wav").symlink_to(folder / "inner" / "deep" / "Stimme ü.wav")
    (folder / "way").symlink_to(folder / "inner")
    (folder / "secret.wav").write_bytes(voice(72))
    (folder / "secret.wav").chmod(0)
    os.mkfifo(folder / "pipe.wav")
    (server.data.parent / "outside.wav").write_bytes(voice(73))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def limited(lone_server: Server, media: Path) -> Iterator[Worker]:
    with Worker(
        lone_server,
        processes=1,
        media=media,
        max_bytes=500_000,
        max_seconds=5.0,
        job_seconds=3.0,
    ) as worker:
        yield worker


def file(connection: psycopg.Connection, path: str) -> psycopg.Cursor:
    return connection.execute(f"FILE {MODEL} mix {path.encode().hex()}".encode())


def test_files_below_the_media_folder_are_read(lone_server: Server, limited: Worker) -> None:
    with connected(lone_server) as connection:
        by_name = named(file(connection, "inner/deep/Stimme ü.wav"))
        assert by_name == run(connection, voice(70))
        assert named(file(connection, "./inner//deep/Stimme ü.wav")) == by_name


@pytest.mark.parametrize(
    ("path", "sqlstate", "words"),
    [
        ("../outside.wav", "VX006", "relative path"),
        ("inner/../../outside.wav", "VX006", "relative path"),
        ("/etc/passwd", "VX006", "relative path"),
        (".", "VX006", "relative path"),
        ("inner", "VX006", "regular file"),
        ("pipe.wav", "VX006", "regular file"),
        ("link.wav", "VX006", "can read"),
        ("way/deep/Stimme ü.wav", "VX006", "can read"),
        ("nowhere.wav", "VX006", "No such file"),
        ("inner/deep/Stimme ü.wav/x", "VX006", "can read"),
        ("large.wav", "VX014", "500000"),
        ("a\0b", "VX006", "relative path"),
        ("x" * 300, "VX006", "can read"),
        ("https://example.org/a.wav", "VX006", "address"),
        ("secret.wav", "VX006", "Permission denied"),
    ],
)
def test_other_paths_are_refused(
    lone_server: Server, limited: Worker, path: str, sqlstate: str, words: str
) -> None:
    with connected(lone_server) as connection:
        with pytest.raises(psycopg.Error, match=words) as caught:
            file(connection, path)
        assert caught.value.sqlstate == sqlstate


def test_paths_in_no_known_letters_are_refused(lone_server: Server, limited: Worker) -> None:
    with connected(lone_server) as connection, pytest.raises(psycopg.Error, match="UTF-8"):
        connection.execute(f"FILE {MODEL} mix ff".encode())


def test_limits_can_be_set(lone_server: Server, limited: Worker) -> None:
    with connected(lone_server) as connection:
        for audio in (voice(74, padding=500_000), voice(75, 5.5)):
            with pytest.raises(psycopg.Error) as caught:
                run(connection, audio)
            assert caught.value.sqlstate == "VX014"


def test_a_job_that_takes_too_long_is_ended(lone_server: Server, limited: Worker) -> None:
    kin = Kin(limited)
    with connected(lone_server) as connection:
        wait_for(lambda: status(connection)["idle"] == 1)
        (frozen,) = kin.stop_compute()
        with pytest.raises(psycopg.Error, match="longer than 3 s") as caught:
            run(connection, voice(76))
        assert caught.value.sqlstate == "VX011"
        wait_for(lambda: status(connection)["idle"] == 1)
        assert frozen.pid not in {process.pid for process in kin.compute}
        assert run(connection, voice(77))["model"]
