"""Two systems side by side: vectors in FAISS, attributes in PostgreSQL, ids in between.

Two ways there are. *Over-fetch*: FAISS finds the nearest, SQL says which of them match, and if
too few do, twice as many are fetched. How many are fetched at first is set from the true share of
matching rows, which a real client would have to guess. *Mask*: SQL gives the ids of all matching
rows, and FAISS walks its graph but keeps only those.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np

from benchmarks.hybrid.backend import Backend
from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.peers import InProcess, Systems, run_peer, timed
from benchmarks.hybrid.record import Results
from benchmarks.hybrid.rounds import Ladder
from benchmarks.hybrid.stock import COMMON
from benchmarks.hybrid.store import Graph, store

_OVER_FETCH, _MASK = "FAISS + SQL, over-fetch", "FAISS + SQL, mask"
#: First fetch, as a multiple of the rows that on average hold k matching ones.
_ROOM = 1.3

_WHICH = "SELECT id FROM people WHERE id = ANY(%(ids)s) AND {condition}"
_ALL = "SELECT string_agg(int8send(id), '') FROM people WHERE {condition}"


class Both(InProcess):
    """FAISS here and a PostgreSQL session; processor time is that of the two processes."""

    def __init__(self, name: str, people: People, index: faiss.Index, backend: Backend) -> None:
        super().__init__(people)
        self.name = name
        self._index, self._backend = index, backend

    def cpu_ms(self) -> float:
        return super().cpu_ms() + self._backend.cpu_ms()

    def _condition(self, cell: Cell, query: int) -> str | None:
        return cell.condition.sql(self._people.cell(cell.condition, query))

    def _search(self, query: int, count: int, parameters: faiss.SearchParameters) -> np.ndarray:
        vector = self._people.queries[query : query + 1]
        _, ids = self._index.search(vector, count, params=parameters)
        found: np.ndarray = ids[0][ids[0] >= 0]
        return found


class OverFetch(Both):
    """Fetch, ask SQL, fetch twice as many while too few match."""

    system = _OVER_FETCH

    def __init__(self, factor: int, people: People, index: faiss.Index, backend: Backend) -> None:
        super().__init__(f"ef={factor}x fetch", people, index, backend)
        self._factor = factor

    def ids(self, cell: Cell, query: int) -> Sequence[int]:
        condition, rows = self._condition(cell, query), len(self._people)
        fetch = min(rows, math.ceil(_ROOM * cell.k / cell.condition.share))
        while True:
            beam = faiss.SearchParametersHNSW(efSearch=max(64, self._factor * fetch))
            found = self._search(query, fetch, beam)
            if condition is not None:
                statement = _WHICH.format(condition=condition)
                answer = self._backend.session.execute(statement, {"ids": found.tolist()})
                kept = {row[0] for row in answer.fetchall()}
                found = np.array([i for i in found.tolist() if i in kept], np.int64)
            if len(found) >= cell.k or fetch == rows:
                return list(found[: cell.k].tolist())
            fetch = min(rows, 2 * fetch)


class Mask(Both):
    """Ask SQL for all ids that match, then search among them."""

    system = _MASK

    def __init__(self, ef: int, people: People, index: faiss.Index, backend: Backend) -> None:
        super().__init__(f"ef={ef}", people, index, backend)
        self._ef = ef

    def ids(self, cell: Cell, query: int) -> Sequence[int]:
        condition, beam = self._condition(cell, query), {"efSearch": max(self._ef, cell.k)}
        if condition is None:
            return self._search(query, cell.k, faiss.SearchParametersHNSW(**beam)).tolist()
        row = self._backend.session.execute(_ALL.format(condition=condition)).fetchone()
        sent = row[0] if row and row[0] else b""
        matching = np.frombuffer(sent, ">i8").astype(np.int64)
        allowed = np.zeros(len(self._people), bool)
        allowed[matching] = True
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        parameters = faiss.SearchParametersHNSW(sel=selector, **beam)
        return self._search(query, cell.k, parameters).tolist()


@contextmanager
def opened(
    population: People, folder: Path, results: Results, given: argparse.Namespace
) -> Iterator[Systems]:
    """Build or load the graph, with the options of PostgreSQL's."""
    faiss.omp_set_num_threads(1)
    graph = Graph(given.m, given.ef_construction)
    path = folder / f"faiss-{graph.m}-{graph.ef_construction}.index"
    if not path.exists():
        index = faiss.IndexHNSWFlat(
            population.features.shape[1], graph.m, faiss.METRIC_INNER_PRODUCT
        )
        index.hnsw.efConstruction = graph.ef_construction
        faiss.omp_set_num_threads(2)
        timed(results, "FAISS graph", lambda: index.add(population.features))
        faiss.omp_set_num_threads(1)
        faiss.write_index(index, str(path))
    index = faiss.read_index(str(path))
    with store(folder, results.tell, given.shared_buffers) as running:
        running.load(population, graph)
        backend = Backend(running.conninfo("plain"), COMMON)
        fetching = [OverFetch(factor, population, index, backend) for factor in (1, 2, 4)]
        masking = [Mask(ef, population, index, backend) for ef in (64, 200, 800, 3200)]
        yield [Ladder(_OVER_FETCH, fetching), Ladder(_MASK, masking)]


def run(cells: list[Cell], given: argparse.Namespace, results: Results) -> None:
    """Measure both ways in all cells."""
    run_peer(opened, cells, given, results)
