"""The embedded server of the stories, and their databases, kept from one run to the next."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.scale.raw import Raw
from benchmarks.scale.voices import Voices
from voxprint.db.server import Server
from voxprint.db.settings import DATABASE


@dataclass(frozen=True)
class Stage:
    """What a run was asked for, and where it works.

    Attributes:
        work: folder of the server's data and of what has been measured.
        sizes: of the galleries.
        voices: that everybody has.
        queries: for each figure.
        probes: of the identify story, of enrolled people and as many of others.
        minutes: of the mixed story.
        buffers: ``shared_buffers`` of the server; empty for what the embedded server has.
        command: that makes these figures.
    """

    work: Path
    sizes: list[int]
    voices: Voices
    queries: int
    probes: int
    minutes: float
    buffers: str
    command: str
    raw: Raw = field(init=False)

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.work.chmod(0o755)  # the server's account enters it, too
        object.__setattr__(self, "raw", Raw(self.work / "raw.jsonl"))

    @contextmanager
    def server(self, **settings: str) -> Iterator[Server]:
        """Running, with the settings that a user gets and those given here."""
        buffers = {"shared_buffers": self.buffers} if self.buffers else {}
        with Server(self.work / "data", settings=buffers | settings) as running:
            yield running

    def forget(self) -> None:
        """Begin anew."""
        shutil.rmtree(self.work / "data", ignore_errors=True)
        (self.work / "raw.jsonl").unlink(missing_ok=True)


def database(server: Server, name: str, prepare: Callable[[str], None]) -> str:
    """Connection string of a database with our extensions and what ``prepare`` puts there.

    It has its name when it is finished: what a run left halfway is dropped.
    """
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as db:
        if not db.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            building = f"{name}_unfinished"
            drop(server, building)
            made = sql.Identifier(building)
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            db.execute(create.format(made, sql.Identifier(DATABASE)))
            prepare(server.conninfo(building))
            rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
            db.execute(rename.format(made, sql.Identifier(name)))
    return server.conninfo(name)


def drop(server: Server, name: str) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as db:
        db.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def short(size: int) -> str:
    """100_000 as ``100k``."""
    for unit, letter in ((1_000_000, "m"), (1_000, "k")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def parsed(text: str) -> int:
    """The other way round."""
    unit = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower())
    return int(text[:-1]) * unit if unit else int(text)
