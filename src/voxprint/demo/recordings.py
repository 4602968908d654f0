"""What the demonstration speaks with: real recordings of a folder, or synthetic voices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from voxprint.api import folder_files
from voxprint.demo.voices import VOICES, Synthesizer
from voxprint.errors import UsageError

MAX_SPEAKERS = 20
MAX_FILES = 6


@dataclass(frozen=True, slots=True)
class Person:
    """A speaker with the recordings to enrol and those kept unseen to probe with."""

    name: str
    enrolled: tuple[Path, ...]
    probes: tuple[Path, ...]


def synthetic(folder: Path) -> list[Person]:
    """Speak six sentences in six voices into ``folder`` and return them.

    Raises:
        VoxprintError: espeak-ng is not installed.
    """
    speak(folder)
    return of_folder(folder, take_all=True)[0]


def speak(folder: Path) -> None:
    """Write the synthetic voices to ``folder``/<speaker>/<number>.wav.

    Raises:
        VoxprintError: espeak-ng is not installed.
    """
    synthesizer = Synthesizer()
    for voice in VOICES:
        home = folder / voice.speaker
        home.mkdir(parents=True, exist_ok=True)
        for number, audio in enumerate(synthesizer.utterances(voice), 1):
            (home / f"{number}.wav").write_bytes(audio)


def of_folder(folder: Path, *, take_all: bool) -> tuple[list[Person], str]:
    """Return the people of a folder laid out ``<speaker>/<file>``, and what was left out.

    Half of a person's recordings are enrolled, the rest are probes.

    Raises:
        UsageError: fewer than two people have two recordings.
    """
    by_speaker: dict[str, list[Path]] = {}
    for speaker, file in folder_files(folder):
        by_speaker.setdefault(speaker, []).append(file)
    usable = {speaker: files for speaker, files in by_speaker.items() if len(files) > 1}
    if len(usable) < 2:
        raise UsageError(
            f"at least two speakers with two recordings each are needed, "
            f"{folder} has {len(usable)}",
            hint="lay the folder out <speaker>/<file>",
        )
    speakers = list(usable)[: None if take_all else MAX_SPEAKERS]
    people = []
    for speaker in speakers:
        files = usable[speaker][: None if take_all else MAX_FILES]
        half = len(files) // 2
        people.append(Person(speaker, tuple(files[:half]), tuple(files[half:])))
    taken = sum(len(person.enrolled) + len(person.probes) for person in people)
    total = sum(map(len, by_speaker.values()))
    left = ""
    if taken < total:
        left = (
            f"taken: {len(people)} of {len(by_speaker)} speakers, {taken} of {total} recordings "
            f"(at most {MAX_SPEAKERS} x {MAX_FILES}; ALL=1 takes all)"
        )
    return people, left
