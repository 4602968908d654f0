"""Starting, joining and leaving the embedded server."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from voxprint.db.server import Server
from voxprint.errors import ServerStartError

FAST = {"fsync": "off"}

#: Joins or starts, says which, and stays until its standard input ends.
USER = """
import sys
from voxprint.db.server import Server
server = Server(sys.argv[1], settings={"fsync": "off"})
print("joined" if server.join_or_start() else "started", flush=True)
sys.stdin.read()
server.stop()
"""


def user_process(data: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def postmaster_of(server: Server) -> psutil.Process:
    return psutil.Process(int((server.data / "postgres/postmaster.pid").read_text().split()[0]))


def keeper_of(server: Server) -> int:
    parent = postmaster_of(server).parent()
    assert parent
    return parent.pid


def processes_of(data: Path) -> list[psutil.Process]:
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if str(data) in " ".join(process.info["cmdline"] or [])]


def test_a_folder_with_spaces_serves_and_keeps_its_rows(open_folder: Path) -> None:
    data = open_folder / "voice prints, ünïcode" / "data"
    with Server(data, settings=FAST) as server, psycopg.connect(server.conninfo()) as db:
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        db.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with Server(data, settings=FAST) as server, psycopg.connect(server.conninfo()) as db:
        assert db.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_database_has_what_voxprint_needs(server: Server, db: psycopg.Connection) -> None:
    names = {name for (name,) in db.execute("SELECT extname FROM pg_extension")}
    assert names >= {"vector", "dblink", "open_analytic", "fastann", "voxprint"}
    encoding = db.execute("SELECT current_setting('server_encoding')").fetchone()
    assert encoding == ("UTF8",)
    assert db.execute("SELECT current_setting('data_checksums')").fetchone() == ("on",)
    assert db.execute("SELECT upper('é')").fetchone() == ("É",)


def test_stopping_leaves_nothing_behind(data: Path) -> None:
    server = Server(data, settings=FAST)
    server.start()
    sockets = server.worker_dir.parent
    assert server.running
    assert sockets.is_dir()
    server.stop()
    assert not server.running
    assert not sockets.exists()
    assert processes_of(data) == []
    server.stop()  # again is nothing


def test_starting_where_a_server_runs_is_an_error(data: Path) -> None:
    with Server(data, settings=FAST) as first:
        second = Server(first.data)
        with pytest.raises(ServerStartError, match=r"runs on .* already"):
            second.start()
        assert first.running


def test_the_last_user_stops_the_server(data: Path) -> None:
    first, second = (Server(data, settings=FAST) for _ in range(2))
    assert not first.join_or_start()
    assert second.join_or_start()
    assert second.conninfo() == first.conninfo()
    first.stop()
    assert second.running
    with psycopg.connect(second.conninfo()) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)
    second.stop()
    assert not second.running


def test_two_processes_at_once_share_one_server(open_folder: Path) -> None:
    with user_process(open_folder / "data") as one, user_process(open_folder / "data") as two:
        assert one.stdout
        assert two.stdout
        said = sorted([one.stdout.readline().strip(), two.stdout.readline().strip()])
        assert said == ["joined", "started"]
        one.communicate()
        assert Server(open_folder / "data").running
        two.communicate()
    assert not Server(open_folder / "data").running


def test_a_killed_owner_leaves_no_server(data: Path) -> None:
    with user_process(data) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "started\n"
        owner.kill()
    assert eventually(lambda: not Server(data).running)
    assert eventually(lambda: processes_of(data) == [])


def test_a_killed_owner_takes_the_server_from_nobody(data: Path) -> None:
    with user_process(data) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "started\n"
        with Server(data) as joined:
            owner.kill()
            owner.wait()
            time.sleep(0.5)  # the keeper would act at once
            with psycopg.connect(joined.conninfo()) as db:
                assert db.execute("SELECT 1").fetchone() == (1,)
    assert not joined.running


def test_interrupting_the_terminal_does_not_reach_the_server(data: Path) -> None:
    with Server(data, settings=FAST) as server:
        assert os.getsid(keeper_of(server)) != os.getsid(0)


def test_a_server_without_keeper_stops_all_the_same(data: Path) -> None:
    with Server(data, settings=FAST) as server:
        sockets = server.worker_dir.parent
        os.kill(keeper_of(server), signal.SIGKILL)
    assert not server.running
    assert not sockets.exists()
    assert processes_of(data) == []


def test_no_folder_of_others_changes(open_folder: Path) -> None:
    outer = open_folder / "outer"
    given = outer / "given"
    given.mkdir(parents=True)
    outer.chmod(0o751)
    given.chmod(0o755)
    before = [(path.stat().st_mode, path.stat().st_uid) for path in (open_folder, outer, given)]
    with Server(given, settings=FAST) as server:
        assert stat.S_IMODE((given / "postgres").stat().st_mode) == 0o700
        assert stat.S_IMODE(server.worker_dir.parent.stat().st_mode) == 0o700
    after = [(path.stat().st_mode, path.stat().st_uid) for path in (open_folder, outer, given)]
    assert after == before


def test_settings_of_the_caller_and_of_the_user_hold(data: Path) -> None:
    with (
        Server(data, settings={**FAST, "work_mem": "7MB"}) as server,
        psycopg.connect(server.conninfo(), autocommit=True) as db,
    ):
        assert db.execute("SHOW work_mem").fetchone() == ("7MB",)
        assert db.execute("SHOW wal_recycle").fetchone() == ("off",)
        db.execute("ALTER SYSTEM SET maintenance_work_mem = '65MB'")
    with Server(data, settings=FAST) as server, psycopg.connect(server.conninfo()) as db:
        assert db.execute("SHOW maintenance_work_mem").fetchone() == ("65MB",)


def test_a_deep_data_folder_has_a_socket_all_the_same(data: Path) -> None:
    deep = data.parent / ("deep" * 30) / ("deeper" * 20)
    deep.parent.mkdir()
    data.rename(deep)
    try:
        with Server(deep, settings=FAST) as server, psycopg.connect(server.conninfo()) as db:
            assert db.execute("SELECT 1").fetchone() == (1,)
    finally:
        deep.rename(data)


def test_what_statements_carry_stays_out_of_the_log(data: Path) -> None:
    said = []
    with (
        Server(data, settings=FAST) as server,
        psycopg.connect(server.conninfo(), autocommit=True) as db,
    ):
        db.add_notice_handler(lambda notice: said.append(notice.message_primary))
        db.execute("DO $$ BEGIN RAISE WARNING 'secret-warning'; END $$")
        for statement, parameters in (
            ("SELECT 'secret-literal'::int", None),
            ("SELECT %s::text::int", ["secret-parameter"]),
            ("SELECT '[0.25,secret]'::vector", None),
        ):
            with pytest.raises(psycopg.Error) as caught:
                db.execute(statement, parameters)
            said.append(str(caught.value))
    assert sum("secret" in words for words in said) == 4
    logs = [path.read_text() for path in (data / "log").iterdir()]
    assert any("ready to accept connections" in log for log in logs)
    assert not any("secret" in log for log in logs)
