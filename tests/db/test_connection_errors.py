"""Errors of a connection: ours, with a hint, and without secrets."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from voxprint.db.connection import Database, connect, retried
from voxprint.db.server import Server
from voxprint.errors import (
    SQLSTATES,
    DatabaseError,
    ExtensionVersionError,
    FailureToAcquire,
    UsageError,
)


@pytest.fixture
def gallery(conninfo: str) -> Iterator[Database]:
    database = Database(conninfo)
    yield database
    database.close()


def raising(state: str, using: str = "") -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'what came' USING ERRCODE = '{state}' {using}; END $$"


def test_rows_come_as_dictionaries(gallery: Database) -> None:
    assert gallery.row("SELECT %s::int AS one, 'x' AS two", [1]) == {"one": 1, "two": "x"}
    assert gallery.rows("SELECT n FROM generate_series(1, %(n)s) n", {"n": 2}) == [
        {"n": 1},
        {"n": 2},
    ]
    with pytest.raises(DatabaseError, match=r"one row was expected .*, 2 came"):
        gallery.row("SELECT generate_series(1, 2)")


@pytest.mark.parametrize("state", sorted(SQLSTATES))
def test_an_sqlstate_of_ours_is_a_class_of_ours(gallery: Database, state: str) -> None:
    with pytest.raises(SQLSTATES[state], match="what came") as caught:
        gallery.rows(raising(state, ", HINT = 'what to do'"))
    assert type(caught.value) is SQLSTATES[state]
    assert caught.value.hint == "what to do"


def test_the_reason_of_a_failure_to_acquire_survives(gallery: Database) -> None:
    with pytest.raises(FailureToAcquire) as caught:
        gallery.rows(raising("VX013", ", DETAIL = 'reason=too_short'"))
    assert caught.value.reason == "too_short"


def test_any_other_error_is_a_galleryerror(gallery: Database) -> None:
    with pytest.raises(DatabaseError, match="division by zero"):
        gallery.row("SELECT 1 / 0")
    with gallery.connection() as connection:
        assert connection.autocommit
    with (
        pytest.raises(DatabaseError, match="does not exist"),
        gallery.connection() as connection,
    ):
        connection.execute("SELECT * FROM nothing")


@pytest.mark.parametrize(
    ("conninfo", "match"),
    [
        ("host=/nowhere user=x", "No such file"),
        ("postgresql://x:topsecret@127.0.0.1:1/x", "Connection refused"),
    ],
)
def test_an_unreachable_server(conninfo: str, match: str) -> None:
    with pytest.raises(DatabaseError, match=match) as caught:
        Database(conninfo).check_version()
    assert "host and port" in caught.value.hint
    assert "topsecret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    "conninfo",
    [
        "postgresql://x:topsecret@host@127.0.0.1/x",
        "postgresql://x:top/secret@127.0.0.1:topsecret/x",
        "host=127.0.0.1 topsecret",
        "host=127.0.0.1 pasword=topsecret",
    ],
)
def test_an_unreadable_string_is_not_repeated(conninfo: str) -> None:
    with pytest.raises(UsageError) as caught:
        Database(conninfo)
    assert "secret" not in str(caught.value) + caught.value.hint


def test_a_wrong_password(server: Server, as_role: Callable[..., psycopg.Connection]) -> None:
    name = as_role().info.user
    with pytest.raises(DatabaseError, match="password authentication failed") as caught:
        connect(server.conninfo(user=name, password="topsecret"))
    assert "user and password" in caught.value.hint
    assert "topsecret" not in str(caught.value)


def test_a_gallerywithout_the_extension(server: Server, gallery: Database) -> None:
    gallery.check_version()
    with pytest.raises(ExtensionVersionError, match="none is there") as caught:
        Database(server.conninfo("postgres")).check_version()
    assert "voxprint install" in caught.value.hint


def test_a_transaction_that_lost_runs_again(gallery: Database, conninfo: str) -> None:
    """Eight threads raise one number; SERIALIZABLE lets one at a time through."""
    with psycopg.connect(conninfo, autocommit=True) as setup:
        setup.execute("CREATE TABLE counter AS SELECT 0 AS n")
    losses: list[int] = []

    def add() -> None:
        with psycopg.connect(conninfo) as connection:
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE

            def run() -> None:
                losses.append(1)
                with connection.transaction():
                    connection.execute("SELECT n, pg_sleep(0.02) FROM counter")
                    connection.execute("UPDATE counter SET n = n + 1")

            retried(run)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gallery.row("SELECT n FROM public.counter") == {"n": 8}
    assert len(losses) > 8


def test_a_statement_that_keeps_losing_is_an_error(gallery: Database) -> None:
    with pytest.raises(DatabaseError, match="what came"):
        gallery.rows(raising("40001"))


def test_a_restart_of_the_server_is_survived(data: Path) -> None:
    with Server(data, settings={"fsync": "off"}) as server:
        database = Database(server.conninfo())
        pid = database.row("SELECT pg_backend_pid() AS pid")["pid"]
        with pytest.raises(DatabaseError):
            database.row("SELECT pg_terminate_backend(pg_backend_pid())")
        assert database.row("SELECT pg_backend_pid() AS pid")["pid"] != pid
        postmaster = (server.data / "postgres/postmaster.pid").read_text().split()[0]
        os.kill(int(postmaster), signal.SIGKILL)
        with Server(data, settings={"fsync": "off"}):
            assert database.row("SELECT 1 AS one") == {"one": 1}
        database.close()
