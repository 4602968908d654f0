"""Silero's speech detector (version 6), run over a whole recording in one call.

The graph takes windows of 512 samples at 16 kHz, each behind the last 64 samples of the one
before it, and the state of a recurrent layer. It gives a probability of speech a window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voxprint.audio.fbank import Float32
from voxprint.audio.speech import WINDOW
from voxprint.encoder.session import open_session
from voxprint.types import Samples

_CONTEXT = 64
_State = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
_Windows = npt.NDArray[np.float32]
_NEW: _State = (np.zeros((1, 1, 128), np.float32), np.zeros((1, 1, 128), np.float32))
#: Windows a call: two minutes. Longer recordings take more calls, which hand the state on.
_AT_ONCE = 4096
#: The detector finds the same speech in recordings whose peak lies between these, and next to
#: none below 0.01. Others are given a peak between them.
_QUIETEST, _LOUDEST = 0.03, 1.0
_PEAK = 0.25
#: Less than the last bit of 16: there is nothing to make louder.
_LEAST_PEAK = 1e-5


class SpeechDetector:
    """Probabilities of speech. Safe to use from several threads at once.

    Args:
        graph: as ``voxprint.encoder.silero.build_detector`` makes it.
        warm_up: seconds of the beginning that are heard once before they count.

    Attributes:
        window: samples that are judged at once.
    """

    window = WINDOW

    def __init__(self, graph: bytes, *, warm_up: float) -> None:
        self._session = open_session(graph)
        self._warm_up = round(16000 * warm_up)

    def probabilities(
        self,
        samples: Samples,
        features: Float32 | None = None,  # noqa: ARG002
    ) -> Float32:
        """How likely each window holds speech.

        What is shorter than the warm-up is heard twice as a whole, and the likelier answer
        counts.

        Args:
            samples: float32, shape (n,), mono at 16 kHz, n >= 1; their level does not matter.
            features: not looked at; detectors of the other kind judge by them.

        Returns:
            float32, shape (ceil(n / 512),), in [0, 1]; the last window is filled up with zeros.
        """
        level = _level(samples)
        rows, warm = _windows(samples, level), _windows(samples[: self._warm_up], level)
        said, state = self._hear(rows[:_AT_ONCE], warm, _NEW)
        cold, heard = said[: len(warm)], [said[len(warm) :]]
        for start in range(_AT_ONCE, len(rows), _AT_ONCE):
            said, state = self._hear(rows[start : start + _AT_ONCE], warm[:0], state)
            heard.append(said)
        likely = np.concatenate(heard)
        return np.maximum(cold, likely) if len(samples) < self._warm_up else likely

    def _hear(self, rows: _Windows, warm: _Windows, state: _State) -> tuple[_Windows, _State]:
        """Probabilities of the warm-up and of the windows, and the state after them.

        The warm-up is a beginning of the windows; only its last one may be another, where the
        cut goes through it.
        """
        last = warm[-1:]
        before = [*range(len(warm) - 1), len(rows)] if len(warm) else []
        order = np.array([*before, *range(len(rows))], np.int64)
        speech, hidden, cell = self._session.run(
            ["speech_probs", "hn", "cn"],
            {
                "input": np.concatenate([rows, last]),
                "h": state[0],
                "c": state[1],
                "order": order,
            },
        )
        return np.reshape(speech, -1), (hidden, cell)


def _level(samples: Samples) -> np.float32:
    """What to multiply samples with so that the detector likes their level."""
    peak = float(np.abs(samples).max())
    return np.float32(1.0 if _QUIETEST <= peak <= _LOUDEST else _PEAK / max(peak, _LEAST_PEAK))


def _windows(samples: Samples, level: np.float32) -> _Windows:
    """Windows behind their context, shape (windows, 576); the last is filled up with zeros."""
    count = -(-len(samples) // WINDOW)
    padded = np.zeros(_CONTEXT + count * WINDOW, np.float32)
    np.multiply(samples, level, out=padded[_CONTEXT : _CONTEXT + len(samples)])
    return np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + WINDOW)[::WINDOW]
