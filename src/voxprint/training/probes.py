"""Features of the recordings that trial lists name, under every condition, as serving hears them.

Made by processes beside the training with serving's own code: decoded, damaged, speech found in
what is left, filterbank, heard frames. Kept in files, one a recording.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank
from voxprint.audio.speech import heard_frames, speech_windows
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import AudioError
from voxprint.training.corpus import speech_detector
from voxprint.types import Samples

Features = npt.NDArray[np.float16]
_TOGETHER = 8


@dataclass(frozen=True)
class Probes:
    """What is being made.

    Attributes:
        names: paths below the speech folder.
        conditions: of each.
        folder: where features are kept.
        made: futures of it, all to be done before :meth:`read`.
    """

    names: list[str]
    conditions: tuple[str, ...]
    folder: Path
    made: list[Future[None]]

    def read(self, name: str) -> list[Features | None]:
        """Features under every condition, mean over time taken off; None where that failed."""
        with np.load(self.folder / _kept(name)) as held:
            return [held[c] if c in held.files else None for c in self.conditions]


def start_probes(
    pool: Executor,
    corpora: Path,
    names: Sequence[str],
    conditions: tuple[str, ...],
    noises: Sequence[Path],
    folder: Path,
) -> Probes:
    """Have all features made.

    Args:
        pool: whose processes make them.
        corpora: folder of the corpora.
        names: paths below its speech folder.
        conditions: as ``voxprint.audio.degrade`` has them.
        noises: recordings that noise is taken from; not those that were trained with.
        folder: where they are kept, apart for each encoder and for all of the above.
    """
    folder = folder / probe_setting(corpora, conditions, noises)
    folder.mkdir(parents=True, exist_ok=True)
    made = [
        pool.submit(
            _make, corpora, list(names[at : at + _TOGETHER]), conditions, list(noises), folder
        )
        for at in range(0, len(names), _TOGETHER)
    ]
    return Probes(list(names), conditions, folder, made)


def probe_setting(corpora: Path, conditions: tuple[str, ...], noises: Sequence[Path]) -> str:
    """What decides about the features of a recording, as text: those made otherwise are not taken.

    Args:
        corpora, conditions, noises: as :func:`start_probes` takes them.
    """
    facts = [DEFAULT_MODEL.hash, str(corpora.absolute()), *conditions, *map(str, noises)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _kept(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24] + ".npz"


_NOISES: dict[Path, Samples] = {}


def _make(
    corpora: Path,
    names: Sequence[str],
    conditions: tuple[str, ...],
    noises: Sequence[Path],
    folder: Path,
) -> None:
    for path in noises:
        if path not in _NOISES:
            _NOISES[path] = decode(path).samples
    held = [_NOISES[path] for path in noises]
    for name in names:
        if (folder / _kept(name)).exists():
            continue
        found = {}
        # What cannot be heard counts as a failed trial, and stops nothing.
        with contextlib.suppress(AudioError):
            whole = decode(corpora / "speech" / name).samples
            for condition in conditions:
                with contextlib.suppress(AudioError):
                    found[condition] = _features(degrade(whole, condition, name, noises=held))
        part = folder / (_kept(name) + ".part.npz")
        np.savez(part, **found)  # type: ignore[arg-type]
        part.replace(folder / _kept(name))


def _features(samples: Samples) -> Features:
    spec = DEFAULT_MODEL
    detector = speech_detector()
    rows = fbank(samples, replace(spec.fbank, subtract_mean=False))
    windows = speech_windows(detector.probabilities(samples, rows), spec.speech)
    rows = rows[heard_frames(windows, len(rows), spec.fbank, spec.speech, detector.window)]
    return (rows - rows.mean(axis=0)).astype(np.float16)
