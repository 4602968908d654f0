from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from talking import RATE, talk

from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import FbankConfig, fbank
from voxprint.audio.subtraction import SubtractionConfig, noise_power, subtract_noise

FBANK = FbankConfig(subtract_mean=False)
SETTINGS = SubtractionConfig()
PAUSE = 1.0


def recording() -> tuple[np.ndarray, np.ndarray]:
    """A second of near silence, three of speech, a second more; and where the pauses are."""
    quiet = 1e-4 * np.random.default_rng(3).standard_normal(RATE)
    samples = np.concatenate([quiet, talk(4, 3.0), quiet]).astype(np.float32)
    middle = np.arange(len(fbank(samples, FBANK))) * 0.01 + 0.0125
    return samples, (middle < PAUSE - 0.05) | (middle > PAUSE + 3.05)


def noisy(snr_db: int) -> np.ndarray:
    return degrade(recording()[0], f"noise{snr_db}", "seed")


def errors(made: np.ndarray, clean: np.ndarray, where: np.ndarray) -> float:
    return float(np.square(made - clean)[where].mean())


@pytest.mark.parametrize("snr_db", [10, 5, 0])
def test_noise_is_lowered_and_speech_comes_nearer_to_clean(snr_db):
    samples, pauses = recording()
    clean, heard = fbank(samples, FBANK), fbank(noisy(snr_db), FBANK)
    made = subtract_noise(heard, pauses, SETTINGS)
    assert made[pauses].mean() < heard[pauses].mean() - 0.5  # 2 dB
    assert errors(made, clean, ~pauses) < 0.8 * errors(heard, clean, ~pauses)


def test_clean_speech_is_hardly_changed():
    samples, pauses = recording()
    heard = fbank(samples, FBANK)
    made = subtract_noise(heard, pauses, SETTINGS)
    loud = heard.max(axis=1) > np.percentile(heard.max(axis=1), 60)
    weights = np.exp(heard[loud])
    assert np.average(heard[loud] - made[loud], weights=weights) < 0.01
    assert np.median(heard[loud] - made[loud]) < 0.05


def test_nothing_becomes_louder_and_the_floor_holds():
    _, pauses = recording()
    heard = fbank(noisy(0), FBANK)
    made = subtract_noise(heard, pauses, SETTINGS)
    assert (made <= heard).all()
    noise = np.log(noise_power(np.exp(heard.astype(np.float64)), pauses, SETTINGS))
    floor = np.minimum(heard, noise + np.log(SETTINGS.floor))
    assert (made >= floor - 1e-4).all()


def test_more_is_taken_off_where_the_frame_is_noisier():
    noise, pauses = np.ones((40, 4)), np.arange(42) < 40
    frames = np.stack([np.full(4, 101.0), np.full(4, 2.0)])  # 20 dB and 0 dB above the noise
    features = np.log(np.concatenate([noise, frames])).astype(np.float32)
    made = np.exp(subtract_noise(features, pauses, replace(SETTINGS, over=1.5, floor=0.1)))
    assert made[40] == pytest.approx(np.full(4, 100.0), rel=1e-4)
    assert made[41] == pytest.approx(np.full(4, 0.5), rel=1e-4)


def test_without_pauses_quantiles_stand_for_the_noise():
    _, pauses = recording()
    heard = fbank(noisy(0), FBANK)
    power = np.exp(heard.astype(np.float64))
    nowhere = np.zeros(len(pauses), bool)
    told = noise_power(power, pauses, SETTINGS)
    guessed = noise_power(power, nowhere, SETTINGS)
    # A low quantile lies below the mean, but not by much, whatever was said over the noise.
    apart = 10 * np.log10(guessed / told)
    assert -8 < apart.mean() < 0
    middle = noise_power(power, nowhere, replace(SETTINGS, quantile=0.5))
    assert (middle > guessed).all()
    made = subtract_noise(heard, nowhere, SETTINGS)
    assert made[pauses].mean() < heard[pauses].mean() - 0.1


@pytest.mark.parametrize("frames", [0, 1, 2, 200])
@pytest.mark.parametrize("paused", [True, False])
def test_silence_stays_finite(frames, paused):
    silent = fbank(np.zeros(240 + 160 * frames, np.float32), FBANK)
    assert len(silent) == frames
    made = subtract_noise(silent, np.full(frames, paused), SETTINGS)
    assert made.shape == silent.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


def test_sums_of_power_far_beyond_full_scale_stay_finite():
    huge = np.full((50, 80), 88.0, np.float32)
    assert np.isfinite(subtract_noise(huge, np.zeros(50, bool), SETTINGS)).all()
