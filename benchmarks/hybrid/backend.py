"""A session of the server whose answers are timed: by the clock, and by its own processor time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from benchmarks.hybrid.rounds import Answer


class Backend:
    """One connection with settings of its own.

    Statements are planned for every query, as a driver does by default for one it has not seen
    often; processor time is that of the server process alone, from the kernel's scheduler.
    """

    def __init__(self, conninfo: str, settings: Mapping[str, str | int | float]) -> None:
        self.session = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
        for name, value in settings.items():
            self.session.execute("SELECT set_config(%s, %s, false)", [name, str(value)])
        self._schedule = Path(f"/proc/{self.session.info.backend_pid}/schedstat")

    def cpu_ms(self) -> float:
        """Processor time of the server process so far."""
        return int(self._schedule.read_text("ascii").split()[0]) / 1e6

    def ask(self, statement: str, parameters: Mapping[str, object]) -> Answer:
        """Run a statement whose first column is the id."""
        before = self.cpu_ms()
        started = time.perf_counter()
        rows = self.session.execute(statement, parameters).fetchall()
        wall = (time.perf_counter() - started) * 1000
        return Answer([row[0] for row in rows], wall, self.cpu_ms() - before)


def literal(vector: object) -> str:
    """A vector as pgvector reads it, with all digits of its float32 values."""
    return "[" + ",".join(f"{value:.9g}" for value in vector) + "]"  # type: ignore[attr-defined]
