"""Embeddings of probes by several networks, kept between runs.

Networks run as serving runs them: on a processor the graph takes about three quarters of the time
that PyTorch takes for the same batch, and needs no large one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.report import say
from voxprint.encoder.session import open_session
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import ModelFileError
from voxprint.training.export import build_graph
from voxprint.training.measure import equal_lengths
from voxprint.training.network import read_arrays
from voxprint.training.probes import Probes

Floats = npt.NDArray[np.float32]
#: Recordings after which what is done is written down.
_TOGETHER = 128
_FRAMES_AT_ONCE = 3200


@dataclass(frozen=True)
class Weights:
    """A network by its weights.

    Attributes:
        name: for the report.
        path: ``.npz`` as ``voxprint.training.export`` writes it, or the published ``.pt``.
        sha256: hex digest of the file: what was embedded with other bytes is not taken.
    """

    name: str
    path: Path
    sha256: str

    @classmethod
    def of(cls, name: str, path: Path) -> Weights:
        """Raises: OSError where the file cannot be read."""
        return cls(name, path, hashlib.sha256(path.read_bytes()).hexdigest())


class Embedded:
    """Embeddings of one network under one setting of the probes, in a file.

    Args:
        weights: of the network.
        folder: where files are kept.
        setting: of the probes, as ``voxprint.training.probes.probe_setting`` says it.

    Raises:
        ModelFileError: the weights are those of another network.
    """

    def __init__(self, weights: Weights, folder: Path, setting: str) -> None:
        self.weights = weights
        self._file = folder / f"{setting}-{weights.sha256[:16]}.npz"
        self._names: list[str] = []
        self._vectors: Floats | None = None
        if self._file.exists():
            with np.load(self._file) as held:
                self._names, self._vectors = held["names"].tolist(), held["vectors"]
        # Even where nothing is to be embedded: a file that is no network shall be said now.
        self._graph = build_graph(read_arrays(weights.path))

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of the recordings that are not embedded yet."""
        known = set(self._names)
        return [name for name in names if name not in known]

    def embed(self, probes: Probes, cores: int = 1) -> None:
        """Embed what is missing, and write down whatever is done.

        Args:
            probes: made to the end.
            cores: that the network may use.

        Raises:
            ModelFileError: the network gives something that is no number.
        """
        wanted = self.missing(probes.names)
        session = open_session(self._graph, threads=cores)
        for at in range(0, len(wanted), _TOGETHER):
            names = wanted[at : at + _TOGETHER]
            shape = (len(names), len(probes.conditions), DEFAULT_MODEL.dim)
            found = np.full(shape, np.nan, np.float32)
            for where, rows in equal_lengths(probes, names, _FRAMES_AT_ONCE):
                wide = rows.astype(np.float32)
                wide -= wide.mean(1, keepdims=True)
                (vectors,) = session.run(["embedding"], {"features": wide})
                unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
                if not np.isfinite(unit).all():
                    # Counted as probes that cannot be heard, they would flatter it.
                    raise ModelFileError(f"expected finite embeddings by {self.weights.name}")
                found[where[:, 0], where[:, 1]] = unit
            self._add(names, found)
            say(f"  {self.weights.name}: {at + len(names)} of {len(wanted)} recordings embedded")

    def _add(self, names: list[str], found: Floats) -> None:
        known = self._vectors
        self._vectors = found if known is None else np.concatenate([known, found])
        self._names += names
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part.npz")
        np.savez(part, names=np.array(self._names), vectors=self._vectors)
        part.replace(self._file)

    def of(self, names: Sequence[str]) -> Floats:
        """Unit embeddings of what was embedded, shape (conditions, names, dim).

        NaN where nothing could be heard.
        """
        assert self._vectors is not None
        row = {name: i for i, name in enumerate(self._names)}
        return self._vectors[[row[name] for name in names]].transpose(1, 0, 2)
