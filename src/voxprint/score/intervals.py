"""How far a measured rate may lie from the truth, when speakers are what was sampled.

Trials of one person are alike, so they are no independent evidence; people are. Below
30 errors (Doddington's rule of 30) a rate is quoted with this interval, not alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.curve import Det, count_errors

#: Below this many errors a rate is not quoted without its interval.
RULE_OF_30 = 30


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value lies with confidence ``level``; ``low <= high``."""

    low: float
    high: float
    level: float = 0.95


def speaker_bootstrap(
    scores: npt.ArrayLike,
    same: npt.ArrayLike,
    enrol_speaker: npt.ArrayLike,
    test_speaker: npt.ArrayLike,
    statistic: Callable[[Det], Sequence[float]],
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Interval]:
    """Percentile intervals of statistics of the DET curve, resampling speakers.

    Each replicate draws as many speakers as there are, with replacement; a trial counts as
    often as its pair was drawn (one person's trials as often as the person).

    Args:
        scores: shape (n,), finite.
        same: shape (n,), true for target trials.
        enrol_speaker, test_speaker: shape (n,), who speaks; whole numbers from 0.
        statistic: from a curve to numbers, always as many.
        replicates: how often to draw; a draw without a target or without a nontarget trial
            is drawn again.
        seed: of the draws; the same seed gives the same intervals.
        level: confidence, in (0, 1).
    Returns:
        One interval for each number of the statistic.
    Raises:
        EmptyTrials: one side has no trial.
        UsageError: shapes differ, or fewer than two speakers.
    Source: Snijders and Borgatti 1999, vertex bootstrap (pairs of resampled units).

    >>> from voxprint.score.metrics import eer_of
    >>> who = [0, 1, 2, 3]
    >>> speaker_bootstrap([.9, .8, .1, .2], [1, 1, 0, 0], who, [0, 1, 3, 2],
    ...                   lambda curve: [eer_of(curve)], replicates=50)
    [Interval(low=0.0, high=0.0, level=0.95)]
    """
    score, target = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=np.bool_)
    enrol, test = np.asarray(enrol_speaker), np.asarray(test_speaker)
    if not (score.shape == target.shape == enrol.shape == test.shape == (score.size,)):
        raise UsageError(
            "scores, labels and speakers must have one shape (n,), got "
            f"{score.shape}, {target.shape}, {enrol.shape}, {test.shape}"
        )
    order = np.argsort(score)
    score, target, enrol, test = score[order], target[order], enrol[order], test[order]
    if target.all() or not target.any():
        raise EmptyTrials
    people = np.unique(np.concatenate([enrol, test]))
    if people.size < 2:
        raise UsageError(f"resampling speakers needs at least two of them, got {people.size}")
    enrol, test = np.searchsorted(people, enrol), np.searchsorted(people, test)

    random = np.random.default_rng(seed)
    drawn: list[Sequence[float]] = []
    while len(drawn) < replicates:
        times = np.bincount(random.integers(people.size, size=people.size), minlength=people.size)
        weight = drawn_weights(times, enrol, test)
        counted = weight > 0
        targets = np.where(target, weight, 0)[counted]
        nontargets = np.where(target, 0, weight)[counted]
        if targets.any() and nontargets.any():
            drawn.append(statistic(count_errors(score[counted], targets, nontargets)))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(np.array(drawn), [tail, 100 - tail], axis=0)
    return [Interval(float(a), float(b), level) for a, b in zip(low, high, strict=True)]


def drawn_weights(
    times: npt.NDArray[np.int64], enrol: npt.NDArray[np.intp], test: npt.NDArray[np.intp]
) -> npt.NDArray[np.int64]:
    """How often a trial counts where people were drawn so many times: as often as its pair.

    One person's trials count as often as the person, as their recordings were not drawn.

    Args:
        times: shape (..., people), how often each was drawn.
        enrol, test: shape (n,), who speaks: positions on the last axis of ``times``.

    Returns:
        shape (..., n).

    >>> drawn_weights(np.array([2, 3]), np.array([0, 0]), np.array([0, 1])).tolist()
    [2, 6]
    """
    weight = np.take(times, enrol, axis=-1)
    two = enrol != test
    if two.all():
        weight *= np.take(times, test, axis=-1)
    elif two.any():
        weight[..., two] *= times[..., test[two]]
    return weight


def share_bootstrap(
    hits: npt.ArrayLike,
    speaker: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a share of probes, resampling the people who speak in them.

    Args:
        hits: bool, shape (n,), n >= 1.
        speaker: shape (n,), who speaks in each; whole numbers from 0.
        replicates, seed, level: as in :func:`speaker_bootstrap`.

    >>> share_bootstrap([True, True, True], [0, 1, 2])
    Interval(low=1.0, high=1.0, level=0.95)
    """
    who, person = np.unique(np.asarray(speaker), return_inverse=True)
    probes = np.bincount(person, minlength=who.size)
    hit = np.bincount(person, weights=np.asarray(hits, dtype=np.float64), minlength=who.size)
    drawn = np.random.default_rng(seed).integers(who.size, size=(replicates, who.size))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(hit[drawn].sum(1) / probes[drawn].sum(1), [tail, 100 - tail])
    return Interval(float(low), float(high), level)


def no_error_bound(independent: int, *, level: float = 0.95) -> float:
    """Highest error rate still plausible when none of ``independent`` units had an error.

    Resampling cannot show an error that was not seen; this can. For few units it is close
    to the "rule of three", 3/n.

    Args:
        independent: number of independent units (speakers, not trials), >= 1.
        level: confidence, in (0, 1).

    >>> round(no_error_bound(300), 4)
    0.0099
    """
    if independent < 1:
        raise UsageError(f"a bound needs at least one unit, got {independent}")
    return float(1.0 - (1.0 - level) ** (1.0 / independent))


def wilson(errors: int, trials: int, *, level: float = 0.95) -> Interval:
    """Score interval of a rate from independent trials; never leaves [0, 1], nor is ever empty.

    Args:
        errors: 0 to ``trials``.
        trials: >= 1, independent of each other (trials of one person are not).
        level: confidence, in (0, 1).
    Source: Wilson 1927; recommended for small counts by Brown, Cai and DasGupta 2001.

    >>> interval = wilson(1, 100)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.0018, 0.0545)
    """
    if not 0 <= errors <= trials or trials < 1:
        raise UsageError(f"errors are 0 to the number of trials, got {errors} of {trials}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate, weight = errors / trials, z * z / trials
    centre = rate + weight / 2
    half = z * ((rate * (1 - rate) + weight / 4) / trials) ** 0.5
    low, high = (centre - half) / (1 + weight), (centre + half) / (1 + weight)
    return Interval(
        max(0.0, low) if errors else 0.0, min(1.0, high) if errors < trials else 1.0, level
    )
