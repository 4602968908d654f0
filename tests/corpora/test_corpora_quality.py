"""What is said about real recordings, good ones and ones made worse."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import soxr

from voxprint.audio.decode import decode

pytestmark = pytest.mark.corpora

RATE = 16000


@pytest.fixture(scope="module")
def recordings(corpora):
    """Samples of 40 people's recordings of 16 kHz, spread over the sets: at most 4 s of each."""
    with (corpora / "files.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    wide = [row["path"] for row in rows if row["sample_rate"] == "16000"]
    firsts = {path.rsplit("/", 1)[0]: path for path in sorted(wide)}
    chosen = list(firsts.values())[:: len(firsts) // 40][:40]
    return [decode(corpora / "speech" / path).samples[: 4 * RATE] for path in chosen]


@pytest.fixture(scope="module")
def facts(encoder, recordings):
    return [encoder.embed_samples(samples, RATE).quality for samples in recordings]


def noisy(samples, decibels):
    """With white noise under it, as loud against its louder frames as is asked."""
    power = np.mean(samples[: len(samples) // 400 * 400].reshape(-1, 400) ** 2, axis=1)
    speech = power[power > power.max() / 1000].mean()
    noise = np.random.default_rng(1).standard_normal(len(samples))
    return (samples + np.sqrt(speech / 10 ** (decibels / 10)) * noise).astype(np.float32)


def test_good_recordings_are_called_good(facts):
    alarms = [reason for each in facts for reason in each["reasons"] if reason != "short"]
    assert len(alarms) <= 1, alarms


def test_the_noise_that_is_added_is_found(encoder, recordings, facts):
    for decibels in (0, 10, 20):
        off = [
            encoder.embed_samples(noisy(samples, decibels), RATE).quality["snr_db"] - decibels
            for samples, clean in zip(recordings[::2], facts[::2], strict=True)
            if clean["snr_db"] > decibels + 10
        ]
        assert len(off) > 7
        assert np.mean(np.abs(off) <= 4) >= 0.9, np.round(off, 1)


def test_telephone_speech_is_told_from_the_rest(encoder, recordings, facts):
    assert sum(each["bandwidth_hz"] < 4200 for each in facts) <= 1
    for decibels in (None, 10):
        bands = []
        for samples in recordings[::2]:
            heard = samples if decibels is None else noisy(samples, decibels)
            telephone = soxr.resample(soxr.resample(heard, RATE, 8000), 8000, RATE)
            bands.append(encoder.embed_samples(telephone, RATE).quality["bandwidth_hz"])
        assert max(bands) < 4200


def test_two_people_in_a_recording(encoder, corpora):
    """Three seconds or more of each; alone they are one."""
    folders = sorted((corpora / "speech/speechocean762").iterdir())[::12][:10]
    voices = [
        np.concatenate([decode(path).samples for path in sorted(folder.glob("*.opus"))[:3]])
        for folder in folders
    ]
    alone = [encoder.embed_samples(samples, RATE).quality["reasons"] for samples in voices]
    assert not any("more_than_one_speaker" in reasons for reasons in alone)
    both = [
        encoder.embed_samples(np.concatenate([one, other]), RATE).quality["reasons"]
        for one, other in zip(voices, voices[1:] + voices[:1], strict=True)
    ]
    found = sum("more_than_one_speaker" in reasons for reasons in both)
    assert found >= 0.8 * len(both), found
