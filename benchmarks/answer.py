"""The answer to "who is this?", end to end: audio in, decision out, all on one core."""

from __future__ import annotations

import numpy as np
import psycopg

from benchmarks.report import Row, say
from benchmarks.site import site
from benchmarks.speech import Speech
from benchmarks.timing import median, one_core, p95, seconds_of
from voxprint.encoder.embedder import Encoder
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.types import vector_text

_PEOPLE = 1000
_SECONDS = (3, 10)
_BAR_MS = 1000.0
_VERIFY_3_S_MS = 150.0
_SCORING_SHARE = 5.0
_CALLS = {
    "verify": "SELECT decision FROM voxprint.verify('person 7', %b)",
    "identify": "SELECT rank, speaker, decision FROM voxprint.identify(%b, k => 5)",
}
#: Everything but the audio: arguments, person, reference, cohort, LLR, decision.
_VERIFY_EMBEDDING = (
    "SELECT * FROM voxprint.verify('person 7', embedding => %s, speech_seconds => 2.5)"
)


def run(*, quick: bool) -> list[Row]:
    """Each kind of call with each length by turns, new audio in every call.

    Server, worker and client share one core where the system can hold them to it.
    """
    speech = Speech(seed=30)
    times: dict[tuple[str, int], list[float]] = {(v, s): [] for s in _SECONDS for v in _CALLS}
    judging: list[float] = []
    embedding: list[float] = []
    encoder = Encoder()
    with one_core() as pinned, site() as running, running.connect() as db:
        say(f"answer: enrolling {_PEOPLE} voiceprints")
        _enroll(db, _PEOPLE)
        for n in range(4 if quick else 61):
            for (verb, seconds), taken in times.items():
                audio = speech.wav(seconds)
                call = seconds_of(_ask, db, _CALLS[verb], audio)
                if n:
                    taken.append(1000 * call)
            samples = speech.samples(_SECONDS[0])
            probe = vector_text(encoder.embed(samples, 16000))
            embed = seconds_of(encoder.embed, samples, 16000)
            judge = seconds_of(_judge, db, probe) - seconds_of(_pass, db, probe)
            if n:
                judging.append(1000 * judge)
                embedding.append(1000 * embed)
    where = "one core" if pinned else "all cores"
    rows = []
    for (verb, seconds), taken in times.items():
        name = f"{verb}, {seconds} s, {_PEOPLE:,} people, {where}"
        half = f"{name}: p50"
        if (verb, seconds) == ("verify", 3):
            rows.append(Row.at_most(half, median(taken), _VERIFY_3_S_MS, "ms", 0))
        else:
            rows.append(Row.fact(half, median(taken), "ms", 0))
        rows.append(Row.at_most(f"{name}: p95", p95(taken), _BAR_MS, "ms", 0))
    share = 100 * median(judging) / median(embedding)
    rows.append(
        Row.fact("scoring (verify from an embedding), 1,000 people: p50", median(judging), "ms", 1)
    )
    rows.append(Row.at_most("the same, of embedding 3 s", share, _SCORING_SHARE, "%", 1))
    return rows


def _judge(db: psycopg.Connection, probe: str) -> None:
    db.execute(_VERIFY_EMBEDDING, [probe]).fetchall()


def _pass(db: psycopg.Connection, probe: str) -> None:
    """There and back, and the text of the embedding read."""
    db.execute("SELECT %s::vector", [probe]).fetchall()


def _ask(db: psycopg.Connection, call: str, audio: bytes) -> None:
    db.execute(call.encode(), [audio]).fetchall()


def _enroll(db: psycopg.Connection, people: int) -> None:
    random = np.random.default_rng(31)
    with db.transaction(), db.cursor() as cursor:
        cursor.executemany(
            "SELECT voxprint.enroll(%s, %s::vector, model => %s)",
            [
                (
                    f"person {n}",
                    vector_text(random.standard_normal(DEFAULT_MODEL.dim)),
                    DEFAULT_MODEL.name,
                )
                for n in range(people)
            ],
        )
    db.execute("ANALYZE")
