"""Installing and upgrading the extensions, on our server or on a user's own."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import sql

from voxprint.db.extensions import shipped
from voxprint.db.settings import DATABASE

#: What our extensions build on; created first, and in template1 so that new databases have them.
FOUNDATIONS = ("vector", "dblink")


def prepare_cluster(conninfo: Callable[[str], str]) -> None:
    """Give our own server its database and extensions, or bring them up to date.

    Args:
        conninfo: from the name of a database to the superuser's connection string.
    """
    with psycopg.connect(conninfo("template1"), autocommit=True) as connection:
        for name in FOUNDATIONS:
            connection.execute(
                sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name))
            )
        known = connection.execute(
            "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", [DATABASE]
        ).fetchone()
    if known is None:
        with psycopg.connect(conninfo("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    with psycopg.connect(conninfo(DATABASE), autocommit=True) as connection:
        for extension in shipped():
            connection.execute(
                sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension.name))
            )
