"""What the systems beside PostgreSQL have in common: they run inside this process."""

from __future__ import annotations

import argparse
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People, folder_of, people
from benchmarks.hybrid.record import Results
from benchmarks.hybrid.rounds import Answer, Ladder, Rounds, Setting, measure
from benchmarks.hybrid.truth import truths

Systems = Sequence[Setting | Ladder]
#: Loads a peer, and gives its settings while it is open.
Opened = Callable[[People, Path, Results, argparse.Namespace], AbstractContextManager[Systems]]


class InProcess(Setting):
    """A setting whose time is that of a call, and whose processor time is that of this process."""

    def __init__(self, people: People) -> None:
        self._people = people

    @abstractmethod
    def ids(self, cell: Cell, query: int) -> Sequence[int]:
        """Ids of the rows found, nearest first."""

    def applies(self, cell: Cell) -> bool:
        return cell.max_distance is None

    def ask(self, cell: Cell, query: int) -> Answer:
        before, started = self.cpu_ms(), time.perf_counter()
        ids = self.ids(cell, query)
        wall = (time.perf_counter() - started) * 1000
        return Answer(ids, wall, self.cpu_ms() - before)

    def cpu_ms(self) -> float:
        return time.process_time() * 1000


def run_peer(
    opened: Opened, cells: list[Cell], given: argparse.Namespace, results: Results
) -> None:
    """Measure a peer in all cells; an impossible bound is no question to it."""
    folder = folder_of(given.scale, given.model)
    population = people(given.scale, given.model)
    wanted = [cell for cell in cells if cell.max_distance is None]
    known = truths(population, {c.condition for c in wanted}, given.queries, folder)
    with opened(population, folder, results, given) as systems:
        measure(wanted, Rounds(population, given.queries, given.slow, known), systems, results)


def timed(results: Results, what: str, work: Callable[[], object]) -> None:
    """Run a step of loading and note how long it took."""
    started = time.perf_counter()
    work()
    results.tell(f"seconds: {what}", round(time.perf_counter() - started, 2))
