"""The recordings of a trial list as they are heard under several conditions, each once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import decode
from voxprint.audio.degrade import check_condition, degrade
from voxprint.audio.mixer import SAMPLE_RATE
from voxprint.errors import AudioError, FailureToAcquire, UsageError
from voxprint.score.naming import Recording
from voxprint.score.trials import TrialList
from voxprint.types import Embedding, Samples

if TYPE_CHECKING:
    from voxprint.encoder.embedder import Encoder

Rows = npt.NDArray[np.float64]
Outcome = Embedding | AudioError
#: Called with the name of a stage, what of it is done, and all there is to do.
Progress = Callable[[str, int, int], None]

#: The condition under which nothing is done to a recording.
UNCHANGED = "full"


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side of trials under one condition, by name of the list.

    Attributes:
        unit: float64, shape (names, dim), unit rows: the mean of a name's unit embeddings,
            brought back to length 1; NaN where none of its recordings could be acquired.
        speech_seconds: float64, shape (names,): net speech of all its recordings.
        quality: ``Embedding.quality`` of each recording acquired, for each name.
    """

    unit: Rows
    speech_seconds: Rows
    quality: tuple[tuple[dict[str, Any], ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What came of the recordings of a list.

    Attributes:
        outcomes: embedding or error, by row of the list's ``recordings`` and condition.
        dim: of the embeddings.
    """

    outcomes: dict[tuple[int, str], Outcome]
    dim: int

    def side(self, trials: TrialList, condition: str) -> Side:
        """All names of the list under one condition; those not heard under it are NaN."""
        unit = np.full((len(trials.names), self.dim), np.nan)
        seconds = np.full(len(trials.names), np.nan)
        quality: list[tuple[dict[str, Any], ...]] = []
        for name, parts in enumerate(trials.parts):
            got = [self.outcomes.get((part, condition)) for part in parts]
            acquired = [each for each in got if isinstance(each, Embedding)]
            quality.append(tuple(each.quality for each in acquired))
            if acquired:
                mean = np.mean([each.vector for each in acquired], axis=0, dtype=np.float64)
                unit[name] = mean / np.linalg.norm(mean)
                seconds[name] = sum(each.speech_seconds for each in acquired)
        return Side(unit, seconds, tuple(quality))

    def failures(self, wanted: Iterable[tuple[int, str]]) -> dict[str, int]:
        """How many of these recordings and conditions gave no embedding, by reason."""
        found = (self.outcomes[each] for each in wanted)
        return dict(Counter(reason(each) for each in found if isinstance(each, AudioError)))


def hear(
    trials: TrialList,
    encoder: Encoder,
    wanted: Mapping[int, Sequence[str]],
    *,
    noises: Sequence[Samples] = (),
    progress: Progress | None = None,
) -> Heard:
    """Embed recordings under the conditions wanted of each.

    Args:
        trials: the list.
        encoder: what embeds.
        wanted: conditions by row of ``trials.recordings``.
        noises: recordings of real noise, in place of pink noise.
        progress: called after each recording with the embeddings made and their total.

    Raises:
        UsageError: an unknown condition, or one that FFmpeg here has no codec for.
        VoxprintError: ``gsm`` without the extra ``evaluate``.
    """
    for condition in dict.fromkeys(c for conditions in wanted.values() for c in conditions):
        # Tried on silence first: what cannot be done is not found out after an hour.
        degrade(np.zeros(SAMPLE_RATE, np.float32), check_condition(condition))
    paths = trials.paths()
    outcomes: dict[tuple[int, str], Outcome] = {}
    total = sum(map(len, wanted.values()))

    def listen(row: int) -> dict[str, Outcome]:
        recording = trials.recordings[row]
        return _under(encoder, paths[row], recording, wanted[row], noises)

    with ThreadPoolExecutor(_cores(), thread_name_prefix="voxprint-evaluate") as pool:
        waiting = {row: pool.submit(listen, row) for row in wanted}
        try:
            for row, future in waiting.items():
                for condition, outcome in future.result().items():
                    outcomes[row, condition] = outcome
                if progress is not None:
                    progress("embedding", len(outcomes), total)
        finally:
            for future in waiting.values():
                future.cancel()
    return Heard(outcomes, encoder.spec.dim)


def _under(
    encoder: Encoder,
    path: Path,
    recording: Recording,
    conditions: Sequence[str],
    noises: Sequence[Samples],
) -> dict[str, Outcome]:
    samples: Samples | None = None
    outcomes: dict[str, Outcome] = {}
    for condition in conditions:
        try:
            if condition == UNCHANGED:
                outcomes[condition] = encoder.embed_file(path, channel=recording.channel)
                continue
            if samples is None:
                samples = decode(path, channel=recording.channel).samples
            heard = degrade(samples, condition, recording.path, noises=noises)
            outcomes[condition] = encoder.embed_samples(heard, SAMPLE_RATE)
        except AudioError as error:
            outcomes[condition] = error
    return outcomes


def read_noises(folder: str | os.PathLike[str]) -> list[Samples]:
    """All recordings of a folder, in order of their names; other files are passed over.

    Raises:
        UsageError: no such folder, or nothing in it is a recording.
    """
    noises: list[Samples] = []
    for path in _files(Path(folder)):
        try:
            noises.append(decode(path).samples)
        except AudioError:
            continue  # a table of licences beside the recordings
    if not noises:
        raise UsageError(f"expected a folder of recordings of noise, got {os.fspath(folder)}")
    return noises


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UsageError(f"cannot read the noises in {folder}: {error.strerror}") from error


def reason(error: AudioError) -> str:
    """Why a recording could not be acquired, in one word."""
    return (error.reason if isinstance(error, FailureToAcquire) else "") or error.code


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
