"""The two extensions of the article: created in any order, dropped, dumped, restored."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import psycopg
import pytest
from article_voices import recording
from psycopg import sql

EXTENSIONS = ("open_analytic", "fastann", "voxprint")


@pytest.fixture
def empty(server) -> Iterator[str]:
    """Name of a new database that holds what template0 holds."""
    name = f"empty_{secrets.token_hex(4)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
        yield name
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def test_any_order_twice_and_without_a_trace_afterwards(server, empty):
    with psycopg.connect(server.conninfo(empty), autocommit=True) as connection:
        for name in ("vector", "dblink"):
            connection.execute(f"CREATE EXTENSION {name}")
        for order in permutations(EXTENSIONS):
            if order.index("voxprint") < order.index("fastann"):
                continue  # it searches with fastann's functions, and CREATE EXTENSION says so
            for name in (*order, *order):
                connection.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")
            assert connection.execute(
                """SELECT has_function_privilege('voxprint_owner',
                       'open_analytic.call_worker(text, text, bytea)', 'EXECUTE')"""
            ).fetchone() == (True,), order
            connection.execute("DROP EXTENSION open_analytic, fastann, voxprint")
            left = connection.execute(
                "SELECT FROM pg_namespace WHERE nspname = ANY(%s)", [list(EXTENSIONS)]
            ).fetchall()
            assert left == []


def test_dropping_the_extension_keeps_the_worker_s_address(worker, db):
    db.execute("DROP EXTENSION open_analytic CASCADE")
    db.execute("CREATE EXTENSION open_analytic")
    db.execute("SELECT open_analytic.pipeline_create('p')")
    run = "SELECT open_analytic.pipeline_run_dist_random('p', %s::bytea)"
    assert db.execute(run, [recording(1)]).fetchone()


def test_every_member_is_documented_or_internal(db):
    """What anybody may call in open_analytic and fastann says in psql's \\df+ what it is for."""
    rows = db.execute(
        """SELECT p.oid::regprocedure::text FROM pg_proc AS p
           JOIN pg_depend AS d ON d.objid = p.oid AND d.deptype = 'e'
           JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'open_analytic'
           WHERE has_function_privilege('public', p.oid, 'EXECUTE')
             AND p.prorettype <> 'trigger'::regtype AND p.proname LIKE 'pipeline%'
             AND obj_description(p.oid) IS NULL"""
    ).fetchall()
    assert rows == []


def test_dump_and_restore(worker, server, db, database, empty):
    audio = recording(1)
    db.execute("SELECT open_analytic.pipeline_create('p', channel => '0')")
    db.execute("CREATE TABLE speaker_table (speaker_id text, audio bytea, feature real[])")
    db.execute("SELECT open_analytic.extract_from('speaker_table', 'audio', 'feature', 'p')")
    db.execute("SELECT fastann.create_index('speaker_table', 'feature', index_name => 'nearest')")
    db.execute("INSERT INTO speaker_table VALUES ('ann', %s)", [audio])

    tools = Path(server.psql).parent
    dump = subprocess.run(
        [tools / "pg_dump", "--dbname", server.conninfo(database)], check=True, capture_output=True
    ).stdout
    subprocess.run(
        [server.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", server.conninfo(empty)],
        input=dump,
        check=True,
        capture_output=True,
    )

    with psycopg.connect(server.conninfo(empty), autocommit=True) as restored:
        pipelines = "SELECT * FROM open_analytic.current_pipelines"
        assert restored.execute(pipelines).fetchall() == db.execute(pipelines).fetchall()
        people = "SELECT * FROM speaker_table"
        assert restored.execute(people).fetchall() == db.execute(people).fetchall()
        definition = "SELECT indexdef FROM pg_indexes WHERE indexname = 'nearest'"
        assert "USING ann" in restored.execute(definition).fetchone()[0]
        secret = "SELECT inner_pad FROM open_analytic.secret"
        assert restored.execute(secret).fetchall() != db.execute(secret).fetchall()
        restored.execute("INSERT INTO speaker_table VALUES ('again', %s)", [audio])
        assert restored.execute("SELECT count(DISTINCT feature) FROM speaker_table").fetchone() == (
            1,
        )
