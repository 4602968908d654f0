"""Statements of our own run nothing that somebody else planted, whatever rights they have."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest

from voxprint.db.connection import Database
from voxprint.db.install import install
from voxprint.db.scrub import scrub
from voxprint.db.server import Server
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.errors import UsageError
from voxprint.service.gallery import Gallery
from voxprint.types import Embedding

#: Functions and operators whose types fit better than those that pg_catalog has.
_PLANTS = {
    "obj_description(oid, text)": "pg_catalog.obj_description($1, $2::name)",
    "pg_has_role(oid, text)": "pg_catalog.pg_has_role($1, $2)",
    "joined(text, integer)": "pg_catalog.concat($1, $2)",
    "joined(text, name)": "pg_catalog.concat($1, $2)",
    "same(name, text)": "pg_catalog.nameeqtext($1, $2)",
    "same(oid, regnamespace)": "$1 OPERATOR(pg_catalog.=) $2::oid",
}
_RESULTS = {"obj": "text", "joi": "text"}


@pytest.fixture
def gallery(conninfo: str) -> Iterator[Gallery]:
    database = Database(conninfo)
    yield Gallery(database)
    database.close()


def voiceprint(first: float) -> Embedding:
    vector = np.zeros(DEFAULT_MODEL.dim, dtype=np.float32)
    vector[:2] = first, 1.0
    digest = secrets.token_hex(32)
    return Embedding(vector, DEFAULT_MODEL.name, 2.0, 1.0, 16000, digest)


def plant(connection: psycopg.Connection, schema: str) -> None:
    """What makes whoever runs it give its rights to the role of ``connection``."""
    for signature, value in _PLANTS.items():
        name, kinds = signature.removesuffix(")").split("(")
        connection.execute(
            f"""
            CREATE FUNCTION {schema}.{signature} RETURNS {_RESULTS.get(name[:3], "boolean")}
            LANGUAGE plpgsql AS $$
            BEGIN
                IF pg_catalog.current_setting('is_superuser') = 'on' THEN
                    EXECUTE 'ALTER ROLE {connection.info.user} SUPERUSER';
                END IF;
                RETURN {value};
            END $$""".encode()
        )
        if symbol := {"joined": "||", "same": "="}.get(name):
            left, right = kinds.split(", ")
            connection.execute(
                f"CREATE OPERATOR {schema}.{symbol} (LEFTARG = {left}, RIGHTARG = {right},"
                f" FUNCTION = {schema}.{name})".encode()
            )


@pytest.mark.parametrize("schema", ["public", "postgres"])
def test_who_may_create_becomes_no_superuser(
    schema: str,
    gallery: Gallery,
    conninfo: str,
    db: psycopg.Connection,
    as_role: Callable[..., psycopg.Connection],
) -> None:
    planter = as_role()
    role = planter.info.user
    if schema == "public":
        db.execute(f"GRANT CREATE ON SCHEMA public TO {role}".encode())
    else:  # the first of the superuser's search_path, by its name
        db.execute(f"CREATE SCHEMA postgres AUTHORIZATION {role}".encode())
    plant(planter, schema)

    Database(conninfo).check_version()
    gallery.enroll("Amy", voiceprint(0.0), attributes={"age": 30})
    gallery.verify("Amy", voiceprint(0.5))
    gallery.identify(voiceprint(0.5), attributes={"age": 30}, attributes_path="$.age ? (@ > 1)")
    gallery.compare(voiceprint(0.5), voiceprint(0.6))
    gallery.forget("Amy")
    scrub(db)
    install(conninfo, copy_files=False)
    row = db.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    assert row == (False,)


def test_sql_of_the_user_s_own_has_the_usual_search_path(gallery: Gallery, conninfo: str) -> None:
    with gallery._database.connection() as connection:
        assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_pgvector_may_lie_in_any_schema(server: Server, db: psycopg.Connection) -> None:
    name = f"elsewhere_{secrets.token_hex(4)}"
    db.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "100% mine"')
        connection.execute('CREATE EXTENSION vector SCHEMA "100% mine"')
    install(server.conninfo(name), copy_files=False)
    database = Database(server.conninfo(name))
    assert Gallery(database).compare(voiceprint(0.5), voiceprint(0.6)).decision == "accept"
    database.close()
    db.execute(f"DROP DATABASE {name}".encode())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_vector_that_is_none_is_the_caller_s_fault(gallery: Gallery, value: float) -> None:
    with pytest.raises(UsageError):
        gallery.compare(voiceprint(value), voiceprint(1.0))


def test_only_those_who_are_granted_them_have_dblink_s_functions(
    as_role: Callable[..., psycopg.Connection],
) -> None:
    for dbname in ({}, {"dbname": "template1"}):
        with as_role(**dbname) as caller:
            for call in (
                "dblink_connect('host=127.0.0.1')",
                "dblink_exec('host=127.0.0.1', 'SELECT 1')",
                "dblink_get_connections()",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    caller.execute(f"SELECT public.{call}".encode())
