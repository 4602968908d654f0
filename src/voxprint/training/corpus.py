"""A folder of labelled speech -> what the network would hear of every recording.

Recordings are decoded, and their speech is found, by processes beside this one, with the code
that serving uses. What the network would not hear is cut out here already, so that no crop falls
on silence.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import decode
from voxprint.audio.speech import WINDOW, speech_windows, widened
from voxprint.encoder.sources import load_detector
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.encoder.vad import SpeechDetector
from voxprint.errors import AudioError, UsageError
from voxprint.training.config import Data
from voxprint.types import Samples

Pcm = npt.NDArray[np.int16]
Bools = npt.NDArray[np.bool_]

#: What is heard of a recording is at least this long, in seconds.
_SHORTEST = 0.3


@dataclass(frozen=True)
class Corpus:
    """Recordings, one an index.

    Attributes:
        names: path of each below the speech folder.
        speaker: int64, shape (n,), numbered from 0.
        speakers: ``set/speaker`` of every number.
        fold: ``A`` or ``B`` of each recording.
        heard: int16 samples at 16 kHz that the network would hear.
        speech: bool, for each window of 512 of these samples: does somebody speak in it.
        skipped: what could not be used, with the reason.
    """

    names: list[str]
    speaker: npt.NDArray[np.int64]
    speakers: list[str]
    fold: npt.NDArray[np.str_]
    heard: list[Pcm]
    speech: list[Bools]
    skipped: list[str]

    @property
    def seconds(self) -> float:
        """Of heard speech, all in all."""
        return sum(len(each) for each in self.heard) / 16000


def read_corpus(folder: Path, data: Data, pool: Executor) -> Corpus:
    """Decode what a configuration asks for.

    Args:
        folder: with ``speakers.tsv`` and ``speech/<set>/<speaker>/<file>``.
        data: which of it.
        pool: whose processes decode.

    Raises:
        UsageError: no such folder or table, unknown sets, or fewer than two speakers.
    """
    rows = [row for row in people(folder) if row["set"] in data.sets]
    if unknown := set(data.sets) - {row["set"] for row in rows}:
        raise UsageError(f"expected sets that {folder} holds, got {', '.join(sorted(unknown))}")
    if data.fold != "both":
        rows = [row for row in rows if row["fold"] == data.fold]
    jobs = [
        (path, f"{row['set']}/{row['speaker']}", row["fold"])
        for row in rows
        for path in _files(folder, row, data.most_files)
    ]
    found = pool.map(_hear, [job[0] for job in jobs], [data.most_seconds] * len(jobs), chunksize=8)
    corpus = Corpus([], np.empty(0, np.int64), [], np.empty(0, np.str_), [], [], [])
    speakers: dict[str, int] = {}
    owner, folds = [], []
    for (path, speaker, fold), result in zip(jobs, found, strict=True):
        name = f"{speaker}/{path.name}"
        if isinstance(result, str):
            corpus.skipped.append(f"{name}: {result}")
            continue
        corpus.names.append(name)
        owner.append(speakers.setdefault(speaker, len(speakers)))
        folds.append(fold)
        corpus.heard.append(result[0])
        corpus.speech.append(result[1])
    if len(speakers) < 2:
        raise UsageError(
            f"expected at least two speakers to tell apart in {folder}, got {len(speakers)}",
            hint=f"{len(corpus.skipped)} recordings could not be used.",
        )
    return Corpus(
        corpus.names,
        np.array(owner),
        list(speakers),
        np.array(folds),
        corpus.heard,
        corpus.speech,
        corpus.skipped,
    )


def noise_paths(folder: Path, which: str) -> list[Path]:
    """Recordings of noise that the table lists; of no room responses.

    Args:
        folder: of the corpora.
        which: ``train`` or ``measure`` for every other one, or ``all``.

    Raises:
        UsageError: no table.
    """
    rows = _table(folder / "noise" / "files.tsv")
    paths = [folder / "noise" / row["path"] for row in rows if row["kind"] == "noise"]
    return {"all": paths, "train": paths[::2], "measure": paths[1::2]}[which]


def read_noises(paths: Sequence[Path], pool: Executor) -> list[Samples]:
    """Decoded noises, float32 at 16 kHz."""
    return list(pool.map(_samples, paths))


def _samples(path: Path) -> Samples:
    return decode(path).samples


def people(folder: Path) -> list[dict[str, str]]:
    """Rows of the table of speakers."""
    return _table(folder / "speakers.tsv")


def _table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8") as table:
            return list(csv.DictReader(table, delimiter="\t"))
    except OSError as error:
        raise UsageError(f"expected a corpora folder with {path.name}, got {path}") from error


def _files(folder: Path, row: dict[str, str], most: int) -> list[Path]:
    found = sorted((folder / "speech" / row["set"] / row["speaker"]).iterdir())
    if most and len(found) > most:
        found = [found[i * len(found) // most] for i in range(most)]
    return found


_DETECTOR: list[SpeechDetector] = []


def speech_detector() -> SpeechDetector:
    """This process's own detector of speech."""
    if not _DETECTOR:
        spec = DEFAULT_MODEL
        graph = load_detector(spec)
        _DETECTOR.append(SpeechDetector(graph, warm_up=spec.speech.warm_up))
    return _DETECTOR[0]


def _hear(path: Path, most_seconds: float) -> tuple[Pcm, Bools] | str:
    """Heard samples and where they hold speech, or why there are none."""
    try:
        samples = decode(path).samples
        if not len(samples):
            return "empty"
        windows = speech_windows(speech_detector().probabilities(samples), DEFAULT_MODEL.speech)
    except AudioError as error:
        return str(error)
    if not windows.any():
        return "nobody speaks in it"
    kept = np.flatnonzero(widened(windows, DEFAULT_MODEL.speech.margin))
    # The last window may be cut short by the recording's end.
    pieces = [samples[at * WINDOW : (at + 1) * WINDOW] for at in kept]
    heard = np.concatenate(pieces)[: round(most_seconds * 16000)]
    if len(heard) < _SHORTEST * 16000:
        return f"only {len(heard) / 16000:.2f} s to be heard"
    speech = windows[kept][: -(-len(heard) // WINDOW)]
    return np.round(np.clip(heard, -1, 1) * 32767).astype(np.int16), speech


def one_thread() -> None:
    """What a process of the pool does first: libraries leave the other cores alone."""
    os.environ["OMP_NUM_THREADS"] = "1"
