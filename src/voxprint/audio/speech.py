"""How much of a recording is speech, by its level alone.

A frame of 25 ms, every 10 ms, counts as speech when its level (root mean square about its own
mean, in dB relative to full scale) is at most 30 dB below the recording's loud frames (their
95th percentile) and not below -70 dBFS. A steady noise therefore counts too: this measures how
much there is to hear, not whether somebody speaks. Digital silence and the noise of an empty
16-bit recording (about -90 dBFS) stay below the absolute floor.
"""

from __future__ import annotations

import numpy as np

from voxprint.types import Samples

#: Quieter than this is silence, whatever else the recording holds.
SILENCE_DBFS = -70.0
_BELOW_LOUD_DB = 30.0
_FRAME, _SHIFT = 400, 160
_SECONDS_PER_FRAME = 0.01


def net_speech_seconds(samples: Samples) -> float:
    """Seconds of speech in one utterance.

    Args:
        samples: float32, shape (n,), mono at 16 kHz, in [-1, 1].

    Returns:
        Between 0 and the utterance's duration; 0 for silence and for less than one frame.
    """
    levels = _levels(samples)
    if not len(levels):
        return 0.0
    threshold = max(SILENCE_DBFS, float(np.percentile(levels, 95)) - _BELOW_LOUD_DB)
    active = int(np.count_nonzero(levels >= threshold))
    return min(active * _SECONDS_PER_FRAME, len(samples) / 16000)


def _levels(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Level of every frame in dBFS, from running sums so that long recordings stay cheap."""
    if len(samples) < _FRAME:
        return np.empty(0)
    exact = samples.astype(np.float64)
    first = np.concatenate(([0.0], np.cumsum(exact)))
    second = np.concatenate(([0.0], np.cumsum(exact * exact)))
    starts = np.arange(0, len(samples) - _FRAME + 1, _SHIFT)
    mean = (first[starts + _FRAME] - first[starts]) / _FRAME
    square = (second[starts + _FRAME] - second[starts]) / _FRAME
    # Rounding of the running sums must not make a silent frame loud or negative.
    power = np.maximum(square - mean * mean, 1e-12)
    return np.asarray(10.0 * np.log10(power))
