"""The serving front end in PyTorch, batched: the same filterbank as ``voxprint.audio.fbank``.

Everything that decides a feature, window, filters, order of steps, comes from there; a test
compares the two.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from voxprint.audio.fbank import FbankConfig, filter_bank, frame_window


class Filterbank(nn.Module):
    """Log-mel features of equally long utterances.

    Args:
        config: as the model's spec has it.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: FbankConfig) -> None:
        super().__init__()
        self._config = config
        self.register_buffer("window", torch.from_numpy(frame_window(config)), persistent=False)
        filters = torch.from_numpy(filter_bank(config).astype(np.float32))
        self.register_buffer("filters", filters, persistent=False)
        self._floor = float(np.finfo(np.float32).eps)

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Features in single precision, whatever autocast says.

        Args:
            samples: float32, shape (batch, n), at the spec's rate, nominally in [-1, 1].

        Returns:
            float32, shape (batch, frames, mel_bins); of every utterance the mean over time is
            taken off where the spec says so.
        """
        config = self._config
        with torch.autocast(samples.device.type, enabled=False):
            frames = samples.float().unfold(1, config.frame_length, config.frame_shift)
            centred = frames - frames.mean(-1, keepdim=True)
            # The first sample of a frame has no predecessor and stands in for it.
            before = torch.cat([centred[..., :1], centred[..., :-1]], -1)
            emphasised = (centred - config.preemphasis * before) * self.window
            fft_size = 2 * (len(self.filters) - 1)
            spectrum = torch.fft.rfft(emphasised, n=fft_size)
            power = spectrum.real.square() + spectrum.imag.square()
            features = (power @ self.filters).clamp_min(self._floor).log()
            if config.subtract_mean:
                features = features - features.mean(1, keepdim=True)
            return features
