"""The denoising autoencoder in PyTorch, and its way to the graph that serving runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from voxprint.encoder.autoencoder import DILATIONS, build_autoencoder
from voxprint.encoder.checkpoint import StateDict
from voxprint.encoder.session import open_session
from voxprint.errors import ModelFileError
from voxprint.training.export import LENGTHS, half_precision, write_weights

#: Largest difference between graph and network on log-mel rows, which are about 3 apart.
_LARGEST_DIFFERENCE = 1e-3


class DenoisingAutoencoder(nn.Module):
    """As ``voxprint.encoder.autoencoder`` builds it: convolutions over time that add a correction.

    Args:
        bins: of the features.
        width: channels between the layers.
        taps: of a convolution, odd.
    """

    def __init__(self, bins: int = 80, width: int = 80, taps: int = 5) -> None:
        super().__init__()
        widths = [bins] + [width] * (len(DILATIONS) - 1) + [bins]
        for number, dilation in enumerate(DILATIONS, start=1):
            layer = nn.Conv1d(
                widths[number - 1],
                widths[number],
                taps,
                padding=taps // 2 * dilation,
                dilation=dilation,
            )
            self.add_module(f"layer{number}", layer)
        # Nothing is added until there is a reason to.
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Denoised features.

        Args:
            features: log-mel rows, mean over time subtracted, float32, shape (batch, frames,
                bins).

        Returns:
            float32, the same shape.
        """
        hidden = features.transpose(1, 2)
        for number in range(1, len(DILATIONS) + 1):
            hidden = self.get_submodule(f"layer{number}")(hidden)
            if number < len(DILATIONS):
                hidden = torch.relu(hidden)
        return features + hidden.transpose(1, 2)


def export_autoencoder(network: DenoisingAutoencoder, weights: Path) -> float:
    """Write the weights in half precision, once their graph gives what they give in PyTorch.

    Args:
        network: trained.
        weights: ``.npz`` to write.

    Returns:
        the largest difference between the two.

    Raises:
        ModelFileError: it is more than 0.001, or the file cannot be written.
    """
    held = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    halved = half_precision(held)
    rounded = {name: value.astype(np.float32) for name, value in halved.items()}
    network.load_state_dict({name: torch.from_numpy(value) for name, value in rounded.items()})
    worst = largest_difference(network, rounded)
    if not worst <= _LARGEST_DIFFERENCE:
        raise ModelFileError(
            f"expected the exported graph to give what the network gives, got {worst:.6f} beside it"
        )
    write_weights(held, weights)
    return worst


@torch.no_grad()
def largest_difference(network: DenoisingAutoencoder, state: StateDict) -> float:
    """Between the network and the graph of some weights, over utterances of odd lengths.

    NaN where either gives something that is no number.
    """
    session = open_session(build_autoencoder(state))
    random = np.random.default_rng(0)
    found = []
    for frames in (1, 2, *LENGTHS):
        rows = 3 * random.standard_normal((1, frames, 80)).astype(np.float32)
        here = session.run(["denoised"], {"features": rows})[0]
        there = network(torch.from_numpy(rows)).numpy()
        found.append(np.abs(here - there).max())
    return float(np.max(found))
