"""The article's own query, ``… WHERE … ORDER BY feature <-> v LIMIT k``: which settings make
plain pgvector as complete as it can be, and what it misses then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import psycopg

from benchmarks.report import say
from benchmarks.scale import people, plainreport, plansettings
from benchmarks.scale.cells import Cells, cells
from benchmarks.scale.meter import Answer, Session, session, spent
from benchmarks.scale.people import Bools, Gallery
from benchmarks.scale.raw import Record
from benchmarks.scale.stage import Stage, database, short
from benchmarks.scale.voices import Rows, Voices
from voxprint.types import vector_text

KS = (10, 100, 1000)
LARGE_BUFFERS = "2GB"
#: At most this long for one setting in one cell: the rest of the questions is left out.
_SECONDS = 20.0

#: The SQL of a condition and the rows that it leaves, for a probe.
Condition = Callable[[Rows], tuple[str, Bools]]


@dataclass(frozen=True, eq=False)
class Searched:
    """The table as NumPy has it, and what the questions are."""

    gallery: Gallery
    tenths: Cells
    hundredths: Cells

    @classmethod
    def of(cls, size: int, voices: Voices) -> Searched:
        gallery = people.gallery(size, voices)
        return cls(gallery, cells(gallery.feature, 10), cells(gallery.feature, 100))

    def conditions(self) -> dict[str, Condition]:
        """By name: independent of the voice, or with the cell of the probe, or far from it."""
        found: dict[str, Condition] = {"none": self._everybody}
        for percent in (50.0, 10.0, 1.0, 0.1):
            found[f"any {percent:g} %"] = partial(self._city, percent / 100)
        for percent, column, held in (
            (10, "tenth", self.tenths),
            (1, "hundredth", self.hundredths),
        ):
            found[f"near {percent} %"] = partial(_cell, column, held, held.nearest)
            found[f"far {percent} %"] = partial(_cell, column, held, held.farthest)
        return found

    def _everybody(self, _: Rows) -> tuple[str, Bools]:
        return "true", np.ones(len(self.gallery.feature), dtype=bool)

    def _city(self, share: float, _: Rows) -> tuple[str, Bools]:
        return f"city < {round(people.CITIES * share)}", self.gallery.below(share)


def _cell(
    column: str, held: Cells, choose: Callable[[Rows], int], probe: Rows
) -> tuple[str, Bools]:
    cell = choose(probe)
    return f"{column} = {cell}", held.of == cell


def run(stage: Stage) -> Iterator[str]:
    """Every size on small buffers, and the settings of the planner on large ones."""
    for size in stage.sizes:
        for buffers, tried in (
            ("", plansettings.grid()),
            (LARGE_BUFFERS, plansettings.planning()),
        ):
            _measured(stage, size, buffers, tried)
        yield from plainreport.report(stage, size)


def _measured(
    stage: Stage, size: int, buffers: str, tried: dict[str, plansettings.Settings]
) -> None:
    """Every cell that is missing; a server with its buffers runs only for those."""
    names = [(name, k) for k in KS for name in part_names()]
    missing = [
        part for part in names if not stage.raw.have("plainsql", short(size), buffers, *part)
    ]
    if not missing:
        return
    searched = Searched.of(size, stage.voices)
    conditions = searched.conditions()
    settings = {"shared_buffers": buffers} if buffers else {}
    with stage.server(**settings) as server:
        name = f"plainsql_{short(size)}"
        with session(database(server, name, partial(_prepare, searched))) as asked:
            _warm(asked)
            for name, k in missing:
                part = partial(
                    _cell_of_grid, asked, searched, conditions[name], k, tried, stage.queries
                )
                stage.raw.once("plainsql", short(size), buffers, name, k, measure=part)


def part_names() -> list[str]:
    """Names of the conditions, in the order of the tables."""
    independent = [f"any {percent:g} %" for percent in (50.0, 10.0, 1.0, 0.1)]
    return ["none", *independent, "near 10 %", "far 10 %", "near 1 %", "far 1 %"]


def _prepare(searched: Searched, conninfo: str) -> None:
    """The table with the indexes that its owner would make."""
    say("plainsql: loading, and building the index")
    db = psycopg.connect(conninfo, autocommit=True)
    people.create(db, ", tenth int, hundredth int")
    more = {"tenth": searched.tenths.of, "hundredth": searched.hundredths.of}
    people.fill(db, searched.gallery, more)
    db.execute("SET maintenance_work_mem = '2GB'")
    db.execute("CREATE INDEX ON people USING hnsw (feature vector_l2_ops)")
    for column in ("city", "tenth", "hundredth"):
        db.execute(f"CREATE INDEX ON people ({column})".encode())
    db.execute("VACUUM (ANALYZE, FREEZE) people")
    db.execute("CHECKPOINT")
    db.close()


def _warm(asked: Session) -> None:
    """What has been read once is in somebody's cache from then on; the first would pay for it."""
    asked.ask("SELECT count(*), sum(vector_norm(feature)) FROM people WHERE city >= 0")
    asked.set({"hnsw.ef_search": "1000"})
    for probe in np.random.default_rng(2).standard_normal((20, 192)):
        query = "SELECT id FROM people ORDER BY feature <-> %(probe)s::vector LIMIT 10"
        asked.ask(query, {"probe": vector_text(probe.astype(np.float32))})


def _cell_of_grid(
    asked: Session,
    searched: Searched,
    condition: Condition,
    k: int,
    tried: dict[str, plansettings.Settings],
    queries: int,
) -> Record:
    """All settings in turns, probe by probe."""
    found: dict[str, list[Found]] = {name: [] for name in tried}
    for n, probe in enumerate(searched.gallery.probes(queries)):
        sql, allowed = condition(probe)
        alike = searched.gallery.feature @ probe
        query = (
            f"SELECT id FROM people WHERE {sql} ORDER BY feature <-> %(probe)s::vector LIMIT {k}"
        )
        given = {"probe": vector_text(probe)}
        wanted = min(k, int(allowed.sum()))
        for name in tried if n % 2 else reversed(tried):
            if sum(one.answer.wall_ms for one in found[name]) > 1000 * _SECONDS:
                continue
            asked.set(tried[name])
            plan = _plan(asked, query, given)
            answer = asked.ask(query, given)
            ids = [row[0] for row in answer.rows]
            rows = len(ids) / wanted if wanted else 1.0
            right = people.recall(ids, alike, allowed, k)
            found[name].append(Found(plan, rows, right, answer))
    return {"settings": {name: _summary(each) for name, each in found.items()}}


@dataclass(frozen=True)
class Found:
    """One answer: how it was found, shares of the rows asked for and of the right ones."""

    plan: str
    rows: float
    recall: float
    answer: Answer


def _summary(found: list[Found]) -> dict[str, object]:
    rows = [one.rows for one in found]
    return {
        "queries": len(found),
        "plans": dict(Counter(one.plan for one in found)),
        "rows": float(np.mean(rows)),
        "least": float(np.min(rows)),
        "recall": float(np.mean([one.recall for one in found])),
        **spent([one.answer for one in found]),
    }


def _plan(asked: Session, query: str, given: dict[str, str]) -> str:
    """``hnsw`` where that index orders the rows, else what finds them."""
    text = "\n".join(row[0] for row in asked.ask(f"EXPLAIN (COSTS off) {query}", given).rows)
    if "people_feature_idx" in text:
        return "hnsw"
    return "bitmap" if "Bitmap" in text else "seq" if "Seq Scan" in text else "index"
