"""From scores to LLRs and decisions, on trials made up so that the truth is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import voxprint
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.calibration import Calibration, Costs
from voxprint.score.evidence import Background, CohortSums, Evidence, cohort_statistics
from voxprint.score.fitting import Search, fit, refit
from voxprint.score.shipped import shipped

DIM = 24


def some(n: int, **given: object) -> Evidence:
    """n trials of one kind; every value may be given."""
    usual = {
        "score": 0.3,
        "cohort_mean": 0.1,
        "cohort_variance": 0.01,
        "cohort_size": 30.0,
        "probe_level": 0.1,
        "probe_spread": 0.1,
        "reference_level": 0.1,
        "probe_speech": 3.0,
        "reference_speech": 6.0,
        "snr_db": 20.0,
        "telephone": 0.0,
    }
    return Evidence(
        **{k: np.broadcast_to(np.asarray(v, float), n).copy() for k, v in (usual | given).items()}
    )


class World:
    """People are points around a mean; a probe is its person, weakened, with noise on it."""

    def __init__(self, people: int, seed: int, offset: float = 0.3) -> None:
        self.rng = np.random.default_rng(seed)
        self.voices = self._unit(self.rng.standard_normal((people, DIM)) + offset)
        self.known = Background.of(self.voices, 6)

    @staticmethod
    def _unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def trials(self, size: int, probes: int = 1200) -> tuple[Evidence, np.ndarray, np.ndarray]:
        """Evidence, same, and whether the probe's person is in the gallery."""
        rng = self.rng
        who = rng.integers(len(self.voices), size=probes)
        gallery = rng.permutation(len(self.voices))[:size]
        noise = rng.choice([0.1, 0.25], size=(probes, 1))
        probe = self._unit(self.voices[who] + noise * rng.standard_normal((probes, DIM)))
        scores = probe @ self.voices[gallery].T
        mean, variance, count = cohort_statistics(scores)
        evidence = some(
            scores.size,
            score=scores.ravel(),
            cohort_mean=mean.ravel(),
            cohort_variance=variance.ravel(),
            cohort_size=count.ravel(),
            probe_level=np.repeat(self.known.level(probe), size),
            probe_spread=np.repeat(self.known.spread(probe), size),
            reference_level=np.tile(self.known.level(self.voices[gallery]), probes),
        )
        same = (who[:, None] == gallery).ravel()
        return evidence, same, np.repeat(np.isin(who, gallery), size)

    def fitted(self) -> Calibration:
        drawn = [self.trials(size) for size in (5, 10, 20, 40)]
        best = []
        for size in (10, 20):
            evidence, _, enrolled = self.trials(size)
            top = np.arange(1200) * size + evidence.score.reshape(1200, size).argmax(axis=1)
            best.append(Search(evidence.take(top[~enrolled[top]]), size))
        same = np.concatenate([same for _, same, _ in drawn])
        evidence = Evidence.joined([each for each, _, _ in drawn])
        return fit(
            evidence, same, np.ones(same.size), kappa=1.0, nu=10.0, population=0.0, searches=best
        )


@pytest.fixture(scope="module")
def world() -> tuple[World, Calibration]:
    made = World(80, seed=1)
    return made, made.fitted()


@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_cohort_is_everybody_else_without_the_nearest(people, seed):
    scores = np.random.default_rng(seed).standard_normal((4, people))
    mean, variance, size = cohort_statistics(scores)
    for probe, person in np.ndindex(scores.shape):
        others = np.sort(np.delete(scores[probe], person))
        others = others[:-1] if len(others) >= 5 else others
        assert size[probe, person] == len(others)
        if len(others):
            assert mean[probe, person] == pytest.approx(others.mean())
            assert variance[probe, person] == pytest.approx(others.var(), abs=1e-9)


def test_sums_of_parts_are_sums_of_the_whole():
    scores = np.random.default_rng(3).standard_normal((9, 7))
    whole = CohortSums.of(scores)
    parts = CohortSums.joined([CohortSums.of(scores[:4]), CohortSums.of(scores[4:])])
    own, probe = scores[[2, 8], [1, 6]], np.array([2, 8])
    for one, other in zip(whole.without(own, probe), parts.without(own, probe), strict=True):
        np.testing.assert_allclose(one, other)


def test_a_background_is_not_made_of_too_few_people():
    units = np.eye(5, DIM)
    with pytest.raises(UsageError, match="at least 8 people for 6 directions, got 5"):
        Background.of(units, 6)


def test_a_background_survives_its_rows():
    known = World(30, seed=4).known
    read = Background.from_rows(json.loads(json.dumps(known.to_rows())))
    units = np.eye(3, DIM)
    np.testing.assert_allclose(read.level(units), known.level(units), atol=1e-4)
    np.testing.assert_allclose(read.spread(units), known.spread(units), rtol=1e-3)


@pytest.mark.parametrize("far", [0.05, 0.01])
def test_new_people_are_accepted_at_the_asked_rate(world, far):
    _, calibration = world
    other = World(80, seed=2)
    for size in (12, 30):
        evidence, same, _ = other.trials(size, probes=6000)
        judged = calibration.judge(evidence, far)
        assert 0.4 * far < judged.accepted[~same].mean() < 2 * far
        assert judged.accepted[same].mean() > 0.8


def test_searches_find_strangers_at_the_asked_rate(world):
    _, calibration = world
    evidence, _, enrolled = World(80, seed=6).trials(15, probes=6000)
    best = np.arange(6000) * 15 + evidence.score.reshape(6000, 15).argmax(axis=1)
    strangers = best[~enrolled[best]]
    judged = calibration.judge(evidence.take(strangers), 0.05, searched=15)
    assert 0.02 < judged.accepted.mean() < 0.1


def test_llrs_are_calibrated(world):
    _, calibration = world
    evidence, same, _ = World(80, seed=7).trials(30, probes=6000)
    llr = calibration.judge(evidence, 0.01).llr
    odds = same.mean() / (1 - same.mean())
    between = np.abs(llr - np.log(1 / odds)) < 1
    share = 1 / (1 + np.exp(-(llr[between] + np.log(odds))))
    assert same[between].mean() == pytest.approx(share.mean(), abs=0.12)


def test_a_larger_score_never_means_less():
    llr = shipped().calibration.judge(some(400, score=np.linspace(-1, 1, 400)), 0.01).llr
    assert (np.diff(llr) > 0).all()


def test_what_is_not_known_lowers_the_llr():
    """The same score, far above strangers, with ever fewer people to compare with."""
    judged = shipped().calibration.judge(
        some(5, score=0.75, cohort_size=[400, 30, 9, 3, 0], cohort_mean=[0.1] * 4 + [0]), 0.01
    )
    assert (np.diff(judged.llr) < 0).all()


def test_rates_galleries_and_speech_move_the_thresholds():
    calibration, one = shipped().calibration, some(1)
    at = [calibration.judge(one, far).threshold_llr[0] for far in (0.1, 0.01, 0.001, 1e-9)]
    assert at == sorted(at)
    of = [calibration.judge(one, 0.01, searched=n).threshold_llr[0] for n in (2, 10, 100, 10**9)]
    assert of == sorted(of)
    below = [
        calibration.judge(some(1, probe_speech=s), 1e-4).reject_llr[0] for s in (0.5, 1, 1.5, 10)
    ]
    assert below[0] < below[1] < below[2] == below[3] == pytest.approx(np.log(3))


def test_nobody_is_sent_away_for_want_of_others_to_compare_with():
    calibration = shipped().calibration
    alone = some(1, score=0.99, cohort_size=0, cohort_mean=0, probe_speech=8.0)
    judged = calibration.judge(alone, 1e-6)
    assert judged.llr[0] > 0
    assert not judged.accepted[0]
    assert not judged.rejected[0]


def test_what_few_people_tell_is_taken_with_caution():
    judged = shipped().calibration.judge(some(3, cohort_size=[3, 8, 9]), 0.5)
    assert judged.threshold_llr[:2].tolist() == [2.0, 2.0]
    assert judged.threshold_llr[2] < 2


@pytest.mark.parametrize("far", [0.0, 1.0, -1.0, float("nan")])
def test_a_rate_lies_between_nought_and_one(far):
    with pytest.raises(UsageError, match="between 0 and 1"):
        shipped().calibration.judge(some(1), far)


def test_the_zone_follows_the_costs():
    one, many = np.array([1.0]), np.array([100.0])
    fair = Costs(p_target=0.5, false_reject=1.0, inconclusive=0.5).reject_llr(one, many)
    assert fair[0] == pytest.approx(0.0)
    trusted = Costs(p_target=0.9, false_reject=1.0, inconclusive=0.5).reject_llr(one, many)
    assert trusted[0] == pytest.approx(-np.log(9))
    assert Costs(inconclusive=1.0).reject_llr(one, many)[0] == np.inf


def test_unknown_facts_are_taken_as_typical():
    calibration = shipped().calibration
    probe, reference, snr = calibration.typical
    unknown = some(1, probe_speech=np.nan, reference_speech=np.nan, snr_db=np.nan)
    known = some(1, probe_speech=probe, reference_speech=reference, snr_db=snr)
    for field in ("llr", "threshold_llr", "reject_llr"):
        one, other = (getattr(calibration.judge(e, 0.01), field)[0] for e in (unknown, known))
        assert one == pytest.approx(other)


def test_few_trials_of_ones_own_move_little_and_many_move_as_far_as_they_must(world):
    made, calibration = world
    shifted = replace(calibration, llr=(calibration.llr[0] + 3.0, *calibration.llr[1:]))
    evidence, same, _ = made.trials(14, probes=3000)
    few = np.flatnonzero(same)[:2], np.flatnonzero(~same)[:8]
    few = np.concatenate(few)
    little = refit(shifted, evidence.take(few), same[few], np.ones(few.size))
    much = refit(shifted, evidence, same, np.ones(same.size))
    assert abs(little.llr[0] - shifted.llr[0]) < 1
    assert much.llr[0] - shifted.llr[0] == pytest.approx(-3.0, abs=0.8)
    judged = much.judge(evidence, 0.01)
    assert 0.004 < judged.accepted[~same].mean() < 0.02


@pytest.mark.parametrize("kind", [True, False])
def test_one_class_of_trials_fits_nothing(kind):
    evidence, same = some(50), np.full(50, kind)
    with pytest.raises(EmptyTrials):
        refit(shipped().calibration, evidence, same, np.ones(50))


def test_parameters_survive_json_and_wrong_ones_are_refused():
    parameters = json.loads(json.dumps(shipped().calibration.to_json()))
    assert Calibration.from_json(parameters) == shipped().calibration
    for wrong in (
        {},
        parameters | {"tail": [1.0]},
        parameters | {"mean": None},
        parameters | {"kappa": 0},
        parameters | {"nu": "many"},
        parameters | {"llr": [float("nan")] * 5},
    ):
        with pytest.raises(UsageError, match="expected"):
            Calibration.from_json(wrong)


def test_the_shipped_calibration_is_for_the_shipped_encoder_and_sql_has_the_same():
    assert (shipped().model, shipped().spec_hash) == (DEFAULT_MODEL.name, DEFAULT_MODEL.hash)
    sql = Path(voxprint.__file__).parent / "db/sql/voxprint/src/95-shipped-calibration.sql"
    found = re.findall(r"^'(\{.*\})'|^(\{\"weight.*\}),?$", sql.read_text(), re.MULTILINE)
    parameters = json.loads(next(one for one, _ in found if "kappa" in one))
    assert parameters == shipped().calibration.to_json()
    rows = [json.loads(row) for _, row in found if row]
    assert rows == shipped().background.to_rows()
    assert DEFAULT_MODEL.hash in sql.read_text()
