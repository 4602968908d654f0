"""Silero's speech detector (version 6), run over a whole recording in one call.

The graph takes windows of 512 samples at 16 kHz, each behind the last 64 samples of the one
before it, and the state of a recurrent layer. It gives a probability of speech a window.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from voxprint.audio.speech import WINDOW
from voxprint.encoder.session import open_session
from voxprint.types import Samples

_CONTEXT = 64
_STATE = (1, 1, 128)
#: Windows a call: two minutes. Longer recordings take more calls, which hand the state on.
_AT_ONCE = 4096
#: Every recording is given this peak, so that its level changes nothing. The detector finds the
#: same speech from 0.03 to 1, and next to none below 0.01.
_PEAK = 0.25
#: Less than the last bit of 16: there is nothing to make louder.
_LEAST_PEAK = 1e-5


class SpeechDetector:
    """Probabilities of speech. Safe to use from several threads at once.

    Args:
        graph: the published ONNX file.
    """

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph)

    def probabilities(self, samples: Samples) -> npt.NDArray[np.float32]:
        """How likely each window holds speech.

        Args:
            samples: float32, shape (n,), mono at 16 kHz, n >= 1; their level does not matter.

        Returns:
            float32, shape (ceil(n / 512),), in [0, 1]; the last window is filled up with zeros.
        """
        windows = -(-len(samples) // WINDOW)
        padded = np.zeros(_CONTEXT + windows * WINDOW, np.float32)
        padded[_CONTEXT : _CONTEXT + len(samples)] = samples
        padded *= np.float32(_PEAK / max(float(np.abs(samples).max()), _LEAST_PEAK))
        rows = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + WINDOW)[::WINDOW]
        hidden = cell = np.zeros(_STATE, np.float32)
        said = []
        for start in range(0, windows, _AT_ONCE):
            block = np.ascontiguousarray(rows[start : start + _AT_ONCE])
            speech, hidden, cell = self._session.run(
                ["speech_probs", "hn", "cn"], {"input": block, "h": hidden, "c": cell}
            )
            said.append(np.reshape(speech, -1))
        return np.concatenate(said)
