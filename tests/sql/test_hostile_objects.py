"""What others made in advance, in schema public or as temporary objects, is never called by us."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from voxprint.db import script
from voxprint.db.connection import pinned
from voxprint.db.extensions import EXTENSION_NAMES, shipped
from voxprint.db.server import Server

#: Better matches than the system's own for calls that scripts like ours make. ``{}`` is the name.
FUNCTIONS = (
    "pg_relation_size(text)",
    "format(text, text)",
    "format(text, name)",
    "format(text, regprocedure, text)",
    "format(text, text, text)",
    "quote_ident(name)",
    "jsonb_path_query_first(jsonb, jsonpath, text, boolean)",
    "current_setting(text, text)",
    "has_schema_privilege(text, name, text)",
    "pg_has_role(text, text, text)",
    "pg_has_role(name, name, text)",
    "set_config(text, name, boolean)",
    "sha256(text)",
    "cardinality(real[])",
    "unnest(real[])",
    "concat(text, text)",
    "octet_length(name)",
    "greatest(integer, double precision)",
    "avg(anyelement)",
    "btrim(name, text)",
)
OPERATORS = (
    ("=", "oid", "regnamespace"),
    ("=", "oid", "regclass"),
    ("=", "name", "unknown_text"),
    ("=", "name", "name[]"),
    ("<>", "bigint", "regclass"),
    ("~", "unknown_text", "text"),
    ("<=", "bigint", "numeric"),
    ("*", "integer", "bigint"),
    ("-", "integer", "double precision"),
    ("||", "bytea", "text"),
    ("||", "text", "name"),
    ("<#>", "real[]", "double precision[]"),
    ("->>", "jsonb", "name"),
)


@pytest.fixture
def planted(server: Server) -> Iterator[psycopg.Connection]:
    """A superuser's connection to a database whose owner has been there first."""
    name = f"planted_{secrets.token_hex(4)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        for needed in ("vector", "dblink"):
            connection.execute(f"CREATE EXTENSION {needed}")
        plant(connection)
        connection.execute(
            """CREATE TEMP TABLE pg_roles (rolname text, rolsuper boolean);
               CREATE TEMP TABLE pg_proc (oid oid);
               CREATE DOMAIN pg_temp.vector AS text;
               CREATE DOMAIN pg_temp.regclass AS text"""
        )
        yield connection
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def observed(planted: psycopg.Connection, query: str) -> list[tuple]:
    """As somebody sees it who is not deceived."""
    with psycopg.connect(planted.info.dsn, options="-c search_path=pg_catalog") as observer:
        return observer.execute(query).fetchall()


def plant(connection: psycopg.Connection) -> None:
    connection.execute("CREATE DOMAIN unknown_text AS text")
    for call in FUNCTIONS:
        name, arguments = call.split("(", 1)
        kept = f'public."{name}"({arguments}'
        connection.execute(
            f"CREATE FUNCTION {kept} RETURNS text LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE 'captured by {call}'; END $$"
        )
    for number, (name, left, right) in enumerate(OPERATORS):
        connection.execute(
            f"CREATE FUNCTION decoy_{number}({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE 'captured by {name} of {left} and {right}'; END $$; "
            f"CREATE OPERATOR public.{name} "
            f"(LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = decoy_{number})"
        )


#: Members of our schemas, or in public made by our scripts, that hold on to a decoy.
BOUND = """
WITH decoys AS (
    SELECT 'pg_proc'::regclass AS class, p.oid FROM pg_proc AS p
     WHERE p.prosrc LIKE '%captured by%'
    UNION ALL
    SELECT 'pg_operator'::regclass, o.oid
      FROM pg_operator AS o JOIN pg_proc AS p ON p.oid = o.oprcode
     WHERE p.prosrc LIKE '%captured by%'
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid FROM pg_type AS t
     WHERE t.typname IN ('vector', 'regclass') AND t.typtype = 'd')
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend AS d
  JOIN decoys AS to_decoy ON to_decoy.class = d.refclassid AND to_decoy.oid = d.refobjid
 WHERE NOT EXISTS (SELECT FROM decoys AS x WHERE x.class = d.classid AND x.oid = d.objid)
   AND NOT (d.classid = 'pg_type'::regclass)
"""

TEMPORARY = """
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend AS d
  JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
 WHERE c.relpersistence = 't' AND d.classid IN ('pg_proc'::regclass, 'pg_rewrite'::regclass)
"""


def test_the_decoys_would_be_called_by_a_script_that_is_careless(planted):
    with pytest.raises(psycopg.Error, match="captured"):
        planted.execute(
            "SELECT FROM pg_catalog.pg_class WHERE relnamespace = 'public'::regnamespace"
        )
    planted.execute(
        "CREATE FUNCTION careless() RETURNS text BEGIN ATOMIC"
        " SELECT pg_relation_size('pg_class'); END"
    )
    assert len(observed(planted, BOUND)) == 1


@pytest.mark.parametrize("way", ["extension", "script"])
def test_no_object_of_others_is_called_or_bound(planted, way):
    for extension in shipped():
        if way == "extension":
            planted.execute(f"CREATE EXTENSION {extension.name}")
        else:
            with pinned(planted):
                script.create(planted, extension)
            assert planted.execute("SHOW search_path").fetchone() == ('"$user", public',)
    assert observed(planted, BOUND) == []
    assert observed(planted, TEMPORARY) == []
    vector = "array_fill(1::real, ARRAY[192])::public.vector"
    planted.execute(f"SELECT voxprint.enroll('ann', {vector})")
    (found,) = planted.execute(
        f"SELECT speaker, score FROM voxprint.identify({vector}, attributes_path => '$')"
    ).fetchall()
    assert found == ("ann", pytest.approx(1))
    planted.execute("SELECT open_analytic.pipeline_create('p')")
    planted.execute("SELECT open_analytic.pipeline_drop('p')")
    planted.execute("CREATE TABLE public.voices (feature real[])")
    planted.execute("SELECT fastann.create_index('public.voices', 'feature')")


@pytest.mark.parametrize("name", EXTENSION_NAMES)
def test_every_script_pins_the_path_before_anything_else(name):
    (extension,) = (e for e in shipped() if e.name == name)
    code = [line for line in extension.script.splitlines() if line and not line.startswith("--")]
    assert code[0] == "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);"


def test_what_the_functions_are_bound_to_cannot_move_away(db):
    """PL/pgSQL keeps names: a schema that pgvector has left could hold a false ``vector``."""
    with pytest.raises(psycopg.Error, match="SET SCHEMA"):
        db.execute("CREATE SCHEMA elsewhere; ALTER EXTENSION vector SET SCHEMA elsewhere")


def test_distances_on_arrays_ignore_what_the_caller_finds_first(as_role, db):
    caller = as_role()
    schema = sql.Identifier(caller.info.user)
    db.execute(sql.SQL("CREATE SCHEMA AUTHORIZATION {}").format(schema))
    caller.execute(
        """CREATE FUNCTION cardinality(real[]) RETURNS integer LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE FUNCTION cardinality(anyarray) RETURNS integer LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE FUNCTION count() RETURNS bigint LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE FUNCTION unnest(real[]) RETURNS SETOF real LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE FUNCTION same(real, real) RETURNS boolean LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE FUNCTION other(integer, integer) RETURNS boolean LANGUAGE plpgsql AS
               $$ BEGIN RAISE 'captured'; END $$;
           CREATE OPERATOR = (LEFTARG = real, RIGHTARG = real, FUNCTION = same);
           CREATE OPERATOR <> (LEFTARG = integer, RIGHTARG = integer, FUNCTION = other);"""
    )
    caller.execute('SET search_path = "$user", pg_catalog, public')
    with pytest.raises(psycopg.Error, match="captured"):
        caller.execute("SELECT cardinality('{1}'::real[])")
    for function in (
        "l2_distance",
        "l2_squared_distance",
        "inner_product_distance",
        "dp_distance",
        "cosine_distance",
        "cosine_similarity",
        "negative_inner_product_distance",
    ):
        caller.execute(f"SELECT public.{function}('{{3,4}}'::real[], '{{0,5}}'::real[])")
    hamming = "SELECT public.hm_distance('{1,2,NULL,NULL,NaN}'::real[], '{1,3,NULL,0,NaN}')"
    assert caller.execute(hamming).fetchone() == (2,)
    with pytest.raises(psycopg.Error) as caught:
        caller.execute("SELECT public.l2_distance('{1}'::real[], '{1,2}'::real[])")
    assert caught.value.sqlstate == "VX004"
