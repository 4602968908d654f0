"""Voices into embeddings: whatever stands for an utterance is heard here, once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from voxprint.errors import AudioError, UsageError
from voxprint.types import Embedding, Voice

if TYPE_CHECKING:
    from voxprint.audio.decode import Limits, RawFormat
    from voxprint.encoder.embedder import Encoder
    from voxprint.encoder.spec import ModelSpec


class Listener:
    """Embeds paths, bytes of encoded files, and lets embeddings through.

    Args:
        model: name of the encoder, or its TOML file; None for ``VOXPRINT_MODEL``, or the default.
        weights: path or https URL of the encoder's weights, in place of the cache.
        limits: largest and longest recording; None for the default.
        loaded: told the spec of the encoder before anything is heard by it.
    """

    def __init__(
        self,
        *,
        model: str | os.PathLike[str] | None = None,
        weights: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        loaded: Callable[[ModelSpec], None] = lambda _: None,
    ) -> None:
        self._model, self._weights = model, weights
        self._loaded = loaded
        self._given_limits = limits

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use.

        Raises:
            ModelFileError: its weights cannot be had.
        """
        from voxprint.encoder.embedder import Encoder

        encoder = Encoder(self._model, weights=self._weights)
        self._loaded(encoder.spec)
        return encoder

    @cached_property
    def _limits(self) -> Limits:
        from voxprint.audio.decode import DEFAULT_LIMITS

        return self._given_limits or DEFAULT_LIMITS

    def embed(
        self, voice: Voice, *, channel: int | None = None, raw: RawFormat | None = None
    ) -> Embedding:
        """Embed one utterance.

        Raises:
            AudioError: the recording cannot be used; the message begins with its path.
        """
        if isinstance(voice, Embedding):
            return voice
        with naming(voice):
            return self.encoder.embed_file(voice, channel=channel, limits=self._limits, raw=raw)

    def embed_kept(
        self, voice: Voice, *, channel: int | None = None, raw: RawFormat | None = None
    ) -> tuple[Embedding, bytes]:
        """Embed one utterance, and return the bytes that were embedded, too: read once.

        Raises:
            UsageError: an embedding came, which has no bytes.
            AudioError: as :meth:`embed`.
        """
        from voxprint.audio.decode import read_recording

        if isinstance(voice, Embedding):
            raise UsageError("keep_audio needs the recording, an embedding came")
        with naming(voice):
            recording = voice if isinstance(voice, bytes) else read_recording(voice, self._limits)
            return self.embed(recording, channel=channel, raw=raw), recording

    def embed_files(self, paths: Iterable[Path]) -> Iterator[Embedding | AudioError]:
        """Embed files on all cores; gives, in their order, what each became."""
        for _, outcome in self.encoder.embed_files(list(paths), limits=self._limits):
            yield outcome


@contextmanager
def naming(voice: Voice) -> Iterator[None]:
    """Let the message about a recording begin with its path, where it has one."""
    try:
        yield
    except AudioError as error:
        if isinstance(voice, str | os.PathLike):
            error.args = (f"{os.fspath(voice)}: {error}",)
        raise
