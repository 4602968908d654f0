"""Connections to a database that holds our extensions, with our errors in place of psycopg's."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from voxprint.errors import (
    SQLSTATES,
    DatabaseError,
    ExtensionVersionError,
    FailureToAcquire,
    FailureToEnroll,
    UsageError,
    VoxprintError,
)

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any]
#: Runs one statement with its parameters and gives the rows.
Query = Callable[..., list[dict[str, Any]]]

#: How often a transaction that lost against another one is run in all.
ATTEMPTS = 10

#: Seconds until a server that does not answer, or a pool without a free connection, is an error.
CONNECT_TIMEOUT = 10

#: A password with an @ in it, of which libpq takes the rest for the host; as it takes a part
#: before a / for the port.
_AMBIGUOUS_URL = re.compile(r"postgres(ql)?://[^/?]*@[^/?]*@")

#: For statements of our own. Temporary objects come last, and nobody else's come at all: whoever
#: may create in ``public``, in a schema named like the role, or sets the database's search_path
#: could slip operators and functions under them, which then run with the rights of the caller.
PIN = "SET LOCAL search_path = pg_catalog, pg_temp"

_LOST = (pg.SerializationFailure, pg.DeadlockDetected)
#: What pgvector and casts say of malformed values, NaN, and numbers that are too large.
_BAD_VALUE = {"22000", "22003", "22P02"}
_REFUSED_LOGIN = (pg.InvalidAuthorizationSpecification, pg.InvalidPassword)


class Database:
    """One database, for any number of threads. Connects at the first use.

    Args:
        conninfo: libpq connection string or URL.

    Raises:
        UsageError: ``conninfo`` cannot be read.
    """

    def __init__(self, conninfo: str) -> None:
        check_conninfo(conninfo)
        self._conninfo = conninfo
        self._opening = threading.Lock()
        self._opened: ConnectionPool[psycopg.Connection] | None = None

    def row(self, query: str, parameters: Parameters | None = None) -> dict[str, Any]:
        """Run one statement that gives one row, in a transaction of its own.

        Names in it need their schema, but for those of ``pg_catalog``. A statement that lost
        against a concurrent one is run again.

        Raises:
            UsageError: a value is malformed, not finite or out of range.
            VoxprintError: of the class that ``SQLSTATES`` names; else ``DatabaseError``.
        """
        found = self.rows(query, parameters)
        if len(found) != 1:
            raise DatabaseError(f"one row was expected from the database, {len(found)} came")
        return found[0]

    def rows(self, query: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
        """Run one statement; as :meth:`row`, with any number of rows."""
        return self.transaction(lambda rows: rows(query, parameters))

    def transaction(self, work: Callable[[Query], T]) -> T:
        """Run several statements as one transaction, again while it loses against others.

        Args:
            work: gets a function that runs one statement and gives its rows; may be called
                several times. Errors of the statements reach it as ours.
        """

        def run() -> T:
            with self._pool.connection() as connection, pinned(connection):
                cursor = connection.cursor(row_factory=dict_row)

                def rows(query: str, parameters: Parameters | None = None) -> list[dict[str, Any]]:
                    with translated(but=_LOST):
                        return cursor.execute(query.encode(), parameters).fetchall()

                return work(rows)

        with translated():
            return retried(run)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A connection with autocommit for SQL of the user's own, whose errors are ours.

        It has the search_path that role and database give it.
        """
        with translated(), self._pool.connection() as connection:
            yield connection

    @cached_property
    def vector_type(self) -> str:
        """The name of pgvector's type for statements; its extension may lie in any schema.

        Raises:
            ExtensionVersionError: the database has no pgvector.
        """
        found = self.rows(
            "SELECT pg_catalog.format('%%I.vector', n.nspname) AS name"
            " FROM pg_catalog.pg_extension e"
            " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = %s",
            ["vector"],
        )
        if not found:
            raise ExtensionVersionError("the database has no extension vector")
        return str(found[0]["name"]).replace("%", "%%")  # it becomes part of a statement

    def check_version(self) -> None:
        """See that the database can be reached and holds the extension of this version.

        Raises:
            DatabaseError: it cannot be reached, or refuses us.
            ExtensionVersionError: the extension is missing, or has another version.
        """
        from voxprint.db.install import installed

        with connect(self._conninfo) as connection:
            for extension in installed(connection):
                if extension.name == "voxprint" and extension.found != extension.shipped:
                    raise ExtensionVersionError(
                        f"extension voxprint {extension.shipped} is needed in database "
                        f"{connection.info.dbname!r}, and {extension.found or 'none'} is there",
                        hint="run `voxprint install --dsn ...` as a superuser"
                        if extension.outdated
                        else "use a voxprint of that version",
                    )

    def close(self) -> None:
        """Close all connections."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @property
    def _pool(self) -> ConnectionPool[psycopg.Connection]:
        with self._opening:
            if self._opened is None:
                # A pool hides why it cannot connect; one plain connection tells it at once.
                connect(self._conninfo).close()
                self._opened = ConnectionPool(
                    self._conninfo,
                    kwargs={
                        "autocommit": True,
                        "connect_timeout": CONNECT_TIMEOUT,
                        # Behind PgBouncer another client may have the next statement's server.
                        "prepare_threshold": None,
                    },
                    min_size=0,
                    max_size=16,
                    timeout=CONNECT_TIMEOUT,
                    check=ConnectionPool.check_connection,  # the server may have been restarted
                    open=True,
                )
            return self._opened


def check_conninfo(conninfo: str) -> None:
    """Refuse a connection string that libpq cannot read, without repeating it."""
    try:
        port = str(conninfo_to_dict(conninfo).get("port") or "")
        readable = not _AMBIGUOUS_URL.match(conninfo) and bool(re.fullmatch("[0-9,]*", port))
    except psycopg.ProgrammingError:
        readable = False
    if not readable:  # libpq's words, which quote the string and a password in it, are left out
        raise UsageError(
            "the connection string cannot be read",
            hint="write postgresql://user@host:5432/database or 'host=... dbname=... user=...', "
            "with special characters of a URL percent-encoded",
        )


def connect(conninfo: str) -> psycopg.Connection:
    """Open a connection with autocommit.

    Raises:
        UsageError: ``conninfo`` cannot be read.
        DatabaseError: the server cannot be reached, or refuses us.
    """
    check_conninfo(conninfo)
    with translated():
        return psycopg.connect(conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT)


@contextmanager
def pinned(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction in which names without a schema are those of ``pg_catalog``.

    A start-up option would do the same for a whole session, but PgBouncer refuses or drops it.
    Every statement of our own that names a function, operator, type or table belongs in here.
    """
    with connection.transaction():
        connection.execute(PIN)
        yield


def retried(run: Callable[[], T]) -> T:
    """Run a whole transaction, again while it loses against concurrent ones.

    Args:
        run: begins, does and commits the transaction; called up to ``ATTEMPTS`` times.

    Raises:
        psycopg.Error: whatever else ``run`` raises, and the last loss.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return run()
        except _LOST:
            time.sleep(random.uniform(0, min(0.5, 0.01 * 2**attempt)))  # noqa: S311  (not a secret)
    return run()


@contextmanager
def translated(but: tuple[type[psycopg.Error], ...] = ()) -> Iterator[None]:
    """Raise psycopg's errors as ours, but for those that somebody further out waits for."""
    try:
        yield
    except but:
        raise
    except (psycopg.Error, PoolTimeout) as error:
        raise as_ours(error) from error
    except UnicodeEncodeError as error:  # of a command line in no known letters, for one
        raise UsageError(
            f"expected text of Unicode characters, got {error.object[:100]!a}"
        ) from error


def as_ours(error: psycopg.Error | PoolTimeout) -> VoxprintError:
    """The error of ours for one of psycopg's: by its SQLSTATE, else ``DatabaseError``."""
    diagnosis = getattr(error, "diag", None)
    message = (diagnosis and diagnosis.message_primary) or " ".join(str(error).split())
    hint = (diagnosis and diagnosis.message_hint) or ""
    state = getattr(error, "sqlstate", None) or ""
    kind = SQLSTATES.get(state, UsageError if state in _BAD_VALUE else DatabaseError)
    detail = (diagnosis and diagnosis.message_detail) or ""
    if kind is FailureToAcquire:
        return FailureToAcquire(message, reason=_reason(detail), hint=hint)
    if kind is FailureToEnroll:
        return FailureToEnroll(message, reasons=_reasons(detail), hint=hint)
    if isinstance(error, PoolTimeout) or (
        isinstance(error, psycopg.OperationalError) and not isinstance(error, _LOST)
    ):
        hint = hint or _network_hint(error)
    elif isinstance(error, pg.InsufficientPrivilege):
        hint = hint or "ask for one of the roles voxprint_reader, _operator or _admin"
    return kind(message, hint=hint)


def _reason(detail: str) -> str:
    for part in detail.split():
        name, _, value = part.partition("=")
        if name == "reason":
            return value
    return ""


def _reasons(detail: str) -> tuple[str, ...]:
    """The words of the JSON array by which SQL says why it refuses to enrol."""
    return tuple(json.loads(detail)) if detail else ()


def _network_hint(error: Exception) -> str:
    if isinstance(error, _REFUSED_LOGIN) or "authentication failed" in str(error):
        return "check user and password of the connection string"
    if isinstance(error, pg.QueryCanceled):
        return "raise statement_timeout, or try again"
    return "check that the server runs and that host and port of the connection string are right"
