"""All speech on the device, at several speeds.

Recordings lie one behind the other in one tensor of int16 a speed, so that a batch of crops is
one look-up. Played faster or slower a voice is another voice: every speaker counts once a speed.
"""

from __future__ import annotations

from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from voxprint.audio.speech import WINDOW
from voxprint.training.coded import sped_length
from voxprint.training.corpus import Corpus

#: Zero crossings of the resampling kernel on each side, and the share of the band it keeps.
_CROSSINGS, _KEPT = 16, 0.95


class Speech:
    """Recordings at several speeds.

    Attributes:
        speeds: factors, the first is 1.
        plain: for each speed int16, shape (samples,).
        start, length: int64, shape (speeds, recordings), of each recording in it.
        speech: int32, shape (windows + 1,): windows with speech before each, over all
            recordings at speed 1.
        window_start: int64, shape (recordings,), first window of each.
        coded: as ``plain``, the copies through codecs; None until they are made.
        speaker: int64, shape (recordings,).
    """

    def __init__(self, corpus: Corpus, speeds: tuple[float, ...], device: torch.device) -> None:
        self.device = device
        self.speeds = speeds
        self.speaker = torch.from_numpy(corpus.speaker).to(device)
        lengths = np.array(
            [[sped_length(len(each), speed) for each in corpus.heard] for speed in speeds]
        )
        starts = np.cumsum(lengths, axis=1) - lengths
        self.length = torch.from_numpy(lengths).to(device)
        self.start = torch.from_numpy(starts).to(device)
        first = torch.from_numpy(np.concatenate(corpus.heard)).to(device)
        self.plain = [first]
        for number, speed in enumerate(speeds[1:], start=1):
            self.plain.append(self._sped(first, number, speed, lengths))
        self.coded: list[Tensor | None] = [None] * len(speeds)
        windows = np.concatenate(corpus.speech)
        counts = np.concatenate([[0], np.cumsum(windows)]).astype(np.int32)
        self.speech = torch.from_numpy(counts).to(device)
        sizes = np.array([len(each) for each in corpus.speech])
        self.window_start = torch.from_numpy(np.cumsum(sizes) - sizes).to(device)
        self.window_count = torch.from_numpy(sizes).to(device)

    def _sped(
        self,
        first: Tensor,
        number: int,
        speed: float,
        lengths: np.ndarray,  # type: ignore[type-arg]
    ) -> Tensor:
        out = torch.empty(int(lengths[number].sum()), dtype=torch.int16, device=self.device)
        at, to = 0, 0
        for before, after in zip(lengths[0].tolist(), lengths[number].tolist(), strict=True):
            piece = resampled(first[at : at + before].float() / 32768, speed)
            piece = functional.pad(piece[:after], (0, max(0, after - len(piece))))
            out[to : to + after] = (piece.clamp(-1, 1) * 32767).round().short()
            at, to = at + before, to + after
        return out

    def take_coded(self, file: Path, made: list[list[Future[None]]]) -> None:
        """Take over the copies of every speed whose futures are done."""
        sizes = [len(each) for each in self.plain]
        for number, futures in enumerate(made):
            if self.coded[number] is None and futures and all(each.done() for each in futures):
                for each in futures:
                    each.result()
                store = np.memmap(file, np.int16, "r", sum(sizes[:number]) * 2, (sizes[number],))
                self.coded[number] = torch.from_numpy(np.array(store)).to(self.device)

    def cut(self, speed: int, recording: Tensor, at: Tensor, length: int, *, coded: bool) -> Tensor:
        """Crops of one speed; what is too short is repeated.

        Args:
            speed: its number.
            recording: int64, shape (n,).
            at: int64, shape (n,), first sample in each recording.
            length: in samples.
            coded: take the copies through codecs.

        Returns:
            float32, shape (n, length), in [-1, 1].
        """
        store = self.coded[speed] if coded else self.plain[speed]
        assert store is not None  # noqa: S101 - the caller asks only for what there is
        steps = torch.arange(length, device=self.device)
        within = (at[:, None] + steps) % self.length[speed, recording][:, None]
        return store[self.start[speed, recording][:, None] + within].float() / 32768

    def spoken(self, speed: int, recording: Tensor, at: Tensor, length: int) -> Tensor:
        """Share of each crop's windows that hold speech: float32, the shape of ``at``.

        ``recording`` has the shape of ``at``, or one that broadcasts to it.
        """
        factor = self.speeds[speed]
        count = self.window_count[recording]
        begin = (at * factor / WINDOW).long().clamp(max=count - 1)
        end = ((at + length) * factor / WINDOW).long().clamp(max=count)
        end = torch.maximum(end, begin + 1)
        offset = self.window_start[recording]
        found = self.speech[offset + end] - self.speech[offset + begin]
        return found / (end - begin)


def resampled(samples: Tensor, speed: float) -> Tensor:
    """Samples played ``speed`` times as fast, at the same rate, without a shift in time.

    Windowed sinc interpolation, one filter a phase: Smith, "Digital Audio Resampling", 2002.

    Args:
        samples: float32, shape (n,).
        speed: a ratio of small numbers, such as 0.85.

    Returns:
        float32, shape (ceil(n / speed),).
    """
    ratio = Fraction(speed).limit_denominator(1000)
    step, phases = ratio.numerator, ratio.denominator
    kernel, reach = _kernel(step, phases, samples.device)
    wanted = -(-len(samples) * phases // step)
    blocks = -(-wanted // phases)
    padded = functional.pad(samples, (reach, reach + blocks * step - len(samples) + step))
    rows = functional.conv1d(padded[None, None], kernel, stride=step)[0, :, :blocks]
    return rows.T.reshape(-1)[:wanted]


_KERNELS: dict[tuple[int, int, torch.device], tuple[Tensor, int]] = {}


def _kernel(step: int, phases: int, device: torch.device) -> tuple[Tensor, int]:
    """Filters, shape (phases, 1, taps): phase p of a block lies ``p * step / phases`` behind."""
    key = (step, phases, device)
    if key not in _KERNELS:
        band = min(1.0, phases / step) * _KEPT
        reach = int(np.ceil(_CROSSINGS / band))
        behind = np.arange(phases)[:, None] * step / phases
        away = np.arange(-reach, reach + step + 1)[None] - behind
        inside = np.clip(away * band / _CROSSINGS, -1, 1)
        kernel = band * np.sinc(away * band) * np.cos(inside * np.pi / 2) ** 2
        _KERNELS[key] = torch.from_numpy(kernel.astype(np.float32))[:, None].to(device), reach
    return _KERNELS[key]
