"""How well scores separate same-speaker from different-speaker trials.

These metrics choose their own threshold, so any rising transformation of the scores leaves
them as they are; what depends on the scores being calibrated is in ``voxprint.score.llr``.
Each comes twice: on the scores of both sides, and (``..._of``) on a DET curve at hand.
Recordings that gave no embedding have no score; they are counted beside, never in here.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxprint.errors import UsageError
from voxprint.score.curve import Det, check_scores, convex_hull, det


class InvertedScores(UserWarning):
    """Different speakers score higher than same speakers: distances given as scores?"""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What one threshold does.

    Attributes:
        threshold: accepted when ``score >= threshold``; +inf where nothing is accepted.
        p_miss: share of target trials rejected, in [0, 1].
        p_fa: share of nontarget trials accepted, in [0, 1].
    """

    threshold: float
    p_miss: float
    p_fa: float


@dataclass(frozen=True, slots=True)
class CostPoint(OperatingPoint):
    """An operating point and its normalised detection cost.

    Attributes:
        cost: 1 is the cost of the better of accepting all and rejecting all.
    """

    cost: float


def eer(target: npt.ArrayLike, nontarget: npt.ArrayLike) -> float:
    """Equal error rate on the convex hull of the ROC (ROCCH-EER).

    Equal scores are decided together, so trial order is irrelevant. Never above 0.5: where
    scores are worse than chance the hull is the chance line, and a warning says so.

    Args:
        target: same-speaker scores, shape (n,), larger = more alike.
        nontarget: different-speaker scores, shape (m,), same unit.
    Returns:
        Rate in [0, 0.5] at which miss rate and false-accept rate are equal.
    Raises:
        EmptyTrials: one side has no score.
        UsageError: a non-finite score.
    Warns:
        InvertedScores: a nontarget trial outscores a target trial more often than not.
    Source: Brümmer and de Villiers 2011, The BOSARIS Toolkit, ROCCH-EER.

    >>> eer([2.0, 3.0], [0.0, 1.0])
    0.0
    >>> eer([1.0] * 5, [1.0] * 5)
    0.5
    """
    curve = det(target, nontarget)
    area = _area_under_roc(curve)
    if area < 0.5:
        warnings.warn(
            f"a target trial outscores a nontarget one in only {100 * area:.1f} % of pairs; "
            "larger scores must mean more alike",
            InvertedScores,
            stacklevel=2,
        )
    return eer_of(curve)


def eer_of(curve: Det) -> float:
    """Equal error rate of a DET curve or of its hull; see :func:`eer`, but never warns."""
    hull = convex_hull(curve)
    n, m = hull.n_target, hull.n_nontarget
    after = int(np.argmax(hull.misses * m >= hull.false_accepts * n))
    y0, y1 = (int(v) for v in hull.misses[after - 1 : after + 1])
    x0, x1 = (int(v) for v in hull.false_accepts[after - 1 : after + 1])
    # The segment crosses p_miss = p_fa; in whole numbers, so that 1/2 is 0.5 and 0 is 0.
    gap0, gap1 = y0 * m - x0 * n, y1 * m - x1 * n
    return (y0 * gap1 - y1 * gap0) / (n * (gap1 - gap0))


def _area_under_roc(curve: Det) -> float:
    widths = -np.diff(curve.p_fa)
    accepted = 1.0 - curve.p_miss
    return float(np.sum(widths * (accepted[1:] + accepted[:-1]) / 2))


def min_dcf(
    target: npt.ArrayLike,
    nontarget: npt.ArrayLike,
    *,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> CostPoint:
    """Lowest normalised detection cost over the reachable thresholds.

    Equal scores are decided together, so trial order is irrelevant.

    Args:
        target: same-speaker scores, shape (n,), larger = more alike.
        nontarget: different-speaker scores, shape (m,), same unit.
        p_target: prior of a target trial, in (0, 1).
        c_miss, c_fa: cost per error, > 0.
    Returns:
        CostPoint: cost in [0, 1] and where it is reached; of several such thresholds the
        highest (score unit, may be inf).
    Raises:
        EmptyTrials: one side has no score.
        UsageError: a non-finite score or a parameter out of range.
    Source: NIST SRE16 evaluation plan, C_Norm.

    >>> min_dcf([2.0, 3.0], [0.0, 1.0]).cost
    0.0
    >>> min_dcf([1.0], [1.0]).cost
    1.0
    """
    return min_dcf_of(det(target, nontarget), p_target=p_target, c_miss=c_miss, c_fa=c_fa)


def min_dcf_of(
    curve: Det, *, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> CostPoint:
    """Lowest normalised detection cost on a DET curve or its hull; see :func:`min_dcf`."""
    weight_miss, weight_fa = cost_weights(p_target, c_miss, c_fa)
    p_miss, p_fa = curve.p_miss, curve.p_fa
    cost = weight_miss * p_miss + weight_fa * p_fa
    best = cost.size - 1 - int(np.argmin(cost[::-1]))
    return CostPoint(
        float(curve.thresholds[best]), float(p_miss[best]), float(p_fa[best]), float(cost[best])
    )


def cost_weights(p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    """What a miss rate and a false-accept rate of 1 cost, in units of the trivial decision.

    Raises:
        UsageError: a prior outside (0, 1) or a cost that is not positive and finite.
    """
    if not 0.0 < p_target < 1.0:
        raise UsageError(f"p_target must lie between 0 and 1, got {p_target}")
    for name, cost in (("c_miss", c_miss), ("c_fa", c_fa)):
        if not (cost > 0.0 and math.isfinite(cost)):
            raise UsageError(f"{name} must be positive and finite, got {cost}")
    miss, fa = c_miss * p_target, c_fa * (1.0 - p_target)
    trivial = min(miss, fa)
    return miss / trivial, fa / trivial


def frr_at_far(target: npt.ArrayLike, nontarget: npt.ArrayLike, *, far: float) -> OperatingPoint:
    """Lowest miss rate at a threshold whose false-accept rate is at most ``far``.

    Only thresholds that can be set count: nothing is interpolated, so with few nontarget
    trials ``p_fa`` lies below what was asked. Rates of the trials scored; a failure to
    acquire is counted beside.

    Args:
        target: same-speaker scores, shape (n,), larger = more alike.
        nontarget: different-speaker scores, shape (m,), same unit.
        far: false-accept rate allowed, in [0, 1].
    Returns:
        OperatingPoint: of several thresholds with this miss rate the highest.
    Raises:
        EmptyTrials: one side has no score.
        UsageError: a non-finite score, or ``far`` out of range.
    Source: ISO/IEC 19795-1, error rates at a fixed threshold.

    >>> frr_at_far([1.0, 3.0, 4.0], [0.0, 2.0], far=0.0).p_miss
    0.3333333333333333
    """
    return frr_at_far_of(det(target, nontarget), far=far)


def frr_at_far_of(curve: Det, *, far: float) -> OperatingPoint:
    """Lowest miss rate of a DET curve within ``far``; see :func:`frr_at_far`."""
    if not 0.0 <= far <= 1.0:
        raise UsageError(f"far must lie in [0, 1], got {far}")
    p_fa = curve.p_fa
    first = int(np.argmax(p_fa <= far))
    best = int(np.searchsorted(curve.misses, curve.misses[first], side="right")) - 1
    return OperatingPoint(
        float(curve.thresholds[best]), float(curve.p_miss[best]), float(p_fa[best])
    )


def at_threshold(
    target: npt.ArrayLike, nontarget: npt.ArrayLike, threshold: float
) -> OperatingPoint:
    """Error rates when every trial with ``score >= threshold`` is accepted.

    Args:
        target: same-speaker scores, shape (n,), larger = more alike.
        nontarget: different-speaker scores, shape (m,), same unit.
        threshold: in the unit of the scores; infinities accept nothing or everything.
    Raises:
        EmptyTrials: one side has no score.
        UsageError: a non-finite score, or a threshold that is not a number.

    >>> at_threshold([0.4, 0.6], [0.1, 0.4], 0.4)
    OperatingPoint(threshold=0.4, p_miss=0.0, p_fa=0.5)
    """
    t, n = check_scores(target, nontarget)
    if math.isnan(threshold):
        raise UsageError("threshold must be a number, got nan")
    return OperatingPoint(
        float(threshold), float(np.mean(t < threshold)), float(np.mean(n >= threshold))
    )
