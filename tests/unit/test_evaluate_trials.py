"""A trial list through the real encoder: synthetic voices, enough to see that all is wired.

Voices are pulse trains through three resonances, so error rates say nothing about people;
tests/corpora measures those.
"""

from __future__ import annotations

import json
import wave

import numpy as np
import pytest

from voxprint.encoder.embedder import Encoder
from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.metrics import eer
from voxprint.service.evaluate import evaluate

RATE = 16000
VOICES = {"low": (95, (600, 1100, 2500)), "high": (240, (800, 1900, 3300))}


def voice(pitch, formants, seed, seconds=1.2):
    """A vowel: pulses at a wavering pitch, through one two-pole resonance per formant."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    wavering = pitch * (1 + 0.05 * np.sin(2 * np.pi * random.uniform(3, 6) * t))
    pulses = np.diff(np.floor(np.cumsum(wavering) / RATE), prepend=0.0)
    response = sum(
        np.exp(-np.pi * 120 * t[:800])
        * np.sin(2 * np.pi * f * random.uniform(0.97, 1.03) * t[:800])
        for f in formants
    )
    sound = np.convolve(pulses, response)[: t.size] + 1e-3 * random.normal(size=t.size)
    return 0.5 * sound / np.abs(sound).max()


def write_wav(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
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
    for name, (pitch, formants) in VOICES.items():
        for take in range(3):
            write_wav(folder / name / f"{take}.wav", voice(pitch, formants, seed=take))
    write_wav(folder / "low/short.wav", voice(95, (600, 1100, 2500), 9, seconds=0.2))
    write_wav(folder / "high/silent.wav", np.zeros(RATE))
    (folder / "high/notes.wav").write_text("this is no recording")
    return folder


def all_pairs(files):
    rows = [
        f"{int(a.split('/')[0] == b.split('/')[0])}\t{a}\t{b}"
        for i, a in enumerate(files)
        for b in files[i + 1 :]
    ]
    return "\n".join(["label\tenrol\ttest", *rows]) + "\n"


GOOD = [f"{name}/{take}.wav" for name in VOICES for take in range(3)]


@pytest.fixture
def trials(tmp_path):
    def write(text):
        path = tmp_path / "trials.tsv"
        path.write_text(text)
        return path

    return write


def test_each_recording_is_embedded_once_and_each_trial_scored_by_its_cosine(trials, root, encoder):
    calls = []
    report = evaluate(trials(all_pairs(GOOD)), root, encoder, lambda *step: calls.append(step))
    assert calls == [(n, 6) for n in range(1, 7)]
    unit = {name: encoder.embed_file(root / name).vector.astype(np.float64) for name in GOOD}
    scores = {True: [], False: []}
    for i, a in enumerate(GOOD):
        for b in GOOD[i + 1 :]:
            scores[a.split("/")[0] == b.split("/")[0]].append(float(unit[a] @ unit[b]))
    assert report.rates.eer.value == pytest.approx(eer(scores[True], scores[False]), abs=1e-12)
    assert (report.rates.n_target, report.rates.n_nontarget) == (6, 9)
    assert (report.files, report.speakers, report.failures) == (6, 2, {})
    threshold = encoder.spec.threshold
    assert report.at_default.threshold == threshold
    assert report.at_default.p_miss == np.mean(np.array(scores[True]) < threshold)
    assert report.at_default.p_fa == np.mean(np.array(scores[False]) >= threshold)


def test_failures_to_acquire_are_counted_and_never_scored(trials, root, encoder):
    bad = ["low/short.wav", "high/silent.wav", "high/notes.wav"]
    whole = evaluate(trials(all_pairs(GOOD)), root, encoder)
    report = evaluate(trials(all_pairs(GOOD + bad)), root, encoder)
    assert report.failures == {"too_short": 1, "silent": 1, "not_audio": 1}
    assert report.rates == whole.rates
    assert (report.unscored_target, report.unscored_nontarget) == (3 + 6 + 1, 3 + 6 + 2)
    assert "1 too_short, 1 silent, 1 not_audio" in report.to_text()


def test_a_list_of_which_nothing_can_be_scored_says_why(trials, root, encoder):
    text = "label\tenrol\ttest\n1\tlow/0.wav\tlow/short.wav\n0\tlow/0.wav\thigh/0.wav\n"
    with pytest.raises(EmptyTrials, match=r"no target trial .* 1 of 3 recordings") as caught:
        evaluate(trials(text), root, encoder)
    assert caught.value.hint == "reasons: 1 too_short"


def test_a_wrong_list_is_refused_before_anything_is_embedded(trials, root, encoder):
    def never(done, total):
        raise AssertionError("embedded")

    for row, message in [
        ("1\tlow/0.wav\tlow/9.wav", "line 3: no such file"),
        ("1\tlow/0.wav\t../trials.tsv", "line 3: .* is not below the root"),
    ]:
        with pytest.raises(UsageError, match=message):
            evaluate(
                trials(f"label\tenrol\ttest\n1\tlow/0.wav\tlow/1.wav\n{row}\n"),
                root,
                encoder,
                never,
            )


def test_the_report_is_json_and_a_table(trials, root, encoder):
    report = evaluate(trials(all_pairs(GOOD)), root, encoder)
    facts = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert facts["n_target"] == 6
    assert facts["eer"]["value"] == report.rates.eer.value
    assert set(facts["frr_at_far"]) == {"0.01", "0.001"}
    assert facts["spec_hash"] == encoder.spec.hash
    text = report.to_text()
    for part in ("EER (ROC convex hull)", "minDCF (P_target 0.01)", "FRR at FAR 0.1 %", "%"):
        assert part in text


def test_few_errors_are_quoted_with_their_interval(trials, root, encoder):
    """Two people show little: where no error was seen, most rates remain possible."""
    rates = evaluate(trials(all_pairs(GOOD)), root, encoder).rates
    assert rates.eer.value == rates.eer.errors == 0
    assert (rates.eer.interval.low, rates.eer.interval.high) == (0.0, 0.5)
    assert rates.frr_at_far[0.01].interval.high == pytest.approx(1 - 0.05**0.5)
    assert rates.eer.percent() == "0.00 % [0.00, 50.00; 0 errors]"
