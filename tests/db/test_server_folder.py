"""Data folders that cannot be used: each says what is wrong and what to do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxprint.db import keeper
from voxprint.db.account import server_account
from voxprint.db.locks import FileLock
from voxprint.db.server import Server
from voxprint.db.tree import server_tree
from voxprint.errors import ServerStartError

FAST = {"fsync": "off"}

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: two accounts take part")
user_only = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.fixture
def cluster(data: Path) -> Path:
    return data / "postgres"


@pytest.fixture
def foreign(cluster: Path, open_folder: Path) -> Iterator[int]:
    """A server that somebody started on our cluster by hand; its process id."""
    account = server_account()
    sockets = open_folder / "s"
    account.make_folder(sockets)
    command = [str(server_tree(account).bin / "postgres"), "-D", str(cluster), "-k", str(sockets)]
    server = subprocess.Popen(
        [*command, "-c", "listen_addresses="],
        cwd="/",
        env={"LC_ALL": "C"},
        stderr=subprocess.PIPE,
        **account.run_as,
    )
    assert server.stderr
    while b"ready to accept connections" not in server.stderr.readline():
        assert server.poll() is None
    yield server.pid
    server.terminate()
    server.communicate()


def refused(data: Path, match: str) -> ServerStartError:
    with pytest.raises(ServerStartError, match=match) as caught:
        Server(data, settings=FAST).join_or_start()
    assert caught.value.hint
    assert not Server(data).running
    return caught.value


def test_a_foreign_server_on_our_cluster(cluster: Path, foreign: int) -> None:
    refused(cluster.parent, f"in use by a PostgreSQL server that voxprint.*{foreign}")
    assert (cluster / "postmaster.pid").read_text().split()[0] == str(foreign)


def test_a_data_folder_of_another_postgresql(cluster: Path) -> None:
    before = sorted(path.name for path in cluster.iterdir())
    refused(cluster, "that voxprint did not make")
    assert sorted(path.name for path in cluster.iterdir()) == before


@pytest.mark.parametrize("major", ["17", "19"])
def test_the_data_of_another_postgresql_version(cluster: Path, major: str) -> None:
    version = cluster / "PG_VERSION"
    real = version.read_text()
    version.write_text(f"{major}\n")
    try:
        error = refused(cluster.parent, rf"PostgreSQL {major}, and this is PostgreSQL \d+\.\d+")
        assert major in error.hint
    finally:
        version.write_text(real)


def test_a_file_is_no_folder(open_folder: Path) -> None:
    (open_folder / "data").write_text("mine")
    with pytest.raises(ServerStartError, match="should be a folder"):
        Server(open_folder / "data").join_or_start()
    assert (open_folder / "data").read_text() == "mine"


def test_a_server_that_cannot_start_says_why(data: Path) -> None:
    with pytest.raises(ServerStartError, match="shared_buffers"):
        Server(data, settings={"shared_buffers": "tiny"}).join_or_start()


def test_a_taken_port_is_named(data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerStartError, match=r'bind.*"127.0.0.1".*already in use'):
            Server(data, port=port, settings=FAST).join_or_start()


def test_a_running_server_gets_no_second_port(data: Path) -> None:
    with Server(data, settings=FAST) as running:
        with pytest.raises(ServerStartError, match="without TCP port 54998"):
            Server(data, port=54998).join_or_start()
        assert running.running


@root_only
def test_a_cluster_of_another_account(cluster: Path) -> None:
    owner = cluster.stat()
    os.chown(cluster, 12345, 12345)
    try:
        refused(cluster.parent, "belongs to user id 12345")
    finally:
        os.chown(cluster, owner.st_uid, owner.st_gid)


@root_only
def test_a_folder_of_another_account(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir(mode=0o755)
    os.chown(data, 12345, 12345)
    refused(data, "should be yours alone: .* belongs to user id 12345")
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_a_folder_that_others_may_write_to(open_folder: Path, mode: int) -> None:
    data = open_folder / "data"
    data.mkdir()
    data.chmod(mode)
    refused(data, rf"others may write to .* \(mode {mode:04o}\)")
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("name", ["start.lock", "users.lock"])
def test_a_lock_that_is_never_given_back_is_named(
    data: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxprint.db.server.STALLED", 0.3)
    lock = FileLock(data / name)
    lock.acquire()
    try:
        refused(data, f"another process has held .*{name} for")
    finally:
        lock.release()


@root_only
@pytest.mark.parametrize(
    ("name", "starts"),
    [("log", False), ("log/start.log", True), ("postgres/pg_ident.conf.new", False)],
)
def test_links_of_the_server_s_account_lead_root_nowhere(
    data: Path, open_folder: Path, name: str, starts: bool
) -> None:
    """The account decodes foreign audio; what it puts into its folders must not tempt root."""
    target = open_folder / "of root"
    target.mkdir(mode=0o755)
    (target / "file").write_text("untouched")
    path = data / name
    kept = path.rename(data / "kept") if path.exists() else None
    path.symlink_to(target if name == "log" else target / "file")
    try:
        if starts:
            with Server(data, settings=FAST):
                pass
        else:
            refused(data, "Permission denied")
        assert [path.name for path in target.iterdir()] == ["file"]
        assert (target / "file").read_text() == "untouched"
        assert target.stat().st_uid == (target / "file").stat().st_uid == 0
    finally:
        path.unlink(missing_ok=True)
        if kept is not None:
            kept.rename(path)


@root_only
def test_tidying_up_is_done_with_the_account_s_rights(open_folder: Path) -> None:
    """The folder's name comes out of a file that the account writes."""
    folder = open_folder / "of root"
    (folder / "worker").mkdir(parents=True)
    for path in (folder / "a.lock", folder / ".s.PGSQL.5432", folder / "worker" / "b.lock"):
        path.write_text("untouched")
    account = server_account()
    order = {"runtime": str(folder), "account": [account.uid, account.gid]}
    subprocess.run([sys.executable, "-I", "-S", keeper.__file__, json.dumps(order)], check=True)
    assert len(list(folder.rglob("*"))) == 4


@root_only
def test_a_folder_that_the_account_cannot_enter(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    error = refused(home / "data", "the account 'voxprint'.* cannot enter")
    assert "/var/lib/voxprint" in error.hint
    assert home.stat().st_mode & 0o777 == 0o700


@user_only
def test_a_folder_that_we_may_not_write_to(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir(mode=0o500)
    refused(data, "Permission denied")
