"""CAM++ in PyTorch, layer by layer as published: what is trained, and the oracle of our graph.

Module names are those of the published weights, so that ``load_state_dict`` is strict and what
was trained goes back into ``voxprint.encoder.campplus`` name by name. Source: as there.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxprint.encoder.checkpoint import StateDict, read_weights
from voxprint.errors import ModelFileError

_SEGMENT = 100


class Residual(nn.Module):
    """Two convolutions over frequency and time beside a shortcut."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, (stride, 1), 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, (stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, bins, frames) -> the same, bins divided by the stride."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Head(nn.Module):
    """From features to what the time-delay layers take.

    ``channels_last`` has them laid out so that channels lie side by side: faster on some devices.
    """

    channels_last = False

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(Residual(channels, 2), Residual(channels, 1))
        self.layer2 = nn.Sequential(Residual(channels, 2), Residual(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bins) -> (batch, channels * bins / 8, frames)."""
        x = features.transpose(1, 2).unsqueeze(1)
        if Head.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        return functional.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class NormRelu(nn.Module):
    """Batch normalisation, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> the same shape."""
        return functional.relu(self.batchnorm(x))


class ContextMask(nn.Module):
    """A convolution, masked by the mean over the utterance and over its segment."""

    def __init__(self, channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            channels, growth, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, growth, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, growth, frames)."""
        # One column a segment goes through the two layers; its mask serves all its frames. The
        # last segment is divided by its real length.
        segments = functional.avg_pool1d(x, _SEGMENT, _SEGMENT, ceil_mode=True)
        context = x.mean(-1, keepdim=True) + segments
        mask = torch.sigmoid(self.linear2(functional.relu(self.linear1(context))))
        if mask.shape[-1] > 1:
            mask = mask.repeat_interleave(_SEGMENT, dim=-1)[..., : x.shape[-1]]
        return self.linear_local(x) * mask


class DenseLayer(nn.Module):
    """One layer of a densely connected block."""

    def __init__(self, channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = NormRelu(channels)
        self.linear1 = nn.Conv1d(channels, 4 * growth, 1, bias=False)
        self.nonlinear2 = NormRelu(4 * growth)
        self.cam_layer = ContextMask(4 * growth, growth, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, growth, frames)."""
        y: Tensor = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))
        return y


class DenseBlock(nn.Module):
    """Layers that each hear all before them."""

    def __init__(self, layers: int, channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        for layer in range(layers):
            name = f"tdnnd{layer + 1}"
            self.add_module(name, DenseLayer(channels + layer * growth, growth, dilation))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, channels + layers * growth, frames)."""
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transit(nn.Module):
    """Halves the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = NormRelu(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, channels / 2, frames)."""
        y: Tensor = self.linear(self.nonlinear(x))
        return y


class FirstTdnn(nn.Module):
    """Halves the frame rate."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out, 5, stride=2, padding=2, bias=False)
        self.nonlinear = NormRelu(out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, out, ceil(frames / 2))."""
        y: Tensor = self.nonlinear(self.linear(x))
        return y


class Statistics(nn.Module):
    """Mean and unbiased standard deviation over time, in single precision."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, 2 * channels)."""
        wide = x.float()
        return torch.cat([wide.mean(-1), wide.std(-1, unbiased=True)], dim=-1)


class LastNorm(nn.Module):
    """Batch normalisation without scale and shift of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(dim, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, dim) -> the same shape."""
        y: Tensor = self.batchnorm(x)
        return y


class Dense(nn.Module):
    """From statistics to the embedding."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, dim, 1, bias=False)
        self.nonlinear = LastNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels) -> (batch, dim)."""
        y: Tensor = self.nonlinear(self.linear(x.unsqueeze(-1)).squeeze(-1))
        return y


class CamPlusPlus(nn.Module):
    """(batch, frames, 80) -> (batch, ``dim``), not normalised.

    Args:
        dim: of the embedding.
        growth: channels that every layer of a dense block adds.
    """

    def __init__(self, dim: int = 192, growth: int = 32) -> None:
        super().__init__()
        self.head = Head()
        self.xvector = nn.Sequential()
        channels = 128
        self.xvector.add_module("tdnn", FirstTdnn(320, channels))
        for number, (layers, dilation) in enumerate(((12, 1), (24, 2), (16, 2)), start=1):
            block = DenseBlock(layers, channels, growth, dilation)
            self.xvector.add_module(f"block{number}", block)
            channels += layers * growth
            self.xvector.add_module(f"transit{number}", Transit(channels))
            channels //= 2
        self.xvector.add_module("out_nonlinear", NormRelu(channels))
        self.xvector.add_module("stats", Statistics())
        self.xvector.add_module("dense", Dense(2 * channels, dim))

    def forward(self, features: Tensor) -> Tensor:
        """Features, float32, their mean over time taken off -> embeddings."""
        return self.pooled(self.frames(features))

    def frames(self, features: Tensor) -> Tensor:
        """(batch, frames, 80) -> (batch, channels, ceil(frames / 2)), what is pooled over time."""
        x: Tensor = self.head(features)
        for name, layer in self.xvector.named_children():
            if name == "stats":
                break
            x = layer(x)
        return x

    def pooled(self, frames: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, ``dim``), not normalised."""
        y: Tensor = self.xvector.dense(self.xvector.stats(frames))
        return y


def read_arrays(path: Path) -> StateDict:
    """Weights out of a published checkpoint (``.pt``) or out of our own ``.npz``.

    Args:
        path: of the file; half precision is widened to float32.

    Returns:
        arrays by their published names, float32 where they are floats.

    Raises:
        ModelFileError: no such file, or it holds something else.
    """
    try:
        return read_weights(path.read_bytes())
    except (OSError, ModelFileError) as error:
        raise ModelFileError(f"expected weights to start from, got {path}: {error}") from error


def campplus(arrays: StateDict) -> CamPlusPlus:
    """The network with these weights, in evaluation mode.

    Raises:
        ModelFileError: the weights are those of another network.
    """
    network = CamPlusPlus()
    wanted = network.state_dict()
    state = {name: torch.tensor(value) for name, value in arrays.items()}
    for name in wanted.keys() - state.keys():
        if name.endswith("num_batches_tracked"):
            state[name] = wanted[name]
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:300]
        raise ModelFileError(f"expected the weights of CAM++, got others: {reason}") from error
    return network.eval()


def arrays_of(state: dict[str, Tensor]) -> StateDict:
    """What ``voxprint.encoder.campplus.build_campplus`` takes, from a network's state."""
    return {
        name: value.detach().float().cpu().numpy()
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }
