"""Who stands in for an encoder that was trained on everybody there is to measure it by.

Its twin: trained by the same recipe on fold A alone, measured on fold B. The twin of an encoder of
others is itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from voxprint.encoder.embedder import Encoder
from voxprint.encoder.spec import ModelSpec, PublishedFile, find_model
from voxprint.errors import UsageError

_WEIGHTS = Path(__file__).with_name("training") / "raw"


@dataclass(frozen=True)
class Twin:
    """What is measured.

    Attributes:
        spec: of the network that is measured; its hash is another than the one that ships.
        weights: of it; None for those of the spec.
        trained_on: folds of the people it was trained on, by whom nothing is said about it.
    """

    spec: ModelSpec
    weights: Path | None
    trained_on: tuple[str, ...]

    def encoder(self) -> Encoder:
        """The network, ready to hear."""
        return Encoder(self.spec, weights=self.weights)


@cache
def twin() -> Twin:
    """Of the encoder that ``VOXPRINT_MODEL`` names, or of the default."""
    return twin_of(find_model())


def twin_of(spec: ModelSpec) -> Twin:
    """Of an encoder.

    Raises:
        UsageError: it has a denoising autoencoder, which was trained on everybody, too.
    """
    if isinstance(spec.denoise, PublishedFile):
        raise UsageError(
            f"expected an encoder that has a twin, got {spec.name}",
            hint="python -m benchmarks.training.denoising measures the autoencoder's.",
        )
    if spec.weights.name != "campplus_calls_192":
        return Twin(spec, None, ())
    return Twin(
        replace(
            spec,
            weights_sha256="19867212b8202733d6a765225845dbb3920c158a8d7334ebd865a67e32b47e62",
            weights_bytes=13_104_873,
        ),
        _WEIGHTS / "campplus_calls_192_fold_a.npz",
        ("A",),
    )
