"""What planning costs: the same exact search as plain SQL and through fastann.search, in turns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from benchmarks.scale import load, people, search
from benchmarks.scale.meter import Answer, Session, session, spent
from benchmarks.scale.raw import Record
from benchmarks.scale.stage import Stage, short
from benchmarks.scale.voices import Rows
from benchmarks.timing import median
from voxprint.types import vector_text

K = 10
_WARM = 20
#: Rows that match.
_MATCHING = (30, 100, 300, 1000, 3000)
#: No index serves this order.
_PLAIN = (
    "SELECT id, (feature <-> %(probe)s::vector) + 0 AS distance FROM people"
    " WHERE {condition} ORDER BY distance LIMIT %(k)s"
)
_PLANNED = (
    "SELECT * FROM fastann.explain(NULL::people, 'feature', %(probe)s::vector, k => %(k)s,"
    f" condition => %(condition)s, target_recall => {search.TARGET:g}, format => 'json')"
)


def run(stage: Stage) -> Iterator[str]:
    """The condition is one that the primary key answers, so that both ways do the same."""
    found = {size: measured(stage, size) for size in stage.sizes}
    yield "### What planning costs"
    yield ""
    yield (
        f"`{stage.command}`. k = {K}, {stage.queries} probes, both ways in turns; p50, ms: "
        "processor time of the backend (wall time). Planning: `planning_ms` of `fastann.explain`, "
        "which ends where the search itself would begin."
    )
    yield ""
    yield "| N | rows that match | plan | plain SQL | fastann.search | more | planning |"
    yield "|---|---|---|---|---|---|---|"
    for size, rows in found.items():
        for matching, at in rows["at"].items():
            plain, ours = at["plain"], at["search"]
            yield (
                f"| {short(size)} | {matching} | {at['plan']} "
                f"| {plain['cpu']:.2f} ({plain['wall']:.2f}) "
                f"| {ours['cpu']:.2f} ({ours['wall']:.2f}) | {ours['cpu'] - plain['cpu']:.2f} "
                f"({ours['wall'] - plain['wall']:.2f}) | {at['planning']:.2f} |"
            )


def measured(stage: Stage, size: int) -> Record:
    return stage.raw.once("overhead", short(size), measure=partial(_measure, stage, size))


def _measure(stage: Stage, size: int) -> Record:
    gallery = people.gallery(size, stage.voices)
    with stage.server() as server, session(load.ready(stage, server, gallery)) as asked:
        probes = gallery.probes(_WARM + stage.queries)
        return {"at": {str(n): _both(asked, probes, n) for n in _MATCHING if n < size / 2}}


def _both(asked: Session, probes: Rows, matching: int) -> Record:
    condition = f"id <= {matching}"
    plain: list[Answer] = []
    ours: list[Answer] = []
    planning: list[float] = []
    plan = ""
    for n, probe in enumerate(probes):
        given = {"probe": vector_text(probe), "k": K, "condition": condition}
        first = asked.ask(_PLAIN.format(condition=condition), given)
        second = search.search(asked, probe, K, condition)
        lines = [row[0] for row in asked.ask(_PLANNED, given).rows]
        (explained,) = json.loads("\n".join(lines))
        if n >= _WARM:
            plain.append(first)
            ours.append(second)
            planning.append(explained["planning_ms"])
            plan = explained["plan"]
    return {
        "plan": plan,
        "plain": spent(plain),
        "search": spent(ours),
        "planning": round(median(planning), 3),
    }
