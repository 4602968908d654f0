"""The section of docs/results.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from benchmarks.hybrid.bars import bars, building, limits
from benchmarks.hybrid.figures import COVERING, OURS, ROWS, Figures, k_of
from benchmarks.hybrid.record import Measured, Results
from benchmarks.hybrid.rounds import FEWEST, TARGETS
from benchmarks.report import machine, table


def section(scale: str, model: str, results: Results, clock: str = "cpu") -> Iterator[str]:
    """Markdown lines: the bars, then every cell at the highest target."""
    figures = Figures.read(results, clock)
    yield f"### {scale} people, {model} model"
    yield ""
    yield from machine()
    yield (
        f"- milliseconds are medians by {_CLOCKS[clock]}; no parallel query, one thread "
        "everywhere; caches warm"
    )
    yield (
        f"- slow settings are asked {FEWEST} to {_most(figures) - 1} queries a cell instead of "
        f"{_most(figures)}: {_cut(figures)} of {sum(1 for _ in _all(figures))}, the fastest of "
        f"them {_fastest_cut(figures):.0f} ms a query"
    )
    yield ""
    for system in (OURS, COVERING):
        if figures.cells([system]):
            yield from _kept(figures, system, scale)
    yield "#### Loading and tuning"
    yield ""
    yield from table([("", list(building(figures, scale)))])
    for k in sorted({k_of(cell) for cell in figures.found}):
        yield ""
        yield f"#### k = {k}, recall ≥ {TARGETS[-1]:g}"
        yield ""
        yield from _cells(figures, k)
    yield ""
    yield from _plans(figures)


_CLOCKS = {"wall": "the clock", "cpu": "processor time (of the server process, or of the peer)"}


def _kept(figures: Figures, system: str, scale: str) -> Iterator[str]:
    """The bars of one variant: targets side by side."""
    yield f"#### Bars: {system}"
    yield ""
    yield f"| | {' | '.join(f'recall {target:g}' for target in TARGETS)} | bar |"
    yield "|---|" + "---|" * (len(TARGETS) + 1)
    for rows in zip(*(bars(figures, system, t, scale) for t in TARGETS), strict=True):
        found = [f"**{r.found}**" if r.met is False else r.found for r in rows]
        yield f"| {rows[0].what} | {' | '.join(found)} | {rows[0].bar} |"
    yield ""
    yield "Bold: missed."
    yield ""
    yield from table([("", limits(figures, system))])
    yield ""


def _cells(figures: Figures, k: int) -> Iterator[str]:
    """One row for each filter: time where the target is reached, else the best recall."""
    systems = [s for s in ROWS if any(s in found for found in figures.found.values())]
    yield f"| filter | {' | '.join(systems)} |"
    yield "|---|" + "---|" * len(systems)
    for cell in figures.found:
        if k_of(cell) == k:
            name = cell.partition(",")[0]
            yield f"| {name} | {' | '.join(_found(figures, cell, s) for s in systems)} |"


def _found(figures: Figures, cell: str, system: str) -> str:
    best = figures.best(cell, [system], TARGETS[-1])
    if best is not None:
        return f"{figures.time(best):.3g}"
    tried = figures.found[cell].get(system, []) + figures.scouted[cell].get(system, [])
    if not tried:
        return ""
    most = max(float(m.recall.mean()) for m in tried)
    return f"fails ({most:.3f})"


def _plans(figures: Figures) -> Iterator[str]:
    """What ours chose, as counts of queries."""
    yield "Plans chosen, in percent of queries:"
    yield ""
    yield "| | recall | plans |"
    yield "|---|---|---|"
    for system in (OURS, COVERING):
        for target in TARGETS:
            chosen: Counter[str] = Counter()
            for cell in figures.cells([system]):
                if (measured := figures.ours(cell, system, target)) is not None:
                    chosen.update(measured.plan)
            if chosen:
                total = chosen.total()
                shown = ", ".join(f"{p} {100 * n / total:.0f}" for p, n in chosen.most_common())
                yield f"| {system} | {target:g} | {shown} |"


def _all(figures: Figures) -> Iterator[Measured]:
    for systems in figures.found.values():
        for settings in systems.values():
            yield from settings


def _most(figures: Figures) -> int:
    return max((len(m.wall) for m in _all(figures)), default=0)


def _cut(figures: Figures) -> int:
    return sum(len(m.wall) < _most(figures) for m in _all(figures))


def _fastest_cut(figures: Figures) -> float:
    cut = [figures.time(m) for m in _all(figures) if len(m.wall) < _most(figures)]
    return min(cut, default=float("nan"))
