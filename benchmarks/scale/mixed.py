"""Searching while somebody writes: does the search stay complete, and how long does it take."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import psycopg

from benchmarks.report import say
from benchmarks.scale import load, people, search
from benchmarks.scale.meter import Answer, Session, session, spent
from benchmarks.scale.people import Gallery
from benchmarks.scale.raw import Record
from benchmarks.scale.stage import Stage, database, drop, short
from benchmarks.scale.voices import Rows
from benchmarks.scale.writer import RATE, SHARES, Written, writing
from voxprint.types import vector_text

K = 10
#: Of the sizes asked for, the largest that is not larger is measured.
SIZE = 100_000
#: Distances summed in another order differ by less.
_SAME = 1e-6
_PLANS_EVERY = 20


@dataclass
class Minute:
    """What was found in one minute under one condition."""

    answers: list[Answer] = field(default_factory=list)
    exact: list[Answer] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    short: int = 0
    plans: Counter[str] = field(default_factory=Counter)

    def record(self) -> Record:
        return {
            "queries": len(self.answers),
            "recall": float(np.mean(self.recall)),
            "short": self.short,
            "plans": dict(self.plans),
            "exact_ms": spent(self.exact)["wall"],
            **spent(self.answers),
        }


def run(stage: Stage) -> Iterator[str]:
    """One size, for it takes its time whatever the machine."""
    size = max((n for n in stage.sizes if n <= SIZE), default=min(stage.sizes))
    key = ("mixed", short(size), f"{stage.minutes:g} min")
    found = stage.raw.once(*key, measure=partial(_measure, stage, size))
    yield "### Searching while rows change"
    yield ""
    shares = ", ".join(f"{kind} {100 * share:g} %" for kind, share in SHARES.items())
    yield (
        f"`{stage.command}`. N = {short(size)} at the start, {stage.minutes:g} minutes. One "
        f"session writes {RATE} rows a second ({shares}; a transaction each); autovacuum is on; "
        f"VACUUM runs half-way ({found['vacuum']:.1f} s). Another session searches all the time: "
        f"`fastann.search`, k = {K}, target {search.TARGET:g}, then a scan in the same REPEATABLE "
        "READ snapshot, which the recall is against. Short: answers with fewer rows than the scan "
        "found. Times: wall, ms; processor: of the backend, p50."
    )
    yield ""
    yield (
        "| minute | written | dead rows | condition | queries | recall | short "
        "| p50 | p95 | processor | scan |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for n, minute in enumerate(found["minutes"]):
        written = sum(found["written"][n].values()) if n < len(found["written"]) else 0
        dead = found["dead"][n] if n < len(found["dead"]) else "-"
        for share, at in minute.items():
            yield (
                f"| {n + 1} | {written:,} | {dead} | {search.shown(float(share))} "
                f"| {at['queries']} | {at['recall']:.4f} | {at['short']} | {at['wall']:.1f} "
                f"| {at['wall95']:.1f} | {at['cpu']:.1f} | {at['exact_ms']:.1f} |"
            )
    yield ""
    yield _whole(found)


def _whole(found: Record) -> str:
    cells = [(share, at) for minute in found["minutes"] for share, at in minute.items()]
    said = []
    for share in search.CONDITIONS:
        each = [at for name, at in cells if name == str(share)]
        count = sum(at["queries"] for at in each)
        recall = sum(at["queries"] * at["recall"] for at in each) / count
        plans = sum((Counter(at["plans"]) for at in each), Counter())
        said.append(f"{search.shown(share)} {recall:.4f} of {count} ({', '.join(plans)})")
    lacking = sum(at["short"] for _, at in cells)
    return (
        f"Recall over all: {'; '.join(said)}. {lacking or 'No'} answers were short. The writer was "
        f"{found['behind']:.1f} s behind at the end; autovacuum ran {found['autovacuums']} times; "
        f"the indexes grew from {found['index_bytes'][0] / 1e6:.0f} to "
        f"{found['index_bytes'][1] / 1e6:.0f} MB."
    )


def _measure(stage: Stage, size: int) -> Record:
    gallery = people.gallery(size, stage.voices)
    name = f"mixed_{short(size)}"
    with stage.server() as server:
        drop(server, name)  # of an earlier run: its rows have changed
        conninfo = database(server, name, partial(_prepare, gallery))
        with session(conninfo) as asked:
            before = load.sizes(asked.db)["index_bytes"]
            with (
                writing(conninfo, size, stage.voices.name) as written,
                _beside(conninfo, stage.minutes) as seen,
            ):
                minutes = _search_for(stage.minutes, asked, gallery)
            return {
                "minutes": [
                    {str(share): part.record() for share, part in minute.items() if part.answers}
                    for minute in minutes
                ],
                **_summary(written, seen),
                "index_bytes": [before, load.sizes(asked.db)["index_bytes"]],
            }


def _prepare(gallery: Gallery, conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as db:
        people.create(db)
        people.fill(db, gallery)
        db.execute("SELECT fastann.cover('people', 'feature', ARRAY['city']::name[])")
        load.build(db, load.DEFAULT, len(gallery.feature))
        db.execute("VACUUM (ANALYZE) people")
        db.execute("SELECT * FROM fastann.autotune('people', 'feature')")


def _search_for(minutes: float, asked: Session, gallery: Gallery) -> list[dict[float, Minute]]:
    """One probe after the other, under each condition in turn."""
    found: list[dict[float, Minute]] = []
    probes, started, n = gallery.probes(20_000), time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < 60 * minutes:
        if elapsed >= 60 * len(found):
            found.append({share: Minute() for share in search.CONDITIONS})
            say(f"  minute {len(found)}")
        for share, condition in search.CONDITIONS.items():
            _one(asked, probes[n % len(probes)], condition, found[-1][share], n)
        n += 1
    return found


def _one(asked: Session, probe: Rows, condition: str | None, minute: Minute, n: int) -> None:
    """A search and a scan that see the same rows."""
    asked.db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    found = search.search(asked, probe, K, condition)
    if not n % _PLANS_EVERY:
        minute.plans[search.plan(asked, probe, K, condition)] += 1
    asked.db.execute("SET LOCAL enable_indexscan = off")
    distance = "feature <-> %(probe)s::vector"
    scan = f"SELECT id, {distance} FROM people WHERE {condition or 'true'}"
    exact = asked.ask(f"{scan} ORDER BY {distance} LIMIT {K}", {"probe": vector_text(probe)})
    asked.db.execute("ROLLBACK")
    farthest = exact.rows[-1][1] + _SAME if exact.rows else 0.0
    right = {row[0] for row in found.rows if row[1] <= farthest}
    minute.answers.append(found)
    minute.exact.append(exact)
    minute.recall.append(min(1.0, len(right) / len(exact.rows)) if exact.rows else 1.0)
    minute.short += len({row[0] for row in found.rows}) < len(exact.rows)


@dataclass
class Seen:
    """What happened to the table beside the search."""

    dead: list[int] = field(default_factory=list)
    vacuum: float = 0.0
    autovacuums: int = 0


@contextmanager
def _beside(conninfo: str, minutes: float) -> Iterator[Seen]:
    """Count dead rows every minute, and VACUUM once half-way."""
    seen, ended = Seen(), threading.Event()

    def vacuum() -> None:
        if not ended.wait(30 * minutes):
            with psycopg.connect(conninfo, autocommit=True) as db:
                started = time.perf_counter()
                db.execute("VACUUM people")
                seen.vacuum = time.perf_counter() - started
                say(f"  VACUUM took {seen.vacuum:.1f} s")

    def count() -> None:
        with psycopg.connect(conninfo, autocommit=True) as db:
            while not ended.wait(60):
                seen.dead.append(int(_statistics(db)[0]))
            seen.autovacuums = int(_statistics(db)[1])

    threads = [threading.Thread(target=work, daemon=True) for work in (vacuum, count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _statistics(db: psycopg.Connection) -> tuple[Any, ...]:
    query = "SELECT n_dead_tup, autovacuum_count FROM pg_stat_user_tables WHERE relname = 'people'"
    return db.execute(query).fetchone() or (0, 0)


def _summary(written: Written, seen: Seen) -> Record:
    return {
        "written": written.minutes,
        "behind": round(written.behind, 2),
        "dead": seen.dead,
        "vacuum": round(seen.vacuum, 2),
        "autovacuums": seen.autovacuums,
    }
