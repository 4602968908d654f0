"""Looks at a claim while somebody speaks: every one a call of an SQL function, which decides."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from voxprint.db.connection import Database
from voxprint.live.session import Piece
from voxprint.types import LiveDecision, Look, vector_text

_LOOK = (
    "SELECT * FROM voxprint.look(speaker => %(speaker)s, embedding => %(vector)s,"
    " model => %(model)s, far => %(far)s, frr => %(frr)s, speech_seconds => %(speech)s,"
    " quality => %(quality)s, decided => %(decided)s, changed => %(changed)s)"
)


class Claim:
    """That the one who speaks is this person.

    Args:
        database: where they are enrolled.
        speaker: the caller's name of them.
        model: the encoder's name.
        far, frr: rates that the decision shall keep, in (0, 1); None for the settings.
    """

    def __init__(
        self, database: Database, speaker: str, model: str, far: float | None, frr: float | None
    ) -> None:
        self._database = database
        self._facts = {"speaker": speaker, "model": model, "far": far, "frr": frr}

    def check(self) -> None:
        """See that the person can be watched, before anything is heard. Errors as :meth:`look`."""
        self._database.row(
            "SELECT voxprint.check_watch(%(speaker)s, %(model)s, %(far)s, %(frr)s)", self._facts
        )

    def look(
        self, probe: Piece, quality: dict[str, Any], *, decided: LiveDecision, changed: bool
    ) -> Look:
        """Judge what counts so far, and record what is decided anew.

        Args:
            probe: all speech that counts.
            quality: facts about the line.
            decided: what an earlier look decided.
            changed: whether the speech is of another voice than before.

        Raises:
            SpeakerNotFound: the person was forgotten meanwhile.
            NotCalibrated: the model has no calibration.
            UsageError: a rate is out of range, or the person is suspended.
            DatabaseError: the database does not answer.
        """
        row = self._database.row(
            _LOOK,
            {
                **self._facts,
                "vector": vector_text(probe.vector),
                "speech": probe.speech_seconds,
                "quality": Jsonb(quality),
                "decided": decided,
                "changed": changed,
            },
        )
        return Look(**{**row, "reasons": tuple(row["reasons"])})
