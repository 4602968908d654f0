"""What somebody hostile may pass to the functions that decide: an answer or a plain refusal."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from domain_gallery import DIM, call, enroll, identify, refused, utterances, verify, voices

from voxprint.score.shipped import shipped

ALICE, BOB, CAROL = voices(3, seed=8)


@pytest.fixture
def gallery(db):
    enroll(db, "alice", ALICE, speech_seconds=5)
    enroll(db, "bob", BOB, speech_seconds=5)
    return db


@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1e-17, 1 - 2**-53])
def test_any_rate_between_0_and_1_is_answered(gallery, rate):
    """Below what a float can tell apart, too: the smaller the rate, the higher the threshold."""
    claimed = verify(gallery, "alice", ALICE, far=rate)
    found = identify(gallery, ALICE, fpir=rate)[0]
    for answer, usual in (
        (claimed, verify(gallery, "alice", ALICE, far=0.01)),
        (found, identify(gallery, ALICE, fpir=0.01)[0]),
    ):
        assert (answer["threshold_llr"] > usual["threshold_llr"]) == (rate < 0.01)
    assert verify(gallery, "alice", CAROL, far=min(rate, 0.5))["decision"] != "accept"


def test_a_small_rate_is_shared_by_all_who_are_searched(db):
    """Where 1 - rate is 1 to a float, and where it is not, a search asks for more than a claim."""
    asked = "SELECT voxprint._rate_of_each(%(rate)s, 1000) AS each"
    for rate in (1e-300, 1e-17, 0.9e-6, 1.1e-6, 0.01):
        (row,) = call(db, asked, rate=rate)
        assert row["each"] == pytest.approx(max(rate, 1e-200) / 1000, rel=0.01)


@pytest.mark.parametrize("seconds", [0, 5e-324, 1e-300, 1e9])
def test_any_speech_is_answered(gallery, seconds):
    assert verify(gallery, "alice", CAROL, speech_seconds=seconds)["decision"] != "accept"


@pytest.mark.parametrize("seconds", [-1, 1.1e9, 1e308, float("inf"), float("nan")])
def test_speech_beyond_all_measure_is_refused(gallery, seconds):
    """It could not be added up any more: one such enrolment would close the person to others."""
    with refused("VX006", "seconds from 0 to 1e9"):
        enroll(gallery, "alice", CAROL, speech_seconds=seconds)
    with refused("VX006", "seconds from 0 to 1e9"):
        verify(gallery, "alice", ALICE, speech_seconds=seconds)


@pytest.mark.parametrize(
    "quality",
    [
        '{"snr_db": 1e-400}',
        '{"snr_db": 1e400, "bandwidth_hz": -1e400}',
        '{"snr_db": [3], "bandwidth_hz": "3400", "clipped": {}}',
        '{"reasons": [1, null, ["noisy"], {"noisy": 1}, "unheard_of"], "agreement": 1e-16000}',
    ],
)
def test_odd_facts_about_a_recording_decide_nothing(gallery, quality):
    answer = verify(gallery, "alice", ALICE, quality=quality, record=True)
    assert answer["reasons"] == ["small_cohort"]
    assert answer["decision_id"] is not None
    assert enroll(gallery, "bob", utterances(BOB, 1)[0], quality=quality)["reasons"] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cost_false_reject", "1e-320"),
        ("cost_inconclusive", "1e-320"),
        ("cost_inconclusive", "1000000"),
        ("p_target", "1e-320"),
        ("p_target", "0.9999999999999999"),
        ("far", "1e-320"),
        ("fpir", "1e-320"),
        ("duplicate_far", "1e-320"),
        ("min_enrol_speech", "1e-320"),
    ],
)
def test_any_setting_that_is_taken_gives_answers(gallery, name, value):
    gallery.execute("SELECT voxprint.configure(%s, %s)", (name, value))
    assert verify(gallery, "alice", CAROL, speech_seconds=2)["decision"] != "accept"
    assert identify(gallery, ALICE, speech_seconds=2)[0]["speaker"] == "alice"
    assert enroll(gallery, "carol", CAROL, speech_seconds=2)["duplicates"] == []


def poisons():
    """Coefficients as large and as small as are taken, one at a time, and some that are not."""
    limits = {"llr": 1000, "typical": 3600}
    for name, values in shipped().calibration.to_json().items():
        if not isinstance(values, list):
            for value in (1e-3, 2.0000001, 1e6, 1e-320, 0, -1, 1e7):
                yield name, value
            continue
        largest = limits.get(name, 10)
        for at in range(len(values)):
            for value in (largest, -largest, 1e-320, 10 * largest, 1e9):
                yield name, [*values[:at], value, *values[at + 1 :]]


def test_a_calibration_is_refused_or_gives_answers(gallery):
    """No coefficients that are taken make a decision fail, whoever asks."""
    good, spec = shipped().calibration.to_json(), the_spec(gallery)
    for name, value in poisons():
        poisoned = copy.deepcopy(good) | {name: value}
        answered(gallery, spec, json.dumps(poisoned), None)


def test_a_background_is_refused_or_gives_answers(gallery):
    good, spec = shipped().background.to_rows(), the_spec(gallery)
    flat = [1.0] + [0.0] * (DIM - 1)
    for background in (
        [{"weight": 0, "direction": flat}],
        [{"weight": 1e-9, "direction": flat}],
        [{"weight": -1, "direction": flat}, *good[1:]],
        [{"weight": 1, "direction": [1] * DIM}] * (DIM + 1),
        [{"weight": 1, "direction": flat}] * (DIM + 2),
        [{"weight": 1, "direction": ["a"] * DIM}],
        [{"weight": 1, "direction": [None] * DIM}],
        [{"weight": 1, "direction": [1e300] * DIM}],
        [{"weight": 1, "direction": [1e-320] * DIM}],
        [{"weight": 1e-100, "direction": flat}],
        [{"weight": None, "direction": flat}],
        [{"direction": flat}],
        [None],
        {},
        "x",
    ):
        answered(gallery, spec, json.dumps(shipped().calibration.to_json()), json.dumps(background))


def the_spec(connection) -> str:
    (row,) = call(
        connection, "SELECT spec_hash FROM voxprint.calibrations WHERE calibration_id = 1"
    )
    return row["spec_hash"]


def answered(connection, spec, parameters, background) -> None:
    """Either refused when it is added, in our words, or every question gets an answer."""
    try:
        connection.execute(
            "SELECT voxprint.add_calibration('campplus_zh_en_192', %s, %s::jsonb,"
            " background => %s::jsonb)",
            (spec, parameters, background),
        )
    except psycopg.Error as error:
        assert error.sqlstate == "VX006", (parameters, background, error)
        return
    for speech in (None, 0.1, 40.0):
        for vector in (ALICE, CAROL):
            try:
                answer = verify(connection, "alice", vector, speech_seconds=speech)
            except psycopg.Error as error:
                pytest.fail(f"{parameters} {background}: {error.sqlstate} {error}")
            assert abs(answer["llr"]) < float("inf")
    connection.execute("SELECT voxprint.use_calibration(1)")


def test_forgetting_and_configuring_at_once_do_not_deadlock(conninfo, db):
    """Both touch voiceprints and wait for enrolments: they wait in one order."""
    rounds, forgetters = 25, 3

    def work(client: int) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for at in range(rounds):
                if client >= forgetters:
                    least = str(1 + (at + client) % 7)
                    connection.execute(
                        "SELECT voxprint.configure('min_enrol_speech', %s)", (least,)
                    )
                    continue
                name = f"person {client}"
                enroll(connection, name, voices(forgetters)[client], speech_seconds=3)
                connection.execute("SELECT voxprint.forget(%s)", (name,))

    with ThreadPoolExecutor(forgetters + 2) as pool:
        list(pool.map(work, range(forgetters + 2)))
    assert call(db, "SELECT count(*) AS left FROM voxprint.voiceprints") == [{"left": 0}]
