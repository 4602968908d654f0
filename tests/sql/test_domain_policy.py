"""What enrolment asks of recordings, what it says about them, and who it finds twice."""

from __future__ import annotations

import json

import numpy as np
import psycopg
import pytest
from domain_gallery import call, enroll, identify, refused, unit, utterances, verify, voices
from psycopg.types.json import Jsonb

VOICES = voices(8)


@pytest.fixture
def operator(as_role, db) -> psycopg.Connection:
    """Model ``plain`` has no calibration: its cosine threshold decides, whoever is enrolled."""
    db.execute("SELECT voxprint.register_model('plain', 192, threshold => 0.5)")
    return as_role("voxprint_operator")


def add(connection: psycopg.Connection, speaker: str, vector: np.ndarray, **more: object) -> dict:
    return enroll(connection, speaker, vector, model="plain", **more)


def decisions(connection: psycopg.Connection, speaker: str, vector: np.ndarray) -> tuple:
    """By verification and by identification, and the reasons of the first."""
    verified = verify(connection, speaker, vector, model="plain")
    (found,) = [r for r in identify(connection, vector, model="plain") if r["speaker"] == speaker]
    return verified["decision"], found["decision"], verified["reasons"]


def quality(*reasons: str, **more: object) -> Jsonb:
    return Jsonb({"reasons": list(reasons), **more})


def test_enrolment_says_how_much_more_speech_it_needs(operator):
    first, second, third = utterances(VOICES[0], 3)
    said = add(operator, "ann", first, speech_seconds=1.0)
    assert (said["ready"], said["speech_needed"], said["reasons"]) == (False, 2.0, ["too_short"])
    for probe in (first, VOICES[1]):
        assert decisions(operator, "ann", probe)[0] == "inconclusive"
        assert "enrolment_too_short" in decisions(operator, "ann", probe)[2]
    assert decisions(operator, "ann", first)[1] == "inconclusive"
    fixed = verify(operator, "ann", first, model="plain", threshold=0.1)
    assert fixed["decision"] == "inconclusive"
    telephone = quality(bandwidth_hz=3400)  # a channel of its own, and the same person
    said = add(operator, "ann", second, speech_seconds=1.5, quality=telephone)
    assert (said["ready"], said["speech_needed"]) == (False, 0.5)
    said = add(operator, "ann", third, speech_seconds=0.5)
    assert (said["ready"], said["speech_needed"], said["reasons"]) == (True, 0.0, [])
    assert decisions(operator, "ann", first) == ("accept", "accept", ["uncalibrated"])
    assert decisions(operator, "ann", VOICES[1])[:2] == ("reject", "reject")


def test_each_model_needs_speech_of_its_own(operator):
    add(operator, "ann", VOICES[0], speech_seconds=10)
    said = enroll(operator, "ann", VOICES[0], speech_seconds=1)
    assert (said["ready"], said["utterances"]) == (False, 1)


def test_unknown_speech_counts_as_enough(operator):
    assert add(operator, "ann", VOICES[0])["ready"]
    assert add(operator, "ann", VOICES[0] + 0.01, speech_seconds=0)["ready"]


def test_overruling_makes_ready_at_once_or_later(operator):
    said = add(operator, "ann", VOICES[0], speech_seconds=0.5, overrule=True)
    assert (said["ready"], said["speech_needed"], said["reasons"]) == (True, 0, [])
    assert not add(operator, "bob", VOICES[1], speech_seconds=0.5)["ready"]
    again = add(operator, "bob", VOICES[1], speech_seconds=0.5, overrule=True)
    assert (again["added"], again["ready"], again["utterances"]) == (False, True, 1)
    assert decisions(operator, "bob", VOICES[1])[0] == "accept"
    assert not add(operator, "bob", VOICES[1])["added"]
    assert decisions(operator, "bob", VOICES[1])[0] == "accept"


def test_another_minimum_makes_other_people_ready(operator, as_role):
    admin = as_role("voxprint_admin")
    add(operator, "ann", VOICES[0], speech_seconds=2)
    configure = "SELECT voxprint.configure('min_enrol_speech', %s)"
    for minimum, decision in (("2", "accept"), ("2.5", "inconclusive"), ("0", "accept")):
        admin.execute(configure, [minimum])
        assert decisions(operator, "ann", VOICES[0])[0] == decision, minimum


def test_two_people_in_one_recording_are_refused_and_leave_nothing(operator):
    two = quality("noisy", "more_than_one_speaker")
    with pytest.raises(psycopg.Error) as caught:
        add(operator, "ann", VOICES[0], quality=two)
    assert caught.value.sqlstate == "VX007"
    assert json.loads(caught.value.diag.message_detail) == ["more_than_one_speaker"]
    assert "overrule" in caught.value.diag.message_hint
    assert call(operator, "SELECT * FROM voxprint.list_speakers()") == []
    said = add(operator, "ann", VOICES[0], quality=two, overrule=True)
    assert said["reasons"] == ["noisy", "more_than_one_speaker"]
    assert not add(operator, "ann", VOICES[0], quality=two)["added"]  # it is in already
    with refused("VX005"):
        add(operator, "bob", VOICES[0], quality=two)


def test_poor_recordings_are_taken_with_their_reasons(operator):
    poor = quality("narrowband", "noisy", "clipped", "mostly_silence", "of our making", 7)
    said = add(operator, "ann", VOICES[0], quality=poor)
    assert said["reasons"] == ["noisy", "clipped", "narrowband", "mostly_silence"]
    (kept,) = call(operator, "SELECT * FROM voxprint.list_utterances('ann')")
    assert kept["reasons"] == said["reasons"]
    assert (kept["quality"], kept["kept_audio"]) == (poor.obj, False)
    with refused("VX001", '"bob"'):
        operator.execute("SELECT voxprint.list_utterances('bob')")


def test_quality_of_another_shape_says_nothing(operator):
    odd_ones: list[dict] = [
        {"reasons": "more_than_one_speaker"},
        {"reasons": {"more_than_one_speaker": 1}},
        {"reasons": None, "bandwidth_hz": None},
        {"bandwidth_hz": "3400"},
        {"bandwidth_hz": [3400]},
        {},
    ]
    for number, odd in enumerate(odd_ones):
        said = add(operator, f"p{number}", VOICES[number], quality=Jsonb(odd))
        assert (said["added"], said["reasons"]) == (True, []), odd
        (kept,) = call(operator, f"SELECT channel FROM voxprint.list_utterances('p{number}')")
        assert kept["channel"] == "any", odd


def test_a_voice_that_disagrees_with_those_enrolled_is_said(operator):
    mine = utterances(VOICES[0], 3)
    for vector in mine:
        assert add(operator, "ann", vector)["reasons"] == []
    said = add(operator, "ann", VOICES[1])
    assert (said["added"], said["reasons"]) == (True, ["disagrees_with_enrolled"])
    assert add(operator, "ann", mine[0])["reasons"] == []


def test_a_voice_under_another_name_is_found_at_enrolment(operator):
    add(operator, "ann", VOICES[0])
    add(operator, "bob", VOICES[1])
    again, more = utterances(VOICES[0], 2)
    said = add(operator, "cid", again)
    (duplicate,) = said["duplicates"]
    assert (duplicate["speaker"], duplicate["llr"]) == ("ann", None)
    assert duplicate["score"] == pytest.approx(float(again @ VOICES[0]), abs=1e-6)
    assert [d["speaker"] for d in add(operator, "ann", more)["duplicates"]] == ["cid"]
    assert add(operator, "bob", utterances(VOICES[1], 1)[0])["duplicates"] == []
    pairs = call(operator, "SELECT speaker, other FROM voxprint.find_duplicates(NULL, 'plain')")
    assert pairs == [{"speaker": "ann", "other": "cid"}]
    operator.execute("SELECT voxprint.set_status('cid', 'suspended')")
    assert call(operator, "SELECT * FROM voxprint.find_duplicates(model => 'plain')") == []


def test_duplicates_are_found_by_index_and_among_those_not_ready(operator):
    operator.execute("SET fastann.index_scan_mode = ann")
    assert call(operator, "SELECT * FROM voxprint.find_duplicates()") == []
    add(operator, "ann", VOICES[0], speech_seconds=1)
    (duplicate,) = add(operator, "bob", unit(VOICES[0] + 0.01))["duplicates"]
    assert duplicate["speaker"] == "ann"
    (pair,) = call(operator, "SELECT * FROM voxprint.find_duplicates(0.5, 'plain')")
    assert (pair["speaker"], pair["other"], pair["llr"]) == ("ann", "bob", None)
    for far in ("0", "1", "'NaN'", "-0.1", "'Infinity'"):
        with refused("VX006", "above 0 and below 1", case=far):
            operator.execute(f"SELECT voxprint.find_duplicates({far})")
    with refused("VX004"):
        operator.execute("SELECT voxprint.find_duplicates(model => 'none')")
