"""The verbs on audio, through a worker."""

from __future__ import annotations

import hashlib

import psycopg
import pytest
from article_voices import recording, silence
from domain_gallery import array, call, enroll, refused, verify, voices

VOICE = voices(1)[0]


def test_enrol_verify_identify_compare_forget_by_audio(worker, db, as_role):
    operator = as_role("voxprint_operator")
    operator.execute("SELECT voxprint.create_group('staff')")
    for number, name in enumerate(("ann", "bob", "cid")):
        (row,) = call(
            operator,
            "SELECT * FROM voxprint.enroll(%(name)s, %(audio)s, '{\"n\": 1}', '{staff}')",
            name=name,
            audio=recording(number, seconds=4),
        )
        assert (row["speaker"], row["added"], row["utterances"]) == (name, True, 1)
        assert 3 < row["speech_seconds"] <= 4
    probe = recording(1, take=5)
    reader = as_role("voxprint_reader")
    reader.execute("SET default_transaction_read_only = on")
    found = call(reader, "SELECT * FROM voxprint.identify(%(p)s, 2, '{staff}')", p=probe)
    assert [row["rank"] for row in found] == [1, 2]
    assert found[0]["speaker"] == "bob"
    assert found[0]["attributes"] == {"n": 1}
    (verified,) = call(
        reader, "SELECT * FROM voxprint.verify('bob', %(p)s, threshold => 0.3)", p=probe
    )
    assert verified["decision"] == "accept"
    assert verified["score"] == found[0]["score"]
    statement = "SELECT * FROM voxprint.compare(%(a)s, %(b)s, threshold => 0.1)"
    (compared,) = call(reader, statement, a=probe, b=recording(1, seconds=4))
    # one utterance enrolled: the voiceprint is its embedding
    assert compared["score"] == pytest.approx(verified["score"], abs=1e-6)
    assert compared["decision"] == "accept"
    (removal,) = call(operator, "SELECT * FROM voxprint.forget('bob')")
    assert removal["removed"]["voiceprints"] == 1
    assert "bob" not in {
        row["speaker"] for row in call(reader, "SELECT * FROM voxprint.identify(%(p)s)", p=probe)
    }


def test_audio_and_embedding_are_two_doors_to_one_gallery(worker, db):
    audio = recording(0)
    statement = "SELECT * FROM voxprint.enroll('ann', %(audio)s, keep_audio => %(keep)s)"
    (first,) = call(db, statement, audio=audio, keep=False)
    (again,) = call(db, statement, audio=audio, keep=True)
    assert again == {**first, "added": False}
    digest = hashlib.sha256(audio).digest()
    assert enroll(db, "ann", VOICE, sha256=digest) == again
    with refused("VX005", '"ann"'):
        call(db, "SELECT * FROM voxprint.enroll('bob', %(audio)s)", audio=audio)
    embedding = "SELECT embedding::text, audio FROM voxprint.utterances"
    ((vector, kept),) = db.execute(embedding).fetchall()
    assert kept is None
    assert verify(db, "ann", array(vector))["score"] == pytest.approx(1, abs=1e-6)
    call(db, statement, audio=recording(0, take=1), keep=True)
    (facts,) = call(
        db,
        "SELECT audio, sample_rate, seconds, quality FROM voxprint.utterances"
        " ORDER BY utterance_id DESC LIMIT 1",
    )
    assert facts["audio"] == recording(0, take=1)
    assert (facts["sample_rate"], facts["seconds"]) == (16000, pytest.approx(1.2))
    assert isinstance(facts["quality"], dict)


def test_audio_brings_its_speech_and_quality_along(worker, db):
    db.execute("SELECT voxprint.create_group('banned', watchlist => true)")
    enroll_one = "SELECT * FROM voxprint.enroll('ann', %(a)s, overrule => %(o)s)"
    (said,) = call(db, enroll_one, a=recording(0), o=False)
    assert said["ready"] is False
    assert said["speech_needed"] == pytest.approx(3 - said["speech_seconds"])
    asked = "SELECT * FROM voxprint.verify('ann', %(a)s, NULL, 0.05, '{banned}', record => true)"
    (answer,) = call(db, asked, a=recording(0, take=1))
    assert (answer["decision"], answer["far"]) == ("inconclusive", 0.05)
    assert "enrolment_too_short" in answer["reasons"]
    call(db, "SELECT * FROM voxprint.identify(%(a)s, fpir => 0.05, record => true)", a=recording(1))
    logged = call(db, "SELECT speech_seconds, quality, target_rate FROM voxprint.decisions")
    assert all(row["speech_seconds"] > 0 and row["quality"] for row in logged)
    assert [row["target_rate"] for row in logged] == [0.05, 0.05]
    assert call(db, enroll_one, a=recording(0), o=True)[0]["ready"]
    assert "enrolment_too_short" not in call(db, asked, a=recording(0, take=1))[0]["reasons"]


def test_bad_audio_is_refused_and_enrols_nobody(worker, db):
    for audio, code in ((b"", "VX012"), (b"no audio", "VX012"), (silence(), "VX013")):
        for statement in ("enroll('ann', %(a)s)", "identify(%(a)s)", "compare(%(a)s, %(a)s)"):
            with refused(code, case=statement):
                call(db, f"SELECT * FROM voxprint.{statement}", a=audio)
    good = recording(0)
    for statement, code in (
        ("enroll('ann', NULL::bytea)", "VX006"),
        ("enroll('', %(a)s)", "VX006"),
        ("enroll('ann', %(a)s, groups => '{none}')", "VX002"),
        ("enroll('ann', %(a)s, attributes => '[]')", "VX006"),
        ("verify('ann', %(a)s)", "VX001"),
        ("verify('ann', %(a)s, 'none')", "VX004"),
        ("identify(%(a)s, k => 0)", "VX006"),
    ):
        with refused(code, case=statement):
            call(db, f"SELECT * FROM voxprint.{statement}", a=good)
    assert call(db, "SELECT * FROM voxprint.list_speakers()") == []


def test_a_worker_of_another_spec_is_refused(worker, db):
    db.execute("SELECT voxprint.register_model('campplus_zh_en_192', 192, 'feed0000', NULL)")
    with refused("VX004", "spec feed0000"):
        call(db, "SELECT * FROM voxprint.identify(%(a)s)", a=recording(0))


def test_without_open_analytic_embeddings_work_and_audio_says_what_is_missing(db):
    db.execute("DROP EXTENSION open_analytic CASCADE")
    enroll(db, "ann", VOICE)
    assert verify(db, "ann", VOICE)["score"] == pytest.approx(1, abs=1e-6)
    for statement in (
        "enroll('ann', ''::bytea)",
        "verify('ann', ''::bytea)",
        "identify(''::bytea)",
    ):
        with refused("VX010", "CREATE EXTENSION open_analytic", case=statement):
            call(db, f"SELECT * FROM voxprint.{statement}")


@pytest.mark.parametrize("order", [("open_analytic", "voxprint"), ("voxprint", "open_analytic")])
def test_either_extension_may_come_first(worker, db: psycopg.Connection, order):
    db.execute("DROP EXTENSION voxprint, open_analytic")
    for name in order:
        db.execute(f"CREATE EXTENSION {name}")
    call(db, "SELECT * FROM voxprint.enroll('ann', %(a)s)", a=recording(0))
    (found,) = call(db, "SELECT * FROM voxprint.identify(%(a)s)", a=recording(0, take=1))
    assert found["speaker"] == "ann"
