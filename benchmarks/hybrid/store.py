"""The PostgreSQL server that is measured, and its two databases.

``plain`` holds the table with the indexes anybody would make. ``covered`` holds in addition what
``fastann.cover`` declares. They are two since a covering index brings a column of its own, which
makes the rows wider for everybody who reads them. Both stay in the cache between runs; where the
SQL of fastann has changed since, the extension is made anew and the graph index stays.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import psycopg

from benchmarks.hybrid.conditions import CELLS
from benchmarks.hybrid.copying import copy_people
from benchmarks.hybrid.data import People
from benchmarks.report import say
from voxprint.db.server import Server

DATABASES = ("plain", "covered")
AUTOTUNE = "SELECT * FROM fastann.autotune('people', 'feature', 'COSINE')"
#: Filters that get a covering index.
COVERED = [["city"], ["city", "age"], ["branch"], *([f"cell{number}"] for number in CELLS)]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Graph:
    """Options of the HNSW index."""

    m: int = 24
    ef_construction: int = 100


class Store:
    """A running server with loaded databases.

    Args:
        folder: of the scale and model.
        tell: takes how long each step of loading took.
    """

    def __init__(self, server: Server, folder: Path, tell: Callable[[str, float], None]) -> None:
        self._server = server
        self._tell = tell
        self._state = folder / "databases.json"

    def conninfo(self, database: str) -> str:
        return self._server.conninfo(database)

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.conninfo(database), autocommit=True)

    def load(self, people: People, graph: Graph) -> None:
        """Fill what is not there yet."""
        wanted = {"rows": len(people), "m": graph.m, "ef_construction": graph.ef_construction}
        for database in DATABASES:
            state = self._read().get(database, {})
            if {name: state.get(name) for name in wanted} != wanted:
                self._fill(database, people, graph)
                self._write(database, {**wanted, "fastann": _fastann()})
            elif state["fastann"] != _fastann():
                with self.connect(database) as session:
                    session.execute("DROP EXTENSION fastann CASCADE")
                    session.execute("CREATE EXTENSION fastann")
                self._write(database, {**wanted, "fastann": _fastann()})

    def tune(self) -> None:
        """Have fastann measure both databases, where this version of it has not done so."""
        for database in DATABASES:
            state = self._read()[database]
            if state.get("tuned") != _fastann():
                with self.connect(database) as session:
                    self._step(f"autotune {database}", partial(session.execute, AUTOTUNE))
                self._write(database, {**state, "tuned": _fastann()})

    def _fill(self, database: str, people: People, graph: Graph) -> None:
        with self.connect("postgres") as session:
            session.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            session.execute(f"CREATE DATABASE {database} TEMPLATE template0")
        with self.connect(database) as session:
            session.execute("CREATE EXTENSION vector")
            session.execute("CREATE EXTENSION fastann")
            session.execute((_HERE / "schema.sql").read_text("utf-8"))
            session.execute("SET maintenance_work_mem = '3GB'")
            session.execute("SET max_parallel_maintenance_workers = 2")
            self._step(f"copy {database}", lambda: copy_people(session, people))
            session.execute((_HERE / "attributes.sql").read_text("utf-8"))
            if database == "covered":
                self._step("cover", lambda: self._cover(session))
            # pgvector's own access method: "ann" is the same one under a name that fastann owns,
            # and the graph has to outlive fastann when its SQL is replaced.
            self._step(
                f"graph {database}",
                lambda: session.execute(
                    "CREATE INDEX people_feature ON people USING hnsw (feature vector_cosine_ops) "
                    f"WITH (m = {graph.m}, ef_construction = {graph.ef_construction})"
                ),
            )
            session.execute("VACUUM (ANALYZE) people")
            session.execute("VACUUM (ANALYZE) branches")

    def _cover(self, session: psycopg.Connection) -> None:
        for columns in COVERED:
            session.execute("SELECT fastann.cover('people', 'feature', %s::name[])", [columns])

    def _step(self, what: str, work: Callable[[], object]) -> None:
        say(f"{what} …")
        started = time.perf_counter()
        work()
        self._tell(f"seconds: {what}", round(time.perf_counter() - started, 2))

    def _read(self) -> dict[str, dict[str, object]]:
        return json.loads(self._state.read_text("utf-8")) if self._state.exists() else {}

    def _write(self, database: str, state: dict[str, object]) -> None:
        self._state.write_text(json.dumps({**self._read(), database: state}, indent=1), "utf-8")


@contextmanager
def store(folder: Path, tell: Callable[[str, float], None], shared_buffers: str) -> Iterator[Store]:
    """The server of one scale and model, running."""
    settings = {
        "fsync": "off",  # nobody will miss it
        "shared_buffers": shared_buffers,
        "max_wal_size": "4GB",
        "autovacuum": "off",  # tables do not change, and nothing else shall run meanwhile
    }
    with Server(folder / "postgres", settings=settings) as server:
        yield Store(server, folder, tell)


def _fastann() -> str:
    """What the SQL of fastann is, in short."""
    digest = hashlib.sha256()
    source = resources.files("voxprint.db.sql") / "fastann" / "src"
    for file in sorted(source.iterdir(), key=lambda f: f.name):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
