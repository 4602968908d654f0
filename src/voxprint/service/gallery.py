"""The people of one database: every verb is one call of an SQL function.

Nothing is decided here. The SQL functions of extension ``voxprint`` compare, decide and refuse,
so that Python, the command line and plain SQL can never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from psycopg.types.json import Jsonb

from voxprint.db.connection import Database, Query
from voxprint.errors import ModelMismatch, UsageError
from voxprint.service.listening import naming
from voxprint.types import (
    Agreement,
    Candidate,
    Comparison,
    Duplicate,
    Embedding,
    Enrolment,
    Group,
    Removal,
    SameVoice,
    Speaker,
    Utterance,
    Verification,
    vector_text,
)

Attributes = dict[str, Any]
T = TypeVar("T")

_ENROLL = (
    "SELECT * FROM voxprint.enroll(speaker => %(speaker)s, embedding => %(vector)s,"
    " model => %(model)s, sha256 => %(sha256)s, seconds => %(seconds)s,"
    " speech_seconds => %(speech)s, sample_rate => %(rate)s, quality => %(quality)s,"
    " attributes => %(attributes)s, groups => %(groups)s, audio => %(audio)s,"
    " consent => %(consent)s, overrule => %(overrule)s)"
)


class Gallery:
    """The verbs of extension ``voxprint`` with Python values in and out.

    Args:
        database: where the extension is installed.
    Raises:
        DatabaseError: from every method, where the server cannot be reached or refuses.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def enroll(
        self, speaker: str, embedding: Embedding, *, audio: bytes | None = None, **facts: Any
    ) -> Enrolment:
        """Add one utterance; as :meth:`enroll_all`. ``audio`` is stored only where given."""
        return self.enroll_all(speaker, [Utterance(embedding, embedding, audio)], **facts)[0]

    def enroll_all(
        self,
        speaker: str,
        utterances: Sequence[Utterance],
        *,
        attributes: Attributes | None = None,
        groups: Sequence[str] | None = None,
        consent: str | None = None,
        overrule: bool = False,
    ) -> list[Enrolment]:
        """Add utterances of one person, all or none; recordings are stored only where given.

        Raises:
            FailureToEnroll: one is no reference to know a person by; names it.
            EnrolledElsewhere: the same recording belongs to another person.
            GroupNotFound: a group of ``groups`` does not exist.
            ModelMismatch: the database does not know the embedding's model.
        """
        person = {
            "speaker": speaker,
            "attributes": _jsonb(attributes),
            "groups": _list(groups),
            "consent": consent,
            "overrule": overrule,
        }

        def work(rows: Query) -> list[Enrolment]:
            done = []
            for each in utterances:
                with naming(each.voice):
                    (row,) = rows(_ENROLL, {**person, **_stored(each)})
                    done.append(_enrolment(row))
            return done

        return self._database.transaction(work)

    def verify(
        self,
        speaker: str,
        probe: Embedding,
        *,
        far: float | None = None,
        watchlists: Sequence[str] | None = None,
        threshold: float | None = None,
        record: bool | None = None,
    ) -> Verification:
        """Compare ``probe`` with the voiceprint of ``speaker``.

        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
            GroupNotFound: a group of ``watchlists`` does not exist.
        """
        row = self._database.row(
            "SELECT * FROM voxprint.verify(speaker => %(speaker)s, embedding => %(vector)s,"
            " model => %(model)s, far => %(far)s, speech_seconds => %(speech)s,"
            " quality => %(quality)s, watchlists => %(watchlists)s, threshold => %(threshold)s,"
            " record => %(record)s)",
            {
                "speaker": speaker,
                **_heard(probe),
                "far": far,
                "watchlists": _list(watchlists),
                "threshold": threshold,
                "record": record,
            },
        )
        return _from_row(Verification, row)

    def identify(
        self,
        probe: Embedding,
        *,
        k: int = 5,
        fpir: float | None = None,
        groups: Sequence[str] | None = None,
        attributes: Attributes | None = None,
        attributes_path: str | None = None,
        threshold: float | None = None,
        record: bool | None = None,
    ) -> list[Candidate]:
        """Return the ``k`` people whose voiceprints are most like ``probe``, best first.

        Raises:
            GroupNotFound: a group of ``groups`` does not exist.
        """
        rows = self._database.rows(
            "SELECT * FROM voxprint.identify(embedding => %(vector)s, k => %(k)s,"
            " groups => %(groups)s, attributes => %(attributes)s,"
            " attributes_path => %(path)s::jsonpath, model => %(model)s, fpir => %(fpir)s,"
            " speech_seconds => %(speech)s, quality => %(quality)s,"
            " threshold => %(threshold)s, record => %(record)s) ORDER BY rank",
            {
                **_heard(probe),
                "k": k,
                "fpir": fpir,
                "groups": _list(groups),
                "attributes": _jsonb(attributes),
                "path": attributes_path,
                "threshold": threshold,
                "record": record,
            },
        )
        return [_from_row(Candidate, row) for row in rows]

    def compare(
        self,
        a: Embedding,
        b: Embedding,
        *,
        far: float | None = None,
        threshold: float | None = None,
    ) -> Comparison:
        """Compare two utterances, neither of which need be enrolled.

        Raises:
            ModelMismatch: they come from different models.
        """
        if a.model != b.model:
            raise ModelMismatch(
                f"two embeddings of one model are compared, these are of {a.model} and {b.model}",
                hint="embed both with the same encoder",
            )
        vector = self._database.vector_type  # both forms of compare take two values
        row = self._database.row(
            f"SELECT * FROM voxprint.compare(a => %(a)s::{vector}, b => %(b)s::{vector},"  # noqa: S608
            " model => %(model)s, far => %(far)s, speech_seconds_a => %(speech_a)s,"
            " speech_seconds_b => %(speech_b)s, quality_a => %(quality_a)s,"
            " quality_b => %(quality_b)s, threshold => %(threshold)s)",
            {
                "a": vector_text(a.vector),
                "b": vector_text(b.vector),
                "model": a.model,
                "far": far,
                "speech_a": a.speech_seconds,
                "speech_b": b.speech_seconds,
                "quality_a": Jsonb(a.quality),
                "quality_b": Jsonb(b.quality),
                "threshold": threshold,
            },
        )
        return _from_row(Comparison, row)

    def forget(self, speaker: str) -> Removal:
        """Remove a person and everything derived from their voice.

        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
        """
        return Removal(**self._database.row("SELECT * FROM voxprint.forget(%s)", (speaker,)))

    def cohesion(self, speaker: str) -> list[Agreement]:
        """How each utterance of a person agrees with the others, by its number.

        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
        """
        rows = self._database.rows("SELECT * FROM voxprint.cohesion(%s)", (speaker,))
        return [Agreement(**row) for row in rows]

    def remove_utterance(self, speaker: str, utterance_id: int) -> Removal:
        """Remove one utterance of a person, whose voiceprints follow.

        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
            UsageError: the person has no such utterance.
        """
        row = self._database.row(
            "SELECT * FROM voxprint.remove_utterance(%s, %s)", (speaker, utterance_id)
        )
        return Removal(**row)

    def find_duplicates(self, far: float | None = None) -> list[SameVoice]:
        """Pairs of names that seem to be of one voice, the most alike first."""
        rows = self._database.rows("SELECT * FROM voxprint.find_duplicates(far => %s)", (far,))
        return [SameVoice(**row) for row in rows]

    def speakers(self, *, groups: Sequence[str] | None = None) -> list[Speaker]:
        """Return everybody, or the members of ``groups``, by name."""
        rows = self._database.rows(
            "SELECT * FROM voxprint.list_speakers(groups => %s) ORDER BY speaker", (_list(groups),)
        )
        return [_from_row(Speaker, row) for row in rows]

    def groups(self) -> list[Group]:
        """Return all groups, by name."""
        return [Group(**row) for row in self._database.rows("SELECT * FROM voxprint.list_groups()")]

    def create_group(
        self, name: str, description: str | None = None, *, watchlist: bool = False
    ) -> None:
        """Make a group (a voiceprint library); an existing one is an error."""
        self._database.row(
            "SELECT voxprint.create_group(%s, %s, watchlist => %s)", (name, description, watchlist)
        )

    def drop_group(self, name: str) -> None:
        """Remove a group; its members stay enrolled."""
        self._database.row("SELECT voxprint.drop_group(%s)", (name,))

    def join_group(self, speaker: str, name: str) -> None:
        """Put a person into a group."""
        self._database.row("SELECT voxprint.join_group(%s, %s)", (speaker, name))

    def leave_group(self, speaker: str, name: str) -> None:
        """Take a person out of a group."""
        self._database.row("SELECT voxprint.leave_group(%s, %s)", (speaker, name))

    def set_attributes(self, speaker: str, attributes: Attributes) -> None:
        """Replace the free attributes of a person."""
        self._database.row("SELECT voxprint.set_attributes(%s, %s)", (speaker, Jsonb(attributes)))

    def set_status(self, speaker: str, status: str) -> None:
        """Set a person ``active`` or ``suspended``; only active people are compared."""
        self._database.row("SELECT voxprint.set_status(%s, %s)", (speaker, status))


def _stored(utterance: Utterance) -> dict[str, Any]:
    """What the gallery keeps of an utterance, as parameters of ``_ENROLL``."""
    embedding = utterance.embedding
    return {
        **_heard(embedding),
        "sha256": bytes.fromhex(embedding.sha256) or None,
        "seconds": embedding.seconds,
        "rate": embedding.sample_rate,
        "audio": utterance.recording,
    }


def _heard(embedding: Embedding) -> dict[str, Any]:
    """What a decision takes of an utterance."""
    return {
        "vector": vector_text(embedding.vector),
        "model": embedding.model,
        "speech": embedding.speech_seconds,
        "quality": Jsonb(embedding.quality),
    }


def _enrolment(row: dict[str, Any]) -> Enrolment:
    duplicates = [Duplicate(**each) for each in row["duplicates"]]
    return _from_row(Enrolment, {**row, "duplicates": duplicates})


def _from_row(kind: type[T], row: Mapping[str, Any]) -> T:
    """A result from the row of its SQL type: arrays become tuples."""
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    )


def _jsonb(attributes: Attributes | None) -> Jsonb | None:
    return None if attributes is None else Jsonb(attributes)


def _list(groups: Sequence[str] | None) -> list[str] | None:
    if isinstance(groups, str):
        raise UsageError(
            f"expected a list of groups, got the text {groups!r}", hint=f"[{groups!r}] is one group"
        )
    return None if groups is None else list(groups)
