"""Our detector of speech in PyTorch: what ``voxprint.encoder.framegraph`` builds, to be trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from voxprint.encoder.checkpoint import StateDict
from voxprint.encoder.framevad import LOOK_AHEAD, SILENCE, STEP

#: In units of the natural logarithm of a power.
_LEAST_DEVIATION = 0.1
_DROPPED = 0.1


class FrameNetwork(nn.Module):
    """Log-mel frames -> logits of speech, one a frame.

    Args:
        mean, whitening: of the features, float32, shapes (bins,) and (bins, bins), as
            :func:`whitening` gives them; part of the weights, not learned.
        before: frames before a step that its convolution sees.
        channels: of the convolution.
        units: of the recurrent layer.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(
        self,
        mean: Tensor,
        whitening: Tensor,
        *,
        before: int = 4,
        channels: int = 64,
        units: int = 64,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("whitening", whitening)
        self._before = before
        self.conv = nn.Conv1d(len(mean), channels, before + STEP + LOOK_AHEAD, STEP)
        self.gru = nn.GRU(channels, units, batch_first=True)
        self.dropout = nn.Dropout(_DROPPED)
        self.out = nn.Linear(units, STEP)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of whole recordings.

        Args:
            features: float32, shape (batch, frames, bins), mean not subtracted; the number of
                frames a multiple of ``STEP``.

        Returns:
            float32, shape (batch, frames).
        """
        around = (0, 0, self._before + LOOK_AHEAD, LOOK_AHEAD)
        rows = functional.pad(features, around, value=float(SILENCE))
        rows = (rows - self.mean) @ self.whitening
        seen = self.conv(rows.transpose(1, 2)).relu()
        remembered, _ = self.gru(self.dropout(seen.transpose(1, 2)))
        # The first step hears what comes before the recording, as the graph does.
        return self.out(self.dropout(remembered))[:, 1:].flatten(1)

    @classmethod
    def of(cls, state: StateDict) -> FrameNetwork:
        """A network with these weights, in the mode that measures."""
        channels, _, kernel = state["conv.weight"].shape
        tensors = {name: torch.from_numpy(np.array(each)) for name, each in state.items()}
        network = cls(
            tensors["mean"],
            tensors["whitening"],
            before=kernel - STEP - LOOK_AHEAD,
            channels=channels,
            units=state["gru.weight_hh_l0"].shape[1],
        )
        network.load_state_dict(tensors)
        return network.eval()


def whitening(features: npt.NDArray[np.floating[Any]]) -> tuple[Tensor, Tensor]:
    """What takes the likeness of neighbouring bins out of features, so that all is learned alike.

    Nearly all that varies in log powers is level; what tells a voice from a noise is far smaller,
    and would be learned late. Whitening by the covariance (Kessy and others 2018, arXiv
    1512.00809, ZCA), what varies less than ``_LEAST_DEVIATION`` left as small as it is.

    Args:
        features: some of those to be learned, shape (frames, bins), frames > bins.

    Returns:
        mean and matrix to multiply rows with, float32 of half precision, shapes (bins,) and
        (bins, bins).
    """
    wide = features.astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(wide, rowvar=False))
    scale = 1 / np.sqrt(np.maximum(values, 0) + _LEAST_DEVIATION**2)
    found = wide.mean(axis=0), (vectors * scale) @ vectors.T
    mean, matrix = (torch.from_numpy(each.astype(np.float16).astype(np.float32)) for each in found)
    return mean, matrix


def frame_arrays(network: FrameNetwork) -> StateDict:
    """Its weights by name, as they ship: half precision."""
    return {
        name: np.asarray(value.detach().numpy(), np.float16)
        for name, value in network.state_dict().items()
    }
