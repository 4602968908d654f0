"""The speaker bootstrap: it must see people, not trials, as the evidence."""

from __future__ import annotations

import numpy as np
import pytest

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.curve import det
from voxprint.score.intervals import no_error_bound, speaker_bootstrap
from voxprint.score.metrics import eer_of


def eer_interval(scores, same, enrol, test, **options):
    (interval,) = speaker_bootstrap(
        scores, same, enrol, test, lambda curve: [eer_of(curve)], **options
    )
    return interval


def all_pairs(random, speakers, each, spread=1.0):
    """Cosine-like scores of all pairs of ``each`` files of every speaker, in two dimensions."""
    who = np.repeat(np.arange(speakers), each)
    middle = random.normal(0, 1, (speakers, 8))
    points = middle[who] + spread * random.normal(0, 1, (who.size, 8))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    left, right = np.triu_indices(who.size, 1)
    scores = np.sum(points[left] * points[right], axis=1)
    return scores, who[left] == who[right], who[left], who[right]


def test_the_interval_holds_the_rate_and_is_the_same_again():
    trials = all_pairs(np.random.default_rng(1), speakers=12, each=4)
    interval = eer_interval(*trials, replicates=200, seed=5)
    scores, same, *_ = trials
    assert 0 < interval.low < eer_of(det(scores[same], scores[~same])) < interval.high < 0.5
    assert eer_interval(*trials, replicates=200, seed=5) == interval


def test_the_order_of_trials_changes_nothing():
    trials = all_pairs(np.random.default_rng(2), speakers=6, each=3)
    order = np.random.default_rng(3).permutation(trials[0].size)
    shuffled = [column[order] for column in trials]
    assert eer_interval(*shuffled, replicates=50) == eer_interval(*trials, replicates=50)


def test_more_files_of_the_same_people_are_little_new_evidence():
    """Each trial written ten times is no evidence at all: the interval stays as it is."""
    trials = all_pairs(np.random.default_rng(4), speakers=8, each=3)
    tenfold = [np.repeat(column, 10) for column in trials]
    assert eer_interval(*tenfold, replicates=100) == eer_interval(*trials, replicates=100)


def test_more_people_narrow_the_interval():
    few = eer_interval(*all_pairs(np.random.default_rng(5), 8, 4), replicates=200)
    many = eer_interval(*all_pairs(np.random.default_rng(5), 80, 4), replicates=200)
    assert many.high - many.low < (few.high - few.low) / 2


def test_it_covers_the_true_rate_about_as_often_as_it_says():
    """40 worlds of 20 people; the true EER is that of a very large one."""
    scores, same, *_ = all_pairs(np.random.default_rng(6), 600, 2, spread=0.7)
    truth = eer_of(det(scores[same], scores[~same]))
    covered = 0
    for seed in range(40):
        trials = all_pairs(np.random.default_rng(100 + seed), 20, 3, spread=0.7)
        interval = eer_interval(*trials, replicates=100, seed=seed)
        covered += interval.low <= truth <= interval.high
    assert covered >= 32


def test_a_statistic_of_several_numbers_gets_as_many_intervals():
    trials = all_pairs(np.random.default_rng(7), 5, 3)
    got = speaker_bootstrap(
        *trials, lambda c: [eer_of(c), float(c.n_target)], replicates=50, level=0.8
    )
    assert len(got) == 2
    assert got[1].level == 0.8


def test_one_speaker_or_one_kind_of_trial_cannot_be_resampled():
    with pytest.raises(UsageError, match="at least two"):
        eer_interval([0.1, 0.9], [False, True], [0, 0], [0, 0])
    with pytest.raises(EmptyTrials):
        eer_interval([0.1, 0.9], [True, True], [0, 1], [0, 1])


def test_shapes_must_agree():
    with pytest.raises(UsageError, match=r"got \(2,\), \(2,\), \(2,\), \(1,\)"):
        eer_interval([0.1, 0.9], [False, True], [0, 1], [0])


def test_no_error_seen_still_leaves_a_bound():
    assert no_error_bound(1) == pytest.approx(0.95)
    assert no_error_bound(100) == pytest.approx(0.0295, abs=1e-4)
    with pytest.raises(UsageError, match="at least one"):
        no_error_bound(0)
