"""What a caller is told when a call cannot succeed, and which SQLSTATE it has."""

from __future__ import annotations

import re
from importlib import resources

import psycopg
import pytest
from article_voices import recording, silence

from voxprint.errors import SQLSTATES, AudioError, ModelFileError

RUN = "SELECT open_analytic.pipeline_run_dist_random('p', %s::bytea)"


@pytest.fixture
def caller(worker, as_role) -> psycopg.Connection:
    connection = as_role()
    connection.execute("SELECT open_analytic.pipeline_create('p')")
    return connection


def refusal(connection: psycopg.Connection, query: str, parameters=None) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(query, parameters)
    return caught.value


def test_every_code_in_the_sql_sources_is_known_and_every_known_code_is_used():
    root = resources.files("voxprint.db.sql")
    sources = [
        source.read_text("utf-8")
        for extension in ("open_analytic", "fastann", "voxprint")
        for source in root.joinpath(extension, "src").iterdir()
    ]
    assert len(sources) > 10
    used = {code for source in sources for code in re.findall(r"'(VX\d+)'", source)}
    assert used <= set(SQLSTATES)
    of_the_worker = {
        c for c, kind in SQLSTATES.items() if issubclass(kind, AudioError | ModelFileError)
    }
    assert set(SQLSTATES) - of_the_worker <= used


def test_an_error_of_the_worker_arrives_with_code_message_and_hint(caller):
    for audio, code in [
        (b"", "VX012"),
        (b"no audio at all", "VX012"),
        (recording(1)[:60], "VX012"),
        (recording(1, seconds=0.2), "VX013"),
        (silence(), "VX013"),
        (bytes(32 * 1024 * 1024 + 1), "VX014"),
    ]:
        error = refusal(caller, RUN, [audio])
        assert error.sqlstate == code, (len(audio), str(error))
        assert error.diag.message_primary
    assert caller.execute(RUN, [recording(1)]).fetchone()


def test_an_unknown_channel_or_model_is_an_error(caller):
    caller.execute("SELECT open_analytic.pipeline_create('far', channel => '7')")
    caller.execute("SELECT open_analytic.pipeline_create('odd', model => 'no_such_model')")
    for pipeline in ("far", "odd"):
        error = refusal(caller, RUN.replace("'p'", f"'{pipeline}'"), [recording(1)])
        assert error.sqlstate in SQLSTATES


def test_pipeline_create_says_what_it_expected(caller):
    for arguments in ("''", "NULL", "'x', 'a model'", "'x', channel => '-1'", "repeat('x', 201)"):
        error = refusal(caller, f"SELECT open_analytic.pipeline_create({arguments})")
        assert error.sqlstate == "VX006"
    error = refusal(caller, "SELECT open_analytic.pipeline_create('p')")
    assert error.sqlstate == "VX006"
    assert "exists already" in str(error)
    name = "a 'name' with \"everything\", 名字; --"
    assert caller.execute("SELECT open_analytic.pipeline_create(%s)", [name]).fetchone() == (name,)
    assert caller.execute("SELECT open_analytic.pipeline_drop(%s)", [name]).fetchone() == (name,)


def test_an_unknown_pipeline_is_an_error_with_the_way_out(caller):
    for call in ("dist_random('none', '\\x00')", "json('none', '\\x00')"):
        error = refusal(caller, f"SELECT open_analytic.pipeline_run_{call}")
        assert error.sqlstate == "VX003"
        assert "pipeline_create" in error.diag.message_hint
    many = "SELECT * FROM open_analytic.pipeline_run_dist_random(%s, %s::bytea[])"
    assert refusal(caller, many, ["none", [b"x"]]).sqlstate == "VX003"
    assert caller.execute(many, ["p", []]).fetchall() == []


def test_text_that_is_no_bytea_is_an_error(caller):
    for digits in ("\\x5", "\\xzz"):
        error = refusal(caller, RUN.replace("bytea", "text"), [digits])
        assert error.sqlstate == "VX006"
        assert "hexadecimal" in str(error)


def test_null_is_null(caller):
    assert caller.execute(RUN, [None]).fetchone() == (None,)


def test_without_a_worker_the_error_names_the_fix(caller, db):
    db.execute("ALTER SERVER voxprint_worker OPTIONS (SET host '/nowhere')")
    silent = refusal(caller, RUN, [recording(1)])
    db.execute(
        "ALTER USER MAPPING FOR open_analytic_owner SERVER voxprint_worker "
        "OPTIONS (SET password 'stale')"
    )
    stale = refusal(caller, RUN, [recording(1)])
    db.execute("DROP SERVER voxprint_worker CASCADE")
    missing = refusal(caller, RUN, [recording(1)])
    for error in (silent, stale, missing):
        assert error.sqlstate == "VX010"
        assert "voxprint up" in error.diag.message_hint
        assert "voxprint worker --dsn" in error.diag.message_hint
        assert not error.diag.message_detail  # it would tell the worker's socket or port
        assert "/nowhere" not in str(error)
    assert "stale" not in str(stale)


def test_a_superuser_is_told_why_no_worker_answers(caller, db):
    db.execute("ALTER SERVER voxprint_worker OPTIONS (SET host '/nowhere')")
    assert "/nowhere" in refusal(db, RUN, [recording(1)]).diag.message_detail
    db.execute("DROP SERVER voxprint_worker CASCADE")
    assert "registered" in refusal(db, RUN, [recording(1)]).diag.message_detail
