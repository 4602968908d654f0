"""Results: frozen values that every door (Python, CLI, SQL) gives back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
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


#: What a verb takes for a voice: a path, the bytes of an encoded file, or an embedding.
Voice = str | os.PathLike[str] | bytes | Embedding


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """What is to be enrolled: an embedding, and what it was made of.

    Attributes:
        voice: as it was given, for messages.
        embedding: of it.
        recording: the encoded bytes, where they are to be stored.
    """

    voice: Voice
    embedding: Embedding
    recording: bytes | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Another person whose voice the one enrolled seems to be.

    Attributes:
        speaker: the caller's name of that other person.
        score: cosine between the voices, in [-1, 1].
        llr: the same as a calibrated log-likelihood ratio; None without a calibration.
    """

    speaker: str
    score: float
    llr: float | None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What enrolling one utterance did.

    Attributes:
        speaker: the caller's name of the person.
        added: False where the same recording of the same person was already enrolled.
        utterances: how many utterances of this person (and model) are enrolled now.
        speech_seconds: net speech of all of them.
        utterance_id: of this utterance.
        ready: whether that is enough net speech to decide by.
        speech_needed: seconds of net speech still lacking; 0 where ``ready``.
        reasons: what is to be said against the utterance, in machine-readable words
            (``noisy``, ``clipped``, ``narrowband``, ...); empty where nothing is.
        duplicates: other people whose voice this seems to be.
    """

    speaker: str
    added: bool
    utterances: int
    speech_seconds: float
    utterance_id: int
    ready: bool
    speech_needed: float
    reasons: tuple[str, ...]
    duplicates: tuple[Duplicate, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """Is the probe the person it is claimed to be?

    Score, log-likelihood ratio and decision are three things, and none is a probability.

    Attributes:
        speaker: the person claimed.
        decision: ``accept`` where ``llr >= threshold_llr``, ``reject`` where
            ``llr < reject_llr``, ``inconclusive`` between them; with a fixed threshold, or
            without a calibration, by ``score`` alone.
        score: cosine between probe and voiceprint, in [-1, 1]; larger = more alike.
        llr: calibrated log-likelihood ratio, natural log; None where it cannot be computed.
        threshold_llr, reject_llr: between which an answer is inconclusive; None where the
            decision rests on the score.
        far: the false-accept rate that the thresholds are for, in (0, 1).
        reasons: why, or what to know about it, in machine-readable words (``short``,
            ``noisy``, ``small_cohort``, ``uncalibrated``, ...).
        watchlists: watchlist groups with a member whose voice this seems to be.
        channel: of the voiceprint compared with: ``wideband``, ``telephone`` or ``any``.
        cohort: number of other voiceprints that the score was normalised by.
        model: the encoder's name.
        calibration: identifier of the calibration that decided; None without one.
        decision_id: of its record in the decision log; None where it was not recorded.
    """

    speaker: str
    decision: Decision
    score: float
    llr: float | None
    threshold_llr: float | None
    reject_llr: float | None
    far: float | None
    reasons: tuple[str, ...]
    watchlists: tuple[str, ...]
    channel: str
    cohort: int | None
    model: str
    calibration: int | None
    decision_id: int | None


#: What is known of a person while they speak.
LiveDecision = Literal["undecided", "accept", "reject", "changed"]


@dataclass(frozen=True, slots=True)
class Look:
    """What speech so far says about a claim, judged while more is to come.

    Attributes:
        speaker: the person claimed.
        decision: ``undecided`` while ``reject_llr < llr < accept_llr``; ``changed`` where
            another voice has taken over.
        score, llr, reasons, channel, cohort, model, calibration: as in :class:`Verification`.
        accept_llr, reject_llr: bounds of the sequential test.
        far, frr: the rates that the bounds are for, in (0, 1).
        decision_id: of its record in the decision log; None where nothing was decided anew.
    """

    speaker: str
    decision: LiveDecision
    score: float
    llr: float
    accept_llr: float
    reject_llr: float
    far: float
    frr: float
    reasons: tuple[str, ...]
    channel: str
    cohort: int
    model: str
    calibration: int
    decision_id: int | None


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """What is known at one moment of a call.

    Attributes:
        at: seconds of sound that had come.
        speech_seconds: net speech among them.
        decision: ``undecided``, ``accept`` or ``reject``; ``changed`` at the moment when another
            voice is found to have taken over, after which it is decided anew.
        llr: log-likelihood ratio of the speech that counts (the last nine seconds at most, and
            only what came after a change), natural log.
        score: its cosine, in [-1, 1].
        accept_llr, reject_llr: bounds of the sequential test.
        change_llr: evidence that another voice has taken over, natural log, >= 0; None before
            anything is decided.
        reasons: what to know about it, in machine-readable words.
        decision_id: of the record in the decision log, where this event decides something.
    """

    at: float
    speech_seconds: float
    decision: LiveDecision
    llr: float
    score: float
    accept_llr: float
    reject_llr: float
    change_llr: float | None
    reasons: tuple[str, ...]
    decision_id: int | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of an identification, best first; further fields as in :class:`Verification`.

    Attributes:
        rank: from 1.
        threshold_llr: accepted from here; it accounts for the number of people searched.
        margin: how far the LLR lies above that of the next person (the score, where there is
            no LLR); None for the last.
        attributes: the person's free attributes.
    """

    rank: int
    speaker: str
    decision: Decision
    score: float
    llr: float | None
    threshold_llr: float | None
    margin: float | None
    reasons: tuple[str, ...]
    attributes: dict[str, Any]
    channel: str
    calibration: int | None
    decision_id: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Are two utterances of one person? Fields as in :class:`Verification`."""

    decision: Decision
    score: float
    llr: float | None
    threshold_llr: float | None
    reject_llr: float | None
    far: float | None
    reasons: tuple[str, ...]
    cohort: int | None
    model: str
    calibration: int | None


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
    """A group (voiceprint library) with its number of members.

    A ``watchlist`` is one that verifications can be checked against.
    """

    name: str
    description: str | None
    speakers: int
    watchlist: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well one utterance of a person agrees with the person's others.

    Attributes:
        utterance_id: of the utterance.
        channel: it came by, as of :class:`Verification`.
        score: cosine to the more central half of the others; None where there is no other.
        llr: the same as a calibrated log-likelihood ratio; None without a calibration.
        outlier: whether it seems to be of another voice.
        created_at: when it was enrolled.
    """

    utterance_id: int
    channel: str
    score: float | None
    llr: float | None
    outlier: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SameVoice:
    """Two names in the gallery that seem to be of one voice; ``score`` and ``llr`` as ever."""

    speaker: str
    other: str
    score: float
    llr: float | None


@dataclass(frozen=True, slots=True)
class Removal:
    """What ``forget`` or ``remove_utterance`` removed.

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


@dataclass(frozen=True, slots=True)
class Migration:
    """What became of a gallery that another model was to hear.

    Attributes:
        model: that was to hear it.
        heard: recordings it has heard now.
        refused: recordings it could not take, as (speaker, number of the utterance, why).
        again: people without a voiceprint of this model; they must be enrolled again.
    """

    model: str
    heard: int
    refused: tuple[tuple[str, int, str], ...]
    again: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the whole database, as text."""

    name: str
    value: str
    default: str
    description: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """One version of how the scores of a model become log-likelihood ratios and decisions.

    Attributes:
        spec_hash: of the model it was fitted on; it is used for no other.
        source: ``shipped``, ``trials`` or ``decisions``.
        parameters: what scoring reads.
        report: what was measured when it was fitted; None where nothing was.
        active: whether it is the one in use for its model.
    """

    calibration_id: int
    model: str
    spec_hash: str
    source: str
    parameters: dict[str, Any]
    report: dict[str, Any] | None
    created_at: datetime
    created_by: str
    active: bool


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """A decision as it was recorded; fields as in :class:`Verification`, and

    Attributes:
        asked_by: the role that logged in.
        kind: ``verify`` or ``identify``.
        speaker: claimed, or the most alike; None where nobody was found or where the person
            was forgotten since, and with them every score.
        target_rate: the ``far`` or ``fpir`` asked for.
        quality: facts about the probe.
        searched: number of people the answer was picked from.
        features: what a calibration is fitted on.
        version: of extension ``voxprint``.
        label: whether it was the same person, as somebody found out later; None: not known.
    """

    decision_id: int
    at: datetime
    asked_by: str
    kind: str
    speaker: str | None
    decision: Decision
    score: float | None
    llr: float | None
    threshold_llr: float | None
    reject_llr: float | None
    target_rate: float | None
    reasons: tuple[str, ...]
    channel: str | None
    speech_seconds: float | None
    quality: dict[str, Any] | None
    cohort: int | None
    searched: int | None
    features: dict[str, Any] | None
    watchlists: tuple[str, ...]
    model: str
    calibration: int | None
    version: str
    label: bool | None
    labelled_by: str | None
    labelled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Label:
    """What labelling a decision did; ``earlier*``: what somebody had said before, or None."""

    decision_id: int
    same: bool
    labelled_by: str
    labelled_at: datetime
    earlier: bool | None
    earlier_by: str | None
    earlier_at: datetime | None


@dataclass(frozen=True, slots=True)
class LabelledDecision:
    """A trial out of the decision log. ``speaker`` is a number that tells people apart."""

    decision_id: int
    kind: str
    speaker: int
    same: bool
    score: float
    features: dict[str, Any]
    channel: str | None
    speech_seconds: float | None
    searched: int | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that a search found.

    Attributes:
        distance: from the query, in the measure that was asked for.
        row: its columns by name.
    """

    distance: float
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What one setting of an ANN index costs and finds, as measured.

    Attributes:
        index_name: of the HNSW index.
        ef_search: candidates that it keeps while it searches.
        rows_fetched: how many nearest rows it is asked for.
        ms: median time, in milliseconds.
        recall_at_1, recall_at_10, recall_at_100: share of the true nearest that it finds, less
            the standard error; None beyond what was measured.
    """

    index_name: str
    ef_search: int
    rows_fetched: int
    ms: float
    recall_at_1: float
    recall_at_10: float | None
    recall_at_100: float | None


def vector_text(vector: Vector) -> str:
    """Return a float32 vector, shape (dim,), as pgvector reads it, without loss."""
    return "[" + ",".join(map(str, vector)) + "]"
