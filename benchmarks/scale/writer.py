"""Somebody who writes while others search: inserts, updates and deletes at a steady rate."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import psycopg

from benchmarks.scale.people import CITIES, UTTERANCES, gallery
from benchmarks.scale.voices import Rows, Voices, voices
from voxprint.types import vector_text

#: Rows a second, and what is done to them.
RATE = 200
SHARES = {"insert": 0.5, "update": 0.25, "delete": 0.25}


@dataclass
class Written:
    """What the writer has done so far.

    Attributes:
        minutes: count of each kind, by minute.
        behind: seconds that the writer was late at the end; 0 where it kept its rate.
    """

    minutes: list[dict[str, int]]
    behind: float = 0.0


@contextmanager
def writing(conninfo: str, size: int, voices_name: str) -> Iterator[Written]:
    """Write from a process of its own while the context lasts; what was done is there after it."""
    # spawned, for a forked child would share our connections
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_write, args=(conninfo, size, voices_name, theirs)
    )
    process.start()
    ours.recv()  # it has its people and its connection
    written = Written([])
    try:
        yield written
    finally:
        ours.send("enough")
        done: Written = ours.recv()
        written.minutes, written.behind = done.minutes, done.behind
        process.join()


class _Writer:
    """Knows which rows are there, and whose they are."""

    def __init__(self, db: psycopg.Connection, size: int, known: Voices) -> None:
        self._db = db
        self._random = np.random.default_rng(77)
        people = gallery(size, known)
        self._voices, self._identity = known, people.identity
        self._ids = list(range(1, size + 1))
        self._person = {row: (row - 1) // UTTERANCES for row in self._ids}
        self._next = size + 1

    def insert(self) -> None:
        row, person = self._next, int(self._random.integers(len(self._identity)))
        self._next += 1
        self._db.execute(
            "INSERT INTO people (id, feature, city) VALUES (%s, %s, %s)",
            [row, self._said(person), int(self._random.integers(CITIES))],
        )
        self._ids.append(row)
        self._person[row] = person

    def update(self) -> None:
        row = self._ids[self._random.integers(len(self._ids))]
        said = self._said(self._person[row])
        self._db.execute("UPDATE people SET feature = %s WHERE id = %s", [said, row])

    def delete(self) -> None:
        at = int(self._random.integers(len(self._ids)))
        self._ids[at], self._ids[-1] = self._ids[-1], self._ids[at]
        row = self._ids.pop()
        del self._person[row]
        self._db.execute("DELETE FROM people WHERE id = %s", [row])

    def some(self) -> str:
        """One of the three, as often as its share; its name."""
        kind = str(self._random.choice(list(SHARES), p=list(SHARES.values())))
        {"insert": self.insert, "update": self.update, "delete": self.delete}[kind]()
        return kind

    def _said(self, person: int) -> str:
        utterance: Rows = self._voices.speak(self._random, self._identity[[person]])
        return vector_text(utterance[0])


def _write(conninfo: str, size: int, voices_name: str, told: Connection) -> None:
    """Each row is a transaction of its own; one that comes late is not left out."""
    with psycopg.connect(conninfo, autocommit=True) as db:
        writer = _Writer(db, size, voices(voices_name))
        counts: list[Counter[str]] = []
        told.send("ready")
        started, done, late = time.perf_counter(), 0, 0.0
        while not told.poll():
            late = time.perf_counter() - started - done / RATE
            if late < 0:
                time.sleep(-late)
            minute = int((time.perf_counter() - started) // 60)
            counts += [Counter() for _ in range(minute + 1 - len(counts))]
            counts[minute][writer.some()] += 1
            done += 1
    told.send(Written([dict(count) for count in counts], max(0.0, late)))
