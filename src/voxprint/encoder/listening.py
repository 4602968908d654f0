"""Speech detectors on a call that goes on: probabilities, frame by frame, as they come."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np

from voxprint.audio.fbank import FbankConfig, Float32
from voxprint.audio.speech import WINDOW
from voxprint.encoder.detector import Detector
from voxprint.encoder.framevad import FrameDetector, FrameStream
from voxprint.encoder.vad import CONTEXT, LOUDEST, NEW, PEAK, QUIETEST, SpeechDetector
from voxprint.types import Samples

#: Silero's detector finds little speech before it has heard any: so many windows are heard twice.
_WARM_UP = 16
#: The quietest peak that a line is made louder from: below lies noise.
_LEAST_PEAK = 0.005


class DetectorStream(Protocol):
    """One recording as it comes. For one thread at a time."""

    def push(self, samples: Samples, features: Float32) -> Float32:
        """The next of it.

        Args:
            samples: float32, shape (n,), mono at 16 kHz.
            features: the frames that end within them, mean not subtracted, shape (frames, bins).

        Returns:
            float32, shape (known,), in [0, 1]: probability of speech of the frames, in their
            order, that are now known and were not returned before.
        """

    def finish(self) -> Float32:
        """The recording has ended: what is still missing, as :meth:`push`."""


def listen(detector: Detector, config: FbankConfig) -> DetectorStream:
    """Begin a new recording.

    Args:
        detector: of a model.
        config: of the features it will get.
    """
    if isinstance(detector, FrameDetector):
        return _Framewise(detector.stream())
    return _Windowwise(cast("SpeechDetector", detector), config)


class _Framewise:
    """Our own detector, which judges frames."""

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream

    def push(self, samples: Samples, features: Float32) -> Float32:  # noqa: ARG002
        return self._stream.push(features)

    def finish(self) -> Float32:
        return self._stream.finish()


class _Windowwise:
    """Silero's, which judges windows of samples; a frame gets that which its middle lies in."""

    def __init__(self, detector: SpeechDetector, config: FbankConfig) -> None:
        self._detector = detector
        self._shift, self._middle = config.frame_shift, config.frame_length // 2
        self._waiting = np.zeros(CONTEXT, np.float32)  # behind the context of the next window
        self._state = NEW
        self._warm = False
        self._peak = _LEAST_PEAK
        self._windows = np.empty(0, np.float32)  # those that frames to come lie in
        self._first = self._frames = self._said = 0

    def push(self, samples: Samples, features: Float32) -> Float32:
        self._frames += len(features)
        self._waiting = np.concatenate([self._waiting, samples])
        count = (len(self._waiting) - CONTEXT) // WINDOW
        if not self._warm and count >= _WARM_UP:
            self._hear(_WARM_UP)
            count -= _WARM_UP
        if self._warm:
            self._hear(count)
        return self._known()

    def finish(self) -> Float32:
        lacking = -(len(self._waiting) - CONTEXT) % WINDOW
        self._waiting = np.pad(self._waiting, (0, lacking))
        self._hear((len(self._waiting) - CONTEXT) // WINDOW)
        return self._known()

    def _hear(self, count: int) -> None:
        if not count:
            return
        used = self._waiting[: CONTEXT + count * WINDOW]
        self._waiting = self._waiting[count * WINDOW :]
        rows = np.lib.stride_tricks.sliding_window_view(used, CONTEXT + WINDOW)[::WINDOW]
        # However it was cut: the level of a window is that of the loudest one up to it.
        peaks = np.maximum.accumulate(np.maximum(np.abs(rows).max(axis=1), self._peak))
        self._peak = float(peaks[-1])
        level = np.where((peaks >= QUIETEST) & (peaks <= LOUDEST), 1.0, PEAK / peaks)
        rows = np.asarray(rows * level[:, np.newaxis], np.float32)
        warm = rows[:0] if self._warm else rows
        said, self._state = self._detector.hear(rows, warm, self._state)
        self._windows = np.concatenate([self._windows, said[len(warm) :]])
        self._warm = True

    def _known(self) -> Float32:
        middles = np.arange(self._said, self._frames) * self._shift + self._middle
        window = middles // WINDOW - self._first
        window = window[window < len(self._windows)]
        self._said += len(window)
        found = self._windows[window]
        old = int(window[-1]) if len(window) else 0
        self._windows, self._first = self._windows[old:], self._first + old
        return found
