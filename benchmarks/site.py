"""A server and a worker of their own for a story, in a folder that is gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from voxprint.api import embedded_server
from voxprint.db.server import Server
from voxprint.worker.supervisor import Worker

PIPELINE = "bench"


@dataclass(frozen=True)
class Site:
    """An embedded server with a worker, and pipeline :data:`PIPELINE`."""

    server: Server
    worker: Worker

    def connect(self) -> psycopg.Connection:
        """A new autocommit session of the superuser."""
        return psycopg.connect(self.server.conninfo(), autocommit=True)

    def processes(self) -> dict[str, psutil.Process]:
        """Those of the worker by name: it forks the front first, then the compute processes."""
        children = psutil.Process(self.worker.pid).children()
        front, *compute = sorted(children, key=lambda child: (child.create_time(), child.pid))
        return {"front": front, **{f"compute {n}": child for n, child in enumerate(compute, 1)}}


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder that the server's account may enter, too."""
    path = Path(tempfile.mkdtemp(prefix="voxprint-bench-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def site() -> Iterator[Site]:
    """A running site with the settings that a user gets; one compute process per core."""
    with folder() as home, embedded_server(home / "data") as server, Worker(server) as worker:
        running = Site(server, worker)
        with running.connect() as db:
            db.execute("SELECT open_analytic.pipeline_create(%s)", [PIPELINE])
        yield running


def embed(db: psycopg.Connection, audio: bytes) -> str:
    """One pipeline call: the embedding as text."""
    row = db.execute(
        "SELECT open_analytic.pipeline_run_dist_random(%s, %b)", [PIPELINE, audio]
    ).fetchone()
    return str(row[0]) if row else ""
