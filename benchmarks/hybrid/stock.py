"""What plain SQL over pgvector does: as it comes, tuned, and forced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.hybrid.backend import Backend, Values, literal
from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.rounds import Answer, Ladder, Setting

#: Of every PostgreSQL session that is measured.
COMMON: Values = {"max_parallel_workers_per_gather": 0}
#: pgvector as it comes; the server that voxprint starts ships other settings.
PGVECTOR: Values = {
    **COMMON,
    "hnsw.ef_search": 40,
    "hnsw.iterative_scan": "off",
    "hnsw.max_scan_tuples": 20000,
    "hnsw.scan_mem_multiplier": 1,
}
#: Leaves the planner nothing but the HNSW index.
FORCED: Values = {"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_sort": "off"}
#: Memory that iterative scans need so as not to stop early.
ROOM: Values = {"work_mem": "64MB", "hnsw.scan_mem_multiplier": 16}
#: Tuples after which an iterative scan gives up.
_SCANS = (20_000, 100_000)
#: Queries whose plans tell whether a cell's planner uses the graph at all.
_EXPLAINED = 3

NEAREST = """
SELECT id, feature <=> %(query)s::vector AS distance FROM people
{where} ORDER BY feature <=> %(query)s::vector LIMIT {limit}
"""
#: No index serves this order.
EXACT = """
SELECT id, (feature <=> %(query)s::vector) + 0 AS distance FROM people
{where} ORDER BY distance LIMIT {limit}
"""
#: More rows than asked for, since an iterative scan ends with the first that suffice.
WIDE = """
WITH found AS MATERIALIZED (
    SELECT id, feature <=> %(query)s::vector AS distance FROM people
    {where} ORDER BY feature <=> %(query)s::vector LIMIT {wide}
)
SELECT id, distance FROM found ORDER BY distance LIMIT {limit}
"""
#: Half-precision distances out of a covering index alone, the best of them measured again.
COVERING = """
WITH found AS MATERIALIZED (
    SELECT id, (feature_half <=> %(query)s::vector::halfvec) + 0 AS about FROM people
    {where} ORDER BY about LIMIT {wide}
)
SELECT people.id, people.feature <=> %(query)s::vector AS distance
FROM found JOIN people USING (id) ORDER BY distance LIMIT {limit}
"""


class Plain(Setting):
    """One statement in a session with its own settings.

    Args:
        widened: rows that the first step of a statement with two fetches, of k.
    """

    def __init__(
        self,
        system: str,
        name: str,
        backend: Backend,
        people: People,
        statement: str,
        widened: tuple[int, int] = (1, 0),
    ) -> None:
        self.system, self.name = system, name
        self._backend, self._people, self._statement = backend, people, statement
        self._widened = widened

    def ask(self, cell: Cell, query: int) -> Answer:
        return self._backend.ask(self.statement(cell, query), self._values(query))

    def uses_graph(self, cell: Cell) -> bool:
        """Whether the planner takes the HNSW index for any of the first queries."""
        return any(
            "people_feature" in row[0]
            for query in range(_EXPLAINED)
            for row in self._backend.session.execute(
                f"EXPLAIN {self.statement(cell, query)}", self._values(query)
            )
        )

    def statement(self, cell: Cell, query: int) -> str:
        wanted = [cell.condition.sql(self._people.cell(cell.condition, query))]
        if cell.max_distance is not None:
            wanted.append(f"feature <=> %(query)s::vector < {cell.max_distance}")
        text = " AND ".join(filter(None, wanted))
        factor, more = self._widened
        return self._statement.format(
            where=f"WHERE {text}" if text else "", limit=cell.k, wide=cell.k * factor + more
        )

    def _values(self, query: int) -> Mapping[str, object]:
        return {"query": literal(self._people.queries[query])}


class Covering(Plain):
    """Raw SQL over the covering index of the filter, where there is one."""

    def applies(self, cell: Cell) -> bool:
        return cell.condition.family in ("city", "both", "near", "far", "join")


def fixed(plain: str, covered: str, people: People) -> list[Setting]:
    """Systems with one setting each: pgvector as it comes, exact, and over covering indexes.

    Args:
        plain, covered: connection strings.
    """
    index_only = {**COMMON, "enable_seqscan": "off", "enable_bitmapscan": "off"}
    return [
        Plain("pgvector default", "ef=40", Backend(plain, PGVECTOR), people, NEAREST),
        Plain("exact on heap", "", Backend(plain, COMMON), people, EXACT),
        Covering("raw covering", "k+10", Backend(covered, index_only), people, COVERING, (1, 10)),
    ]


def ladders(plain: str, people: People) -> list[Ladder]:
    """Iterative scans, forced and left to the planner, and forced ones that fetch more."""
    seconds = 15.0 * max(1.0, len(people) / 100_000)
    forced = _grid("pgvector forced", plain, people, NEAREST, {**COMMON, **ROOM, **FORCED})
    free = _grid("pgvector iterative", plain, people, NEAREST, {**COMMON, **ROOM})
    wide = [
        Plain(
            "raw graph",
            f"relaxed ef={ef} {factor}k",
            Backend(
                plain, {**COMMON, **ROOM, **FORCED, **_iterative(ef, _SCANS[-1], "relaxed_order")}
            ),
            people,
            WIDE,
            (factor, 0),
        )
        for ef, factor in ((200, 4), (400, 10))
    ]
    return [
        Ladder("pgvector forced", forced, seconds=seconds),
        Ladder("pgvector iterative", free, lambda c: not free[0].uses_graph(c), seconds),
        Ladder("raw graph", wide, seconds=seconds),
    ]


def _grid(
    system: str, conninfo: str, people: People, statement: str, common: Values
) -> list[Plain]:
    """Strict and relaxed order, widths and patience, cheapest first."""
    settings = []
    for ef, order, scan in _steps():
        backend = Backend(conninfo, {**common, **_iterative(ef, scan, f"{order}_order")})
        name = f"{order} ef={ef} scan={scan}"
        settings.append(Plain(system, name, backend, people, statement))
        if scan > _SCANS[0]:
            settings[-1].twin = f"{order} ef={ef} scan={_SCANS[0]}"
    return settings


def _steps() -> Iterator[tuple[int, str, int]]:
    for ef in (40, 100, 200, 400):
        for scan in _SCANS:
            for order in ("relaxed", "strict"):
                yield ef, order, scan
    yield 1000, "relaxed", _SCANS[-1]


def _iterative(ef: int, scan: int, order: str) -> Values:
    return {"hnsw.iterative_scan": order, "hnsw.ef_search": ef, "hnsw.max_scan_tuples": scan}
