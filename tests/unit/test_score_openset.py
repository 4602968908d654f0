"""FPIR and FNIR against hand-worked searches and a plain search of every gallery."""

from __future__ import annotations

import doctest
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score import openset
from voxprint.score.openset import Searches, search


def test_examples_of_the_module():
    assert doctest.testmod(openset).failed == 0


def test_rates_by_hand():
    found = Searches(
        gallery=10,
        own=np.array([0.9, 0.6, 0.4, 0.7]),
        other=np.array([0.1, 0.6, 0.2, 0.8]),
        false=np.array([0.1, 0.2, 0.2, 0.5]),
    )
    # The second is tied and the last outscored: both are lost at any threshold.
    assert found.fnir(-np.inf) == 0.5
    assert found.fnir(0.5) == 0.75
    assert [found.fpir(t) for t in (0.0, 0.2, 0.3, 0.5, 0.6)] == [1.0, 0.75, 0.25, 0.25, 0.0]


def test_the_lowest_threshold_within_a_rate():
    found = Searches(2, np.ones(1), np.zeros(1), np.array([0.1, 0.2, 0.2, 0.5]))
    for fpir, highest_found in [(0.0, 0.5), (0.24, 0.5), (0.25, 0.2), (0.74, 0.2), (0.75, 0.1)]:
        threshold = found.threshold(fpir)
        assert found.fpir(threshold) <= fpir
        assert threshold == np.nextafter(highest_found, 1)
    assert found.threshold(1.0) == -np.inf
    with pytest.raises(UsageError, match="fpir must lie"):
        found.threshold(1.5)


def test_the_whole_gallery_but_one_needs_no_luck():
    """With N one less than the people, the non-mated gallery is everybody else."""
    scores = np.array([[0.9, 0.3, 0.2, 0.1], [0.5, 0.1, 0.6, 0.2]])
    found = search(scores, [0, -1], 3)
    assert found.own.tolist() == [0.9]
    assert found.false[0] == 0.3
    assert found.false[1] in (0.6, 0.5)


@given(st.integers(0, 2**32 - 1))
def test_galleries_hold_whom_they_should(seed):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(4, 6))
    own = random.integers(-1, 6, size=4)
    own[0] = 2
    found = search(scores, own, 3, seed=seed)
    others, mated = [], 0
    for row, person in zip(scores, own, strict=True):
        rest = [s for i, s in enumerate(row) if i != person]
        others.append({max(gallery) for gallery in combinations(rest, 3)})
        if person >= 0:
            assert found.own[mated] == row[person]
            assert found.other[mated] in {max(pair) for pair in combinations(rest, 2)}
            mated += 1
    assert all(value in possible for value, possible in zip(found.false, others, strict=True))
    again = search(scores, own, 3, seed=seed)
    assert np.array_equal(again.false, found.false)


def test_more_people_are_more_chances():
    random = np.random.default_rng(0)
    scores = random.normal(size=(2000, 60))
    rates = [search(scores, np.zeros(2000, int), n).fpir(2.0) for n in (1, 10, 50)]
    expected = [1 - (1 - 0.02275) ** n for n in (1, 10, 50)]
    assert rates == pytest.approx(expected, abs=0.03)


def test_draws_are_independent_of_how_many_are_made_at_once(monkeypatch):
    scores = np.random.default_rng(0).normal(size=(50, 8))
    whole = search(scores, np.zeros(50, int), 4)
    monkeypatch.setattr(openset, "_DRAWN_AT_ONCE", 24)
    parts = search(scores, np.zeros(50, int), 4)
    assert np.array_equal(whole.false, parts.false)


def test_a_gallery_of_one_has_no_other_to_be_taken_for():
    found = search([[0.5, 0.4]], [0], 1)
    assert found.other.tolist() == [-np.inf]
    assert found.fnir(0.5) == 0.0


@pytest.mark.parametrize(
    ("scores", "own", "gallery", "message"),
    [
        ([[0.1, 0.2]], [0], 2, "from 1 to 1 of the 2 people, got 2"),
        ([[0.1, 0.2]], [0], 0, "from 1 to 1"),
        ([[0.1, 0.2]], [2], 1, "own must hold columns from 0 to 1"),
        ([[0.1, 0.2]], [0, 1], 1, "got \\(1, 2\\) and \\(2,\\)"),
        ([0.1, 0.2], [0], 1, "shape"),
        ([[0.1, np.nan]], [0], 1, "must be finite"),
    ],
)
def test_what_cannot_be_searched_is_refused(scores, own, gallery, message):
    with pytest.raises(UsageError, match=message):
        search(scores, own, gallery)


def test_without_an_enrolled_person_there_is_no_rate():
    with pytest.raises(EmptyTrials):
        search([[0.1, 0.2]], [-1], 1)
