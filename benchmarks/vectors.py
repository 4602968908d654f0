"""Embeddings of the corpora, made once and kept between runs.

Measuring takes seconds and embedding 4.7 hours of speech takes minutes, so the vectors are
kept in a file named by everything they depend on but this package's own audio code: after a
change of that, run with ``--fresh``.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import decode
from voxprint.audio.degrade import loudest
from voxprint.encoder.embedder import Encoder
from voxprint.errors import AudioError
from voxprint.service.conditions import reason


@dataclass(frozen=True)
class Vectors:
    """Unit embeddings of recordings under one condition.

    Attributes:
        row: of each recording in ``unit``, by path below the corpora's speech folder.
        unit: float64, shape (n, dim); NaN where there was nothing to embed.
        reasons: shape (n,), why not; empty where there is an embedding.
    """

    row: dict[str, int]
    unit: npt.NDArray[np.float64]
    reasons: npt.NDArray[np.str_]

    def of(self, files: Sequence[str]) -> npt.NDArray[np.float64]:
        return self.unit[[self.row[name] for name in files]]

    def failures(self, files: Sequence[str]) -> dict[str, int]:
        why = self.reasons[[self.row[name] for name in files]]
        return dict(Counter(str(reason) for reason in why if reason))


def vectors(
    encoder: Encoder,
    speech: Path,
    files: Sequence[str],
    *,
    seconds: float | None,
    cache: Path,
    fresh: bool = False,
) -> Vectors:
    """Embeddings of ``files``, whole or cut to their loudest ``seconds``."""
    names = sorted(files)
    content = hashlib.sha256("\n".join(names).encode()).hexdigest()
    condition = "whole" if seconds is None else f"{seconds:g}s"
    kept = cache / f"vectors-{encoder.spec.hash[:16]}-{condition}-{content[:8]}.npz"
    if fresh or not kept.exists():
        unit, reasons = _embed(encoder, [speech / name for name in names], seconds, condition)
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".part.npz")
        np.savez(unfinished, unit=unit, reasons=reasons)
        unfinished.replace(kept)
    with np.load(kept) as stored:
        row = {name: i for i, name in enumerate(names)}
        return Vectors(row, stored["unit"].astype(np.float64), stored["reasons"])


def _embed(
    encoder: Encoder, paths: Sequence[Path], seconds: float | None, condition: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.str_]]:
    unit = np.full((len(paths), encoder.spec.dim), np.nan, dtype=np.float32)
    reasons = np.full(len(paths), "", dtype="U40")
    outcomes = _whole(encoder, paths) if seconds is None else _cut(encoder, paths, seconds)
    for i, outcome in enumerate(outcomes):
        if isinstance(outcome, AudioError):
            reasons[i] = reason(outcome)
        else:
            unit[i] = outcome
        if not i % 100 or i + 1 == len(paths):
            print(f"\r{condition}: {i + 1} of {len(paths)} embedded", end="", file=sys.stderr)
    print(file=sys.stderr)
    return unit, reasons


def _whole(
    encoder: Encoder, paths: Sequence[Path]
) -> Iterator[npt.NDArray[np.float32] | AudioError]:
    for _, outcome in encoder.embed_files(paths):
        yield outcome if isinstance(outcome, AudioError) else outcome.vector


def _cut(
    encoder: Encoder, paths: Sequence[Path], seconds: float
) -> Iterator[npt.NDArray[np.float32] | AudioError]:
    def one(path: Path) -> npt.NDArray[np.float32] | AudioError:
        try:
            return encoder.embed(loudest(decode(path).samples, seconds), 16000)
        except AudioError as error:
            return error

    with ThreadPoolExecutor() as pool:
        yield from pool.map(one, paths)
