"""Results: frozen values that every door (Python, CLI, SQL) gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Decision = Literal["accept", "reject", "inconclusive"]
Samples = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """One utterance as the encoder sees it.

    Attributes:
        vector: float32, shape (dim,), Euclidean length 1.
        model: name of the ``ModelSpec`` that made it; embeddings of different models are
            never compared.
        seconds: total duration.
        speech_seconds: net speech, at most ``seconds``.
        sample_rate: of the source, in Hz.
        sha256: hex digest of the encoded bytes (of the file), empty for bare samples.
        quality: facts about the recording, by name (``peak``, ``channels``, ...).
    """

    vector: Vector
    model: str
    seconds: float
    speech_seconds: float
    sample_rate: int
    sha256: str = ""
    quality: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What enrolling one utterance did.

    Attributes:
        speaker: the caller's name of the person.
        added: False where the same recording of the same person was already enrolled.
        utterances: how many utterances of this person (and model) are enrolled now.
        speech_seconds: net speech of all of them.
        utterance_id: of this utterance.
    """

    speaker: str
    added: bool
    utterances: int
    speech_seconds: float
    utterance_id: int


@dataclass(frozen=True, slots=True)
class Verification:
    """Is the probe the person it is claimed to be?

    Attributes:
        score: cosine between probe and voiceprint, in [-1, 1]; larger = more alike.
        threshold: accepted when ``score >= threshold``.
    """

    speaker: str
    decision: Decision
    score: float
    threshold: float
    model: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of an identification, best first; ``rank`` counts from 1."""

    rank: int
    speaker: str
    decision: Decision
    score: float
    threshold: float
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Are two utterances of one person? ``score`` as in :class:`Verification`."""

    decision: Decision
    score: float
    threshold: float
    model: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """A person of the gallery, as ``list`` shows it."""

    speaker: str
    status: str
    attributes: dict[str, Any]
    groups: tuple[str, ...]
    utterances: int
    speech_seconds: float


@dataclass(frozen=True, slots=True)
class Group:
    """A group (voiceprint library) with its number of members."""

    name: str
    description: str | None
    speakers: int


@dataclass(frozen=True, slots=True)
class Removal:
    """What ``forget`` removed.

    Attributes:
        tombstone: identifier of the record that somebody was forgotten; holds no personal data.
        removed: rows deleted, by table.
        scrub_pending: True while freed bytes may still lie in the data files.
        kept_by: what may hold copies of them even so (a standby, a log archive, ...).
    """

    tombstone: int
    removed: dict[str, int]
    scrub_pending: bool
    kept_by: tuple[str, ...] = ()


def vector_text(vector: Vector) -> str:
    """Return a float32 vector, shape (dim,), as pgvector reads it, without loss."""
    return "[" + ",".join(map(str, vector)) + "]"
