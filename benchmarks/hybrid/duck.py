"""DuckDB, which compares every row that matches."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.hybrid.conditions import CELLS, Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.peers import InProcess, Systems, run_peer, timed
from benchmarks.hybrid.record import Results


class Duck(InProcess):
    """Exact search in a table in memory."""

    system, name = "DuckDB", "exact"

    def __init__(self, people: People, session: duckdb.DuckDBPyConnection) -> None:
        super().__init__(people)
        self._session = session
        self._distance = f"array_cosine_distance(feature, ?::FLOAT[{people.features.shape[1]}])"

    def ids(self, cell: Cell, query: int) -> Sequence[int]:
        condition = cell.condition.sql(self._people.cell(cell.condition, query), "duckdb")
        where = f"WHERE {condition}" if condition else ""
        statement = f"SELECT id FROM people {where} ORDER BY {self._distance} LIMIT {cell.k}"
        found = self._session.execute(statement, [self._people.queries[query].tolist()])
        return [row[0] for row in found.fetchall()]


@contextmanager
def opened(
    population: People,
    folder: Path,  # noqa: ARG001  (every peer is opened alike)
    results: Results,
    given: argparse.Namespace,  # noqa: ARG001
) -> Iterator[Systems]:
    """Load the table into memory."""
    with duckdb.connect(config={"threads": 1}) as session:
        timed(results, "DuckDB load", lambda: _load(session, population))
        yield [Duck(population, session)]


def _load(session: duckdb.DuckDBPyConnection, population: People) -> None:
    dim = population.features.shape[1]
    session.register("rows", arrow_table(population))
    # A plain list on the way in: it becomes the fixed-size array that distances want.
    session.execute(
        f"CREATE TABLE people AS SELECT * REPLACE (feature::FLOAT[{dim}] AS feature) FROM rows"
    )
    session.unregister("rows")
    session.register("rows", regions(population))
    session.execute("CREATE TABLE branches AS SELECT * FROM rows")
    session.unregister("rows")


def arrow_table(population: People) -> pa.Table:
    """``people`` as a table in memory."""
    dim = population.features.shape[1]
    offsets = pa.array(range(0, dim * len(population) + 1, dim), pa.int64())
    flat = pa.array(population.features.reshape(-1))
    return pa.table(
        {
            "id": pa.array(range(len(population)), pa.int64()),
            "feature": pa.LargeListArray.from_arrays(offsets, flat),
            "city": population.city,
            "age": population.age,
            "branch": population.branch,
            **{f"cell{number}": population.cells[:, i] for i, number in enumerate(CELLS)},
            "tags": pa.array(population.tag_lists, pa.list_(pa.int32())),
        }
    )


def regions(population: People) -> pa.Table:
    """``branches`` as a table in memory."""
    levels = population.region.tolist()
    return pa.table(
        {
            "id": pa.array(range(len(levels)), pa.int32()),
            "region": [f"r{level}" if level >= 0 else "elsewhere" for level in levels],
        }
    )


def run(cells: list[Cell], given: argparse.Namespace, results: Results) -> None:
    """Measure all cells."""
    run_peer(opened, cells, given, results)
