"""What an ordinary role cannot reach, read, plant or have run for it."""

from __future__ import annotations

import psycopg
import pytest
from article_voices import recording
from psycopg import sql

RUN = "SELECT open_analytic.pipeline_run_dist_random('p', %s::bytea)::text"
#: Everything of open_analytic that anybody may call.
PUBLIC_FUNCTIONS = {
    "_column_type(regclass,name)",
    "extract_from(regclass,name,name,text)",
    "fill_feature()",
    "pipeline_create(text,text,text)",
    "pipeline_drop(text)",
    "pipeline_run_digits(text,text)",
    "pipeline_run_dist_random(text,bytea)",
    "pipeline_run_dist_random(text,bytea[])",
    "pipeline_run_dist_random(text,text)",
    "pipeline_run_json(text,bytea)",
}


@pytest.fixture
def caller(worker, db, as_role) -> psycopg.Connection:
    connection = as_role()
    name = sql.Identifier(connection.info.user)
    db.execute(sql.SQL("CREATE SCHEMA AUTHORIZATION {}").format(name))
    connection.execute("SELECT open_analytic.pipeline_create('p')")
    return connection


def test_only_what_is_meant_for_everybody_is_executable_by_everybody(db):
    rows = db.execute(
        """SELECT replace(p.oid::regprocedure::text, 'open_analytic.', ''),
                  has_function_privilege('public', p.oid, 'EXECUTE')
           FROM pg_proc AS p WHERE p.pronamespace = 'open_analytic'::regnamespace"""
    ).fetchall()
    assert {name for name, public in rows if public} == PUBLIC_FUNCTIONS
    assert {name for name, public in rows if not public} >= {
        "call_worker(text,text,bytea)",
        "converse(text,text,bytea,text)",
        "pipeline_run_file(text,text)",
    }


def test_definer_functions_pin_their_path_and_belong_to_no_superuser(db):
    rows = db.execute(
        """SELECT p.oid::regprocedure::text, p.proconfig, r.rolsuper OR r.rolcanlogin,
                  p.proargtypes::regtype[]::text[]
           FROM pg_proc AS p JOIN pg_roles AS r ON r.oid = p.proowner
           WHERE p.prosecdef
             AND p.pronamespace IN ('open_analytic'::regnamespace, 'fastann'::regnamespace)"""
    ).fetchall()
    assert len(rows) >= 5
    for name, settings, powerful, types in rows:
        assert settings == ["search_path=pg_catalog, pg_temp"], name
        assert not powerful, name
        assert set(types) <= {"text", "bytea", "bytea[]"}, name


def test_the_secret_the_address_and_the_worker_are_out_of_reach(caller, db):
    for query in (
        "SELECT * FROM open_analytic.secret",
        "SELECT open_analytic.call_worker('campplus_zh_en_192', 'mix', '\\x00')",
        "SELECT open_analytic.converse('campplus_zh_en_192', 'mix', '\\x00', NULL)",
        "SELECT open_analytic.seal('', '', '')",
        "SELECT open_analytic.pipeline_run_file('p', 'voice.wav')",
        "UPDATE open_analytic.pipelines SET model = 'x'",
        "TRUNCATE open_analytic.pipelines",
        "ALTER SERVER voxprint_worker OPTIONS (SET host '/tmp')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER voxprint_worker",
        "SET ROLE open_analytic_owner",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            caller.execute(query)
    db.execute("GRANT EXECUTE ON FUNCTION public.dblink_connect(text, text) TO PUBLIC")
    with pytest.raises(psycopg.Error):
        caller.execute("SELECT public.dblink_connect('x', 'voxprint_worker')")
    options = "SELECT umoptions FROM pg_user_mappings WHERE srvname = 'voxprint_worker'"
    assert caller.execute(options).fetchall() == [(None,)]


def test_objects_of_the_caller_do_not_get_into_the_definer_functions(caller):
    honest = caller.execute(RUN, [recording(1)]).fetchone()
    caller.execute(
        """CREATE FUNCTION starts_with(text, text) RETURNS boolean LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE FUNCTION split_part(text, text, integer) RETURNS text LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE FUNCTION sha256(bytea) RETURNS bytea LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = same);
           CREATE TEMP TABLE pipelines (name text, model text, channel text);
           CREATE TEMP TABLE secret (inner_pad bytea, outer_pad bytea, seeds bigint[]);
           CREATE TEMP TABLE pg_foreign_server (srvname text);"""
    )
    caller.execute('SET search_path = "$user", pg_temp, pg_catalog, public')
    with pytest.raises(psycopg.Error, match="captured"):
        caller.execute("SELECT sha256('\\x00')")
    assert caller.execute(RUN, [recording(1)]).fetchone() == honest
    assert caller.execute(RUN.replace("bytea", "text"), ["\\x" + recording(1).hex()]).fetchone()
    assert caller.execute("SELECT open_analytic.pipeline_run_json('p', %s)", [recording(1)])
    caller.execute("SELECT open_analytic.pipeline_create('q')")
    caller.execute("SELECT open_analytic.pipeline_drop('q')")
    assert caller.execute("SELECT * FROM pg_temp.pipelines").fetchall() == []


def test_a_pipeline_is_dropped_by_its_owner_only(caller, as_role, db):
    stranger = as_role()
    drop = "SELECT open_analytic.pipeline_drop('p')"
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="belongs to role"):
        stranger.execute(drop)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute("DELETE FROM open_analytic.pipelines")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(
            "INSERT INTO open_analytic.pipelines (name, model, channel, created_by) "
            "VALUES ('x', 'm', 'mix', 'postgres')"
        )
    as_role(caller.info.user).execute(drop)
    caller.execute("SELECT open_analytic.pipeline_create('p')")
    db.execute(drop)


def test_a_definer_function_lends_no_right_to_files(caller, as_role, db):
    """Who may read files is the role that calls, not the one that is logged in."""
    caller.execute(
        """CREATE FUNCTION trap() RETURNS text SECURITY DEFINER LANGUAGE sql
           RETURN open_analytic.pipeline_run_dist_random('p', 'voice.wav'::text)::text"""
    )
    schema = sql.Identifier(caller.info.user)
    caller.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(schema))
    for connection in (as_role("open_analytic_files"), db):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="may not read files"):
            connection.execute(sql.SQL("SELECT {}.trap()").format(schema))


def test_a_connection_that_the_caller_opened_under_our_name_is_no_trap(caller, db):
    """dblink's connections belong to the session, so a caller may take our name first."""
    for function in ("dblink_connect(text, text)", "dblink_get_connections()"):
        db.execute(f"GRANT EXECUTE ON FUNCTION public.{function} TO PUBLIC")
    own = (
        f"host={caller.info.host} port={caller.info.port} dbname={caller.info.dbname} "
        f"user={caller.info.user} password={caller.info.password}"
    )
    caller.execute("SELECT public.dblink_connect('open_analytic_worker', %s)", [own])
    assert caller.execute(RUN, [recording(1)]).fetchone()
    assert caller.execute("SELECT public.dblink_get_connections()").fetchone() == (None,)
