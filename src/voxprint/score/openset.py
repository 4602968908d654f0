"""Searching a gallery for somebody who may not be in it: FPIR and FNIR.

Both depend on the number N of people in the gallery, which therefore stands beside every
figure: more people, more chances to be taken for one of them. A probe of an enrolled person
makes a mated search, a probe of anybody else a non-mated one.

Source: ISO/IEC 19795-1:2021, open-set identification (FPIR(N, T), FNIR(N, R, T)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError

Rows = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

#: Numbers drawn at a time, which bounds memory: 64 MB.
_DRAWN_AT_ONCE = 1 << 23


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """What came first in searches of galleries of one size.

    Attributes:
        gallery: N, people in each gallery.
        own: float64, shape (n,), mated searches: score of the person who speaks.
        other: float64, shape (n,), mated searches: best score of anybody else; -inf for N = 1.
        false: float64, shape (m,), non-mated searches: best score.
    """

    gallery: int
    own: Rows
    other: Rows
    false: Rows

    def fpir(self, threshold: float) -> float:
        """Share of non-mated searches in which somebody is found: FPIR(N, T)."""
        return float(np.mean(self.false >= threshold))

    def fnir(self, threshold: float) -> float:
        """Share of mated searches in which the person is not first, or below: FNIR(N, 1, T).

        A tie for the first place is lost.
        """
        return float(np.mean((self.own <= self.other) | (self.own < threshold)))

    def threshold(self, fpir: float) -> float:
        """Lowest threshold at which FPIR(N, T) is at most so high; +inf where none is.

        Raises:
            UsageError: a rate outside [0, 1].
        """
        if not 0.0 <= fpir <= 1.0:
            raise UsageError(f"fpir must lie in [0, 1], got {fpir}")
        falling = np.sort(self.false)[::-1]
        # The first one that may not be found any more; equal ones fall with it.
        allowed = int(np.floor(fpir * falling.size + 1e-9))
        return -np.inf if allowed >= falling.size else float(np.nextafter(falling[allowed], np.inf))


def search(scores: npt.ArrayLike, own: npt.ArrayLike, gallery: int, *, seed: int = 0) -> Searches:
    """Search galleries drawn at random, another one for each probe.

    A probe of an enrolled person is searched twice: among this person and N - 1 others
    (mated), and among N people without this person (non-mated).

    Args:
        scores: shape (probes, people), finite: each probe against each voiceprint.
        own: shape (probes,), column of the person who speaks; -1 for nobody of them.
        gallery: N, from 1 to one less than there are people.
        seed: of the draws.
    Raises:
        EmptyTrials: no probe is of an enrolled person.
        UsageError: shapes differ, a score is not finite, or N is out of range.

    >>> found = search([[0.9, 0.1, 0.2], [0.3, 0.8, 0.4]], [0, 1], 2)
    >>> found.own.tolist(), found.false.tolist()
    ([0.9, 0.8], [0.2, 0.4])
    >>> found.fpir(0.4), found.fnir(0.85), found.fnir(found.threshold(0.0))
    (0.5, 0.5, 0.0)
    """
    table, column = _checked(scores, own, gallery)
    random = np.random.default_rng(seed)
    mated = column >= 0
    best_other, best_false = np.empty(column.size), np.empty(column.size)
    step = max(1, _DRAWN_AT_ONCE // table.shape[1])
    for start in range(0, column.size, step):
        part = slice(start, start + step)
        best_other[part], best_false[part] = _best(table[part], column[part], gallery, random)
    rows = np.flatnonzero(mated)
    return Searches(gallery, table[rows, column[rows]], best_other[mated], best_false)


def _checked(scores: npt.ArrayLike, own: npt.ArrayLike, gallery: int) -> tuple[Rows, Index]:
    table, column = np.asarray(scores, np.float64), np.asarray(own, np.intp)
    if table.ndim != 2 or column.shape != table.shape[:1]:
        raise UsageError(
            "scores must have shape (probes, people) and own shape (probes,), got "
            f"{table.shape} and {column.shape}"
        )
    if not np.isfinite(table).all():
        raise UsageError("scores of searches must be finite: leave out what was not acquired")
    people = table.shape[1]
    if not 1 <= gallery < people:
        raise UsageError(
            f"a gallery must hold from 1 to {people - 1} of the {people} people, got {gallery}",
            hint="a person who is not in it must be left to search for",
        )
    if column.size == 0 or column.min() < -1 or column.max() >= people:
        raise UsageError(f"own must hold columns from 0 to {people - 1}, or -1")
    if not (column >= 0).any():
        raise EmptyTrials("no probe is of an enrolled person")
    return table, column


def _best(
    table: Rows, column: Index, gallery: int, random: np.random.Generator
) -> tuple[Rows, Rows]:
    """Best score among N - 1 and among N people, neither of whom is the one who speaks."""
    drawn = random.random(table.shape)
    rows = np.flatnonzero(column >= 0)
    drawn[rows, column[rows]] = 2.0  # sorts behind everybody else
    first = np.argpartition(drawn, gallery - 1, axis=1)[:, :gallery]
    among = np.take_along_axis(table, first, axis=1)
    # argpartition leaves the N-th of the draw in the last place: without it, N - 1 are left.
    others = among[:, :-1].max(axis=1, initial=-np.inf)
    return others, among.max(axis=1)
