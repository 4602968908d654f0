"""Roles and schemas that others made before a superuser installs, and who is asked to embed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from article_voices import recording
from domain_gallery import enroll, refused, voices
from psycopg import sql

from voxprint.db.server import Server
from voxprint.encoder.spec import DEFAULT_MODEL, MODELS
from voxprint.errors import DatabaseError
from voxprint.worker.register import register
from voxprint.worker.settings import Address

OWNERS = {"voxprint": "voxprint_owner", "open_analytic": "open_analytic_owner"}


@pytest.fixture
def bare(server: Server, template: str) -> Iterator[psycopg.Connection]:
    """A database without our extensions, on a server whose roles exist."""
    name = f"bare_{secrets.token_hex(4)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(
            "CREATE EXTENSION vector; CREATE EXTENSION dblink; CREATE EXTENSION fastann;"
            " CREATE ROLE mallory"
        )
        yield connection
        connection.execute("DROP OWNED BY mallory; DROP ROLE mallory")
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


FAULTS = {
    "ALTER ROLE {} SUPERUSER": "superuser",
    "ALTER ROLE {} LOGIN": "log in",
    "ALTER ROLE {} CREATEROLE": "CREATEROLE",
    "ALTER ROLE {} BYPASSRLS": "BYPASSRLS",
    "ALTER ROLE {} REPLICATION": "REPLICATION",
    "GRANT pg_read_all_data TO {}": "member of other roles",
    "GRANT {} TO mallory": "mallory",
    "GRANT {} TO mallory WITH ADMIN TRUE, INHERIT FALSE, SET FALSE": "mallory",
    "CREATE FUNCTION public.backdoor() RETURNS int SECURITY DEFINER RETURN 1;"
    " ALTER FUNCTION public.backdoor() OWNER TO {}": "owns objects",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT ALL ON TABLES TO mallory": "default privileges",
}


@pytest.mark.parametrize("extension", OWNERS)
def test_an_owner_s_role_that_is_not_as_we_make_it_is_refused(bare, extension):
    role = OWNERS[extension]
    for fault, said in FAULTS.items():
        with bare.transaction(force_rollback=True):
            bare.execute(fault.format(role))
            with (
                pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=said) as caught,
                bare.transaction(),
            ):
                bare.execute(f"CREATE EXTENSION {extension}")
            assert role in str(caught.value.diag.message_primary), fault
            assert "REVOKE" in str(caught.value.diag.message_hint), fault


@pytest.mark.parametrize("extension", OWNERS)
def test_whoever_made_the_role_beforehand_does_not_keep_it(bare, extension):
    role = OWNERS[extension]
    with bare.transaction(force_rollback=True):
        bare.execute(f"ALTER ROLE {role} RENAME TO another; ALTER ROLE mallory CREATEROLE")
        bare.execute(f"SET LOCAL ROLE mallory; CREATE ROLE {role}; RESET ROLE")
        with pytest.raises(psycopg.Error, match="mallory"), bare.transaction():
            bare.execute(f"CREATE EXTENSION {extension}")
        bare.execute(f"ALTER ROLE {role} RENAME TO planted")
        bare.execute(f"CREATE EXTENSION {extension}")  # makes its own


def test_superusers_may_be_members(bare):
    with bare.transaction(force_rollback=True):
        bare.execute("ALTER ROLE mallory SUPERUSER")
        bare.execute("GRANT voxprint_owner, open_analytic_owner TO mallory")
        bare.execute("CREATE EXTENSION voxprint; CREATE EXTENSION open_analytic")


def test_no_worker_is_registered_for_a_role_that_others_hold(server, bare):
    for grant, undo in (
        ("GRANT open_analytic_owner TO mallory", "REVOKE open_analytic_owner FROM mallory"),
        ("ALTER ROLE open_analytic_owner LOGIN", "ALTER ROLE open_analytic_owner NOLOGIN"),
    ):
        bare.execute(grant)
        try:
            with pytest.raises(DatabaseError, match="open_analytic_owner"):
                register(server.conninfo(), Address("/nowhere", 5432), "password")
        finally:
            bare.execute(undo)


#: Answers with the gallery, with the rights that it is called with.
PLANTED = """
CREATE FUNCTION open_analytic.call_worker(
    text, text, bytea, OUT spec_hash text, OUT embedding public.vector, OUT seconds float8,
    OUT speech_seconds float8, OUT sample_rate int, OUT quality jsonb)
LANGUAGE plpgsql AS $$ BEGIN RAISE 'called as %', current_user; END $$
"""


def test_a_planted_schema_open_analytic_is_never_called(db, as_role):
    db.execute("DROP EXTENSION open_analytic CASCADE")
    enroll(db, "ann", voices(1)[0])
    planter, reader = as_role(), as_role("voxprint_reader")
    name = sql.Identifier(planter.info.user)
    db.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(db.info.dbname), name)
    )
    planter.execute("CREATE SCHEMA open_analytic; GRANT USAGE ON SCHEMA open_analytic TO PUBLIC")
    planter.execute(PLANTED)
    call = "SELECT voxprint.verify('ann', 'x'::bytea)"
    with refused("VX010", "schema open_analytic"):
        reader.execute(call)
    # Nor where they had the role of the owner, or gave the schema away.
    db.execute(
        "ALTER FUNCTION open_analytic.call_worker(text, text, bytea) OWNER TO open_analytic_owner"
    )
    with refused("VX010", "schema open_analytic"):
        reader.execute(call)
    db.execute("ALTER SCHEMA open_analytic OWNER TO open_analytic_owner")
    with refused("VX010", "schema open_analytic"):
        reader.execute(call)
    # Installing voxprint beside it grants it nothing.
    db.execute("DROP EXTENSION voxprint; CREATE EXTENSION voxprint")
    usage = "SELECT has_schema_privilege('voxprint_owner', 'open_analytic', 'CREATE')"
    assert db.execute(usage).fetchone() == (False,)


def test_a_schema_that_others_may_write_is_not_called(worker, db, as_role):
    call = "SELECT voxprint.compare(%(a)s::bytea, %(a)s::bytea)"
    values = {"a": recording(1)}
    reader = as_role("voxprint_reader")
    assert reader.execute(call, values).fetchone()
    db.execute("GRANT CREATE ON SCHEMA open_analytic TO PUBLIC")
    with refused("VX010", "CREATE"):
        reader.execute(call, values)


def test_the_models_are_the_encoder_s(db):
    rows = db.execute("SELECT name, dim, threshold FROM voxprint.models").fetchall()
    assert sorted(rows) == sorted((m.name, m.dim, m.threshold) for m in MODELS.values())
    shown = "SELECT value FROM voxprint.show_settings() WHERE name = 'default_model'"
    assert db.execute(shown).fetchone() == (DEFAULT_MODEL.name,)
