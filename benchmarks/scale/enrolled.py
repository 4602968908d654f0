"""A gallery of many people in voxprint's own tables, put there in bulk.

One by one a million enrolments take a day, most of it in triggers that keep voiceprints up to
date. Here the superuser writes what they would have made: a person, and a voiceprint of one
utterance. The utterances themselves are left out, since nothing that identifies reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import psycopg

from benchmarks.scale.build import build_memory_mb, watched
from benchmarks.scale.bulk import copy_in
from benchmarks.scale.people import Ints
from benchmarks.scale.stage import Stage, database, short
from benchmarks.scale.voices import Rows, Voices
from voxprint.db.server import Server
from voxprint.encoder.spec import DEFAULT_MODEL

GROUP = "tenth"
#: m of the index of a model.
_M = 24
#: Above, the index is left out: no graph finds 0.999 of so many, so identify compares everybody
#: with it as without, and building it takes half an hour.
_INDEXED_UP_TO = 100_000


@dataclass(frozen=True, eq=False)
class Enrolled:
    """Who is enrolled; row i is the person i + 1.

    Attributes:
        identity: who they are, shape (n, DIM).
        voiceprint: one unit embedding of each.
        members: rows of those in the group :data:`GROUP`, a tenth of all.
    """

    identity: Rows
    voiceprint: Rows
    members: Ints


def enrolled(size: int, voices: Voices) -> Enrolled:
    """The same people every time."""
    random = np.random.default_rng(size + 1)
    identity = voices.people(random, size)
    members = np.sort(random.permutation(size)[: size // 10])
    return Enrolled(identity, voices.speak(random, identity), members)


def name_of(row: int) -> str:
    return f"person {row + 1:08d}"


def row_of(name: str) -> int:
    return int(name.split()[1]) - 1


def prepared(stage: Stage, server: Server, people: Enrolled) -> str:
    """Connection string of the database ``identify_N``."""
    name = f"identify_{short(len(people.identity))}"
    return database(server, name, partial(_fill, stage, people))


def _fill(stage: Stage, people: Enrolled, conninfo: str) -> None:
    size = len(people.identity)
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute("SET session_replication_role = replica")  # no triggers, no foreign keys
        db.execute(f"SET maintenance_work_mem = '{build_memory_mb(size, _M)}MB'".encode())
        graphs = db.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'voxprint'"
            " AND tablename = 'voiceprints' AND indexdef ~ ' USING (hnsw|ann) '"
        ).fetchall()
        for index, _ in graphs:
            db.execute(f'DROP INDEX voxprint."{index}"'.encode())
        with watched(db, f"enrolling {short(size)}", size) as seen:
            _copy(db, people)
        stage.raw.put("identify", short(size), "enrol", record=seen.record())
        with watched(db, "index of the model", size) as seen:
            for index, definition in graphs if size <= _INDEXED_UP_TO else []:
                db.execute(definition.encode())
                no_samples = f'ALTER INDEX voxprint."{index}" ALTER COLUMN 1 SET STATISTICS 0'
                db.execute(no_samples.encode())
        stage.raw.put("identify", short(size), "index", record=seen.record())
        for table in ("speakers", "voiceprints", "memberships", "groups"):
            db.execute(f"VACUUM (ANALYZE, FREEZE) voxprint.{table}".encode())
        with watched(db, "voxprint.tune", size) as seen:
            db.execute("SELECT * FROM voxprint.tune()")
        stage.raw.put("identify", short(size), "tune", record=seen.record())


def _copy(db: psycopg.Connection, people: Enrolled) -> None:
    size = len(people.identity)
    ids = np.arange(1, size + 1, dtype=np.int64)
    names = np.array([name_of(row) for row in range(size)], dtype=np.bytes_)
    copy_in(db, "voxprint.speakers", {"speaker_id": ids, "external_id": names})
    copy_in(
        db,
        "voxprint.voiceprints",
        {
            "speaker_id": ids,
            "model": np.full(size, DEFAULT_MODEL.name.encode()),
            "channel": np.full(size, b"any"),
            "embedding": people.voiceprint,
            "utterances": np.full(size, 1, dtype=np.int32),
            "ready": np.full(size, True),
        },
    )
    made = "INSERT INTO voxprint.groups (name) VALUES (%s) RETURNING group_id"
    row = db.execute(made, [GROUP]).fetchone()
    group = np.full(len(people.members), row[0] if row else 0, dtype=np.int64)
    member = ids[people.members]
    copy_in(db, "voxprint.memberships", {"speaker_id": member, "group_id": group})
    db.execute("SELECT setval('voxprint.speakers_speaker_id_seq', %s)", [size])
