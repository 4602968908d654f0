"""What takes noise off the features before the network hears them, where a model has it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voxprint.audio.fbank import Float32
from voxprint.audio.speech import Mask
from voxprint.audio.subtraction import SubtractionConfig, subtract_noise
from voxprint.encoder.session import open_session

#: Features of all frames, their pauses, the frames that are heard -> features of those.
#: float32, shape (frames, bins), mean not subtracted; bool, shape (frames,), twice; float32,
#: shape (heard, bins).
Denoiser = Callable[[Float32, Mask, Mask], Float32]


def no_denoiser(features: Float32, _pauses: Mask, heard: Mask) -> Float32:
    """Heard frames as they are."""
    return features[heard]


def subtraction(config: SubtractionConfig) -> Denoiser:
    """Spectral subtraction, by the pauses of the recording."""

    def denoise(features: Float32, pauses: Mask, heard: Mask) -> Float32:
        return subtract_noise(features, pauses, config)[heard]

    return denoise


def autoencoder(graph: bytes, *, at_once: int, threads: int = 1) -> Denoiser:
    """A denoising autoencoder, which hears what the network hears.

    Args:
        graph: as ``voxprint.encoder.autoencoder.build_autoencoder`` makes it.
        at_once: frames of a run; longer speech goes through it in equal parts.
        threads: that one run uses.
    """
    session = open_session(graph, threads)

    def denoise(features: Float32, _pauses: Mask, heard: Mask) -> Float32:
        rows = features[heard]
        rows = rows - rows.mean(axis=0, keepdims=True)
        pieces = np.array_split(rows, -(-len(rows) // at_once))
        made = [session.run(["denoised"], {"features": piece[np.newaxis]})[0] for piece in pieces]
        return np.concatenate([piece[0] for piece in made])

    return denoise
