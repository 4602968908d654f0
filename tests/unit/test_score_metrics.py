"""Metrics against hand-worked cases, an O(n²) oracle, and the traps that others fall into."""

from __future__ import annotations

import doctest
import importlib
import math
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.curve import convex_hull, count_errors, det
from voxprint.score.llr import act_dcf, cllr, min_cllr
from voxprint.score.metrics import (
    InvertedScores,
    at_threshold,
    cost_weights,
    eer,
    eer_of,
    frr_at_far,
    min_dcf,
)

# Few distinct values, so that ties are the rule; exact under scaling by powers of two.
ties = st.integers(-6, 6).map(lambda v: v / 4)
floats = st.floats(-1e3, 1e3, allow_subnormal=False)
sides = st.one_of(
    st.tuples(st.lists(ties, min_size=1, max_size=25), st.lists(ties, min_size=1, max_size=25)),
    st.tuples(st.lists(floats, min_size=1, max_size=25), st.lists(floats, min_size=1, max_size=25)),
)
priors = st.floats(0.001, 0.999)


def eer_quietly(target, nontarget):
    return eer_of(det(target, nontarget))


# -- the oracle: every threshold against every trial, in plain Python ---------------------


def operating_points(target, nontarget):
    """(threshold, p_miss, p_fa) at every distinct score and above all of them."""
    for threshold in [*sorted({*target, *nontarget}), math.inf]:
        p_miss = sum(s < threshold for s in target) / len(target)
        p_fa = sum(s >= threshold for s in nontarget) / len(nontarget)
        yield threshold, p_miss, p_fa


def oracle_eer(target, nontarget):
    """Lowest p_miss = p_fa that any mixture of two operating points reaches."""
    points = [(p_fa, p_miss) for _, p_miss, p_fa in operating_points(target, nontarget)]
    best = 0.5
    for x0, y0 in points:
        for x1, y1 in points:
            d0, d1 = y0 - x0, y1 - x1
            if d0 <= 0 <= d1:
                share = 0.0 if d0 == d1 else -d0 / (d1 - d0)
                best = min(best, max(x0 + share * (x1 - x0), y0 + share * (y1 - y0)))
    return best


def oracle_costs(target, nontarget, p_target, c_miss, c_fa):
    trivial = min(c_miss * p_target, c_fa * (1 - p_target))
    for threshold, p_miss, p_fa in operating_points(target, nontarget):
        yield (c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa) / trivial, threshold


def oracle_min_cllr(target, nontarget):
    """Pool adjacent violators, one block after another."""
    blocks = []
    for value in sorted({*target, *nontarget}):
        blocks.append([target.count(value), nontarget.count(value)])
        while len(blocks) > 1:
            (t0, n0), (t1, n1) = blocks[-2:]
            if t0 * (t1 + n1) < t1 * (t0 + n0):
                break
            blocks[-2:] = [[t0 + t1, n0 + n1]]
    prior = math.log(len(target) / len(nontarget))
    bits = 0.0
    for t, n in blocks:
        if t and n:
            llr = math.log(t / n) - prior
            bits += t / len(target) * math.log2(1 + math.exp(-llr))
            bits += n / len(nontarget) * math.log2(1 + math.exp(llr))
    return bits / 2


@given(sides)
def test_eer_equals_the_oracle(scores):
    assert eer_quietly(*scores) == pytest.approx(oracle_eer(*scores), abs=1e-12)


@given(sides, priors, st.floats(0.1, 10), st.floats(0.1, 10))
def test_min_dcf_equals_the_oracle(scores, p_target, c_miss, c_fa):
    point = min_dcf(*scores, p_target=p_target, c_miss=c_miss, c_fa=c_fa)
    best = min(cost for cost, _ in oracle_costs(*scores, p_target, c_miss, c_fa))
    assert point.cost == pytest.approx(best, abs=1e-12)
    assert 0.0 <= point.cost <= 1.0
    reached = at_threshold(*scores, point.threshold)
    assert (reached.p_miss, reached.p_fa) == (point.p_miss, point.p_fa)


@given(sides, st.floats(0, 1))
def test_frr_at_far_equals_the_oracle(scores, far):
    point = frr_at_far(*scores, far=far)
    allowed = [(miss, -t, fa) for t, miss, fa in operating_points(*scores) if fa <= far]
    p_miss, threshold, p_fa = min(allowed)
    assert (point.p_miss, point.threshold, point.p_fa) == (p_miss, -threshold, p_fa)


@given(sides)
def test_min_cllr_equals_pool_adjacent_violators(scores):
    assert min_cllr(*scores) == pytest.approx(oracle_min_cllr(*scores), abs=1e-12)


@given(sides)
def test_the_curve_counts_every_trial(scores):
    curve = det(*scores)
    rows = zip(curve.thresholds, curve.p_miss, curve.p_fa, strict=True)
    assert list(rows) == list(operating_points(*scores))


@given(sides)
def test_the_hull_is_convex_and_below_the_curve(scores):
    curve = det(*scores)
    hull = convex_hull(curve)
    corners = list(zip(hull.false_accepts.tolist(), hull.misses.tolist(), strict=True))
    slopes = [
        (y1 - y0) / (x0 - x1) if x0 > x1 else math.inf for (x0, y0), (x1, y1) in pairwise(corners)
    ]
    assert slopes == sorted(slopes)
    # On every line from the side of the corners no point of the curve lies beyond the hull.
    for weight in np.linspace(0.0, 1.0, 23):
        cost = weight * curve.p_miss + (1 - weight) * curve.p_fa
        assert min(weight * hull.p_miss + (1 - weight) * hull.p_fa) <= cost.min() + 1e-12


def test_the_hull_of_a_curve_that_loses_one_point_a_round():
    """A long convex arc that one last point undercuts, corner after corner."""
    arc = np.arange(1, 401)
    curve = count_errors(
        np.arange(401.0),
        target=np.append(arc, 0),
        nontarget=np.append(np.ones_like(arc), 1_000_000),
    )
    assert convex_hull(curve).thresholds.tolist() == [0.0, math.inf]


# -- hand-worked ---------------------------------------------------------------------------


def test_eer_of_a_worked_case():
    """Targets 1 3 4, nontargets 0 2: hull (1,0) (1/2,0) (0,1/3) (0,1) crosses y = x at 1/5."""
    assert eer([1.0, 3.0, 4.0], [0.0, 2.0]) == pytest.approx(0.2, abs=1e-15)


def test_min_dcf_of_a_worked_case():
    """Accepting 3 and 4 misses a third and costs 1/3; accepting 1, too, costs 99/2."""
    point = min_dcf([1.0, 3.0, 4.0], [0.0, 2.0], p_target=0.01)
    assert point.cost == pytest.approx(1 / 3)
    assert (point.threshold, point.p_miss, point.p_fa) == (3.0, pytest.approx(1 / 3), 0.0)


def test_cllr_of_a_worked_case():
    """log2(1 + 1/3) on both sides: the LLR is log 3 the right way."""
    assert cllr([math.log(3)], [-math.log(3)]) == pytest.approx(math.log2(4 / 3))


def test_min_cllr_of_a_worked_case():
    """One violator pair of one each pools to LLR 0; the rest separates and costs nothing."""
    assert min_cllr([1.0, 3.0], [2.0, 0.0]) == pytest.approx(0.5)


# -- ties ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
def test_ten_equal_scores_are_undecidable_whatever_their_order(order):
    target, nontarget = [0.7] * 5, [0.7] * 5
    assert eer(target[::order], nontarget[::order]) == 0.5
    assert min_dcf(target, nontarget).cost == 1.0
    assert min_cllr(target, nontarget) == 1.0
    assert frr_at_far(target, nontarget, far=0.5).p_miss == 1.0


@given(sides, st.randoms(use_true_random=False))
def test_the_order_of_trials_changes_nothing(scores, random):
    shuffled = [random.sample(side, len(side)) for side in scores]
    assert eer_quietly(*shuffled) == eer_quietly(*scores)
    assert min_dcf(*shuffled) == min_dcf(*scores)
    assert min_cllr(*shuffled) == min_cllr(*scores)


def test_a_score_on_the_threshold_is_accepted():
    point = at_threshold([0.5], [0.5], 0.5)
    assert (point.p_miss, point.p_fa) == (0.0, 1.0)


# -- scores that are worse than chance -------------------------------------------------------


def test_inverted_scores_give_one_half_and_a_warning():
    with pytest.warns(InvertedScores, match=r"only 0\.0 % of pairs"):
        assert eer([0.0, 1.0], [2.0, 3.0]) == 0.5
    assert min_dcf([0.0, 1.0], [2.0, 3.0]).cost == 1.0
    assert min_cllr([0.0, 1.0], [2.0, 3.0]) == 1.0


@given(sides)
def test_an_eer_never_exceeds_one_half(scores):
    assert 0.0 <= eer_quietly(*scores) <= 0.5


# -- normalisation, calibration ---------------------------------------------------------------


@given(sides, priors)
def test_act_dcf_is_never_below_min_dcf(scores, p_target):
    assert act_dcf(*scores, p_target=p_target).cost >= (
        min_dcf(*scores, p_target=p_target).cost - 1e-12
    )


def test_act_dcf_decides_at_the_threshold_of_bayes():
    point = act_dcf([5.0, 4.0], [4.7, -3.0], p_target=0.01)
    assert point.threshold == pytest.approx(math.log(99))
    assert (point.p_miss, point.p_fa) == (0.5, 0.5)
    assert point.cost == pytest.approx(0.5 + 99 * 0.5)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 7), (1000, 333)])
def test_saying_nothing_costs_exactly_one_bit(n, m):
    assert cllr(np.zeros(n), np.zeros(m)) == 1.0


def test_cllr_of_huge_llrs_neither_overflows_nor_forgives():
    assert cllr([1e300], [-1e300]) == 0.0
    assert cllr([-1000.0], [-1e300]) == pytest.approx(500 / math.log(2))


@given(sides)
def test_cllr_is_never_below_min_cllr(scores):
    assert cllr(*scores) >= min_cllr(*scores) - 1e-12


@given(sides)
def test_min_cllr_lies_between_nothing_and_one_bit(scores):
    assert 0.0 <= min_cllr(*scores) <= 1.0 + 1e-12


@given(sides, st.sampled_from([2.0**-3, 2.0, 2.0**7]))
def test_a_positive_scaling_changes_only_what_needs_calibration(scores, factor):
    scaled = [[factor * s for s in side] for side in scores]
    assert eer_quietly(*scaled) == eer_quietly(*scores)
    assert min_dcf(*scaled).cost == min_dcf(*scores).cost
    assert min_cllr(*scaled) == min_cllr(*scores)
    assert frr_at_far(*scaled, far=0.1).p_miss == frr_at_far(*scores, far=0.1).p_miss


def test_a_positive_scaling_does_change_act_dcf_and_cllr():
    target, nontarget = [3.0, 5.0], [-1.0, 2.0]
    twice = [2 * s for s in target], [2 * s for s in nontarget]
    assert act_dcf(*twice).cost != act_dcf(target, nontarget).cost
    assert cllr(*twice) != cllr(target, nontarget)


# -- odd input --------------------------------------------------------------------------------

METRICS = [eer, min_dcf, act_dcf, cllr, min_cllr, lambda t, n: frr_at_far(t, n, far=0.01)]
IDS = ["eer", "min_dcf", "act_dcf", "cllr", "min_cllr", "frr_at_far"]


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_one_target_is_enough(metric):
    alone, twice = metric([2.0], [-2.0, 1.0, 0.0]), metric([2.0, 2.0], [-2.0, 1.0, 0.0])
    assert alone == twice
    if isinstance(alone, float):
        assert 0 <= alone < 2
    else:
        assert getattr(alone, "cost", alone.p_miss) <= 1


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
@pytest.mark.parametrize("scores", [([], [1.0]), ([1.0], []), ([], [])])
def test_one_class_has_no_metric(metric, scores):
    with pytest.raises(EmptyTrials, match="at least one on each side"):
        metric(*scores)


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_must_be_finite(metric, bad):
    with pytest.raises(UsageError, match=f"score 1 of 2 is {bad}"):
        metric([0.0, bad], [0.0])
    with pytest.raises(UsageError, match="nontarget scores must be finite"):
        metric([0.0], [bad])


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_scores_must_be_one_row_of_numbers(metric):
    with pytest.raises(UsageError, match=r"shape \(n,\), got \(1, 2\)"):
        metric([[1.0, 2.0]], [0.0])
    with pytest.raises(UsageError, match="must be numbers"):
        metric(["high"], [0.0])


@pytest.mark.parametrize("p_target", [0.0, 1.0, -0.1, math.nan])
def test_a_prior_lies_inside_0_and_1(p_target):
    with pytest.raises(UsageError, match="p_target"):
        min_dcf([1.0], [0.0], p_target=p_target)


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
def test_costs_are_positive_and_finite(cost):
    with pytest.raises(UsageError, match="c_miss"):
        cost_weights(0.5, cost, 1.0)
    with pytest.raises(UsageError, match="c_fa"):
        cost_weights(0.5, 1.0, cost)


@pytest.mark.parametrize("far", [-0.1, 1.1, math.nan])
def test_a_far_is_a_rate(far):
    with pytest.raises(UsageError, match="far"):
        frr_at_far([1.0], [0.0], far=far)


def test_a_far_that_the_trials_reach_exactly_is_allowed():
    nontarget = np.arange(1000) / 1000
    assert frr_at_far([2.0], nontarget, far=0.01).p_fa == 0.0
    assert frr_at_far([0.99], nontarget, far=0.01).p_fa == 0.01


def test_a_threshold_is_a_number():
    with pytest.raises(UsageError, match="threshold"):
        at_threshold([1.0], [0.0], math.nan)


# -- size and documentation ---------------------------------------------------------------------


def test_ten_million_trials(record_property):
    random = np.random.default_rng(0)
    target, nontarget = random.normal(2, 1, 500_000), random.normal(0, 1, 9_500_000)
    started = time.perf_counter()
    assert eer(target, nontarget) == pytest.approx(0.1587, abs=1e-3)
    record_property("seconds_eer_of_1e7_trials", round(time.perf_counter() - started, 2))


@pytest.mark.parametrize("module", ["curve", "metrics", "llr", "intervals", "estimates"])
def test_the_examples_of_the_docstrings(module):
    outcome = doctest.testmod(importlib.import_module(f"voxprint.score.{module}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
