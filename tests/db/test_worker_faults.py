"""Processes that die or freeze, clients that go away."""

from __future__ import annotations

import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import psycopg
import pytest
from psycopg import errors
from worker_client import MODEL, Calls, Kin, run, status, vector, voice, wait_for

from voxprint.worker.supervisor import Worker


def busy(calls: Calls, pool: ThreadPoolExecutor, audio: bytes) -> Future[dict[str, str]]:
    """A call that a (frozen) compute process has taken."""
    watcher = calls()
    before = status(watcher)["running"]
    answer = pool.submit(run, calls(), audio)
    wait_for(lambda: status(watcher)["running"] == before + 1)
    return answer


def test_the_job_of_a_killed_compute_process_is_taken_up_again(calls: Calls, kin: Kin) -> None:
    audio = voice(20, 30.0)
    before = kin.compute
    with ThreadPoolExecutor() as pool:
        answer = busy(calls, pool, audio)
        for process in before:
            process.kill()
        assert not answer.done()
        expected = vector(run(calls(), audio, "0"))
        assert np.abs(vector(answer.result()) - expected).max() < 1e-6
    assert not {process.pid for process in before} & {process.pid for process in kin.compute}


def test_the_death_of_idle_processes_is_no_attempt(calls: Calls, kin: Kin) -> None:
    frozen = kin.stop_compute()
    with ThreadPoolExecutor() as pool:
        answer = busy(calls, pool, voice(24))
        for process in frozen:
            process.kill()
        assert answer.result()["model"]


def test_a_job_that_kills_twice_is_given_up(calls: Calls, kin: Kin) -> None:
    audio, watcher = voice(21, 120.0), calls()
    with ThreadPoolExecutor() as pool:
        answer = busy(calls, pool, audio)
        while not answer.done():
            if status(watcher)["running"]:
                time.sleep(0.2)
                for process in kin.compute:
                    process.kill()
        with pytest.raises(psycopg.Error, match="twice") as caught:
            answer.result()
    assert caught.value.sqlstate == "VX010"
    assert run(calls(), voice(22))["model"]


def test_a_client_that_hangs_up_drops_its_job(calls: Calls, kin: Kin) -> None:
    watcher = calls()
    frozen = {process.pid for process in kin.stop_compute()}
    clients = [calls() for _ in range(len(frozen) + 2)]
    for number, client in enumerate(clients):
        client.pgconn.send_query(query(voice(30 + number)))
    wait_for(lambda: status(watcher)["waiting"] == 2)
    for client in clients[::-1]:  # those that wait, then those under way
        client.close()
    wait_for(lambda: status(watcher)["waiting"] == 0)
    wait_for(lambda: status(watcher)["bytes"] == 0)
    wait_for(lambda: status(watcher)["running"] == 0)  # the frozen processes have been ended
    for number in range(len(clients)):
        digest = sha256(voice(30 + number)).hexdigest()
        assert watcher.execute(f"GET {MODEL} mix {digest}".encode()).fetchone() is None
    assert not frozen & {process.pid for process in kin.compute}


def query(audio: bytes) -> bytes:
    return b"RUN campplus_zh_en_192 mix " + audio.hex().encode()


def test_a_job_goes_on_for_those_who_still_wait(calls: Calls, kin: Kin) -> None:
    audio, watcher, leaver = voice(40), calls(), calls()
    kin.stop_compute()
    leaver.pgconn.send_query(query(audio))
    wait_for(lambda: status(watcher)["running"] == 1)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(run, calls(), audio)
        wait_for(lambda: status(watcher)["bytes"] == 2 * len(audio))
        leaver.close()
        wait_for(lambda: status(watcher)["bytes"] == len(audio))
        kin.resume_compute()
        assert answer.result()["model"]


def test_cancel_answers_at_once_and_drops_the_job(calls: Calls, kin: Kin) -> None:
    watcher, client = calls(), calls()
    kin.stop_compute()
    client.pgconn.send_query(query(voice(41)))
    wait_for(lambda: status(watcher)["running"] == 1)
    client.pgconn.get_cancel().cancel()
    result = client.pgconn.get_result()
    assert result is not None
    assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
    assert status(watcher)["bytes"] == 0
    assert client.pgconn.get_result() is None
    assert client.execute("PING").fetchone() == ("pong",)


def test_a_killed_front_is_an_error_at_once_and_comes_back(calls: Calls, kin: Kin) -> None:
    before = kin.front
    compute = {process.pid for process in kin.stop_compute()}
    with ThreadPoolExecutor() as pool:
        answer = busy(calls, pool, voice(42))
        before.kill()
        with pytest.raises(psycopg.OperationalError):
            answer.result(timeout=5)
    kin.resume_compute()
    assert run(calls(), voice(43))["model"]
    assert kin.front.pid != before.pid
    assert {process.pid for process in kin.compute} == compute  # ready networks are kept


def test_a_stopped_front_is_replaced(calls: Calls, kin: Kin) -> None:
    before = kin.front
    before.send_signal(signal.SIGSTOP)
    connection = calls()  # waits in the listener's backlog for the next front
    assert run(connection, voice(44))["model"]
    assert kin.front.pid != before.pid


def test_an_idle_compute_process_is_replaced(calls: Calls, kin: Kin) -> None:
    victim = kin.compute[0]
    victim.kill()
    wait_for(lambda: victim.pid not in {process.pid for process in kin.compute})
    assert run(calls(), voice(45))["model"]


def test_no_zombies(worker: Worker, kin: Kin, calls: Calls) -> None:
    for process in kin.compute:
        process.kill()
    watcher = calls()
    wait_for(lambda: status(watcher)["idle"] > 0)
    time.sleep(0.1)
    assert worker.pid is not None
    children = kin.all()
    assert all(child.status() != "zombie" for child in children)
    assert len(children) == 1 + len(kin.compute)


def test_cancel_needs_the_session_s_secret(calls: Calls, kin: Kin) -> None:
    watcher, client = calls(), calls()
    kin.stop_compute()
    client.pgconn.send_query(query(voice(46)))
    wait_for(lambda: status(watcher)["running"] == 1)
    kin.false_cancel(client.pgconn.backend_pid)
    assert status(watcher)["running"] == 1
    kin.resume_compute()
    result = client.pgconn.get_result()
    assert result is not None
    assert result.status == psycopg.pq.ExecStatus.TUPLES_OK
    assert client.pgconn.get_result() is None


def test_queries_after_an_error_work(calls: Calls) -> None:
    connection = calls()
    with pytest.raises(errors.SyntaxError):
        connection.execute("SELECT 1")
    assert run(connection, voice(47))["model"]
