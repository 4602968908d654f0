"""Utterance -> embedding: the one code path that Python, the command line and SQL share."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voxprint.audio.decode import (
    DEFAULT_LIMITS,
    Audio,
    Limits,
    RawFormat,
    decode,
)
from voxprint.audio.fbank import fbank
from voxprint.audio.mixer import HIGHEST_RATE, LOWEST_RATE
from voxprint.audio.quality import MEASURED, Findings, quality
from voxprint.audio.speech import (
    frames_within,
    heard_frames,
    pause_frames,
    sounding_seconds,
    speech_seconds,
    speech_windows,
)
from voxprint.audio.subtraction import SubtractionConfig
from voxprint.encoder.denoiser import Denoiser, autoencoder, no_denoiser, subtraction
from voxprint.encoder.detector import open_detector
from voxprint.encoder.network import open_network
from voxprint.encoder.sources import load_denoiser
from voxprint.encoder.spec import ModelSpec, find_model
from voxprint.errors import AudioError, AudioTooLarge, FailureToAcquire, UsageError
from voxprint.types import Embedding, Samples, Vector

#: Less audio than this makes no embedding, in seconds.
SHORTEST_SECONDS = 0.3
#: Less speech than this is none, and less sound a click, in seconds.
_LEAST_SPEECH = 0.09
#: In a recording that long, somebody who speaks says more than this; music now and then does not.
_LONG_SECONDS, _LEAST_SPEECH_IN_LONG = 3.0, 0.25
#: Full scale of 32-bit integers, the largest there is; sums of squares beyond overflow.
_LARGEST_SAMPLE = 2.0**31
#: Files decoded ahead of the one whose turn it is, for every thread.
_AHEAD = 4

Path = str | os.PathLike[str]


class Encoder:
    """Turns utterances into embeddings with one model.

    Safe to use from several threads at once; each call runs on the thread it is made on.

    Args:
        model: name of a model, path of its TOML file, or its spec; None for ``VOXPRINT_MODEL``,
            or the default.
        weights: path or https address of the weights; None has them found or fetched.
        threads: that one network run uses.

    Raises:
        ModelFileError: the weights cannot be had, or a network is not what its file says.
        UsageError: no such model.
    """

    def __init__(
        self,
        model: Path | ModelSpec | None = None,
        *,
        weights: Path | None = None,
        threads: int = 1,
    ) -> None:
        self.spec = find_model(model)
        if threads < 1:
            raise UsageError(f"expected at least one thread, got {threads}")
        self._network = open_network(self.spec, weights=weights, threads=threads)
        self.detector = open_detector(self.spec)
        self._denoise = _denoiser(self.spec, threads)

    def embed(self, samples: npt.ArrayLike, sample_rate: int) -> Vector:
        """Embedding of one utterance.

        Args:
            samples: shape (n,), one channel; floats in [-1, 1], or signed integers of which
                the whole range is used.
            sample_rate: in Hz.

        Returns:
            float32, shape (dim,), Euclidean length 1.

        Raises:
            FailureToAcquire: not finite, shorter than 0.3 s, silent, or without speech.
            AudioTooLarge: there is not enough memory for it.
            UsageError: more than one channel, or a rate that no recording has.
        """
        return self._heard(self._resampled(_as_samples(samples), sample_rate))[0]

    def embed_features(self, features: npt.NDArray[np.float32]) -> Vector:
        """Embedding of features, all of which count as speech.

        Args:
            features: log-mel filterbank rows as ``spec.fbank`` has them, float32, shape
                (frames, mel_bins), at least two; their mean may still be in them.

        Returns:
            float32, shape (dim,), Euclidean length 1.
        """
        pauses, heard = np.zeros(len(features), bool), np.ones(len(features), bool)
        return self._run(self._denoise(features, pauses, heard))[0]

    def embed_batch(self, utterances: Sequence[npt.ArrayLike], sample_rate: int) -> Vector:
        """Embeddings of several utterances, each as :meth:`embed` makes it.

        Returns:
            float32, shape (len(utterances), dim).
        """
        rows = [self.embed(samples, sample_rate) for samples in utterances]
        return np.stack(rows) if rows else np.empty((0, self.spec.dim), np.float32)

    def embed_file(
        self,
        source: bytes | Path,
        *,
        channel: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        raw: RawFormat | None = None,
    ) -> Embedding:
        """Embedding of one recording, with what is known about it.

        Args:
            source, channel, limits, raw: as :func:`voxprint.audio.decode.decode` takes them.

        Raises:
            AudioError: it does not decode, is over the limits, or holds no speech.
        """
        return self._embedding(decode(source, channel=channel, limits=limits, raw=raw))

    def embed_samples(self, samples: npt.ArrayLike, sample_rate: int) -> Embedding:
        """Embedding of one utterance, with what is known about it, as for a file.

        Args:
            samples, sample_rate: as :meth:`embed` takes them.

        Raises:
            FailureToAcquire, AudioTooLarge, UsageError: as :meth:`embed` does.
        """
        values = _as_samples(samples)
        audio = Audio(
            samples=self._resampled(values, sample_rate),
            sample_rate=sample_rate,
            channels=1,
            seconds=len(values) / sample_rate,
            sha256="",
            codec="samples",
        )
        return self._embedding(audio)

    def _embedding(self, audio: Audio) -> Embedding:
        vector, found = self._heard(audio.samples)
        return Embedding(
            vector=vector,
            model=self.spec.name,
            seconds=audio.seconds,
            speech_seconds=min(found.speech_seconds, audio.seconds),
            sample_rate=audio.sample_rate,
            sha256=audio.sha256,
            quality=quality(audio, found),
        )

    def embed_files(
        self,
        paths: Iterable[Path],
        *,
        workers: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Iterator[tuple[Path, Embedding | AudioError]]:
        """Embeddings of many recordings, in the order they are named, as they get ready.

        Every worker thread takes a recording through decoding, features and network, all of
        which run outside Python's lock. Recordings are not padded to a common length, which
        would change their embeddings.

        Args:
            paths: of recordings; taken as they are needed, so it may be endless.
            workers: threads; None for one per core this process may use.
            limits: see :class:`voxprint.audio.decode.Limits`.

        Yields:
            Each path with its embedding, or with the error that its recording got.
        """
        count = workers if workers is not None else _cores()
        if count < 1:
            raise UsageError(f"expected at least one worker, got {count}")
        waiting: deque[tuple[Path, Future[Embedding | AudioError]]] = deque()
        with ThreadPoolExecutor(count, thread_name_prefix="voxprint-embed") as pool:
            try:
                for path in paths:
                    waiting.append((path, pool.submit(self._embed_or_error, path, limits)))
                    if len(waiting) > count * _AHEAD:
                        first, future = waiting.popleft()
                        yield first, future.result()
                for path, future in waiting:
                    yield path, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _embed_or_error(self, path: Path, limits: Limits) -> Embedding | AudioError:
        try:
            return self.embed_file(path, limits=limits)
        except AudioError as error:
            return error

    def _resampled(self, samples: Samples, sample_rate: int) -> Samples:
        if sample_rate == self.spec.sample_rate:
            return samples
        if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
            raise UsageError(
                f"expected a sample rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {sample_rate}"
            )
        import soxr

        return np.asarray(soxr.resample(samples, sample_rate, self.spec.sample_rate))

    def _heard(self, samples: Samples) -> tuple[Vector, Findings]:
        """Embedding of the speech in an utterance, and what was found on the way."""
        self._check_sound(samples)
        config, limits = self.spec.fbank, self.spec.speech
        with _memory_for(len(samples) / self.spec.sample_rate):
            features = fbank(samples, replace(config, subtract_mean=False))
            window = self.detector.window
            speech = speech_windows(self.detector.probabilities(samples, features), limits)
            net_seconds = speech_seconds(speech, len(samples), window)
            self._check_speech(net_seconds, samples)
            count = len(features)
            pauses = pause_frames(speech, count, config, window)
            # Speech was found, and quality is told, by what was recorded, noise and all.
            heard = heard_frames(speech, count, config, limits, window)
            vector, parts = self._run(self._denoise(features, pauses, heard))
            # A recording is as good as it is, whichever encoder hears it.
            if config != MEASURED:
                features = fbank(samples, replace(MEASURED, subtract_mean=False))
                count = len(features)
                pauses = pause_frames(speech, count, MEASURED, window)
            return vector, Findings(
                features=features,
                config=MEASURED,
                speech=frames_within(speech, count, MEASURED, window),
                pauses=pauses,
                speech_seconds=net_seconds,
                parts=parts,
            )

    def _run(self, features: npt.NDArray[np.float32]) -> tuple[Vector, npt.NDArray[np.float32]]:
        """Embedding of the whole and, not normalised, of its parts of 1.5 s.

        From minutes of speech, the mean over pieces of up to a minute is what one run over all
        gives (cosine 0.999), in a fraction of the memory.
        """
        if self.spec.fbank.subtract_mean:
            features = features - features.mean(axis=0, keepdims=True)
        pieces = np.array_split(features, -(-len(features) // self.spec.speech.at_once))
        runs = [self._network.run(piece) for piece in pieces]
        vector = np.sum([_unit(row) for row, _ in runs], axis=0)
        return np.asarray(_unit(vector), np.float32), np.concatenate([parts for _, parts in runs])

    def _check_sound(self, samples: Samples) -> None:
        """Refuse what holds no sound that could be speech.

        Raises:
            FailureToAcquire: not finite, too short, or silent.
        """
        # Written so that NaN fails, too.
        if not np.abs(samples).max(initial=0.0) <= _LARGEST_SAMPLE:
            raise FailureToAcquire(
                "expected finite samples in [-1, 1], got NaN, infinity or values far beyond",
                reason="not_finite",
            )
        seconds = len(samples) / self.spec.sample_rate
        if seconds < SHORTEST_SECONDS:
            raise FailureToAcquire(
                f"expected at least {SHORTEST_SECONDS} s of audio, got {seconds:.3f} s",
                reason="too_short",
            )
        if sounding_seconds(samples) < _LEAST_SPEECH:
            raise FailureToAcquire(
                f"expected an utterance, got {seconds:.2f} s of silence",
                reason="silent",
                hint="Check that the microphone, or the right channel, was recorded.",
            )

    def _check_speech(self, speech: float, samples: Samples) -> None:
        seconds = len(samples) / self.spec.sample_rate
        if speech < (_LEAST_SPEECH if seconds < _LONG_SECONDS else _LEAST_SPEECH_IN_LONG):
            raise FailureToAcquire(
                f"expected speech, got {seconds:.2f} s of sound in which nobody speaks",
                reason="no_speech",
                hint="Check that the right source was recorded: music, tones and noise hold no "
                "voice.",
            )


def _denoiser(spec: ModelSpec, threads: int) -> Denoiser:
    if spec.denoise is None:
        return no_denoiser
    if isinstance(spec.denoise, SubtractionConfig):
        return subtraction(spec.denoise)
    return autoencoder(load_denoiser(spec.denoise), at_once=spec.speech.at_once, threads=threads)


def _unit(vector: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    wide = vector.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide))


@contextmanager
def _memory_for(seconds: float) -> Iterator[None]:
    """Say which recording it was that did not fit into memory."""
    try:
        yield
    except Exception as error:
        # onnxruntime has no kind of its own for this: "std::bad_alloc", "Failed to allocate".
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        raise AudioTooLarge(
            f"expected a recording that fits into memory, got one of {seconds:.0f} s",
            hint="Cut the recording, or let this process have more memory.",
        ) from error


def _as_samples(samples: npt.ArrayLike) -> Samples:
    values = np.asarray(samples)
    if values.ndim != 1:
        raise UsageError(
            f"expected samples of one channel, shape (n,), got shape {values.shape}",
            hint="Average the channels, or choose one.",
        )
    if values.dtype.kind == "i":
        values = values / -float(np.iinfo(values.dtype).min)
    elif values.dtype.kind != "f":
        raise UsageError(f"expected floats or signed integers, got {values.dtype}")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused later
        return np.asarray(values, dtype=np.float32)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
