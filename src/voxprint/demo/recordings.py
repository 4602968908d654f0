"""What the demonstration speaks with: real recordings of a folder, or synthetic voices."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxprint.audio.decode import decode
from voxprint.audio.mixer import SAMPLE_RATE
from voxprint.demo.voices import VOICES, synthesizer
from voxprint.errors import UsageError
from voxprint.service.layout import folder_files
from voxprint.types import Embedding, Samples

MAX_SPEAKERS = 20
MAX_FILES = 6


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording that could be embedded."""

    path: Path
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class Person:
    """A speaker with the recordings to enrol and those kept unseen to probe with."""

    name: str
    enrolled: tuple[Recording, ...]
    probes: tuple[Recording, ...]


def speak(folder: Path) -> None:
    """Write the synthetic voices to ``folder``/<speaker>/<number>.wav.

    Raises:
        VoxprintError: espeak-ng is not installed.
    """
    spoken = synthesizer()
    for voice in VOICES:
        home = folder / voice.speaker
        home.mkdir(parents=True, exist_ok=True)
        for number, audio in enumerate(spoken.utterances(voice), 1):
            (home / f"{number}.wav").write_bytes(audio)


def choose(folder: Path, *, take_all: bool) -> tuple[list[tuple[str, Path]], str]:
    """Return (speaker, file) for what is taken of a folder, and what was left out, in words.

    Raises:
        UsageError: the folder is not laid out <speaker>/<file>.
    """
    by_speaker: dict[str, list[Path]] = {}
    for speaker, file in folder_files(folder):
        by_speaker.setdefault(speaker, []).append(file)
    people = list(by_speaker.items())[: None if take_all else MAX_SPEAKERS]
    taken = [
        (name, file) for name, all_ in people for file in all_[: None if take_all else MAX_FILES]
    ]
    total = sum(map(len, by_speaker.values()))
    if len(taken) == total:
        return taken, ""
    return taken, (
        f"taken: {len(people)} of {len(by_speaker)} speakers, {len(taken)} of {total} recordings "
        f"(at most {MAX_SPEAKERS} x {MAX_FILES}; ALL=1 takes all)"
    )


def people_of(recordings: Iterable[tuple[str, Recording]]) -> list[Person]:
    """Sort usable recordings by person: the first half is enrolled, the rest are probes.

    Raises:
        UsageError: fewer than two people have two recordings.
    """
    by_speaker: dict[str, list[Recording]] = {}
    for speaker, recording in recordings:
        by_speaker.setdefault(speaker, []).append(recording)
    people = [
        Person(name, tuple(all_[: len(all_) // 2]), tuple(all_[len(all_) // 2 :]))
        for name, all_ in by_speaker.items()
        if len(all_) > 1
    ]
    if len(people) < 2:
        raise UsageError(
            f"at least two speakers with two usable recordings each are needed, {len(people)} came",
            hint="lay the folder out <speaker>/<file>",
        )
    return people


def loudest(path: Path, seconds: float) -> bytes:
    """Return the loudest ``seconds`` of a recording as a WAVE file: what a cut-off call leaves."""
    samples = decode(path).samples
    length = min(samples.size, int(seconds * SAMPLE_RATE))
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return _wave(samples[start : start + length])


def joined(paths: Iterable[Path]) -> bytes:
    """Return recordings one after the other as one WAVE file."""
    return _wave(np.concatenate([decode(path).samples for path in paths]))


def _wave(samples: Samples) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
