"""How good log-likelihood ratios are: as decisions at a fixed threshold, and as information.

All take natural-log LLRs. Scores that only rank trials well (a cosine) have no LLR metric;
``min_cllr`` alone is defined for them, too, because it calibrates first.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from voxprint.score.curve import check_scores, convex_hull, det
from voxprint.score.metrics import CostPoint, at_threshold, cost_weights


def act_dcf(
    target: npt.ArrayLike,
    nontarget: npt.ArrayLike,
    *,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> CostPoint:
    """Normalised detection cost of LLRs at the threshold that Bayes' rule sets.

    Never below ``min_dcf``; the difference is what miscalibration costs. May exceed 1: worse
    than deciding without listening.

    Args:
        target: same-speaker LLRs, shape (n,), natural log.
        nontarget: different-speaker LLRs, shape (m,).
        p_target: prior of a target trial, in (0, 1).
        c_miss, c_fa: cost per error, > 0.
    Raises:
        EmptyTrials: one side has no LLR.
        UsageError: a non-finite LLR or a parameter out of range.
    Source: NIST SRE16 evaluation plan, actual C_Norm.

    >>> act_dcf([10.0], [-10.0]).cost
    0.0
    >>> round(act_dcf([10.0], [10.0]).cost, 9)
    99.0
    """
    weight_miss, weight_fa = cost_weights(p_target, c_miss, c_fa)
    point = at_threshold(target, nontarget, math.log(weight_fa / weight_miss))
    cost = weight_miss * point.p_miss + weight_fa * point.p_fa
    return CostPoint(point.threshold, point.p_miss, point.p_fa, cost)


def cllr(target: npt.ArrayLike, nontarget: npt.ArrayLike) -> float:
    """Cost of log-likelihood ratios over all priors, in bits per trial.

    Args:
        target: same-speaker LLRs, shape (n,), natural log.
        nontarget: different-speaker LLRs, shape (m,).
    Returns:
        >= 0; 0 is perfect, 1 is what saying nothing (all LLRs zero) costs, above 1 misleads.
    Raises:
        EmptyTrials: one side has no LLR.
        UsageError: a non-finite LLR.
    Source: Brümmer and du Preez 2006, Application-independent evaluation of speaker detection.

    >>> cllr([0.0, 0.0, 0.0], [0.0])
    1.0
    """
    t, n = check_scores(target, nontarget)
    # Base 2 throughout: log2(1 + 2^0) is 1 without rounding.
    miss = np.logaddexp2(0.0, -t / math.log(2.0)).mean()
    fa = np.logaddexp2(0.0, n / math.log(2.0)).mean()
    return float(miss + fa) / 2.0


def min_cllr(target: npt.ArrayLike, nontarget: npt.ArrayLike) -> float:
    """Cllr after the best rising calibration (pool adjacent violators), in bits per trial.

    Pooling adjacent violators gives all trials of one segment of the ROC's convex hull the
    same LLR, the log of the segment's slope; so it is read from the hull.

    Args:
        target: same-speaker scores or LLRs, shape (n,), larger = more alike.
        nontarget: different-speaker scores or LLRs, shape (m,), same unit.
    Returns:
        In [0, 1] and never above ``cllr``.
    Raises:
        EmptyTrials: one side has no score.
        UsageError: a non-finite score.
    Source: Brümmer and du Preez 2006, minimum C_llr.

    >>> min_cllr([2.0, 3.0], [0.0, 1.0])
    0.0
    >>> min_cllr([1.0, 1.0], [1.0])
    1.0
    """
    hull = convex_hull(det(target, nontarget))
    targets, nontargets = np.diff(hull.p_miss), -np.diff(hull.p_fa)
    # A segment with trials of one side only has an infinite LLR and costs nothing.
    mixed = (targets > 0) & (nontargets > 0)
    t, n = targets[mixed], nontargets[mixed]
    return float(np.sum(t * np.log2((t + n) / t)) + np.sum(n * np.log2((t + n) / n))) / 2.0
