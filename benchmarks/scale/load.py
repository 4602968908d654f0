"""Getting in: COPY of N embeddings, and what an HNSW index of them costs and finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import psycopg
from psycopg import sql

from benchmarks.scale import people
from benchmarks.scale.build import build_memory_mb, watched
from benchmarks.scale.meter import Answer, Session, session, spent
from benchmarks.scale.people import Gallery
from benchmarks.scale.raw import Record
from benchmarks.scale.stage import Stage, database, short
from benchmarks.scale.voices import DIM
from voxprint.db.server import Server
from voxprint.types import vector_text

K = 10
EFS = (40, 100, 200, 400, 1000)
_INDEX = "people_graph"
#: Up to this size all graphs are built; above, the default one alone.
_ALL_GRAPHS = 100_000


@dataclass(frozen=True)
class Graph:
    """How an index is built.

    Attributes:
        m: neighbours of each element.
        ef: candidates while building.
        element: ``vector``, or ``halfvec`` for an index on the cast column.
    """

    m: int
    ef: int
    element: str

    def __str__(self) -> str:
        """As the tables and the raw results name it."""
        return f"{self.element} {self.m}/{self.ef}"


DEFAULT = Graph(24, 100, "vector")


def graphs(size: int) -> list[Graph]:
    """What is built at a size, the default last: it stays for the other stories."""
    if size > _ALL_GRAPHS:
        return [DEFAULT]
    tried = [
        Graph(m, ef, element)
        for m, ef in ((16, 64), (24, 100), (32, 200))
        for element in ("halfvec", "vector")
    ]
    return [graph for graph in tried if graph != DEFAULT] + [DEFAULT]


def run(stage: Stage) -> Iterator[str]:
    """Every size, one graph after the other: two of them cannot be asked in turns."""
    found = {size: measured(stage, size) for size in stage.sizes}
    queries = {
        str(part["queries"])
        for parts in found.values()
        for part in parts.values()
        if "queries" in part
    }
    yield "### Loading, and building the index"
    yield ""
    yield (
        f"`{stage.command}`. COPY (binary) into `people(id bigint primary key, "
        f"feature vector({DIM}), city int)`, then `fastann.create_index`, graph in "
        f"maintenance_work_mem. Memory: the most that the backend and its parallel workers had at "
        f"once (PSS). Recall@{K} without a condition in {', '.join(queries)} queries, ef_search in "
        "turns; in brackets the backend's processor time, p50 ms."
    )
    for size, parts in found.items():
        yield from _table(size, parts)


def measured(stage: Stage, size: int) -> dict[str, Record]:
    """COPY and every graph of one size; what is missing is measured."""
    found = {str(graph): stage.raw.find("load", short(size), graph) for graph in graphs(size)}
    if not all(found.values()):
        gallery = people.gallery(size, stage.voices)
        with stage.server() as server:
            conninfo = loaded(stage, server, gallery)
            for graph in graphs(size):
                found[str(graph)] = stage.raw.once(
                    "load",
                    short(size),
                    graph,
                    measure=partial(_build, conninfo, gallery, graph, stage.queries),
                )
    steps = {name: stage.raw.find("load", short(size), name) for name in ("copy", "cover")}
    return {name: part or {} for name, part in (steps | found).items()}


def loaded(stage: Stage, server: Server, gallery: Gallery) -> str:
    """Connection string of the database ``people_N`` with its table, which is covered."""
    name = f"people_{short(len(gallery.feature))}"
    return database(server, name, partial(_load, stage, gallery))


def ready(stage: Stage, server: Server, gallery: Gallery) -> str:
    """The same with the default graph, which is built where another one or none is there."""
    conninfo = loaded(stage, server, gallery)
    with psycopg.connect(conninfo, autocommit=True) as db:
        there = db.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [_INDEX])
        words = (there.fetchone() or ("",))[0]
    if "halfvec" in words or f"m='{DEFAULT.m}'" not in words:
        record = _build(conninfo, gallery, DEFAULT, stage.queries)
        stage.raw.put("load", short(len(gallery.feature)), DEFAULT, record=record)
    return conninfo


def _load(stage: Stage, gallery: Gallery, conninfo: str) -> None:
    """COPY, then the covering index: it adds a column, which would build a graph again."""
    size = len(gallery.feature)
    with psycopg.connect(conninfo, autocommit=True) as db:
        people.create(db)
        with watched(db, f"COPY {short(size)}", size) as seen:
            people.fill(db, gallery)
        stage.raw.put("load", short(size), "copy", record=seen.record() | sizes(db))
        with watched(db, f"cover {short(size)}", size) as seen:
            db.execute("SELECT fastann.cover('people', 'feature', ARRAY['city']::name[])")
        stage.raw.put("load", short(size), "cover", record=seen.record() | sizes(db))
        db.execute("VACUUM (ANALYZE, FREEZE) people")


def sizes(db: psycopg.Connection) -> Record:
    """Bytes of the table and of all its indexes."""
    return {
        "table_bytes": _number(db, "SELECT pg_table_size('people')"),
        "index_bytes": _number(db, "SELECT pg_indexes_size('people')"),
    }


def build(db: psycopg.Connection, graph: Graph, rows: int) -> Record:
    """Build an index in place of the one that was there."""
    db.execute(f"DROP INDEX IF EXISTS {_INDEX}".encode())
    memory = build_memory_mb(rows, graph.m)
    db.execute(f"SET maintenance_work_mem = '{memory}MB'".encode())
    with watched(db, str(graph), rows) as seen:
        if graph.element == "vector":
            call = (
                "SELECT fastann.create_index('people', 'feature', hnsw_m => %s,"
                " hnsw_ef_construction => %s, index_name => %s)"
            )
            db.execute(call, [graph.m, graph.ef, _INDEX])
        else:
            db.execute(
                sql.SQL(
                    "CREATE INDEX {} ON people USING hnsw"
                    " ((feature::halfvec({})) halfvec_l2_ops) WITH (m = {}, ef_construction = {})"
                ).format(sql.Identifier(_INDEX), *map(sql.Literal, (DIM, graph.m, graph.ef)))
            )
    size = _number(db, f"SELECT pg_relation_size('{_INDEX}')")
    return {**seen.record(), "bytes": size, "memory_mb": memory}


def _build(conninfo: str, gallery: Gallery, graph: Graph, queries: int) -> Record:
    with psycopg.connect(conninfo, autocommit=True) as db:
        record = build(db, graph, len(gallery.feature))
    with session(conninfo) as asked:
        return {**record, "queries": queries, "search": _search(asked, gallery, graph, queries)}


def _search(
    asked: Session, gallery: Gallery, graph: Graph, queries: int
) -> Mapping[str, Mapping[str, float]]:
    """Recall and time at each ef_search; the first probes only warm the cache."""
    warm = 10
    order = "feature <-> %(probe)s::vector"
    if graph.element == "halfvec":
        order = f"feature::halfvec({DIM}) <-> %(probe)s::halfvec({DIM})"
    query = f"SELECT id FROM people ORDER BY {order} LIMIT {K}"
    answers: dict[int, list[Answer]] = {ef: [] for ef in EFS}
    recall: dict[int, list[float]] = {ef: [] for ef in EFS}
    asked.set({"enable_seqscan": "off"})  # at 5k a scan is cheaper than ef_search = 1000
    for n, probe in enumerate(gallery.probes(warm + queries)):
        alike = gallery.feature @ probe
        for ef in EFS if n % 2 else reversed(EFS):
            asked.set({"hnsw.ef_search": str(ef)})
            answer = asked.ask(query, {"probe": vector_text(probe)})
            if n >= warm:
                answers[ef].append(answer)
                ids = [row[0] for row in answer.rows]
                recall[ef].append(people.recall(ids, alike, None, K))
    return {str(ef): {"recall": float(np.mean(recall[ef])), **spent(answers[ef])} for ef in EFS}


def _number(db: psycopg.Connection, query: str) -> int:
    found = db.execute(query.encode()).fetchone()
    return int(found[0]) if found else 0


def _bytes(part: Record) -> int:
    return int(part["table_bytes"] + part["index_bytes"])


def _table(size: int, found: dict[str, Record]) -> Iterator[str]:
    copied, covered = found["copy"], found["cover"]
    cover_mb = (_bytes(covered) - _bytes(copied)) / 1e6
    yield ""
    yield (
        f"**N = {short(size)}**: COPY {copied['seconds']:.1f} s "
        f"({size / copied['seconds']:,.0f} rows a second), table {copied['table_bytes'] / 1e6:.0f} "
        f"MB, primary key {copied['index_bytes'] / 1e6:.0f} MB; covering index of `city` with its "
        f"column of half precision {covered['seconds']:.1f} s, {cover_mb:.0f} MB."
    )
    yield ""
    heads = " | ".join(f"ef {ef}" for ef in EFS)
    yield f"| index, m/ef_construction | build, s | workers | memory, MB | size, MB | {heads} |"
    yield "|---|---|---|---|---|" + "---|" * len(EFS)
    for graph in graphs(size):
        part = found[str(graph)]
        cells = " | ".join(
            f"{at['recall']:.3f} ({at['cpu']:.1f})" for at in part["search"].values()
        )
        spilt = " (did not fit)" if any("no longer fits" in n for n in part["notices"]) else ""
        yield (
            f"| {graph} | {part['seconds']:.1f}{spilt} | {part['workers']} "
            f"| {part['peak_mb']:.0f} | {part['bytes'] / 1e6:.0f} | {cells} |"
        )
