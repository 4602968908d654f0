"""Every statement of the article, as voxprint takes it, run by an ordinary role."""

from __future__ import annotations

import json

import numpy as np
import psycopg
import pytest
from article_voices import hexadecimal, recording
from psycopg import sql

PIPELINE = "speaker_feature_extractor"
PEOPLE = 6
COLUMNS = ("REAL[]", "float4[]", "vector(192)")


@pytest.fixture
def speaker(worker, db, as_role) -> psycopg.Connection:
    """An ordinary role with a schema of its own and the article's pipeline."""
    connection = as_role()
    name = sql.Identifier(connection.info.user)
    db.execute(sql.SQL("CREATE SCHEMA AUTHORIZATION {}").format(name))
    connection.execute(f"SELECT open_analytic.pipeline_create('{PIPELINE}')")
    return connection


def create_table(connection: psycopg.Connection, feature: str = "REAL[]") -> None:
    connection.execute(
        f"CREATE TABLE speaker_table (speaker_id TEXT NOT NULL, audio BYTEA NOT NULL, "
        f"feature {feature} NOT NULL, PRIMARY KEY (speaker_id))"
    )


def enroll(connection: psycopg.Connection, people: int = PEOPLE) -> None:
    for person in range(people):
        audio = hexadecimal(recording(person))
        connection.execute(
            f"INSERT INTO speaker_table VALUES ('person {person}', {audio}, "
            f"open_analytic.pipeline_run_dist_random('{PIPELINE}', {audio}))"
        )


def extraction(person: int, take: int = 1) -> str:
    audio = hexadecimal(recording(person, take=take))
    return f"open_analytic.pipeline_run_dist_random('{PIPELINE}', {audio})"


def test_row_1_extensions_in_either_order_any_number_of_times(speaker):
    for name in ("open_analytic", "fastann", "fastann", "open_analytic"):
        speaker.execute(f"CREATE EXTENSION IF NOT EXISTS {name};")
    found = speaker.execute(
        "SELECT extname FROM pg_extension WHERE extname IN ('fastann', 'open_analytic') ORDER BY 1"
    ).fetchall()
    assert found == [("fastann",), ("open_analytic",)]


def test_row_2_tables(speaker):
    for feature in COLUMNS:
        create_table(speaker, feature)
        speaker.execute("DROP TABLE speaker_table")
    with pytest.raises(psycopg.errors.UndefinedColumn, match="question"):
        speaker.execute("CREATE TABLE t (speaker_id TEXT, PRIMARY KEY (question))")
    with pytest.raises(psycopg.errors.SyntaxError, match="DISTRIBUTED"):
        speaker.execute("CREATE TABLE t (speaker_id TEXT) DISTRIBUTED BY (speaker_id)")


@pytest.mark.parametrize(
    ("feature", "indexed"),
    [("REAL[]", "(feature::vector(192))"), ("vector(192)", "feature")],
    ids=["real", "vector"],
)
def test_rows_3_12_14_15_16_index_insert_search(speaker, feature, indexed):
    create_table(speaker, feature)
    speaker.execute(f"CREATE INDEX speaker_table_index ON speaker_table USING ann ({indexed})")
    enroll(speaker)
    with pytest.raises(psycopg.Error, match="expected 192 dimensions, not 3"):
        speaker.execute("INSERT INTO speaker_table VALUES ('x', '', ARRAY[1,2,3]::real[])")

    stored = "SELECT feature::real[] FROM speaker_table WHERE speaker_id = 'person 2'"
    (values,) = speaker.execute(stored).fetchone()
    array = ",".join(map(repr, values))
    for vector in (
        extraction(2),
        f"ARRAY[{array}]::real[]",
        f"ARRAY[{array}]::float4[]",
        f"ARRAY[{array}]",
        f"'[{array}]'::vector",
        f"({stored})",
    ):
        found = speaker.execute(
            f"SELECT speaker_id, l2_distance(feature, {vector}) FROM speaker_table "
            f"ORDER BY feature <-> {vector} LIMIT 10"
        ).fetchall()
        assert len(found) == PEOPLE
        assert found[0][0] == "person 2"
        assert [distance for _, distance in found] == sorted(distance for _, distance in found)

    threshold = (
        "SELECT speaker_id FROM speaker_table WHERE l2_distance(feature, {v}) < {t} "
        "ORDER BY feature <-> {v} LIMIT 1"
    )
    assert speaker.execute(threshold.format(v=f"({stored})", t=0.01)).fetchall() == [("person 2",)]
    assert speaker.execute(threshold.format(v=f"({stored})", t=0)).fetchall() == []
    filtered = speaker.execute(
        f"SELECT speaker_id FROM speaker_table WHERE speaker_id > 'person 2' "
        f"ORDER BY feature <-> array[{array}] LIMIT 100"
    ).fetchall()
    assert {name for (name,) in filtered} == {"person 3", "person 4", "person 5"}

    speaker.execute("SET enable_sort = off")  # so few rows would be sorted, rightly
    vector = extraction(2)
    plan = speaker.execute(
        f"EXPLAIN SELECT speaker_id, l2_distance(feature, {vector}) FROM speaker_table "
        f"WHERE l2_distance(feature, {vector}) < 1 ORDER BY feature <-> {vector} LIMIT 10"
    ).fetchall()
    assert any("Index Scan using speaker_table_index" in line for (line,) in plan)


def test_rows_5_6_7_pipelines(speaker):
    listing = f"select 1 from open_analytic.current_pipelines where name = '{PIPELINE}'"
    assert speaker.execute(listing).fetchall() == [(1,)]
    assert speaker.execute("SELECT open_analytic.pipeline_create('second')").fetchone() == (
        "second",
    )
    assert speaker.execute(f"SELECT open_analytic.pipeline_drop('{PIPELINE}')").fetchone()
    assert speaker.execute(listing).fetchall() == []
    with pytest.raises(psycopg.Error, match=PIPELINE) as caught:
        speaker.execute(f"SELECT open_analytic.pipeline_drop('{PIPELINE}')")
    assert caught.value.sqlstate == "VX003"


def test_row_8_extract_from_bytes(speaker):
    audio = recording(1)
    literal = speaker.execute(f"SELECT {extraction(1, take=0)}::real[]").fetchone()[0]
    parameter = speaker.execute(
        "SELECT open_analytic.pipeline_run_dist_random(%s, %s)::real[]", [PIPELINE, audio]
    ).fetchone()[0]
    assert literal == parameter
    assert len(literal) == 192
    assert np.linalg.norm(literal) == pytest.approx(1, abs=1e-5)


def test_row_9_json_to_array(speaker):
    audio = hexadecimal(recording(1))
    run = f"open_analytic.pipeline_run_json('{PIPELINE}', {audio})"
    (array,) = speaker.execute(
        f"SELECT TRANSLATE(({run}::json->'feature')::text, '[]', '{{}}')::real[]"
    ).fetchone()
    (facts,) = speaker.execute(f"SELECT {run}::text").fetchone()
    facts = json.loads(facts)
    assert facts["emb"] == facts["feature"]
    assert array == pytest.approx(facts["emb"], rel=1e-6)
    assert facts["model"] == "campplus_zh_en_192"
    assert 0 < facts["speech_seconds"] <= facts["seconds"] == pytest.approx(1.2, abs=0.01)
    assert {"spec_hash", "sample_rate", "channels", "sha256", "quality"} <= set(facts)
    vector = speaker.execute(f"SELECT ({extraction(1, take=0)})::real[]").fetchone()[0]
    assert array == vector


def test_row_10_files_are_for_members_and_urls_for_nobody(speaker, as_role):
    run = f"SELECT open_analytic.pipeline_run_dist_random('{PIPELINE}', %s::text)"
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may not read files") as caught:
        speaker.execute(run, ["voice.wav"])
    assert "open_analytic_files" in caught.value.diag.message_hint
    member = as_role("open_analytic_files")
    with pytest.raises(psycopg.Error, match="reads no files") as caught:
        member.execute(run, ["voice.wav"])
    assert caught.value.sqlstate == "VX006"
    for connection in (speaker, member):
        with pytest.raises(psycopg.Error, match="URL") as caught:
            connection.execute(run, ["https://xxx/voice.wav"])
        assert caught.value.sqlstate == "VX006"


def test_row_11_one_bad_recording_of_an_array_loses_nothing(speaker):
    first, last = recording(1), recording(2)
    rows = speaker.execute(
        "SELECT ordinal, embedding::real[], error, error_code "
        "FROM open_analytic.pipeline_run_dist_random(%s, %s::bytea[])",
        [PIPELINE, [first, b"no audio", None, last]],
    ).fetchall()
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    alone = [speaker.execute(f"SELECT ({extraction(p, 0)})::real[]").fetchone()[0] for p in (1, 2)]
    assert [rows[0][1], rows[3][1]] == alone
    assert [(row[1], row[3]) for row in rows[1:3]] == [(None, "VX012"), (None, "VX012")]
    assert all(row[2] for row in rows[1:3])
    assert rows[0][2:] == rows[3][2:] == (None, None)


@pytest.mark.parametrize("feature", COLUMNS)
def test_row_13_the_feature_fills_itself(speaker, feature):
    create_table(speaker, feature)
    made = "SELECT open_analytic.extract_from('speaker_table', 'audio', 'feature', %s)"
    speaker.execute(made, [PIPELINE])
    speaker.execute(made, [PIPELINE])  # once more changes nothing
    insert = "INSERT INTO speaker_table (speaker_id, audio) VALUES (%s, %s)"
    speaker.execute(insert, ["ann", recording(1)])
    stored = "SELECT feature::real[] FROM speaker_table WHERE speaker_id = 'ann'"

    def feature_of(person: int) -> list[float]:
        return speaker.execute(f"SELECT ({extraction(person, 0)})::real[]").fetchone()[0]

    assert speaker.execute(stored).fetchone()[0] == feature_of(1)
    speaker.execute("UPDATE speaker_table SET audio = %s", [recording(2)])
    assert speaker.execute(stored).fetchone()[0] == feature_of(2)
    speaker.execute("UPDATE speaker_table SET speaker_id = 'ann', feature = %s", [feature_of(3)])
    assert speaker.execute(stored).fetchone()[0] == feature_of(3)
    with pytest.raises(psycopg.Error) as caught:
        speaker.execute(insert, ["bob", b"no audio"])
    assert caught.value.sqlstate == "VX012"


def test_row_13_says_what_it_expected(speaker):
    create_table(speaker)
    for arguments, sqlstate, message in [
        (("speaker_table", "speaker_id", "feature", PIPELINE), "VX006", "expected bytea, got text"),
        (("speaker_table", "audio", "audio", PIPELINE), "VX006", "got bytea"),
        (("speaker_table", "voice", "feature", PIPELINE), "VX006", "no column voice"),
        (("speaker_table", "audio", "feature", "none"), "VX003", "none"),
    ]:
        with pytest.raises(psycopg.Error, match=message) as caught:
            speaker.execute("SELECT open_analytic.extract_from(%s, %s, %s, %s)", arguments)
        assert caught.value.sqlstate == sqlstate


def test_row_17_compare(speaker):
    create_table(speaker)
    enroll(speaker, 2)
    assert speaker.execute("SELECT l2_distance(ARRAY[0,0]::real[], ARRAY[3,4]::real[])").fetchone()
    stored = "(SELECT feature FROM speaker_table WHERE speaker_id = 'person {}')"
    (apart,) = speaker.execute(
        f"SELECT l2_distance({stored.format(0)}, {stored.format(1)})"
    ).fetchone()
    (extracted,) = speaker.execute(
        f"SELECT l2_distance({extraction(0, 0)}, {extraction(1, 0)})"
    ).fetchone()
    (same,) = speaker.execute(
        f"SELECT l2_distance({stored.format(0)}, {extraction(0, 0)})"
    ).fetchone()
    assert extracted == pytest.approx(apart, abs=1e-6)
    assert same == pytest.approx(0, abs=1e-6)
    assert apart > 0.1
