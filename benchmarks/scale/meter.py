"""What a question costs the server, and what it takes to build something: Linux's own books."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.timing import median, p95


@dataclass(frozen=True)
class Answer:
    """Rows, and what they took.

    Attributes:
        rows: as they came.
        wall_ms: from sending the question to having the rows, planning included.
        cpu_ms: of the backend alone: another process on this machine does not change it.
    """

    rows: Sequence[tuple[Any, ...]]
    wall_ms: float
    cpu_ms: float


class Session:
    """One session whose backend's processor time is read around every question.

    Parallel workers are off: their time would be in nobody's book.
    """

    def __init__(self, conninfo: str) -> None:
        # No prepared statements: their generic plans would not know the vector.
        self.db = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
        self.db.execute("SET max_parallel_workers_per_gather = 0")
        self._book = Path(f"/proc/{self.db.info.backend_pid}/schedstat")

    def ask(self, query: str, given: Mapping[str, object] | None = None) -> Answer:
        before, started = self._cpu_ns(), time.perf_counter()
        rows = self.db.execute(query.encode(), given).fetchall()
        wall = time.perf_counter() - started
        return Answer(rows, 1000 * wall, (self._cpu_ns() - before) / 1e6)

    def set(self, settings: Mapping[str, str]) -> None:
        """Settings of this session, all in one round trip."""
        calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
        flat = [word for pair in settings.items() for word in pair]
        if flat:
            self.db.execute(f"SELECT {calls}".encode(), flat)

    def _cpu_ns(self) -> int:
        return int(self._book.read_text().split()[0])


@contextmanager
def session(conninfo: str) -> Iterator[Session]:
    """A session that ends with the context."""
    opened = Session(conninfo)
    try:
        yield opened
    finally:
        opened.db.close()


def spent(answers: Sequence[Answer]) -> dict[str, float]:
    """p50 and p95 of both clocks, in ms."""
    wall, cpu = [a.wall_ms for a in answers], [a.cpu_ms for a in answers]
    found = {"wall": median(wall), "wall95": p95(wall), "cpu": median(cpu), "cpu95": p95(cpu)}
    return {name: round(value, 3) for name, value in found.items()}
