"""What a crash leaves behind, and the next start makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from voxprint.db.server import Server

FAST = {"fsync": "off"}


@pytest.fixture
def cluster(data: Path) -> Path:
    return data / "postgres"


@pytest.fixture
def bystander(cluster: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A living process of the server's account that is no server."""
    account = Server(cluster.parent).account
    run_as = {"user": account[0], "group": account[1]} if account else {}
    process = subprocess.Popen(["/bin/sleep", "600"], cwd="/", **run_as)
    yield process
    process.kill()
    process.wait()


def write_pid_file(cluster: Path, pid: int) -> None:
    started = int(time.time())
    lines = [pid, cluster, started, 5432, "/tmp/nowhere", "", "  5432001   32768", "ready   "]
    (cluster / "postmaster.pid").write_text("".join(f"{line}\n" for line in lines))


def assert_starts(cluster: Path) -> None:
    with Server(cluster.parent, settings=FAST) as server, psycopg.connect(server.conninfo()) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)


def test_killing_postgres_loses_no_committed_row(data: Path) -> None:
    with Server(data) as server:  # with fsync, as a user has it
        with psycopg.connect(server.conninfo(), autocommit=True) as db:
            db.execute("CREATE TABLE committed (n int)")
            db.execute("INSERT INTO committed SELECT generate_series(1, 1000)")
        open_transaction = psycopg.connect(server.conninfo())
        open_transaction.execute("INSERT INTO committed SELECT generate_series(1001, 2000)")
        os.kill(int((data / "postgres/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        open_transaction.close()
        with Server(data) as again, psycopg.connect(again.conninfo()) as db:
            count = db.execute("SELECT count(*), sum(n) FROM committed").fetchone()
            assert count == (1000, 500500)


def test_a_stale_pid_file_is_no_server(cluster: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    write_pid_file(cluster, int(gone.stdout))
    assert not Server(cluster.parent).running
    assert_starts(cluster)


def test_a_reused_pid_is_no_server(cluster: Path, bystander: subprocess.Popen[bytes]) -> None:
    write_pid_file(cluster, bystander.pid)
    assert not Server(cluster.parent).running
    assert_starts(cluster)
    assert bystander.poll() is None


def test_a_zombie_is_no_server(cluster: Path, bystander: subprocess.Popen[bytes]) -> None:
    bystander.kill()
    os.waitid(os.P_PID, bystander.pid, os.WEXITED | os.WNOWAIT)  # dead and not reaped
    write_pid_file(cluster, bystander.pid)
    assert not Server(cluster.parent).running
    assert_starts(cluster)


@pytest.mark.parametrize("content", ["", "not a number\n", "\0" * 8192])
def test_a_broken_pid_file_is_no_server(cluster: Path, content: str) -> None:
    (cluster / "postmaster.pid").write_text(content)
    assert not Server(cluster.parent).running
    assert_starts(cluster)


def test_a_socket_that_a_crash_left_is_no_server(
    cluster: Path, bystander: subprocess.Popen[bytes]
) -> None:
    with Server(cluster.parent, settings=FAST) as server:
        sockets = server.worker_dir.parent
    sockets.mkdir(mode=0o700)
    account = server.account
    if account:
        os.chown(sockets, *account)
    (sockets / ".s.PGSQL.5432.lock").write_text(f"{bystander.pid}\n{cluster}\n1\n5432\n{sockets}\n")
    (sockets / ".s.PGSQL.5432").touch()
    assert_starts(cluster)


def test_an_interrupted_first_start_is_begun_anew(open_folder: Path) -> None:
    draft = open_folder / "postgres.new" / "base"
    draft.mkdir(parents=True)
    (draft.parent / "PG_VERSION").write_text("18\n")
    assert_starts(open_folder / "postgres")


def test_a_lost_database_is_made_anew(cluster: Path) -> None:
    """A start may be killed after initdb and before the databases are set up."""
    with (
        Server(cluster.parent, settings=FAST) as server,
        psycopg.connect(server.conninfo("postgres"), autocommit=True) as db,
    ):
        db.execute("DROP DATABASE voxprint")
    assert_starts(cluster)
