"""Reading the raw results: which system answers a cell at a recall, and in what time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.hybrid.record import Fact, Measured, Results

OURS, COVERING = "ours", "ours, covering"
DEFAULT, FREE, FORCED, EXACT = (
    "pgvector default",
    "pgvector iterative",
    "pgvector forced",
    "exact on heap",
)
#: What plain SQL can do on the same table.
STOCK = (DEFAULT, FREE, FORCED, EXACT)
#: What a planner can choose from, on the table alone and with covering indexes.
PLANS = (*STOCK, "raw graph")
PLANS_COVERING = (*PLANS, "raw covering")
PEERS = ("FAISS + SQL, over-fetch", "FAISS + SQL, mask", "LanceDB", "DuckDB", "chDB")
LIMIT = "NumPy rows"
PARTIAL = ("ours, partial", "raw partial")
ROWS = (COVERING, OURS, *STOCK, "raw covering", "raw graph", *PARTIAL, *PEERS, LIMIT)


@dataclass
class Figures:
    """Everything measured at one scale.

    Attributes:
        clock: ``wall`` or ``cpu``, the milliseconds that comparisons are made by.
        found: settings by cell and system.
        scouted: the same, of settings that were given up.
        facts: numbers about the run, the last one told of each.
    """

    clock: str
    found: dict[str, dict[str, list[Measured]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    scouted: dict[str, dict[str, list[Measured]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    facts: dict[str, float | str] = field(default_factory=dict)

    @classmethod
    def read(cls, results: Results, clock: str) -> Figures:
        figures = cls(clock)
        for line in results.read():
            if isinstance(line, Fact):
                figures.facts[line.fact] = line.value
            else:
                place = figures.scouted if line.scouted else figures.found
                place[line.cell][line.system].append(line)
        return figures

    def cells(self, systems: Sequence[str] = ()) -> list[str]:
        """Cells in which all of ``systems`` were measured."""
        return [c for c, s in self.found.items() if all(name in s for name in systems)]

    def time(self, measured: Measured) -> float:
        """Median milliseconds of a query."""
        return float(np.median(getattr(measured, self.clock)))

    def best(self, cell: str, systems: Iterable[str], target: float) -> Measured | None:
        """The fastest setting of any of ``systems`` that reaches a recall; None if none does."""
        reaching = [
            m
            for system in systems
            for m in self.found[cell].get(system, [])
            if reaches(m, target) and asked_for(m, target)
        ]
        return min(reaching, key=self.time, default=None)

    def ours(self, cell: str, system: str, target: float) -> Measured | None:
        """What ours did when it was asked for this recall, reached or not."""
        for measured in self.found[cell].get(system, []):
            if asked_for(measured, target):
                return measured
        return None


def reaches(measured: Measured, target: float) -> bool:
    """Whether the mean recall is what was asked for."""
    return float(measured.recall.mean()) >= target - 1e-9


def asked_for(measured: Measured, target: float) -> bool:
    """Ours is told what recall is wanted; nobody else is."""
    return not measured.setting.startswith("target=") or measured.setting == f"target={target:g}"


def complete(measured: Measured) -> bool:
    """Whether every query got as many rows as match, up to k."""
    return measured.rows == measured.expected


def k_of(cell: str) -> int:
    return int(cell.rpartition("k=")[2])


def share_of(cell: str) -> float:
    """Share of matching rows that a cell is named for; 1 where there is no filter."""
    words = cell.partition(",")[0].split()
    return float(words[1]) / 100 if len(words) > 1 else 1.0


def geometric_mean(ratios: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else float("nan")


def p5(measured: Measured) -> float:
    return float(np.percentile(measured.recall, 5))
