"""What is left of frames when time is taken out of them: their moments."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from voxprint.errors import UsageError

#: Added to a variance, so that a channel that never moves has finite moments and gradients.
_LEAST_VARIANCE = 1e-5
#: Kurtosis of a normal distribution.
_NORMAL = 3.0


class Moments(nn.Module):
    """The first moments over time, standardised, in single precision whatever autocast says.

    Mean, standard deviation, skewness and excess kurtosis, of the frames as they are (no
    estimate for longer speech than there is). Of n frames the last two can be as large as
    sqrt(n) and n, and are where a channel is silent but for an instant; they come as their
    inverse hyperbolic sine, which leaves small ones as they are. A channel that never moves has
    deviation 0, skewness 0 and excess kurtosis -3.

    Source: Rouvier, Bousquet and Duret 2021, arXiv 2105.04310, who compare such poolings; the
    inverse hyperbolic sine is ours.

    Args:
        count: how many of the four, 2 to 4.

    Raises:
        UsageError: another count.
    """

    def __init__(self, count: int = 2) -> None:
        super().__init__()
        if count not in (2, 3, 4):
            raise UsageError(f"expected 2, 3 or 4 moments, got {count}")
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, count * channels), float32; moment by moment."""
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            mean = wide.mean(-1, keepdim=True)
            away = wide - mean
            deviation = (away.square().mean(-1, keepdim=True) + _LEAST_VARIANCE).sqrt()
            found = [mean, deviation]
            if self.count > 2:
                unit = away / deviation
                square = unit.square()
                found.append((square * unit).mean(-1, keepdim=True).asinh())
            if self.count > 3:
                found.append((square.square().mean(-1, keepdim=True) - _NORMAL).asinh())
            return torch.cat(found, 1)[..., 0]
