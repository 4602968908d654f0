"""Embeddings of recordings behind several front ends, kept between runs.

Speech is found once, before any front end takes something off, as serving does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import say
from voxprint.audio.decode import decode
from voxprint.audio.degrade import degrade
from voxprint.audio.fbank import fbank
from voxprint.audio.speech import heard_frames, pause_frames, speech_windows
from voxprint.encoder.denoiser import Denoiser
from voxprint.encoder.session import open_session
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import AudioError
from voxprint.training.corpus import speech_detector
from voxprint.types import Samples

Floats = npt.NDArray[np.float32]
#: Recordings after which what is done is written down.
_TOGETHER = 25


def embed(
    paths: Sequence[Path],
    conditions: Sequence[str],
    fronts: Mapping[str, Denoiser],
    graph: bytes,
    noises: Sequence[Samples],
    file: Path,
) -> Floats:
    """Unit embeddings of recordings, goes on where a file of them breaks off.

    Args:
        paths: of recordings; the noise that one meets is drawn from ``speaker/name`` of it.
        conditions: of each; ``full`` is the first.
        fronts: denoisers by name.
        graph: of the network.
        noises: recorded, float32 at 16 kHz.
        file: ``.npy`` that they are kept in, one for all of the above.

    Returns:
        float32, shape (conditions, paths, fronts, dim); NaN where nothing could be heard.
    """
    session = open_session(graph)
    shape = (len(conditions), len(fronts), DEFAULT_MODEL.dim)
    known = np.load(file) if file.exists() else np.empty((0, *shape), np.float32)
    for at in range(len(known), len(paths), _TOGETHER):
        some = paths[at : at + _TOGETHER]
        found = np.full((len(some), *shape), np.nan, np.float32)
        for row, path in zip(found, some, strict=True):
            _embed_one(row, path, conditions, fronts, session, noises)
        known = np.concatenate([known, found])
        part = file.with_suffix(".part.npy")
        np.save(part, known)
        part.replace(file)
        say(f"  {len(known)} of {len(paths)} recordings embedded")
    return known.transpose(1, 0, 2, 3)


def _embed_one(
    row: Floats,
    path: Path,
    conditions: Sequence[str],
    fronts: Mapping[str, Denoiser],
    session: Any,
    noises: Sequence[Samples],
) -> None:
    whole = decode(path).samples
    seed = "/".join(path.parts[-3:])
    for cell, condition in zip(row, conditions, strict=True):
        samples = degrade(whole, condition, seed, noises=noises)
        if condition != "full" and samples is whole:  # too short to be cut
            cell[:] = row[0]
            continue
        try:
            heard = _heard(samples, fronts)
        except AudioError:
            continue  # counted as a failed trial
        cell[:] = [_unit(session, rows) for rows in heard]


def _heard(samples: Samples, fronts: Mapping[str, Denoiser]) -> list[Floats]:
    """What the network hears behind each front end."""
    config, limits = DEFAULT_MODEL.fbank, DEFAULT_MODEL.speech
    windows = speech_windows(speech_detector().probabilities(samples), limits)
    features = fbank(samples, replace(config, subtract_mean=False))
    pauses = pause_frames(windows, len(features), config)
    heard = heard_frames(windows, len(features), config, limits)
    return [denoise(features, pauses, heard) for denoise in fronts.values()]


def _unit(session: Any, rows: Floats) -> Floats:
    centred = rows - rows.mean(axis=0, keepdims=True)
    (vector,) = session.run(["embedding"], {"features": centred[np.newaxis]})[0]
    return np.asarray(vector / np.linalg.norm(vector))
