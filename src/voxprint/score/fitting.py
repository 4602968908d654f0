"""Fit a calibration to trials: all of it, or what a user's own trials can tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.calibration import QUALITIES, Calibration, log_speech, log_spread
from voxprint.score.evidence import Evidence, Floats

Bools = npt.NDArray[np.bool_]

#: Rates at which the tail of strangers' scores is looked at.
TAIL_RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
#: The same for searches: rates at which they may find somebody.
SEARCH_RATES = (0.1, 0.05, 0.02, 0.01)
#: Errors that a quantile rests on at least ("rule of 30", Doddington and others 2000).
_LEAST_ERRORS = 30
#: Mean of ln x for x distributed as chi-square with one degree of freedom.
_LOG_CHI_SQUARE = -1.2703628
#: Ridge on the coefficients of the LLR, in trials.
_RIDGE = 1.0
#: Trials of each kind that the shipped calibration counts for in :func:`refit`.
PRIOR_TRIALS = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Strangers searched in galleries of one size.

    Attributes:
        best: the best candidate of each search.
        searched: people in the gallery.
    """

    best: Evidence
    searched: int


def fit(
    evidence: Evidence,
    same: Bools,
    weight: Floats,
    *,
    kappa: float,
    nu: float,
    population: float,
    searches: Sequence[Search],
) -> Calibration:
    """Fit every coefficient.

    Args:
        evidence: of n trials, drawn from galleries of many sizes, with and without the probe's
            own person in them.
        same: bool, shape (n,), one person on both sides.
        weight: shape (n,), positive: what each trial counts.
        kappa, nu: of the prior. Not fitted: they say how far the populations that decisions
            will be made about may lie from the one of these trials.
        population: added to the prior mean for the same reason; people of one population are
            more alike than people of a mixed one.
        searches: of strangers in galleries of several sizes.
    Raises:
        EmptyTrials: one class is missing.
    """
    check_classes(same)
    strangers, w = evidence.take(~same), weight[~same]
    speech = evidence.probe_speech[np.isfinite(evidence.probe_speech)]
    other = evidence.reference_speech[np.isfinite(evidence.reference_speech)]
    snr = evidence.snr_db[np.isfinite(evidence.snr_db)]
    typical = (
        float(np.median(speech)) if speech.size else 3.0,
        float(np.median(other)) if other.size else 6.0,
        float(np.median(snr)) if snr.size else 20.0,
    )
    log_probe = log_speech(strangers.probe_speech, typical[0])
    ones = np.ones(len(strangers))
    inputs = [ones, strangers.probe_level, strangers.reference_level, log_probe]
    mean, residual = _least_squares(np.stack(inputs, axis=1), strangers.score, w)
    squares = np.log(np.maximum(np.square(residual), 1e-8)) - _LOG_CHI_SQUARE
    inputs = [ones, np.log(strangers.probe_spread), log_probe]
    log_scale, _ = _least_squares(np.stack(inputs, axis=1), squares / 2, w)
    unfitted = Calibration(
        kappa=kappa,
        nu=nu,
        mean=(float(mean[0]) + population, *map(float, mean[1:])),
        log_scale=tuple(map(float, log_scale)),
        tail=(0.0, 1.0, 0.0),
        search_tail=(0.0, 1.0, 0.0),
        target=(0.0,) * len(QUALITIES),
        llr=(0.0, 0.0, -0.5, 0.0, 1.0),
        typical=typical,
    )
    targets = evidence.take(same)
    target, _ = _least_squares(unfitted.qualities(targets), targets.score, weight[same])
    located = replace(
        unfitted,
        target=tuple(map(float, target)),
        tail=_tail(unfitted, strangers, w, 1, TAIL_RATES),
        search_tail=_search_tail(unfitted, searches),
    )
    found = logistic(_llr_inputs(located, evidence), same, balanced(same, weight))
    return replace(located, llr=tuple(map(float, found)))


def refit(base: Calibration, evidence: Evidence, same: Bools, weight: Floats) -> Calibration:
    """Move a calibration to other people's trials, as far as these trials can tell.

    Two things are learned: an affine map of the LLR, whose prior is "no change", worth
    :data:`PRIOR_TRIALS` of each class, and the tail of the strangers' scores where at least 30
    errors show it, drawn towards the old one likewise.

    Raises:
        EmptyTrials: one class is missing.
    """
    check_classes(same)
    offset, slope = base.llr_line(evidence)
    old = offset + slope * base.z(evidence)
    counts = np.where(same, same.sum(), (~same).sum())
    shift, scale = logistic(
        np.stack([np.ones(len(old)), old], axis=1),
        same,
        balanced(same, weight) * counts / (counts + PRIOR_TRIALS),
        centre=np.array([0.0, 1.0]),
        ridge=PRIOR_TRIALS,
    )
    llr = max(float(scale), 0.1) * np.array(base.llr)
    llr[0] += shift
    tail = _moved_tail(base, evidence.take(~same), weight[~same])
    return replace(base, tail=tail, llr=tuple(map(float, llr)))


def check_classes(same: Bools) -> None:
    """Raise EmptyTrials where only one class of trials is there."""
    if same.all() or not same.any():
        raise EmptyTrials(
            f"expected target and nontarget trials, got {int(same.sum())} target and "
            f"{int((~same).sum())} nontarget"
        )


def balanced(same: Bools, weight: Floats) -> Floats:
    """Weights under which both classes count alike, with their sum kept."""
    target, total = weight[same].sum(), weight.sum()
    return np.asarray(weight * np.where(same, total / 2 / target, total / 2 / (total - target)))


def logistic(
    inputs: Floats,
    same: Bools,
    weight: Floats,
    *,
    centre: Floats | None = None,
    ridge: float = _RIDGE,
) -> Floats:
    """Weighted logistic regression by Newton's method, shape (inputs,).

    Minimises ``sum w ln(1 + exp(-y x.b)) + ridge/2 |b - centre|^2``; with balanced weights the
    result is a log-likelihood ratio (Brummer and du Preez, Computer Speech and Language 20,
    2006).
    """
    sign = np.where(same, 1.0, -1.0)
    start = np.zeros(inputs.shape[1]) if centre is None else centre

    def loss(at: Floats) -> float:
        unlikely = np.logaddexp(0.0, -sign * (inputs @ at))
        return float(weight @ unlikely + ridge / 2 * np.square(at - start).sum())

    found, least = start.copy(), loss(start)
    for _ in range(100):
        wrong = np.exp(-np.logaddexp(0.0, sign * (inputs @ found)))
        slope = inputs.T @ (-weight * sign * wrong) + ridge * (found - start)
        curve = (inputs * (weight * wrong * (1 - wrong))[:, None]).T @ inputs
        step = np.linalg.solve(curve + ridge * np.eye(len(found)), slope)
        # Where most trials lie far out, a full step can lead uphill: halved until it does not.
        for _ in range(40):
            if (tried := loss(found - step)) <= least:
                break
            step = step / 2
        gained, found, least = least - tried, found - step, tried
        if gained <= 1e-10 * (1 + abs(least)):
            return found
    raise UsageError("the calibration did not converge on these trials")


def _llr_inputs(calibration: Calibration, evidence: Evidence) -> Floats:
    z, distance = calibration.z(evidence), calibration.distance(evidence)
    ones = np.ones(len(z))
    return np.stack([ones, distance, np.square(distance), z, distance * z], axis=1)


def _tail(
    calibration: Calibration,
    strangers: Evidence,
    weight: Floats,
    searched: int,
    rates: tuple[float, ...],
) -> tuple[float, float, float]:
    """Where strangers' ``z`` reaches each rate: a line over the normal quantile."""
    return _line([_quantiles(calibration, strangers, weight, searched, rates)])


def _search_tail(
    calibration: Calibration, searches: Sequence[Search]
) -> tuple[float, float, float]:
    return _line(
        [
            _quantiles(calibration, each.best, np.ones(len(each.best)), each.searched, SEARCH_RATES)
            for each in searches
        ]
    )


def _line(parts: list[tuple[Floats, Floats, Floats]]) -> tuple[float, float, float]:
    inputs, values, trust = (np.concatenate(each) for each in zip(*parts, strict=True))
    if len(values) < inputs.shape[1]:
        raise EmptyTrials(
            f"expected at least {3 * _LEAST_ERRORS / TAIL_RATES[1]:.0f} nontarget trials"
        )
    found, _ = _least_squares(inputs, values, trust)
    return float(found[0]), float(found[1]), float(found[2])


def _quantiles(
    calibration: Calibration,
    strangers: Evidence,
    weight: Floats,
    searched: int,
    rates: tuple[float, ...],
) -> tuple[Floats, Floats, Floats]:
    """Quantiles of ``z`` in thirds of the probe's spread, as inputs, values and trust."""
    z, spread = calibration.z(strangers), log_spread(strangers)
    edges = np.quantile(spread, [1 / 3, 2 / 3])
    third = np.searchsorted(edges, spread)
    inputs, values, trust = [], [], []
    for part in range(3):
        here = third == part
        for rate in rates:
            if rate * here.sum() >= _LEAST_ERRORS:
                quantile = -NormalDist().inv_cdf(-float(np.expm1(np.log1p(-rate) / searched)))
                inputs.append([1.0, quantile, quantile * float(spread[here].mean())])
                values.append(_weighted_quantile(z[here], weight[here], 1 - rate))
                trust.append(np.sqrt(rate * here.sum()))
    return np.array(inputs).reshape(-1, 3), np.array(values), np.array(trust)


def _moved_tail(
    base: Calibration, strangers: Evidence, weight: Floats
) -> tuple[float, float, float]:
    """The tail of ``base``, moved up or down as far as these strangers show.

    The old one counts as thirty errors.
    """
    z = base.z(strangers)
    moves, counts = [0.0], [float(_LEAST_ERRORS)]
    for rate in TAIL_RATES:
        if rate * len(z) >= _LEAST_ERRORS:
            excess = z - base.needed_z(strangers, rate)
            moves.append(_weighted_quantile(excess, weight, 1 - rate))
            counts.append(rate * len(z))
    constant, slope, by_spread = base.tail
    return constant + float(np.average(moves, weights=counts)), slope, by_spread


def _least_squares(inputs: Floats, values: Floats, weight: Floats) -> tuple[Floats, Floats]:
    root = np.sqrt(weight)
    found = np.asarray(np.linalg.lstsq(inputs * root[:, None], values * root, rcond=None)[0])
    return found, np.asarray(values - inputs @ found)


def _weighted_quantile(values: Floats, weight: Floats, share: float) -> float:
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(below, share * below[-1])])
