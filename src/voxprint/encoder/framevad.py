"""Our detector of speech, run on frames of the filterbank: over a whole recording, or as they come.

Each frame of 10 ms gets a probability of its own. Which speech it finds in the first frames does
not depend on having heard any before, so nothing is heard twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from voxprint.audio.fbank import FbankConfig, Float32, fbank
from voxprint.encoder.session import open_session
from voxprint.types import Samples

if TYPE_CHECKING:
    import onnxruntime

#: Frames that are judged together, and frames after them that are heard before.
STEP = 4
LOOK_AHEAD = STEP
#: The value of digital silence, which comes before a recording and after it.
SILENCE = np.log(np.finfo(np.float32).eps)
#: Frames a call: two minutes. Longer recordings take more calls, which hand the state on.
_AT_ONCE = 12000
#: The detector has learned recordings whose peak lies between these. Others are given a peak
#: between them.
_QUIETEST, _LOUDEST = 0.01, 1.0
_PEAK = 0.25
#: Less than the last bit of 16: there is nothing to make louder.
_LEAST_PEAK = 1e-5


class FrameDetector:
    """Probabilities of speech. Safe to use from several threads at once.

    Args:
        graph: as ``voxprint.encoder.framegraph.build_frame_detector`` makes it.
        config: of the features it hears.

    Attributes:
        window: samples from one judgement to the next.
    """

    def __init__(self, graph: bytes, config: FbankConfig) -> None:
        self._session = open_session(graph)
        self._config = replace(config, subtract_mean=False)
        self.window = config.frame_shift

    def probabilities(self, samples: Samples, features: Float32 | None = None) -> Float32:
        """How likely each window holds speech.

        A window is judged by the frame whose middle lies in it; where there is none, at both ends,
        by the nearest.

        Args:
            samples: float32, shape (n,), mono at 16 kHz, n >= 1; their level does not matter.
            features: of the same samples, float32, shape (frames, bins), mean not subtracted;
                they are made where they are not given.

        Returns:
            float32, shape (ceil(n / window),), in [0, 1]; zeros for less than one frame.
        """
        rows = fbank(samples, self._config) if features is None else features
        count = -(-len(samples) // self.window)
        if not len(rows):
            return np.zeros(count, np.float32)
        stream = self.stream()
        shift = _level_shift(samples)
        said = [
            stream.push(_shifted(rows[at : at + _AT_ONCE], shift))
            for at in range(0, len(rows), _AT_ONCE)
        ]
        frames = np.concatenate([*said, stream.finish()])
        first = self._config.frame_length // 2 // self.window
        return np.asarray(frames[np.clip(np.arange(count) - first, 0, len(frames) - 1)])

    def stream(self) -> FrameStream:
        """A new recording, whose frames will come bit by bit."""
        return FrameStream(self._session)


class FrameStream:
    """One recording as it comes: frames in, probabilities out, seven frames late at most.

    However its frames are cut into chunks, all probabilities together are those of one call. Not
    to be used by several threads at once.

    Args:
        session: on the detector's graph.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        shapes = {each.name: each.shape for each in session.get_inputs()}
        self._context = np.full(shapes["context"], SILENCE, np.float32)
        self._hidden = np.zeros(shapes["hidden"], np.float32)
        self._waiting = np.empty((0, shapes["context"][2]), np.float32)
        self._early = LOOK_AHEAD
        self._owed = 0

    def push(self, features: Float32) -> Float32:
        """The next frames.

        Args:
            features: log-mel, mean not subtracted, float32, shape (frames, bins), any number.

        Returns:
            float32, shape (known,), in [0, 1]: of the frames, in their order, that are now known
            and were not returned before.
        """
        rows = np.concatenate([self._waiting, features])
        whole = len(rows) // STEP * STEP
        self._waiting = rows[whole:]
        self._owed += len(features)
        if not whole:
            return np.empty(0, np.float32)
        speech, self._context, self._hidden = self._session.run(
            ["speech", "context_out", "hidden_out"],
            {
                "features": rows[np.newaxis, :whole],
                "context": self._context,
                "hidden": self._hidden,
            },
        )
        known = np.asarray(speech[self._early :])
        self._early = max(0, self._early - whole)
        self._owed -= len(known)
        return known

    def finish(self) -> Float32:
        """The recording has ended: the probabilities that are still missing, as :meth:`push`."""
        owed = self._owed
        after = LOOK_AHEAD + -len(self._waiting) % STEP
        silence = np.full((after, self._waiting.shape[1]), SILENCE, np.float32)
        return self.push(silence)[:owed]


def _level_shift(samples: Samples) -> np.float32:
    """What to add to log powers so that the detector knows their level."""
    peak = float(np.abs(samples).max())
    if _QUIETEST <= peak <= _LOUDEST:
        return np.float32(0.0)
    return np.float32(2 * np.log(_PEAK / max(peak, _LEAST_PEAK)))


def _shifted(rows: Float32, shift: np.float32) -> Float32:
    return np.maximum(rows + shift, np.float32(SILENCE)) if shift else rows
