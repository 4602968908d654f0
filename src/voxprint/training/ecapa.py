"""A small ECAPA-TDNN: what is trained from nothing, in minutes, on few speakers.

Desplanques, Thienpondt and Demuynck 2020, "ECAPA-TDNN: Emphasized Channel Attention, Propagation
and Aggregation in TDNN Based Speaker Verification", arXiv 2005.07143: convolutions over time in
several widths at once (Gao and others 2019, Res2Net, arXiv 1904.01169), channels weighted by what
the whole utterance has of them (Hu and others 2018, Squeeze-and-Excitation, arXiv 1709.01507),
and all blocks heard together before time is taken out. Narrower than published, in fewer
widths, and pooled without attention over frames: by plain moments, whose number is the question.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxprint.training.pooling import Moments

#: Channels of the layers, and of the bottleneck that weights them.
_CHANNELS, _SQUEEZED = 256, 64
#: Widths of a block, and the dilations of the three blocks.
_WIDTHS = 4
_DILATIONS = (2, 3, 4)


class Layer(nn.Module):
    """A convolution over time, ReLU, batch normalisation; as many frames come out as go in."""

    def __init__(self, channels: int, out: int, size: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = size // 2 * dilation
        self.conv = nn.Conv1d(channels, out, size, padding=padding, dilation=dilation)
        self.norm = nn.BatchNorm1d(out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, out, frames)."""
        y: Tensor = self.norm(functional.relu(self.conv(x)))
        return y


class Excitation(nn.Module):
    """Weights every channel by the means of all of them over the utterance."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(channels, squeezed, 1)
        self.up = nn.Conv1d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> the same shape."""
        means = x.mean(-1, keepdim=True)
        return x * torch.sigmoid(self.up(functional.relu(self.down(means))))


class Block(nn.Module):
    """Several widths at once: a part of the channels is heard as it is, the next convolved once,
    the one after that twice, and so on; beside a shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        part = channels // _WIDTHS
        self.first = Layer(channels, channels)
        self.parts = nn.ModuleList(Layer(part, part, 3, dilation) for _ in range(_WIDTHS - 1))
        self.last = Layer(channels, channels)
        self.excitation = Excitation(channels, _SQUEEZED)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> the same shape."""
        plain, *others = self.first(x).chunk(_WIDTHS, 1)
        heard, before = [plain], None
        for part, layer in zip(others, self.parts, strict=True):
            before = layer(part if before is None else part + before)
            heard.append(before)
        y: Tensor = x + self.excitation(self.last(torch.cat(heard, 1)))
        return y


class Ecapa(nn.Module):
    """(batch, frames, 80) -> (batch, ``dim``), not normalised.

    1.6 million weights with two moments, 1.9 million with four.

    Args:
        dim: of the embedding.
        moments: of statistics pooling, as :class:`Moments` counts them.
        channels: of the layers, a multiple of 4.

    Raises:
        UsageError: moments that nobody knows.
    """

    def __init__(self, dim: int = 192, moments: int = 2, channels: int = _CHANNELS) -> None:
        super().__init__()
        self.first = Layer(80, channels, 5)
        self.blocks = nn.ModuleList(Block(channels, dilation) for dilation in _DILATIONS)
        together = channels * len(_DILATIONS)
        self.together = nn.Conv1d(together, together, 1)
        self.pooling = Moments(moments)
        self.norm = nn.BatchNorm1d(moments * together)
        self.dense = nn.Linear(moments * together, dim)
        self.last = nn.BatchNorm1d(dim)

    def forward(self, features: Tensor) -> Tensor:
        """Features, float32, their mean over time taken off -> embeddings."""
        return self.pooled(self.frames(features))

    def frames(self, features: Tensor) -> Tensor:
        """(batch, frames, 80) -> (batch, channels, frames), what is pooled over time."""
        x = self.first(features.transpose(1, 2))
        heard = []
        for block in self.blocks:
            x = block(x)
            heard.append(x)
        return functional.relu(self.together(torch.cat(heard, 1)))

    def pooled(self, frames: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, ``dim``), not normalised."""
        y: Tensor = self.last(self.dense(self.norm(self.pooling(frames))))
        return y
