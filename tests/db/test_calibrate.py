"""Fitting decisions to trials: who is fitted on and who is measured, with a small method."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import voxprint
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.estimates import ACCEPT, REJECT, Who
from voxprint.score.evidence import Evidence
from voxprint.score.trials import read_trials
from voxprint.service.calibrate import Material, calibrate, from_decisions, from_trials
from voxprint.service.evaluate import Judgement
from voxprint.service.plots import plot_det
from voxprint.types import LabelledDecision


class Line:
    """An LLR that is a line of the cosine: between two normal distributions of one width."""

    def __init__(self, offset: float, slope: float, nontarget: tuple[float, float]) -> None:
        self.offset, self.slope, self.nontarget = offset, slope, nontarget

    @property
    def parameters(self) -> dict:
        return {"offset": self.offset, "slope": self.slope, "nontarget": [*self.nontarget]}

    def judge(self, evidence, fars) -> Judgement:
        mean, spread = self.nontarget
        far = {0.01: 2.326, 0.1: 1.282, 0.001: 3.090}
        decisions = {
            f: np.where(evidence.score >= mean + far[f] * spread, ACCEPT, REJECT).astype(np.int8)
            for f in fars
        }
        return Judgement(self.offset + self.slope * evidence.score, decisions)


class Lines:
    """The method; remembers what it was fitted on."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def evidence(self, trials) -> Evidence:
        return known(trials.scores)

    def logged(self, decisions) -> Evidence:
        return known(np.array([each.score for each in decisions]))

    def fit(self, evidence, same) -> Line:
        self.seen.append(evidence.score)
        own, other = evidence.score[same], evidence.score[~same]
        spread = max(1e-3, math.sqrt((own.var() + other.var()) / 2))
        slope = (own.mean() - other.mean()) / spread**2
        offset = -slope * (own.mean() + other.mean()) / 2
        return Line(offset, slope, (float(other.mean()), max(1e-3, float(other.std()))))

    def load(self, parameters) -> Line:
        return Line(parameters["offset"], parameters["slope"], tuple(parameters["nontarget"]))


def known(scores: np.ndarray) -> Evidence:
    nothing = {each.name: np.zeros(scores.size) for each in fields(Evidence)}
    return Evidence(**{**nothing, "score": np.asarray(scores, dtype=np.float64)})


def material(people: int, *, shift: float = 0.0, seed: int = 7) -> Material:
    """Each person against each, and three times against themself; ``shift`` is the channel's."""
    random = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(people) for b in range(people) if a != b]
    pairs += [(a, a) for a in range(people) for _ in range(3)]
    enrol, test = np.array(pairs).T
    same = enrol == test
    scores = np.where(same, 0.7, 0.2) + shift + 0.1 * random.standard_normal(same.size)
    return Material("trials", "made up", known(scores), Who(same, enrol, test))


def test_figures_are_of_people_whom_the_fit_has_not_seen() -> None:
    method, trials = Lines(), material(40)
    done = calibrate(trials, method, DEFAULT_MODEL, fars=[0.01])
    first, second, whole = method.seen
    assert done.held_out
    assert not set(first) & set(second)
    assert set(first) | set(second) < set(whole)
    assert whole.size == trials.who.same.size
    assert done.same.size == first.size + second.size
    assert (done.speakers, done.n_target, done.n_nontarget) == (40, 120, 1560)


def test_a_channel_that_raises_all_scores_is_learnt() -> None:
    done = calibrate(material(60, shift=0.3), Lines(), DEFAULT_MODEL, fars=[0.01])
    before = done.before.rates.decisions[0.01].far
    after = done.after.rates.decisions[0.01].far
    assert before.value > 0.4
    assert 0.003 < after.value < 0.03
    assert after.interval.low <= after.value <= after.interval.high
    assert done.after.rates.eer.value == pytest.approx(done.before.rates.eer.value, abs=0.02)


def test_before_is_the_calibration_in_use_where_there_is_one() -> None:
    trials = material(40, shift=0.3)
    fitted = calibrate(trials, Lines(), DEFAULT_MODEL, fars=[0.01])
    again = calibrate(trials, Lines(), DEFAULT_MODEL, fars=[0.01], current=fitted.parameters)
    assert again.before.are_llrs
    assert again.before.rates.cllr == pytest.approx(again.after.rates.cllr, abs=0.05)
    assert not fitted.before.are_llrs
    assert fitted.to_json()["before"]["cllr"] is None


def test_it_says_what_cannot_be_promised() -> None:
    few = calibrate(material(20), Lines(), DEFAULT_MODEL, fars=[0.1, 0.001]).warnings
    assert [warning.count("promised from 30,000") for warning in few] == [0, 1]
    assert "different pairs of people" in few[0]  # 380 trials of 190 pairs
    assert calibrate(material(40), Lines(), DEFAULT_MODEL, fars=[0.1]).warnings == ()
    two = calibrate(material(3), Lines(), DEFAULT_MODEL, fars=[0.1])
    assert not two.held_out
    assert "flatter" in two.warnings[0]


def test_the_report_is_for_people_and_for_the_database() -> None:
    done = calibrate(material(20), Lines(), DEFAULT_MODEL, fars=[0.01, 0.1])
    text = done.to_text()
    for words in ("before", "after", "EER", "Cllr", "FAR at 1 %", "FRR at 10 %", "95 % interval"):
        assert words in text
    stored = json.loads(json.dumps(done.to_json()))
    assert stored["after"]["decisions"]["0.1"]["far"]["interval"]["level"] == 0.95
    assert stored["warnings"] == list(done.warnings)


def test_both_sides_are_drawn(tmp_path: Path) -> None:
    done = calibrate(material(20), Lines(), DEFAULT_MODEL, fars=[0.1])
    plot_det(tmp_path / "det.png", done.name, done.curves())
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="nowhere"):
        plot_det(tmp_path / "nowhere" / "det.png", done.name, done.curves())


@pytest.mark.parametrize("fars", [[], [0.0], [1.0], [0.01, -1.0], [math.nan]])
def test_rates_lie_between_none_and_all(fars) -> None:
    with pytest.raises(UsageError):
        calibrate(material(12), Lines(), DEFAULT_MODEL, fars=fars)


def decision(number: int, *, same: bool, kind: str = "verify", score: float = 0.5):
    return LabelledDecision(number, kind, number % 5, same, score, {}, "any", 2.0, 1)


def test_labelled_verifications_are_material_and_searches_are_not() -> None:
    labelled = [decision(n, same=n % 2 == 0, score=0.6 if n % 2 == 0 else 0.2) for n in range(20)]
    searched = [decision(99, same=True, kind="identify")]
    found = from_decisions(labelled + searched, Lines())
    assert found.who.same.sum() == 10
    assert (found.source, found.evidence.score.size) == ("decisions", 20)


@pytest.mark.parametrize("labels", [[], [True, True], [False]])
def test_labels_of_one_kind_are_refused(labels) -> None:
    with pytest.raises(EmptyTrials, match="verifications of both kinds"):
        from_decisions([decision(n, same=same) for n, same in enumerate(labels)], Lines())


def test_recordings_of_a_list_are_heard_once_and_failures_counted(
    voices: Path, tmp_path: Path
) -> None:
    (voices / "empty.wav").write_bytes(b"")
    lines = ["label\tenrol\ttest", "1\tAmy/1.wav\tempty.wav"]
    for a in ("Amy", "Boris"):
        lines += [f"{int(a == b)}\t{a}/1.wav\t{b}/2.wav" for b in ("Amy", "Boris")]
    (tmp_path / "trials.tsv").write_text("\n".join(lines) + "\n")
    trials = read_trials(tmp_path / "trials.tsv", voices)
    steps: list[tuple[str, int, int]] = []
    found = from_trials(trials, voxprint.Encoder(), Lines(), lambda *step: steps.append(step))
    assert (found.unscored, found.failures) == (1, {"not_audio": 1})
    assert found.who.same.tolist() == [True, False, False, True]
    assert found.evidence.score[0] > found.evidence.score[1]
    assert steps[-1] == ("embedding", 5, 5)
