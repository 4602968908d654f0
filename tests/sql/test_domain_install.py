"""The three ways in and out of a database: extension, plain script, dump and restore."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from domain_gallery import call, enroll, identify, verify, voices
from psycopg import sql
from psycopg.types.json import Jsonb

from voxprint.db.install import install
from voxprint.db.server import Server

VOICES = voices(6)


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    """A new database without any extension of ours."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        )
    yield name
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def fill(db: psycopg.Connection) -> None:
    db.execute("SELECT voxprint.register_model('campplus_zh_en_192', 192, 'abc', 0.42)")
    db.execute("SELECT voxprint.register_model('small', 3, 'def', 0.3)")
    db.execute("SELECT voxprint.create_group('staff', 'those who work here')")
    for i, voice in enumerate(VOICES):
        enroll(
            db,
            f"p{i % 3}",
            voice,
            groups=["staff"] if i == 1 else None,
            attributes=Jsonb({"n": i}),
            speech_seconds=1.5,
        )
    enroll(db, "p0", voices(1, dim=3)[0], model="small")
    telephone = Jsonb({"bandwidth_hz": 3400, "reasons": ["noisy"]})
    enroll(db, "p0", VOICES[0] + 0.01, speech_seconds=0.5, quality=telephone)
    enroll(db, "p3", VOICES[5] + 0.01, speech_seconds=0.5, overrule=True)
    db.execute("SELECT voxprint.create_group('banned', watchlist => true)")
    db.execute("SELECT voxprint.configure('min_enrol_speech', '3.25')")  # p1 is not ready any more
    db.execute("SELECT voxprint.set_status('p2', 'suspended')")
    db.execute("SELECT voxprint.forget('p2')")


def contents(db: psycopg.Connection) -> dict[str, list[tuple]]:
    tables = ("models", "groups", "speakers", "memberships", "utterances", "tombstones")
    found = {t: db.execute(f"SELECT * FROM voxprint.{t} ORDER BY 1").fetchall() for t in tables}
    found["voiceprints"] = db.execute(
        "SELECT * FROM voxprint.voiceprints ORDER BY 1, 2, 3"
    ).fetchall()
    found["speakers"] = [row[:-1] for row in found["speakers"]]  # updated_at moves while restoring
    return found


def indexes(db: psycopg.Connection) -> list[tuple]:
    return db.execute(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'voxprint' ORDER BY 1"
    ).fetchall()


def dump_and_restore(server: Server, source: str, target: str, folder: Path) -> None:
    """One table after the other: an archive does not tell parallel jobs which comes first."""
    binaries, archive = Path(server.psql).parent, folder / "dump"
    for command in (
        ["pg_dump", "-Fc", "-f", archive, "-d", server.conninfo(source)],
        ["pg_restore", "--exit-on-error", "-d", server.conninfo(target), archive],
    ):
        subprocess.run([binaries / command[0], *command[1:]], check=True)
    listing = subprocess.run(
        [binaries / "pg_restore", "--list", archive], check=True, capture_output=True, text=True
    ).stdout
    assert " ACL voxprint " not in listing, "grants are the script's, not the dump's"


def test_dump_and_restore_keep_everything(server, database, db, empty, tmp_path):
    fill(db)
    dump_and_restore(server, database, empty, tmp_path)
    with psycopg.connect(server.conninfo(empty), autocommit=True) as restored:
        assert contents(restored) == contents(db)
        assert indexes(restored) == indexes(db)
        assert verify(restored, "p0", VOICES[0]) == verify(db, "p0", VOICES[0])
        assert enroll(restored, "new", -VOICES[5])["added"]
        assert not enroll(restored, "p0", VOICES[0])["added"]
        assert (
            call(restored, "SELECT * FROM voxprint.forget('p0')")[0]["removed"]["utterances"] == 4
        )


def test_create_and_drop_the_extension(server, empty):
    with psycopg.connect(server.conninfo(empty), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION voxprint CASCADE")
        connection.execute("CREATE EXTENSION IF NOT EXISTS voxprint")
        fill(connection)
        connection.execute("DROP EXTENSION voxprint, fastann")
        assert connection.execute("SELECT to_regnamespace('voxprint')").fetchone() == (None,)
        connection.execute("CREATE SCHEMA elsewhere")
        connection.execute("ALTER EXTENSION vector SET SCHEMA elsewhere")
        connection.execute("CREATE EXTENSION voxprint CASCADE")
        connection.execute("SET search_path = elsewhere")
        fill(connection)
        for mode in ("auto", "ann"):
            connection.execute(f"SET fastann.index_scan_mode = {mode}")
            assert identify(connection, VOICES[0], k=1)[0]["speaker"] == "p0"


def test_as_a_script_without_superuser(server, empty, tmp_path):
    installer, password = f"installer_{secrets.token_hex(4)}", secrets.token_hex(8)
    name = sql.Identifier(installer)
    with psycopg.connect(server.conninfo(empty), autocommit=True) as superuser:
        superuser.execute("CREATE EXTENSION vector")
        superuser.execute(
            sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(
                name, sql.Literal(password)
            )
        )
        superuser.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(empty), name)
        )
        # the roles are there already, made by another: their maker may hand them on
        superuser.execute(sql.SQL("GRANT voxprint_owner TO {} WITH ADMIN TRUE").format(name))
        try:
            conninfo = server.conninfo(empty, user=installer, password=password)
            install(conninfo)
            with psycopg.connect(conninfo, autocommit=True) as connection:
                fill(connection)
                assert identify(connection, VOICES[0], k=1)[0]["speaker"] == "p0"
            assert_same_objects(server, superuser)
        finally:
            superuser.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
            superuser.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(sql.Identifier(empty))
            )
            superuser.execute(sql.SQL("DROP ROLE {}").format(name))


OBJECTS = """
SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
       (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(p.proacl) a
        WHERE a::text NOT LIKE 'open_analytic_owner=%')  -- which is in one of the databases only
FROM pg_proc p WHERE p.pronamespace = 'voxprint'::regnamespace
UNION ALL
SELECT c.relname, c.relkind::text, pg_get_userbyid(c.relowner), c.relacl::text
FROM pg_class c WHERE c.relnamespace = 'voxprint'::regnamespace AND c.relkind <> 'i'
ORDER BY 1
"""


def assert_same_objects(server: Server, scripted: psycopg.Connection) -> None:
    """Script and extension make the same objects, of the same owner, with the same grants."""
    with psycopg.connect(server.conninfo(), autocommit=True) as extended:
        assert scripted.execute(OBJECTS).fetchall() == extended.execute(OBJECTS).fetchall()
