"""Faults of the worker as a caller in SQL meets them."""

from __future__ import annotations

import signal
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256

import psycopg
import pytest
from worker_client import MODEL, Calls, Kin, status, voice, wait_for

RUN = "SELECT open_analytic.pipeline_run_dist_random('p', %s::bytea)::text"


@pytest.fixture
def caller(kin: Kin, as_role, db: psycopg.Connection) -> psycopg.Connection:
    connection = as_role()
    db.execute(f"CREATE SCHEMA AUTHORIZATION {connection.info.user}".encode())
    connection.execute("SELECT open_analytic.pipeline_create('p')")
    return connection


def busy(
    caller: psycopg.Connection, calls: Calls, pool: ThreadPoolExecutor, audio: bytes
) -> Future[tuple[str] | None]:
    watcher = calls()
    answer = pool.submit(lambda: caller.execute(RUN, [audio]).fetchone())
    wait_for(lambda: status(watcher)["running"] == 1)
    return answer


def test_a_killed_compute_process_goes_unnoticed(
    caller: psycopg.Connection, calls: Calls, kin: Kin
) -> None:
    frozen = kin.stop_compute()
    with ThreadPoolExecutor() as pool:
        answer = busy(caller, calls, pool, voice(90))
        for process in frozen:
            process.kill()
        row = answer.result()
    assert row is not None
    assert row[0].startswith("[")


def test_a_killed_front_is_an_error_at_once_and_the_session_goes_on(
    caller: psycopg.Connection, calls: Calls, kin: Kin
) -> None:
    kin.stop_compute()
    with ThreadPoolExecutor() as pool:
        answer = busy(caller, calls, pool, voice(91))
        kin.front.kill()
        with pytest.raises(psycopg.Error) as caught:
            answer.result(timeout=5)
    assert caught.value.sqlstate == "VX010"
    kin.resume_compute()
    assert caller.execute(RUN, [voice(91)]).fetchone() is not None


def test_a_stopped_front_costs_no_more_than_the_deadline(
    caller: psycopg.Connection, calls: Calls, kin: Kin
) -> None:
    kin.stop_compute()
    caller.execute("SET open_analytic.timeout = 1500")
    with ThreadPoolExecutor() as pool:
        answer = busy(caller, calls, pool, voice(92))
        stopped = kin.front
        stopped.send_signal(signal.SIGSTOP)
        with pytest.raises(psycopg.Error) as caught:
            answer.result(timeout=5)
    assert caught.value.sqlstate == "VX011"
    kin.resume_compute()
    caller.execute("RESET open_analytic.timeout")
    assert caller.execute(RUN, [voice(92)]).fetchone() is not None
    assert kin.front.pid != stopped.pid


def test_nothing_of_a_call_remains_after_statement_timeout(
    caller: psycopg.Connection, calls: Calls, kin: Kin
) -> None:
    watcher = calls()
    kin.stop_compute()
    caller.execute("SET statement_timeout = 700")
    with pytest.raises(psycopg.errors.QueryCanceled):
        caller.execute(RUN, [voice(93)])
    wait_for(lambda: status(watcher)["bytes"] == 0)
    wait_for(lambda: status(watcher)["running"] == 0)
    again = f"GET {MODEL} mix {sha256(voice(93)).hexdigest()}".encode()
    assert watcher.execute(again).fetchone() is None
