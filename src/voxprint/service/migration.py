"""A gallery from one model to another: what was kept is heard again, who must come is named."""

from __future__ import annotations

from collections.abc import Callable

from voxprint.db.connection import Database
from voxprint.errors import AudioError, EnrolledElsewhere
from voxprint.types import Migration

#: Told how many recordings are done, of how many.
Progress = Callable[[int, int], None]


def migrate(
    database: Database, model: str, *, dry_run: bool = False, progress: Progress = lambda *_: None
) -> Migration:
    """Have a model hear all that was kept; every recording is a transaction of its own.

    Broken off, it goes on where it stopped: what the model has heard is not listed any more.

    Args:
        database: of the gallery; a worker must serve the model.
        model: that is to hear it.
        dry_run: hear nothing, only say what would become of it.
        progress: told after each recording.

    Raises:
        ModelMismatch: the database does not know the model.
        WorkerUnavailable: there is no worker.
        DatabaseError: the worker serves other models.
    """
    listed = database.rows("SELECT * FROM voxprint.list_unmigrated(%s)", (model,))
    kept = [row for row in listed if row["kept_audio"]]
    heard, refused = 0, []
    for done, row in enumerate([] if dry_run else kept, start=1):
        try:
            database.row("SELECT voxprint.migrate_utterance(%s, %s)", (row["utterance_id"], model))
            heard += 1
        except (AudioError, EnrolledElsewhere) as error:  # the other recordings may be heard
            refused.append((row["speaker"], row["utterance_id"], str(error)))
        progress(done, len(kept))
    if dry_run:
        heard = len(kept)
    return Migration(model, heard, tuple(refused), _again(database, model, kept if dry_run else []))


def _again(database: Database, model: str, would_be: list[dict[str, object]]) -> tuple[str, ...]:
    """Who has no voiceprint of this model, nor would have."""
    rows = database.rows(
        "SELECT s.speaker FROM voxprint.list_speakers() s WHERE NOT EXISTS ("
        " SELECT FROM voxprint.list_utterances(s.speaker) u WHERE u.model = %s) ORDER BY 1",
        (model,),
    )
    soon = {row["speaker"] for row in would_be}
    return tuple(row["speaker"] for row in rows if row["speaker"] not in soon)
