"""Power-spectral subtraction: the noise's mean power is taken off every frame.

Boll 1979, "Suppression of Acoustic Noise in Speech Using Spectral Subtraction", with the two
amendments of Berouti, Schwartz and Makhoul 1979, "Enhancement of Speech Corrupted by Acoustic
Noise": more is taken off the lower the frame's signal-to-noise ratio is, and never so much that
less than a share of the noise is left, since holes among what remains are heard as tones.

It works on the power in each filter of the filterbank, not on bins of the spectrum. Powers of
speech and noise that know nothing of each other add up in a filter as they do in a bin, no sound
has to be made again, since the network hears nothing but these filters, and a sum over bins
varies less, which is what leaves the tones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxprint.audio.fbank import Float32
from voxprint.audio.speech import Mask

Float64 = npt.NDArray[np.float64]

#: Berouti and others change the factor between these two signal-to-noise ratios, in dB.
_LOWEST_DB, _HIGHEST_DB = -5.0, 20.0
#: Of the ratio, where a frame holds nothing: below what changes the factor.
_LEAST_RATIO = 1e-3


@dataclass(frozen=True, slots=True)
class SubtractionConfig:
    """How noise is subtracted; part of the identity of a model that hears by it.

    Attributes:
        over: factor at 0 dB by which more than the noise is taken off (Berouti's alpha_0), >= 1;
            it falls in a line to 1 at 20 dB, and rises as steeply down to -5 dB.
        floor: share of the noise that is always left (Berouti's beta), in (0, 1].
        least_pause: frames of pauses that show the noise; with fewer, quantiles do.
        quantile: of each filter's power over time that stands for the noise then, in [0, 1]
            (Stahl, Fischer and Bippus 2000, "Quantile Based Noise Estimation for Spectral
            Subtraction and Wiener Filtering").

    Of four settings tried on speakers of fold A the defaults did the least harm (docs/noise.md).
    """

    over: float = 1.5
    floor: float = 0.3
    least_pause: int = 30
    quantile: float = 0.05


def subtract_noise(features: Float32, pauses: Mask, config: SubtractionConfig) -> Float32:
    """Log-mel features without the noise.

    Args:
        features: natural logarithms of filterbank powers, mean not subtracted, float32, shape
            (frames, bins).
        pauses: frames without speech, bool, shape (frames,), as
            ``voxprint.audio.speech.pause_frames`` finds them.
        config: how much.

    Returns:
        float32, shape (frames, bins), nowhere larger than ``features``; with noise N, frame Y and
        factor a: log(max(Y - a N, floor N)), or log(Y) where that is less.
    """
    if not len(features):
        return features
    power = np.exp(features.astype(np.float64))
    noise = noise_power(power, pauses, config)
    factor = _over_subtraction(power, noise, config)[:, None]
    left = np.maximum(power - factor * noise, config.floor * noise)
    return np.minimum(np.log(left).astype(np.float32), features)


def noise_power(power: Float64, pauses: Mask, config: SubtractionConfig) -> Float64:
    """Mean power of the noise in each filter: shape (bins,), positive.

    From the pauses; where there are next to none, a low quantile of each filter's power over all
    frames: speech leaves every filter empty now and then.

    Args:
        power: positive, shape (frames, bins).
        pauses, config: as :func:`subtract_noise` takes them.
    """
    if np.count_nonzero(pauses) >= config.least_pause:
        return np.asarray(power[pauses].mean(axis=0))
    return np.asarray(np.quantile(power, config.quantile, axis=0))


def _over_subtraction(power: Float64, noise: Float64, config: SubtractionConfig) -> Float64:
    """Factor of every frame, by its ratio over all filters: shape (frames,)."""
    ratio = power.sum(axis=1) / noise.sum() - 1.0
    decibels = 10.0 * np.log10(np.maximum(ratio, _LEAST_RATIO))
    inside = np.clip(decibels, _LOWEST_DB, _HIGHEST_DB)
    return np.asarray(config.over - (config.over - 1.0) * inside / _HIGHEST_DB)
