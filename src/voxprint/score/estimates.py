"""The error rates a report quotes, each with how much it rests on.

Every rate has an interval over speakers. For people it is printed beside the equal error rate,
and beside whatever rests on fewer than 30 errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxprint.errors import UsageError
from voxprint.score.curve import Det, det
from voxprint.score.intervals import RULE_OF_30, Interval, no_error_bound, speaker_bootstrap
from voxprint.score.llr import act_dcf, cllr, min_cllr
from voxprint.score.metrics import eer_of, frr_at_far_of, min_dcf_of

#: Prior of a target trial that detection costs are reported at.
P_TARGET = 0.01
#: False-accept rates that the miss rate is reported at.
FARS = (0.01, 0.001)
#: Decisions as numbers that rise with likeness.
REJECT, INCONCLUSIVE, ACCEPT = -1, 0, 1

Scores = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]
Decisions = npt.NDArray[np.int8]

#: Trials that all draws of a bootstrap may count together, and the fewest draws even so.
_DRAWN_TRIALS = 5e7
_FEWEST_DRAWS, _MOST_DRAWS = 200, 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured rate or cost and how much it rests on.

    Attributes:
        value: in [0, 1].
        errors: misses or false accepts behind it, whichever are fewer.
        interval: 95 % interval over speakers.
        threshold: score it is reached at; None for the EER, which lies between two, and
            where nothing is accepted.
    """

    value: float
    errors: int
    interval: Interval
    threshold: float | None = None

    def percent(self, *, whole: bool = False) -> str:
        """For people: in percent; with its interval where errors are few, or ``whole``."""
        return self._text(100.0, 2, " %", whole)

    def plain(self) -> str:
        """For people: as it is, with its interval where errors are few."""
        return self._text(1.0, 4, "", False)

    def _text(self, unit: float, places: int, suffix: str, whole: bool) -> str:
        text = f"{unit * self.value:.{places}f}{suffix}"
        if self.errors >= RULE_OF_30 and not whole:
            return text
        low, high = unit * self.interval.low, unit * self.interval.high
        return f"{text} [{low:.{places}f}, {high:.{places}f}]"


@dataclass(frozen=True, slots=True)
class Rates:
    """How well scores separate speakers.

    Attributes:
        n_target, n_nontarget: trials scored.
        eer: equal error rate on the ROC's convex hull.
        min_dcf: normalised, at ``P_TARGET``, equal costs.
        frr_at_far: miss rate at each false-accept rate asked for.
    """

    n_target: int
    n_nontarget: int
    eer: Estimate
    min_dcf: Estimate
    frr_at_far: dict[float, Estimate]


@dataclass(frozen=True, slots=True)
class DecisionRates:
    """What decisions for one target false-accept rate really do.

    Attributes:
        far: nontarget trials accepted, of all nontarget trials.
        frr: target trials rejected, of all target trials.
        inconclusive_target, inconclusive_nontarget: share of either left undecided.
    """

    far: Estimate
    frr: Estimate
    inconclusive_target: float
    inconclusive_nontarget: float


@dataclass(frozen=True, slots=True)
class LlrRates:
    """How good log-likelihood ratios and the decisions on them are.

    Attributes:
        eer: of the LLRs, which may rank trials otherwise than the scores do.
        min_dcf, act_dcf: normalised cost at ``P_TARGET``: at the best threshold, and at that of
            Bayes' rule.
        cllr, min_cllr: in bits: as they are, and after the best rising calibration.
        decisions: by target false-accept rate; empty where only LLRs are given.
    """

    eer: Estimate
    min_dcf: float
    act_dcf: float
    cllr: float
    min_cllr: float
    decisions: dict[float, DecisionRates]


@dataclass(frozen=True, slots=True, eq=False)
class Who:
    """Labels and speakers of trials.

    Attributes:
        same: shape (n,), true for target trials.
        enrol, test: shape (n,), who speaks on either side, numbered from 0; for the intervals.
    """

    same: Bools
    enrol: Index
    test: Index

    def of(self, chosen: Bools | Index) -> Who:
        """Some of the trials."""
        return Who(self.same[chosen], self.enrol[chosen], self.test[chosen])


def estimate_rates(scores: Scores, who: Who, *, fars: Sequence[float] = FARS) -> Rates:
    """Measure scored trials.

    Args:
        scores: shape (n,), finite, larger = more alike.
        who: labels and speakers, for the intervals.
        fars: false-accept rates at which the miss rate is wanted, in [0, 1].
    Raises:
        EmptyTrials: one side has no trial.
        UsageError: a score is not finite, or fewer than two people speak.

    >>> who = Who(np.array([True, False] * 2), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]))
    >>> rates = estimate_rates(np.array([0.9, 0.2, 0.7, 0.1]), who)
    >>> rates.eer.value, rates.eer.errors, rates.frr_at_far[0.01].threshold
    (0.0, 0, 0.7)
    """
    curve = det(scores[who.same], scores[~who.same])
    n, m = curve.n_target, curve.n_nontarget
    points = [min_dcf_of(curve, p_target=P_TARGET), *(frr_at_far_of(curve, far=f) for f in fars)]

    def statistics(drawn: Det) -> list[float]:
        cost = min_dcf_of(drawn, p_target=P_TARGET).cost
        return [eer_of(drawn), cost, *(frr_at_far_of(drawn, far=f).p_miss for f in fars)]

    values = statistics(curve)
    errors = [round(values[0] * min(n, m))]
    errors += [round(min(point.p_miss * n, point.p_fa * m)) for point in points]
    thresholds = [p.threshold if math.isfinite(p.threshold) else None for p in points]
    miss, fa = _bounds(who)
    dcf = miss + fa * (1 - P_TARGET) / P_TARGET
    highest = [min(0.5, max(miss, fa)), min(1.0, dcf), *(miss for _ in fars)]
    drawn = speaker_bootstrap(
        scores, who.same, who.enrol, who.test, statistics, replicates=_draws(scores.size)
    )
    estimates = [
        Estimate(value, count, _widened(value, interval, bound), threshold)
        for value, count, interval, bound, threshold in zip(
            values, errors, drawn, highest, [None, *thresholds], strict=True
        )
    ]
    return Rates(n, m, estimates[0], estimates[1], dict(zip(fars, estimates[2:], strict=True)))


def estimate_llrs(
    llrs: Scores, who: Who, decisions: Mapping[float, Decisions] | None = None
) -> LlrRates:
    """Measure log-likelihood ratios, and decisions made on them.

    Args:
        llrs: shape (n,), natural log, finite.
        who: labels and speakers, for the intervals.
        decisions: by target false-accept rate; int8, shape (n,): ``ACCEPT``, ``INCONCLUSIVE``
            or ``REJECT``.
    Raises:
        EmptyTrials: one side has no trial.
        UsageError: an LLR is not finite, or fewer than two people speak.
    """
    target, nontarget = llrs[who.same], llrs[~who.same]
    rates = estimate_rates(llrs, who, fars=())
    return LlrRates(
        eer=rates.eer,
        min_dcf=rates.min_dcf.value,
        act_dcf=act_dcf(target, nontarget, p_target=P_TARGET).cost,
        cllr=cllr(target, nontarget),
        min_cllr=min_cllr(target, nontarget),
        decisions={far: _decided(made, who) for far, made in (decisions or {}).items()},
    )


def _decided(made: Decisions, who: Who) -> DecisionRates:
    if not np.isin(made, (REJECT, INCONCLUSIVE, ACCEPT)).all():
        raise UsageError("decisions must be -1 (reject), 0 (inconclusive) or 1 (accept)")
    target, nontarget = made[who.same], made[~who.same]

    def statistics(drawn: Det) -> list[float]:
        # Accepted at 1 and above; rejected below 0. Thresholds are the decisions that occur.
        accepted = int(np.searchsorted(drawn.thresholds, ACCEPT))
        undecided = int(np.searchsorted(drawn.thresholds, INCONCLUSIVE))
        return [float(drawn.p_fa[accepted]), float(drawn.p_miss[undecided])]

    intervals = speaker_bootstrap(
        made, who.same, who.enrol, who.test, statistics, replicates=_draws(made.size)
    )
    counts = [int(np.sum(nontarget == ACCEPT)), int(np.sum(target == REJECT))]
    values = [counts[0] / nontarget.size, counts[1] / target.size]
    miss, fa = _bounds(who)
    far, frr = (
        Estimate(value, count, _widened(value, interval, bound))
        for value, count, interval, bound in zip(values, counts, intervals, (fa, miss), strict=True)
    )
    return DecisionRates(
        far,
        frr,
        float(np.mean(target == INCONCLUSIVE)),
        float(np.mean(nontarget == INCONCLUSIVE)),
    )


def _draws(trials: int) -> int:
    return int(min(_MOST_DRAWS, max(_FEWEST_DRAWS, _DRAWN_TRIALS / trials)))


def _bounds(who: Who) -> tuple[float, float]:
    """Highest miss and false-accept rates still plausible where none was seen."""
    miss = no_error_bound(np.unique(who.enrol[who.same]).size)
    other = ~who.same
    return miss, no_error_bound(np.unique([who.enrol[other], who.test[other]]).size)


def _widened(value: float, interval: Interval, bound: float) -> Interval:
    """Where no error was seen, resampling shows none: what is left is how few people that is."""
    if value:
        return interval
    return Interval(0.0, max(bound, interval.high), interval.level)
