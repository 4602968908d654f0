"""After a removal and a scrub no file of the data folder holds anything of the person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from voxprint.db.connection import Database
from voxprint.db.scrub import scrub
from voxprint.db.server import Server
from voxprint.errors import DatabaseError

FAST = {"fsync": "off"}


@pytest.fixture
def gallery(data: Path) -> Iterator[Server]:
    """A server with nobody enrolled, whose whole folder the test may read."""
    with Server(data, settings=FAST) as server:
        yield server
        with psycopg.connect(server.conninfo()) as db:
            for (name,) in db.execute("SELECT speaker FROM voxprint.list_speakers()").fetchall():
                db.execute("SELECT voxprint.forget(%s)", [name])
            db.commit()
            db.autocommit = True
            scrub(db)


def voice(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(192).astype(np.float32)
    return vector / np.linalg.norm(vector)


def enroll(db: psycopg.Connection, name: str, seed: int, audio: bytes | None = None) -> None:
    db.execute(
        "SELECT voxprint.enroll(%s, embedding => %s::vector, sha256 => sha256(%s), audio => %s,"
        " attributes => jsonb_build_object('note', %s::text))",
        [name, str(voice(seed).tolist()), f"{name}{seed}".encode(), audio, f"about {name}"],
    )


def stored(db: psycopg.Connection, name: str) -> list[bytes]:
    """All embeddings of a person (utterances, then reference), as the server stores them."""
    rows = db.execute(
        "SELECT u.embedding::real[] FROM voxprint.utterances u"
        " JOIN voxprint.speakers s USING (speaker_id) WHERE s.external_id = %(name)s"
        " UNION ALL "
        "SELECT v.embedding::real[] FROM voxprint.voiceprints v"
        " JOIN voxprint.speakers s USING (speaker_id) WHERE s.external_id = %(name)s",
        {"name": name},
    )
    return [np.array(row[0], np.float32).tobytes() for row in rows]


def files_with(folder: Path, needle: bytes) -> set[str]:
    """Files that hold ``needle``; the read goes past the server, so it must have written all."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and needle in path.read_bytes():
            found.add(str(path.relative_to(folder)))
    return found


def test_nothing_of_a_forgotten_person_is_left(gallery: Server) -> None:
    data = gallery.data
    kept_audio, lost_audio = b"audio of the one who stays" * 99, b"audio of the one who goes" * 99
    with psycopg.connect(gallery.conninfo(), autocommit=True) as db:
        for seed in range(50):
            enroll(db, f"stays-{seed}", seed, kept_audio)
        enroll(db, "goes-away", 1000, lost_audio)  # the last row of its page
        enroll(db, "goes-away", 1001)
        db.execute("ANALYZE")
        db.execute("CHECKPOINT")
        embeddings = stored(db, "goes-away")
        assert len(embeddings) == 3
        stays = stored(db, "stays-49")[0]
        secrets = [*embeddings, lost_audio[:50], b"goes-away", b"about goes-away"]
        assert [secret for secret in secrets if not files_with(data, secret)] == []
        db.execute("SELECT voxprint.forget('goes-away')")
        db.execute("CHECKPOINT")
        assert any(files_with(data, secret) for secret in secrets)  # deleting is not erasing
        report = scrub(db)
        assert {"utterances", "voiceprints", "speakers"} <= set(report.tables)
        assert report.tombstones >= 1
        assert report.kept_by == ()
        assert {secret: files_with(data, secret) for secret in secrets} == {
            secret: set() for secret in secrets
        }
        assert files_with(data, stays)
        pending = db.execute("SELECT count(*) FROM voxprint.tombstones WHERE scrubbed_at IS NULL")
        assert pending.fetchone() == (0,)
    assert not files_with(data, embeddings[0])


def test_an_older_snapshot_is_waited_for(gallery: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxprint.db.scrub.PATIENCE", 0.5)
    with (
        psycopg.connect(gallery.conninfo()) as reader,
        psycopg.connect(gallery.conninfo(), autocommit=True) as db,
    ):
        enroll(db, "goes-away", 7)
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT 1")
        db.execute("SELECT voxprint.forget('goes-away')")
        with pytest.raises(DatabaseError, match=f"process {reader.info.backend_pid}"):
            scrub(db)
        pending = db.execute("SELECT count(*) FROM voxprint.tombstones WHERE scrubbed_at IS NULL")
        assert pending.fetchone() == (1,)
        reader.rollback()
        assert scrub(db).tombstones == 1


def test_a_role_that_may_not_is_told_before_anything_happens(
    as_role: Callable[..., psycopg.Connection], db: psycopg.Connection
) -> None:
    reader = as_role("voxprint_reader")
    with pytest.raises(DatabaseError, match="voxprint_owner") as caught:
        scrub(reader)
    assert "superuser" in caught.value.hint
    owner = as_role("voxprint_owner")
    with pytest.raises(DatabaseError, match="right to CHECKPOINT"):
        scrub(owner)
    assert db.execute("SELECT count(*) FROM voxprint.tombstones").fetchone() == (0,)


def test_an_owner_with_the_rights_may(
    as_role: Callable[..., psycopg.Connection], db: psycopg.Connection
) -> None:
    owner = as_role("voxprint_owner", "pg_checkpoint", "pg_read_all_stats")
    db.execute(f"GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {owner.info.user}")
    assert "utterances" in scrub(owner).tables


def test_a_database_without_voxprint(server: Server) -> None:
    database = Database(server.conninfo("postgres"))
    with database.connection() as connection, pytest.raises(DatabaseError, match="no schema"):
        scrub(connection)
    database.close()
