"""What is said about good, bad and strange recordings, through the encoder's own door."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
import pytest
import soundscapes
import soxr
from recordings import RATE, by_soundfile, pcm16
from talking import talk

from voxprint import Encoder
from voxprint.audio.decode import decode
from voxprint.demo.voices import VOICES, synthesizer
from voxprint.errors import FailureToAcquire

KEYS = {
    *("peak", "rms_dbfs", "clipped", "snr_db", "bandwidth_hz", "agreement"),
    *("channels", "channel", "codec"),
    "reasons",
}


@pytest.fixture(scope="module")
def encoder():
    return Encoder()


@pytest.fixture(scope="module")
def people():
    """Two utterances of about four seconds of six synthetic speakers: samples at 16 kHz.

    In a process of their own: what espeak-ng says depends on what it has said before.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_spoken).result()


def _spoken():
    spoken = synthesizer()
    return [
        [decode(spoken.say(voice, text)).samples for text in _sentences(voice)] for voice in VOICES
    ]


def _sentences(voice):
    if voice.voice.startswith("cmn"):
        return (
            "早上好，这里是保险公司，请问有什么可以帮您？",
            "您的保单已经在三月份续签，保障全家人。",
        )
    return (
        "Good morning, this is the insurance desk, how may I help you today?",
        "Your policy was renewed in March and covers the whole family.",
    )


@pytest.fixture
def reasons(encoder):
    def of(samples, rate=RATE):
        return encoder.embed_samples(samples, rate).quality["reasons"]

    return of


@pytest.mark.parametrize(
    "sound",
    [
        soundscapes.dial_tone(),
        soundscapes.ringing(),
        soundscapes.keypad(),
        soundscapes.tones(1000),
        soundscapes.music(),
        soundscapes.white_noise(),
        soundscapes.pink_noise(),
        soundscapes.white_noise(level=1e-3),
    ],
    ids=["dial tone", "ringing", "keypad", "1 kHz", "music", "white", "pink", "faint"],
)
def test_where_nobody_speaks_there_is_no_embedding(encoder, sound):
    for embed in (
        lambda: encoder.embed(sound, RATE),
        lambda: encoder.embed_file(pcm16(sound)),
        lambda: encoder.embed_file(by_soundfile(soxr.resample(sound, RATE, 8000), 8000)),
    ):
        with pytest.raises(FailureToAcquire, match="nobody speaks") as error:
            embed()
        assert error.value.reason == "no_speech"
        assert "right source" in error.value.hint


def test_good_recordings_give_no_reason(encoder, people):
    for first, _ in people:
        embedding = encoder.embed_file(pcm16(first))
        facts = embedding.quality
        assert facts.keys() == KEYS
        assert facts["reasons"] == []
        assert facts["snr_db"] > 25
        assert facts["bandwidth_hz"] > 7000
        assert facts["clipped"] < 0.001
        assert 0.5 < facts["agreement"] <= 1
        assert 0.7 * embedding.seconds < embedding.speech_seconds <= embedding.seconds


def test_the_signal_to_noise_ratio_is_that_of_the_noise_added(encoder, people):
    for first, _ in people:
        measured = []
        for decibels in (0, 5, 10, 15, 20, 25):
            noisy = soundscapes.with_noise(first, decibels)
            measured.append(encoder.embed_samples(noisy, RATE).quality["snr_db"])
            assert measured[-1] == pytest.approx(decibels, abs=3)
        assert all(a < b for a, b in pairwise(measured))


def test_speech_in_loud_noise_is_noisy_and_still_speech(encoder, people, reasons):
    assert "noisy" in reasons(soundscapes.with_noise(people[0][0], 0))
    assert "noisy" not in reasons(soundscapes.with_noise(people[0][0], 10))


def test_without_a_pause_the_noise_is_found_in_the_quietest_frames(encoder, people):
    for first, _ in people:
        middle = first[RATE : RATE + 12000]
        clean = encoder.embed_samples(middle, RATE).quality["snr_db"]
        noisy = encoder.embed_samples(soundscapes.with_noise(middle, 5), RATE).quality["snr_db"]
        assert noisy < clean
        assert noisy == pytest.approx(5, abs=3.5)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
def test_clipped_speech(encoder, people, reasons, share):
    for first, _ in people:
        limit = np.quantile(np.abs(first), 1 - share)
        clipped = np.clip(first, -limit, limit)
        for level in (1.0, 0.3):  # clipped by a limiter, or before a quieter stage
            facts = encoder.embed_samples(clipped / limit * level, RATE).quality
            assert facts["clipped"] == pytest.approx(share, rel=0.3)
            assert "clipped" in facts["reasons"]


@pytest.mark.parametrize("codec", ["PCM_16", "ULAW", "ALAW", "GSM610"])
def test_a_telephone_is_heard_whatever_the_file_says(encoder, people, codec):
    for first, _ in people:
        narrow = soxr.resample(first, RATE, 8000)
        telephone = decode(by_soundfile(narrow, 8000, codec=codec)).samples
        for recording in (
            by_soundfile(narrow, 8000, codec=codec),
            by_soundfile(telephone, RATE),  # upsampled by somebody
            by_soundfile(telephone, RATE, container="OGG", codec="OPUS"),
        ):
            facts = encoder.embed_file(recording).quality
            assert 3000 < facts["bandwidth_hz"] <= 4000
            assert "narrowband" in facts["reasons"]


@pytest.mark.parametrize("decibels", [0, 10])
def test_noise_in_front_of_the_telephone_hides_nothing(encoder, people, reasons, decibels):
    for first, _ in people:
        noisy = soundscapes.with_noise(first, decibels)
        assert "narrowband" not in reasons(noisy)
        assert "narrowband" in reasons(soxr.resample(noisy, RATE, 8000), 8000)
        assert "narrowband" in reasons(soxr.resample(soxr.resample(noisy, RATE, 8000), 8000, RATE))


def test_two_people_one_after_the_other_or_in_turns(encoder, people):
    found = {"after": 0, "turns": 0}
    for number, (first, second) in enumerate(people):
        other = people[number - 1][0]
        alone = np.concatenate([first, second])
        assert encoder.embed_samples(alone, RATE).quality["agreement"] > 0.6
        after = np.concatenate([first, other])
        turns = np.concatenate([first[:32000], other[:32000], second[:32000], other[32000:]])
        for name, both in (("after", after), ("turns", turns)):
            facts = encoder.embed_samples(both, RATE).quality
            found[name] += "more_than_one_speaker" in facts["reasons"]
    assert min(found.values()) >= len(people) - 2


def test_two_people_at_once_get_an_embedding_between_theirs(encoder, people):
    """Nothing tells them apart; what comes out is no error and nobody's voice alone."""
    for number, (first, _) in enumerate(people):
        other = people[number - 1][0]
        length = min(len(first), len(other))
        mixed = encoder.embed_samples(first[:length] + other[:length], RATE)
        assert np.isfinite(mixed.vector).all()
        alone = [encoder.embed(samples[:length], RATE) for samples in (first, other)]
        assert max(mixed.vector @ vector for vector in alone) < 0.97


def test_agreement_needs_three_seconds(encoder, people):
    short = encoder.embed_samples(people[0][0][:24000], RATE)
    assert short.speech_seconds < 3
    assert short.quality["agreement"] is None


def test_a_recording_that_is_mostly_silence(encoder, people):
    """A second of speech in half a minute of hiss, as a forgotten microphone makes it."""
    hiss = soundscapes.white_noise(28.0, level=3e-4)
    for first, _ in people:
        speech = first[: RATE * 2]
        alone = encoder.embed_samples(speech, RATE)
        embedding = encoder.embed_samples(
            np.concatenate([hiss[: RATE * 20], speech, hiss[RATE * 20 :]]), RATE
        )
        assert "mostly_silence" in embedding.quality["reasons"]
        assert embedding.speech_seconds == pytest.approx(alone.speech_seconds, abs=0.3)
        assert embedding.vector @ alone.vector > 0.9


def test_little_speech_is_said_to_be_little(reasons):
    assert "short" in reasons(talk(3, 0.6))
    assert "short" not in reasons(talk(3, 2.0))
