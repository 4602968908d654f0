"""Through PgBouncer in transaction mode: a server connection is somebody else's a moment later."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from worker_client import voice

import voxprint
from voxprint.db.server import Server

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")

PASSWORD = "of the caller"
RUN = "SELECT open_analytic.pipeline_run_dist_random('p', %s::bytea)::text"


@pytest.fixture
def bouncer(worker, server: Server, database: str, db, open_folder: Path) -> Iterator[str]:
    """Connection string of an ordinary role that may enrol, by way of one server connection."""
    role = f"caller_{database}"
    db.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'".encode())
    db.execute(f"GRANT voxprint_operator TO {role}".encode())
    # The test looks for connections left open; nobody but the owner of the calls may.
    db.execute(f"GRANT EXECUTE ON FUNCTION public.dblink_get_connections() TO {role}".encode())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = conninfo_to_dict(server.conninfo(database))
    (open_folder / "users").write_text(f'"{role}" "{PASSWORD}"\n')
    (open_folder / "bouncer.ini").write_text(
        f"[databases]\n{database} = host={address['host']} port={address['port']}\n"
        "[pgbouncer]\npool_mode = transaction\ndefault_pool_size = 1\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {open_folder / 'users'}\n"
    )
    account = server.account  # it refuses to run as root
    run_as = {"user": account[0], "group": account[1], "extra_groups": []} if account else {}
    process = subprocess.Popen(
        [str(PGBOUNCER), str(open_folder / "bouncer.ini")],
        cwd="/",
        stderr=subprocess.PIPE,
        **run_as,
    )
    assert process.stderr is not None
    while b"process up" not in (line := process.stderr.readline()):
        assert line, "pgbouncer has ended"
    drain = threading.Thread(target=process.stderr.read)
    drain.start()
    yield make_conninfo(
        host="127.0.0.1", port=str(port), dbname=database, user=role, password=PASSWORD
    )
    process.terminate()
    process.wait()
    drain.join()
    process.stderr.close()
    db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


def connect(conninfo: str) -> psycopg.Connection:
    return psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)


def test_sessions_take_turns_on_one_connection_and_find_nothing_of_each_other(bouncer: str) -> None:
    leftovers = (
        "SELECT (SELECT count(current_setting('open_analytic.cache_' || n, true))"
        "          FILTER (WHERE current_setting('open_analytic.cache_' || n, true) <> '')"
        "          FROM generate_series(1, 4) AS n), public.dblink_get_connections()"
    )
    with connect(bouncer) as one, connect(bouncer) as other:
        one.execute("SELECT open_analytic.pipeline_create('p')")
        expected = one.execute(RUN, [voice(1)]).fetchone()
        assert other.execute(leftovers).fetchone() == (0, None)
        assert other.execute(RUN, [voice(1)]).fetchone() == expected
        assert other.execute(RUN, [voice(2)]).fetchone() != expected
        with one.transaction():
            assert one.execute(RUN, [voice(1)]).fetchone() == expected
            assert one.execute(RUN, [voice(1)]).fetchone() == expected
        with other.transaction(), pytest.raises(psycopg.Error, match="expected audio"):
            other.execute(RUN, [b"no audio"])
        assert one.execute(leftovers).fetchone() == (0, None)
        with one.transaction(), pytest.raises(psycopg.errors.QueryCanceled):
            one.execute("SET LOCAL statement_timeout = 1")
            one.execute(RUN, [voice(3, 60.0)])
        assert other.execute(leftovers).fetchone() == (0, None)
        assert other.execute(RUN, [voice(1)]).fetchone() == expected


def test_the_domain_in_sql_by_audio(bouncer: str) -> None:
    with connect(bouncer) as one, connect(bouncer) as other:
        for number, name in enumerate(("Amy", "Boris")):
            one.execute("SELECT voxprint.enroll(%s, %s::bytea)", [name, voice(number, 5.0)])
        found = other.execute(
            "SELECT speaker, decision FROM voxprint.identify(%s::bytea, threshold => 0.6)",
            [voice(1, 5.0)],
        ).fetchall()
        assert found[0] == ("Boris", "accept")


def test_the_python_door_for_many_threads(bouncer: str) -> None:
    """More calls a connection than psycopg needs to prepare a statement by itself."""
    import numpy as np

    vectors = np.random.default_rng(3).standard_normal((12, 192)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def embedding(number: int) -> voxprint.Embedding:
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        return voxprint.Embedding(vectors[number], "campplus_zh_en_192", 5.0, 4.5, 16000, digest)

    with voxprint.open(dsn=bouncer) as gallery, voxprint.open(dsn=bouncer) as again:

        def work(number: int) -> list[str]:
            door = (gallery, again)[number % 2]
            door.enroll(f"person {number}", embedding(number))
            scores = {
                door.verify(f"person {number}", embedding(number), threshold=0.6).decision
                for _ in "12345678"
            }
            return [*scores, door.identify(embedding(number), k=1)[0].speaker]

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(work, range(12)))
        assert answers == [["accept", f"person {number}"] for number in range(12)]
        assert len(again.speakers()) == 12


def test_searches_of_a_table_leave_nothing_on_the_connection(bouncer: str, db) -> None:
    """Settings that a search changes for itself are another session's a moment later."""
    db.execute("CREATE TABLE people (id int PRIMARY KEY, city int NOT NULL, feature vector(8))")
    db.execute(
        "INSERT INTO people SELECT i, i % 10,"
        " ARRAY(SELECT sin(i * j + j) FROM generate_series(1, 8) j)::vector"
        " FROM generate_series(1, 1500) i"
    )
    db.execute("SELECT fastann.create_index('people', 'feature')")
    db.execute("ANALYZE people")
    db.execute("GRANT SELECT ON people TO PUBLIC")
    search = (
        "SELECT (hit).id, distance FROM fastann.search(NULL::people, 'feature',"
        " '[1,0,0,0,0,0,0,0]'::vector, condition => %s)"
    )
    settings = "SELECT name, setting FROM pg_settings WHERE source IN ('session', 'user')"
    with connect(bouncer) as one, connect(bouncer) as other:
        expected = one.execute(search, ["city < 6"]).fetchall()
        assert len(expected) == 10
        before = other.execute(settings).fetchall()
        for wanted in ("exact", "ann"):
            with one.transaction():
                one.execute(f"SET LOCAL fastann.index_scan_mode = {wanted}")
                one.execute("SET LOCAL fastann.topk = 3")
                assert one.execute(search, ["city < 6"]).fetchall() == expected[:3]
            with pytest.raises(psycopg.errors.DivisionByZero), one.transaction():
                one.execute(f"SET LOCAL fastann.index_scan_mode = {wanted}")
                one.execute(search, ["1 / (id - id) > 0"])
            assert other.execute(settings).fetchall() == before
            assert other.execute(search, ["city < 6"]).fetchall() == expected

        def work(number: int) -> list[tuple]:
            return (one, other)[number % 2].execute(search, ["city < 6"]).fetchall()

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, range(30))) == [expected] * 30
