"""Versions of our extensions: as scripts, and on our own server."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from voxprint.db import script
from voxprint.db.connection import Database
from voxprint.db.extensions import Extension, shipped
from voxprint.db.install import installed
from voxprint.db.server import Server
from voxprint.errors import ExtensionVersionError

CREATE = """
-- a schema of the extension's own
CREATE SCHEMA toy;
CREATE TABLE toy.step (n int);
-- extension only: begin
SELECT pg_catalog.pg_extension_config_dump('toy.step', '');
-- extension only: end
CREATE FUNCTION @extschema@.toy_norm(v @extschema:vector@.vector) RETURNS float8
  RETURN @extschema:vector@.vector_norm(v);
-- superuser only: begin
CREATE FUNCTION toy.privileged() RETURNS int RETURN 1;
-- superuser only: end
"""


def toy(version: str, **steps: str) -> Extension:
    files = {"toy--0.1.0.sql": CREATE, f"toy--{version}.sql": CREATE}
    for step, text in steps.items():
        files[f"toy--{step.replace('_to_', '--')}.sql"] = text
    return Extension("toy", version, ("vector",), files)


def functions(db: psycopg.Connection) -> set[str]:
    found = db.execute(
        "SELECT n.nspname || '.' || p.proname FROM pg_proc p JOIN pg_namespace n"
        " ON n.oid = p.pronamespace WHERE p.proname IN ('toy_norm', 'privileged')"
    )
    return {name for (name,) in found}


def test_a_script_is_cut_and_marked(db: psycopg.Connection) -> None:
    with db.transaction():
        script.create(db, toy("0.1.0"), limited=True)
    assert script.installed(db) == {"toy": ("0.1.0", "limited")}
    assert functions(db) == {"public.toy_norm"}
    assert db.execute("SELECT toy_norm('[3,4]')").fetchone() == (5.0,)
    with db.transaction():
        script.complete(db, toy("0.1.0"))
    assert script.installed(db) == {"toy": ("0.1.0", "script")}
    assert functions(db) == {"public.toy_norm", "toy.privileged"}


def test_a_mark_keeps_the_comment(db: psycopg.Connection) -> None:
    with db.transaction():
        script.create(db, toy("0.1.0"))
    db.execute("COMMENT ON SCHEMA toy IS 'what it is for [script 0.1.0]'")
    with db.transaction():
        script.upgrade(db, toy("0.2.0", **{"0.1.0_to_0.2.0": ""}), "0.1.0", limited=False)
    remark = db.execute("SELECT obj_description('toy'::regnamespace)").fetchone()
    assert remark == ("what it is for [script 0.2.0]",)


def test_upgrades_run_one_after_the_other(db: psycopg.Connection) -> None:
    newer = toy(
        "0.3.0",
        **{
            "0.2.0_to_0.3.0": "INSERT INTO toy.step SELECT max(n) + 1 FROM toy.step;",
            "0.1.0_to_0.2.0": "INSERT INTO toy.step VALUES (1);",
        },
    )
    with db.transaction():
        script.create(db, toy("0.1.0"))
        script.upgrade(db, newer, "0.1.0", limited=False)
    assert db.execute("SELECT array_agg(n ORDER BY n) FROM toy.step").fetchone() == ([1, 2],)
    assert script.installed(db) == {"toy": ("0.3.0", "script")}


def test_a_version_without_a_way_up(db: psycopg.Connection) -> None:
    with db.transaction():
        script.create(db, toy("0.1.0"))
    with pytest.raises(ExtensionVersionError, match=r"no way from toy 0\.1\.0 to 0\.3\.0"):
        script.upgrade(db, toy("0.3.0"), "0.1.0", limited=False)


def test_our_own_server_has_extensions_of_this_version(db: psycopg.Connection) -> None:
    assert [(item.name, item.found, item.way) for item in installed(db)] == [
        (extension.name, extension.version, "extension") for extension in shipped()
    ]


def test_the_data_of_a_newer_voxprint(data: Path) -> None:
    with (
        Server(data, settings={"fsync": "off"}) as server,
        psycopg.connect(server.conninfo(), autocommit=True) as db,
    ):
        change = "UPDATE pg_extension SET extversion = %s WHERE extname = 'voxprint'"
        known = next(extension.version for extension in shipped() if extension.name == "voxprint")
        db.execute(change, ["99.0"])
        try:
            with pytest.raises(ExtensionVersionError, match=r"voxprint 99\.0, and this voxprint"):
                Server(data).join_or_start()
            with pytest.raises(ExtensionVersionError, match=r"99\.0 is there"):
                Database(server.conninfo()).check_version()
        finally:
            db.execute(change, [known])
        assert server.running
