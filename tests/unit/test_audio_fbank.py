from __future__ import annotations

from dataclasses import replace

import kaldi_native_fbank
import numpy as np
import pytest
from recordings import RATE, sweep

from voxprint.audio.fbank import FbankConfig, fbank, frame_count

PLAIN = FbankConfig(subtract_mean=False)


def oracle(samples: np.ndarray, config: FbankConfig = PLAIN) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = RATE
    options.frame_opts.frame_length_ms = config.frame_length_ms
    options.frame_opts.frame_shift_ms = config.frame_shift_ms
    options.frame_opts.preemph_coeff = config.preemphasis
    options.frame_opts.window_type = config.window
    options.frame_opts.snip_edges = config.snip_edges
    options.mel_opts.num_bins = config.mel_bins
    options.mel_opts.low_freq = config.low_hz
    options.mel_opts.high_freq = config.high_hz
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(RATE, samples * np.float32(config.scale))
    computer.input_finished()
    rows = [computer.get_frame(row) for row in range(computer.num_frames_ready)]
    return np.stack(rows) if rows else np.empty((0, config.mel_bins), np.float32)


def noise(count: int, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(5).standard_normal(count)).astype(np.float32)


@pytest.mark.parametrize(
    "count", [0, 1, 399, 400, 401, 559, 560, 561, 4800, 15680, 16000, 37920, 41360, 80480, 480000]
)
def test_equals_kaldi_at_every_length(count):
    samples = noise(count)
    ours, kaldis = fbank(samples, PLAIN), oracle(samples)
    assert ours.shape == kaldis.shape == (frame_count(count, PLAIN), 80)
    assert ours.dtype == np.float32
    assert np.abs(ours - kaldis).max(initial=0.0) <= 1e-3


@pytest.mark.parametrize(
    "samples",
    [
        noise(48000, 1e-4),
        noise(48000, 0.3).clip(-1, 1),
        0.2 * sweep(3.0) + noise(48000, 1e-3),
        noise(48000) + np.float32(0.3),
        np.zeros(16000, np.float32),
        np.full(16000, 0.5, np.float32),
        np.eye(1, 16000, 8000, dtype=np.float32)[0],
    ],
    ids=["faint", "clipped", "sweep", "offset", "zeros", "constant", "impulse"],
)
def test_equals_kaldi_on_every_sound(samples):
    assert np.abs(fbank(samples, PLAIN) - oracle(samples)).max() <= 1e-3


#: Front ends of published networks, and each option by itself.
OTHERS = {
    "hamming": FbankConfig(window="hamming"),
    "16-bit": FbankConfig(scale=32768.0),
    "mirrored": FbankConfig(snip_edges=False),
    "wespeaker": FbankConfig(window="hamming", scale=32768.0),
    "sherpa-onnx": FbankConfig(high_hz=7600.0, snip_edges=False),
    "others": FbankConfig(
        frame_length_ms=20.0, mel_bins=40, low_hz=50.0, high_hz=7000.0, preemphasis=0.9
    ),
}


@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("count", [0, 79, 80, 81, 250, 400, 561, 16000, 41360, 48079, 48080])
def test_equals_kaldi_with_every_option(config, count):
    config = replace(config, subtract_mean=False)
    samples = noise(count) + np.float32(0.05)
    ours, kaldis = fbank(samples, config), oracle(samples, config)
    assert ours.shape == kaldis.shape == (frame_count(count, config), config.mel_bins)
    assert np.abs(ours - kaldis).max(initial=0.0) <= 1e-3


def exact(samples: np.ndarray) -> np.ndarray:
    """The same features, frame by frame in double precision."""
    frames = np.stack([samples[at : at + 400] for at in range(0, len(samples) - 399, 160)])
    centred = frames.astype(np.float64) - frames.mean(axis=1, dtype=np.float64, keepdims=True)
    before = np.concatenate([centred[:, :1], centred[:, :-1]], axis=1)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft((centred - 0.97 * before) * window, 512)) ** 2
    mels = 1127 * np.log(1 + np.arange(257) * RATE / 512 / 700)[:, None]
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 82)
    width = edges[1] - edges[0]
    weights = np.maximum(0, 1 - np.abs(mels - edges[1:-1]) / width)
    return np.log(np.maximum(power @ weights, np.finfo(np.float32).eps))


@pytest.mark.parametrize(
    "samples",
    [sweep(3.0), np.sign(sweep(3.0)), 0.2 * sweep(3.0) + np.float32(0.3)],
    ids=["sweep", "square", "offset"],
)
def test_pure_tones_are_no_further_from_the_truth_than_kaldi(samples):
    """Beside a pure tone, single precision limits both; then Kaldi is no oracle of 1e-3."""
    samples = samples.astype(np.float32)
    truth = exact(samples)
    error = np.abs(fbank(samples, PLAIN) - truth).max()
    assert error <= max(1e-3, np.abs(oracle(samples) - truth).max())


def test_the_mean_of_every_bin_is_taken_off():
    samples = sweep() + noise(32000, 0.01)
    features, plain = fbank(samples, FbankConfig()), fbank(samples, PLAIN)
    assert np.abs(features.mean(axis=0)).max() < 1e-5
    assert np.allclose(features, plain - plain.mean(axis=0), atol=1e-5)


def test_the_level_does_not_matter_after_the_mean():
    samples = noise(32000)
    louder = fbank(samples * np.float32(32768), FbankConfig())
    assert np.abs(louder - fbank(samples, FbankConfig())).max() < 1e-3


def test_samples_are_left_as_they_are():
    samples = noise(16000)
    before = samples.copy()
    samples.flags.writeable = False
    fbank(samples, FbankConfig())
    fbank(samples[::2], FbankConfig())
    assert np.array_equal(samples, before)
