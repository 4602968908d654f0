"""A trial list through the real encoder: synthetic voices, enough to see that all is wired.

Voices are espeak-ng's, so error rates say nothing about people; tests/corpora measures those.
"""

from __future__ import annotations

import json
import sys
import wave

import numpy as np
import pytest

from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.demo.voices import SENTENCES_EN, VOICES, synthesizer
from voxprint.encoder.embedder import Encoder
from voxprint.errors import EmptyTrials, UsageError, VoxprintError
from voxprint.score.metrics import eer
from voxprint.score.trials import read_trials
from voxprint.service.evaluate import Judgement, Plan, evaluate
from voxprint.service.plots import plot

RATE = 16000
SPEAKERS = {"amy": VOICES[0], "boris": VOICES[1]}


def write_wav(path, samples):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def encoder():
    return Encoder()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    spoken = synthesizer()
    for name, voice in SPEAKERS.items():
        (folder / name).mkdir()
        for take, text in enumerate(SENTENCES_EN[:3]):
            (folder / name / f"{take}.wav").write_bytes(spoken.say(voice, text))
    write_wav(folder / "amy/short.wav", decode(folder / "amy/0.wav").samples[:3200])
    write_wav(folder / "boris/silent.wav", np.zeros(RATE))
    (folder / "boris/notes.wav").write_text("this is no recording")
    return folder


def all_pairs(files):
    rows = [
        f"{int(a.split('/')[0] == b.split('/')[0])}\t{a}\t{b}\t{'yes' if i else 'no'}"
        for i, a in enumerate(files)
        for b in files[i + 1 :]
    ]
    return "\n".join(["label\tenrol\ttest\tlater", *rows]) + "\n"


GOOD = [f"{name}/{take}.wav" for name in SPEAKERS for take in range(3)]


@pytest.fixture
def read(tmp_path, root):
    def read(text):
        path = tmp_path / "trials.tsv"
        path.write_text(text)
        return read_trials(path, root)

    return read


@pytest.fixture(scope="module")
def good(tmp_path_factory, root):
    path = tmp_path_factory.mktemp("lists") / "good.tsv"
    path.write_text(all_pairs(GOOD))
    return read_trials(path, root)


@pytest.fixture(scope="module")
def unit(root, encoder):
    """Unit embeddings of the good recordings, whole."""
    return {name: encoder.embed_file(root / name).vector.astype(np.float64) for name in GOOD}


@pytest.fixture(scope="module")
def report(good, encoder):
    """Three conditions, parts of the list, two galleries."""
    plan = Plan(
        conditions=("full", "0.5s", "1s+mulaw8k"), by=("later",), fars=(0.05,), galleries=(1, 0)
    )
    return evaluate(good, encoder, plan)


def cosines(trials, enrol, test):
    pairs = zip(trials.enrol, trials.test, strict=True)
    return [enrol[trials.names[a]] @ test[trials.names[b]] for a, b in pairs]


def test_each_trial_is_scored_by_its_cosine(good, encoder, report, unit):
    scores = np.array(cosines(good, unit, unit))
    assert np.allclose(report.scored[0].scores, scores, atol=1e-12)
    whole = report.results[0]
    assert (whole.condition, whole.column, whole.failures) == ("full", None, {})
    assert (whole.rates.n_target, whole.rates.n_nontarget) == (6, 9)
    assert whole.rates.eer.value == pytest.approx(eer(scores[good.same], scores[~good.same]))
    assert (report.recordings, report.speakers) == (6, 2)
    threshold = encoder.spec.threshold
    assert whole.at_default.threshold == threshold
    assert whole.at_default.p_miss == np.mean(scores[good.same] < threshold)
    assert whole.at_default.p_fa == np.mean(scores[~good.same] >= threshold)


def test_a_condition_degrades_the_test_side_alone(good, encoder, report, root, unit):
    cut = {
        name: encoder.embed(degrade(decode(root / name).samples, "0.5s"), RATE).astype(np.float64)
        for name in GOOD
    }
    assert np.allclose(report.scored[1].scores, cosines(good, unit, cut), atol=1e-12)
    both = evaluate(good, encoder, Plan(conditions=("0.5s",), degraded="both"))
    assert np.allclose(both.scored[0].scores, cosines(good, cut, cut), atol=1e-12)


def test_every_condition_is_measured_for_the_list_and_its_parts(report):
    rows = [(each.condition, each.column, each.value) for each in report.results]
    of_one = [(None, None), ("later", "no"), ("later", "yes")]
    assert rows == [(c, *part) for c in ("full", "0.5s", "1s+mulaw8k") for part in of_one]
    whole, first, later = (each.rates for each in report.results[:3])
    assert first.n_target + later.n_target == whole.n_target
    assert list(whole.frr_at_far) == [0.05]


def test_galleries_are_searched_under_every_condition(report):
    assert [(each.condition, each.gallery) for each in report.galleries] == [
        (condition, 1) for condition in ("full", "0.5s", "1s+mulaw8k") for _ in range(2)
    ]
    first = report.galleries[0]
    assert (first.mated, first.nonmated, first.first) == (2, 2, 1.0)
    assert first.fnir_at_fpir[0.05].interval.high > 0.5


def test_only_what_a_condition_needs_is_embedded(read, encoder):
    steps = []
    trials = read("1 amy/0.wav amy/1.wav\n0 amy/0.wav boris/1.wav\n")
    evaluate(trials, encoder, Plan(conditions=("1s", "0.5s")), progress=lambda *s: steps.append(s))
    # One reference whole, two probes under two conditions.
    embedded = [step[1:] for step in steps if step[0] == "embedding"]
    assert embedded[-1] == (5, 5)
    assert embedded == sorted(embedded)
    assert steps[-1] == ("measuring", 2, 2)


def test_failures_to_acquire_are_counted_and_never_scored(read, encoder, report):
    bad = ["amy/short.wav", "boris/silent.wav", "boris/notes.wav"]
    found = evaluate(read(all_pairs(GOOD + bad)), encoder, Plan(fars=(0.05,))).results[0]
    assert found.failures == {"too_short": 1, "silent": 1, "not_audio": 1}
    assert found.rates == report.results[0].rates
    assert (found.unscored_target, found.unscored_nontarget) == (3 + 6 + 1, 3 + 6 + 2)


def test_a_list_of_which_nothing_can_be_scored_says_why(read, encoder):
    text = "label\tenrol\ttest\n1\tamy/0.wav\tamy/short.wav\n0\tamy/0.wav\tboris/0.wav\n"
    with pytest.raises(EmptyTrials, match=r"no target trial of trials.tsv .* full") as caught:
        evaluate(read(text), encoder)
    assert caught.value.hint == "recordings not acquired: 1 too_short"


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(conditions=("loud",)), "expected a condition"),
        (Plan(by=("age",)), "expected a column of the trial list, got 'age'; it has later"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_is_embedded(good, encoder, plan, message):
    def never(*step):
        raise AssertionError(step)

    with pytest.raises(UsageError, match=message):
        evaluate(good, encoder, plan, progress=never)


def test_a_gallery_leaves_somebody_out(good, encoder):
    with pytest.raises(UsageError, match="at most 1 people, got 2"):
        evaluate(good, encoder, Plan(galleries=(2,)))


def test_a_calibration_sees_both_sides_and_adds_what_rests_on_llrs(good, encoder, unit):
    seen = []

    def judge(comparisons):
        seen.append(comparisons)
        llrs = 20 * (comparisons.scores - 0.5)
        decisions = np.where(llrs > 2, 1, np.where(llrs < -2, -1, 0)).astype(np.int8)
        return Judgement(llrs, {0.01: decisions})

    found = evaluate(good, encoder, Plan(conditions=("full", "1s")), judge=judge)
    whole, short = seen
    assert np.allclose(whole.scores, cosines(good, unit, unit))
    assert whole.test.speech_seconds[1] > short.test.speech_seconds[1] > 0.5
    assert whole.test.quality[1][0]["codec"] == "pcm_s16le"
    llr = found.results[0].llr
    assert llr.min_cllr <= llr.cllr
    assert llr.min_dcf <= llr.act_dcf
    made = llr.decisions[0.01]
    accepted = 20 * (whole.scores - 0.5) > 2
    assert made.far.value == np.mean(accepted[~good.same])
    assert "target FAR 1 %: FRR" in found.to_text()
    json.dumps(found.to_json(), allow_nan=False)


def test_the_report_is_json_and_tables(report, encoder):
    facts = json.loads(json.dumps(report.to_json(), allow_nan=False))
    first = facts["results"][0]
    assert (first["condition"], first["n_target"]) == ("full", 6)
    assert first["eer"]["value"] == report.results[0].rates.eer.value
    assert set(first["frr_at_far"]) == {"0.05"}
    assert facts["eer"] == first["eer"]
    assert (facts["spec_hash"], facts["files"]) == (encoder.spec.hash, 6)
    assert facts["galleries"][0]["gallery"] == 1
    text, markdown = report.to_text(), report.to_markdown()
    for part in ("EER", "minDCF (0.01)", "FRR at FAR 5 %", "1s+mulaw8k", "later=yes", "FPIR(N)"):
        assert part in text
        assert part in markdown
    assert markdown.count("\n| --- | ") == 2


def test_few_errors_are_quoted_with_their_interval(report):
    """Two people show little: where no error was seen, most rates remain possible."""
    rates = report.results[0].rates
    assert rates.eer.value == rates.eer.errors == 0
    assert (rates.eer.interval.low, rates.eer.interval.high) == (0.0, 0.5)
    assert rates.frr_at_far[0.05].interval.high == pytest.approx(1 - 0.05**0.5)
    assert rates.eer.percent() == "0.00 % [0.00, 50.00]"


def test_plots_are_written_as_png(report, tmp_path):
    files = plot(report, tmp_path / "new/plots")
    assert [path.name for path in files] == ["det.png", "scores.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)


def test_plots_without_matplotlib_say_what_to_install(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(VoxprintError, match="matplotlib") as raised:
        plot(report, tmp_path)
    assert raised.value.hint == 'pip install "voxprint[evaluate]"'
