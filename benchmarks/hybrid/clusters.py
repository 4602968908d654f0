"""K-means cells: filters that go along with the vector, as a dialect or a telephone line does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
Cells = npt.NDArray[np.int32]

#: Rows that centres are found from, per centre and at most.
_PER_CENTRE, _MOST = 40, 100_000
_ROUNDS = 8
#: Products held at a time, rows times centres.
_BLOCK = 20_000_000


def centres_of(rows: Rows, count: int, seed: int) -> Rows:
    """Centres of ``count`` cells by a few rounds of Lloyd on a sample."""
    rng = np.random.default_rng(seed)
    size = min(len(rows), max(count, min(_PER_CENTRE * count, _MOST)))
    sample = rows[np.sort(rng.choice(len(rows), size, replace=False))]
    centres = sample[rng.choice(size, min(count, size), replace=False)].copy()
    for _ in range(_ROUNDS):
        cell = nearest(sample, centres)
        sums = np.zeros((len(centres), rows.shape[1]), np.float64)
        order = np.argsort(cell, kind="stable")
        held, first = np.unique(cell[order], return_index=True)
        sums[held] = np.add.reduceat(sample[order], first, axis=0)
        counts = np.bincount(cell, minlength=len(centres))
        full = counts > 0  # an empty cell keeps its centre
        centres[full] = (sums[full] / counts[full, None]).astype(np.float32)
    return centres


def nearest(rows: Rows, centres: Rows) -> Cells:
    """The cell of each row."""
    return np.concatenate([d.argmin(axis=1) for d in _distances(rows, centres)]).astype(np.int32)


def farthest(rows: Rows, centres: Rows, held: npt.NDArray[np.bool_]) -> Cells:
    """The cell farthest from each row, among those that hold rows."""
    apart = [np.where(held, d, -np.inf).argmax(axis=1) for d in _distances(rows, centres)]
    return np.concatenate(apart).astype(np.int32)


def _distances(rows: Rows, centres: Rows) -> Iterator[Rows]:
    """Squared distances less the rows' own lengths, which change no order."""
    lengths = np.sum(centres**2, axis=1)
    step = max(1, _BLOCK // len(centres))
    for first in range(0, len(rows), step):
        yield lengths - 2 * (rows[first : first + step] @ centres.T)
