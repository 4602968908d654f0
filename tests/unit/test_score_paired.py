"""Two systems on the same draws: rates that are right, and intervals that know what is paired."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score import intervals, paired
from voxprint.score.curve import det
from voxprint.score.intervals import speaker_bootstrap
from voxprint.score.metrics import eer_of, min_dcf_of
from voxprint.score.paired import draw_people, drawn_interval, drawn_rates, relative_change


def test_examples_of_the_modules():
    assert doctest.testmod(paired).failed == 0
    assert doctest.testmod(intervals).failed == 0


def trials(seed: int, people: int = 12, count: int = 3000, apart: float = 2.0, step: float = 0.0):
    """Scores, labels and speakers of random trials; rounded to ``step``, so that many are equal.

    Some people score higher than others, as voices do.
    """
    random = np.random.default_rng(seed)
    enrol = random.integers(people, size=count)
    same = random.random(count) < 0.3
    test = np.where(same, enrol, (enrol + 1 + random.integers(people - 1, size=count)) % people)
    own = random.normal(size=people)
    scores = random.normal(size=count) + apart * same + 0.7 * (own[enrol] + own[test])
    return np.round(scores / step) * step if step else scores, same, enrol, test


def change(before, after, same, enrol, test, replicates=500):
    times = draw_people(np.zeros(int(max(enrol.max(), test.max())) + 1), replicates=replicates)
    old, _ = drawn_rates(before, same, enrol, test, times)
    new, _ = drawn_rates(after, same, enrol, test, times)
    return drawn_interval(relative_change(old, new))


@pytest.mark.parametrize("step", [0.0, 0.1, 1.0, 50.0])
@pytest.mark.parametrize("apart", [-1.0, 0.0, 2.0, 9.0])
def test_everybody_once_gives_the_rates_themselves(step, apart):
    for seed in range(5):
        scores, same, enrol, test = trials(seed, apart=apart, count=200, step=step)
        eer, cost = drawn_rates(scores, same, enrol, test, np.ones((1, 12), np.int64))
        curve = det(scores[same], scores[~same])
        assert eer[0] == pytest.approx(eer_of(curve), abs=1e-12)
        assert cost[0] == pytest.approx(min_dcf_of(curve).cost, abs=1e-12)


@pytest.mark.parametrize("step", [0.0, 0.2])
def test_draws_are_those_of_the_bootstrap_of_one_system(step):
    """Another way to count, one draw at a time: the same percentiles from the same seed."""
    scores, same, enrol, test = trials(7, step=step)
    times = draw_people(np.zeros(12), replicates=300, seed=4)
    rates = drawn_rates(scores, same, enrol, test, times)
    expected = speaker_bootstrap(
        scores,
        same,
        enrol,
        test,
        lambda curve: [eer_of(curve), min_dcf_of(curve).cost],
        replicates=300,
        seed=4,
    )
    for drawn, interval in zip(rates, expected, strict=True):
        low, high = np.percentile(drawn, [2.5, 97.5])
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_a_system_is_no_better_than_itself():
    scores, *who = trials(1)
    interval = change(scores, scores.copy(), *who)
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_a_rising_transformation_changes_nothing():
    scores, *who = trials(1)
    interval = change(scores, np.arctan(scores / 3) - 5, *who)
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_a_clearly_better_system_is_told_from_its_teacher_and_the_other_way_round():
    scores, same, *people = trials(2)
    better = scores + 1.0 * same
    assert change(scores, better, same, *people).high < -0.1
    assert change(better, scores, same, *people).low > 0.1


def test_other_noise_of_the_same_size_is_no_change():
    scores, *who = trials(3)
    random = np.random.default_rng(9)
    noises = [scores + 0.5 * random.normal(size=scores.size) for _ in range(2)]
    interval = change(*noises, *who)
    assert interval.low < 0 < interval.high


def test_pairs_are_surer_than_two_systems_apart():
    scores, same, enrol, test = trials(4)
    after = scores + 0.2 * same
    paired_ = change(scores, after, same, enrol, test)
    times = [draw_people(np.zeros(12), replicates=500, seed=seed) for seed in (1, 2)]
    old, _ = drawn_rates(scores, same, enrol, test, times[0])
    new, _ = drawn_rates(after, same, enrol, test, times[1])
    apart = drawn_interval(relative_change(old, new))
    assert paired_.high - paired_.low < (apart.high - apart.low) / 3
    assert paired_.high < 0 < apart.high


def test_people_are_the_evidence_and_not_their_trials():
    few, many = (change(s, s + 0.3 * w[0], *w) for s, *w in (trials(5, 6), trials(5, 60)))
    tenfold = [np.repeat(column, 10) for column in trials(5, 6)]
    again = change(tenfold[0], tenfold[0] + 0.3 * tenfold[1], *tenfold[1:])
    assert (again.low, again.high) == pytest.approx((few.low, few.high), abs=1e-9)
    assert many.high - many.low < (few.high - few.low) / 2


def test_every_group_keeps_its_size():
    groups = np.array([2, 2, 2, 0, 0, 7])
    times = draw_people(groups, replicates=50)
    assert times.shape == (50, 6)
    for each in (2, 0, 7):
        assert (times[:, groups == each].sum(axis=1) == (groups == each).sum()).all()
    assert (times[:, :3] > 1).any()
    assert np.array_equal(times, draw_people(groups, replicates=50))


def test_a_draw_without_trials_of_one_kind_has_no_rates_and_does_not_count():
    scores, same = np.array([0.9, 0.1]), np.array([True, False])
    enrol, test = np.array([0, 1]), np.array([0, 2])
    times = np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0], [1, 2, 0]])
    eer, cost = drawn_rates(scores, same, enrol, test, times)
    assert np.isnan(eer).tolist() == np.isnan(cost).tolist() == [False, True, True, True]
    interval = drawn_interval(eer)
    assert (interval.low, interval.high) == (0.0, 0.0)
    with pytest.raises(EmptyTrials):
        drawn_interval(eer[1:])


def test_what_cannot_be_is_said():
    with pytest.raises(UsageError, match="group of every person"):
        draw_people([])
    once = np.ones((1, 2), np.int64)
    with pytest.raises(EmptyTrials):
        drawn_rates([0.5], [True], [0], [0], once)
    with pytest.raises(UsageError, match="finite"):
        drawn_rates([0.5, np.nan], [True, False], [0, 0], [0, 1], once)
    with pytest.raises(UsageError, match="p_target"):
        drawn_rates([0.5, 0.1], [True, False], [0, 0], [0, 1], once, p_target=1.0)
