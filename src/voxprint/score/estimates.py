"""The error rates a report quotes, each with how much it rests on.

A rate that rests on fewer than 30 errors comes with an interval over speakers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxprint.score.curve import Det, det
from voxprint.score.intervals import RULE_OF_30, Interval, no_error_bound, speaker_bootstrap
from voxprint.score.metrics import eer_of, frr_at_far_of, min_dcf_of

#: Prior of a target trial that minDCF is reported at.
P_TARGET = 0.01
#: False-accept rates that the miss rate is reported at.
FARS = (0.01, 0.001)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured rate or cost and how much it rests on.

    Attributes:
        value: in [0, 1].
        errors: misses or false accepts behind it, whichever are fewer.
        interval: 95 % interval over speakers, where ``errors`` is below 30.
        threshold: score it is reached at; None for the EER, which lies between two, and
            where nothing is accepted.
    """

    value: float
    errors: int
    interval: Interval | None = None
    threshold: float | None = None

    def percent(self) -> str:
        """For people: in percent, with interval and errors where those are few."""
        return self._text(100.0, 2, " %")

    def plain(self) -> str:
        """For people: as it is, with interval and errors where those are few."""
        return self._text(1.0, 4, "")

    def _text(self, unit: float, places: int, suffix: str) -> str:
        text = f"{unit * self.value:.{places}f}{suffix}"
        if self.interval is None:
            return text
        low, high = unit * self.interval.low, unit * self.interval.high
        count = f"{self.errors} error{'' if self.errors == 1 else 's'}"
        return f"{text} [{low:.{places}f}, {high:.{places}f}; {count}]"


@dataclass(frozen=True, slots=True)
class Rates:
    """How well scores separate speakers.

    Attributes:
        n_target, n_nontarget: trials scored.
        eer: equal error rate on the ROC's convex hull.
        min_dcf: normalised, at ``P_TARGET``, equal costs.
        frr_at_far: miss rate at each of ``FARS``.
    """

    n_target: int
    n_nontarget: int
    eer: Estimate
    min_dcf: Estimate
    frr_at_far: dict[float, Estimate]


def estimate_rates(
    scores: npt.NDArray[np.float64],
    same: npt.NDArray[np.bool_],
    enrol_speaker: npt.NDArray[np.intp],
    test_speaker: npt.NDArray[np.intp],
) -> Rates:
    """Measure scored trials.

    Args:
        scores: shape (n,), finite, larger = more alike.
        same: shape (n,), true for target trials.
        enrol_speaker, test_speaker: shape (n,), who speaks, for the intervals.
    Raises:
        EmptyTrials: one side has no trial.
        UsageError: a score is not finite.

    >>> rates = estimate_rates(np.array([0.9, 0.2, 0.7, 0.1]), np.array([True, False] * 2),
    ...                        np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]))
    >>> rates.eer.value, rates.eer.errors, rates.frr_at_far[0.01].threshold
    (0.0, 0, 0.7)
    """
    curve = det(scores[same], scores[~same])
    n, m = curve.n_target, curve.n_nontarget
    cost = min_dcf_of(curve, p_target=P_TARGET)
    points = [cost, *(frr_at_far_of(curve, far=far) for far in FARS)]
    values = _statistics(curve)
    errors = [
        round(values[0] * min(n, m)),
        *(round(min(point.p_miss * n, point.p_fa * m)) for point in points),
    ]
    thresholds = [None, *(p.threshold if math.isfinite(p.threshold) else None for p in points)]
    few = [count < RULE_OF_30 for count in errors]
    intervals: list[Interval | None] = [None] * len(values)
    if any(few):
        intervals = [*_intervals(scores, same, enrol_speaker, test_speaker, values)]
    estimates = [
        Estimate(value, count, interval if is_few else None, threshold)
        for value, count, interval, is_few, threshold in zip(
            values, errors, intervals, few, thresholds, strict=True
        )
    ]
    return Rates(n, m, estimates[0], estimates[1], dict(zip(FARS, estimates[2:], strict=True)))


def _statistics(curve: Det) -> list[float]:
    return [
        eer_of(curve),
        min_dcf_of(curve, p_target=P_TARGET).cost,
        *(frr_at_far_of(curve, far=far).p_miss for far in FARS),
    ]


def _intervals(
    scores: npt.NDArray[np.float64],
    same: npt.NDArray[np.bool_],
    enrol: npt.NDArray[np.intp],
    test: npt.NDArray[np.intp],
    values: list[float],
) -> list[Interval]:
    drawn = speaker_bootstrap(scores, same, enrol, test, _statistics)
    # Where no error was seen, resampling shows none: what is left is how few people that is.
    miss = no_error_bound(np.unique(enrol[same]).size)
    fa = no_error_bound(np.unique([enrol[~same], test[~same]]).size)
    bounds = [
        min(0.5, max(miss, fa)),
        min(1.0, miss + fa * (1 - P_TARGET) / P_TARGET),
        *(miss for _ in FARS),
    ]
    return [
        interval if value else Interval(0.0, max(bound, interval.high), interval.level)
        for value, bound, interval in zip(values, bounds, drawn, strict=True)
    ]
