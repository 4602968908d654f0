"""fastann.search as the stories call it, and what says which plan it took."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.scale.meter import Answer, Session
from benchmarks.scale.voices import Rows
from voxprint.types import vector_text

TARGET = 0.99
_GIVEN = (
    "(NULL::people, 'feature', %(probe)s::vector, k => %(k)s, condition => %(condition)s,"
    f" target_recall => {TARGET:g}"
)
_SEARCH = f"SELECT (hit).id, distance FROM fastann.search{_GIVEN})"
_EXPLAIN = f"SELECT * FROM fastann.explain{_GIVEN}, run => true, format => 'json')"

#: SQL of the conditions on ``city`` that keep these shares.
CONDITIONS: dict[float, str | None] = {1.0: None, 0.1: "city < 1000", 0.01: "city < 100"}


def search(asked: Session, probe: Rows, k: int, condition: str | None) -> Answer:
    """Rows: id, distance."""
    return asked.ask(_SEARCH, {"probe": vector_text(probe), "k": k, "condition": condition})


def plan(asked: Session, probe: Rows, k: int, condition: str | None) -> str:
    """Name of the plan that the same search takes, and what it went over to where it did."""
    given = {"probe": vector_text(probe), "k": k, "condition": condition}
    lines = [row[0] for row in asked.ask(_EXPLAIN, given).rows]
    tables: list[dict[str, Any]] = json.loads("\n".join(lines))
    chosen, taken = tables[0]["plan"], tables[0]["actual"]["plan"]
    return str(chosen) if chosen == taken else f"{chosen}, then {taken}"


def shown(share: float) -> str:
    return "no condition" if share == 1 else f"{100 * share:g} % match"
