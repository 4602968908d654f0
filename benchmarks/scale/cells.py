"""Conditions that go with the voice: cells of k-means, as a region or a language would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.scale.voices import Rows

_SAMPLE = 20_000
_STEPS = 8


@dataclass(frozen=True, eq=False)
class Cells:
    """Every embedding belongs to the cell whose centre it is most alike.

    Attributes:
        centre: shape (cells, DIM), of unit length.
        of: int32, cell of each embedding.
    """

    centre: Rows
    of: npt.NDArray[np.int32]

    def nearest(self, probe: Rows) -> int:
        """Where the answers are."""
        return int((self.centre @ probe).argmax())

    def farthest(self, probe: Rows) -> int:
        """Where a search that begins at the probe comes last."""
        return int((self.centre @ probe).argmin())


def cells(feature: Rows, count: int) -> Cells:
    """K-means on a sample, by cosine."""
    random = np.random.default_rng(count)
    sample = feature[random.permutation(len(feature))[:_SAMPLE]]
    centre = sample[:count]
    for _ in range(_STEPS):
        member = (sample @ centre.T).argmax(axis=1)
        total = np.zeros_like(centre)
        np.add.at(total, member, sample)
        total[np.bincount(member, minlength=count) == 0] = sample[0]
        centre = total / np.linalg.norm(total, axis=1, keepdims=True)
    return Cells(centre, (feature @ centre.T).argmax(axis=1).astype(np.int32))
