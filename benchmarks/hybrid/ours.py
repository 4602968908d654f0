"""fastann.search, at each recall that it is asked for."""

from __future__ import annotations

import json

from benchmarks.hybrid.backend import Backend, literal
from benchmarks.hybrid.conditions import Cell
from benchmarks.hybrid.data import People
from benchmarks.hybrid.rounds import TARGETS, Answer, Setting
from benchmarks.hybrid.stock import COMMON

_ARGUMENTS = """
NULL::people, 'feature', %(query)s::vector, k => %(k)s, condition => %(condition)s,
max_distance => %(max_distance)s, target_recall => %(target)s, distancemeasure => 'COSINE'
"""
_SEARCH = f"SELECT (hit).id, distance FROM fastann.search({_ARGUMENTS})"
_EXPLAIN = f"SELECT fastann.explain({_ARGUMENTS}, format => 'json')"


class Ours(Setting):
    """One target in one database.

    After each answer, in a session of its own, the planner is asked what it chose: that is not
    part of the time.
    """

    def __init__(
        self, system: str, target: float, conninfo: str, people: People, common: dict[str, object]
    ) -> None:
        self.system, self.name = system, f"target={target:g}"
        self._target, self._people = target, people
        self._searching, self._explaining = Backend(conninfo, common), Backend(conninfo, common)

    def ask(self, cell: Cell, query: int) -> Answer:
        values = {
            "query": literal(self._people.queries[query]),
            "k": cell.k,
            "condition": cell.condition.sql(self._people.cell(cell.condition, query)),
            "max_distance": cell.max_distance,
            "target": self._target,
        }
        answer = self._searching.ask(_SEARCH, values)
        said = self._explaining.session.execute(_EXPLAIN, values).fetchall()
        explained = json.loads("\n".join(row[0] for row in said))
        answer.plan = str(explained["plan"])
        answer.planning = explained.get("planning_ms")
        return answer


def ours(system: str, conninfo: str, people: People) -> list[Setting]:
    """All targets."""
    return [Ours(system, target, conninfo, people, dict(COMMON)) for target in TARGETS]
