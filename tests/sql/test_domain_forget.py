"""forget: what goes, what stays."""

from __future__ import annotations

import hashlib

import psycopg
from domain_gallery import call, enroll, identify, refused, voices
from psycopg.types.json import Jsonb

VOICES = voices(4)


def test_forget_removes_the_person_everywhere_and_says_what(as_role, db):
    operator = as_role("voxprint_operator")
    operator.execute("SELECT voxprint.create_group('staff')")
    db.execute("SELECT voxprint.register_model('small', 3)")
    digest = hashlib.sha256(b"a").digest()
    enroll(operator, "ann", VOICES[0], sha256=digest, groups=["staff"], audio=b"x", consent="c")
    enroll(operator, "ann", VOICES[1], attributes=Jsonb({"secret": 1}))
    enroll(operator, "ann", voices(1, dim=3)[0], model="small")
    enroll(operator, "bob", VOICES[2], groups=["staff"])
    (removal,) = call(operator, "SELECT * FROM voxprint.forget('ann')")
    assert removal["scrub_pending"] is True
    assert removal["removed"] == {
        "speakers": 1,
        "memberships": 1,
        "utterances": 3,
        "voiceprints": 2,
        "decisions": 0,
    }
    (tombstone,) = call(db, "SELECT * FROM voxprint.tombstones")
    assert tombstone.pop("forgotten_at") is not None
    assert tombstone == {
        "tombstone": removal["tombstone"],
        "removed": removal["removed"],
        "scrubbed_at": None,
    }
    assert [row["speaker"] for row in identify(operator, VOICES[0])] == ["bob"]
    for table in ("speakers", "memberships", "utterances", "voiceprints"):
        assert db.execute(f"SELECT count(*) FROM voxprint.{table}").fetchone() == (1,)
    with refused("VX001", '"ann"'):
        operator.execute("SELECT voxprint.forget('ann')")
    # no digest is left that would tell who had spoken: anybody may enrol the recording now
    assert enroll(operator, "bob", VOICES[0], sha256=digest)["added"]


def test_forget_is_undone_with_its_transaction(db: psycopg.Connection):
    enroll(db, "ann", VOICES[0])
    with db.transaction(force_rollback=True):
        db.execute("SELECT voxprint.forget('ann')")
        assert identify(db, VOICES[0]) == []
    assert [row["speaker"] for row in identify(db, VOICES[0])] == ["ann"]
    assert call(db, "SELECT * FROM voxprint.tombstones") == []


def test_somebody_forgotten_can_come_back_as_a_stranger(db):
    enroll(db, "ann", VOICES[0], attributes=Jsonb({"age": 41}))
    db.execute("SELECT voxprint.forget('ann')")
    assert enroll(db, "ann", VOICES[0])["utterances"] == 1
    assert call(db, "SELECT attributes FROM voxprint.list_speakers()") == [{"attributes": {}}]
