"""How the settings of many systems are asked the same queries in turns."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.record import Measured
from benchmarks.hybrid.truth import Truth

#: Queries that one setting answers before the next one's turn.
_TURN = 10
#: A setting that takes longer than this for a query, in ms, is asked fewer queries.
SLOW, FEWEST = 1000.0, 20
#: Queries that a setting is judged by before it may take part in the rounds.
SCOUTED = 20
TARGETS = (0.90, 0.95, 0.99)


@dataclass
class Answer:
    """What came for one query, and what it took.

    Attributes:
        ids: of the rows, nearest first.
        wall, cpu: milliseconds.
        plan, planning: where the system says them.
    """

    ids: Sequence[int]
    wall: float
    cpu: float
    plan: str = ""
    planning: float | None = None


class Setting(ABC):
    """One way of asking one system; ``system`` and ``name`` go into the results."""

    system: str
    name: str

    @abstractmethod
    def ask(self, cell: Cell, query: int) -> Answer:
        """Answer one query of a cell."""

    def applies(self, cell: Cell) -> bool:
        """Whether the system can be asked this at all."""
        return True


@dataclass
class Ladder:
    """Settings of one system, cheapest first, of which the best of each cell are measured.

    Attributes:
        system: name.
        settings: cheapest first.
        alike: says of a cell whether all settings are one there, e.g. since the planner does
            not use the index that they are about.
        seconds: after which no further setting is tried in a cell.
    """

    system: str
    settings: Sequence[Setting]
    alike: Callable[[Cell], bool] = lambda _: False
    seconds: float = 15.0


@dataclass
class Rounds:
    """Measures cells with the first ``queries`` queries of ``people``."""

    people: People
    queries: int
    truths: dict = field(default_factory=dict)

    def measure(
        self, cell: Cell, settings: Sequence[Setting], ladders: Sequence[Ladder] = ()
    ) -> list[Measured]:
        """All settings in turns; of ladders those that a scout finds worth it."""
        found, chosen = [], [s for s in settings if s.applies(cell)]
        for ladder in ladders:
            worth, dropped = self._scout(cell, ladder)
            chosen += worth
            found += dropped
        return found + self._in_turns(cell, chosen)

    def _in_turns(self, cell: Cell, settings: Sequence[Setting]) -> list[Measured]:
        results = [Measured(s.system, s.name, cell.name) for s in settings]
        pairs = list(zip(settings, results, strict=True))
        for setting, _ in pairs:
            setting.ask(cell, self.queries - 1)  # what is loaded by the first query is not counted
        for turn, first in enumerate(range(0, self.queries, _TURN)):
            for setting, result in pairs if turn % 2 else reversed(pairs):
                for query in range(first, min(first + _TURN, self.queries)):
                    if len(result.wall) < FEWEST or float(np.mean(result.wall)) < SLOW:
                        self._note(cell, query, setting.ask(cell, query), result)
        return results

    def _note(self, cell: Cell, query: int, answer: Answer, result: Measured) -> None:
        truth: Truth = self.truths[cell.condition]
        result.wall.append(answer.wall)
        result.cpu.append(answer.cpu)
        result.rows.append(len(answer.ids))
        if cell.max_distance is None:
            result.hits.append(truth.hits(self.people, cell, query, answer.ids))
        else:
            result.hits.append(0)
        result.expected.append(truth.expected(cell, query))
        if answer.plan:
            result.plan.append(answer.plan)
        if answer.planning is not None:
            result.planning.append(answer.planning)

    def _scout(self, cell: Cell, ladder: Ladder) -> tuple[list[Setting], list[Measured]]:
        """Settings worth all queries, and what was seen of the others."""
        tried: list[tuple[Setting, Measured]] = []
        started = time.perf_counter()
        steps = [s for s in ladder.settings if s.applies(cell)]
        if ladder.alike(cell):
            return steps[:1], []
        for setting in steps:
            seen = Measured(setting.system, setting.name, cell.name, scouted=True)
            tried.append((setting, seen))
            for query in range(min(SCOUTED, self.queries)):
                self._note(cell, query, setting.ask(cell, query), seen)
                late = time.perf_counter() - started > ladder.seconds
                if query >= 4 and (hopeless(seen) or late):
                    break
            if reaches(seen, TARGETS[-1]) or time.perf_counter() - started > ladder.seconds:
                break
        worth = _worth([seen for _, seen in tried])
        chosen = [s for s, seen in tried if any(seen is w for w in worth)]
        return chosen, [seen for _, seen in tried if not any(seen is w for w in worth)]


def reaches(seen: Measured, target: float) -> bool:
    return float(seen.recall.mean()) >= target


def hopeless(seen: Measured) -> bool:
    """Whether the lowest target is out of reach by more than chance."""
    recall = seen.recall
    error = max(float(recall.std()), 0.05) / np.sqrt(len(recall))
    return float(recall.mean()) + 3 * error < TARGETS[0]


def _worth(tried: Sequence[Measured]) -> list[Measured]:
    """For each target the cheapest that reach it in the scout; the best where none reaches the top.

    Two for the highest target: twenty queries may have been kinder than all of them.
    """
    worth: list[Measured] = []
    by_time = sorted(tried, key=lambda m: float(np.median(m.cpu)))
    for target, count in zip(TARGETS, (1, 1, 2), strict=True):
        reaching = [m for m in by_time if reaches(m, target)]
        worth += [m for m in reaching[:count] if not any(m is w for w in worth)]
    best = max(tried, key=lambda m: float(m.recall.mean()))
    if not any(best is w for w in worth):
        worth.append(best)
    return worth
