"""Who gets into the embedded server."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import subprocess
from pathlib import Path

import psycopg
import pytest

from voxprint.db.account import server_account
from voxprint.db.server import Server
from voxprint.db.tree import server_tree

FAST = {"fsync": "off"}

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another account")


def psql_as(uid: int, conninfo: str) -> subprocess.CompletedProcess[str]:
    psql = server_tree(server_account()).bin / "psql"
    return subprocess.run(
        [str(psql), "-w", "-X", "-At", "-c", "SELECT current_user", conninfo],
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=[],
        env={},
        capture_output=True,
        text=True,
    )


def test_nobody_is_trusted(server: Server) -> None:
    with psycopg.connect(server.conninfo()) as db:
        methods = {method for (method,) in db.execute("SELECT auth_method FROM pg_hba_file_rules")}
        assert methods == {"peer", "scram-sha-256"}
        errors = db.execute("SELECT count(error) FROM pg_hba_file_rules").fetchone()
        assert errors == (0,)


def test_a_role_needs_its_password(server: Server, db: psycopg.Connection) -> None:
    role, password = f"role_{secrets.token_hex(4)}", secrets.token_hex(8)
    db.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    try:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.conninfo(user=role))
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.conninfo(user=role, password="guess"))
        with psycopg.connect(server.conninfo(user=role, password=password)) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
    finally:
        db.execute(f"DROP ROLE {role}")


def test_tcp_needs_a_password_that_the_superuser_has_not(data: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Server(data, port=port, settings=FAST) as server:
        tcp = f"host=127.0.0.1 port={port} dbname=voxprint user=postgres"
        for guess in ("", " password=postgres"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(tcp + guess)
        with psycopg.connect(server.conninfo()) as db:
            addresses = db.execute("SHOW listen_addresses").fetchone()
            assert addresses == ("127.0.0.1",)


def test_without_a_port_there_is_no_tcp(server: Server, db: psycopg.Connection) -> None:
    assert db.execute("SHOW listen_addresses").fetchone() == ("",)


@root_only
def test_another_account_does_not_reach_the_socket(server: Server) -> None:
    refused = psql_as(pwd.getpwnam("nobody").pw_uid, server.conninfo())
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr


@root_only
def test_another_account_is_no_superuser_even_at_the_socket(data: Path) -> None:
    """Should the folder's mode be loosened, peer authentication still stands."""
    settings = {**FAST, "unix_socket_permissions": "0777"}
    with Server(data, settings=settings) as server:
        server.worker_dir.parent.chmod(0o755)
        assert server.account
        # The server's own account neither: foreign audio is decoded under it.
        for account in (pwd.getpwnam("nobody").pw_uid, server.account[0]):
            refused = psql_as(account, server.conninfo())
            assert refused.returncode != 0
            assert "Peer authentication failed" in refused.stderr


@root_only
def test_a_planted_runtime_folder_is_not_used(data: Path) -> None:
    with Server(data, settings=FAST) as server:
        expected = server.worker_dir.parent
    nobody = pwd.getpwnam("nobody").pw_uid
    elsewhere = data.parent / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    try:
        for plant in (expected.mkdir, lambda: expected.symlink_to(elsewhere)):
            plant()
            os.chown(expected, nobody, nobody, follow_symlinks=False)
            with Server(data, settings=FAST) as server:
                used = server.worker_dir.parent
                assert used != expected
                assert used.stat().st_mode & 0o777 == 0o700
            assert not used.exists()
            assert list(elsewhere.iterdir()) == []
            expected.unlink() if expected.is_symlink() else expected.rmdir()
    finally:
        if expected.is_symlink():
            expected.unlink()
        elif expected.exists():
            expected.rmdir()
