"""Our extensions run as plain scripts, where a server cannot see their files.

PostgreSQL then knows of no extension, so a mark at the end of the comment on the extension's
schema tells the version. Sources mark what does not belong into a script, or needs a superuser,
with pairs of lines such as ``-- extension only: begin`` and ``-- extension only: end``.
"""

from __future__ import annotations

import re

import psycopg
from psycopg import sql

from voxprint.db.connection import PIN, pinned
from voxprint.db.extensions import Extension
from voxprint.errors import DatabaseError, ExtensionVersionError

EXTENSION_ONLY = "extension only"
SUPERUSER_ONLY = "superuser only"

#: Where the objects go that have no schema of their own, as CREATE EXTENSION has it.
_SCHEMA = "public"
_MARK = re.compile(r" ?\[script (?P<version>[0-9.]+)(?P<limited>, without superuser)?\]$")


def installed(connection: psycopg.Connection) -> dict[str, tuple[str, str]]:
    """Name -> (version, ``script`` or ``limited``) of what was installed as a script."""
    with pinned(connection):
        rows = connection.execute(
            "SELECT nspname, obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace"
        ).fetchall()
    marks = {name: _MARK.search(remark or "") for name, remark in rows}
    return {
        name: (mark["version"], "limited" if mark["limited"] else "script")
        for name, mark in marks.items()
        if mark
    }


def create(connection: psycopg.Connection, extension: Extension, *, limited: bool = False) -> None:
    """Run the whole script; ``limited`` leaves out what needs a superuser."""
    _run(connection, _without(extension.script, limited))
    _mark(connection, extension, limited)


def complete(connection: psycopg.Connection, extension: Extension) -> None:
    """Add, as a superuser, what a limited installation left out."""
    _run(connection, "\n".join(_blocks(SUPERUSER_ONLY).findall(extension.script)))
    _mark(connection, extension, limited=False)


def upgrade(
    connection: psycopg.Connection, extension: Extension, found: str, *, limited: bool
) -> None:
    """Run the scripts that lead from version ``found`` to ours.

    Raises:
        ExtensionVersionError: there is no way from that version.
    """
    version = found
    while version != extension.version:
        start = f"{extension.name}--{version}--"
        step = next((name for name in extension.files if name.startswith(start)), None)
        if step is None:
            raise ExtensionVersionError(
                f"there is no way from {extension.name} {found} to {extension.version}",
                hint="upgrade with the voxprint versions in between, or export and start anew",
            )
        _run(connection, _without(extension.files[step], limited))
        version = step.removeprefix(start).removesuffix(".sql")
    _mark(connection, extension, limited)


def _blocks(kind: str) -> re.Pattern[str]:
    return re.compile(rf"^-- {kind}: begin$.*?^-- {kind}: end$", re.MULTILINE | re.DOTALL)


def _without(text: str, limited: bool) -> str:
    text = _blocks(EXTENSION_ONLY).sub("", text)
    return _blocks(SUPERUSER_ONLY).sub("", text) if limited else text


def _quoted(schema: str) -> str:
    """A schema's name as it may stand anywhere in a script, in quoted bodies, too."""
    if re.search(r"[\"$'\\]", schema):
        # PostgreSQL's CREATE EXTENSION refuses the same: such a name could end a literal.
        raise DatabaseError(
            f"an extension that is needed lies in schema {schema!r}, whose name has one of \"$'\\",
            hint="ALTER EXTENSION ... SET SCHEMA to one with a plain name",
        )
    return f'"{schema}"'


def _run(connection: psycopg.Connection, text: str) -> None:
    """Run a script as CREATE EXTENSION does: its words replaced, its settings its own.

    The connection is in a transaction, pinned.
    """
    homes: dict[str, str] = dict(
        connection.execute(
            "SELECT e.extname, n.nspname FROM pg_catalog.pg_extension e"
            " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
        ).fetchall()
    )
    text = text.replace("@extschema@", _SCHEMA)
    text = re.sub(r"@extschema:(\w+)@", lambda match: _quoted(homes[match[1]]), text)
    connection.execute("SET LOCAL check_function_bodies = off")
    connection.execute(
        sql.SQL("SET LOCAL search_path = {}, pg_temp").format(sql.Identifier(_SCHEMA))
    )
    connection.execute(text.encode())
    connection.execute(PIN)


def _mark(connection: psycopg.Connection, extension: Extension, limited: bool) -> None:
    row = connection.execute(
        "SELECT obj_description(to_regnamespace(%s)::oid, 'pg_namespace')", [extension.name]
    ).fetchone()
    remark = _MARK.sub("", (row and row[0]) or "")
    mark = f"[script {extension.version}{', without superuser' if limited else ''}]"
    connection.execute(
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(
            sql.Identifier(extension.name), sql.Literal(f"{remark} {mark}".strip())
        )
    )
