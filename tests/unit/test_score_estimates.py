"""Rates with their intervals, and what is said of LLRs and of decisions."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score import estimates
from voxprint.score.estimates import Who, estimate_llrs, estimate_rates
from voxprint.score.intervals import share_bootstrap


def test_examples_of_the_module():
    assert doctest.testmod(estimates).failed == 0


@pytest.fixture
def who():
    """Ten people, each tried once against themselves and once against the next."""
    people = np.arange(10)
    return Who(
        np.repeat([True, False], 10),
        np.tile(people, 2),
        np.concatenate([people, (people + 1) % 10]),
    )


def test_decisions_are_counted_over_all_trials(who):
    made = np.array([1] * 7 + [0] * 2 + [-1] + [1] + [0] * 3 + [-1] * 6, np.int8)
    rates = estimate_llrs(made * 2.0, who, {0.01: made}).decisions[0.01]
    assert (rates.far.value, rates.far.errors) == (0.1, 1)
    assert (rates.frr.value, rates.frr.errors) == (0.1, 1)
    assert (rates.inconclusive_target, rates.inconclusive_nontarget) == (0.2, 0.3)
    assert rates.far.interval.low <= 0.1 <= rates.far.interval.high


def test_decisions_without_an_error_leave_a_bound(who):
    made = np.where(who.same, 1, -1).astype(np.int8)
    rates = estimate_llrs(made * 2.0, who, {0.01: made}).decisions[0.01]
    assert (rates.far.value, rates.far.interval.low) == (0, 0)
    assert rates.far.interval.high == pytest.approx(1 - 0.05**0.1)
    assert rates.frr.percent() == "0.00 % [0.00, 25.89]"


@pytest.mark.parametrize("always", [-1, 0, 1])
def test_the_same_decision_always(who, always):
    made = np.full(20, always, np.int8)
    rates = estimate_llrs(np.linspace(-1, 1, 20), who, {0.05: made}).decisions[0.05]
    assert (rates.far.value, rates.frr.value) == (always == 1, always == -1)
    assert rates.inconclusive_target == rates.inconclusive_nontarget == (always == 0)


def test_a_decision_is_one_of_three(who):
    with pytest.raises(UsageError, match="decisions must be"):
        estimate_llrs(np.zeros(20), who, {0.01: np.full(20, 2, np.int8)})


def test_llrs_that_say_nothing_cost_one_bit(who):
    rates = estimate_llrs(np.zeros(20), who)
    assert (rates.cllr, rates.min_cllr, rates.eer.value) == (1.0, 1.0, 0.5)
    assert rates.act_dcf == rates.min_dcf == 1.0
    assert rates.decisions == {}


def test_every_rate_has_an_interval_that_is_printed_where_errors_are_few(who):
    random = np.random.default_rng(0)
    few = estimate_rates(random.normal(who.same * 2.0), who, fars=(0.1,))
    assert "[" in few.eer.percent()
    assert few.eer.interval.low <= few.eer.value <= few.eer.interval.high
    many = Who(np.tile(who.same, 100), np.tile(who.enrol, 100), np.tile(who.test, 100))
    rates = estimate_rates(random.normal(many.same * 1.0), many, fars=(0.1,))
    assert "[" not in rates.eer.percent()
    assert "[" in rates.eer.percent(whole=True)


def test_one_kind_of_trial_has_no_rate(who):
    with pytest.raises(EmptyTrials):
        estimate_rates(np.ones(10), who.of(who.same))


def test_a_share_is_resampled_by_people_not_by_probes():
    """Two people, one always hit: whichever is drawn, the share is 0, 1/2 or 1."""
    hits, speaker = np.repeat([True, False], 50), np.repeat([0, 1], 50)
    interval = share_bootstrap(hits, speaker)
    assert (interval.low, interval.high) == (0.0, 1.0)
