"""Which of a person's utterances does not belong to them, and how it is taken out."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from domain_gallery import call, enroll, refused, unit, utterances, verify, voices

VOICES = voices(8)
PLAIN = {"model": "plain"}  # no calibration: its cosine threshold decides


@pytest.fixture
def operator(as_role, db) -> psycopg.Connection:
    db.execute("SELECT voxprint.register_model('plain', 192, threshold => 0.5)")
    return as_role("voxprint_operator")


def cohesion(connection: psycopg.Connection, *vectors: np.ndarray) -> list[dict]:
    for vector in vectors:
        enroll(connection, "ann", vector, **PLAIN)
    return call(connection, "SELECT * FROM voxprint.cohesion('ann', 'plain')")


def test_one_bad_utterance_is_named_wherever_it_stands(operator):
    for place in (0, 2, 4):
        vectors = list(utterances(VOICES[0], 4))
        vectors.insert(place, VOICES[1])
        found = cohesion(operator, *vectors)
        assert [row["outlier"] for row in found] == [i == place for i in range(5)]
        assert all(row["score"] < 0.3 if row["outlier"] else row["score"] > 0.6 for row in found)
        bad = found[place]["utterance_id"]
        (removal,) = call(operator, f"SELECT * FROM voxprint.remove_utterance('ann', {bad})")
        assert removal["removed"] == {"utterances": 1, "voiceprints": 0}
        assert removal["scrub_pending"] is True
        assert not any(row["outlier"] for row in cohesion(operator))
        rest = unit(np.delete(vectors, place, axis=0).astype(np.float64).mean(axis=0))
        assert verify(operator, "ann", rest, **PLAIN)["score"] == pytest.approx(1, abs=1e-6)
        operator.execute("SELECT voxprint.forget('ann')")


def test_fewer_than_half_may_be_bad_even_where_they_agree(operator):
    found = cohesion(operator, *utterances(VOICES[1], 2), *utterances(VOICES[0], 3, seed=1))
    assert [row["outlier"] for row in found] == [True, True, False, False, False]


def test_of_two_that_disagree_both_are_named(operator):
    assert [row["outlier"] for row in cohesion(operator, VOICES[0], VOICES[1])] == [True, True]


def test_one_alone_agrees_with_nobody_and_is_not_bad(operator):
    (row,) = cohesion(operator, VOICES[0])
    assert (row["score"], row["llr"], row["outlier"]) == (None, None, False)


def test_utterances_that_cancel_out_are_outliers_not_errors(operator):
    found = cohesion(operator, VOICES[0], VOICES[1], unit(-VOICES[0] + 0.001))
    assert all(row["score"] < 0.5 for row in found)


def test_removing_what_is_not_theirs_is_refused(operator):
    enroll(operator, "ann", VOICES[0])
    theirs = enroll(operator, "bob", VOICES[1])["utterance_id"]
    remove = "SELECT * FROM voxprint.remove_utterance"
    for arguments, code, words in (
        (f"('ann', {theirs})", "VX006", "has no utterance"),
        ("('ann', NULL)", "VX006", "NULL"),
        (f"('cid', {theirs})", "VX001", '"cid"'),
    ):
        with refused(code, words, case=arguments):
            call(operator, remove + arguments)
    with refused("VX001", '"cid"'):
        operator.execute("SELECT voxprint.cohesion('cid')")
    with refused("VX004", '"none"'):
        operator.execute("SELECT voxprint.cohesion('ann', 'none')")
    (removal,) = call(operator, f"{remove}('bob', {theirs})")
    assert removal["removed"] == {"utterances": 1, "voiceprints": 1}
    rows = call(operator, "SELECT speaker, utterances FROM voxprint.list_speakers()")
    assert rows == [{"speaker": "ann", "utterances": 1}, {"speaker": "bob", "utterances": 0}]
    with refused("VX004", "no voiceprint"):
        verify(operator, "bob", VOICES[1])


def test_an_answer_never_changes_a_reference(operator, db):
    for vector in utterances(VOICES[0], 2):
        enroll(operator, "ann", vector, **PLAIN)
    contents = (
        "SELECT v::text FROM voxprint.voiceprints v UNION SELECT u::text FROM voxprint.utterances u"
    )
    before = call(db, contents)
    assert verify(operator, "ann", VOICES[0], record=True, **PLAIN)["decision"] == "accept"
    call(operator, "SELECT * FROM voxprint.cohesion('ann', 'plain')")
    assert call(db, contents) == before
