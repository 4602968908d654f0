"""Every error voxprint raises, and the SQLSTATE each one has inside the database.

A message says what was expected and what came; ``hint`` says what to do about it.
A non-match is a result, not an error.
"""

from __future__ import annotations

from typing import ClassVar


class VoxprintError(Exception):
    """voxprint could not do what was asked.

    Attributes:
        code: stable, machine-readable name of the kind of error.
        hint: what to do about it; empty where there is nothing to add.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, *, hint: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])
        self.hint = hint


class UsageError(VoxprintError, ValueError):
    """An argument is out of range or of the wrong kind."""

    code = "usage"


class EmptyTrials(UsageError):
    """A metric needs at least one target and one nontarget score."""

    code = "empty_trials"


class AudioError(VoxprintError):
    """The audio cannot be used."""

    code = "audio"


class DecodeError(AudioError):
    """The bytes are no audio that can be decoded."""

    code = "not_audio"


class AudioTooLarge(AudioError):
    """The audio is over the limit of size or duration."""

    code = "audio_too_large"


class FailureToAcquire(AudioError):
    """The audio decodes, but holds too little speech for an embedding.

    Attributes:
        reason: ``too_short``, ``silent``, ``no_speech`` or ``not_finite``.
    """

    code = "failure_to_acquire"

    def __init__(self, message: str | None = None, *, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class FailureToEnroll(AudioError):
    """The recording is no reference to know a person by.

    Attributes:
        reasons: all of them, in machine-readable words: ``too_short``, ``noisy``,
            ``clipped``, ``more_than_one_speaker``, ``mostly_silence``, ...
    """

    code = "failure_to_enroll"

    def __init__(
        self, message: str | None = None, *, reasons: tuple[str, ...] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons


class ModelError(VoxprintError):
    """The encoder cannot be used."""

    code = "model"


class ModelFileError(ModelError):
    """The weights of the encoder cannot be had, or are not the published ones."""

    code = "model_file"


class ModelMismatch(ModelError):
    """An embedding has another dimension or comes from another model."""

    code = "model_mismatch"


class TrainingDiverged(ModelError):
    """A training lost its way: loss or gradient are not finite any more."""

    code = "training_diverged"


class GalleryError(VoxprintError):
    """The gallery refuses what was asked."""

    code = "gallery"


class SpeakerNotFound(GalleryError, LookupError):
    """No such speaker is enrolled."""

    code = "speaker_not_found"


class GroupNotFound(GalleryError, LookupError):
    """No such group exists."""

    code = "group_not_found"


class EnrolledElsewhere(GalleryError):
    """The same recording is already enrolled under another person."""

    code = "enrolled_elsewhere"


class NotCalibrated(GalleryError):
    """No such calibration, or one that was fitted for another encoder."""

    code = "not_calibrated"


class DatabaseError(VoxprintError):
    """The database refused or failed."""

    code = "database"


class ServerStartError(DatabaseError):
    """The embedded PostgreSQL server cannot be started or joined."""

    code = "server_start"


class ExtensionVersionError(DatabaseError):
    """The database has no voxprint extension, or one of another version."""

    code = "extension_version"


class PipelineNotFound(DatabaseError, LookupError):
    """No such pipeline exists."""

    code = "pipeline_not_found"


class WorkerUnavailable(DatabaseError):
    """No worker answers, so audio cannot be embedded inside SQL."""

    code = "worker_unavailable"


class WorkerTimeout(DatabaseError):
    """The worker did not answer in time."""

    code = "worker_timeout"


#: SQLSTATE of every error our SQL raises -> class raised in Python. ``tests/sql`` compares
#: it with the SQL sources.
SQLSTATES: dict[str, type[VoxprintError]] = {
    "VX001": SpeakerNotFound,
    "VX002": GroupNotFound,
    "VX003": PipelineNotFound,
    "VX004": ModelMismatch,
    "VX005": EnrolledElsewhere,
    "VX006": UsageError,
    "VX007": FailureToEnroll,
    "VX008": NotCalibrated,
    "VX010": WorkerUnavailable,
    "VX011": WorkerTimeout,
    "VX012": DecodeError,
    "VX013": FailureToAcquire,
    "VX014": AudioTooLarge,
    "VX015": ModelFileError,
}
