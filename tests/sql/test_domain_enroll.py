"""Enrolment, and what bad input gets, through SQL as an operator."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import psycopg
import pytest
from domain_gallery import array, call, enroll, identify, refused, unit, utterances, verify, voices
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

VOICES = voices(8)


@pytest.fixture
def operator(as_role) -> psycopg.Connection:
    return as_role("voxprint_operator")


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def test_enrolling_makes_the_person_and_counts_the_speech(operator):
    first = enroll(operator, "ann", VOICES[0], speech_seconds=2.5, seconds=3.0, sample_rate=16000)
    second = enroll(operator, "ann", VOICES[0] + 0.01, speech_seconds=1.5)
    assert first["utterance_id"] != second.pop("utterance_id")
    assert second == {
        "speaker": "ann",
        "added": True,
        "utterances": 2,
        "speech_seconds": 4.0,
        "ready": True,
        "speech_needed": 0.0,
        "reasons": [],
        "duplicates": [],
    }


def test_the_same_recording_of_the_same_person_changes_nothing(operator):
    operator.execute("SELECT voxprint.create_group('staff')")
    first = enroll(operator, "ann", VOICES[0], sha256=digest("a"), attributes=Jsonb({"age": 41}))
    again = enroll(
        operator,
        "ann",
        VOICES[1],
        sha256=digest("a"),
        attributes=Jsonb({"age": 42}),
        groups=["staff"],
    )
    assert again == {**first, "added": False}
    (ann,) = call(operator, "SELECT * FROM voxprint.list_speakers()")
    assert (ann["attributes"], ann["groups"], ann["utterances"]) == ({"age": 41}, [], 1)
    assert verify(operator, "ann", VOICES[0])["score"] == pytest.approx(1, abs=1e-6)


def test_without_a_digest_the_embedding_itself_tells_a_repetition(operator):
    assert enroll(operator, "ann", VOICES[0])["added"]
    assert not enroll(operator, "ann", VOICES[0])["added"]
    with refused("VX005", '"ann"'):
        enroll(operator, "bob", VOICES[0])


def test_a_recording_of_another_person_is_refused_and_leaves_nothing(operator):
    enroll(operator, "ann", VOICES[0], sha256=digest("a"))
    with refused("VX005", '"ann"', "one person"):
        enroll(operator, "bob", VOICES[1], sha256=digest("a"))
    assert [s["speaker"] for s in call(operator, "SELECT * FROM voxprint.list_speakers()")] == [
        "ann"
    ]


def test_a_recording_belongs_to_one_person_whatever_the_model(operator, db):
    db.execute("SELECT voxprint.register_model('other', 3)")
    enroll(operator, "ann", VOICES[0], sha256=digest("a"))
    assert enroll(operator, "ann", np.ones(3), sha256=digest("a"), model="other")["added"]
    with refused("VX005"):
        enroll(operator, "bob", np.ones(3), sha256=digest("a"), model="other")


def test_attributes_merge_on_enrolment_and_are_replaced_by_name(operator):
    enroll(operator, "ann", VOICES[0], attributes=Jsonb({"age": 41, "city": "Uppsala"}))
    enroll(operator, "ann", VOICES[1], attributes=Jsonb({"age": 42}))
    (ann,) = call(operator, "SELECT attributes FROM voxprint.list_speakers()")
    assert ann["attributes"] == {"age": 42, "city": "Uppsala"}
    operator.execute("SELECT voxprint.set_attributes('ann', '{\"x\": []}')")
    (ann,) = call(operator, "SELECT attributes FROM voxprint.list_speakers()")
    assert ann["attributes"] == {"x": []}
    with refused("VX006", "object", "array"):
        operator.execute("SELECT voxprint.set_attributes('ann', '[1]')")


def test_groups_join_leave_and_drop(operator):
    for name in ("staff", "guests"):
        operator.execute("SELECT voxprint.create_group(%s)", [name])
    enroll(operator, "ann", VOICES[0], groups=["staff", "guests", "staff"])
    enroll(operator, "bob", VOICES[1])
    assert call(operator, "SELECT voxprint.join_group('bob', 'staff') AS done") == [{"done": True}]
    assert call(operator, "SELECT voxprint.join_group('bob', 'staff') AS done") == [{"done": False}]
    rows = call(operator, "SELECT speaker, groups FROM voxprint.list_speakers('{staff}')")
    assert rows == [
        {"speaker": "ann", "groups": ["guests", "staff"]},
        {"speaker": "bob", "groups": ["staff"]},
    ]
    assert call(operator, "SELECT voxprint.leave_group('bob', 'staff') AS done") == [{"done": True}]
    assert call(operator, "SELECT voxprint.drop_group('guests') AS members") == [{"members": 1}]
    assert call(operator, "SELECT name, speakers FROM voxprint.list_groups()") == [
        {"name": "staff", "speakers": 1}
    ]
    with refused("VX006", "exists already"):
        operator.execute("SELECT voxprint.create_group('staff')")


def test_audio_is_stored_only_where_given(operator, db):
    enroll(operator, "ann", VOICES[0])
    enroll(operator, "ann", VOICES[1], audio=b"RIFF")
    stored = db.execute("SELECT audio FROM voxprint.utterances ORDER BY utterance_id").fetchall()
    assert stored == [(None,), (b"RIFF",)]


#: call, SQLSTATE, what message or hint say
REFUSALS = [
    ("verify('nobody', %(v)s::vector)", "VX001", '"nobody"'),
    ("forget('nobody')", "VX001", '"nobody"'),
    ("set_status('nobody', 'active')", "VX001", '"nobody"'),
    ("set_attributes('nobody', '{}')", "VX001", '"nobody"'),
    ("join_group('nobody', 'staff')", "VX001", '"nobody"'),
    ("leave_group('nobody', 'staff')", "VX001", '"nobody"'),
    ("enroll('new', %(v)s::vector, groups => '{none}')", "VX002", '"none"'),
    ("identify(%(v)s::vector, groups => '{staff, none}')", "VX002", '"none"'),
    ("identify(%(v)s::vector, groups => '{NULL}')", "VX002", "NULL"),
    ("identify(%(v)s::vector, groups => '{}')", "VX006", "at least one"),
    ("list_speakers('{none}')", "VX002", '"none"'),
    ("join_group('ann', 'none')", "VX002", '"none"'),
    ("leave_group('ann', 'none')", "VX002", '"none"'),
    ("drop_group('none')", "VX002", '"none"'),
    ("create_group(' ')", "VX006", "1 to 512 bytes"),
    ("set_status('ann', 'asleep')", "VX006", '"asleep"'),
    ("enroll('', %(v)s::vector)", "VX006", "1 to 512 bytes"),
    ("enroll(E' \\t\\n', %(v)s::vector)", "VX006", "1 to 512 bytes"),
    ("enroll(NULL, %(v)s::vector)", "VX006", "NULL"),
    ("enroll(repeat('ü', 5000), %(v)s::vector)", "VX006", "10000 bytes"),
    ("enroll('new', NULL::vector)", "VX006", "NULL"),
    ("enroll('new', %(v)s::vector, attributes => '3')", "VX006", "number"),
    ("enroll('new', %(v)s::vector, sha256 => 'short')", "VX006", "got 5"),
    ("enroll('new', %(v)s::vector, seconds => -1)", "VX006", "got -1"),
    ("enroll('new', %(v)s::vector, speech_seconds => 'NaN')", "VX006", "NaN"),
    ("enroll('new', %(v)s::vector, sample_rate => 0)", "VX006", "got 0"),
    ("enroll('new', '[1,2,3]'::vector)", "VX004", "192 numbers, got 3"),
    ("enroll('new', array_fill(0, ARRAY[192])::vector)", "VX006", "192 zeros"),
    ("verify('ann', '[1,2,3]'::vector)", "VX004", "192 numbers, got 3"),
    ("identify('[1,2,3]'::vector)", "VX004", "192 numbers, got 3"),
    ("compare(%(v)s::vector, '[1,2,3]'::vector)", "VX004", "192 numbers, got 3"),
    ("compare(NULL::vector, %(v)s::vector)", "VX006", "NULL"),
    ("enroll('new', %(v)s::vector, model => 'none')", "VX004", "campplus_zh_en_192"),
    ("verify('ann', %(v)s::vector, model => 'none')", "VX004", '"none"'),
    ("verify('ann', %(v)s::vector, threshold => 1.1)", "VX006", "got 1.1"),
    ("verify('ann', %(v)s::vector, threshold => 'NaN')", "VX006", "NaN"),
    ("identify(%(v)s::vector, threshold => '-Infinity')", "VX006", "-Infinity"),
    ("compare(%(v)s::vector, %(v)s::vector, threshold => 2)", "VX006", "got 2"),
    ("identify(%(v)s::vector, k => 0)", "VX006", "got 0"),
    ("identify(%(v)s::vector, k => 1001)", "VX006", "got 1001"),
    ("identify(%(v)s::vector, k => NULL)", "VX006", "NULL"),
    ("identify(%(v)s::vector, attributes => '[]')", "VX006", "array"),
    # pgvector and PostgreSQL refuse these before any function of ours is called
    ("enroll('new', array_fill('NaN'::float4, ARRAY[192])::vector)", "22000", "NaN"),
    ("enroll('new', '[Infinity]'::vector)", "22000", "infinite"),
    ("identify(%(v)s::vector, attributes_path => '$[')", "42601", "jsonpath"),
]


def test_bad_input_is_refused_and_nothing_changes(operator, db):
    operator.execute("SELECT voxprint.create_group('staff')")
    enroll(operator, "ann", VOICES[0])
    before = contents(db)
    for statement, sqlstate, word in REFUSALS:
        with refused(sqlstate, word, case=statement):
            call(operator, f"SELECT * FROM voxprint.{statement}", v=VOICES[2])
    assert contents(db) == before


def contents(db: psycopg.Connection) -> list[tuple]:
    tables = ("groups", "speakers", "memberships", "utterances", "voiceprints", "tombstones")
    return [tuple(db.execute(f"SELECT * FROM voxprint.{t} ORDER BY 1").fetchall()) for t in tables]


def test_a_long_name_is_cut_in_messages(operator):
    with pytest.raises(psycopg.Error) as caught:
        operator.execute("SELECT voxprint.forget(repeat('x', 10000))")
    assert caught.value.sqlstate == "VX001"
    assert len(caught.value.diag.message_primary) < 200


NAMES = [
    "O'Neill",
    'the "boss"',
    "x'); DROP TABLE voxprint.speakers; --",
    "$$; SELECT 1; $$",
    "%s %I %",
    "李雷",
    "👩‍👩‍👧",
    "a\u202eb",
    "line\nbreak\\n",
    "ü" * 256,
    "Robert`${HOME}`",
]


def test_names_are_only_names(operator):
    for name in NAMES:
        operator.execute("SELECT voxprint.create_group(%s)", [name])
        enroll(operator, name, VOICES[0], groups=[name])
        assert verify(operator, name, VOICES[0])["speaker"] == name
        (found,) = identify(operator, VOICES[0], groups=[name])
        assert found["speaker"] == name
        (listed,) = call(operator, "SELECT * FROM voxprint.list_speakers()")
        assert (listed["speaker"], listed["groups"]) == (name, [name])
        (removal,) = call(operator, "SELECT * FROM voxprint.forget(%(name)s)", name=name)
        assert removal["removed"]["speakers"] == 1


def test_embeddings_are_stored_at_unit_length(operator, db):
    enroll(operator, "ann", VOICES[0] * 1e-20)
    enroll(operator, "bob", VOICES[1] * 1e30)
    stored = [array(v) for (v,) in db.execute("SELECT embedding::text FROM voxprint.utterances")]
    assert np.allclose(stored, VOICES[:2], atol=1e-6)


def test_utterances_that_cancel_out_are_refused(operator):
    enroll(operator, "ann", VOICES[0])
    with refused("VX006", '"ann"', "cancel out"):
        enroll(operator, "ann", -VOICES[0])


def test_enrolment_in_one_statement_over_many_rows(operator):
    vectors = utterances(VOICES[0], 5)
    (row,) = call(
        operator,
        "SELECT count(*) FILTER (WHERE (e).added) AS added, max((e).utterances) AS most FROM ("
        " SELECT voxprint.enroll('ann', v::vector) AS e"
        " FROM unnest(%(vectors)s::text[]) v OFFSET 0) s",
        vectors=[str(v.tolist()) for v in vectors],
    )
    assert row == {"added": 5, "most": 5}
    mean = unit(vectors.astype(np.float64).mean(axis=0))
    assert verify(operator, "ann", mean)["score"] == pytest.approx(1, abs=1e-6)


name_text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=128
).filter(lambda name: name.strip(" \t\r\n"))
json_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | json_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_text, inner, max_size=3),
    max_leaves=8,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=name_text, attributes=st.dictionaries(json_text, json_values, max_size=4))
def test_names_and_attributes_come_back_as_they_went_in(operator, name, attributes):
    with operator.transaction(force_rollback=True):
        enroll(operator, name, VOICES[0], attributes=Jsonb(attributes))
        (found,) = identify(operator, VOICES[0], attributes=Jsonb(attributes))
        (listed,) = call(operator, "SELECT * FROM voxprint.list_speakers()")
    assert found["speaker"] == listed["speaker"] == name
    assert found["attributes"] == listed["attributes"] == attributes
    assert json.dumps(attributes)


def test_models_are_registered_once_and_keep_their_shape(as_role, operator):
    admin = as_role("voxprint_admin")
    register = "SELECT voxprint.register_model(%s, %s, %s, %s)"
    admin.execute(register, ["small", 3, "aa", 0.3])
    admin.execute(register, ["small", 3, None, None])
    enroll(operator, "ann", np.array([3, 0, 4]), model="small")
    found = verify(operator, "ann", np.array([1, 0, 0]), model="small")
    assert (found["decision"], found["model"]) == ("accept", "small")
    assert found["score"] == pytest.approx(0.6)
    with refused("VX004", "dimension 3", "become 4"):
        admin.execute(register, ["small", 4, "aa", 0.3])
    with refused("VX004", "spec aa", "spec bb"):
        admin.execute(register, ["small", 3, "bb", 0.3])
    with refused("VX006", "model name"):
        admin.execute(register, ["a b", 3, None, None])
    with refused("VX006", "1 to 2000, got 2001"):
        admin.execute(register, ["large", 2001, None, None])
    with refused("VX006", "-1 to 1"):
        admin.execute(register, ["new", 3, None, "NaN"])
    with refused("VX004", '"ann"', "no voiceprint"):
        verify(operator, "ann", VOICES[0])
