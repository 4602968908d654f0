"""What the machine can do: NumPy over the rows that match, which are in memory already."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.rounds import Answer, Setting


class RowsInMemory(Setting):
    """Gathers the matching rows by their numbers, which are known, and measures all of them.

    Finding out which rows match is not part of the time: this is no system, but the least that
    any exact one has to do.
    """

    system, name = "NumPy rows", ""

    def __init__(self, people: People) -> None:
        self._people = people

    def applies(self, cell: Cell) -> bool:
        return cell.max_distance is None

    def ask(self, cell: Cell, query: int) -> Answer:
        matching = np.flatnonzero(self._people.matches(cell.condition, query))
        everything = len(matching) == len(self._people)
        vector = self._people.queries[query]
        before, started = time.process_time(), time.perf_counter()
        rows = self._people.features if everything else self._people.features[matching]
        cosines = rows @ vector
        if len(cosines) > cell.k:
            best = np.argpartition(cosines, -cell.k)[-cell.k :]
        else:
            best = np.arange(len(cosines))
        best = matching[best[np.argsort(-cosines[best])]]
        wall = (time.perf_counter() - started) * 1000
        return Answer(best.tolist(), wall, (time.process_time() - before) * 1000)
