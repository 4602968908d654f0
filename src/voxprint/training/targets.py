"""What the teacher makes of whole, clean recordings: what a student is to make of their pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from voxprint.training.features import Filterbank
from voxprint.training.network import CamPlusPlus
from voxprint.training.speech import Speech

#: Frames that the teacher hears at once.
_FRAMES_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Targets:
    """By speed and recording.

    Attributes:
        vectors: float32, shape (speeds, recordings, dim), unit rows.
        frames: float16, shape (all frames, channels), of all recordings at all speeds before
            they are pooled over time; None where nothing asks for them.
        start, count: int64, shape (speeds, recordings): where those of each lie.
    """

    vectors: Tensor
    frames: Tensor | None
    start: Tensor
    count: Tensor

    def frames_of(
        self, speed: Tensor, recording: Tensor, first: Tensor, length: int
    ) -> tuple[Tensor, Tensor]:
        """Frames of crops.

        Args:
            speed, recording: int64, shape (batch,).
            first: int64, shape (batch,), number of each crop's first frame.
            length: frames of each.

        Returns:
            float16, shape (batch, channels, length), and bool, shape (batch, length): which of
            them there are. A crop may be longer than what is left of its recording.
        """
        assert self.frames is not None  # noqa: S101 - asked for where they were made
        wanted = first[:, None] + torch.arange(length, device=first.device)
        count = self.count[speed, recording][:, None]
        known = wanted < count
        rows = self.start[speed, recording][:, None] + torch.minimum(wanted, count - 1)
        return self.frames[rows].transpose(1, 2), known


@torch.no_grad()
def teacher_targets(
    speech: Speech,
    teacher: CamPlusPlus,
    filterbank: Filterbank,
    speaker_mix: float,
    *,
    frames: bool = False,
    tick: Callable[[int], None] = lambda _: None,
) -> Targets:
    """Where each recording at each speed shall lie.

    A teacher knows isolated words badly, and their speaker by all of them together well: a share
    of the target is the mean over the speaker's recordings at that speed.

    Args:
        speech: recordings.
        teacher: hears each as a whole.
        filterbank: of the teacher.
        speaker_mix: share of the speaker's mean, in [0, 1].
        frames: keep what it makes of every 20 ms, too: 50 kB a second of speech.
        tick: told the number of every speed that is done.
    """
    heard = _grid((speech.length - 400) // 160 + 1)
    count = heard // 2
    start = (count.flatten().cumsum(0) - count.flatten()).view_as(count)
    kept: Tensor | None = None
    vectors = []
    for number in range(len(speech.speeds)):
        own: Tensor | None = None
        for rows, samples in _by_length(speech, number, heard[number]):
            made = teacher.frames(filterbank(samples))
            embedded = functional.normalize(teacher.pooled(made).float())
            if own is None:
                own = torch.empty(count.shape[1], embedded.shape[1], device=speech.device)
            own[rows] = embedded
            if frames:
                if kept is None:
                    shape = (int(count.sum()), made.shape[1])
                    kept = torch.empty(shape, dtype=torch.float16, device=speech.device)
                at = start[number, rows][:, None] + torch.arange(
                    made.shape[-1], device=speech.device
                )
                kept[at] = made.transpose(1, 2).half()
        assert own is not None  # noqa: S101 - a corpus is never empty
        sums = torch.zeros(int(speech.speaker.max()) + 1, own.shape[1], device=own.device)
        sums.index_add_(0, speech.speaker, own)
        means = functional.normalize(sums)[speech.speaker]
        vectors.append(functional.normalize((1 - speaker_mix) * own + speaker_mix * means))
        tick(number)
    return Targets(torch.stack(vectors), kept, start, count)


def no_targets(speech: Speech, dim: int) -> Targets:
    """Zeros, for a training that asks nothing of a teacher."""
    vectors = torch.zeros(*speech.length.shape, dim, device=speech.device)
    nowhere = torch.zeros_like(speech.length)
    return Targets(vectors, None, nowhere, nowhere)


def _grid(frames: Tensor) -> Tensor:
    """Of so many frames those that are heard: all but less than an eighth at the end.

    Few lengths make few batches; on a GPU a batch of one takes as long as one of hundreds.
    """
    step = torch.pow(2, frames.log2().floor().long() - 3).clamp_min(8)
    return frames // step * step


def _by_length(speech: Speech, number: int, heard: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole recordings at one speed, those of one number of frames together."""
    for count in torch.unique(heard).tolist():
        rows = torch.nonzero(heard == count)[:, 0]
        for some in rows.split(max(1, _FRAMES_AT_ONCE // count)):
            samples = speech.cut(
                number, some, torch.zeros_like(some), (count - 1) * 160 + 400, coded=False
            )
            yield some, samples
