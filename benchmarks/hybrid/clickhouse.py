"""chDB (ClickHouse inside this process): all rows that match, or its own HNSW index."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import chdb.session
import numpy as np
import pyarrow.parquet as pq

from benchmarks.hybrid.backend import literal
from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.duck import arrow_table, regions
from benchmarks.hybrid.peers import InProcess, Systems, run_peer, timed
from benchmarks.hybrid.record import Results

_INDEX = (
    "INDEX graph feature TYPE vector_similarity('hnsw', 'cosineDistance', {dim}, 'f32', {m}, {ef})"
)


class ClickHouse(InProcess):
    """One setting."""

    system = "chDB"

    def __init__(
        self, name: str, people: People, session: chdb.session.Session, **tuned: int | str
    ) -> None:
        super().__init__(people)
        self.name = name
        self._session = session
        self._tuned = ", ".join(
            f"{option} = {value!r}" for option, value in {"max_threads": 1, **tuned}.items()
        )

    def ids(self, cell: Cell, query: int) -> Sequence[int]:
        condition = cell.condition.sql(self._people.cell(cell.condition, query), "chdb")
        where = f"WHERE {condition}" if condition else ""
        vector = literal(self._people.queries[query])
        answer = self._session.query(
            f"WITH {vector} AS asked SELECT id FROM people {where} "
            f"ORDER BY cosineDistance(feature, asked) LIMIT {cell.k} SETTINGS {self._tuned}",
            "RowBinary",
        )
        return np.frombuffer(answer.bytes(), "<i8").tolist()


@contextmanager
def opened(
    population: People, folder: Path, results: Results, given: argparse.Namespace
) -> Iterator[Systems]:
    """Load the tables where they are not kept."""
    path, whole = folder / "chdb", folder / "chdb-loaded"
    loaded = whole.exists()
    if not loaded:
        shutil.rmtree(path, ignore_errors=True)
    session = chdb.session.Session(str(path))
    if not loaded:
        timed(results, "chDB load", lambda: _load(session, population, folder, given))
        whole.touch()
    session.query("USE bench")
    wide = {"hnsw_candidate_list_size_for_search": 1000, "vector_search_filter_strategy": "auto"}
    yield [
        ClickHouse("exact", population, session, query_plan_try_use_vector_search=0),
        ClickHouse("index, default", population, session),
        ClickHouse(
            "index, ef=1000 fetch x10",
            population,
            session,
            vector_search_index_fetch_multiplier=10,
            **wide,
        ),
    ]
    session.close()


def _load(
    session: chdb.session.Session, population: People, folder: Path, given: argparse.Namespace
) -> None:
    dim = population.features.shape[1]
    index = _INDEX.format(dim=dim, m=given.m, ef=given.ef_construction)
    session.query("CREATE DATABASE bench")
    for name, rows in (("people", arrow_table(population)), ("branches", regions(population))):
        file = folder / f"{name}.parquet"
        pq.write_table(rows, file)
        columns = ", ".join(f"{field.name} {_TYPES[field.name]}" for field in rows.schema)
        more = f", {index}" if name == "people" else ""
        session.query(f"CREATE TABLE bench.{name} ({columns}{more}) ENGINE = MergeTree ORDER BY id")
        session.query(f"INSERT INTO bench.{name} SELECT * FROM file('{file}', 'Parquet')")
        session.query(f"OPTIMIZE TABLE bench.{name} FINAL")
        file.unlink()


class _Types(dict[str, str]):
    """Types of the columns; all numbers that are no ids are alike."""

    def __missing__(self, name: str) -> str:
        return "Int32"


_TYPES = _Types(id="Int64", feature="Array(Float32)", tags="Array(Int32)", region="String")


def run(cells: list[Cell], given: argparse.Namespace, results: Results) -> None:
    """Measure all cells."""
    run_peer(opened, cells, given, results)
