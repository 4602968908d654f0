"""The part of the benchmark that runs inside PostgreSQL, and the limit it is held against."""

from __future__ import annotations

import argparse
import time

from psycopg.errors import UndefinedFunction

from benchmarks.hybrid import partial
from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People, folder_of, people
from benchmarks.hybrid.ours import ours
from benchmarks.hybrid.record import Results
from benchmarks.hybrid.rounds import Rounds
from benchmarks.hybrid.rows import RowsInMemory
from benchmarks.hybrid.stock import fixed, ladders
from benchmarks.hybrid.store import Graph, Store, store
from benchmarks.hybrid.truth import truths
from benchmarks.report import say


def run(cells: list[Cell], given: argparse.Namespace, results: Results) -> None:
    """Load what is missing, then measure cell by cell; partial indexes come last."""
    folder = folder_of(given.scale, given.model)
    population = people(given.scale, given.model)
    known = truths(population, {c.condition for c in cells}, given.queries, folder)
    rounds = Rounds(population, given.queries, known)
    with store(folder, results.tell, given.shared_buffers) as running:
        running.load(population, Graph(given.m, given.ef_construction))
        systems = _systems(running, population, given)
        _measure(cells, rounds, systems, results)
        if given.partial:
            partial.measure(running, population, rounds, cells, results)


def _systems(running: Store, population: People, given: argparse.Namespace) -> list:
    """Everything that is asked, but what the command line leaves out."""
    plain, covered = running.conninfo("plain"), running.conninfo("covered")
    systems: list = [
        *fixed(plain, covered, population),
        *ladders(plain, population, len(population)),
        RowsInMemory(population),
    ]
    try:
        running.tune()
        systems += ours("ours", plain, population) + ours("ours, covering", covered, population)
    except UndefinedFunction as problem:
        say(f"fastann is left out: {problem}")
    return [s for s in systems if not given.systems or s.system in given.systems]


def _measure(cells: list[Cell], rounds: Rounds, systems: list, results: Results) -> None:
    done = results.done()
    started = time.perf_counter()
    for number, cell in enumerate(cells, 1):
        wanted = [s for s in systems if (s.system, cell.name) not in done]
        settings = [s for s in wanted if not hasattr(s, "settings")]
        some = [s for s in wanted if hasattr(s, "settings")]
        if wanted:
            results.add(rounds.measure(cell, settings, some))
        taken = time.perf_counter() - started
        say(f"postgres: {number} of {len(cells)} cells, {taken:.0f} s; {cell.name}")
