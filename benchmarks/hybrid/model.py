"""Simulated speakers: a two-covariance model of unit embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
Square = npt.NDArray[np.float64]

FITTED = Path(__file__).with_name("fitted.npz")
#: Rows drawn at a time, to bound the memory of a million.
_BLOCK = 50_000


@dataclass(frozen=True, eq=False)
class TwoCovariance:
    """Embedding = mean + what is of the speaker + what is of the utterance, at length 1.

    Attributes:
        mean: shape (dim,).
        between: covariance of what is of the speaker, shape (dim, dim).
        within: covariance of what is of the utterance, shape (dim, dim).
    """

    mean: npt.NDArray[np.float64]
    between: Square
    within: Square

    @classmethod
    def named(cls, name: str) -> TwoCovariance:
        """``fitted`` to real voices (see fit.py), or the harder ``synthetic``."""
        return {"fitted": cls.fitted, "synthetic": cls.synthetic}[name]()

    @classmethod
    def fitted(cls) -> TwoCovariance:
        with np.load(FITTED) as stored:
            dim = len(stored["mean"])
            covariances = []
            for name in ("between", "within"):
                square = np.zeros((dim, dim))
                square[np.triu_indices(dim)] = stored[name]
                covariances.append(square + np.triu(square, 1).T)
            return cls(stored["mean"].astype(np.float64), *covariances)

    @classmethod
    def synthetic(cls, dim: int = 192) -> TwoCovariance:
        """A slowly falling spectrum around zero: neighbours beyond the speaker's own are noise."""
        spectrum = np.arange(1, dim + 1) ** -0.8
        return cls(np.zeros(dim), np.diag(spectrum), np.diag(0.45 * spectrum))

    def save(self, path: Path) -> None:
        """Write it as float32, of each covariance the upper triangle."""
        triangle = np.triu_indices(len(self.mean))
        np.savez_compressed(
            path,
            mean=self.mean.astype(np.float32),
            between=self.between[triangle].astype(np.float32),
            within=self.within[triangle].astype(np.float32),
        )

    def draw(self, *, speakers: int, utterances: int, seed: int, extra: int = 0) -> tuple[Rows, Rows]:
        """Utterances of simulated speakers, speaker by speaker.

        Args:
            extra: speakers, the first ones, of whom one more utterance is drawn.

        Returns:
            float32 of length 1: shape (speakers * utterances, dim), and the extra utterances,
            shape (extra, dim).
        """
        rng = np.random.default_rng(seed)
        voices, noise = _root(self.between), _root(self.within)
        rows = np.empty((speakers * utterances, len(self.mean)), np.float32)
        held = np.empty((extra, len(self.mean)), np.float32)
        step = max(1, _BLOCK // utterances)
        for first in range(0, speakers, step):
            count = min(step, speakers - first)
            voice = self.mean + rng.standard_normal((count, len(self.mean))) @ voices
            spoken = rng.standard_normal((count, utterances + 1, len(self.mean))) @ noise
            spoken += voice[:, None]
            spoken /= np.linalg.norm(spoken, axis=2, keepdims=True)
            at = first * utterances
            rows[at : at + count * utterances] = spoken[:, :utterances].reshape(-1, len(self.mean))
            wanted = min(count, max(0, extra - first))
            held[first : first + wanted] = spoken[:wanted, utterances]
        return rows, held


def _root(covariance: Square) -> Square:
    """A matrix that turns standard normal rows into rows of this covariance."""
    values, axes = np.linalg.eigh(covariance)
    return (np.sqrt(np.maximum(values, 0))[:, None]) * axes.T
