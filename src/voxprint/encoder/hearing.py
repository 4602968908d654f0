"""One side of a call as the encoder hears it: frames of speech, as soon as they are known to be.

What :meth:`voxprint.encoder.embedder.Encoder.embed` does with a whole recording, up to the network,
for one that goes on. Memory is bounded: of what was heard, only the last few seconds are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from voxprint.audio.fbank import Float32, fbank, frame_count
from voxprint.audio.quality import MEASURED, Findings
from voxprint.audio.speech import WINDOW, Mask, speech_windows, widened
from voxprint.encoder.embedder import Encoder
from voxprint.encoder.listening import DetectorStream, listen
from voxprint.encoder.spec import ModelSpec
from voxprint.errors import UsageError
from voxprint.types import Samples

#: Frames that say how noisy a line is, and how wide its band: 15 s.
_REMEMBERED = 1500
#: Frames beside speech that are not taken for a pause.
_PAUSE_MARGIN = 6


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Frames that the network hears: speech and a third of a second on both sides of it.

    Attributes:
        features: log-mel filterbank, mean not subtracted, float32, shape (frames, bins).
        speech: those of net speech, bool, shape (frames,).
    """

    features: Float32
    speech: Mask

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.features)


class Hearing:
    """Takes samples, gives frames of speech. For one thread at a time.

    Args:
        spec: of the encoder: its features, and what counts as speech.
        detector: a new stream of the spec's detector.
    """

    def __init__(self, spec: ModelSpec, detector: DetectorStream) -> None:
        self._config = replace(spec.fbank, subtract_mean=False)
        self._limits = spec.speech
        self._detector = detector
        self._margin = round(spec.speech.margin * WINDOW / self._config.frame_shift)
        self._samples = np.empty(0, np.float32)
        # Frames from number ``_first`` on; of those before ``_decided`` it is known whether they
        # are speech, and those before ``_passed`` were handed out or left out.
        self._rows = np.empty((0, self._config.mel_bins), np.float32)
        self._speech = np.empty(0, bool)
        self._first = self._passed = 0
        self._speaking = False

    @classmethod
    def of(cls, encoder: Encoder) -> Self:
        """For a call that this encoder hears.

        Raises:
            UsageError: its front end needs the whole recording, or is not the one that quality is
                measured on.
        """
        if encoder.spec.fbank != MEASURED or encoder.spec.denoise is not None:
            raise UsageError(
                f"expected an encoder that hears as voxprint's own do, got {encoder.spec.name}",
                hint="A denoiser, or another filterbank, is for whole recordings.",
            )
        return cls(encoder.spec, listen(encoder.detector, encoder.spec.fbank))

    def push(self, samples: Samples) -> Heard:
        """The next samples.

        Args:
            samples: float32, shape (n,), mono at the spec's rate, any number.

        Returns:
            The frames that are now known to be heard and were not returned before.
        """
        self._samples = np.concatenate([self._samples, samples])
        count = frame_count(len(self._samples), self._config)
        rows = fbank(self._samples, self._config)
        self._samples = self._samples[count * self._config.frame_shift :]
        self._rows = np.concatenate([self._rows, rows])
        return self._take(self._detector.push(samples, rows), last=False)

    def finish(self) -> Heard:
        """The call has ended: the frames that are still missing."""
        return self._take(self._detector.finish(), last=True)

    def surroundings(self) -> Findings:
        """The last 15 s, as quality is judged by them."""
        known = len(self._speech)
        return Findings(
            features=self._rows[:known],
            config=self._config,
            speech=self._speech,
            pauses=~widened(self._speech, _PAUSE_MARGIN),
            speech_seconds=float(np.count_nonzero(self._speech))
            * self._config.frame_shift_ms
            / 1e3,
            parts=np.empty((0, 0), np.float32),
        )

    def _take(self, probabilities: Float32, *, last: bool) -> Heard:
        before = np.float32(1.0 if self._speaking else 0.0)
        speech = speech_windows(np.concatenate([[before], probabilities]), self._limits)[1:]
        if len(speech):
            self._speaking = bool(speech[-1])
        self._speech = np.concatenate([self._speech, speech])
        decided = len(self._speech)
        near = widened(self._speech, self._margin)
        start = self._passed - self._first
        # What lies a margin before the last known frame may still turn out to be near speech.
        end = decided if last else max(decided - self._margin, start)
        heard_beyond = np.flatnonzero(near[end:])
        if len(heard_beyond):
            end += int(heard_beyond[-1]) + 1
        chosen = start + np.flatnonzero(near[start:end])
        found = Heard(self._rows[chosen], self._speech[chosen])
        self._passed = self._first + end
        self._forget(end)
        return found

    def _forget(self, end: int) -> None:
        """Let go of frames that nobody will ask for: what is pending needs a margin before it."""
        old = min(end - self._margin, len(self._speech) - _REMEMBERED)
        if old > 0:
            self._rows, self._speech = self._rows[old:], self._speech[old:]
            self._first += old
