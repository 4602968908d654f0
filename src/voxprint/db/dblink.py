"""Keeping dblink's functions to those who are granted them.

PostgreSQL gives them to everybody. With them any role has the server open connections: to hosts
that only the server reaches, and to the server itself as the account that it runs as. dblink
looks for a password only after libpq has connected, with options of the caller's choosing.
"""

from __future__ import annotations

import psycopg

WARNING = (
    "every role may open connections from this server; unless something of yours needs that, "
    "revoke EXECUTE on its functions from PUBLIC (docs/operations.md)"
)

_FUNCTIONS = """
SELECT p.oid::regprocedure::text AS name,
       EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
               WHERE a.grantee = 0) AS public
FROM pg_catalog.pg_extension AS e
JOIN pg_catalog.pg_depend AS d
  ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
 AND d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e'
JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
WHERE e.extname = 'dblink'
"""


def exists(connection: psycopg.Connection) -> bool:
    """Whether the database has the extension. The connection is pinned, as for all of these."""
    query = "SELECT FROM pg_catalog.pg_extension WHERE extname = 'dblink'"
    return connection.execute(query).fetchone() is not None


def is_open_to_public(connection: psycopg.Connection) -> bool:
    """Whether any of the functions is for everybody."""
    return any(public for _, public in connection.execute(_FUNCTIONS))


def close_to_public(connection: psycopg.Connection) -> None:
    """Revoke the functions from ``PUBLIC``; grants to roles stay."""
    names = [name for name, public in connection.execute(_FUNCTIONS) if public]
    if names:  # as regprocedure writes them: quoted, and with their schema
        connection.execute(f"REVOKE EXECUTE ON FUNCTION {', '.join(names)} FROM PUBLIC".encode())
