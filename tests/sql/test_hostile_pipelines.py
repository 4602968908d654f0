"""What one role can do to the pipelines of all others, and read out of its own cache."""

from __future__ import annotations

import psycopg
import pytest
from article_voices import recording
from domain_gallery import refused
from psycopg import sql

MODES = (
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
CREATE = "SELECT open_analytic.pipeline_create(%s)"
DROP = "SELECT open_analytic.pipeline_drop(%s)"
NAMES = "SELECT name, created_by FROM open_analytic.current_pipelines ORDER BY name"


def test_nobody_locks_others_out(db, as_role):
    stranger, other = as_role(), as_role()
    relations = db.execute(
        """SELECT c.oid::regclass::text FROM pg_class AS c
           WHERE c.relnamespace IN ('open_analytic'::regnamespace, 'voxprint'::regnamespace,
                                    'fastann'::regnamespace) AND c.relkind IN ('r', 'v')"""
    ).fetchall()
    assert ("open_analytic.pipelines",) in relations
    for (relation,) in relations:
        for mode in MODES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                stranger.execute(f"BEGIN; LOCK TABLE {relation} IN {mode} MODE")
            stranger.execute("ROLLBACK")
    other.execute("SET lock_timeout = '1s'")
    with stranger.transaction():
        stranger.execute(NAMES)
        stranger.execute("SELECT FROM open_analytic.pipelines")
        stranger.execute(CREATE, ["mine"])
        other.execute(CREATE, ["theirs"])
        other.execute(NAMES)
        other.execute(DROP, ["theirs"])


def test_requests_are_made_in_one_s_own_name_and_never_kept(db, as_role):
    stranger = as_role()
    for forged in (
        "INSERT INTO open_analytic.requests VALUES ('create', 'x', 'm', 'mix', 'postgres')",
        "INSERT INTO open_analytic.requests (action, name, requested_by) VALUES ('drop', 'p', 'x')",
        "INSERT INTO open_analytic.pipelines (name, model, channel) VALUES ('x', 'm', 'mix')",
        "DELETE FROM open_analytic.pipelines",
        "SELECT * FROM open_analytic.requests",
        "CREATE TEMP TABLE t (LIKE open_analytic.requests); CREATE TRIGGER t BEFORE INSERT ON t"
        " FOR EACH ROW EXECUTE FUNCTION open_analytic.fulfil_request()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute(forged)
    direct = (
        "INSERT INTO open_analytic.requests (action, name, model, channel) "
        "VALUES (%s, 'p', %s, 'mix')"
    )
    stranger.execute(direct, ["create", "m"])
    assert db.execute(NAMES).fetchall() == [("p", stranger.info.user)]
    for action in ("delete", None):
        with pytest.raises(psycopg.IntegrityError):
            stranger.execute(direct, [action, "m"])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="belongs to role"):
        as_role().execute(direct, ["drop", None])
    stranger.execute(direct, ["drop", None])
    assert db.execute("SELECT FROM open_analytic.requests").fetchall() == []
    assert db.execute("SELECT pg_relation_size('open_analytic.requests')").fetchone() == (0,)


def test_a_definer_function_makes_pipelines_of_its_owner(db, as_role):
    owner, caller = as_role(), as_role()
    schema = sql.Identifier(owner.info.user)
    db.execute(sql.SQL("CREATE SCHEMA AUTHORIZATION {}").format(schema))
    owner.execute(
        """CREATE FUNCTION make(name text) RETURNS text SECURITY DEFINER LANGUAGE sql
           RETURN open_analytic.pipeline_create(name);
           CREATE FUNCTION remove(name text) RETURNS text LANGUAGE sql
           RETURN open_analytic.pipeline_drop(name)"""
    )
    owner.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(schema))
    caller.execute(sql.SQL("SELECT {}.make('p')").format(schema))
    assert db.execute(NAMES).fetchall() == [("p", owner.info.user)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="belongs to role"):
        caller.execute(sql.SQL("SELECT {}.remove('p')").format(schema))
    db.execute("SET ROLE " + owner.info.user)  # a superuser who acts as somebody is that one
    db.execute(DROP, ["p"])


def test_a_role_has_at_most_a_thousand_pipelines(as_role):
    greedy, other = as_role(), as_role()
    greedy.execute(
        "SELECT count(open_analytic.pipeline_create('p' || n)) FROM generate_series(1, 1000) AS n"
    )
    with refused("VX006", "1000", "pipeline_drop"):
        greedy.execute(CREATE, ["one more"])
    other.execute(CREATE, ["theirs"])
    greedy.execute(DROP, ["p1"])
    greedy.execute(CREATE, ["one more"])


def test_the_cache_shows_no_hash_with_a_secret_seed(worker, db, as_role):
    caller, audio = as_role(), recording(1)
    caller.execute(CREATE, ["p"])
    hashes = db.execute(
        """SELECT hash_record_extended(ROW(%(audio)s::bytea), seed)::text,
                  hashtextextended(%(digits)s, seed)::text
           FROM open_analytic.secret, unnest(seeds) AS seed""",
        {"audio": audio, "digits": "\\x" + audio.hex()},
    ).fetchall()
    assert len(hashes) == 2
    with caller.transaction():
        for kind, given in (("bytea", audio), ("text", "\\x" + audio.hex())):
            run = f"SELECT open_analytic.pipeline_run_dist_random('p', %s::{kind})"
            caller.execute(run, [given])
        for slot in (1, 2):
            (entry,) = caller.execute(
                "SELECT current_setting(%s)", [f"open_analytic.cache_{slot}"]
            ).fetchone()
            assert entry.count("\n") == 2  # seal and key, embedding, facts
            assert len(entry.split("\n")[0]) == 64 + 32
            assert not any(value in entry for row in hashes for value in row)
