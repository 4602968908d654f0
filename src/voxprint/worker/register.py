"""Telling databases where the worker listens, and the password of the day.

Foreign server and user mapping are written anew at every start of a worker: a restored dump or
a moved folder carries stale ones. Only superusers and the role that nobody can log in as see
the password.
"""

from __future__ import annotations

import json
from importlib import resources

import psycopg
from psycopg.conninfo import make_conninfo

from voxprint.db.connection import pinned
from voxprint.errors import DatabaseError
from voxprint.worker.settings import DATABASE, USER, Address

#: With SCRAM a server proves that it knows the password's verifier, and libpq takes nothing less:
#: whoever takes the address after the worker's end is told neither password nor audio.
_AUTHENTICATION = "scram-sha-256"
#: The password travels as a parameter; these keep statements and parameters out of the log.
_QUIET = """
    SET LOCAL log_statement = none;
    SET LOCAL log_duration = off;
    SET LOCAL log_min_duration_statement = -1;
    SET LOCAL log_min_duration_sample = -1;
    SET LOCAL log_transaction_sample_rate = 0;
    SET LOCAL log_min_error_statement = panic;
    SET LOCAL log_parameter_max_length = 0;
    SET LOCAL log_parameter_max_length_on_error = 0;
"""
_DATABASES = """
    SELECT datname FROM pg_catalog.pg_database
     WHERE datallowconn AND pg_catalog.has_database_privilege(oid, 'CONNECT') ORDER BY oid
"""
_GONE = (psycopg.errors.InvalidCatalogName, psycopg.errors.ObjectNotInPrerequisiteState)


def register(
    conninfo: str, address: Address, password: str, *, sslmode: str | None = None
) -> tuple[str, ...]:
    """Write address and password into every database that has extension ``dblink``.

    ``template1`` is one of them where it has ``dblink``: databases made later know the worker,
    too. A database that gets ``dblink`` in another way learns it at the worker's next start.

    Args:
        conninfo: a superuser's, to any database of the server.
        address: of the worker, as the database server reaches it.
        password: of the user :data:`voxprint.worker.settings.USER` there.
        sslmode: as libpq has it; None for its default.

    Returns:
        Names of the databases that know the worker now.

    Raises:
        DatabaseError: not a superuser's connection, or a database refuses it.
    """
    server = {
        "host": address.host,
        "port": str(address.port),
        "dbname": DATABASE,
        "require_auth": _AUTHENTICATION,
    }
    if sslmode is not None:
        server["sslmode"] = sslmode
    registration = json.dumps({"server": server, "user": USER, "password": password})
    script = resources.files(__package__).joinpath("register.sql").read_text("utf-8")
    try:
        # A database's owner sets its search_path, so nothing is looked up before it is pinned.
        with psycopg.connect(_named(conninfo), autocommit=True) as connection, pinned(connection):
            _check_superuser(connection)
            names = [str(name) for (name,) in connection.execute(_DATABASES)]
        return tuple(name for name in names if _register_in(conninfo, name, script, registration))
    except psycopg.Error as error:
        raise DatabaseError(
            f"the worker cannot be registered: {_first_line(error)}",
            hint="Registration needs a superuser who may connect to every database.",
        ) from error


def _register_in(conninfo: str, name: str, script: str, registration: str) -> bool:
    """False where the database has no dblink, or has been dropped meanwhile."""
    try:
        connection = psycopg.connect(_named(conninfo, dbname=name), autocommit=True)
    except psycopg.OperationalError as error:
        if isinstance(error, _GONE):
            return False
        raise
    with connection, pinned(connection):
        wrapper = "SELECT FROM pg_catalog.pg_foreign_data_wrapper WHERE fdwname = 'dblink_fdw'"
        if connection.execute(wrapper).fetchone() is None:
            return False
        connection.execute(_QUIET)
        connection.execute(
            "SELECT set_config('voxprint.worker_registration', %s, true)", [registration]
        )
        connection.execute(script.encode())
    return True


def _check_superuser(connection: psycopg.Connection) -> None:
    row = connection.execute("SELECT current_user, current_setting('is_superuser')").fetchone()
    if row is None or row[1] != "on":
        raise DatabaseError(
            f"expected a superuser to register the worker, got role {row[0] if row else '?'!r}",
            hint="Give a superuser's connection string; on managed servers without one, SQL "
            "cannot embed audio, and the Python API and the command line can.",
        )


def _named(conninfo: str, **overrides: str) -> str:
    return make_conninfo(conninfo, application_name="voxprint worker", **overrides)


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
