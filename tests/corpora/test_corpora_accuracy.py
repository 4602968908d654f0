"""The promises on real people, on as few of them as show that nothing is broken.

``python -m benchmarks.accuracy`` measures all; docs/results.md has its figures.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest

from voxprint.score.trials import read_trials
from voxprint.service.evaluate import Plan, evaluate

pytestmark = pytest.mark.corpora

SPEAKERS, RECORDINGS, ENROLLED = 12, 10, 3


def read_table(path):
    with path.open(encoding="utf-8") as table:
        return list(csv.DictReader(table, delimiter="\t"))


@pytest.fixture(scope="module")
def unit(corpora, encoder):
    """Embeddings by age group: shape (speakers, recordings, dim).

    Names rise with age, and the voices of six-year-olds are much more alike than those of
    others: so the speakers are spread evenly over the names.
    """
    rows = read_table(corpora / "speakers.tsv")
    embedded = {}
    for age in ("adult", "child"):
        names = sorted(
            row["speaker"]
            for row in rows
            if row["set"] == "speechocean762" and row["age_group"] == age
        )
        people = names[:: len(names) // SPEAKERS][:SPEAKERS]
        folders = [corpora / "speech/speechocean762" / name for name in people]
        paths = [path for f in folders for path in sorted(f.glob("*.opus"))[:RECORDINGS]]
        vectors = [embedding.vector for _, embedding in encoder.embed_files(paths)]
        embedded[age] = np.reshape(vectors, (SPEAKERS, RECORDINGS, -1)).astype(np.float64)
    return embedded


@pytest.fixture(scope="module")
def scores(unit):
    """Cosine of every probe with every voiceprint: shape (speakers, probes, speakers)."""

    def of(age):
        prints = unit[age][:, :ENROLLED].mean(axis=1)
        prints /= np.linalg.norm(prints, axis=1, keepdims=True)
        return unit[age][:, ENROLLED:] @ prints.T

    return of


@pytest.mark.parametrize("age", ["adult", "child"])
def test_the_speaker_comes_first_in_95_of_100_searches(scores, age):
    found = scores(age).argmax(axis=2)
    assert np.mean(found == np.arange(SPEAKERS)[:, None]) >= 0.95


@pytest.mark.parametrize("age", ["adult", "child"])
def test_95_of_100_verifications_are_right_at_the_default_threshold(scores, encoder, age):
    accepted = scores(age) >= encoder.spec.threshold
    own = np.eye(SPEAKERS, dtype=bool)[:, None, :].repeat(RECORDINGS - ENROLLED, axis=1)
    assert np.mean(accepted[own]) >= 0.95
    assert np.mean(~accepted[~own]) >= 0.95


def test_the_trial_list_of_librispeech(corpora, encoder):
    trials = read_trials(corpora / "trials/librispeech_test_other.tsv", corpora / "speech")
    report = evaluate(trials, encoder, Plan(conditions=("full", "1s+mulaw8k"), galleries=(6,)))
    assert (report.recordings, report.speakers) == (70, 7)
    whole, degraded = report.results
    assert (whole.rates.n_target, whole.rates.n_nontarget, whole.failures) == (315, 2100, {})
    assert whole.rates.eer.value <= 0.01
    assert whole.at_default.p_miss <= 0.05
    assert whole.at_default.p_fa <= 0.01
    assert whole.rates.eer.value < degraded.rates.eer.value <= 0.15
    assert report.galleries[0].first >= 0.95


def test_a_recording_always_has_the_same_embedding(corpora, encoder):
    paths = sorted((corpora / "speech/speechocean762").glob("*/*.opus"))[:6]
    alone = [encoder.embed_file(path).vector for path in paths]
    among_others = [embedding.vector for _, embedding in encoder.embed_files(paths, workers=4)]
    assert np.array_equal(alone, among_others)


def test_durations_and_rates_are_those_of_the_sources(corpora, encoder):
    """One recording of each set; Opus says neither its length nor its source's rate itself."""
    firsts = {row["path"].split("/")[0]: row for row in read_table(corpora / "files.tsv")}
    for row in firsts.values():
        embedding = encoder.embed_file(corpora / "speech" / row["path"])
        assert embedding.seconds == pytest.approx(float(row["seconds"]), abs=0.03)
        assert embedding.sample_rate == int(row["sample_rate"])
