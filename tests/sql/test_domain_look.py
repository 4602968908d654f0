"""Looks at a claim while somebody speaks: bounds, records, alerts, and who may look."""

from __future__ import annotations

import json

import numpy as np
import psycopg
import pytest
from domain_gallery import call, enroll, text, utterances, voices
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxprint.errors import UsageError
from voxprint.score.sequential import LEAST_TO_DECIDE, Bounds

VOICES = voices(14, seed=5)
SPEECH = {"snr_db": 25.0, "bandwidth_hz": 7600, "reasons": []}


@pytest.fixture
def gallery(db):
    for person, voice in enumerate(VOICES):
        for number, vector in enumerate(utterances(voice, 3, seed=person)):
            enroll(
                db, f"p{person}", vector, speech_seconds=4.0, sha256=bytes([person, number] * 16)
            )
    return db


def look(connection, person, vector, **more):
    facts = {"speech_seconds": 4.0, "quality": json.dumps(SPEECH), **more}
    extra = "".join(f", {name} => %({name})s" for name in facts)
    statement = f"SELECT * FROM voxprint.look(%(speaker)s, %(vector)s::vector{extra})"
    return call(connection, statement, speaker=person, vector=vector, **facts)[0]


def logged(connection):
    return call(connection, "SELECT * FROM voxprint.list_decisions()")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(far=st.floats(1e-6, 0.5), frr=st.floats(1e-6, 0.49), cohort=st.integers(0, 600))
def test_bounds_are_those_of_python(db, far, frr, cohort) -> None:
    row = db.execute("SELECT * FROM voxprint._bounds(%s, %s, %s)", (far, frr, cohort)).fetchone()
    bounds = Bounds.of(far, frr, cohort)
    assert row == pytest.approx((bounds.accept, bounds.reject))
    assert bounds.reject <= 0 <= bounds.accept


@pytest.mark.parametrize(("far", "frr"), [(0, 0.1), (0.1, 1), (0.6, 0.4), (float("nan"), 0.1)])
def test_rates_out_of_range_are_refused_alike(gallery, far, frr) -> None:
    with pytest.raises(UsageError):
        Bounds.of(far, frr, 100)
    with pytest.raises(psycopg.Error) as caught:
        look(gallery, "p0", VOICES[0], far=far, frr=frr)
    assert caught.value.sqlstate == "VX006"


def test_the_person_is_accepted_and_others_are_rejected_and_both_recorded(gallery) -> None:
    own = look(gallery, "p0", utterances(VOICES[0], 1, seed=99)[0])
    other = look(gallery, "p1", utterances(VOICES[0], 1, seed=99)[0])
    assert (own["decision"], other["decision"]) == ("accept", "reject")
    assert own["llr"] >= own["accept_llr"] > 0 > other["reject_llr"] >= other["llr"]
    assert [(row["kind"], row["speaker"], row["decision"]) for row in logged(gallery)] == [
        ("watch", "p1", "reject"),
        ("watch", "p0", "accept"),
    ]
    assert {own["decision_id"], other["decision_id"]} == {
        row["decision_id"] for row in logged(gallery)
    }


def test_what_is_not_decided_is_not_recorded(gallery) -> None:
    answer = look(gallery, "p0", utterances(VOICES[0], 1, seed=99)[0], far=1e-12, frr=1e-12)
    assert (answer["decision"], answer["decision_id"]) == ("undecided", None)
    assert logged(gallery) == []


def test_too_little_speech_decides_nothing(gallery) -> None:
    (least,) = gallery.execute("SELECT voxprint._least_to_decide()").fetchone()
    assert least == LEAST_TO_DECIDE
    for person in ("p0", "p1"):
        answer = look(gallery, person, VOICES[0], speech_seconds=least - 0.01)
        assert (answer["decision"], answer["decision_id"]) == ("undecided", None)
    assert look(gallery, "p0", VOICES[0], speech_seconds=least)["decision"] == "accept"


def test_what_was_decided_stays_and_is_not_recorded_again(gallery) -> None:
    answer = look(gallery, "p0", VOICES[1], decided="accept")
    assert (answer["decision"], answer["decision_id"]) == ("accept", None)
    assert answer["llr"] < answer["reject_llr"]
    assert logged(gallery) == []


def test_whoever_listens_hears_of_a_reject_and_a_change_and_not_about_whom(gallery, conninfo):
    with psycopg.connect(conninfo, autocommit=True) as listener:
        listener.execute("LISTEN voxprint_alert")
        look(gallery, "p0", VOICES[0])
        reject = look(gallery, "p1", VOICES[0])
        changed = look(gallery, "p0", VOICES[1], decided="accept", changed=True)
        heard = [json.loads(each.payload) for each in listener.notifies(timeout=2, stop_after=2)]
    assert heard == [
        {"decision_id": reject["decision_id"], "decision": "reject"},
        {"decision_id": changed["decision_id"], "decision": "changed"},
    ]
    assert changed["decision"] == "changed"


def test_a_person_with_too_little_speech_stays_undecided_with_the_reason(gallery) -> None:
    enroll(gallery, "new", utterances(VOICES[0], 1, seed=50)[0], speech_seconds=1.0)
    answer = look(gallery, "new", utterances(VOICES[0], 1, seed=51)[0])
    assert answer["decision"] == "undecided"
    assert "enrolment_too_short" in answer["reasons"]


def test_what_is_decided_before_is_one_of_three(gallery) -> None:
    with pytest.raises(psycopg.Error, match="undecided"):
        look(gallery, "p0", VOICES[0], decided="perhaps")


def test_a_model_without_a_calibration_cannot_be_watched_by(gallery) -> None:
    gallery.execute("SELECT voxprint.register_model('mine', 192, threshold => 0.5)")
    enroll(gallery, "p0", VOICES[0], speech_seconds=9.0, model="mine")
    for statement in (
        "SELECT voxprint.check_watch('p0', 'mine')",
        f"SELECT voxprint.look('p0', '{text(VOICES[0])}'::vector, 'mine')",
    ):
        with pytest.raises(psycopg.Error) as caught:
            gallery.execute(statement)
        assert caught.value.sqlstate == "VX008"


def test_nobody_and_the_suspended_are_not_watched(gallery) -> None:
    gallery.execute("SELECT voxprint.set_status('p2', 'suspended')")
    for name, state in (("nobody", "VX001"), ("p2", "VX006")):
        with pytest.raises(psycopg.Error) as caught:
            gallery.execute("SELECT voxprint.check_watch(%s)", (name,))
        assert caught.value.sqlstate == state


def test_readers_may_look_and_nobody_else(gallery, as_role) -> None:
    assert look(as_role("voxprint_reader"), "p0", VOICES[0])["decision"] == "accept"
    for roles in ((), ("voxprint_auditor",)):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            look(as_role(*roles), "p0", VOICES[0])


def test_a_person_who_is_forgotten_leaves_nothing_in_the_log(gallery) -> None:
    look(gallery, "p1", np.asarray(VOICES[0]))
    gallery.execute("SELECT voxprint.forget('p1')")
    (row,) = logged(gallery)
    assert (row["speaker"], row["score"], row["llr"], row["features"]) == (None,) * 4
