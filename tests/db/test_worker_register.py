"""What databases are told about the worker, and who can see it."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from worker_client import login_of, run, voice

from voxprint.db.server import Server
from voxprint.errors import DatabaseError
from voxprint.worker.register import register
from voxprint.worker.settings import Address
from voxprint.worker.supervisor import Site, Worker

ELSEWHERE = Address("/nowhere", 5432)


@pytest.fixture(scope="module")
def plain_server(server: Server) -> Iterator[Server]:
    """A server of its own, to be told lies about its worker."""
    folder = server.data.parent / "plain"
    with Server(folder, settings={"fsync": "off"}) as running:
        yield running
    shutil.rmtree(folder)


def create(server: Server, template: str) -> str:
    name = f"made_{secrets.token_hex(4)}"
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return name


def options(server: Server, dbname: str) -> dict[str, str]:
    with psycopg.connect(server.conninfo(dbname)) as connection:
        row = connection.execute(
            "SELECT srvoptions || umoptions FROM pg_foreign_server s"
            " JOIN pg_user_mappings m ON m.srvid = s.oid WHERE s.srvname = 'voxprint_worker'"
        ).fetchone()
    return {} if row is None else dict(option.split("=", 1) for option in row[0])


def test_databases_with_dblink_are_told_and_new_ones_know(plain_server: Server) -> None:
    bare = create(plain_server, "template0")
    names = register(plain_server.conninfo(), ELSEWHERE, "first")
    assert set(names) >= {"template1", "voxprint"}
    assert bare not in names
    assert options(plain_server, bare) == {}
    told = {
        "host": "/nowhere",
        "port": "5432",
        "dbname": "worker",
        "require_auth": "scram-sha-256",
        "user": "voxprint_worker",
        "password": "first",
    }
    assert options(plain_server, "voxprint") == told
    assert options(plain_server, create(plain_server, "template1")) == told


def test_what_is_stale_is_written_anew(plain_server: Server) -> None:
    register(plain_server.conninfo(), ELSEWHERE, "stale")
    with psycopg.connect(plain_server.conninfo()) as connection:
        connection.execute("ALTER SERVER voxprint_worker OPTIONS (ADD connect_timeout '9')")
    awkward = 'it\'s a \\ "password" with % and ünïcode'
    register(plain_server.conninfo(), Address("::1", 7777), awkward, sslmode="require")
    assert options(plain_server, "voxprint") == {
        "host": "::1",
        "port": "7777",
        "dbname": "worker",
        "require_auth": "scram-sha-256",
        "sslmode": "require",
        "user": "voxprint_worker",
        "password": awkward,
    }


def test_the_owner_is_nobody(plain_server: Server) -> None:
    register(plain_server.conninfo(), ELSEWHERE, "x")
    with psycopg.connect(plain_server.conninfo()) as connection:
        owner = connection.execute(
            "SELECT r.rolname, r.rolcanlogin, r.rolsuper, r.rolcreaterole, r.rolcreatedb"
            " FROM pg_roles r JOIN pg_foreign_server s ON s.srvowner = r.oid"
            " WHERE s.srvname = 'voxprint_worker'"
        ).fetchone()
    assert owner == ("open_analytic_owner", False, False, False, False)


def test_an_ordinary_role_sees_no_password(plain_server: Server) -> None:
    register(plain_server.conninfo(), ELSEWHERE, "hidden")
    with psycopg.connect(plain_server.conninfo()) as connection:
        connection.execute("CREATE ROLE onlooker")
        connection.execute("SET ROLE onlooker")
        mappings = connection.execute("SELECT umoptions FROM pg_user_mappings").fetchall()
        assert mappings == [(None,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT umoptions FROM pg_user_mapping")
        connection.rollback()


def test_the_password_is_in_no_log(plain_server: Server) -> None:
    with psycopg.connect(plain_server.conninfo(), autocommit=True) as connection:
        for setting in (
            *("log_statement = 'all'", "log_min_duration_statement = 0", "log_duration = on"),
            *("log_min_error_statement = error", "log_parameter_max_length = -1"),
            *("log_parameter_max_length_on_error = -1", "log_error_verbosity = verbose"),
        ):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE FOREIGN DATA WRAPPER other")
        name = create(plain_server, "template0")
        password = secrets.token_hex(16)
        register(plain_server.conninfo(), ELSEWHERE, password)
        with psycopg.connect(plain_server.conninfo(name), autocommit=True) as foreign:
            foreign.execute("CREATE EXTENSION dblink")
            foreign.execute("CREATE FOREIGN DATA WRAPPER other")
            foreign.execute("CREATE SERVER voxprint_worker FOREIGN DATA WRAPPER other")
        with pytest.raises(DatabaseError, match="dblink_fdw"):  # and an error is logged
            register(plain_server.conninfo(), ELSEWHERE, password)
        connection.execute("ALTER SYSTEM RESET ALL")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
    logs = [path.read_text() for path in (plain_server.data / "log").iterdir()]
    assert any("LOG:" in log for log in logs)
    assert not any(password in log for log in logs)


def test_only_a_superuser_registers(plain_server: Server) -> None:
    with psycopg.connect(plain_server.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE ROLE somebody LOGIN PASSWORD 'x'")
    with pytest.raises(DatabaseError, match="superuser"):
        register(plain_server.conninfo(user="somebody", password="x"), ELSEWHERE, "x")
    with pytest.raises(DatabaseError, match="registered"):
        register(make_conninfo(host="/nowhere", user="postgres"), ELSEWHERE, "x")


def test_dblink_reaches_the_worker_with_the_owner_s_rights(worker: Worker, conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET ROLE open_analytic_owner")
        connection.execute("SELECT dblink_connect('w', 'voxprint_worker')")
        connection.execute("SELECT dblink_send_query('w', 'PING')")
        answer = connection.execute("SELECT * FROM dblink_get_result('w') AS r (said text)")
        assert answer.fetchone() == ("pong",)


def test_the_owner_of_a_database_gains_nothing(plain_server: Server) -> None:
    """Registration is done by a superuser, with the search_path that the owner chose."""
    name, owner = create(plain_server, "template1"), f"owner_{secrets.token_hex(4)}"
    with psycopg.connect(plain_server.conninfo(name), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {owner}; ALTER DATABASE {name} OWNER TO {owner}".encode())
        connection.execute(f"SET ROLE {owner}".encode())
        connection.execute("CREATE SCHEMA evil")
        for function, kind in (("same", "name"), ("like", "text")):
            connection.execute(
                f"""
                CREATE FUNCTION evil.{function}({kind}, {kind}) RETURNS boolean
                LANGUAGE plpgsql AS $$
                BEGIN
                    IF current_setting('is_superuser') = 'on' THEN
                        EXECUTE 'ALTER ROLE {owner} SUPERUSER';
                    END IF;
                    RETURN $1 OPERATOR(pg_catalog.=) $2;
                END $$;
                CREATE OPERATOR evil.= (
                    LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = evil.{function});
                """.encode()
            )
        connection.execute(f"ALTER DATABASE {name} SET search_path = evil, pg_catalog".encode())
    for conninfo in (plain_server.conninfo(), plain_server.conninfo(name)):
        assert name in register(conninfo, ELSEWHERE, "x")
    with psycopg.connect(plain_server.conninfo()) as connection:
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [owner])
        assert row.fetchone() == (False,)


def test_whoever_takes_the_worker_s_address_is_told_nothing(plain_server: Server) -> None:
    """The address stays in the databases when the worker has ended."""
    heard: list[bytes] = []

    def impersonate(listener: socket.socket) -> None:
        """Ask for the password in clear text, then for more, and agree to everything."""
        wire, _ = listener.accept()
        with wire:
            wire.settimeout(5)
            wire.recv(1024)
            wire.sendall(b"R\0\0\0\x08\0\0\0\x03")
            heard.append(wire.recv(1024))
            wire.sendall(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
            heard.append(wire.recv(1024))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        register(plain_server.conninfo(), Address(*listener.getsockname()), "topsecret")
        thread = threading.Thread(target=impersonate, args=[listener])
        thread.start()
        with psycopg.connect(plain_server.conninfo(), autocommit=True) as connection:
            with pytest.raises(psycopg.Error) as caught:
                connection.execute("SELECT voxprint.verify('Amy', %s::bytea)", [voice(1)])
            assert caught.value.sqlstate == "VX010"
        thread.join()
    assert heard == [b"", b""]


@pytest.fixture
def certificate(open_folder: Path) -> dict[str, str]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the program openssl to make a certificate")
    files = {name: str(open_folder / f"{name}.pem") for name in ("certificate", "key")}
    command = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=worker", "-days", "2"]
    targets = ["-keyout", files["key"], "-out", files["certificate"]]
    subprocess.run([openssl, *command, *targets], check=True, capture_output=True)
    return files


def own_address() -> str:
    """An address of this machine that is no loopback address; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


def test_other_machines_are_served_under_tls_only(
    plain_server: Server, certificate: dict[str, str]
) -> None:
    site = Site(
        plain_server.conninfo(), Address(own_address(), 0), plain_server.account, **certificate
    )
    with Worker(site, processes=1) as worker:
        login = login_of(plain_server)
        assert conninfo_to_dict(login)["sslmode"] == "require"
        with psycopg.connect(login, autocommit=True) as connection:
            assert connection.pgconn.ssl_in_use
            assert run(connection, voice(80))["sha256"]
        with pytest.raises(psycopg.OperationalError, match="encrypted"):
            psycopg.connect(make_conninfo(login, sslmode="disable"))
        injected = socket.create_connection((worker.address.host, worker.address.port))
        with injected:  # plain bytes after the request for TLS are no start-up packet
            injected.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f" + b"\0\0\0\x0b\0\3\0\0a\0\0")
            assert injected.recv(1) == b"S"
            assert injected.recv(1) != b"R"
