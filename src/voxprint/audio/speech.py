"""Which parts of a recording are speech, from what a speech detector says of its windows.

The detector (``voxprint.encoder.detector``) gives every window of samples, 32 ms or 10 ms as it
has them, a probability of speech. Speech begins where it reaches one threshold and ends where it
falls below a lower one, so that a single doubtful window neither begins nor ends anything. Net
speech counts those windows.

The network hears a third of a second more on both sides, so that only longer pauses are cut
out. Cutting closely made isolated words harder to tell apart (an EER of 9.2 % in place of
5.2 %); this costs them nothing.

Silence is told apart from sound without speech by level alone, see :func:`sounding_seconds`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voxprint.audio.fbank import FbankConfig
from voxprint.types import Samples

Mask = npt.NDArray[np.bool_]

#: Samples at 16 kHz that Silero's detector judges at once, and the unit of margins.
WINDOW = 512

#: Quieter than this is silence, whatever else the recording holds.
SILENCE_DBFS = -70.0
_BELOW_LOUD_DB = 30.0
_BELOW_PEAK_DB = 100.0
#: Beside speech that is not taken for a pause, in units of 32 ms.
_PAUSE_MARGIN = 2
#: Frames measured at a time, so that long recordings need little memory.
_FRAMES_AT_ONCE = 4096
_FRAME, _SHIFT = 400, 160
_SECONDS_PER_FRAME = 0.01


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """What counts as speech, and what the network hears; part of a model's identity.

    Attributes:
        begin: probability from which speech begins, in [0, 1].
        end: probability below which it ends, at most ``begin``.
        margin: before and after speech, that the network hears, too, in units of 32 ms.
        least_frames: where fewer frames than that would be left, it hears them all.
        warm_up: seconds that the detector hears once before they count.
        at_once: frames that the network hears at once. Longer speech goes through it in equal
            parts, whose embeddings are averaged, so that memory stays bounded.
    """

    begin: float = 0.3
    end: float = 0.15
    margin: int = 10
    least_frames: int = 20
    warm_up: float = 3.0
    at_once: int = 6000


def speech_windows(probabilities: npt.NDArray[np.float32], config: SpeechConfig) -> Mask:
    """Windows that hold speech, without any margin.

    Args:
        probabilities: of speech, one a window, shape (windows,).
        config: of which the two thresholds count.

    Returns:
        bool, shape (windows,).
    """
    decided = (probabilities >= config.begin) | (probabilities < config.end)
    # A window between the thresholds is what the last decided one before it was.
    last = np.maximum.accumulate(np.where(decided, np.arange(len(decided)), -1))
    return np.asarray((last >= 0) & (probabilities[last] >= config.begin))


def speech_seconds(windows: Mask, n_samples: int, window: int = WINDOW) -> float:
    """Net speech: the windows that hold it, at most the recording's duration, in seconds.

    Args:
        windows: of the recording, shape (windows,).
        n_samples: of the recording, at 16 kHz.
        window: samples in each.
    """
    return float(min(np.count_nonzero(windows) * (window / 16000), n_samples / 16000))


def frames_within(windows: Mask, frames: int, fbank: FbankConfig, window: int = WINDOW) -> Mask:
    """Frames of the filterbank whose middle lies in one of the windows.

    Args:
        windows: of the recording, shape (windows,).
        frames: number of frames of the same recording.
        fbank: where they lie.
        window: samples in each window.

    Returns:
        bool, shape (frames,).
    """
    first = fbank.first_sample + fbank.frame_length // 2
    middles = np.arange(frames) * fbank.frame_shift + first
    return np.asarray(windows[np.minimum(middles // window, len(windows) - 1)])


def heard_frames(
    windows: Mask, frames: int, fbank: FbankConfig, config: SpeechConfig, window: int = WINDOW
) -> Mask:
    """Frames of the filterbank that the network hears: speech and its margin.

    Args:
        windows: as :func:`speech_windows` returns them.
        frames: number of frames of the same recording.
        fbank: where they lie.
        config: of which margin and least number of frames count.
        window: samples in each window.

    Returns:
        bool, shape (frames,); all of them where fewer than the least would be left.
    """
    wide = widened(windows, windows_in(config.margin, window))
    heard = frames_within(wide, frames, fbank, window)
    return heard if np.count_nonzero(heard) >= config.least_frames else np.ones(frames, bool)


def pause_frames(windows: Mask, frames: int, fbank: FbankConfig, window: int = WINDOW) -> Mask:
    """Frames that hold no speech beyond doubt: at least 64 ms from any.

    Args and returns as :func:`heard_frames`.
    """
    wide = widened(windows, windows_in(_PAUSE_MARGIN, window))
    return ~frames_within(wide, frames, fbank, window)


def windows_in(margin: int, window: int) -> int:
    """How many windows a margin in units of 32 ms has."""
    return round(margin * WINDOW / window)


def widened(windows: Mask, margin: int) -> Mask:
    """Also true within ``margin`` windows of a true one."""
    count = np.concatenate([[0], np.cumsum(windows)])
    at = np.arange(len(windows))
    first, behind = np.maximum(at - margin, 0), np.minimum(at + margin + 1, len(windows))
    return np.asarray(count[behind] > count[first])


def sounding_seconds(samples: Samples) -> float:
    """Seconds of an utterance in which anything is to be heard, by level alone.

    A frame of 25 ms, every 10 ms, counts when its level (root mean square about its own mean,
    in dB relative to full scale) is at most 30 dB below the recording's loud frames (their 95th
    percentile) and not below -70 dBFS. So digital silence and the noise of an empty 16-bit
    recording (about -90 dBFS) do not count, nor what is 100 dB below the largest sample, where
    samples go beyond full scale: a constant offset that large leaves nothing but the rounding
    of single precision.

    Args:
        samples: float32, shape (n,), mono at 16 kHz, nominally in [-1, 1].

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


def _levels(samples: Samples) -> npt.NDArray[np.float64]:
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
