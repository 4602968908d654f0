"""Building an index, watched from another session: time, memory, how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import psycopg

from benchmarks.report import say
from benchmarks.scale.raw import Record

_EVERY = 0.2
_SAID_EVERY = 10.0
#: The graph while it is built: a vector with its neighbours and what pgvector keeps beside them.
#: Measured 1.5 kB at m 16; a graph that does not fit is built ten times as slowly, on disk.
_BYTES_A_NEIGHBOUR = 64
_BYTES_A_ROW = 1_200


@dataclass
class Watched:
    """What was seen of one session while it worked.

    Attributes:
        seconds: of wall time.
        peak_mb: the most memory that it and its parallel workers had at once. Shared pages
            count once (PSS), and with them the buffers that they touched.
        workers: the most parallel workers at once.
        notices: that the server sent.
    """

    seconds: float = 0.0
    peak_mb: float = 0.0
    workers: int = 0
    notices: list[str] = field(default_factory=list)

    def record(self) -> Record:
        return {
            "seconds": round(self.seconds, 2),
            "peak_mb": round(self.peak_mb, 1),
            "workers": self.workers,
            "notices": self.notices,
        }


@contextmanager
def watched(db: psycopg.Connection, name: str, rows: int) -> Iterator[Watched]:
    """Watch what ``db`` does in this context; progress goes to stderr."""
    seen, ended = Watched(), threading.Event()
    handler = lambda notice: seen.notices.append(str(notice.message_primary))  # noqa: E731
    db.add_notice_handler(handler)
    watcher = threading.Thread(target=_watch, args=(db, name, rows, seen, ended), daemon=True)
    watcher.start()
    started = time.perf_counter()
    try:
        yield seen
    finally:
        seen.seconds = time.perf_counter() - started
        ended.set()
        watcher.join()
        db.remove_notice_handler(handler)


def build_memory_mb(rows: int, m: int) -> int:
    """``maintenance_work_mem`` in which the graph of so many rows fits."""
    return max(64, round(rows * (_BYTES_A_ROW + _BYTES_A_NEIGHBOUR * m) / 1e6))


def _watch(
    db: psycopg.Connection, name: str, rows: int, seen: Watched, ended: threading.Event
) -> None:
    pid = db.info.backend_pid
    started = said = time.monotonic()
    with psycopg.connect(db.info.dsn, autocommit=True) as other:
        while not ended.wait(_EVERY):
            leaders = "SELECT pid FROM pg_stat_activity WHERE leader_pid = %s"
            workers = [row[0] for row in other.execute(leaders, [pid]).fetchall()]
            seen.workers = max(seen.workers, len(workers))
            seen.peak_mb = max(seen.peak_mb, sum(map(_memory_mb, [pid, *workers])))
            if time.monotonic() - said > _SAID_EVERY:
                said = time.monotonic()
                say(f"  {name}: {_progress(other, pid, rows)}, {said - started:.0f} s")


def _progress(other: psycopg.Connection, pid: int, rows: int) -> str:
    asked = "SELECT phase, tuples_done FROM pg_stat_progress_create_index WHERE pid = %s"
    found = other.execute(asked, [pid]).fetchone()
    return f"{found[0]}, {100 * found[1] / rows:.0f} % of the rows" if found else "working"


def _memory_mb(pid: int) -> float:
    """Zero where the process has just ended."""
    try:
        return float(psutil.Process(pid).memory_full_info().pss) / 1e6
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
