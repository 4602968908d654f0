"""Calls to the worker as dblink makes them: through libpq, with the registered password."""

from __future__ import annotations

import json
import os
import pwd
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil
import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.pq import DiagnosticField
from worker_client import (
    MODEL,
    Calls,
    Kin,
    named,
    run,
    status,
    vector,
    voice,
    wait_for,
)

from voxprint.encoder.embedder import Encoder
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.worker.supervisor import Worker


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder()


def get(connection: psycopg.Connection, audio: bytes) -> tuple[str, ...] | None:
    return connection.execute(f"GET {MODEL} mix {sha256(audio).hexdigest()}".encode()).fetchone()


def refusal(connection: psycopg.Connection, command: str | bytes) -> errors.Diagnostic:
    text = command.encode() if isinstance(command, str) else command
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(text)
    assert connection.execute("PING").fetchone() == ("pong",)
    return caught.value.diag


def test_the_answer_is_the_encoder_s(calls: Calls, encoder: Encoder) -> None:
    audio = voice(1, 2.37)
    answer, expected = run(calls(), audio), encoder.embed_file(audio)
    assert np.abs(vector(answer) - expected.vector).max() < 1e-6
    assert answer["model"] == expected.model == DEFAULT_MODEL.name
    assert answer["spec_hash"] == DEFAULT_MODEL.hash
    assert float(answer["seconds"]) == expected.seconds
    assert float(answer["speech_seconds"]) == expected.speech_seconds
    assert (answer["sample_rate"], answer["channels"]) == ("16000", "1")
    assert answer["sha256"] == sha256(audio).hexdigest()
    assert json.loads(answer["quality"]) == expected.quality


def test_small_talk(calls: Calls) -> None:
    connection = calls()
    assert connection.execute("PING").fetchall() == [("pong",)]
    models = connection.execute("MODELS").fetchall()
    facts = (MODEL, "192", DEFAULT_MODEL.hash, str(DEFAULT_MODEL.threshold))
    assert models == [facts]
    assert connection.execute("SET client_encoding TO 'UTF8'").statusmessage == "SET"
    assert connection.execute("SHOW client_encoding").fetchone() == ("UTF8",)
    assert connection.execute(";").description is None
    assert refusal(connection, "SELECT 1").sqlstate == "42601"
    assert refusal(connection, "RUN").sqlstate == "42601"


def test_the_extended_protocol_is_refused_and_the_session_goes_on(calls: Calls) -> None:
    connection = calls()
    with pytest.raises(errors.FeatureNotSupported):
        connection.execute("PING", prepare=True, binary=True)
    assert connection.execute("PING").fetchone() == ("pong",)


def test_only_the_registered_password_lets_in(worker: Worker, login: str) -> None:
    for change in ({"password": "wrong"}, {"user": "postgres"}, {"user": "nobody"}):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(make_conninfo(login, **change))
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        psycopg.connect(make_conninfo(login, channel_binding="require"))


@pytest.mark.parametrize(
    "options", [{"max_protocol_version": "3.2"}, {"sslmode": "prefer"}, {"gssencmode": "prefer"}]
)
def test_newer_clients_settle_for_what_there_is(login: str, options: dict[str, str]) -> None:
    if psycopg.pq.version() < 180000:
        options.pop("max_protocol_version", None)
    with psycopg.connect(make_conninfo(login, **options), autocommit=True) as connection:
        assert connection.execute("PING").fetchone() == ("pong",)


@pytest.mark.parametrize(
    ("audio", "sqlstate", "detail"),
    [
        (b"", "VX012", None),
        (b"no audio at all" * 100, "VX012", None),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "VX012", None),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "VX012", None),
        (voice(2, 1.0)[:9000], "VX012", None),
        (voice(2, 0.2), "VX013", "too_short"),
        (voice(2, 1.0)[:44] + bytes(32000), "VX013", "silent"),
        (b"OggS" + bytes(3000), "VX012", None),
        (b"fLaC" + b"\xff" * 3000, "VX012", None),
        (b"\xff\xfb\x90\x64" * 900, "VX012", None),
        (b"RIFF\xff\xff\xff\xffWAVEfmt " + b"\xff" * 500, "VX012", None),
        (b"\0\0\0\x20ftypM4A " + b"\x7f" * 2000, "VX012", None),
    ],
)
def test_bad_audio_is_refused_and_nobody_dies(
    calls: Calls, kin: Kin, audio: bytes, sqlstate: str, detail: str | None
) -> None:
    before = {process.pid for process in kin.compute}
    diagnosis = refusal(calls(), b"RUN %b mix %b" % (MODEL.encode(), audio.hex().encode()))
    assert (diagnosis.sqlstate, diagnosis.message_detail) == (sqlstate, detail)
    assert {process.pid for process in kin.compute} == before


@pytest.mark.parametrize(
    ("command", "sqlstate"),
    [
        (f"RUN {MODEL} mix 12x4", "VX006"),
        (f"RUN {MODEL} mix 123", "VX006"),
        (f"RUN {MODEL} mix " + "0g" * 200_000, "VX006"),
        (f"RUN {MODEL} mix " + "00" * 200_000 + "0", "VX006"),
        (f"GET {MODEL} mix 1234", "VX006"),
        (f"GET {MODEL} mix " + "zz" * 32, "VX006"),
        (f"RUN {MODEL} 7 {voice(3).hex()}", "VX012"),
        (f"RUN other_model mix {voice(3).hex()}", "VX004"),
        (f"FILE {MODEL} mix {b'a.wav'.hex()}", "VX006"),
        ("x" * 1_000_000, "42601"),
        ("RUN", "42601"),
    ],
)
def test_malformed_calls_are_refused(calls: Calls, command: str, sqlstate: str) -> None:
    assert refusal(calls(), command).sqlstate == sqlstate


def test_an_answer_can_be_had_again_for_a_moment_and_then_nothing_is_left(calls: Calls) -> None:
    connection, audio = calls(), voice(4)
    assert get(connection, audio) is None
    answer = run(connection, audio)
    assert get(connection, audio) == tuple(answer.values())
    assert run(connection, audio) == answer
    wait_for(lambda: status(connection)["remembered"] == 0)
    assert get(connection, audio) is None
    assert status(connection)["bytes"] == 0


def test_equal_calls_are_computed_once(calls: Calls, kin: Kin) -> None:
    audio, watcher = voice(5), calls()
    kin.stop_compute()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(run, calls(), audio)
        wait_for(lambda: status(watcher)["running"] == 1)
        others = [pool.submit(run, calls(), audio) for _ in range(3)]
        asked = pool.submit(get, calls(), audio)
        wait_for(lambda: status(watcher)["bytes"] == 4 * len(audio))
        assert status(watcher)["running"] == 1
        assert status(watcher)["waiting"] == 0
        kin.resume_compute()
        answers = [future.result() for future in [first, *others]]
        assert asked.result() == tuple(answers[0].values())
    assert all(answer == answers[0] for answer in answers)


def test_channels_and_models_have_answers_of_their_own(calls: Calls) -> None:
    connection, audio = calls(), voice(6)
    mixed = run(connection, audio)
    digest = sha256(audio).hexdigest()
    assert connection.execute(f"GET {MODEL} 0 {digest}".encode()).fetchone() is None
    assert np.abs(vector(run(connection, audio, "0")) - vector(mixed)).max() < 1e-6


def test_eight_sessions_share_the_cores(calls: Calls, kin: Kin) -> None:
    rounds, sessions = 4, 8
    done = [0] * sessions
    at_first_finish: list[int] = []
    lock = threading.Lock()
    before = {process.pid: sum(process.cpu_times()[:2]) for process in kin.compute}
    connections = [calls() for _ in range(sessions)]

    def one(session: int) -> None:
        for turn in range(rounds):
            run(connections[session], voice(1000 + 10 * session + turn, 3.0))
            with lock:
                done[session] += 1
                if done[session] == rounds and not at_first_finish:
                    at_first_finish.extend(done)

    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(one, range(sessions)))
    assert done == [rounds] * sessions
    assert min(at_first_finish) >= rounds - 2  # first come, first served: none is left behind
    for process in kin.compute:
        assert sum(process.cpu_times()[:2]) > before[process.pid]


def test_32_mib_are_accepted_and_one_byte_more_is_refused(calls: Calls, kin: Kin) -> None:
    limit = 32 * 1024 * 1024
    bare = len(voice(7))
    largest = voice(7, padding=limit - bare - 8)
    assert len(largest) == limit
    connection = calls()
    before = kin.front.memory_info().rss
    answer = run(connection, largest)
    assert np.abs(vector(answer) - vector(run(connection, voice(7)))).max() < 1e-6
    diagnosis = refusal(
        connection, b"RUN %b mix %b" % (MODEL.encode(), (largest + b"\0").hex().encode())
    )
    assert diagnosis.sqlstate == "VX014"
    assert str(limit) in (diagnosis.message_primary or "")
    assert str(limit + 1) in (diagnosis.message_primary or "")
    far_more = b"RUN %b mix " % MODEL.encode() + b"00" * (limit + limit // 2)
    # Waiting for the socket inside libpq: psycopg's own way moves the rest for every piece sent.
    refused = connection.pgconn.exec_(far_more)
    assert refused.error_field(DiagnosticField.SQLSTATE) == b"VX014"
    assert kin.front.memory_info().rss - before < 3 * limit


def proc(process: psutil.Process, name: str) -> str:
    return Path(f"/proc/{process.pid}/{name}").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_front_and_compute_have_no_rights(worker: Worker, kin: Kin) -> None:
    account = worker_account()
    for process in [kin.front, *kin.compute]:
        lines = proc(process, "status").splitlines()
        facts = {name: value.split() for name, value in (line.split(":", 1) for line in lines)}
        assert facts["Uid"] == [str(account)] * 4
        assert account != 0
        assert facts["NoNewPrivs"] == ["1"]
        assert int(facts["CapPrm"][0], 16) == 0
        limits = proc(process, "limits")
        assert re.search(r"Max core file size +0 +0 ", limits)
    for process in kin.compute:
        limits = proc(process, "limits")
        assert re.search(r"Max file size +0 +0 ", limits)
        assert re.search(r"Max open files +64 +64 ", limits)
        space = re.search(r"Max address space +(\d+) +(\d+) ", limits)
        assert space is not None
        assert int(space[1]) == int(space[2]) < 5 << 30


def worker_account() -> int:
    return pwd.getpwnam("voxprint").pw_uid if os.geteuid() == 0 else os.geteuid()


def test_the_front_does_not_show_its_password(worker: Worker, login: str, kin: Kin) -> None:
    password = psycopg.conninfo.conninfo_to_dict(login)["password"]
    for process in [psutil.Process(worker.pid), kin.front, *kin.compute]:
        assert password not in " ".join(process.cmdline())


def test_named_columns(calls: Calls) -> None:
    cursor = calls().execute(f"RUN {MODEL} mix {voice(8).hex()}".encode())
    assert list(named(cursor)) == [
        *("embedding", "model", "spec_hash", "seconds", "speech_seconds"),
        *("sample_rate", "channels", "sha256", "quality"),
    ]
