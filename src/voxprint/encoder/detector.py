"""Which speech detector a model hears by, ready to use."""

from __future__ import annotations

from typing import Protocol

from voxprint.audio.fbank import Float32
from voxprint.encoder.framevad import FrameDetector
from voxprint.encoder.sources import load_detector
from voxprint.encoder.spec import ModelSpec
from voxprint.encoder.vad import SpeechDetector
from voxprint.types import Samples


class Detector(Protocol):
    """Gives every window of a recording a probability of speech."""

    @property
    def window(self) -> int:
        """Samples at 16 kHz from one judgement to the next."""

    def probabilities(self, samples: Samples, features: Float32 | None = None) -> Float32:
        """How likely each window holds speech.

        Args:
            samples: float32, shape (n,), mono at 16 kHz, n >= 1; their level does not matter.
            features: of the same samples, mean not subtracted, where they are at hand.

        Returns:
            float32, shape (ceil(n / window),), in [0, 1].
        """


def open_detector(spec: ModelSpec) -> Detector:
    """The speech detector of a model, safe to use from several threads at once.

    Raises:
        ModelFileError: it cannot be had.
    """
    graph = load_detector(spec)
    if spec.detector.kind == "silero":
        return SpeechDetector(graph, warm_up=spec.speech.warm_up)
    return FrameDetector(graph, spec.fbank)
