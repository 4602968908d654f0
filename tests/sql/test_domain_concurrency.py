"""Many clients at once: voiceprints stay the mean of their utterances, recordings unique."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest
from domain_gallery import array, call, enroll, text, unit, utterances, voices
from psycopg import errors as pg

CLIENTS = 16
PEOPLE = 10
VOICES = voices(PEOPLE)


def at_once(conninfo: str, work: Callable[[int, psycopg.Connection], object]) -> list[object]:
    """Run ``work(client, connection)`` in 16 sessions that start together."""
    start = threading.Barrier(CLIENTS)

    def client(number: int) -> object:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            start.wait()
            return work(number, connection)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(client, range(CLIENTS)))


def until_done(run: Callable[[], object]) -> object:
    """As the API does: whoever loses against another transaction tries again."""
    while True:
        try:
            return run()
        except (pg.SerializationFailure, pg.DeadlockDetected):
            continue


def assert_voiceprints_are_means(db: psycopg.Connection) -> None:
    spoken: dict[tuple, list[np.ndarray]] = {}
    for *key, vector in db.execute(
        "SELECT speaker_id, model, channel, embedding::text FROM voxprint.utterances"
    ):
        spoken.setdefault(tuple(key), []).append(array(vector))
    prints = {
        tuple(key): array(vector)
        for *key, vector in db.execute(
            "SELECT speaker_id, model, channel, embedding::text FROM voxprint.voiceprints"
        )
    }
    assert prints.keys() == spoken.keys()
    for key, vectors in spoken.items():
        mean = unit(np.mean(np.array(vectors, dtype=np.float64), axis=0))
        assert np.abs(prints[key] - mean).max() < 1e-6


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("per_transaction", [1, 4])
def test_sixteen_clients_enrol_the_same_people(conninfo, db, level, per_transaction):
    spoken = [utterances(voice, CLIENTS, seed=i) for i, voice in enumerate(VOICES)]

    def work(number: int, connection: psycopg.Connection) -> None:
        connection.execute(f"SET default_transaction_isolation = '{level.lower()}'")
        people = list(range(PEOPLE))
        random.Random(number).shuffle(people)
        for first in range(0, PEOPLE, per_transaction):

            def transaction(batch: list[int]) -> None:
                with connection.transaction():
                    for person in batch:
                        enroll(connection, f"p{person}", spoken[person][number])

            batch = sorted(people[first : first + per_transaction])  # else they deadlock, as any
            until_done(lambda batch=batch: transaction(batch))

    at_once(conninfo, work)
    rows = call(db, "SELECT utterances FROM voxprint.list_speakers()")
    assert [row["utterances"] for row in rows] == [CLIENTS] * PEOPLE
    assert_voiceprints_are_means(db)


def test_statements_over_many_people_cannot_deadlock(conninfo, db):
    for i, voice in enumerate(VOICES):
        enroll(db, f"p{i}", voice)
    insert = (
        "INSERT INTO voxprint.utterances (speaker_id, model, embedding, sha256)"
        " SELECT s.speaker_id, 'campplus_zh_en_192', g.v::public.vector,"
        "   sha256(convert_to(g.v || s.external_id, 'UTF8'))"
        " FROM unnest(%s::text[], %s::text[]) g (name, v)"
        " JOIN voxprint.speakers s ON s.external_id = g.name"
    )

    def work(number: int, connection: psycopg.Connection) -> None:
        people = list(range(PEOPLE))
        random.Random(number).shuffle(people)
        vectors = [text(utterances(VOICES[i], 1, seed=number)[0]) for i in people]
        connection.execute(insert, [[f"p{i}" for i in people], vectors])

    at_once(conninfo, work)
    assert_voiceprints_are_means(db)


@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE"])
def test_one_recording_enrolled_by_all_is_added_once(conninfo, db, level):
    recording = hashlib.sha256(b"one").digest()

    def work(number: int, connection: psycopg.Connection) -> object:
        connection.execute(f"SET default_transaction_isolation = '{level.lower()}'")
        return until_done(lambda: enroll(connection, "ann", VOICES[0], sha256=recording)["added"])

    assert sorted(at_once(conninfo, work)) == [False] * (CLIENTS - 1) + [True]
    assert_voiceprints_are_means(db)


@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE"])
def test_one_recording_under_many_names_goes_to_one_of_them(conninfo, db, level):
    recording = hashlib.sha256(b"one").digest()

    def work(number: int, connection: psycopg.Connection) -> object:
        connection.execute(f"SET default_transaction_isolation = '{level.lower()}'")
        try:
            until_done(lambda: enroll(connection, f"p{number}", VOICES[0], sha256=recording))
        except psycopg.Error as error:
            return error.sqlstate
        return "added"

    outcomes = at_once(conninfo, work)
    assert sorted(outcomes) == ["VX005"] * (CLIENTS - 1) + ["added"]
    rows = call(db, "SELECT speaker FROM voxprint.list_speakers()")
    assert [row["speaker"] for row in rows] == [f"p{outcomes.index('added')}"]


def test_enrolling_and_forgetting_one_person_at_once(conninfo, db):
    db.execute("SELECT voxprint.create_group('staff')")

    def work(number: int, connection: psycopg.Connection) -> object:
        said = []
        for turn in range(8):
            try:
                if number % 4 == 0:
                    connection.execute("SELECT voxprint.forget('ann')")
                elif number % 4 == 1:
                    connection.execute("SELECT voxprint.join_group('ann', 'staff')")
                else:
                    vector = utterances(VOICES[0], 1, seed=100 * number + turn)[0]
                    enroll(connection, "ann", vector, groups=["staff"])
            except psycopg.Error as error:
                said.append(error.sqlstate)
        return said

    outcomes = at_once(conninfo, work)
    assert {code for said in outcomes for code in said} <= {"VX001"}
    assert all(outcomes[number] == [] for number in range(CLIENTS) if number % 4 > 1)
    assert_voiceprints_are_means(db)


@pytest.mark.parametrize(
    "meanwhile",
    [
        "DELETE FROM voxprint.utterances",
        "DELETE FROM voxprint.utterances WHERE utterance_id = 1",
        "UPDATE voxprint.utterances SET channel = 'telephone'",
    ],
)
def test_a_stale_snapshot_cannot_leave_a_stale_voiceprint(conninfo, db, meanwhile):
    for vector in VOICES[:2]:
        enroll(db, "ann", vector)
    with psycopg.connect(conninfo) as late:
        late.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        late.execute("SELECT count(*) FROM voxprint.utterances")
        db.execute(meanwhile)
        with pytest.raises(pg.SerializationFailure):
            enroll(late, "ann", VOICES[2])
    assert_voiceprints_are_means(db)


def test_voiceprints_follow_changes_by_the_owner(db):
    for name, vector in zip(("ann", "ann", "bob"), VOICES, strict=False):
        enroll(db, name, vector)
    db.execute(
        "UPDATE voxprint.utterances u SET speaker_id = b.speaker_id FROM voxprint.speakers b"
        " WHERE b.external_id = 'bob' AND u.utterance_id = (SELECT min(utterance_id)"
        " FROM voxprint.utterances)"
    )
    assert_voiceprints_are_means(db)
    db.execute("DELETE FROM voxprint.utterances")
    assert db.execute("SELECT count(*) FROM voxprint.voiceprints").fetchone() == (0,)
    rows = call(db, "SELECT speaker, utterances FROM voxprint.list_speakers()")
    assert rows == [{"speaker": "ann", "utterances": 0}, {"speaker": "bob", "utterances": 0}]
