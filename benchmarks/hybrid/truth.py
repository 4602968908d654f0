"""Exact answers in NumPy, and how many of a system's rows are among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.hybrid.conditions import KS, Cell, Condition
from benchmarks.hybrid.data import People

#: Cosines this near are one: sums of 192 products in float32, in another order.
_TIE = 1e-6


@dataclass(frozen=True, eq=False)
class Truth:
    """What the right answers to the queries of one condition are.

    Attributes:
        matching: rows that match, shape (queries,).
        cosine: of the last row of a right answer, by k, each of shape (queries,).
    """

    matching: npt.NDArray[np.int64]
    cosine: dict[int, npt.NDArray[np.float32]]

    def expected(self, cell: Cell, query: int) -> int:
        """Rows that a right answer has."""
        if cell.max_distance is not None:
            return 0
        return int(min(cell.k, self.matching[query]))

    def hits(self, people: People, cell: Cell, query: int, ids: Sequence[int]) -> int:
        """Rows of an answer that are right: they match and lie near enough, ties and all."""
        found = np.unique(np.asarray(ids, dtype=np.int64))
        found = found[people.matches(cell.condition, query, found)]
        cosines = people.features[found] @ people.queries[query]
        near = cosines >= self.cosine[cell.k][query] - _TIE
        return min(int(near.sum()), self.expected(cell, query))


def truths(
    people: People, wanted: Iterable[Condition], queries: int, folder: Path
) -> dict[Condition, Truth]:
    """The truth of every condition, computed where it is not kept yet."""
    wanted = list(wanted)
    kept = folder / "truth"
    kept.mkdir(parents=True, exist_ok=True)
    paths = {c: kept / f"{c.family}-{c.share:g}-{queries}.npz" for c in wanted}
    missing = [c for c in wanted if not paths[c].exists()]
    if missing:
        cosines = people.queries[:queries] @ people.features.T
        for condition in missing:
            _compute(people, condition, cosines, paths[condition])
    found = {}
    for condition, path in paths.items():
        with np.load(path) as stored:
            found[condition] = Truth(stored["matching"], {k: stored[f"k{k}"] for k in KS})
    return found


def _compute(
    people: People, condition: Condition, cosines: npt.NDArray[np.float32], path: Path
) -> None:
    last = {k: np.empty(len(cosines), np.float32) for k in KS}
    matching = np.empty(len(cosines), np.int64)
    for query, of_all in enumerate(cosines):
        some = of_all[people.matches(condition, query)]
        matching[query] = len(some)
        best = np.sort(some if len(some) <= max(KS) else np.partition(some, -max(KS))[-max(KS) :])
        for k in KS:
            last[k][query] = best[-min(k, len(best))] if len(best) else np.inf
    np.savez(path, matching=matching, **{f"k{k}": values for k, values in last.items()})
