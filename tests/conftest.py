"""One PostgreSQL server for the whole session, one fresh database for each test.

Fixtures, from the outside in:

``open_folder``
    a new folder outside of anybody's home, which the server's account may enter (when we are
    root it is another account than ours).
``data`` (module)
    a data folder with an initialised, stopped server; tests leave it so that it starts.
``server`` (session)
    :class:`voxprint.db.server.Server` on such a folder, with fsync off.
``template`` (session)
    the name of a database that holds all extensions and is cloned for every test. Nobody stays
    connected to it.
``worker`` (session)
    a running :class:`voxprint.worker.supervisor.Worker`, registered in every database that the
    server has then, ``template`` included. pytest sets session fixtures up before those of a
    test, so a test that asks for ``worker`` and ``db`` gets a clone in which it is registered.
``database``
    the name of this test's own clone of ``template``.
``conninfo``
    connection string of the superuser to it.
``db``
    autocommit connection of the superuser to it.
``as_role``
    ``as_role("voxprint_reader", ...)`` connects a new login role, which is no superuser and is a
    member of the roles named, to this test's database with a password; autocommit.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from voxprint.db.server import Server
from voxprint.worker.supervisor import Worker

#: Collected only where it is named: ``make test-train`` runs it where PyTorch is installed.
collect_ignore = ["training"]

AsRole = Callable[..., psycopg.Connection]


def make_open_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="voxprint-test-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture
def open_folder() -> Iterator[Path]:
    folder = make_open_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def stopped_data() -> Iterator[Path]:
    folder = make_open_folder()
    with Server(folder / "data", settings={"fsync": "off"}):
        pass
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def data(stopped_data: Path) -> Iterator[Path]:
    folder = make_open_folder()
    subprocess.run(["cp", "-Rp", str(stopped_data), str(folder / "data")], check=True)
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    folder = make_open_folder()
    with Server(folder / "data", settings={"fsync": "off"}) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    name = "pristine"
    clone(server, "voxprint", name)
    return name


@pytest.fixture(scope="session")
def worker(server: Server, template: str) -> Iterator[Worker]:
    with Worker(server) as running:
        yield running


@pytest.fixture
def database(server: Server, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(4)}"
    clone(server, template, name)
    yield name
    drop_database(server, name)


@pytest.fixture
def conninfo(server: Server, database: str) -> str:
    return server.conninfo(database)


@pytest.fixture
def db(conninfo: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


@pytest.fixture
def as_role(server: Server, database: str) -> Iterator[AsRole]:
    with ExitStack() as stack:

        def connect(*member_of: str, dbname: str = database) -> psycopg.Connection:
            name, password = f"role_{secrets.token_hex(4)}", secrets.token_hex(16)
            create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(name), sql.Literal(password)
            )
            with psycopg.connect(server.conninfo(dbname), autocommit=True) as superuser:
                superuser.execute(create)
                stack.callback(drop_role, server, dbname, name)
                for role in member_of:
                    superuser.execute(
                        sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(name))
                    )
            connection = psycopg.connect(
                server.conninfo(dbname, user=name, password=password), autocommit=True
            )
            return stack.enter_context(connection)

        yield connect


def clone(server: Server, template: str, name: str) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )


def drop_database(server: Server, name: str) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def drop_role(server: Server, dbname: str, name: str) -> None:
    with psycopg.connect(server.conninfo(dbname), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
