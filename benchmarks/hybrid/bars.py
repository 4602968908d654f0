"""What filtered search is held to, one row for each bar and recall asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.hybrid.figures import (
    COVERING,
    DEFAULT,
    EXACT,
    FORCED,
    FREE,
    LIMIT,
    OURS,
    PEERS,
    PLANS,
    PLANS_COVERING,
    STOCK,
    Figures,
    complete,
    geometric_mean,
    p5,
    reaches,
    share_of,
)
from benchmarks.hybrid.ours import PROBED
from benchmarks.hybrid.rounds import TARGETS
from benchmarks.report import Row

#: Milliseconds that deciding may cost on top of a plan.
_DECIDING = 0.3
#: What one cell's mean recall may lack of the target.
_SHORT = 0.005
_COVERED = ("city", "both", "near", "far", "join")


def bars(figures: Figures, scale: str) -> Iterator[tuple[str, list[Row]]]:
    """Stories and their rows, as benchmarks.report prints them."""
    for system in (OURS, COVERING):
        if not any(system in found for found in figures.found.values()):
            continue
        for target in TARGETS:
            yield (
                f"{system}, recall {target:g}",
                [
                    *_answers(figures, system, target),
                    *_regret(figures, system, target),
                    *_against_stock(figures, system, target, scale),
                    *_against_peers(figures, system, target),
                ],
            )
        yield f"{system}, limits", [*_limit(figures, system), *_planning(figures, system)]
    yield "building", list(_building(figures, scale))


def _answers(figures: Figures, system: str, target: float) -> Iterator[Row]:
    asked = [m for c in figures.cells([system]) if (m := figures.ours(c, system, target))]
    short = [m for m in asked if not complete(m)]
    yield Row.at_most(
        f"cells with a row too few or too many, of {len(asked)}", len(short), 0, "", 0
    )
    under = [target - float(m.recall.mean()) for m in asked if not reaches(m, target)]
    worst = [m.cell for m in asked if float(m.recall.mean()) < target - _SHORT]
    named = f" ({'; '.join(worst[:4])})" if worst else ""
    yield Row.fact(f"cells below the target at all, of {len(asked)}", len(under), "", 0)
    yield Row.at_most(f"cells more than {_SHORT:g} below the target{named}", len(worst), 0, "", 0)
    if asked:
        lowest = min(asked, key=lambda m: float(m.recall.mean()))
        yield Row.fact(f"lowest mean recall ({lowest.cell})", float(lowest.recall.mean()))
        yield Row.fact("lowest 5th percentile of recall in a cell", min(map(p5, asked)), "", 2)


def _regret(figures: Figures, system: str, target: float) -> Iterator[Row]:
    plans = PLANS if system == OURS else PLANS_COVERING
    pairs = _pairs(figures, system, plans, target)
    if not pairs:
        return
    plain = [mine / best for _, mine, best in pairs]
    eased = [max(0.0, mine - _DECIDING) / best for _, mine, best in pairs]
    about = f"time ÷ best plan, {len(pairs)} cells"
    yield Row.fact(f"{about}, p50", float(np.median(plain)), "x", 2)
    yield Row.fact(f"{about}, p95", float(np.percentile(plain, 95)), "x", 2)
    yield Row.at_most(f"the same less {_DECIDING:g} ms, p50", float(np.median(eased)), 1.25, "x", 2)
    yield Row.at_most(
        f"the same less {_DECIDING:g} ms, p95", float(np.percentile(eased, 95)), 2, "x", 2
    )
    cell, _, _ = max(pairs, key=lambda p: (p[1] - _DECIDING) / p[2])
    yield Row(f"worst of them: {cell}", f"{max(eased):.2f} x")


def _against_stock(figures: Figures, system: str, target: float, scale: str) -> Iterator[Row]:
    stock = _pairs(figures, system, STOCK, target)
    slower = [c for c, mine, best in stock if mine > 1.1 * best + _DECIDING]
    named = f" ({'; '.join(slower[:4])})" if slower else ""
    yield Row.at_most(
        f"cells slower than 1.1x + {_DECIDING:g} ms of the best stock plan, of {len(stock)}{named}",
        len(slower),
        0,
        "",
        0,
    )
    wanted = {("100k", COVERING): 1.3}
    yield _speed(
        "stock planner, best of grid",
        _pairs(figures, system, (DEFAULT, FREE), target),
        wanted.get((scale, system)),
    )
    yield _speed("best stock plan, exact ones too", stock, None)
    exact = {("1m", COVERING): 2.5}.get((scale, system))
    yield _speed("exact on heap", _pairs(figures, system, (EXACT,), target), exact)
    yield _speed("forced iterative scan", _pairs(figures, system, (FORCED,), target), 10.0)


def _against_peers(figures: Figures, system: str, target: float) -> Iterator[Row]:
    for peer in PEERS:
        cells = figures.cells([system, peer])
        if not cells:
            continue
        failed = [c for c in cells if figures.best(c, [peer], target) is None]
        faster = 0
        for cell in cells:
            mine = figures.best(cell, [system], target)
            theirs = figures.best(cell, [peer], target)
            faster += mine is not None and (
                theirs is None or figures.time(mine) < figures.time(theirs)
            )
        yield Row.fact(
            f"cells in which {peer} misses the target, of {len(cells)}", len(failed), "", 0
        )
        yield Row.at_least(
            f"cells in which ours is faster than {peer}, or alone in reaching it",
            100 * faster / len(cells),
            90,
            "%",
            0,
        )


def _limit(figures: Figures, system: str) -> Iterator[Row]:
    target = TARGETS[-1]
    pairs = [
        (cell, mine, limit)
        for cell, mine, limit in _pairs(figures, system, (LIMIT,), target)
        if share_of(cell) >= 0.05 and cell.split()[0] in _COVERED
    ]
    if pairs:
        ratios = [mine / limit for _, mine, limit in pairs]
        about = f"time ÷ NumPy over the matching rows, from 5 % up, {len(pairs)} cells"
        bar = 2.0 if system == COVERING else None
        worst, _, _ = max(pairs, key=lambda p: p[1] / p[2])
        yield Row.fact(f"{about}, p50", float(np.median(ratios)), "x", 2)
        if bar is None:
            yield Row.fact(f"{about}, most ({worst})", max(ratios), "x", 2)
        else:
            yield Row.at_most(f"{about}, most ({worst})", max(ratios), bar, "x", 2)


def _planning(figures: Figures, system: str) -> Iterator[Row]:
    taken: dict[bool, list[float]] = {False: [], True: []}
    for cell in figures.cells([system]):
        for measured in figures.found[cell][system]:
            for plan, ms in zip(measured.plan, measured.planning, strict=False):
                taken[plan.endswith(PROBED)].append(ms)
    for probed, bar, words in ((False, 0.5, "without a probe"), (True, 0.8, "with a probe")):
        if taken[probed]:
            what = f"planning {words}, p50 of {len(taken[probed])}"
            yield Row.at_most(what, float(np.median(taken[probed])), bar, "ms", 2)


def _building(figures: Figures, scale: str) -> Iterator[Row]:
    for fact, value in figures.facts.items():
        what, _, step = fact.partition(": ")
        if what != "seconds":
            continue
        if step.startswith("autotune") and scale == "100k":
            yield Row.at_most(step, float(value), 60, "s", 1)
        else:
            yield Row.fact(step, float(value), "s", 1)


def _speed(whom: str, pairs: Sequence[tuple[str, float, float]], bar: float | None) -> Row:
    gain = geometric_mean([theirs / mine for _, mine, theirs in pairs])
    what = f"faster than {whom} where it reaches, geometric mean of {len(pairs)} cells"
    return Row.fact(what, gain, "x", 2) if bar is None else Row.at_least(what, gain, bar, "x", 2)


def _pairs(
    figures: Figures, system: str, others: Sequence[str], target: float
) -> list[tuple[str, float, float]]:
    """Cells that both reach at the target: name, time of ours, best time of the others."""
    pairs = []
    for cell in figures.cells([system]):
        mine = figures.best(cell, [system], target)
        theirs = figures.best(cell, others, target)
        if mine is not None and theirs is not None and not cell.startswith("bound"):
            pairs.append((cell, figures.time(mine), figures.time(theirs)))
    return pairs
