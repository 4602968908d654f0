"""A compute process: takes one job at a time from the front, decodes, embeds, answers.

It makes everything ready while it still may (the network, and one run through decoder and
network, so that nothing is loaded later), gives up its rights, and only then takes jobs.
"""

from __future__ import annotations

import io
import json
import os
import select
import socket
import wave
from collections.abc import Callable

import numpy as np

from voxprint.audio.decode import Limits
from voxprint.encoder.embedder import Encoder
from voxprint.errors import (
    SQLSTATES,
    AudioTooLarge,
    FailureToAcquire,
    ModelMismatch,
    UsageError,
    VoxprintError,
)
from voxprint.types import Embedding, Vector
from voxprint.worker import frames
from voxprint.worker.confine import allow_cpu_seconds
from voxprint.worker.frames import Frame, Head
from voxprint.worker.media import read_below
from voxprint.worker.settings import Settings

_CODES = {error: code for code, error in SQLSTATES.items()}


class Compute:
    """Encoders that are ready, and the limits under which they work.

    Args:
        media: descriptor of the folder for FILE requests, None where they are off.

    Raises:
        ModelFileError: the weights of a model cannot be had.
    """

    def __init__(self, settings: Settings, media: int | None) -> None:
        self._settings = settings
        self._media = media
        self._limits = Limits(max_bytes=settings.max_bytes, max_seconds=settings.max_seconds)
        encoders = [Encoder(each, weights=settings.weights_of(each)) for each in settings.models]
        self._encoders = {encoder.spec.name: encoder for encoder in encoders}
        for encoder in self._encoders.values():
            encoder.embed_file(_rehearsal(8000))

    def serve(self, supervisor: socket.socket) -> None:
        """Answer the fronts that the supervisor connects us with, until it goes."""
        front: socket.socket | None = None
        while True:
            watched = [supervisor] if front is None else [supervisor, front]
            readable, _, _ = select.select(watched, [], [])
            if supervisor in readable:
                note = frames.receive_note(supervisor)
                if note is None:
                    return
                if front is not None:
                    front.close()
                front = note[2]
                if front is not None and not self._greet(front):
                    front = None
            elif front is not None and not self._job(front):
                front.close()
                front = None

    def _greet(self, front: socket.socket) -> bool:
        specs = [encoder.spec for encoder in self._encoders.values()]
        models = [[spec.name, spec.dim, spec.hash, repr(spec.threshold)] for spec in specs]
        return _sent(front, {"models": models})

    def _job(self, front: socket.socket) -> bool:
        """Take one job and answer it; False where the front is gone."""
        try:
            frame = frames.receive_frame(front, self._settings.max_bytes)
        except OSError:
            return False
        if frame is None or not _sent(front, {"begun": True}):
            return False
        return _sent(front, self._answer(frame))

    def _answer(self, frame: Frame) -> Head:
        allow_cpu_seconds(2 * self._settings.job_seconds)
        try:
            return {"row": self._row(frame)}
        except VoxprintError as error:
            detail = error.reason if isinstance(error, FailureToAcquire) else ""
            return {"error": [_sqlstate(error), str(error), error.hint, detail]}
        except MemoryError:
            return {
                "error": [
                    _CODES[AudioTooLarge],
                    "the audio needs more memory than a worker may take",
                    "Send a shorter recording.",
                    "",
                ]
            }
        except Exception as fault:  # noqa: BLE001  (whatever a recording does to a decoder)
            # Only the kind of the fault: its words could hold something of the recording.
            kind = type(fault).__name__
            return {"error": ["XX000", f"internal error in the worker: {kind}", "", ""]}

    def _row(self, frame: Frame) -> list[str]:
        name, channel = str(frame.head["model"]), str(frame.head["channel"])
        encoder = self._encoders.get(name)
        if encoder is None:
            raise ModelMismatch(
                f"expected one of the worker's models ({', '.join(self._encoders)}), got {name!r}"
            )
        path = frame.head.get("path")
        data = bytes(frame.body) if path is None else self._file(str(path))
        embedding = encoder.embed_file(
            data, channel=None if channel == "mix" else int(channel), limits=self._limits
        )
        return _columns(embedding, encoder)

    def _file(self, path_hex: str) -> bytes:
        if self._media is None:
            raise UsageError("the worker reads no files")
        try:
            path = bytes.fromhex(path_hex).decode()
        except UnicodeDecodeError:
            raise UsageError("expected a path in UTF-8, got other bytes") from None
        return read_below(self._media, path, self._settings.max_bytes)


def _sqlstate(error: VoxprintError) -> str:
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return "XX000"


def _columns(embedding: Embedding, encoder: Encoder) -> list[str]:
    """The answer as text, in the order of ``settings.COLUMNS``."""
    return [
        vector_text(embedding.vector),
        embedding.model,
        encoder.spec.hash,
        repr(float(embedding.seconds)),
        repr(float(embedding.speech_seconds)),
        str(embedding.sample_rate),
        str(embedding.quality.get("channels", 1)),
        embedding.sha256,
        json.dumps(embedding.quality),
    ]


def vector_text(vector: Vector) -> str:
    """A vector as pgvector reads it, with the shortest digits that give the same float32.

    >>> vector_text(np.array([0.1, -1.0, 1e-8], dtype=np.float32))
    '[0.1,-1.0,1e-08]'
    """
    return "[" + ",".join(map(str, vector)) + "]"


def _sent(front: socket.socket, head: Head) -> bool:
    try:
        frames.send_frame(front, head)
    except OSError:
        return False
    return True


def _rehearsal(sample_rate: int) -> bytes:
    """One second of a sung vowel as WAV: passes through decoder, resampler and both networks.

    Pulses of a pitch that rises and falls go through three resonances; the speech detector,
    which is pinned, takes them for speech.
    """
    time = np.arange(sample_rate) / sample_rate
    turns = np.cumsum(140 + 15 * np.sin(2 * np.pi * time)) / sample_rate
    pulses = np.diff(np.floor(turns), prepend=0.0)
    echo = time[: sample_rate // 40]
    tones = [np.sin(2 * np.pi * formant * echo) for formant in (730, 1090, 2440)]
    vowel = np.exp(-300 * echo) * np.sum(tones, axis=0)
    sound = np.convolve(pulses, vowel)[:sample_rate] * np.sin(2 * np.pi * 2 * time) ** 2
    samples = np.asarray(16000 * sound / np.abs(sound).max(), dtype="<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def run(
    settings: Settings, supervisor: socket.socket, confine: Callable[[int | None], None]
) -> None:
    """The whole life of a compute process; ``confine`` takes the media folder's descriptor."""
    media = None
    if settings.media is not None:
        media = os.open(settings.media, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    compute = Compute(settings, media)
    confine(media)
    compute.serve(supervisor)
