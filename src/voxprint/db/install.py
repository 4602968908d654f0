"""Installing and upgrading the extensions: on our own server, and on a user's.

There are three ways into a database. Where the server sees our files (ours does; a user's does
where it runs on this machine and we may write to its extension folder), ``CREATE EXTENSION``.
Elsewhere a superuser's connection runs the same SQL as a script. On a managed server, without a
superuser, the script runs without the parts that need one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg
from psycopg import sql

from voxprint.db import dblink, publish, script
from voxprint.db.connection import connect, pinned, translated
from voxprint.db.extensions import Extension, shipped
from voxprint.db.settings import DATABASE
from voxprint.errors import DatabaseError, ExtensionVersionError

OLDEST_SERVER = 16
#: Earlier ones have faults in building and vacuuming HNSW indexes.
OLDEST_VECTOR = "0.8.4"
#: What our extensions build on; made first, and in template1 of our server, so that
#: CREATE EXTENSION of ours needs no CASCADE in a new database.
FOUNDATIONS = ("vector", "dblink")
_CREATE = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA public")

#: Extensions of ours that nobody but a superuser can install, whole or in part.
NEED_SUPERUSER = ("open_analytic",)


@dataclass(frozen=True, slots=True)
class Installed:
    """One of our extensions in one database.

    Attributes:
        shipped: version that this package brings.
        found: version in the database, None where it is missing.
        way: ``extension``, ``script``, ``limited`` (script, without the parts that need a
            superuser), or empty where it is missing.
    """

    name: str
    shipped: str
    found: str | None
    way: str

    @property
    def outdated(self) -> bool:
        """Whether installing would change something: missing, or older than ours."""
        return self.found is None or version_key(self.found) < version_key(self.shipped)


@dataclass(frozen=True, slots=True)
class Installation:
    """What ``install`` found and did.

    Attributes:
        server: version of PostgreSQL.
        vector: version of pgvector.
        extensions: ours, as they are now.
        changed: names of those that were created or upgraded just now.
        open_dblink: whether every role may open connections from the server with dblink.
    """

    server: str
    vector: str
    extensions: tuple[Installed, ...]
    changed: tuple[str, ...]
    open_dblink: bool

    def __str__(self) -> str:
        """A line for each extension, for people."""
        lines = [f"PostgreSQL {self.server}, pgvector {self.vector}"]
        for extension in self.extensions:
            state = _STATES[extension.way].format(extension.found)
            done = " (done now)" if extension.name in self.changed else ""
            lines.append(f"{extension.name}: {state}{done}")
        if self.open_dblink:
            lines.append(f"dblink: {dblink.WARNING}")
        return "\n".join(lines)


_STATES = {
    "extension": "{}",
    "script": "{}, installed as a script",
    "limited": "{}, without the access method ann, which a superuser must install",
    "": "missing: a superuser must install it",
}


def version_key(version: str) -> tuple[int, ...]:
    """Order of versions: ``0.8.10`` comes after ``0.8.4``."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def prepare_server(conninfo: Callable[[str], str]) -> None:
    """Give our own server its database and extensions, or bring them up to date.

    Args:
        conninfo: from the name of a database to the superuser's connection string.

    Raises:
        ExtensionVersionError: the database was made by a newer voxprint.
    """
    with connect(conninfo("template1")) as connection, translated(), pinned(connection):
        for name in FOUNDATIONS:
            connection.execute(_CREATE.format(sql.Identifier(name)))
        dblink.close_to_public(connection)
        known = connection.execute(
            "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [DATABASE]
        ).fetchone()
    if known is None:  # outside of template1, which must not be in use while it is copied
        with connect(conninfo("postgres")) as connection, translated():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    with connect(conninfo(DATABASE)) as connection, translated(), pinned(connection):
        connection.execute(_CREATE.format(sql.Identifier("dblink")))
        dblink.close_to_public(connection)
    install(conninfo(DATABASE), copy_files=False)


def installed(connection: psycopg.Connection) -> tuple[Installed, ...]:
    """Which of our extensions a database holds, in the order of their creation."""
    with translated(), pinned(connection):
        versions: dict[str, str] = dict(
            connection.execute("SELECT extname, extversion FROM pg_catalog.pg_extension").fetchall()
        )
        scripts = script.installed(connection)
    states = []
    for extension in shipped():
        version, way = versions.get(extension.name), "extension"
        if version is None:
            version, way = scripts.get(extension.name, (None, ""))
        states.append(Installed(extension.name, extension.version, version, way))
    return tuple(states)


def install(conninfo: str, *, copy_files: bool = True) -> Installation:
    """Install our extensions, or upgrade them. All of it happens, or nothing; again is a no-op.

    Args:
        conninfo: of the database; as a superuser, or else only what needs none is installed.
        copy_files: whether to put our files into the extension folder of a server that runs on
            this machine.

    Raises:
        DatabaseError: the server is older than 16, pgvector is missing or older than 0.8.4, or
            the role may not do it.
        ExtensionVersionError: a newer version of ours is installed.
    """
    with connect(conninfo) as connection, translated():
        server = _check_server(connection)
        superuser = _is_superuser(connection)
        changed = []
        try:
            with pinned(connection):
                connection.execute("SET LOCAL client_min_messages = warning")
                vector = _prepare_foundations(connection, superuser)
                for extension, state in zip(shipped(), installed(connection), strict=True):
                    if _bring(connection, extension, state, superuser, copy_files):
                        changed.append(extension.name)
        except pg.InsufficientPrivilege as error:
            raise DatabaseError(
                f"this role may not install the extensions: {error.diag.message_primary}",
                hint="connect as a superuser; on a managed server as the owner of the database, "
                "with CREATEROLE",
            ) from error
        with pinned(connection):
            open_dblink = dblink.is_open_to_public(connection)
        return Installation(server, vector, installed(connection), tuple(changed), open_dblink)


def _check_server(connection: psycopg.Connection) -> str:
    version = str(connection.info.parameter_status("server_version"))
    if connection.info.server_version < OLDEST_SERVER * 10000:
        raise DatabaseError(
            f"PostgreSQL {OLDEST_SERVER} or newer is needed, and the server is {version}",
            hint="upgrade the server, or use the embedded one (--data)",
        )
    return version


def _is_superuser(connection: psycopg.Connection) -> bool:
    return connection.info.parameter_status("is_superuser") == "on"


def _prepare_foundations(connection: psycopg.Connection, superuser: bool) -> str:
    """Create what ours build on; returns the version of pgvector."""
    if superuser:
        _check_available(connection, "dblink", "install the server's contrib package")
        if not dblink.exists(connection):
            connection.execute(_CREATE.format(sql.Identifier("dblink")))
            dblink.close_to_public(connection)
    mend = f"install pgvector {OLDEST_VECTOR} or newer on the server"
    _check_available(connection, "vector", mend)
    connection.execute(_CREATE.format(sql.Identifier("vector")))
    row = connection.execute(
        "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'vector'"
    ).fetchone()
    version = str(row and row[0])
    if version_key(version) < version_key(OLDEST_VECTOR):
        raise DatabaseError(
            f"pgvector {OLDEST_VECTOR} or newer is needed, and the database has {version}",
            hint=f"{mend}, then ALTER EXTENSION vector UPDATE",
        )
    return version


def _check_available(connection: psycopg.Connection, name: str, mend: str) -> None:
    known = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = %s", [name]
    ).fetchone()
    if known is None:
        raise DatabaseError(f"the server has no extension {name}", hint=mend)


def _bring(
    connection: psycopg.Connection,
    extension: Extension,
    state: Installed,
    superuser: bool,
    copy_files: bool,
) -> bool:
    """Bring one extension to our version; returns whether that changed anything."""
    if state.found and version_key(state.found) > version_key(extension.version):
        raise ExtensionVersionError(
            f"the database has {extension.name} {state.found}, and this voxprint brings "
            f"{extension.version}",
            hint=f"use a voxprint that brings {extension.name} {state.found}",
        )
    if state.way == "limited" and superuser:
        script.complete(connection, extension)
    elif not state.outdated:
        return False
    elif state.way in ("script", "limited"):
        script.upgrade(connection, extension, str(state.found), limited=not superuser)
    elif not superuser:
        return _bring_limited(connection, extension, state)
    elif publish.is_visible(connection, extension) or (
        copy_files and publish.publish(connection, extension)
    ):
        name = sql.Identifier(extension.name)
        connection.execute(
            sql.SQL(
                "ALTER EXTENSION {} UPDATE" if state.found else "CREATE EXTENSION {} SCHEMA public"
            ).format(name)
        )
    elif state.found:
        raise ExtensionVersionError(
            f"{extension.name} {state.found} is to become {extension.version}, and the server "
            "does not see our files",
            hint="stop and start the embedded server, or copy the files of `voxprint install` "
            "to the server's extension folder",
        )
    else:
        script.create(connection, extension)
    return True


def _bring_limited(connection: psycopg.Connection, extension: Extension, state: Installed) -> bool:
    """Do what can be done without a superuser."""
    if state.found:
        raise DatabaseError(
            f"{extension.name} {state.found} is to become {extension.version}, which needs a "
            "superuser",
            hint="run `voxprint install` with a superuser's connection string",
        )
    if extension.name in NEED_SUPERUSER:
        return False
    script.create(connection, extension, limited=True)
    return True
