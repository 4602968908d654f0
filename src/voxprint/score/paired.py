"""Two systems on the same trials: how sure is it that one errs less than the other?

Both are measured on the same draws of people, so that what makes a draw hard for both cancels
out; the interval of the difference is much narrower than the two intervals apart. Draws are made
once for all lists, so that lists with the same people move together, as they do in truth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.curve import check_scores
from voxprint.score.intervals import Interval, drawn_weights
from voxprint.score.metrics import cost_weights

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Trials times draws that are counted at once.
_AT_ONCE = 250_000


def draw_people(groups: npt.ArrayLike, *, replicates: int = 1000, seed: int = 0) -> Counts:
    """How often each person is drawn: as many of every group as it has, with replacement.

    Args:
        groups: shape (people,), whole numbers; people of one group stand for each other.
        replicates: number of draws, >= 1.
        seed: the same seed gives the same draws.

    Returns:
        int64, shape (replicates, people); over each group every row sums up to its size.

    Raises:
        UsageError: nobody to draw from.

    >>> draw_people([0, 0, 1], replicates=3)[:, 2].tolist()
    [1, 1, 1]
    """
    group = np.asarray(groups)
    if group.ndim != 1 or not group.size:
        raise UsageError(f"expected the group of every person, shape (n,), got {group.shape}")
    random = np.random.default_rng(seed)
    times = np.zeros((replicates, group.size), np.int64)
    rows = np.arange(replicates)[:, None]
    for each in np.unique(group):
        members = np.flatnonzero(group == each)
        np.add.at(times, (rows, random.choice(members, (replicates, members.size))), 1)
    return times


def drawn_rates(
    scores: npt.ArrayLike,
    same: npt.ArrayLike,
    enrol_speaker: npt.ArrayLike,
    test_speaker: npt.ArrayLike,
    times: Counts,
    *,
    p_target: float = 0.01,
) -> tuple[Floats, Floats]:
    """Equal error rate and lowest detection cost of every draw, all draws at once.

    A trial counts as often as its pair was drawn, one person's trials as often as the person. The
    rates are those of ``eer_of`` and ``min_dcf_of``.

    Args:
        scores: shape (n,), finite, larger = more alike.
        same: bool, shape (n,), true for target trials.
        enrol_speaker, test_speaker: int, shape (n,), who speaks: columns of ``times``.
        times: shape (replicates, people), how often each person was drawn
            (:func:`draw_people`).
        p_target: prior of a target trial in the cost, in (0, 1); errors of both kinds cost 1.

    Returns:
        EER in [0, 0.5] and normalised cost in [0, 1], float64, shape (replicates,) each; NaN
        where a draw left no trial of one kind.

    Raises:
        EmptyTrials: one side has no trial.
        UsageError: a score is not finite, or ``p_target`` is out of range.

    Source: resampling people and not trials: the subsets bootstrap of Bolle, Ratha and Pankanti
    2004 (Error analysis of pattern recognition systems), as Poh, Martin and Bengio 2007 use it;
    weights of pairs: Snijders and Borgatti 1999.
    """
    score, target = np.asarray(scores, np.float64), np.asarray(same, np.bool_)
    enrol, test = np.asarray(enrol_speaker, np.intp), np.asarray(test_speaker, np.intp)
    check_scores(score[target], score[~target])
    order = np.argsort(score)
    score, target, enrol, test = score[order], target[order], enrol[order], test[order]
    cuts = _possible_corners(score, target)
    at_once = max(1, _AT_ONCE // score.size)
    found = []
    for at in range(0, len(times), at_once):
        some = times[at : at + at_once]
        misses = _below(cuts, target, drawn_weights(some, enrol[target], test[target]))
        rejected = _below(cuts, ~target, drawn_weights(some, enrol[~target], test[~target]))
        found.append(_rates(misses, rejected, p_target))
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def drawn_interval(drawn: npt.ArrayLike, *, level: float = 0.95) -> Interval:
    """Where a figure lies, from its values in many draws: their percentiles.

    Args:
        drawn: shape (replicates,); NaN where a draw has no value, which does not count. Infinite
            values may be among them: ends are values that occurred, none between two.
        level: confidence, in (0, 1).

    Raises:
        EmptyTrials: no draw has a value.

    >>> drawn_interval([0.5, float("nan"), 0.25])
    Interval(low=0.25, high=0.5, level=0.95)
    """
    values = np.asarray(drawn, np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        raise EmptyTrials("expected a draw with trials of both kinds, there is none")
    tail = 100 * (1 - level) / 2
    low = np.percentile(values, tail, method="lower")
    return Interval(float(low), float(np.percentile(values, 100 - tail, method="higher")), level)


def relative_change(before: npt.ArrayLike, after: npt.ArrayLike) -> Floats:
    """``after / before - 1``; 0 where both are 0, +inf where only ``before`` is; NaN stays.

    Of the same draws of two systems this is the change of every draw, whose percentiles
    (:func:`drawn_interval`) are the interval of the change.

    >>> relative_change([0.2, 0.0, 0.0], [0.1, 0.0, 0.1]).tolist()
    [-0.5, 0.0, inf]
    """
    old, new = np.asarray(before, np.float64), np.asarray(after, np.float64)
    none = np.where(new == 0, 0.0, np.inf)
    return np.where(old == 0, none, new / np.where(old == 0, 1.0, old) - 1)


def _possible_corners(score: Floats, target: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Where a threshold may be a corner of the ROC's hull, whatever the trials weigh.

    Only between a score that a nontarget trial has and the next one if a target trial has that:
    anywhere else going on in one direction lowers one kind of error and raises none. The
    ends belong to it. Trials come sorted; a cut is the number of trials below.
    """
    first = np.flatnonzero(np.append(True, score[1:] != score[:-1]))
    has_target = np.logical_or.reduceat(target, first)
    has_other = np.logical_or.reduceat(~target, first)
    inside = first[1:][has_other[:-1] & has_target[1:]]
    return np.concatenate([[0], inside, [score.size]]).astype(np.intp)


def _below(cuts: npt.NDArray[np.intp], kind: npt.NDArray[np.bool_], weights: Counts) -> Counts:
    """Weight of the trials of one kind below every cut, shape (draws, cuts)."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), np.int64)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums[:, np.searchsorted(np.flatnonzero(kind), cuts)]


def _rates(misses: Counts, rejected: Counts, p_target: float) -> tuple[Floats, Floats]:
    n, m = misses[:, -1], rejected[:, -1]
    accepted = m[:, None] - rejected
    known = (n > 0) & (m > 0)
    weight_miss, weight_fa = cost_weights(p_target, 1.0, 1.0)
    rates = np.full(len(n), np.nan), np.full(len(n), np.nan)
    misses, accepted, n, m = misses[known], accepted[known], n[known], m[known]
    rates[0][known] = _equal_errors(misses, accepted, n, m)
    cost = weight_miss * (misses / n[:, None]) + weight_fa * (accepted / m[:, None])
    rates[1][known] = cost.min(axis=1)
    return rates


def _equal_errors(misses: Counts, accepted: Counts, n: Counts, m: Counts) -> Floats:
    """Where the lower hull of each curve has as high a miss as a false-accept rate.

    A chord that spans the diagonal is replaced, by whichever point lies farthest below it, until
    none does: then it is the hull's segment there. In whole numbers, so the end is exact.

    Args:
        misses, accepted: shape (draws, points), rising from 0 to n and falling from m to 0.
        n, m: shape (draws,), > 0.
    """
    rows = np.arange(len(n))
    left, right = np.zeros(len(n), np.intp), np.full(len(n), misses.shape[1] - 1)
    while True:
        x0, x1 = accepted[rows, left], accepted[rows, right]
        y0, y1 = misses[rows, left], misses[rows, right]
        height = (y1 - y0)[:, None] * (accepted - x0[:, None])
        height -= (x1 - x0)[:, None] * (misses - y0[:, None])
        # Below the chord this is negative, and the farther off the more.
        lowest = np.argmin(height, axis=1)
        moved = height[rows, lowest] < 0
        if not moved.any():
            break
        beyond = misses[rows, lowest] * m >= accepted[rows, lowest] * n
        right = np.where(moved & beyond, lowest, right)
        left = np.where(moved & ~beyond, lowest, left)
    gap0, gap1 = (y0 * m - x0 * n).astype(np.float64), (y1 * m - x1 * n).astype(np.float64)
    return np.asarray((y0 * gap1 - y1 * gap0) / (n * (gap1 - gap0)), np.float64)
