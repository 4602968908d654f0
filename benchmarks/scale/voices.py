"""Simulated voices: who somebody is, and how they sound each time.

A two-covariance model: an utterance is mean + person + session, both Gaussian, scaled to unit
length. Real speech of a million people does not exist here; what a search has to go through
depends on how the vectors lie, so it is this one function that decides what the figures mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.hybrid.model import Square, TwoCovariance

DIM = 192
#: Rows that are drawn at a time: a million at once would need their noise in memory, too.
_ROWS = 50_000

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Voices:
    """Where utterances lie.

    Attributes:
        name: for the reports.
        mean: shape (DIM,).
        between: factor of the covariance between people, shape (DIM, DIM).
        within: factor of that of the utterances of one person.
    """

    name: str
    mean: Rows
    between: Rows
    within: Rows

    def people(self, random: np.random.Generator, count: int) -> Rows:
        """Who they are, shape (count, DIM); not of unit length."""
        return np.concatenate([self.mean + _drawn(random, self.between, n) for n in _pieces(count)])

    def speak(self, random: np.random.Generator, people: Rows) -> Rows:
        """One utterance of each, shape (n, DIM), of unit length."""
        said = np.empty_like(people)
        start = 0
        for n in _pieces(len(people)):
            piece = people[start : start + n] + _drawn(random, self.within, n)
            said[start : start + n] = piece / np.linalg.norm(piece, axis=1, keepdims=True)
            start += n
        return said


def voices(name: str) -> Voices:
    """``fitted`` to real voices, or the harder ``synthetic``, whose neighbours are noise."""
    model = TwoCovariance.named(name)
    return Voices(
        name, model.mean.astype(np.float32), _factor(model.between), _factor(model.within)
    )


def _factor(covariance: Square) -> Rows:
    """Turns standard normal rows into rows of this covariance."""
    values, axes = np.linalg.eigh(covariance)
    factor: Rows = (np.sqrt(np.maximum(values, 0))[:, None] * axes.T).astype(np.float32)
    return factor


def _drawn(random: np.random.Generator, factor: Rows, count: int) -> Rows:
    return random.standard_normal((count, DIM), dtype=np.float32) @ factor


def _pieces(count: int) -> Iterator[int]:
    for start in range(0, count, _ROWS):
        yield min(_ROWS, count - start)
