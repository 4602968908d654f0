"""What is known about a score before it is judged: how the probe scores against other people.

A probe that is short, noisy or came over a telephone scores lower against everybody, and the
voices of one room, one text or one line score higher against each other. How the probe scores
against a *cohort* (the other people of the gallery) tells both without naming either: test
normalisation, as Auckenthaler and others (Digital Signal Processing 10, 2000) have it. Where
there is no cohort, a *background* stands in: the mean and the main directions of many people's
voiceprints, second-order statistics that hold no one's.

The SQL function ``voxprint._judge`` computes the same from the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from voxprint.errors import UsageError

Floats = npt.NDArray[np.float64]

#: From so many people on the one that the probe is most like is left out of the cohort.
LEAST_TO_TRIM = 5
#: A speech band that ends below this is a telephone's, in Hz.
TELEPHONE_HZ = 4200.0


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """Mean and spread of many people's voiceprints.

    Attributes:
        mean: shape (dim,), of unit voiceprints; shorter than 1.
        directions: shape (rank, dim), orthonormal rows.
        weights: shape (rank,), variance along each direction.
        rest: variance along any other direction.
    """

    mean: Floats
    directions: Floats
    weights: Floats
    rest: float

    @classmethod
    def of(cls, voiceprints: Floats, rank: int) -> Self:
        """Statistics of voiceprints, one a person, shape (people, dim).

        Raises:
            UsageError: fewer than two people more than directions asked for, so that the
                statistics could tell the voiceprint of one.
        """
        people, dim = voiceprints.shape
        if people < rank + 2:
            raise UsageError(
                f"expected at least {rank + 2} people for {rank} directions, got {people}"
            )
        mean = voiceprints.mean(axis=0)
        _, scale, directions = np.linalg.svd(voiceprints - mean, full_matrices=False)
        variance = np.square(scale) / (people - 1)
        return cls(
            mean=mean,
            directions=directions[:rank],
            weights=variance[:rank],
            rest=float(variance[rank:].sum() / dim),
        )

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]]) -> Self:
        """From the JSON that a database keeps: the mean first, its weight is ``rest``."""
        return cls(
            mean=np.array(rows[0]["direction"], dtype=np.float64),
            directions=np.array([row["direction"] for row in rows[1:]], dtype=np.float64),
            weights=np.array([row["weight"] for row in rows[1:]], dtype=np.float64),
            rest=float(rows[0]["weight"]),
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """The same as JSON, as :meth:`from_rows` reads it."""
        rows = [(self.rest, self.mean), *zip(self.weights, self.directions, strict=True)]
        return [
            {
                "weight": float(f"{weight:.6g}"),
                "direction": [float(f"{value:.5f}") for value in direction],
            }
            for weight, direction in rows
        ]

    def level(self, units: Floats) -> Floats:
        """Expected score of each unit row against a stranger, shape (n,)."""
        return np.asarray(units @ self.mean)

    def spread(self, units: Floats) -> Floats:
        """Standard deviation of that score, shape (n,)."""
        return np.asarray(np.sqrt(np.square(units @ self.directions.T) @ self.weights + self.rest))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Trials with all that their judgement rests on; every field has shape (n,).

    Attributes:
        score: cosine of probe and reference.
        cohort_mean, cohort_variance: of the probe's scores against the cohort.
        cohort_size: number of people in it; 0 without any.
        probe_level, probe_spread, reference_level: see :class:`Background`.
        probe_speech, reference_speech: net speech in seconds; NaN where unknown.
        snr_db: of the probe; NaN where unknown.
        telephone: 1 where the probe's band ends like a telephone's, else 0.
    """

    score: Floats
    cohort_mean: Floats
    cohort_variance: Floats
    cohort_size: Floats
    probe_level: Floats
    probe_spread: Floats
    reference_level: Floats
    probe_speech: Floats
    reference_speech: Floats
    snr_db: Floats
    telephone: Floats

    def __len__(self) -> int:
        """Number of trials."""
        return int(self.score.size)

    def take(self, which: npt.NDArray[Any]) -> Evidence:
        """Some of the trials, by index or mask."""
        return Evidence(**{each.name: getattr(self, each.name)[which] for each in fields(self)})

    @staticmethod
    def joined(parts: list[Evidence]) -> Evidence:
        """Trials of several lists one after the other."""
        return Evidence(
            **{
                each.name: np.concatenate([getattr(part, each.name) for part in parts])
                for each in fields(Evidence)
            }
        )


@dataclass(frozen=True, slots=True, eq=False)
class CohortSums:
    """What the scores of probes against everybody come to; every field has shape (probes,).

    Attributes:
        size: number of people.
        total, squares: sums of the scores and of their squares.
        first, second: largest scores.
    """

    size: int
    total: Floats
    squares: Floats
    first: Floats
    second: Floats

    @classmethod
    def of(cls, scores: Floats) -> Self:
        """Sum up scores of shape (probes, people), at least one person."""
        probes, people = scores.shape
        lowest = np.full((probes, 1), -np.inf)
        largest = np.sort(np.concatenate([lowest, scores], axis=1), axis=1)
        return cls(
            people,
            scores.sum(axis=1),
            np.square(scores).sum(axis=1),
            largest[:, -1],
            largest[:, -2],
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Sums of several groups of probes against the same people."""
        names = [each.name for each in fields(cls) if each.name != "size"]
        rows = {n: np.concatenate([getattr(part, n) for part in parts]) for n in names}
        return cls(size=parts[0].size, **rows)

    def without(self, own: Floats, probe: Any = slice(None)) -> tuple[Floats, Floats, Floats]:
        """Mean, variance and size of the cohort that is left without one person.

        From five people on the one that the probe is most like is left out, too: it may *be*
        the person who speaks (an impostor who is enrolled, somebody enrolled twice, a twin),
        and would then hide how the probe scores against strangers.

        Args:
            own: the probe's score against the person who does not count.
            probe: which probe each of them belongs to.
        """
        size = self.size - 1
        total, squares = self.total[probe] - own, self.squares[probe] - np.square(own)
        if size >= LEAST_TO_TRIM:
            largest = np.where(own >= self.first[probe], self.second[probe], self.first[probe])
            total, squares, size = total - largest, squares - np.square(largest), size - 1
        if size == 0:
            nothing = np.zeros(np.shape(own))
            return nothing, nothing.copy(), nothing.copy()
        mean = total / size
        variance = np.maximum(squares / size - np.square(mean), 0.0)
        return mean, variance, np.full(np.shape(own), float(size))


def cohort_statistics(scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, variance and size of the cohort of every trial: everybody but the claimed person.

    Args:
        scores: shape (probes, people), cosine of each probe with each person's voiceprint.
    Returns:
        Three arrays of shape (probes, people): for the trial of probe i against person j.
    """
    return CohortSums.of(scores).without(scores, (slice(None), None))
