"""What stands behind the decisions of one database: settings, calibrations, the decision log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from voxprint.types import Calibration, Label, LabelledDecision, LoggedDecision, Setting

if TYPE_CHECKING:
    from voxprint.db.connection import Database
    from voxprint.encoder.spec import ModelSpec
    from voxprint.service.report import Report


class Records:
    """The records of a database; every method is one call of an SQL function.

    Raises:
        DatabaseError: from every method, where the server cannot be reached, or this role has
            not the rights.
    """

    _database: Database

    def settings(self) -> list[Setting]:
        """Return the settings of the whole database, with defaults and meanings."""
        return [
            Setting(**row) for row in self._database.rows("SELECT * FROM voxprint.show_settings()")
        ]

    def configure(self, name: str, value: float | str) -> None:
        """Change one setting for everybody, from the next call on.

        Raises:
            UsageError: there is no such setting, or it cannot have this value.
        """
        self._database.row("SELECT voxprint.configure(%s, %s)", (name, str(value)))

    def register_model(self, spec: ModelSpec) -> None:
        """Make an encoder known, so that its embeddings may be stored and compared.

        Raises:
            ModelMismatch: the database has one of this name with another dimension, or holds
                embeddings of another spec under it.
        """
        self._database.row(
            "SELECT voxprint.register_model(%s, %s, %s, %s)",
            (spec.name, spec.dim, spec.hash, spec.threshold),
        )

    def calibrations(self) -> list[Calibration]:
        """Return every stored calibration, by model and number."""
        rows = self._database.rows("SELECT * FROM voxprint.list_calibrations()")
        return [Calibration(**row) for row in rows]

    def add_calibration(
        self,
        model: str,
        spec_hash: str,
        parameters: dict[str, Any],
        *,
        report: dict[str, Any] | None = None,
        source: str = "trials",
        activate: bool = True,
        background: Sequence[dict[str, Any]] | None = None,
    ) -> int:
        """Store a calibration, and use it.

        Args:
            model, spec_hash: whose scores it was fitted on.
            parameters: what scoring reads; numbers are finite.
            report: what was measured.
            source: ``trials`` or ``decisions``.
            activate: False stores it alone.
            background: second-order statistics, ``{"weight": float, "direction": [dim floats]}``
                for each component; None takes those of the calibration in use.
        Returns:
            Its number.
        Raises:
            NotCalibrated: the database has another version of the model.
            ModelMismatch: it does not know the model.
            UsageError: a value is malformed.
        """
        from psycopg.types.json import Jsonb

        row = self._database.row(
            "SELECT voxprint.add_calibration(model => %s, spec_hash => %s, parameters => %s,"
            " report => %s, source => %s, activate => %s, background => %s) AS number",
            (
                model,
                spec_hash,
                Jsonb(parameters),
                None if report is None else Jsonb(report),
                source,
                activate,
                None if background is None else Jsonb(list(background)),
            ),
        )
        return int(row["number"])

    def background(self, calibration_id: int) -> list[dict[str, Any]]:
        """Return the statistics of a calibration, as :meth:`add_calibration` takes them.

        Raises:
            UsageError: there is no calibration of that number.
        """
        row = self._database.row(
            "SELECT voxprint.calibration_background(%s) AS rows", (calibration_id,)
        )
        return list(row["rows"])

    def use_calibration(self, calibration_id: int) -> None:
        """Take up a stored calibration, in place of the one in use.

        Raises:
            UsageError: there is none of that number.
            NotCalibrated: the model has changed since it was fitted.
        """
        self._database.row("SELECT voxprint.use_calibration(%s)", (calibration_id,))

    def decisions(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        speaker: str | None = None,
        decision: str | None = None,
        kind: str | None = None,
        labelled: bool | None = None,
        limit: int = 1000,
    ) -> list[LoggedDecision]:
        """Return recorded decisions, newest first.

        Args:
            since, until: from the first moment on, before the second.
            speaker: only about this person.
            decision: only ``accept``, ``reject`` or ``inconclusive``.
            kind: only ``verify`` or ``identify``.
            labelled: only those with a label, or only those without.
            limit: at most so many.
        Raises:
            SpeakerNotFound: nobody of that name is enrolled.
        """
        rows = self._database.rows(
            "SELECT * FROM voxprint.list_decisions(since => %s, until => %s, speaker => %s,"
            " decision => %s, kind => %s, labelled => %s, max_rows => %s)",
            (since, until, speaker, decision, kind, labelled, limit),
        )
        return [
            LoggedDecision(
                **{
                    **row,
                    "reasons": tuple(row["reasons"]),
                    "watchlists": tuple(row["watchlists"] or ()),
                }
            )
            for row in rows
        ]

    def label_decision(self, decision_id: int, same: bool) -> Label:
        """Say whether a recorded decision was about the person it names.

        Raises:
            UsageError: there is no such decision.
        """
        row = self._database.row(
            "SELECT * FROM voxprint.label_decision(%s, %s)", (decision_id, same)
        )
        return Label(decision_id=decision_id, same=same, **row)

    def labelled_decisions(self, model: str | None = None) -> list[LabelledDecision]:
        """Return the labelled decisions that a calibration can be fitted on.

        Args:
            model: whose scores; default: the default model's.
        """
        rows = self._database.rows("SELECT * FROM voxprint.labelled_decisions(%s)", (model,))
        return [LabelledDecision(**row) for row in rows]

    def report(self, *, since: datetime | None = None, until: datetime | None = None) -> Report:
        """Summarise recorded decisions from ``since`` on, before ``until``."""
        from voxprint.service.report import summarise

        return summarise(self._database, since, until)
