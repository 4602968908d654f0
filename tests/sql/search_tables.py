"""Tables to search in, the exact answer by NumPy, and the calls that the tests of search share.

There are many of those tests: the tests of one file share a database (``database``), which is
swept after each (``swept``). A file imports both fixtures.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from domain_gallery import Array, text, voices
from psycopg import sql

from voxprint.db.server import Server

DIM = 32
ROWS = 1200
CITIES = 10
MEASURES = ("L2", "IP", "COSINE")
MODES = ("exact", "covering", "ann")
QUERY = voices(1, seed=77, dim=DIM)[0]

SWEEP = """
DO $$
DECLARE
    name text;
BEGIN
    SET LOCAL client_min_messages = warning;
    DROP EXTENSION IF EXISTS postgres_fdw CASCADE;
    FOR name IN SELECT format('%I.%I', 'public', c.relname) FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm') LOOP
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', CASE WHEN EXISTS (
            SELECT FROM pg_matviews m WHERE format('public.%I', m.matviewname) = name)
            THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, name);
    END LOOP;
    FOR name IN SELECT format('%I.%I', 'public', c.relname) FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') LOOP
        EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', name);
    END LOOP;
    FOR name IN SELECT quote_ident(nspname) FROM pg_namespace
        WHERE nspname IN ('evil', 'elsewhere', 'moved', 'of Others') LOOP
        EXECUTE format('DROP SCHEMA %s CASCADE', name);
    END LOOP;
    DROP TYPE IF EXISTS public.pair;
    TRUNCATE fastann.table_models, fastann.samples, fastann.index_models, fastann.workload;
    PERFORM voxprint.forget(s.external_id::text) FROM voxprint.speakers s;
END $$
"""


@pytest.fixture(scope="module")
def database(server: Server, template: str) -> Iterator[str]:
    """The tests of a file follow each other in one database."""
    name = f"test_{secrets.token_hex(4)}"
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
def swept(conninfo: str) -> Iterator[None]:
    yield
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(SWEEP)


def as_written(vector: npt.NDArray[Any] | None, kind: str) -> str | None:
    """As PostgreSQL reads it: real[] has braces."""
    if vector is None:
        return None
    return text(vector) if "vec" in kind else "{" + text(vector)[1:-1] + "}"


def people(
    connection: psycopg.Connection,
    vectors: Sequence[Array | None] | Array | None = None,
    *,
    kind: str = f"vector({DIM})",
    name: str = "people",
    column: str = "feature",
    create: bool = True,
) -> Array:
    """A table of (id, city, the vector); row i is of city i modulo ten. Gives the vectors."""
    stored = voices(ROWS, seed=1, dim=DIM) if vectors is None else vectors
    if create:
        connection.execute(
            f"CREATE TABLE {name} (id int PRIMARY KEY, city int NOT NULL, {column} {kind})"
        )
    with connection.cursor().copy(f"COPY {name} (id, city, {column}) FROM STDIN") as copy:
        for i, vector in enumerate(stored):
            copy.write_row((i, i % CITIES, as_written(vector, kind)))
    connection.execute(f"ANALYZE {name}")
    return np.asarray([np.full(DIM, np.nan) if v is None else v for v in stored], np.float32)


def covered(connection: psycopg.Connection, name: str = "people", column: str = "feature") -> None:
    """A covering index for conditions on the city, ready to be used."""
    connection.execute(f"ALTER TABLE {name} ALTER {column} SET NOT NULL")
    connection.execute("SELECT fastann.cover(%s, %s, '{city}')", [name, column.strip('"')])
    connection.execute(f"VACUUM (ANALYZE) {name}")


def indexed(connection: psycopg.Connection, name: str = "people", **more: Any) -> str:
    """An HNSW index; returns its name."""
    given = {"column_name": "feature", **more}
    extra = "".join(f", {option} => %({option})s" for option in given)
    row = connection.execute(
        f"SELECT fastann.create_index(%(name)s{extra})", {"name": name, **given}
    ).fetchone()
    assert row is not None
    return row[0]


def arguments(values: dict[str, Any]) -> str:
    return "".join(f", {name} => %({name})s" for name in values)


def search(
    connection: psycopg.Connection,
    query: Array = QUERY,
    name: str = "people",
    *,
    column: str = "feature",
    key: str = "id",
    **more: Any,
) -> list[tuple[Any, float]]:
    """Key and distance of what fastann.search() finds."""
    return connection.execute(
        f"SELECT (hit).{key}, distance FROM fastann.search(NULL::{name}, %(column)s,"
        f" %(query)s::vector{arguments(more)})",
        {"column": column, "query": text(query), **more},
    ).fetchall()


def ids(found: list[tuple[Any, float]]) -> list[Any]:
    return [row[0] for row in found]


def explain(
    connection: psycopg.Connection,
    query: Array = QUERY,
    name: str = "people",
    *,
    column: str = "feature",
    **more: Any,
) -> list[dict[str, Any]]:
    """The reports of fastann.explain(), one for each table searched."""
    row = connection.execute(
        f"SELECT fastann.explain(NULL::{name}, %(column)s, %(query)s::vector{arguments(more)},"
        " format => 'json')",
        {"column": column, "query": text(query), **more},
    ).fetchone()
    assert row is not None
    return json.loads(row[0])


@contextmanager
def mode(connection: psycopg.Connection, wanted: str) -> Iterator[None]:
    """Force a plan."""
    connection.execute("SELECT set_config('fastann.index_scan_mode', %s, false)", [wanted])
    yield
    connection.execute("RESET fastann.index_scan_mode")


def distances(vectors: npt.NDArray[Any], query: npt.NDArray[Any], measure: str = "L2") -> Any:
    """As pgvector defines them, in double precision."""
    wide, probe = vectors.astype(np.float64), query.astype(np.float64)
    if measure == "L2":
        return np.linalg.norm(wide - probe, axis=1)
    products = wide @ probe
    if measure == "IP":
        return -products
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - products / (np.linalg.norm(wide, axis=1) * np.linalg.norm(probe))


def assert_nearest(
    found: list[tuple[Any, float]],
    every: npt.NDArray[Any],
    matching: npt.NDArray[Any],
    k: int,
    *,
    recall: float = 1.0,
    tolerance: float = 1e-5,
    case: object = "",
) -> None:
    """min(k, matching) different rows that match, nearest first, each with its own distance; the
    share ``recall`` of them no farther than the true k-th. Equal distances serve alike."""
    allowed = np.flatnonzero(matching & ~np.isnan(every))
    assert len(found) == min(k, len(allowed)), case
    if not found:
        return
    rows = np.array(ids(found), dtype=int)
    given = np.array([row[1] for row in found])
    assert len(set(rows)) == len(rows), case
    assert set(rows) <= set(allowed), case
    assert np.all(np.diff(given) >= -1e-9), case
    assert np.allclose(given, every[rows], atol=tolerance), case
    farthest = np.sort(every[allowed])[len(found) - 1]
    assert np.mean(given <= farthest + tolerance) >= recall, case


def plant(
    connection: psycopg.Connection, name: str = "people", column: str = "feature", **costs: float
) -> None:
    """Costs of this table as autotune would have measured them, so that a plan wins here which
    elsewhere wins because tables are large. Its owner may write them."""
    measured = {
        "heap_row_ms": 0.0009,
        "scan_row_ms": 0.00012,
        "distance_row_ms": 0.0003,
        "covering_row_ms": 0.0003,
        "probe_ms": 1.0,
        **costs,
    }
    connection.execute(
        sql.SQL(
            "INSERT INTO fastann.table_models (relation, column_number, filenode, tuples, {})"
            " SELECT c.oid, a.attnum, c.relfilenode, c.reltuples, {}"
            " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %s"
            " WHERE c.oid = %s::regclass"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, measured)),
            sql.SQL(", ").join(map(sql.Literal, measured.values())),
        ),
        [column, name],
    )
