"""Crashes, limits and many at once, through the doors that people use."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psycopg
import pytest
from worker_client import Calls, Kin, status, voice, wait_for

import voxprint
from voxprint.db.server import Server
from voxprint.errors import ServerStartError, SpeakerNotFound, VoxprintError
from voxprint.types import vector_text

MODEL = "campplus_zh_en_192"
RUN = "SELECT open_analytic.pipeline_run_dist_random('p', %s::bytea)::text"
LIMIT = 32 << 20


def utterance(number: int) -> voxprint.Embedding:
    vector = np.random.default_rng(number).standard_normal(192).astype(np.float32)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return voxprint.Embedding(vector / np.linalg.norm(vector), MODEL, 2.0, 1.5, 16000, digest)


def vector_of(text: str) -> np.ndarray:
    return np.array(text.strip("[]").split(","), dtype=np.float64)


def assert_voiceprints_are_means(gallery: voxprint.Voxprint) -> None:
    with gallery.connection() as db:
        spoken = db.execute("SELECT speaker_id, embedding::text FROM voxprint.utterances")
        vectors: dict[int, list[np.ndarray]] = {}
        for speaker, text in spoken:
            vectors.setdefault(speaker, []).append(vector_of(text))
        prints = db.execute("SELECT speaker_id, embedding::text FROM voxprint.voiceprints")
        found = {speaker: vector_of(text) for speaker, text in prints}
    assert found.keys() == vectors.keys()
    for speaker, each in vectors.items():
        mean = np.mean(each, axis=0)
        assert np.abs(found[speaker] - mean / np.linalg.norm(mean)).max() < 1e-6


def test_killing_postgres_loses_no_committed_enrolment(data: Path) -> None:
    committed: list[tuple[str, int]] = []
    enough = threading.Event()
    enroll = "SELECT speaker, utterance_id FROM voxprint.enroll(%s, %s::vector)"

    def work(conninfo: str, client: int) -> None:
        with psycopg.connect(conninfo, autocommit=True) as db:
            for number in itertools.count(client, 4):
                vector = vector_text(utterance(number).vector)
                committed.extend(db.execute(enroll, [f"person {number % 10}", vector]).fetchall())
                if len(committed) > 100:
                    enough.set()

    with Server(data) as server:  # with fsync, as a user has it
        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(work, server.conninfo(), client) for client in range(4)]
            enough.wait(60)
            os.kill(int((data / "postgres/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        for client in clients:
            assert isinstance(client.exception(), psycopg.OperationalError)
        with voxprint.open(data) as gallery:
            with gallery.connection() as db:
                rows = db.execute(
                    "SELECT external_id, utterance_id FROM voxprint.utterances"
                    " JOIN voxprint.speakers USING (speaker_id)"
                ).fetchall()
            assert set(committed) <= set(rows)
            assert len(rows) - len(committed) <= 4  # answers that were still on their way
            assert_voiceprints_are_means(gallery)
            assert gallery.identify(utterance(0), k=1)[0].speaker == "person 0"


def test_sixteen_clients_of_the_python_door_enrol_the_same_people(conninfo: str) -> None:
    start = threading.Barrier(16)

    def client(number: int) -> None:
        with voxprint.open(dsn=conninfo) as gallery:
            start.wait()
            for person in np.random.default_rng(number).permutation(6):
                gallery.enroll(f"person {person}", utterance(16 * int(person) + number))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(client, range(16)))
    with voxprint.open(dsn=conninfo) as gallery:
        assert [speaker.utterances for speaker in gallery.speakers()] == [16] * 6
        assert_voiceprints_are_means(gallery)


def test_nothing_of_a_call_remains(
    as_role, db: psycopg.Connection, calls: Calls, kin: Kin, server: Server
) -> None:
    """Neither in the database's files nor in the front, after calls that end in every way."""
    caller, watcher = as_role("voxprint_reader"), calls()
    caller.execute("SELECT open_analytic.pipeline_create('p')")
    answered, failed, cancelled = voice(301), voice(302)[:9000], voice(303, 4.0)
    db.execute("CHECKPOINT")
    before = counts(db)
    caller.execute("SELECT * FROM voxprint.identify(%s::bytea)", [answered])
    (embedding,) = caller.execute(RUN, [answered]).fetchone()
    with pytest.raises(psycopg.Error):
        caller.execute(RUN, [failed])
    kin.stop_compute()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(caller.execute, RUN, [cancelled])
        wait_for(lambda: status(watcher)["running"] == 1)
        caller.cancel()
        with pytest.raises(psycopg.errors.QueryCanceled):
            waiting.result()
    kin.resume_compute()
    wait_for(lambda: status(watcher)["running"] + status(watcher)["waiting"] == 0)
    wait_for(lambda: status(watcher)["bytes"] == 0)
    assert counts(db) == before
    db.execute("CHECKPOINT")
    traces = [part for audio in (answered, failed, cancelled) for part in forms(audio)]
    numbers = vector_of(embedding).astype("<f4").tobytes()
    traces += [embedding[1:100].encode(), numbers[:64]]
    pattern = re.compile(b"|".join(map(re.escape, traces)))
    assert pattern.search(b"..." + cancelled.hex().encode())
    assert found_in(server.data, pattern) == []


def counts(db: psycopg.Connection) -> list[tuple[str, int]]:
    """Rows of every table of ours."""
    tables = db.execute(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname IN ('voxprint', 'open_analytic', 'fastann') AND relkind = 'r' ORDER BY 1"
    ).fetchall()
    return [
        (name, db.execute(f"SELECT count(*) FROM {name}".encode()).fetchone()[0])
        for (name,) in tables
    ]


def forms(audio: bytes) -> list[bytes]:
    part = audio[5000:5048]
    return [part, part.hex().encode()]


def found_in(folder: Path, pattern: re.Pattern[bytes]) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and pattern.search(path.read_bytes()):
                found.append(str(path))
        except FileNotFoundError:  # a log segment or a temporary file that has just gone
            continue
    return found


def test_32_mib_pass_through_sql_and_one_byte_more_does_not(kin: Kin, as_role) -> None:
    caller = as_role()
    caller.execute("SELECT open_analytic.pipeline_create('p')")
    largest = voice(7, padding=LIMIT - len(voice(7)) - 8)
    assert len(largest) == LIMIT
    assert caller.execute(RUN, [psycopg.Binary(largest)]).fetchone()
    with pytest.raises(psycopg.Error, match=f"{LIMIT} bytes.*{LIMIT + 1}") as caught:
        caller.execute(RUN, [largest + b"\0"])
    assert caught.value.sqlstate == "VX014"


@pytest.mark.parametrize("name", ["a\0b", "\udcff", "\ud800"])
def test_names_that_postgresql_cannot_hold_are_errors_of_ours(conninfo: str, name: str) -> None:
    with voxprint.open(dsn=conninfo) as gallery:
        for call in (
            lambda: gallery.enroll(name, utterance(1)),
            lambda: gallery.verify(name, utterance(1)),
            lambda: gallery.enroll("Amy", utterance(1), attributes={"note": name}),
            lambda: gallery.create_group(name),
            lambda: gallery.forget(name),
        ):
            with pytest.raises(VoxprintError) as caught:
                call()
            assert not isinstance(caught.value, SpeakerNotFound)
        assert gallery.speakers() == []


def test_a_data_folder_that_cannot_be_used_is_an_error_of_every_door(
    open_folder: Path, voices: Path
) -> None:
    (open_folder / "PG_VERSION").write_text("18\n")
    with pytest.raises(ServerStartError, match="did not make"):
        voxprint.open(open_folder)
    (open_folder / "file").write_text("mine")
    command = Path(sys.executable).with_name("voxprint")
    for verb, folder in (
        (["up"], open_folder),
        (["enroll", "Amy", str(voices / "Amy/1.wav")], open_folder),
        (["list"], open_folder / "file" / "below"),
        (["sql"], open_folder / "file" / "below"),
    ):
        done = subprocess.run(
            [str(command), *verb, "--data", str(folder)], capture_output=True, text=True
        )
        assert done.returncode == 2, verb
        assert "hint:" in done.stderr
        assert "Traceback" not in done.stderr
        assert "fault of voxprint" not in done.stderr
    assert sorted(path.name for path in open_folder.iterdir()) == ["PG_VERSION", "file"]
