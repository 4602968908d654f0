"""After forget and a scrub, no byte of a voice is left anywhere in the data folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from domain_gallery import array, call, enroll, utterances, voices
from psycopg.types.json import Jsonb

from voxprint.db.scrub import scrub
from voxprint.db.server import Server

VOICES = voices(40)
NAME = "Zebedee Quillfeather of Nether Wallop"
AUDIO = bytes(range(256)) * 40 + b"the only recording"


@pytest.fixture
def own_server(open_folder: Path) -> Iterator[tuple[Server, Path]]:
    """A server of this test alone: in the session's, other tests would write the same files."""
    with Server(open_folder / "data") as running:
        yield running, open_folder / "data"


def windows(vector: np.ndarray) -> list[bytes]:
    """Pieces of 16 bytes of a float32 vector, from its beginning, middle and end."""
    raw = vector.astype("<f4").tobytes()
    return [raw[i : i + 16] for i in (0, 128, 384, len(raw) - 16)]


def places(folder: Path, pieces: list[bytes]) -> list[set[str]]:
    """For each piece the kinds of files (base, pg_wal, pg_stat, ...) in which it stands."""
    found: list[set[str]] = [set() for _ in pieces]
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            try:
                data = path.read_bytes() if path.is_file() else b""
            except FileNotFoundError:  # a segment or a temporary file that has just gone
                continue
            for piece, kinds in zip(pieces, found, strict=True):
                if piece in data:
                    kinds.add(path.relative_to(folder).parts[1])
    return found


def test_no_byte_of_a_forgotten_voice_is_left(own_server: tuple[Server, Path]):
    running, data = own_server
    spoken = utterances(VOICES[-1], 3)
    with psycopg.connect(running.conninfo(), autocommit=True) as db:
        for i, voice in enumerate(VOICES[:-1]):
            enroll(db, f"p{i}", voice)
        more = {"attributes": Jsonb({"motto": NAME}), "consent": NAME}
        for vector in spoken:  # the last tuples of their pages
            enroll(db, NAME, vector, audio=AUDIO, **more)
        stored = [array(value) for (value,) in db.execute(STORED)]
        (voiceprint,) = db.execute(VOICEPRINT, [NAME]).fetchone()
        assert np.allclose(stored[-3:], spoken, atol=1e-6)
        secrets = [piece for v in [*stored[-3:], array(voiceprint)] for piece in windows(v)]
        secrets += [NAME.encode(), AUDIO[:64], AUDIO[-32:]]
        assert "pg_wal" in set.union(*places(data, secrets))
        db.execute("ANALYZE")
        db.execute("CHECKPOINT")
        # each must be found while the person is enrolled, or the test could not fail
        assert all("base" in kinds for kinds in places(data, secrets))

        (removal,) = call(db, "SELECT * FROM voxprint.forget(%(name)s)", name=NAME)
        assert removal["removed"]["utterances"] == 3
        for command in ("VACUUM", "ANALYZE", "CHECKPOINT"):
            db.execute(command)
        assert "base" in set.union(*places(data, secrets)), "deleting alone erases nothing"

        scrub(db)
        assert places(data, secrets) == [set()] * len(secrets)
        assert all("base" in kinds for kinds in places(data, windows(stored[0])))
        pending = "SELECT count(*) FROM voxprint.tombstones WHERE scrubbed_at IS NULL"
        assert db.execute(pending).fetchone() == (0,)
    running.stop()
    assert places(data, secrets) == [set()] * len(secrets)


STORED = "SELECT embedding::text FROM voxprint.utterances ORDER BY utterance_id"
VOICEPRINT = """
SELECT v.embedding::text FROM voxprint.voiceprints v JOIN voxprint.speakers s USING (speaker_id)
WHERE s.external_id = %s
"""
