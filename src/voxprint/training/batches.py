"""Which crops a step sees: lengths, speakers, speeds and places.

A batch has one length, so nothing is filled with zeros; short crops come in many, so that every
step hears about as many seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voxprint.errors import UsageError
from voxprint.training.augment import Augmenter
from voxprint.training.config import Batch
from voxprint.training.speech import Speech

_RATE = 16000
#: Samples from one frame that is pooled to the next.
FRAME_STEP = 320
#: Places drawn for a crop, of which one with enough speech is taken.
_PLACES = 3
_ENOUGH_SPEECH = 0.6


@dataclass(frozen=True, slots=True)
class Crops:
    """One batch.

    Attributes:
        samples: float32, shape (batch, n).
        at: int64, shape (batch,): first sample of each in its recording at its speed, a multiple
            of ``FRAME_STEP``.
        speed, recording, speaker: int64, shape (batch,).
    """

    samples: Tensor
    at: Tensor
    speed: Tensor
    recording: Tensor
    speaker: Tensor


class Batches:
    """Draws batches.

    Args:
        speech: where from.
        recordings: which of them, int64.
        settings: how.
        augmenter: what befalls the crops.
        seed: of all that is drawn.

    Raises:
        UsageError: no recording is long enough for some length of crop.
    """

    def __init__(
        self,
        speech: Speech,
        recordings: npt.NDArray[np.int64],
        settings: Batch,
        augmenter: Augmenter,
        seed: int,
    ) -> None:
        self._speech, self._set, self._augmenter = speech, settings, augmenter
        self._recordings = recordings
        self.random = np.random.default_rng([seed, 1])  # the augmenter's is another stream
        self._lengths = speech.length.cpu().numpy()
        speaker = speech.speaker.cpu().numpy()
        self._speaker = speaker
        count = np.bincount(speaker[recordings], minlength=speaker.max() + 1)
        self._weight = count[speaker[recordings]] ** (settings.balance - 1.0)
        for seconds in (*settings.short, *settings.long, *settings.late):
            if not self._fits(0, seconds).any():
                raise UsageError(
                    f"expected recordings for crops of {seconds} s, got none that long",
                    hint="Leave this length out of batch.short, batch.long or batch.late.",
                )

    @property
    def recordings(self) -> Tensor:
        """Numbers of the recordings that are drawn from, int64, on the device."""
        return torch.from_numpy(self._recordings).to(self._speech.device)

    @property
    def speaker_of(self) -> Tensor:
        """Speaker of each of those, int64, on the device."""
        return self._speech.speaker[self.recordings]

    @property
    def speakers(self) -> npt.NDArray[np.int64]:
        """Numbers of the speakers that are drawn from, in order."""
        return np.unique(self._speaker[self._recordings])

    def random_states(self) -> dict[str, Any]:
        """Of all that is drawn, to go on from."""
        return {
            "batches": self.random.bit_generator.state,
            "augmenter": self._augmenter.random.bit_generator.state,
            "device": self._augmenter.torch_random.get_state(),
        }

    def set_random_states(self, states: dict[str, Any]) -> None:
        """Go on from there."""
        self.random.bit_generator.state = states["batches"]
        self._augmenter.random.bit_generator.state = states["augmenter"]
        self._augmenter.torch_random.set_state(states["device"].cpu())

    def draw(self, *, late: bool = False) -> Crops:
        """The next batch; of the lengths of the training's last part where it is ``late``."""
        seconds, count = self._shape(late)
        length = _whole_frames(seconds)
        speeds, recordings = self._who(seconds, count)
        clean = self.random.random(count) < self._set.clean_share
        coded = ~clean & (self.random.random(count) < self._set.coded_share)
        # Drawn for all at once: when copies come must not change what the others are.
        places = self.random.random((count, _PLACES))
        there = [torch.from_numpy(a).to(self._speech.device) for a in (speeds, recordings)]
        x = torch.empty(count, length, device=self._speech.device)
        at = torch.empty(count, dtype=torch.int64, device=self._speech.device)
        for number in range(len(self._speech.speeds)):
            have = self._speech.coded[number] is not None
            for through in (False, True):
                rows = np.flatnonzero((speeds == number) & ((coded & have) == through))
                if len(rows):
                    to = torch.from_numpy(rows).to(x.device)
                    at[to], x[to] = self._cut(
                        number, recordings[rows], places[rows], length, coded=through
                    )
        x = self._augmenter(x, clean, self._voices)
        return Crops(x, at, there[0], there[1], self._speech.speaker[there[1]])

    def _shape(self, late: bool) -> tuple[float, int]:
        short = self.random.random() < self._set.short_share
        lengths = self._set.late if late else self._set.short if short else self._set.long
        seconds = float(self.random.choice(lengths))
        return seconds, min(self._set.most, max(2, round(self._set.seconds / seconds)))

    def _fits(self, speed: int, seconds: float) -> npt.NDArray[np.bool_]:
        least = self._set.least_fill * seconds * _RATE
        return np.asarray(self._lengths[speed, self._recordings] >= least)

    def _who(
        self, seconds: float, count: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        others = len(self._speech.speeds) - 1
        speeds = np.zeros(count, np.int64)
        if others:
            changed = self.random.random(count) >= self._set.natural
            speeds[changed] = self.random.integers(1, others + 1, changed.sum())
        chosen = np.empty(count, np.int64)
        for number in np.unique(speeds):
            rows = speeds == number
            weight = self._weight * self._fits(int(number), seconds)
            # Those that fit at their own speed nearly fit at this one.
            if not weight.any():
                weight = self._weight * self._fits(0, seconds)
            chosen[rows] = self.random.choice(self._recordings, rows.sum(), p=weight / weight.sum())
        return speeds, chosen

    def _cut(
        self,
        speed: int,
        recordings: npt.NDArray[np.int64],
        places: npt.NDArray[np.float64],
        length: int,
        *,
        coded: bool,
    ) -> tuple[Tensor, Tensor]:
        """Places where somebody speaks, and crops from there; places are drawn in [0, 1)."""
        room = np.maximum(self._lengths[speed, recordings] - length, 0)[:, None]
        begin = (places * (room + 1)).astype(np.int64) // FRAME_STEP * FRAME_STEP
        at = torch.from_numpy(begin).to(self._speech.device)
        which = torch.from_numpy(recordings).to(self._speech.device)
        share = self._speech.spoken(speed, which[:, None], at, length)
        # The first that has enough; where none has, the one with the most.
        order = torch.arange(_PLACES, device=at.device) * 1e-3
        best = (share.clamp_max(_ENOUGH_SPEECH) - order).argmax(1, keepdim=True)
        chosen = at.gather(1, best)[:, 0]
        return chosen, self._speech.cut(speed, which, chosen, length, coded=coded)

    def _voices(self, count: int, length: int) -> Tensor:
        recordings = self.random.choice(self._recordings, count)
        which = torch.from_numpy(recordings).to(self._speech.device)
        size = self._lengths[0, recordings]
        at = torch.from_numpy((self.random.random(count) * size).astype(np.int64))
        return self._speech.cut(0, which, at.to(which.device), length, coded=False)


def _whole_frames(seconds: float) -> int:
    """About so many seconds in samples, that make a multiple of 16 frames: devices like that."""
    return 240 + 160 * max(16, round(seconds * 100 / 16) * 16)
