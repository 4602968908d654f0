"""LanceDB with its IVF_HNSW_SQ index, the filter applied before the search."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lancedb
import pyarrow as pa

from benchmarks.hybrid.conditions import CELLS, Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.peers import InProcess, Systems, run_peer, timed
from benchmarks.hybrid.record import Results


class Lance(InProcess):
    """One setting. There are no joins: the ids of a region's branches are written out."""

    system = "LanceDB"

    def __init__(self, name: str, people: People, table: lancedb.table.Table, **tuned: int) -> None:
        super().__init__(people)
        self.name = name
        self._table, self._tuned = table, tuned

    def ids(self, cell: Cell, query: int) -> Sequence[int]:
        asked = self._table.search(self._people.queries[query]).distance_type("cosine")
        for option, value in self._tuned.items():
            asked = getattr(asked, option)(value)
        condition = self._condition(cell, query)
        if condition is not None:
            asked = asked.where(condition, prefilter=True)
        return asked.limit(cell.k).select(["id", "_distance"]).to_arrow()["id"].to_pylist()

    def _condition(self, cell: Cell, query: int) -> str | None:
        condition = cell.condition
        if condition.family == "join":
            branches = (self._people.region == condition.level).nonzero()[0]
            return f"branch IN ({', '.join(map(str, branches))})"
        return condition.sql(self._people.cell(condition, query), "lance")


@contextmanager
def opened(
    population: People,
    folder: Path,
    results: Results,
    given: argparse.Namespace,  # noqa: ARG001  (every peer is opened alike)
) -> Iterator[Systems]:
    """Load the table where it is not kept."""
    path, whole = folder / "lance", folder / "lance" / "loaded"
    if not whole.exists():
        shutil.rmtree(path, ignore_errors=True)
        timed(results, "LanceDB load", lambda: _load(path, population))
        whole.touch()
    table = lancedb.connect(path).open_table("people")
    yield [
        Lance("default", population, table),
        Lance("ef=400 refine=4", population, table, ef=400, refine_factor=4),
    ]


def _load(path: Path, population: People) -> None:
    dim = population.features.shape[1]
    flat = pa.array(population.features.reshape(-1))
    columns = {
        "id": pa.array(range(len(population)), pa.int64()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
        "city": population.city,
        "age": population.age,
        "branch": population.branch,
        "tags": pa.array(population.tag_lists, pa.list_(pa.int32())),
        **{f"cell{number}": population.cells[:, i] for i, number in enumerate(CELLS)},
    }
    table = lancedb.connect(path).create_table("people", pa.table(columns))
    table.create_index(metric="cosine", index_type="IVF_HNSW_SQ")
    for name in ("city", "age", "branch", *(f"cell{number}" for number in CELLS)):
        table.create_scalar_index(name)
    table.create_scalar_index("tags", index_type="LABEL_LIST")


def run(cells: list[Cell], given: argparse.Namespace, results: Results) -> None:
    """Measure all cells."""
    run_peer(opened, cells, given, results)
