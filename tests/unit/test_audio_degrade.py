"""Conditions do to a known sound what their names say, always the same way."""

from __future__ import annotations

import contextlib
import doctest
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import RATE, sweep

from voxprint.audio import degrade as module
from voxprint.audio.degrade import check_condition, degrade, loudest
from voxprint.errors import UsageError, VoxprintError

CODECS = ("mulaw8k", "alaw8k", "gsm", "amr", "g722", "opus6k")


@pytest.fixture
def speech():
    """Silence, a quiet sweep, a loud sweep, silence: 4 s."""
    gap = np.zeros(RATE // 2, np.float32)
    return np.concatenate([gap, 0.1 * sweep(1.5), sweep(1.5), gap])


def likeness(heard, said):
    """Highest correlation over the codec's delay, up to 40 ms."""
    both = np.fft.irfft(np.fft.rfft(heard, 1 << 17) * np.fft.rfft(said, 1 << 17).conj())
    return both[:640].max() / np.linalg.norm(heard) / np.linalg.norm(said)


def share_above(samples, hz):
    """Share of the power above a frequency."""
    power = np.square(np.abs(np.fft.rfft(samples)))
    return power[np.fft.rfftfreq(len(samples), 1 / RATE) > hz].sum() / power.sum()


def test_examples_of_the_module():
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize("condition", [*CODECS, "full", "noise10", "clip"])
def test_nothing_but_a_cut_changes_the_length(speech, condition):
    heard = degrade(speech, condition, "a")
    assert heard.dtype == np.float32
    assert heard.shape == speech.shape
    assert np.isfinite(heard).all()


def test_full_is_the_recording_itself(speech):
    assert np.array_equal(degrade(speech, "full"), speech)


@pytest.mark.parametrize(("condition", "seconds"), [("2s", 2.0), ("0.5s", 0.5), ("9s", 4.0)])
def test_a_cut_has_the_length_asked_or_all_there_is(speech, condition, seconds):
    assert len(degrade(speech, condition)) == seconds * RATE


def test_a_cut_is_the_loudest_part(speech):
    assert np.array_equal(loudest(speech, 1.5), sweep(1.5))


@pytest.mark.parametrize("condition", CODECS)
def test_a_codec_leaves_the_sound_recognisable_and_not_the_same(speech, condition):
    heard = degrade(speech, condition)
    assert 0.8 < likeness(heard, speech) < 0.999999


@pytest.mark.parametrize("condition", ["mulaw8k", "alaw8k", "gsm", "amr"])
def test_a_telephone_carries_nothing_above_4_khz(condition):
    hiss = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert share_above(hiss, 4100) > 0.4
    assert share_above(degrade(hiss, condition), 4100) < 0.01


@pytest.mark.parametrize("snr_db", [20, 0, -5])
@pytest.mark.parametrize("kind", ["pink", "real"])
def test_noise_stands_so_far_below_the_speech_not_below_the_recording(speech, snr_db, kind):
    noises = [np.random.default_rng(1).normal(0, 0.3, 700).astype(np.float32)] * 2
    speech = 0.05 * speech
    noise = degrade(speech, f"noise{snr_db}", "a", noises=noises * (kind == "real")) - speech
    spoken = np.abs(speech) > 0
    measured = np.mean(np.square(speech[spoken])) / np.mean(np.square(noise))
    assert 10 * np.log10(measured) == pytest.approx(snr_db, abs=0.6)


def test_noise_is_drawn_from_the_seed(speech):
    first, again = (degrade(speech, "noise10", "a/1.wav") for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, degrade(speech, "noise10", "a/2.wav"))


def test_loud_noise_does_not_leave_the_range(speech):
    assert np.abs(degrade(2 * speech, "noise-10", "a")).max() <= 1


def test_clipping_cuts_three_samples_of_a_hundred():
    said = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    heard = degrade(said, "clip")
    assert np.mean(np.abs(heard) >= 0.9899) == pytest.approx(0.03, abs=0.003)
    assert np.abs(heard).max() == pytest.approx(0.99)


def test_steps_are_done_from_left_to_right(speech):
    heard = degrade(speech, "1s+noise10+mulaw8k", "a")
    noisy = degrade(degrade(speech, "1s"), "noise10", "a")
    assert np.array_equal(heard, degrade(noisy, "mulaw8k"))


@pytest.mark.parametrize("condition", [*CODECS, "1s", "noise10", "clip"])
@pytest.mark.parametrize("samples", [[], [0.0] * 4000, [0.5]], ids=["nothing", "silence", "one"])
def test_what_holds_no_speech_stays_what_it_is(condition, samples):
    given = np.array(samples, np.float32)
    heard = degrade(given, condition)
    assert heard.shape == given.shape
    assert np.isfinite(heard).all()


@pytest.mark.parametrize(
    "condition", ["", "loud", "0s", "s", "99999s", "noise", "noise999", "1s+", "1s,2s", "noiseinf"]
)
def test_an_unknown_condition_is_told_all_there_are(condition):
    with pytest.raises(UsageError, match=r"<seconds>s, noise<dB>, mulaw8k, .* gsm, clip"):
        check_condition(condition)


@given(st.text(max_size=12))
def test_any_text_is_a_condition_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        assert check_condition(text) == text


def test_gsm_without_soundfile_says_what_to_install(speech, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(VoxprintError, match="soundfile") as raised:
        degrade(speech, "gsm")
    assert raised.value.hint == 'pip install "voxprint[evaluate]"'
