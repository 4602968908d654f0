from __future__ import annotations

import numpy as np
import pytest
import soxr
from recordings import RATE, sweep

from voxprint.audio.speech import sounding_seconds


def noise(seconds: float, level: float) -> np.ndarray:
    count = round(seconds * RATE)
    return (level * np.random.default_rng(7).standard_normal(count)).astype(np.float32)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(RATE, np.float32),
        np.full(RATE, 0.25, np.float32),
        noise(1, 3e-5),
        np.zeros(0, np.float32),
        np.ones(399, np.float32),
    ],
    ids=["digital silence", "offset", "16-bit hiss", "nothing", "less than a frame"],
)
def test_silence_holds_no_speech(samples):
    assert sounding_seconds(samples) == 0.0


@pytest.mark.parametrize("level", [1.0, 3e4, 1.7e9])
def test_a_large_offset_is_silence_at_any_rate(level):
    """Running sums once made the rounding of its squares sound."""
    assert sounding_seconds(np.full(4_000_000, level, np.float32)) == 0.0
    steps = np.repeat(np.float32([level, -level]), RATE)
    assert sounding_seconds(steps) <= 0.03
    for rate in (8000, 48000):
        offset = soxr.resample(np.full(5 * rate, level, np.float32), rate, RATE)
        assert sounding_seconds(offset) <= 0.05


def test_speech_at_the_scale_of_integers_is_speech():
    samples = np.concatenate([noise(1, 1e-5), sweep(1.0), noise(2, 1e-5)])
    assert sounding_seconds(samples * np.float32(2**31)) == pytest.approx(1.0, abs=0.05)


def test_a_second_of_sound_between_silences():
    samples = np.concatenate([noise(1, 1e-5), sweep(1.0), noise(2, 1e-5)])
    assert sounding_seconds(samples) == pytest.approx(1.0, abs=0.05)


def test_quiet_background_does_not_count_beside_loud_speech():
    samples = np.concatenate([noise(2, 1e-3), sweep(1.0)])
    assert sounding_seconds(samples) == pytest.approx(1.0, abs=0.05)


def test_never_more_than_the_duration():
    for seconds in (0.3, 0.31, 1.0, 2.377):
        samples = noise(seconds, 0.1)
        assert 0.9 * seconds - 0.05 <= sounding_seconds(samples) <= len(samples) / RATE


def test_a_click_is_hardly_anything():
    samples = np.zeros(RATE, np.float32)
    samples[8000:8010] = 0.9
    assert sounding_seconds(samples) <= 0.03
