"""The DET curve of a set of scored trials, in exact whole counts.

Every detection metric is read from this curve or from its convex hull. A trial is accepted
when ``score >= threshold``; equal scores therefore always fall on the same side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError

Scores = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Det:
    """Misses and false accepts at every threshold that makes a difference.

    Attributes:
        thresholds: float64, shape (k,), strictly rising: the distinct scores, then +inf
            (nothing accepted). A hull keeps only some of them.
        misses: int64, shape (k,), rising from 0 to ``n_target``: target trials below.
        false_accepts: int64, shape (k,), falling from ``n_nontarget`` to 0.
        n_target: number of same-speaker trials.
        n_nontarget: number of different-speaker trials.
    """

    thresholds: Scores
    misses: Counts
    false_accepts: Counts
    n_target: int
    n_nontarget: int

    @property
    def p_miss(self) -> Scores:
        """Miss rate at each threshold, shape (k,), in [0, 1]."""
        return self.misses / self.n_target

    @property
    def p_fa(self) -> Scores:
        """False-accept rate at each threshold, shape (k,), in [0, 1]."""
        return self.false_accepts / self.n_nontarget

    def at(self, index: int | npt.NDArray[np.intp]) -> Det:
        """The curve reduced to the points at ``index``, in rising order of threshold."""
        keep = np.atleast_1d(index)
        return Det(
            self.thresholds[keep],
            self.misses[keep],
            self.false_accepts[keep],
            self.n_target,
            self.n_nontarget,
        )


def check_scores(target: npt.ArrayLike, nontarget: npt.ArrayLike) -> tuple[Scores, Scores]:
    """Target and nontarget scores as float64, checked.

    Raises:
        EmptyTrials: one side has no score.
        UsageError: scores that are not one row of finite numbers.
    """
    return _one_side(target, "target"), _one_side(nontarget, "nontarget")


def _one_side(scores: npt.ArrayLike, name: str) -> Scores:
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} scores must be numbers: {error}") from error
    if array.ndim != 1:
        raise UsageError(f"{name} scores must have shape (n,), got {array.shape}")
    if array.size == 0:
        raise EmptyTrials(f"there is no {name} score; metrics need at least one on each side")
    finite = np.isfinite(array)
    if not finite.all():
        where = int(np.argmin(finite))
        raise UsageError(
            f"{name} scores must be finite: score {where} of {array.size} is {array[where]}",
            hint="a trial without a score is a failure to acquire: count it beside, leave it out",
        )
    return array


def det(target: npt.ArrayLike, nontarget: npt.ArrayLike) -> Det:
    """DET curve of same-speaker and different-speaker scores.

    Args:
        target: same-speaker scores, shape (n,), finite, larger = more alike.
        nontarget: different-speaker scores, shape (m,), same unit.
    Returns:
        Det: one point per distinct score, and one at +inf.
    Raises:
        EmptyTrials: one side has no score.
        UsageError: a score is not a finite number.

    >>> curve = det([2.0, 3.0], [1.0, 2.0])
    >>> curve.thresholds.tolist()
    [1.0, 2.0, 3.0, inf]
    >>> curve.misses.tolist(), curve.false_accepts.tolist()
    ([0, 0, 1, 2], [2, 1, 0, 0])
    """
    t, n = check_scores(target, nontarget)
    scores = np.concatenate([t, n])
    is_target = np.zeros(scores.size, dtype=np.int64)
    is_target[: t.size] = 1
    order = np.argsort(scores)
    return count_errors(scores[order], is_target[order], 1 - is_target[order])


def count_errors(scores: Scores, target: Counts, nontarget: Counts) -> Det:
    """DET curve of trials that are sorted and counted already.

    Args:
        scores: shape (k,), finite, rising; equal ones are decided together.
        target: shape (k,), how many target trials have this score, >= 0.
        nontarget: shape (k,), the same of nontarget trials; both sums are > 0.
    """
    last_of_equals = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    up_to_target = np.cumsum(target)[last_of_equals]
    up_to_nontarget = np.cumsum(nontarget)[last_of_equals]
    n_target, n_nontarget = int(up_to_target[-1]), int(up_to_nontarget[-1])
    return Det(
        np.append(scores[last_of_equals], np.inf),
        np.append(0, up_to_target),
        n_nontarget - np.append(0, up_to_nontarget),
        n_target,
        n_nontarget,
    )


def convex_hull(curve: Det) -> Det:
    """The lower convex hull of a DET curve (that is: the convex hull of its ROC).

    What a system reaches that may choose between two thresholds by lot; optimal calibration
    by pool-adjacent-violators gives the same segments (Fawcett and Niculescu-Mizil 2007).
    Points on a segment's inside are left out. Counts are whole, so the test is exact.

    >>> convex_hull(det([1.0, 3.0, 4.0], [0.0, 2.0, 2.5])).thresholds.tolist()
    [0.0, 1.0, 3.0, inf]
    """
    hull = curve
    while True:
        inside = _strictly_below_neighbours(hull)
        dropped = inside.size - int(inside.sum())
        if not dropped:
            return hull
        hull = hull.at(np.flatnonzero(inside))
        # Most points fall in a few whole-array rounds. A crafted curve may lose one a round:
        # then go on point by point.
        if dropped * 20 < inside.size:
            return hull.at(_monotone_chain(hull))


def _strictly_below_neighbours(curve: Det) -> npt.NDArray[np.bool_]:
    """Which points lie strictly below the line through their neighbours; the ends do.

    No other point can be a corner of the hull, whichever of its neighbours stay.
    """
    x, y = curve.false_accepts, curve.misses
    below = np.ones(x.size, dtype=np.bool_)
    below[1:-1] = (x[2:] - x[:-2]) * (y[1:-1] - y[:-2]) > (y[2:] - y[:-2]) * (x[1:-1] - x[:-2])
    return below


def _monotone_chain(curve: Det) -> npt.NDArray[np.intp]:
    x, y = curve.false_accepts.tolist(), curve.misses.tolist()
    chain: list[int] = []
    for c in range(len(x)):
        while len(chain) > 1:
            a, b = chain[-2], chain[-1]
            if (x[c] - x[a]) * (y[b] - y[a]) > (y[c] - y[a]) * (x[b] - x[a]):
                break
            chain.pop()
        chain.append(c)
    return np.array(chain, dtype=np.intp)
