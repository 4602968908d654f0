"""Enrolling a folder of recordings, beside embedding the same samples and nothing else."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import voxprint
from benchmarks.report import Row, say
from benchmarks.site import folder
from benchmarks.speech import RATE, Speech
from benchmarks.timing import median, seconds_of
from voxprint.audio.decode import decode
from voxprint.service.layout import folder_files
from voxprint.types import Samples
from voxprint.worker.settings import default_processes

_BAR = 1.3
_ROUNDS = 10
_A_SPEAKER = 5
_SHORTEST, _LONGEST = 2.0, 6.0


def run(*, quick: bool) -> list[Row]:
    """1,000 utterances in ten parts: each enrolled, and embedded, in turns.

    The parts share one server and one encoder. Then the command line enrols all of them into
    a server of its own, whose start is part of its time.
    """
    count = 40 if quick else 1000
    with folder() as home:
        files = _write(home / "voices", count)
        rounds = 2 if quick else _ROUNDS
        parts = [files[i::rounds] for i in range(rounds)]
        pure, whole = _in_turns(home, parts)
        command = _command(home)
    total = sum(pure)
    ratios = [a / b for a, b in zip(whole, pure, strict=True)]
    name = f"{count:,} utterances of {_SHORTEST:g}–{_LONGEST:g} s"
    return [
        Row.at_most(f"{name}: enrolling ÷ embedding", sum(whole) / total, _BAR, digits=2),
        Row.fact(f"{name}: the same, median of {len(ratios)} parts", median(ratios), digits=2),
        Row.fact(f"{name}: embedding alone, {default_processes()} threads", total, "s", 1),
        Row.fact(f"{name}: enrolling (`enroll_files`)", sum(whole), "s", 1),
        Row.fact(f"{name}: `voxprint enroll --folder`, from start to exit", command, "s", 1),
    ]


def _write(root: Path, count: int) -> list[tuple[str, Path]]:
    """WAV and Opus by turns, ``<speaker>/<file>``."""
    say(f"folder: writing {count} recordings")
    speech = Speech(seed=2)
    for i in range(count):
        path = root / f"speaker{i // _A_SPEAKER:04d}" / f"{i}{('.wav', '.opus')[i % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        speech.write(path, speech.length(_SHORTEST, _LONGEST))
    return folder_files(root)


def _in_turns(home: Path, parts: list[list[tuple[str, Path]]]) -> tuple[list[float], list[float]]:
    pure, whole = [], []
    with voxprint.open(home / "data") as gallery:
        gallery.encoder.embed(Speech(seed=3).samples(3), RATE)
        for i, part in enumerate(parts):
            samples = [decode(path).samples for _, path in part]
            if i % 2:
                pure.append(seconds_of(_embed, gallery.encoder, samples))
            whole.append(seconds_of(_enroll, gallery, part))
            if not i % 2:
                pure.append(seconds_of(_embed, gallery.encoder, samples))
            say(f"folder: part {i + 1} of {len(parts)}: {whole[-1]:.1f} / {pure[-1]:.1f} s")
    return pure, whole


def _embed(encoder: voxprint.Encoder, utterances: list[Samples]) -> None:
    with ThreadPoolExecutor(default_processes()) as pool:
        for _ in pool.map(lambda samples: encoder.embed(samples, RATE), utterances):
            pass


def _enroll(gallery: voxprint.Voxprint, part: list[tuple[str, Path]]) -> None:
    added = [getattr(result, "added", False) for _, _, result in gallery.enroll_files(part)]
    if not all(added):
        raise RuntimeError(f"{added.count(False)} of {len(part)} recordings were not enrolled")


def _command(home: Path) -> float:
    say("folder: voxprint enroll --folder")
    command = [sys.executable, "-m", "voxprint", "enroll", "--folder", str(home / "voices")]
    command += ["--data", str(home / "another")]
    return seconds_of(lambda: subprocess.run(command, check=True, capture_output=True))
