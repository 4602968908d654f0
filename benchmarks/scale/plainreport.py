"""What the plainsql story found, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.scale import plainsql, plansettings
from benchmarks.scale.stage import Stage, short

#: Recall from which a cell counts as complete.
COMPLETE = 0.99

Found = dict[str, Any]


@dataclass(frozen=True)
class Tried:
    """One setting in all cells: (condition, k) to what was found there."""

    name: str
    cells: dict[tuple[str, int], Found]

    @property
    def complete(self) -> int:
        return sum(found["recall"] >= COMPLETE for found in self.cells.values())

    def mean(self, what: str) -> float:
        return float(np.mean([found[what] for found in self.cells.values()]))

    @property
    def typical_ms(self) -> float:
        """Geometric mean over the cells, so that no k outweighs the others."""
        return float(np.exp(np.mean(np.log([found["cpu"] for found in self.cells.values()]))))

    def line(self) -> str:
        worst = min(self.cells, key=lambda cell: self.cells[cell]["recall"])
        hnsw = np.mean(
            [found["plans"].get("hnsw", 0) / found["queries"] for found in self.cells.values()]
        )
        return (
            f"| {self.name} | {self.complete} | {100 * self.mean('rows'):.1f} "
            f"| {100 * self.mean('recall'):.1f} | {100 * self.cells[worst]['recall']:.0f} "
            f"({worst[0]}, k={worst[1]}) | {100 * hnsw:.0f} | {self.typical_ms:.1f} "
            f"| {max(found['cpu'] for found in self.cells.values()):.0f} |"
        )


def report(stage: Stage, size: int) -> Iterator[str]:
    """Settings over all cells, the best one cell by cell, and the block to write down."""
    small = _tried(stage, size, "", plansettings.grid())
    counts = {found["queries"] for one in small for found in one.cells.values()}
    yield f"### The article's query in plain SQL, N = {short(size)}"
    yield ""
    yield (
        f"`{stage.command}`. `WHERE … ORDER BY feature <-> v LIMIT k` on HNSW (m 16, "
        "ef_construction 64) and B-trees on the columns of the conditions; k = 10, 100, 1000; "
        "without a condition; with ones that keep 50, 10, 1, 0.1 % whatever the voice, and k-means "
        "cells (10 %, 1 %) that hold the probe (near) or lie farthest from it (far): "
        f"{len(small[0].cells)} cells, "
        f"{min(counts)} to {max(counts)} queries each, all settings in turns. Times: processor of "
        "the backend, p50, geometric mean over the cells; planning included, cache warm, no "
        "parallel workers. Limits not named: none that a scan reaches."
    )
    for title, rows in (
        ("shared_buffers as shipped", small),
        (
            f"shared_buffers = {plainsql.LARGE_BUFFERS}",
            _tried(stage, size, plainsql.LARGE_BUFFERS, plansettings.planning()),
        ),
    ):
        yield from ["", f"**{title}**", ""]
        yield (
            f"| iterative_scan ef_search | cells with recall ≥ {COMPLETE:g} | rows returned % "
            "| recall % | worst cell, recall % | by HNSW % | ms | slowest cell, ms |"
        )
        yield "|---|---|---|---|---|---|---|---|"
        yield from (one.line() for one in rows)
    yield from _best(small)


def _tried(
    stage: Stage, size: int, buffers: str, settings: dict[str, plansettings.Settings]
) -> list[Tried]:
    parts = {
        (name, k): stage.raw.find("plainsql", short(size), buffers, name, k)
        for k in plainsql.KS
        for name in plainsql.part_names()
    }
    return [
        Tried(name, {cell: part["settings"][name] for cell, part in parts.items() if part})
        for name in settings
    ]


def _best(tried: list[Tried]) -> Iterator[str]:
    """The most complete one (of those as good, the quickest), beside what is shipped."""
    chosen = [one for one in tried if one.name != plansettings.EXACT]
    best = max(
        chosen, key=lambda one: (one.complete, round(one.mean("recall"), 3), -one.typical_ms)
    )
    shipped = next(one for one in tried if one.name == "off 40")
    exact = next(one for one in tried if one.name == plansettings.EXACT)
    yield from ["", f"**As complete as it gets: {best.name}**", ""]
    yield (
        "| condition | k | plan | rows % | recall % | p50 ms | exact, p50 ms "
        "| shipped: rows % | recall % | p50 ms |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for (name, k), found in best.cells.items():
        plan = max(found["plans"], key=found["plans"].get)
        before = shipped.cells[name, k]
        yield (
            f"| {name} | {k} | {plan} | {100 * found['rows']:.1f} | {100 * found['recall']:.1f} "
            f"| {found['cpu']:.1f} | {exact.cells[name, k]['cpu']:.1f} "
            f"| {100 * before['rows']:.1f} | {100 * before['recall']:.1f} "
            f"| {before['cpu']:.1f} |"
        )
    missed = [
        f"{name} k={k} ({100 * found['recall']:.1f} %)"
        for (name, k), found in best.cells.items()
        if found["recall"] < COMPLETE
    ]
    yield ""
    yield f"What it still misses: {', '.join(missed) or 'nothing'}."
    yield from ["", "```sql"]
    for setting, value in plansettings.grid()[best.name].items():
        if value != plansettings.SHIPPED[setting]:
            yield f"ALTER DATABASE voxprint SET {setting} = '{value}';"
    yield "```"
