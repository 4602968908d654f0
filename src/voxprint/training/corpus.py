"""A folder of labelled speech -> what the network would hear of every recording.

Recordings are decoded, and their speech is found, by processes beside this one, with the code
that serving uses. What the network would not hear is cut out here already, so that no crop falls
on silence.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import decode
from voxprint.audio.speech import WINDOW, speech_windows, widened, windows_in
from voxprint.encoder.detector import Detector, open_detector
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import AudioError, UsageError
from voxprint.training.config import Data
from voxprint.types import Samples

Pcm = npt.NDArray[np.int16]
Bools = npt.NDArray[np.bool_]

#: What is heard of a recording is at least this long, in seconds.
_SHORTEST = 0.3
#: So many of those that could not be used are named in an error.
_NAMED = 5


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
    rows = people(folder)
    known = {row["set"] for row in rows}
    if unknown := set(data.sets) - known:
        raise UsageError(
            f"expected sets that {folder} holds ({', '.join(sorted(known))}), "
            f"got {', '.join(sorted(unknown))}"
        )
    corpus = Corpus([], np.empty(0, np.int64), [], np.empty(0, np.str_), [], [], [])
    jobs: list[tuple[Path, str, str]] = []
    for row in rows:
        if row["set"] in data.sets and data.fold in ("both", row["fold"]):
            speaker = f"{row['set']}/{row['speaker']}"
            paths = files_of(folder / "speech" / speaker, data.most_files)
            jobs += [(path, speaker, row["fold"]) for path in paths]
            if not paths:
                corpus.skipped.append(f"{speaker}: no recordings")
    found = pool.map(_hear, [job[0] for job in jobs], [data.most_seconds] * len(jobs), chunksize=8)
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
        some = "; ".join(corpus.skipped[:_NAMED])
        raise UsageError(
            f"expected at least two speakers to tell apart in {folder}, got {len(speakers)}",
            hint=f"{len(corpus.skipped)} could not be used: {some}." if some else "",
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
    rows = _table(folder / "noise" / "files.tsv", ("path", "kind"))
    paths = [folder / "noise" / row["path"] for row in rows if row["kind"] == "noise"]
    return {"all": paths, "train": paths[::2], "measure": paths[1::2]}[which]


def read_noises(
    paths: Sequence[Path], pool: Executor
) -> tuple[dict[Path, Samples], dict[Path, str]]:
    """Noises, and why there are none of some.

    Returns:
        float32 samples at 16 kHz by path, and the reason by path where a file cannot be used.
    """
    found = dict(zip(paths, pool.map(_sound, paths), strict=True))
    return (
        {path: each for path, each in found.items() if not isinstance(each, str)},
        {path: each for path, each in found.items() if isinstance(each, str)},
    )


def _sound(path: Path) -> Samples | str:
    try:
        samples = decode(path).samples
    except AudioError as error:
        return str(error)
    return samples if len(samples) else "empty"


def people(folder: Path) -> list[dict[str, str]]:
    """Rows of the table of speakers, with at least ``set``, ``speaker`` and ``fold``.

    Raises:
        UsageError: no such table, or a column is missing.
    """
    return _table(folder / "speakers.tsv", ("set", "speaker", "fold"))


def _table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as table:
            reader = csv.DictReader(table, delimiter="\t")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"expected a corpora folder with the table {path.name}, got {path}: {error}",
            hint="docs/training.md says how the folder is laid out.",
        ) from error
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise UsageError(f"expected the tab-separated columns {', '.join(missing)} in {path}")
    if any(row[name] is None for row in rows for name in columns):
        raise UsageError(f"expected as many columns in every line as the first of {path} has")
    return rows


def files_of(folder: Path, most: int) -> list[Path]:
    """Recordings of one speaker, ``most`` of them drawn evenly; none where there is no folder."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    if most and len(found) > most:
        found = [found[i * len(found) // most] for i in range(most)]
    return found


_DETECTOR: list[Detector] = []


def speech_detector() -> Detector:
    """This process's own detector of speech."""
    if not _DETECTOR:
        _DETECTOR.append(open_detector(DEFAULT_MODEL))
    return _DETECTOR[0]


def _hear(path: Path, most_seconds: float) -> tuple[Pcm, Bools] | str:
    """Heard samples and where they hold speech, or why there are none."""
    try:
        samples = decode(path).samples
        if not len(samples):
            return "empty"
        detector = speech_detector()
        windows = speech_windows(detector.probabilities(samples), DEFAULT_MODEL.speech)
    except AudioError as error:
        return str(error)
    if not windows.any():
        return "nobody speaks in it"
    margin = windows_in(DEFAULT_MODEL.speech.margin, detector.window)
    # The last window may be cut short by the recording's end.
    kept = np.repeat(widened(windows, margin), detector.window)[: len(samples)]
    spoken = np.repeat(windows, detector.window)[: len(samples)][kept]
    heard = samples[kept][: round(most_seconds * 16000)]
    if len(heard) < _SHORTEST * 16000:
        return f"only {len(heard) / 16000:.2f} s to be heard"
    # Mostly speech, where the detector's windows are shorter.
    count = -(-len(heard) // WINDOW)
    blocks = [spoken[at * WINDOW : (at + 1) * WINDOW] for at in range(count)]
    speech = np.array([np.count_nonzero(each) * 2 > len(each) for each in blocks])
    return np.round(np.clip(heard, -1, 1) * 32767).astype(np.int16), speech
