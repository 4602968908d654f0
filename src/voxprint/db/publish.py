"""Putting our extension files where a user's own server on this machine looks for them."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import psycopg

from voxprint.db.extensions import Extension


def is_visible(connection: psycopg.Connection, extension: Extension) -> bool:
    """Whether the server offers the extension in our version."""
    row = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_available_extension_versions WHERE name = %s AND version = %s",
        [extension.name, extension.version],
    ).fetchone()
    return row is not None


def publish(connection: psycopg.Connection, extension: Extension) -> bool:
    """Copy the extension's files into the server's extension folder, if that can be done.

    Args:
        connection: of a superuser.

    Returns:
        False where the server runs elsewhere, or we may not write to the folder.
    """
    row = connection.execute(
        "SELECT setting FROM pg_catalog.pg_config() WHERE name = 'SHAREDIR'"
    ).fetchone()
    folder = Path(str(row and row[0])) / "extension"
    try:
        if not _is_servers_own(connection, folder):
            return False
        for name, text in extension.files.items():
            draft = folder / f".{name}.{secrets.token_hex(4)}"
            try:
                draft.write_text(text, "utf-8")
                draft.chmod(0o644)  # whatever the umask: the server's account reads it
                draft.replace(folder / name)
            finally:
                draft.unlink(missing_ok=True)
    except OSError:  # not ours to write: the caller runs the SQL as a script
        return False
    return is_visible(connection, extension)


def _is_servers_own(connection: psycopg.Connection, folder: Path) -> bool:
    """Whether the server sees what we put into ``folder``.

    A server in a container may call a folder by the same name that is another one here.
    """
    probe = folder / f".voxprint-{secrets.token_hex(8)}"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        row = connection.execute(
            "SELECT size FROM pg_catalog.pg_stat_file(%s, true)", [str(probe)]
        ).fetchone()
        return row is not None and row[0] is not None
    finally:
        with contextlib.suppress(FileNotFoundError):
            probe.unlink()
