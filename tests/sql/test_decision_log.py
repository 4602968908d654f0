"""The log of decisions: who asked and what was answered, written by our functions alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from domain_gallery import call, enroll, identify, refused, utterances, verify, voices
from psycopg.types.json import Jsonb

VOICES = voices(4)
MODEL = "campplus_zh_en_192"
LIST = "SELECT * FROM voxprint.list_decisions()"
REPORT = "SELECT * FROM voxprint.decision_report()"
LABEL = "SELECT * FROM voxprint.label_decision(%(id)s, %(same)s)"
ENTRY = """
SELECT voxprint._record(jsonb_populate_record(NULL::voxprint.decisions, %(entry)s)) AS id
"""


def probe(person: int, seed: int = 1) -> Any:
    return utterances(VOICES[person], 1, seed)[0]


def entry(connection: psycopg.Connection, **fields: Any) -> int:
    """What verify or identify would write, as the superuser."""
    facts = {"kind": "verify", "decision": "accept", "reasons": [], "model": MODEL} | fields
    return call(connection, ENTRY, entry=Jsonb(facts))[0]["id"]


def logged(connection: psycopg.Connection) -> list[dict[str, Any]]:
    return call(connection, LIST)


@pytest.fixture
def ann(db) -> int:
    enroll(db, "ann", VOICES[0], speech_seconds=9.0)
    return db.execute("SELECT speaker_id FROM voxprint.speakers").fetchone()[0]


def test_a_record_tells_who_asked_and_what_was_answered(as_role, db, ann):
    reader, auditor = as_role("voxprint_reader"), as_role("voxprint_auditor")
    answer = verify(
        reader,
        "ann",
        probe(0),
        far=0.02,
        speech_seconds=4.5,
        quality=Jsonb({"snr_db": 17.5, "codec": "opus", "reasons": ["noisy"]}),
        record=True,
    )
    (row,) = logged(auditor)
    assert row["decision_id"] == answer["decision_id"]
    for name in ("speaker", "decision", "score", "llr", "threshold_llr", "reject_llr", "cohort"):
        assert row[name] == answer[name], name
    assert set(row["reasons"]) == set(answer["reasons"])
    assert (row["kind"], row["asked_by"], row["searched"]) == ("verify", reader.info.user, 1)
    assert (row["target_rate"], row["speech_seconds"]) == (0.02, 4.5)
    assert row["quality"] == {"snr_db": 17.5, "codec": "opus"}
    assert (row["model"], row["label"], row["watchlists"]) == (MODEL, None, [])
    version = "SELECT extversion FROM pg_extension WHERE extname = 'voxprint'"
    assert (row["version"],) == db.execute(version).fetchone()
    age = datetime.now(UTC) - row["at"]
    assert abs(age) < timedelta(minutes=5)


def test_a_search_is_one_record_about_the_most_alike(as_role, db, ann):
    enroll(db, "bob", VOICES[1], speech_seconds=9.0)
    reader = as_role("voxprint_reader")
    found = identify(reader, probe(1), record=True)
    (row,) = logged(db)
    assert (row["kind"], row["speaker"], row["searched"]) == ("identify", "bob", 2)
    assert found[0]["decision_id"] == row["decision_id"]
    db.execute("SELECT voxprint.forget('ann'); SELECT voxprint.forget('bob')")
    assert identify(reader, probe(1), record=True) == []
    latest = logged(db)[0]
    assert (latest["speaker"], latest["decision"], latest["searched"]) == (None, "reject", 0)


def test_nobody_asks_under_another_name(as_role, ann):
    reader = as_role("voxprint_reader")
    name = reader.info.user
    reader.execute("SET ROLE voxprint_reader")
    reader.execute("SET application_name = 'auditor'")
    verify(reader, "ann", probe(0), record=True)
    with refused("42501"):
        reader.execute("SET SESSION AUTHORIZATION voxprint_admin")
    with refused("42501"):
        call(reader, ENTRY, entry=Jsonb({"asked_by": "somebody else"}))
    assert [row["asked_by"] for row in logged(as_role("voxprint_auditor"))] == [name]


def test_recorded_where_asked_or_always(as_role, db, ann):
    reader = as_role("voxprint_reader")
    for asked in (None, False):
        assert verify(reader, "ann", probe(0), record=asked)["decision_id"] is None
        assert identify(reader, probe(0), record=asked)[0]["decision_id"] is None
    assert logged(db) == []
    db.execute("SELECT voxprint.configure('record_decisions', 'always')")
    for asked in (None, True):
        assert verify(reader, "ann", probe(0), record=asked)["decision_id"]
    with refused("VX006", "every decision", "Leave record out"):
        verify(reader, "ann", probe(0), record=False)
    with refused("VX006", "every decision"):
        identify(reader, probe(0), record=False)
    assert len(logged(db)) == 2


def test_a_transaction_that_cannot_write_cannot_record(as_role, db, ann):
    reader = as_role("voxprint_reader")
    reader.execute("SET default_transaction_read_only = on")
    assert verify(reader, "ann", probe(0))["decision"] == "accept"
    with refused("VX006", "read-only", "Leave record out"):
        verify(reader, "ann", probe(0), record=True)
    db.execute("SELECT voxprint.configure('record_decisions', 'always')")
    for ask in (lambda: verify(reader, "ann", probe(0)), lambda: identify(reader, probe(0))):
        with refused("VX006", "read-only", "every decision recorded"):
            ask()


def test_the_log_holds_no_voice_whatever_the_caller_calls_it(as_role, db, ann):
    numbers = [float(x) for x in VOICES[0]]
    smuggled = {
        "embedding": numbers,
        "snr_db": numbers,
        "codec": "x" * 100,
        "reasons": ["noisy", "0.123 0.456", "an essay about ann"],
        "clipped": 0.01,
    }
    reader = as_role("voxprint_reader")
    verify(reader, "ann", probe(0), quality=Jsonb(smuggled), record=True)
    (row,) = logged(db)
    assert row["quality"] == {"clipped": 0.01}
    assert not {"0.123 0.456", "an essay about ann"} & set(row["reasons"])
    assert len(str(row["features"])) < 2000
    kinds = db.execute(
        "SELECT DISTINCT format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = 'voxprint.decisions'::regclass AND attnum > 0"
    ).fetchall()
    assert {kind for (kind,) in kinds}.isdisjoint({"vector", "bytea", "real[]"})


def test_readers_do_not_see_the_log_and_auditors_see_nothing_else(as_role, db, ann):
    number = entry(db, speaker_id=ann)
    reader, auditor = as_role("voxprint_reader"), as_role("voxprint_auditor")
    table = "SELECT * FROM voxprint.decisions"
    for statement in (LIST, REPORT, table, "SELECT * FROM voxprint.labelled_decisions()"):
        with refused("42501", case=statement):
            call(reader, statement)
    for connection in (reader, auditor):
        with refused("42501"):
            call(connection, LABEL, id=number, same=True)
    for statement in (
        table,
        "SELECT voxprint.purge_decisions(now())",
        "SELECT * FROM voxprint.list_speakers()",
        "SELECT voxprint.forget('ann')",
    ):
        with refused("42501", case=statement):
            call(auditor, statement)
    with refused("42501"):
        verify(auditor, "ann", probe(0))
    for role in ("voxprint_auditor", "voxprint_operator", "voxprint_admin"):
        assert [row["decision_id"] for row in logged(as_role(role))] == [number]


CHANGES = (
    "UPDATE voxprint.decisions SET decision = 'reject'",
    "UPDATE voxprint.decisions SET asked_by = 'ann', label = true",
    "UPDATE voxprint.decisions SET label = true",
    "UPDATE voxprint.decisions SET speaker_id = NULL",
    "DELETE FROM voxprint.decisions",
    "TRUNCATE voxprint.decisions",
)


def test_nobody_rewrites_the_log(as_role, db, ann):
    entry(db, speaker_id=ann, score=0.7)
    before = logged(db)
    trusted = as_role("voxprint_admin")
    for statement in CHANGES:
        with refused("42501", case=statement):
            trusted.execute(statement)
    db.execute("GRANT ALL ON voxprint.decisions TO voxprint_admin")
    for connection in (trusted, db):
        for statement in CHANGES:
            with refused("42501", "only added to", "purge_decisions", case=statement):
                connection.execute(statement)
    for name in (
        "decision = 'reject'",
        "at = now()",
        "speaker_id = NULL",
        "label = true, score = 1",
    ):
        with db.transaction(force_rollback=True), refused("42501"):
            db.execute("SET LOCAL ROLE voxprint_owner")
            with db.transaction():
                db.execute(f"UPDATE voxprint.decisions SET {name}")
    assert logged(db) == before


def test_a_label_says_by_whom_and_what_was_said_before(as_role, db, ann):
    number = entry(db, speaker_id=ann)
    first, second = as_role("voxprint_operator"), as_role("voxprint_admin")
    (said,) = call(first, LABEL, id=number, same=True)
    assert (said["labelled_by"], said["earlier"], said["earlier_by"]) == (
        first.info.user,
        None,
        None,
    )
    (again,) = call(second, LABEL, id=number, same=False)
    assert (again["labelled_by"], again["earlier"], again["earlier_by"]) == (
        second.info.user,
        True,
        first.info.user,
    )
    assert again["earlier_at"] == said["labelled_at"] <= again["labelled_at"]
    (row,) = logged(db)
    assert (row["label"], row["labelled_by"]) == (False, second.info.user)
    for wrong in (number + 1, -1, None):
        with refused("VX006", "no decision", "list_decisions"):
            call(first, LABEL, id=wrong, same=True)
    with refused("VX006", "true"):
        call(first, LABEL, id=number, same=None)


def test_the_log_is_searched(as_role, db, ann):
    enroll(db, "bob", VOICES[1])
    ids = [
        entry(db, speaker_id=ann),
        entry(db, speaker_id=ann, decision="reject"),
        entry(db, decision="inconclusive", kind="identify"),
    ]
    call(db, LABEL, id=ids[1], same=False)
    moments = {row["decision_id"]: row["at"] for row in logged(db)}
    auditor = as_role("voxprint_auditor")
    for conditions, expected in (
        ({}, ids[::-1]),
        ({"max_rows": 1}, ids[2:]),
        ({"speaker": "ann"}, [ids[1], ids[0]]),
        ({"speaker": "bob"}, []),
        ({"decision": "reject"}, [ids[1]]),
        ({"kind": "identify"}, [ids[2]]),
        ({"labelled": True}, [ids[1]]),
        ({"labelled": False}, [ids[2], ids[0]]),
        ({"since": moments[ids[1]]}, [ids[2], ids[1]]),
        ({"until": moments[ids[1]]}, [ids[0]]),
        ({"since": moments[ids[2]], "until": moments[ids[1]]}, []),
    ):
        named = ", ".join(f"{name} => %({name})s" for name in conditions)
        rows = call(auditor, f"SELECT * FROM voxprint.list_decisions({named})", **conditions)
        assert [row["decision_id"] for row in rows] == expected, conditions
    for name, value, code in (
        ("decision", "maybe", "VX006"),
        ("kind", "guess", "VX006"),
        ("max_rows", -1, "VX006"),
        ("speaker", "nobody", "VX001"),
    ):
        with refused(code, case=name):
            call(auditor, f"SELECT * FROM voxprint.list_decisions({name} => %(v)s)", v=value)


def test_a_forgotten_person_leaves_counts_alone(as_role, db, ann):
    facts = {"score": 0.7, "llr": 3.5, "speech_seconds": 4.0, "features": {"cosine": 0.7}}
    number = entry(
        db, speaker_id=ann, quality={"snr_db": 9}, watchlists=["thieves"], channel="any", **facts
    )
    call(db, LABEL, id=number, same=True)
    (removal,) = call(as_role("voxprint_operator"), "SELECT * FROM voxprint.forget('ann')")
    assert removal["removed"]["decisions"] == 1
    (row,) = logged(db)
    for name in ("speaker", "quality", "watchlists", *facts):
        assert not row[name], name
    assert (row["decision"], row["label"], row["channel"]) == ("accept", True, "any")
    assert call(db, "SELECT * FROM voxprint.labelled_decisions()") == []
    assert [row["targets"] for row in call(db, REPORT) if row["facet"] == "all"] == [1]


def test_an_answer_about_somebody_who_is_being_forgotten_is_void(as_role, db, ann):
    reader, operator = as_role("voxprint_reader"), as_role("voxprint_operator")
    with ThreadPoolExecutor() as pool:
        operator.execute("BEGIN")
        operator.execute("SELECT voxprint.forget('ann')")
        asked = pool.submit(verify, reader, "ann", probe(0), record=True)
        while db.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
            assert not asked.done()
        operator.execute("COMMIT")
        with refused("40001", "forgotten meanwhile", "Ask again"):
            asked.result()
    with refused("VX001"):
        verify(reader, "ann", probe(0), record=True)
    assert logged(db) == []


def test_labelled_decisions_carry_what_a_calibration_needs_and_no_name(as_role, db, ann):
    features = {"cosine": 0.71, "mean": 0.1}
    more = {"speaker_id": ann, "score": 0.71, "features": features, "speech_seconds": 3.0}
    number = entry(db, **more)
    entry(db, **more)  # not labelled
    call(db, LABEL, id=entry(db, score=0.5), same=False)  # about nobody
    call(db, LABEL, id=number, same=True)
    (row,) = call(as_role("voxprint_admin"), "SELECT * FROM voxprint.labelled_decisions()")
    assert row["decision_id"] == number
    assert (row["speaker"], row["same"], row["features"]) == (ann, True, features)
    assert "ann" not in row.values()
    with refused("VX004", "unknown model"):
        call(db, "SELECT * FROM voxprint.labelled_decisions('other')")


def test_old_decisions_are_purged(as_role, db, ann):
    old = entry(db, speaker_id=ann)
    (between,) = db.execute("SELECT clock_timestamp()").fetchone()
    kept = entry(db, speaker_id=ann)
    purge = "SELECT voxprint.purge_decisions(%(before)s) AS purged"
    for role in ("voxprint_operator", "voxprint_auditor"):
        with refused("42501"):
            call(as_role(role), purge, before=between)
    admin = as_role("voxprint_admin")
    for wrong in (None, "infinity", datetime.now(UTC) + timedelta(days=1)):
        with refused("VX006", "moment of the past"):
            call(admin, purge, before=wrong)
    assert call(admin, purge, before=between) == [{"purged": 1}]
    assert [row["decision_id"] for row in logged(db)] == [kept]
    assert old < kept


def test_the_report_counts_by_kind_and_facet(as_role, db, ann):
    wide = {"channel": "wideband", "target_rate": 0.01, "speaker_id": ann}
    labels = {
        entry(db, **wide): True,
        entry(db, **wide, reasons=["noisy", "short"]): False,
        entry(db, **wide, decision="reject", reasons=["noisy"]): True,
        entry(db, decision="inconclusive", target_rate=0.001): True,
        entry(db, kind="identify", decision="reject"): None,
    }
    for number, same in labels.items():
        if same is not None:
            call(db, LABEL, id=number, same=same)
    rows = {
        (row["kind"], row["facet"], row["value"]): row
        for row in call(as_role("voxprint_auditor"), REPORT)
    }
    whole = rows["verify", "all", ""]
    assert (whole["decisions"], whole["accepted"], whole["rejected"]) == (4, 2, 1)
    assert (whole["inconclusive"], whole["targets"], whole["targets_rejected"]) == (1, 3, 1)
    assert (whole["nontargets"], whole["nontargets_accepted"]) == (1, 1)
    counts = {
        (facet, value): row["decisions"]
        for (kind, facet, value), row in rows.items()
        if kind == "verify"
    }
    today = {facet: value for facet, value in counts if facet == "day"}
    assert counts == {
        ("all", ""): 4,
        ("day", today["day"]): 4,
        ("channel", "wideband"): 3,
        ("channel", ""): 1,
        ("target", "0.01"): 3,
        ("target", "0.001"): 1,
        ("calibration", ""): 4,
        ("reason", ""): 2,
        ("reason", "noisy"): 2,
        ("reason", "short"): 1,
    }
    assert rows["identify", "all", ""]["decisions"] == 1
    none = "SELECT * FROM voxprint.decision_report(until => '2000-01-01')"
    assert call(db, none) == []
