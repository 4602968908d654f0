"""From a score to a log-likelihood ratio and a decision.

Three steps, each visible beside the next.

1. *Where would a stranger score?* A normal-inverse-gamma prior (what the background and the
   length of the probe promise) meets the cohort's scores; the posterior predictive is a
   Student t (Gelman and others, Bayesian Data Analysis, 3rd edition, section 3.3). The score's
   place in it, brought to a normal scale (Gaver and Kafadar, The American Statistician 38,
   1984), is ``z``. The fewer people the cohort has, the wider the t: what is not known yet
   lowers ``z``.
2. *LLR*: from what is known about both sides follows where the right person would score, and
   so how far apart targets and strangers lie: their distance ``d``. For two normal
   distributions of one width the LLR is ``d z - d^2 / 2``; logistic regression finds the
   coefficients that real trials ask for (quality measures: Garcia-Romero and others, ICASSP
   2004). The slope is kept positive, so a larger score never means a smaller LLR.
3. *Decision*: accept where a stranger gets so far at the asked rate at most; reject where the
   LLR makes an error cheaper than asking again; inconclusive between.

The SQL function ``voxprint._judge`` is this module's twin; a test compares them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from voxprint.errors import UsageError
from voxprint.score.evidence import Evidence, Floats

#: What the score of a target depends on, in the order of the coefficients ``target``.
QUALITIES = (
    "constant",
    "log_probe_speech",
    "log_reference_speech",
    "log_spread",
    "level",
    "snr",
    "telephone",
)
#: Lists among the parameters of a calibration, with their lengths.
LISTS = {
    "mean": 4,
    "log_scale": 3,
    "tail": 3,
    "search_tail": 3,
    "target": len(QUALITIES),
    "llr": 5,
    "typical": 3,
}
SINGLES = ("kappa", "nu")
#: Fewer people than this tell little about where strangers score.
SMALL_COHORT = 9
#: What few people tell of strangers is taken with caution: seven to one, at least.
_CAUTIOUS_LLR = 2.0
#: A larger score never means a smaller LLR.
LEAST_SLOPE = 0.05
#: Below this rate nothing is told apart.
_LEAST_RATE = 1e-200
#: Between so many standard deviations lies a target's expected score above a stranger's.
_DISTANCE = (0.2, 12.0)
#: Seconds of net speech and decibels beyond which nothing changes.
_SPEECH, _SNR = (0.1, 30.0), (-5.0, 30.0)


@dataclass(frozen=True, slots=True)
class Costs:
    """What answers cost, and how often a claim is true: the inconclusive zone.

    A reject is answered where it is expected to cost no more than asking for more speech, where
    ``P(target | LLR) * false_reject <= inconclusive * seconds``. Asking again costs more the
    longer somebody has spoken already, since more of the same tells less and less: up to 1.5 s,
    so that nobody is sent away whom much speaks for. Where next to nobody is enrolled to compare
    with, up to 1 s: what is lacking then is not speech.

    Attributes:
        p_target: share of claims that are true, in (0, 1).
        false_reject: cost, > 0.
        inconclusive: cost for each second of net speech that was heard, >= 0.
    """

    p_target: float = 0.5
    false_reject: float = 1.0
    inconclusive: float = 0.5

    def reject_llr(self, speech: Floats, cohort_size: Floats) -> Floats:
        """LLR below which is rejected; infinite where asking again costs more than any error.

        Args:
            speech: net speech of the probes in seconds, shape (n,).
            cohort_size: people that each was compared with, shape (n,).
        """
        dearest = np.where(cohort_size < SMALL_COHORT, 1.0, 1.5)
        share = np.maximum(
            self.inconclusive * np.minimum(speech, dearest) / self.false_reject, 1e-9
        )
        odds = np.where(share < 1, np.log(share / np.where(share < 1, 1 - share, 1.0)), np.inf)
        return np.asarray(odds - np.log(self.p_target / (1 - self.p_target)))


@dataclass(frozen=True, slots=True, eq=False)
class Judgements:
    """Trials judged; every field has shape (n,).

    Attributes:
        z: the score on a stranger's scale, about standard normal for a stranger.
        llr: log-likelihood ratio, natural logarithm.
        threshold_llr: accepted from here on, at the asked rate.
        reject_llr: rejected below; at most ``threshold_llr``.
    """

    z: Floats
    llr: Floats
    threshold_llr: Floats
    reject_llr: Floats

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """Where the decision is accept."""
        return self.llr >= self.threshold_llr

    @property
    def rejected(self) -> npt.NDArray[np.bool_]:
        """Where the decision is reject; the rest is inconclusive."""
        return self.llr < self.reject_llr


@dataclass(frozen=True, slots=True)
class Calibration:
    """Coefficients that turn evidence into LLRs and decisions.

    Attributes:
        kappa, nu: how many people the prior's mean and its variance are worth.
        mean: of the prior: constant, probe level, reference level, log probe speech.
        log_scale: of the prior: constant, log probe spread, log probe speech.
        tail: ``z`` that a rate asks for: constant, normal quantile, and the quantile times
            the log of the probe's spread: the better the recording, the more the tail is that
            of voices which really are alike.
        search_tail: the same for the best of a search.
        target: expected score of a target, one coefficient for each of :data:`QUALITIES`.
        llr: offset: constant, distance, its square; slope: constant, distance.
        typical: net speech of probe and reference in seconds and SNR of the probe in dB that
            are assumed where they are not known.
    """

    kappa: float
    nu: float
    mean: tuple[float, ...]
    log_scale: tuple[float, ...]
    tail: tuple[float, ...]
    search_tail: tuple[float, ...]
    target: tuple[float, ...]
    llr: tuple[float, ...]
    typical: tuple[float, ...]

    @classmethod
    def from_json(cls, parameters: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` gave.

        Raises:
            UsageError: a parameter is missing or is not what it should be.
        """
        try:
            lists = {name: tuple(float(value) for value in parameters[name]) for name in LISTS}
            singles = {name: float(parameters[name]) for name in SINGLES}
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"expected the parameters of a calibration, got {error!r}") from error
        for name, values in lists.items():
            if len(values) != LISTS[name] or not np.isfinite(values).all():
                raise UsageError(f"expected {LISTS[name]} finite numbers as {name}, got {values}")
        if not (singles["kappa"] > 0 and singles["nu"] > 2):
            raise UsageError(f"expected kappa above 0 and nu above 2, got {singles}")
        return cls(kappa=singles["kappa"], nu=singles["nu"], **lists)

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to six digits."""
        return {
            name: _rounded(value) if isinstance(value, float) else [_rounded(v) for v in value]
            for name, value in asdict(self).items()
        }

    def strangers(self, evidence: Evidence) -> tuple[Floats, Floats, Floats]:
        """Location, scale and degrees of freedom of a stranger's score, each of shape (n,)."""
        speech = log_speech(evidence.probe_speech, self.typical[0])
        prior = np.stack([evidence.probe_level, evidence.reference_level, speech])
        prior_mean = self.mean[0] + np.tensordot(self.mean[1:], prior, axes=1)
        log_scale = (
            self.log_scale[0]
            + self.log_scale[1] * np.log(evidence.probe_spread)
            + self.log_scale[2] * speech
        )
        size = evidence.cohort_size
        people, freedom = self.kappa + size, self.nu + size
        location = (self.kappa * prior_mean + size * evidence.cohort_mean) / people
        squares = (
            self.nu * np.exp(2 * log_scale)
            + size * evidence.cohort_variance
            + self.kappa * size / people * np.square(evidence.cohort_mean - prior_mean)
        )
        return location, np.sqrt(squares / freedom * (1 + 1 / people)), freedom

    def z(self, evidence: Evidence) -> Floats:
        """The scores on a stranger's scale, shape (n,)."""
        location, scale, freedom = self.strangers(evidence)
        return _normal((evidence.score - location) / scale, freedom)

    def qualities(self, evidence: Evidence) -> Floats:
        """What a target's score depends on, shape (n, len(QUALITIES))."""
        snr = np.where(np.isfinite(evidence.snr_db), evidence.snr_db, self.typical[2])
        return np.stack(
            [
                np.ones(len(evidence)),
                log_speech(evidence.probe_speech, self.typical[0]),
                log_speech(evidence.reference_speech, self.typical[1]),
                log_spread(evidence),
                evidence.probe_level,
                (np.clip(snr, *_SNR) - 20.0) / 10.0,
                evidence.telephone,
            ],
            axis=1,
        )

    def distance(self, evidence: Evidence) -> Floats:
        """How many of a stranger's scales a target's expected score lies above, shape (n,)."""
        location, scale, _ = self.strangers(evidence)
        expected = self.qualities(evidence) @ np.array(self.target)
        return np.asarray(np.clip((expected - location) / scale, *_DISTANCE))

    def llr_line(self, evidence: Evidence) -> tuple[Floats, Floats]:
        """Offset and slope of the LLR over ``z``, each of shape (n,)."""
        distance = self.distance(evidence)
        offset = self.llr[0] + self.llr[1] * distance + self.llr[2] * np.square(distance)
        return offset, np.maximum(self.llr[3] + self.llr[4] * distance, LEAST_SLOPE)

    def needed_z(self, evidence: Evidence, rate: float, searched: int = 1) -> Floats:
        """``z`` that a stranger reaches at ``rate``, as the best of ``searched`` people."""
        each = -float(np.expm1(np.log1p(-max(rate, _LEAST_RATE)) / searched))
        quantile = -NormalDist().inv_cdf(each)
        constant, slope, by_spread = self.tail if searched == 1 else self.search_tail
        return constant + np.maximum(slope + by_spread * log_spread(evidence), 0.2) * quantile

    def judge(
        self, evidence: Evidence, rate: float, *, searched: int = 1, costs: Costs | None = None
    ) -> Judgements:
        """Judge trials at a false-accept rate.

        Args:
            evidence: of n trials.
            rate: share of strangers' probes that may be accepted, in (0, 1).
            searched: how many people each candidate is the best of; 1 for a claim.
            costs: of the answers.
        Raises:
            UsageError: a rate outside (0, 1).
        """
        if not 0 < rate < 1:
            raise UsageError(f"expected a false-accept rate between 0 and 1, got {rate}")
        z = self.z(evidence)
        offset, slope = self.llr_line(evidence)
        threshold = offset + slope * self.needed_z(evidence, rate, searched)
        few = evidence.cohort_size < SMALL_COHORT
        threshold = np.where(few, np.maximum(threshold, _CAUTIOUS_LLR), threshold)
        heard = np.where(np.isfinite(evidence.probe_speech), evidence.probe_speech, self.typical[0])
        reject = np.minimum(threshold, (costs or Costs()).reject_llr(heard, evidence.cohort_size))
        return Judgements(z, offset + slope * z, threshold, reject)


def log_spread(evidence: Evidence) -> Floats:
    """Natural logarithm of the probe's spread in tenths, shape (n,)."""
    return np.asarray(np.log(evidence.probe_spread / 0.1))


def log_speech(seconds: Floats, typical: float) -> Floats:
    """Natural logarithm of net speech, kept within 0.1 to 30 s; ``typical`` where unknown."""
    known = np.where(np.isfinite(seconds), seconds, typical)
    return np.asarray(np.log(np.clip(known, *_SPEECH)))


def _normal(t: Floats, freedom: Floats) -> Floats:
    """Student t values with their degrees of freedom (above 2) on a normal scale."""
    squares = np.log1p(np.square(t) / freedom) * np.square(freedom - 1) / (freedom - 1.5)
    return np.asarray(np.sign(t) * np.sqrt(squares))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
