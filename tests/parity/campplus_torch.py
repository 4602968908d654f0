"""CAM++ in PyTorch, layer by layer as published: the oracle of the graph that we build.

Module names are those of the published weights, so that ``load_state_dict`` is strict.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
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

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Head(nn.Module):
    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(Residual(channels, 2), Residual(channels, 1))
        self.layer2 = nn.Sequential(Residual(channels, 2), Residual(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features):
        x = features.transpose(1, 2).unsqueeze(1)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        return functional.relu(self.bn2(self.conv2(x))).flatten(1, 2)


class NormRelu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels)

    def forward(self, x):
        return functional.relu(self.batchnorm(x))


class ContextMask(nn.Module):
    def __init__(self, channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            channels, growth, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, growth, 1)

    def forward(self, x):
        segments = functional.avg_pool1d(x, 100, 100, ceil_mode=True)
        segments = segments.repeat_interleave(100, dim=-1)[..., : x.shape[-1]]
        context = x.mean(-1, keepdim=True) + segments
        mask = torch.sigmoid(self.linear2(functional.relu(self.linear1(context))))
        return self.linear_local(x) * mask


class DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = NormRelu(channels)
        self.linear1 = nn.Conv1d(channels, 4 * growth, 1, bias=False)
        self.nonlinear2 = NormRelu(4 * growth)
        self.cam_layer = ContextMask(4 * growth, growth, dilation)

    def forward(self, x):
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class DenseBlock(nn.Module):
    def __init__(self, layers: int, channels: int, growth: int, dilation: int) -> None:
        super().__init__()
        for layer in range(layers):
            name = f"tdnnd{layer + 1}"
            self.add_module(name, DenseLayer(channels + layer * growth, growth, dilation))

    def forward(self, x):
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = NormRelu(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x):
        return self.linear(self.nonlinear(x))


class FirstTdnn(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out, 5, stride=2, padding=2, bias=False)
        self.nonlinear = NormRelu(out)

    def forward(self, x):
        return self.nonlinear(self.linear(x))


class Statistics(nn.Module):
    def forward(self, x):
        return torch.cat([x.mean(-1), x.std(-1, unbiased=True)], dim=-1)


class LastNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(dim, affine=False)

    def forward(self, x):
        return self.batchnorm(x)


class Dense(nn.Module):
    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, dim, 1, bias=False)
        self.nonlinear = LastNorm(dim)

    def forward(self, x):
        return self.nonlinear(self.linear(x.unsqueeze(-1)).squeeze(-1))


class CamPlusPlus(nn.Module):
    """(batch, frames, 80) -> (batch, 192), not normalised."""

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

    def forward(self, features):
        return self.xvector(self.head(features))
