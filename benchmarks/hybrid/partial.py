"""Partial HNSW indexes for a few filters: the fastest there is, where somebody has built it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.hybrid.backend import Backend
from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.ours import ours
from benchmarks.hybrid.record import Results
from benchmarks.hybrid.rounds import Rounds
from benchmarks.hybrid.stock import COMMON, FORCED, NEAREST, Plain
from benchmarks.hybrid.store import Store
from benchmarks.report import say

#: Levels of city, and numbers of cells of which each one gets an index.
CITIES = (0.1, 0.02, 0.003)
_CELLS = (10,)
SYSTEMS = ("raw partial", "ours, partial")


def measure(
    running: Store, population: People, rounds: Rounds, cells: list[Cell], results: Results
) -> None:
    """Build the indexes, measure the cells that have one, and drop the indexes again."""
    done = results.done()
    left = [c for c in cells if has_index(c) and any((s, c.name) not in done for s in SYSTEMS)]
    if not left:
        return
    predicates = _predicates(population, {c.condition.family for c in left})
    with _built(running, predicates, results):
        settings = [
            Plain(
                "raw partial",
                f"ef={ef}",
                Backend(running.conninfo("plain"), {**COMMON, **FORCED, "hnsw.ef_search": ef}),
                population,
                NEAREST,
            )
            for ef in (40, 100, 200, 400)
        ]
        settings += ours("ours, partial", running.conninfo("plain"), population)
        for cell in left:
            wanted = [s for s in settings if (s.system, cell.name) not in done]
            results.add(rounds.measure(cell, wanted))
            say(f"partial: {cell.name}")


def has_index(cell: Cell) -> bool:
    condition = cell.condition
    if condition.family in ("near", "far"):
        return condition.cell_column in {f"cell{number}" for number in _CELLS}
    return condition.family == "city" and condition.share in CITIES


def _predicates(population: People, families: set[str]) -> dict[str, str]:
    """Conditions by the name of their index."""
    wanted = {}
    if "city" in families:
        for share in CITIES:
            below = round(10_000 * share)
            wanted[f"people_city{below}"] = f"city < {below}"
    if families & {"near", "far"}:
        for number in _CELLS:
            for value in range(number):
                wanted[f"people_cell{number}_{value}"] = f"cell{number} = {value}"
    return wanted


@contextmanager
def _built(running: Store, predicates: dict[str, str], results: Results) -> Iterator[None]:
    import time

    with running.connect("plain") as session:
        session.execute("SET maintenance_work_mem = '2GB'")
        started = time.perf_counter()
        for name, predicate in predicates.items():
            session.execute(f"DROP INDEX IF EXISTS {name}")
            session.execute(
                "SELECT fastann.create_index('people', 'feature', distancemeasure => 'COSINE', "
                "index_name => %s, condition => %s)",
                [name, predicate],
            )
        session.execute("ANALYZE people")
        results.tell("seconds: partial graphs", round(time.perf_counter() - started, 2))
        try:
            session.execute("SELECT * FROM fastann.autotune('people', 'feature', 'COSINE')")
            yield
        finally:
            for name in predicates:
                session.execute(f"DROP INDEX IF EXISTS {name}")
