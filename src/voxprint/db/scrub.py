"""Erasing what a removal leaves behind.

A deleted row stays in its page until something overwrites it, and in the write-ahead log until
the segment is removed. So the tables are rewritten and the log is moved on. Backups, standbys,
archived log and the disk's own free blocks are out of reach.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg
from psycopg import sql

from voxprint.db.connection import pinned, translated
from voxprint.errors import DatabaseError

#: Seconds to wait for older transactions, whose snapshots keep removed rows.
PATIENCE = 60.0

_TABLES = """
SELECT c.relname,
       pg_has_role(c.relowner, 'USAGE') AS ours
FROM pg_catalog.pg_class c
WHERE c.relnamespace = to_regnamespace('voxprint') AND c.relkind = 'r'
ORDER BY c.relname
"""

_OLDER = """
SELECT 'process ' || pid AS holder FROM pg_catalog.pg_stat_activity
WHERE pid <> pg_backend_pid() AND age(backend_xmin) > age(%(now)s::xid)
  AND datname = current_database()
UNION ALL
SELECT 'prepared transaction ' || gid FROM pg_catalog.pg_prepared_xacts
WHERE database = current_database()
UNION ALL
SELECT 'replication slot ' || slot_name FROM pg_catalog.pg_replication_slots
WHERE age(xmin) > age(%(now)s::xid)
"""

_KEPT = """
SELECT 'replication slot ' || slot_name FROM pg_catalog.pg_replication_slots
UNION ALL
SELECT 'standby ' || application_name FROM pg_catalog.pg_stat_replication
UNION ALL
SELECT 'log archive' WHERE current_setting('archive_mode') <> 'off'
UNION ALL
SELECT 'recycled log (wal_recycle = on)' WHERE current_setting('wal_recycle') = 'on'
UNION ALL
SELECT 'wal_keep_size' WHERE current_setting('wal_keep_size') <> '0'
"""


@dataclass(frozen=True, slots=True)
class Scrub:
    """What was done.

    Attributes:
        tables: rewritten.
        tombstones: removals whose bytes are gone now.
        kept_by: what may still hold copies of them (log archive, standby, ...).
    """

    tables: tuple[str, ...]
    tombstones: int
    kept_by: tuple[str, ...]


def scrub(connection: psycopg.Connection) -> Scrub:
    """Rewrite the tables of schema ``voxprint`` and drop the write-ahead log before now.

    Every table is locked while it is rewritten. Waits for older transactions first.

    Args:
        connection: with autocommit, of a superuser, or of a member of ``voxprint_owner`` and
            ``pg_checkpoint`` who may execute ``pg_switch_wal()``.

    Raises:
        DatabaseError: the role may not (nothing was done), or an older transaction stays open.
    """
    with translated():
        with pinned(connection):
            tables = _rewritable_tables(connection)
            _check_rights(connection)
            pending = connection.execute(
                "SELECT tombstone FROM voxprint.tombstones WHERE scrubbed_at IS NULL"
            ).fetchall()
        _await_older_transactions(connection)
        for table in tables:
            connection.execute(
                sql.SQL("VACUUM (FULL) {}").format(sql.Identifier("voxprint", table))
            )
        connection.execute("CHECKPOINT")
        connection.execute("SELECT pg_catalog.pg_switch_wal()")
        connection.execute("CHECKPOINT")
        with pinned(connection):
            connection.execute(
                "UPDATE voxprint.tombstones SET scrubbed_at = now() WHERE tombstone = ANY (%s)",
                [[row[0] for row in pending]],
            )
            kept = tuple(row[0] for row in connection.execute(_KEPT))
    return Scrub(tables, len(pending), kept)


def _rewritable_tables(connection: psycopg.Connection) -> tuple[str, ...]:
    """The tables; VACUUM would skip another owner's with a mere warning."""
    found = connection.execute(_TABLES).fetchall()
    if not found:
        raise DatabaseError("there is no schema voxprint to scrub in this database")
    if not all(ours for _, ours in found):
        raise DatabaseError(
            "only the tables' owner can rewrite them, and this role is no member of voxprint_owner",
            hint="scrub as a superuser, or GRANT voxprint_owner to this role",
        )
    return tuple(name for name, _ in found)


def _check_rights(connection: psycopg.Connection) -> None:
    checkpoint, switch = connection.execute(
        "SELECT pg_has_role('pg_checkpoint', 'USAGE'),"
        " has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE')"
    ).fetchone() or (False, False)
    if not (checkpoint and switch):
        lacking = "CHECKPOINT" if not checkpoint else "pg_switch_wal()"
        raise DatabaseError(
            f"dropping old write-ahead log needs the right to {lacking}, which this role lacks",
            hint="scrub as a superuser, or GRANT pg_checkpoint and EXECUTE ON FUNCTION "
            "pg_switch_wal() to this role",
        )


def _await_older_transactions(connection: psycopg.Connection) -> None:
    """Wait until no snapshot is left that sees rows removed before now: VACUUM would keep them."""
    with pinned(connection):
        query = "SELECT xid(pg_snapshot_xmax(pg_current_snapshot()))::text"
        now = connection.execute(query).fetchone()
    deadline = time.monotonic() + PATIENCE
    while True:
        with pinned(connection):
            older = connection.execute(_OLDER, {"now": now and now[0]}).fetchall()
        if not older:
            return
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"still open after {PATIENCE:.0f} s and older than the removal: "
                + ", ".join(row[0] for row in older),
                hint="end it, then scrub again",
            )
        time.sleep(0.1)
