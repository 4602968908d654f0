"""The public verbs: one object that knows a gallery and an encoder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from voxprint.errors import (
    AudioError,
    EnrolledElsewhere,
    FailureToEnroll,
    VoxprintError,
)
from voxprint.service.listening import Listener
from voxprint.service.records import Records
from voxprint.service.searching import Searching
from voxprint.types import (
    Agreement,
    Candidate,
    Comparison,
    Embedding,
    Enrolment,
    Group,
    Migration,
    Removal,
    SameVoice,
    Speaker,
    Utterance,
    Verification,
    Voice,
)

if TYPE_CHECKING:
    import psycopg

    from voxprint.audio.decode import Limits, RawFormat
    from voxprint.db.connection import Database
    from voxprint.db.server import Server
    from voxprint.encoder.embedder import Encoder
    from voxprint.encoder.spec import ModelSpec
    from voxprint.live.session import Session
    from voxprint.service.gallery import Gallery


class Voxprint(Records, Searching):
    """Enrol, verify, identify and forget people by their voice. Made by :func:`voxprint.open`.

    A voice is a path, the bytes of an audio file, or an :class:`~voxprint.types.Embedding`.
    Audio is decoded and embedded in this process; the database stores, compares and decides.
    """

    def __init__(
        self,
        database: Database,
        *,
        server: Server | None = None,
        model: str | os.PathLike[str] | None = None,
        weights: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._database = database
        self._server = server
        self._listener = Listener(
            model=model, weights=weights, limits=limits, loaded=self._introduce
        )
        self._database.check_version()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connections, and stop the server if :func:`voxprint.open` started it."""
        self._database.close()
        if self._server is not None:
            self._server.stop()

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use.

        Raises:
            ModelFileError: its weights cannot be had.
        """
        return self._listener.encoder

    def _introduce(self, spec: ModelSpec) -> None:
        """Let an embedded server know a model of the user's; on others an administrator does."""
        if self._server is not None and spec.network is not None:
            self.register_model(spec)

    @cached_property
    def _gallery(self) -> Gallery:
        from voxprint.service.gallery import Gallery

        return Gallery(self._database)

    def connection(self) -> contextlib.AbstractContextManager[psycopg.Connection[Any]]:
        """Lend a psycopg connection for SQL of your own: ``with gallery.connection() as db:``."""
        return self._database.connection()

    def embed(
        self, voice: Voice, *, channel: int | None = None, raw: RawFormat | None = None
    ) -> Embedding:
        """Embed one recording; nothing is stored. An embedding comes back as it is.

        Args:
            voice: the utterance.
            channel: use this channel (from 0) instead of the average of all.
            raw: what the samples are, where the recording is raw PCM without a container.
        Raises:
            AudioError: the recording cannot be used; the message begins with its path.
        """
        return self._listener.embed(voice, channel=channel, raw=raw)

    def enroll(
        self,
        speaker: str,
        voice: Voice,
        *,
        attributes: dict[str, Any] | None = None,
        groups: Sequence[str] | None = None,
        consent: str | None = None,
        keep_audio: bool = False,
        overrule: bool = False,
        channel: int | None = None,
        raw: RawFormat | None = None,
    ) -> Enrolment:
        """Add one utterance of a person, who is created at the first.

        Args:
            speaker: what you call the person; any text of 1 to 512 bytes.
            voice: the utterance.
            attributes: free facts, merged into those the person has.
            groups: names of existing groups the person joins.
            consent: reference to the person's consent, kept with them.
            keep_audio: store the recording itself too; only with a path or bytes.
            overrule: enrol it even if it is no good reference.
            channel, raw: as in :meth:`embed`.
        Returns:
            Enrolment; ``added`` is False where this recording of this person was there already,
            ``ready`` is False while more speech of the person is needed to decide by.
        Raises:
            AudioError: the recording cannot be used; nothing was changed.
            FailureToEnroll: it is no reference to know a person by (two voices, noise, ...).
            EnrolledElsewhere: the same recording is enrolled under another person.
            GroupNotFound: a group does not exist.
        """
        return self.enroll_all(
            speaker,
            [voice],
            attributes=attributes,
            groups=groups,
            consent=consent,
            keep_audio=keep_audio,
            overrule=overrule,
            channel=channel,
            raw=raw,
        )[0]

    def enroll_all(
        self,
        speaker: str,
        voices: Sequence[Voice],
        *,
        keep_audio: bool = False,
        channel: int | None = None,
        raw: RawFormat | None = None,
        **facts: Any,
    ) -> list[Enrolment]:
        """Add several utterances of a person, all or none; as :meth:`enroll`, one result each."""
        utterances = []
        for voice in voices:
            recording = None
            if keep_audio:
                embedding, recording = self._listener.embed_kept(voice, channel=channel, raw=raw)
            else:
                embedding = self.embed(voice, channel=channel, raw=raw)
            utterances.append(Utterance(voice, embedding, recording))
        return self._gallery.enroll_all(speaker, utterances, **facts)

    def enroll_files(
        self, files: Iterable[tuple[str, str | os.PathLike[str]]], **options: Any
    ) -> Iterator[tuple[str, Path, Enrolment | VoxprintError]]:
        """Enrol many recordings, embedding them on all cores.

        Args:
            files: pairs of speaker and path.
            options: ``attributes``, ``groups``, ``consent``, ``overrule`` of :meth:`enroll`.
        Yields:
            speaker, path, and the enrolment or the error that refused this one file; a bad
            file does not stop the rest.
        """
        pairs = [(speaker, Path(path)) for speaker, path in files]
        embedded = self._listener.embed_files(path for _, path in pairs)
        for (speaker, path), result in zip(pairs, embedded, strict=True):
            if isinstance(result, AudioError):
                yield speaker, path, result
                continue
            try:
                yield speaker, path, self._gallery.enroll(speaker, result, **options)
            except (EnrolledElsewhere, FailureToEnroll) as error:
                yield speaker, path, error

    def verify(
        self,
        speaker: str,
        voice: Voice,
        *,
        far: float | None = None,
        watchlists: Sequence[str] | None = None,
        threshold: float | None = None,
        record: bool | None = None,
        channel: int | None = None,
        raw: RawFormat | None = None,
    ) -> Verification:
        """Decide whether ``voice`` is the person it is claimed to be.

        Args:
            speaker: the claimed person.
            voice: the probe.
            far: false-accept rate to decide at, in (0, 1); default: the database's setting.
            watchlists: groups made as watchlists whose members the voice is checked against.
            threshold: accept at this cosine or above, whatever the calibration says.
            record: write the decision into the log; default: the database's setting.
            channel, raw: as in :meth:`embed`.
        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
            GroupNotFound: a watchlist does not exist.
            AudioError: the recording cannot be used.
        """
        return self._gallery.verify(
            speaker,
            self.embed(voice, channel=channel, raw=raw),
            far=far,
            watchlists=watchlists,
            threshold=threshold,
            record=record,
        )

    def watch(
        self,
        speaker: str,
        sample_rate: int = 16000,
        *,
        encoding: str = "s16le",
        far: float | None = None,
        frr: float | None = None,
    ) -> Session:
        """Begin to verify a person while they speak.

        The session decides as early as the rates allow, and goes on watching: for another voice
        that takes over. What it decides is recorded in the decision log; of a reject and of
        a change, ``LISTEN voxprint_alert`` tells any client of the database. Two sides of a
        call are two sessions.

        Args:
            speaker: who is claimed to speak.
            sample_rate: of the line, in Hz.
            encoding: of bytes: ``s16le``, ``f32le``, ``mulaw``, ``alaw``, ...
            far: share of other people who may be accepted, in (0, 1); None for the setting.
            frr: share of the person's own calls that may be rejected; None for the setting.
        Returns:
            Session; :meth:`~voxprint.live.session.Session.feed` it chunks of any size.
        Raises:
            SpeakerNotFound: nobody is called so.
            NotCalibrated: the model has no calibration, which such a test needs.
            UsageError: a rate or an encoding is out of range, or the person is suspended.
        """
        from voxprint.audio.decode import RawFormat
        from voxprint.live.opening import watch

        raw = RawFormat(sample_rate, encoding)
        return watch(self._database, self.encoder, speaker, raw, far=far, frr=frr)

    def identify(
        self,
        voice: Voice,
        *,
        k: int = 5,
        fpir: float | None = None,
        groups: Sequence[str] | None = None,
        attributes: dict[str, Any] | None = None,
        attributes_path: str | None = None,
        threshold: float | None = None,
        record: bool | None = None,
        channel: int | None = None,
        raw: RawFormat | None = None,
    ) -> list[Candidate]:
        """Return the ``k`` most similar people, best first, each with its own decision.

        Nobody was identified where no row says ``accept``.

        Args:
            voice: the probe.
            k: how many, 1 to 1000; fewer where fewer match the conditions.
            fpir: how often a search for somebody who is not enrolled may accept anyone at
                all, in (0, 1); default: the database's setting.
            groups: only members of at least one of these.
            attributes: only people whose attributes contain these (jsonb ``@>``).
            attributes_path: only people whose attributes match this jsonpath (``@?``/``@@``).
            threshold, record, channel, raw: as in :meth:`verify`.
        Raises:
            GroupNotFound: a group does not exist.
            AudioError: the recording cannot be used.
        """
        return self._gallery.identify(
            self.embed(voice, channel=channel, raw=raw),
            k=k,
            fpir=fpir,
            groups=groups,
            attributes=attributes,
            attributes_path=attributes_path,
            threshold=threshold,
            record=record,
        )

    def compare(
        self,
        a: Voice,
        b: Voice,
        *,
        far: float | None = None,
        threshold: float | None = None,
        channel: int | None = None,
        raw: RawFormat | None = None,
    ) -> Comparison:
        """Decide whether two recordings are of one person; neither is stored.

        ``far``, ``threshold``, ``channel`` and ``raw`` are as in :meth:`verify`.
        """
        return self._gallery.compare(
            self.embed(a, channel=channel, raw=raw),
            self.embed(b, channel=channel, raw=raw),
            far=far,
            threshold=threshold,
        )

    def forget(self, speaker: str, *, scrub: bool = True) -> Removal:
        """Remove a person, then rewrite the files their voiceprint lay in.

        Args:
            speaker: whom.
            scrub: also erase freed bytes from the data files (:mod:`voxprint.db.scrub`), which
                rewrites the tables and needs the rights of their owner.
        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
        """
        return self._scrubbed(self._gallery.forget(speaker), scrub)

    def remove_utterance(self, speaker: str, utterance_id: int, *, scrub: bool = True) -> Removal:
        """Remove one utterance of a person, as :meth:`cohesion` numbers them.

        Args:
            speaker, utterance_id: which.
            scrub: as in :meth:`forget`.
        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
            UsageError: the person has no such utterance.
        """
        return self._scrubbed(self._gallery.remove_utterance(speaker, utterance_id), scrub)

    def _scrubbed(self, removal: Removal, wanted: bool) -> Removal:
        if not wanted:
            return removal
        return replace(removal, scrub_pending=False, kept_by=self.scrub())

    def migrate(
        self,
        model: str,
        *,
        dry_run: bool = False,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Migration:
        """Have another model hear the recordings that were kept, in the database.

        Args:
            model: its name; a worker must serve it.
            dry_run: hear nothing, only say what would become of the gallery.
            progress: told how many recordings are done, of how many.
        Raises:
            ModelMismatch: the database does not know the model.
            WorkerUnavailable: there is no worker.
            DatabaseError: the worker serves other models.
        """
        from voxprint.service.migration import migrate

        return migrate(self._database, model, dry_run=dry_run, progress=progress)

    def scrub(self) -> tuple[str, ...]:
        """Erase freed bytes of deleted voiceprints from the data files.

        Returns:
            What may hold copies of them even so: a standby, a log archive, ...
        Raises:
            DatabaseError: this role does not own the tables, or may not write a checkpoint.
        """
        from voxprint.db.scrub import scrub

        with self._database.connection() as connection:
            return scrub(connection).kept_by

    def cohesion(self, speaker: str) -> list[Agreement]:
        """Say how each utterance of a person agrees with the others; names a bad one.

        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
        """
        return self._gallery.cohesion(speaker)

    def find_duplicates(self, far: float | None = None) -> list[SameVoice]:
        """Return pairs of names that seem to be of one voice, the most alike first.

        Args:
            far: how often different people may be taken for one; default: the setting
                ``duplicate_far``.
        """
        return self._gallery.find_duplicates(far)

    def speakers(self, *, groups: Sequence[str] | None = None) -> list[Speaker]:
        """Return everybody, or the members of ``groups``, by name."""
        return self._gallery.speakers(groups=groups)

    def groups(self) -> list[Group]:
        """Return all groups, by name."""
        return self._gallery.groups()

    def create_group(
        self, name: str, description: str | None = None, *, watchlist: bool = False
    ) -> None:
        """Make a group (a voiceprint library); a watchlist can be given to :meth:`verify`."""
        self._gallery.create_group(name, description, watchlist=watchlist)

    def drop_group(self, name: str) -> None:
        """Remove a group; its members stay enrolled."""
        self._gallery.drop_group(name)

    def join_group(self, speaker: str, name: str) -> None:
        """Put a person into a group."""
        self._gallery.join_group(speaker, name)

    def leave_group(self, speaker: str, name: str) -> None:
        """Take a person out of a group."""
        self._gallery.leave_group(speaker, name)

    def set_attributes(self, speaker: str, attributes: dict[str, Any]) -> None:
        """Replace the free attributes of a person."""
        self._gallery.set_attributes(speaker, attributes)

    def set_status(self, speaker: str, status: str) -> None:
        """Set a person ``active`` or ``suspended``; only active people are compared."""
        self._gallery.set_status(speaker, status)
