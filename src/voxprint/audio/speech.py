"""How much of a recording is speech, by its level alone.

A frame of 25 ms, every 10 ms, counts as speech when its level (root mean square about its own
mean, in dB relative to full scale) is at most 30 dB below the recording's loud frames (their
95th percentile) and not below -70 dBFS. A steady noise therefore counts too: this measures how
much there is to hear, not whether somebody speaks. Digital silence and the noise of an empty
16-bit recording (about -90 dBFS) stay below the absolute floor. So does whatever is 100 dB
below the largest sample, where samples go beyond full scale: a constant offset that large
leaves nothing but the rounding of single precision.
"""

from __future__ import annotations

import numpy as np

from voxprint.types import Samples

#: Quieter than this is silence, whatever else the recording holds.
SILENCE_DBFS = -70.0
_BELOW_LOUD_DB = 30.0
_BELOW_PEAK_DB = 100.0
#: Frames measured at a time, so that long recordings need little memory.
_FRAMES_AT_ONCE = 4096
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
    peak = 20.0 * np.log10(max(float(np.abs(samples).max()), 1e-12))
    loud = float(np.percentile(levels, 95))
    threshold = max(SILENCE_DBFS, loud - _BELOW_LOUD_DB, peak - _BELOW_PEAK_DB)
    active = int(np.count_nonzero(levels >= threshold))
    return min(active * _SECONDS_PER_FRAME, len(samples) / 16000)


def _levels(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Level of every frame in dBFS, about the frame's own mean.

    The mean is taken off before squares are summed: sums of squares hold the level of a small
    sound on a large offset only in digits that they have lost.
    """
    if len(samples) < _FRAME:
        return np.empty(0)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_SHIFT]
    power = np.empty(len(frames))
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        block = frames[start : start + _FRAMES_AT_ONCE].astype(np.float64)
        block -= block.mean(axis=1, keepdims=True)
        power[start : start + len(block)] = np.einsum("ij,ij->i", block, block) / _FRAME
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-12)))
