"""Calls put together from recordings, and every piece of them that a session would judge.

A speaker is enrolled by three recordings; four others with pauses between them make a call. Each
call runs through the product's session, whose judge only notes what it is asked.
"""

from __future__ import annotations

import csv
import hashlib
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import RawFormat, decode
from voxprint.audio.degrade import degrade
from voxprint.audio.stream import Incoming
from voxprint.encoder.embedder import Encoder
from voxprint.encoder.hearing import Hearing
from voxprint.errors import AudioError
from voxprint.live.session import Piece, Session
from voxprint.types import Embedding, LiveDecision, Look, Samples

SET = "speechocean762"
CONDITIONS = ("full", "noise10", "mulaw8k")
_ENROLLED, _TOGETHER, _CALLS = 3, 4, 3
_RATE = 16000
_CHUNK = 320
#: An LLR that no change is seen in.
_SURE = 100.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Noted:
    """A piece that was judged.

    Attributes:
        vector: shape (dim,), unit length.
        speech_seconds: net speech of it.
        snr_db, bandwidth_hz: of the line, as the session measured them.
    """

    vector: npt.NDArray[np.float32]
    speech_seconds: float
    snr_db: float
    bandwidth_hz: float


@dataclass(frozen=True)
class Call:
    """One call: of whom, under what, looks at all speech so far, and its blocks alone."""

    speaker: str
    condition: str
    looks: list[Noted]
    blocks: list[Noted]


@dataclass(frozen=True)
class Person:
    """Who is enrolled: unit mean of the recordings, and their net speech in seconds."""

    speaker: str
    reference: Floats
    speech_seconds: float
    calls: list[Call]


class _Notes:
    """A judge that says the same of everything, and notes what it is asked."""

    def __init__(self, decision: LiveDecision) -> None:
        self._decision = decision
        self.asked: list[Noted] = []

    def look(self, probe: Piece, quality: dict[str, Any], **_session: Any) -> Look:
        line = quality["snr_db"], quality["bandwidth_hz"]
        self.asked.append(Noted(probe.vector, probe.speech_seconds, *line))
        return Look(
            speaker="",
            decision=self._decision,
            score=1.0,
            llr=_SURE,
            accept_llr=0.0,
            reject_llr=0.0,
            far=0.01,
            frr=0.05,
            reasons=(),
            channel="any",
            cohort=0,
            model="",
            calibration=0,
            decision_id=None,
        )


def people(corpora: Path, fold: str, work: Path, most: int = 0) -> list[Person]:
    """Everybody of the set and fold with enough recordings; what is heard is kept."""
    with (corpora / "speakers.tsv").open(encoding="utf-8") as table:
        names = [
            row["speaker"]
            for row in csv.DictReader(table, delimiter="\t")
            if row["set"] == SET and row["fold"] == fold
        ]
    work.mkdir(parents=True, exist_ok=True)
    jobs = [(corpora, name, work) for name in names[: most or None]]
    with ProcessPoolExecutor(2) as pool:
        return [person for person in pool.map(_person, jobs) if person is not None]


_ENCODER: list[Encoder] = []


def _person(job: tuple[Path, str, Path]) -> Person | None:
    corpora, name, work = job
    if not _ENCODER:
        _ENCODER.append(Encoder())
    encoder = _ENCODER[0]
    kept = work / f"{encoder.spec.hash[:12]}-{name}.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())  # our own
    found = _heard(encoder, corpora / "speech" / SET / name)
    part = kept.with_suffix(".part")
    part.write_bytes(pickle.dumps(found))
    part.replace(kept)
    return found


def _heard(encoder: Encoder, folder: Path) -> Person | None:
    files = sorted(folder.glob("*.opus"))
    # Not sorted by name: names follow what was said.
    files.sort(key=lambda file: hashlib.sha256(f"{folder.name}/{file.name}".encode()).digest())
    recordings = [decode(file).samples for file in files]
    enrolled, rest = [], []
    for samples in recordings:
        heard = _embedded(encoder, samples) if len(enrolled) < _ENROLLED else None
        if heard is None:
            rest.append(samples)
        else:
            enrolled.append(heard)
    if len(enrolled) < _ENROLLED or len(rest) < _TOGETHER:
        return None
    mean = np.mean([each.vector for each in enrolled], axis=0, dtype=np.float64)
    return Person(
        speaker=folder.name,
        reference=mean / np.linalg.norm(mean),
        speech_seconds=sum(each.speech_seconds for each in enrolled),
        calls=list(_calls(encoder, folder.name, rest)),
    )


def _embedded(encoder: Encoder, samples: Samples) -> Embedding | None:
    """None where nobody is found to speak: no reference, but calls have such, too."""
    try:
        return encoder.embed_samples(samples, _RATE)
    except AudioError:
        return None


def _calls(encoder: Encoder, speaker: str, recordings: list[Samples]) -> Iterator[Call]:
    random = np.random.default_rng(
        int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:4], "big")
    )
    for number in range(min(_CALLS, len(recordings) // _TOGETHER)):
        said = recordings[number * _TOGETHER : (number + 1) * _TOGETHER]
        pauses = random.uniform(0.2, 1.2, len(said))
        parts = [
            part
            for samples, pause in zip(said, pauses, strict=True)
            for part in (samples, np.zeros(round(_RATE * pause), np.float32))
        ]
        whole = np.concatenate(parts)
        whole += random.normal(0, 3e-5, len(whole)).astype(np.float32)
        for condition in CONDITIONS:
            damaged = degrade(whole, condition, seed=f"{speaker}/{number}")
            yield _watched(encoder, speaker, condition, damaged)


def _watched(encoder: Encoder, speaker: str, condition: str, samples: Samples) -> Call:
    """Both what is asked before a decision and what is asked after one."""
    made: dict[bytes, npt.NDArray[np.float32]] = {}

    def embed(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        key = hashlib.sha256(features.tobytes()).digest()
        if key not in made:
            made[key] = encoder.embed_features(features)
        return made[key]

    asked = []
    for decision in ("undecided", "accept"):
        notes = _Notes(decision)
        raw = RawFormat(_RATE, "f32le")
        session = Session(notes, Incoming(raw), Hearing.of(encoder), embed, _RATE)
        for at in range(0, len(samples), _CHUNK):
            session.feed(samples[at : at + _CHUNK])
        asked.append(notes.asked)
    # After the look that decided, each block is judged alone and then with those before it.
    return Call(speaker, condition, asked[0], asked[1][1::2])
