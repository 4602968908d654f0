"""Calls in every kind of transaction, and calls that end early."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from article_voices import recording

RUN = "SELECT open_analytic.pipeline_run_dist_random('p', %s::bytea)::text"
#: Takes a worker far longer than a test waits.
LONG_SECONDS = 240


@pytest.fixture
def caller(worker, db, as_role) -> psycopg.Connection:
    connection = as_role()
    db.execute("GRANT EXECUTE ON FUNCTION public.dblink(text, text) TO open_analytic_owner")
    db.execute("GRANT EXECUTE ON FUNCTION public.dblink_get_connections() TO PUBLIC")
    connection.execute("SELECT open_analytic.pipeline_create('p')")
    return connection


@pytest.fixture(scope="module")
def long_recording() -> bytes:
    return recording(1, seconds=LONG_SECONDS)


def worker_status(db: psycopg.Connection) -> dict[str, int]:
    with db.transaction():
        db.execute("SET LOCAL ROLE open_analytic_owner")
        rows = db.execute(
            "SELECT * FROM dblink('voxprint_worker', 'STATUS') AS s (name text, value int)"
        ).fetchall()
    return dict(rows)


def wait_until_idle(db: psycopg.Connection) -> None:
    for _ in range(200):
        status = worker_status(db)
        if not status["waiting"] and not status["running"]:
            return
        time.sleep(0.05)
    pytest.fail(f"the worker goes on with a job that nobody wants: {status}")


def test_every_isolation_level_read_only_and_forced_parallel(caller):
    expected = caller.execute(RUN, [recording(1)]).fetchone()
    for mode in (
        "READ COMMITTED READ ONLY",
        "REPEATABLE READ",
        "REPEATABLE READ READ ONLY",
        "SERIALIZABLE",
        "SERIALIZABLE READ ONLY DEFERRABLE",
    ):
        caller.execute(f"BEGIN ISOLATION LEVEL {mode}")
        assert caller.execute(RUN, [recording(1)]).fetchone() == expected, mode
        caller.execute("COMMIT")
    caller.execute("SET debug_parallel_query = on")
    caller.execute("SET parallel_setup_cost = 0")
    assert caller.execute(RUN, [recording(1)]).fetchone() == expected


def test_statement_timeout_acts_at_once_and_drops_the_job(caller, db, long_recording):
    caller.execute("SET statement_timeout = 400")
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        caller.execute(RUN, [long_recording])
    assert time.monotonic() - started < 5
    wait_until_idle(db)
    caller.execute("SET statement_timeout = 0")
    assert caller.execute(RUN, [recording(1)]).fetchone()
    assert caller.execute("SELECT public.dblink_get_connections()").fetchone() == (None,)


def test_a_cancel_acts_at_once_and_drops_the_job(caller, db, long_recording):
    timer = threading.Timer(0.4, caller.cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled, match="user request"):
        caller.execute(RUN, [long_recording])
    assert time.monotonic() - started < 5
    timer.join()
    wait_until_idle(db)
    assert caller.execute("SELECT public.dblink_get_connections()").fetchone() == (None,)
    assert caller.execute(RUN, [recording(1)]).fetchone()


def test_ending_the_session_drops_the_job(caller, db, long_recording):
    backend = caller.info.backend_pid
    timer = threading.Timer(0.4, lambda: db.execute("SELECT pg_terminate_backend(%s)", [backend]))
    timer.start()
    with pytest.raises(psycopg.OperationalError):
        caller.execute(RUN, [long_recording])
    timer.join()
    wait_until_idle(db)


def test_our_own_deadline(caller, db, long_recording):
    caller.execute("SET open_analytic.timeout = 300")
    with pytest.raises(psycopg.Error, match="within 300 ms") as caught:
        caller.execute(RUN, [long_recording])
    assert caught.value.sqlstate == "VX011"
    assert "open_analytic.timeout" in caught.value.diag.message_hint
    wait_until_idle(db)
    assert caller.execute("SELECT public.dblink_get_connections()").fetchone() == (None,)


def test_a_deadline_that_is_no_number_is_refused(caller):
    for value in ("0", "-1", "soon", "1e3", "9999999999"):
        caller.execute("SELECT set_config('open_analytic.timeout', %s, false)", [value])
        with pytest.raises(psycopg.Error, match="milliseconds") as caught:
            caller.execute(RUN, [recording(1)])
        assert caught.value.sqlstate == "VX006"
