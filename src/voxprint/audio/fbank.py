"""Kaldi's log-mel filterbank in vectorised NumPy.

The steps and their order are those of Kaldi's ``compute-fbank-feats`` (``feature-window.cc``,
``mel-computations.cc``): frames of a fixed length, the mean of each frame taken off,
pre-emphasis, a window, the power spectrum, triangular filters on the mel scale
``1127 ln(1 + f / 700)``, the natural logarithm. ``kaldi-native-fbank`` is the oracle of the
tests.

The defaults are those of the published CAM++; what other networks were trained on is an option
under Kaldi's name for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from voxprint.types import Samples

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Kaldi's floor under the logarithm: the smallest relative step of a float32.
_FLOOR = np.float32(np.finfo(np.float32).eps)
#: Frames worked on at once: few enough that all intermediate arrays stay in a core's cache.
_CHUNK = 256
#: Filters applied at once. A filter is zero almost everywhere; neighbours together keep the
#: products small, and below the size at which a matrix library wakes its threads, which would
#: take the cores that other recordings are embedded on.
_BANDS = 8

#: Kaldi's windows (``FeatureWindowFunction``) as powers of a raised cosine: a - (1 - a) cos(t), and
#: to which power it is taken. Povey's is zero at neither end's neighbour.
_WINDOWS = {"povey": (0.5, 0.85), "hamming": (0.54, 1.0)}
WINDOWS = tuple(_WINDOWS)

#: Neighbouring filters: the FFT bins they cover, their own numbers, weights (bins, filters).
Filters = list[tuple[slice, slice, Float32]]


@dataclass(frozen=True, slots=True)
class FbankConfig:
    """What decides the features, and so the embedding; part of a model's identity.

    Attributes:
        sample_rate: of the samples, in Hz.
        frame_length_ms, frame_shift_ms: of the analysis frames, in milliseconds.
        mel_bins: number of filters, the width of a feature row.
        low_hz, high_hz: edges of the lowest and highest filter, in Hz.
        preemphasis: weight of the previous sample that is taken off.
        subtract_mean: take the mean over the utterance off every bin.
        window: one of ``WINDOWS`` (Kaldi's ``window_type``).
        scale: what samples in [-1, 1] are multiplied by first: 1, or 32768 for networks that were
            trained on 16-bit integers.
        snip_edges: only frames that lie wholly inside the recording count; else there is one
            around the middle of every shift, and the recording goes on mirrored at its ends.
    """

    sample_rate: int = 16000
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    mel_bins: int = 80
    low_hz: float = 20.0
    high_hz: float = 8000.0
    preemphasis: float = 0.97
    subtract_mean: bool = True
    window: str = "povey"
    scale: float = 1.0
    snip_edges: bool = True

    @property
    def frame_length(self) -> int:
        """Samples in a frame."""
        return int(self.sample_rate * self.frame_length_ms / 1000)

    @property
    def frame_shift(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sample_rate * self.frame_shift_ms / 1000)

    @property
    def first_sample(self) -> int:
        """Where the first frame begins: before the recording, below 0, unless edges are snipped."""
        return 0 if self.snip_edges else self.frame_shift // 2 - self.frame_length // 2


def frame_count(n_samples: int, config: FbankConfig) -> int:
    """Number of frames of ``n_samples`` samples; 0 if there is not even one."""
    if not config.snip_edges:
        return (n_samples + config.frame_shift // 2) // config.frame_shift
    if n_samples < config.frame_length:
        return 0
    return 1 + (n_samples - config.frame_length) // config.frame_shift


def fbank(samples: Samples, config: FbankConfig) -> Float32:
    """Log-mel filterbank features of one utterance.

    Args:
        samples: float32, shape (n,), mono at ``config.sample_rate``, in [-1, 1].
        config: see :class:`FbankConfig`.

    Returns:
        float32, shape (frames, ``config.mel_bins``); no rows where the audio is shorter than
        a frame (half a shift, where edges are not snipped).
    """
    frames = frame_count(len(samples), config)
    features = np.empty((frames, config.mel_bins), dtype=np.float32)
    if not frames:
        return features
    fft_size, window, filters = _tables(config)
    samples = _continued(np.ascontiguousarray(samples, dtype=np.float32), frames, config)
    views = np.lib.stride_tricks.sliding_window_view(samples, config.frame_length)
    views = views[:: config.frame_shift][:frames]
    weight = np.float32(config.preemphasis)
    for start in range(0, frames, _CHUNK):
        block = views[start : start + _CHUNK]
        centred = block - block.mean(axis=1, keepdims=True)
        emphasised = np.empty_like(centred)
        np.multiply(centred[:, :-1], -weight, out=emphasised[:, 1:])
        emphasised[:, 1:] += centred[:, 1:]
        # The first sample of a frame has no predecessor and stands in for it.
        emphasised[:, 0] = centred[:, 0] * (np.float32(1.0) - weight)
        emphasised *= window
        spectrum = np.fft.rfft(emphasised, n=fft_size, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        rows = features[start : start + _CHUNK]
        for bins, bands, weights in filters:
            rows[:, bands] = power[:, bins] @ weights
    np.maximum(features, _FLOOR, out=features)
    np.log(features, out=features)
    if config.subtract_mean:
        features -= features.mean(axis=0, keepdims=True)
    return features


def _continued(samples: Float32, frames: int, config: FbankConfig) -> Float32:
    """What the frames are cut from: scaled, and mirrored at its ends unless edges are snipped."""
    if config.scale != 1.0:
        samples = samples * np.float32(config.scale)
    if config.snip_edges:
        return samples
    before = max(0, -config.first_sample)
    end = config.first_sample + (frames - 1) * config.frame_shift + config.frame_length
    after = max(0, end - len(samples))
    return np.pad(samples[max(0, config.first_sample) :], (before, after), mode="symmetric")


@lru_cache(maxsize=8)
def band_centres(config: FbankConfig) -> tuple[Float64, Float64]:
    """Where the filters lie: their centres in Hz, and the FFT bins under each, by weight.

    Returns:
        two arrays of float64, shape (mel_bins,). exp(feature) divided by the second is a power
        density, after pre-emphasis.
    """
    weights = filter_bank(config)
    under = np.maximum(weights.sum(axis=0), _FLOOR)
    return np.asarray(_bin_hertz(config) @ weights / under), under


@lru_cache(maxsize=8)
def power_weights(config: FbankConfig) -> Float32:
    """What exp(features) are multiplied by and summed to give the power of a frame.

    The scale is arbitrary; pre-emphasis is taken back, filter by filter.

    Returns:
        float32, shape (mel_bins,).
    """
    turn = 2 * np.pi * _bin_hertz(config) / config.sample_rate
    weight = config.preemphasis
    response = 1 + weight**2 - 2 * weight * np.cos(turn)
    weights = filter_bank(config)
    under = weights.sum(axis=0)
    emphasis = np.maximum(response @ weights, _FLOOR)
    return np.asarray(under / emphasis, dtype=np.float32)


def frame_window(config: FbankConfig) -> Float32:
    """What every frame is multiplied by: float32, shape (frame_length,)."""
    return _tables(config)[1].copy()


def filter_bank(config: FbankConfig) -> Float64:
    """All filters, shape (FFT bins, mel_bins), to multiply power spectra with."""
    fft_size, _, filters = _tables(config)
    whole = np.zeros((fft_size // 2 + 1, config.mel_bins))
    for bins, bands, weights in filters:
        whole[bins, bands] = weights
    return whole


def _bin_hertz(config: FbankConfig) -> Float64:
    fft_size = _tables(config)[0]
    return np.asarray(np.arange(fft_size // 2 + 1) * config.sample_rate / fft_size, np.float64)


@lru_cache(maxsize=8)
def _tables(config: FbankConfig) -> tuple[int, Float32, Filters]:
    """FFT size, window of shape (frame,) and the filters."""
    length = config.frame_length
    fft_size = 1 << (length - 1).bit_length()
    constant, power = _WINDOWS[config.window]
    raised = constant - (1 - constant) * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    window = np.power(raised, power).astype(np.float32)

    edges = np.linspace(_mel(config.low_hz), _mel(config.high_hz), config.mel_bins + 2)
    centres = _mel(np.arange(fft_size // 2 + 1) * config.sample_rate / fft_size)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (centres - left) / (middle - left)
    falling = (right - centres) / (right - middle)
    filters = np.maximum(np.minimum(rising, falling), 0.0).astype(np.float32)
    return fft_size, window, [_together(filters, at) for at in range(0, config.mel_bins, _BANDS)]


def _together(filters: Float32, first: int) -> tuple[slice, slice, Float32]:
    bands = slice(first, first + _BANDS)
    covered = np.flatnonzero(filters[:, bands].any(axis=1))
    bins = slice(int(covered[0]), int(covered[-1]) + 1) if len(covered) else slice(0, 0)
    return bins, bands, np.ascontiguousarray(filters[bins, bands])


def _mel(hz: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0))
