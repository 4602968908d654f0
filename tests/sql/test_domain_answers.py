"""What verify, identify and compare answer besides a score, and what they refuse."""

from __future__ import annotations

from itertools import product

import numpy as np
import psycopg
import pytest
from domain_gallery import call, enroll, identify, refused, unit, utterances, verify, voices
from psycopg.types.json import Jsonb

VOICES = voices(8)
PLAIN = {"model": "plain"}


@pytest.fixture
def reader(as_role, db) -> psycopg.Connection:
    """Model ``plain`` has no calibration: its cosine threshold decides, whoever is enrolled."""
    db.execute("SELECT voxprint.register_model('plain', 192, threshold => 0.5)")
    return as_role("voxprint_reader")


def between(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return unit(share * a + (1 - share) * b)


#: arguments of any of the three, what message or hint say
REFUSALS = [
    ("{rate} => 0", "above 0 and below 1"),
    ("{rate} => 1", "above 0 and below 1"),
    ("{rate} => -0.5", "got -0.5"),
    ("{rate} => 'NaN'", "got NaN"),
    ("{rate} => 'Infinity'", "got Infinity"),
    ("threshold => 'NaN'", "-1 to 1"),
    ("speech_seconds{a} => -1", "got -1"),
    ("speech_seconds{a} => 'NaN'", "got NaN"),
    ("speech_seconds{a} => 'Infinity'", "got Infinity"),
    ("quality{a} => '[]'", "quality is a JSON object"),
    ("quality{a} => '1'", "JSON number"),
    ("quality{a} => 'null'", "JSON null"),
]


def test_arguments_out_of_range_are_refused(reader, db):
    enroll(db, "ann", VOICES[0])
    verbs = (
        ("verify('ann', %(v)s::vector, ", "far", ""),
        ("identify(%(v)s::vector, ", "fpir", ""),
        ("compare(%(v)s::vector, %(v)s::vector, ", "far", "_a"),
        ("compare(%(v)s::vector, %(v)s::vector, ", "far", "_b"),
    )
    for (verb, rate, a), (argument, words) in product(verbs, REFUSALS):
        statement = f"SELECT * FROM voxprint.{verb}{argument.format(rate=rate, a=a)})"
        with refused("VX006", words, case=statement):
            call(reader, statement, v=VOICES[0])


def test_without_a_calibration_the_cosine_decides_and_says_so(reader, db):
    enroll(db, "ann", VOICES[0], **PLAIN)
    quality = Jsonb({"reasons": ["noisy"], "bandwidth_hz": 8000})
    found = verify(reader, "ann", VOICES[0], quality=quality, speech_seconds=0.5, **PLAIN)
    assert found.pop("score") == pytest.approx(1, abs=1e-6)
    assert {"noisy", "uncalibrated"} <= set(found.pop("reasons"))
    assert {name: found[name] for name in ("decision", "llr", "threshold_llr", "reject_llr")} == {
        "decision": "accept",
        "llr": None,
        "threshold_llr": None,
        "reject_llr": None,
    }
    assert (found["far"], found["watchlists"], found["decision_id"]) == (0.01, [], None)
    assert verify(reader, "ann", VOICES[0], far=0.2, **PLAIN)["far"] == 0.2


def test_the_rates_of_the_settings_hold_where_none_is_given(reader, as_role, db):
    enroll(db, "ann", VOICES[0])
    as_role("voxprint_admin").execute("SELECT voxprint.configure('far', '0.003')")
    assert verify(reader, "ann", VOICES[0])["far"] == 0.003
    statement = "SELECT far FROM voxprint.compare(%(v)s::vector, %(v)s::vector)"
    assert call(reader, statement, v=VOICES[0]) == [{"far": 0.003}]


def test_margins_are_to_the_next_person_also_beyond_k(reader, db):
    for i, voice in enumerate(VOICES):
        enroll(db, f"p{i}", voice, **PLAIN)
    everybody = identify(reader, VOICES[2], k=8, **PLAIN)
    scores = [row["score"] for row in everybody]
    assert [row["margin"] for row in everybody[:-1]] == pytest.approx(-np.diff(scores))
    assert everybody[-1]["margin"] is None
    assert identify(reader, VOICES[2], k=3, **PLAIN) == everybody[:3]
    assert identify(reader, VOICES[2], k=1000, **PLAIN) == everybody
    assert [row["decision"] for row in everybody] == ["accept"] + ["reject"] * 7


def test_nobody_means_that_no_row_is_accepted(reader, db):
    for i, voice in enumerate(VOICES[:7]):
        enroll(db, f"p{i}", voice, **PLAIN)
    assert {row["decision"] for row in identify(reader, VOICES[7], **PLAIN)} == {"reject"}


def test_two_people_alike_are_ambiguous_and_never_both_accepted(reader, db):
    enroll(db, "ann", VOICES[0], **PLAIN)
    enroll(db, "bob", between(VOICES[0], VOICES[1], 0.9), **PLAIN)
    enroll(db, "cid", between(VOICES[0], VOICES[2], 0.6), **PLAIN)
    enroll(db, "dee", VOICES[3], **PLAIN)

    def answers(probe: np.ndarray, **more: object) -> dict[str, tuple]:
        rows = identify(reader, probe, **PLAIN, **more)
        return {r["speaker"]: (r["decision"], set(r["reasons"]) - {"uncalibrated"}) for r in rows}

    assert answers(VOICES[0]) == {
        "ann": ("inconclusive", {"ambiguous"}),
        "bob": ("inconclusive", {"ambiguous"}),
        "cid": ("reject", {"another_is_nearer"}),
        "dee": ("reject", set()),
    }
    assert answers(VOICES[0], k=1) == {"ann": ("inconclusive", {"ambiguous"})}
    # a fixed threshold is taken at its word
    fixed = answers(VOICES[0], threshold=0.5)
    assert [fixed[name][0] for name in ("ann", "bob", "cid", "dee")] == ["accept"] * 3 + ["reject"]
    db.execute("SELECT voxprint.forget('bob')")
    assert answers(VOICES[0])["ann"] == ("accept", set())
    assert answers(VOICES[0])["cid"] == ("reject", {"another_is_nearer"})


def test_watchlists_name_the_list_and_never_the_person(reader, db):
    db.execute("SELECT voxprint.create_group('banned', watchlist => true)")
    db.execute("SELECT voxprint.create_group('fraud', 'known callers', true)")
    db.execute("SELECT voxprint.create_group('staff')")
    enroll(db, "ann", VOICES[0], groups=["banned", "staff"], **PLAIN)
    enroll(db, "eve", utterances(VOICES[0], 1)[0], groups=["fraud"], **PLAIN)
    enroll(db, "mal", VOICES[2], groups=["fraud", "banned"], **PLAIN)

    def hits(claimed: str, probe: np.ndarray, *lists: str) -> tuple:
        found = verify(reader, claimed, probe, watchlists=list(lists), **PLAIN)
        return found["decision"], found["watchlists"], "on_watchlist" in found["reasons"]

    assert hits("ann", VOICES[0], "fraud", "banned") == ("accept", ["fraud"], True)
    assert hits("ann", VOICES[0], "banned") == (
        "accept",
        [],
        False,
    )  # the claimed person does not count
    assert hits("ann", VOICES[2], "fraud", "banned") == ("reject", ["banned", "fraud"], True)
    assert hits("ann", VOICES[3], "fraud", "banned") == ("reject", [], False)
    assert hits("ann", VOICES[2]) == ("reject", [], False)
    with refused("VX006", '"staff"', "no watchlist"):
        hits("ann", VOICES[0], "fraud", "staff")
    with refused("VX002", '"none"'):
        hits("ann", VOICES[0], "none")
    db.execute("SELECT voxprint.configure('check_watchlists', 'always')")
    assert hits("ann", VOICES[2]) == ("reject", ["banned", "fraud"], True)
    found = verify(reader, "ann", VOICES[2], **PLAIN)
    assert found["watchlists"] == ["banned", "fraud"]
    db.execute("SELECT voxprint.set_status('mal', 'suspended')")
    assert hits("ann", VOICES[2]) == ("reject", [], False)
    rows = call(db, "SELECT name, watchlist FROM voxprint.list_groups()")
    assert [row["watchlist"] for row in rows] == [True, True, False]


def test_recorded_answers_tell_their_number_and_leave_no_voice(reader, db):
    db.execute("SELECT voxprint.create_group('banned', watchlist => true)")
    for i, name in enumerate(("ann", "bob")):
        enroll(db, name, VOICES[i], groups=["banned"], **PLAIN)
    facts = {"speech_seconds": 2.5, "quality": Jsonb({"reasons": ["noisy"], "snr_db": 7.5})}
    verified = verify(
        reader, "ann", VOICES[1], record=True, watchlists=["banned"], **facts, **PLAIN
    )
    found = identify(reader, VOICES[1], record=True, fpir=0.05, **facts, **PLAIN)
    assert identify(reader, VOICES[1], groups=["banned"], k=1, **PLAIN)[0]["decision_id"] is None
    assert [row["decision_id"] is None for row in found] == [False, True]
    columns = (
        "decision_id, kind, external_id, decision, round(score::numeric, 3) AS score, target_rate,"
        " reasons, channel, speech_seconds, searched, watchlists, d.model"
    )
    first, second = call(
        db,
        f"SELECT {columns} FROM voxprint.decisions d JOIN voxprint.speakers USING (speaker_id)"
        " ORDER BY decision_id",
    )
    assert (first["decision_id"], second["decision_id"]) == (
        verified["decision_id"],
        found[0]["decision_id"],
    )
    assert (first["kind"], first["external_id"], first["decision"]) == ("verify", "ann", "reject")
    assert (second["kind"], second["external_id"], second["decision"]) == (
        "identify",
        "bob",
        "accept",
    )
    assert (first["target_rate"], second["target_rate"]) == (0.01, 0.05)
    assert (first["searched"], second["searched"]) == (1, 2)
    assert first["watchlists"] == ["banned"]
    assert {"noisy", "on_watchlist"} <= set(first["reasons"])
    assert first["speech_seconds"] == second["speech_seconds"] == 2.5
    (removal,) = call(db, "SELECT removed FROM voxprint.forget('bob')")
    assert removal["removed"]["decisions"] == 1


def test_a_search_of_nobody_is_recorded_too(reader, db):
    assert identify(reader, VOICES[0], record=True) == []
    row = "SELECT kind, decision, speaker_id, searched FROM voxprint.decisions"
    assert call(db, row) == [
        {"kind": "identify", "decision": "reject", "speaker_id": None, "searched": 0}
    ]


def test_only_recording_needs_a_transaction_that_writes(reader, db):
    enroll(db, "ann", VOICES[0], **PLAIN)
    reader.execute("SET default_transaction_read_only = on")
    assert verify(reader, "ann", VOICES[0], **PLAIN)["decision"] == "accept"
    assert len(identify(reader, VOICES[0], **PLAIN)) == 1
    with refused("VX006", "read-only"):
        verify(reader, "ann", VOICES[0], record=True, **PLAIN)
    with refused("VX006", "read-only"):
        identify(reader, VOICES[0], record=True, **PLAIN)


def test_every_door_gives_one_decision(reader, db):
    for i, voice in enumerate(VOICES):
        enroll(db, f"p{i}", voice, **PLAIN)
    probe = utterances(VOICES[3], 1)[0]
    verified = verify(reader, "p3", probe, **PLAIN)
    compared = call(
        reader,
        "SELECT * FROM voxprint.compare(%(a)s::vector, %(b)s::vector, 'plain')",
        a=probe,
        b=VOICES[3],
    )[0]
    found = identify(reader, probe, **PLAIN)[0]
    assert verified["decision"] == compared["decision"] == found["decision"] == "accept"
    assert verified["score"] == found["score"] == pytest.approx(compared["score"], abs=1e-6)
