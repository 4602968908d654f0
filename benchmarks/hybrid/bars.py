"""What filtered search is held to."""

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
from benchmarks.hybrid.record import Measured
from benchmarks.hybrid.rounds import TARGETS
from benchmarks.report import Row

#: Milliseconds that deciding may cost on top of a plan.
_DECIDING = 0.3
#: What one cell's mean recall may lack of the target.
_SHORT = 0.005
#: Families with a covering index, and the share from which on the limit is a bar.
_COVERED, _LARGE = ("city", "both", "near", "far", "join"), 0.05
#: How many times as fast ours has to be, by scale, variant and what it is held against.
_BARS = {("100k", COVERING, FREE): 1.3, ("1m", COVERING, EXACT): 2.5}

#: Name of a cell, milliseconds of ours, milliseconds of the other.
Pair = tuple[str, float, float]


#: Cells that are named where many miss a bar.
_NAMED = 3


def bars(figures: Figures, system: str, target: float, scale: str) -> list[Row]:
    """What one variant of ours keeps at one target; the same rows at each."""
    return [
        *_answers(figures, system, target),
        *_regret(figures, system, target),
        *_against_stock(figures, system, target, scale),
        *_against_peers(figures, system, target),
    ]


def limits(figures: Figures, system: str) -> list[Row]:
    """What does not depend on the target."""
    return [*_limit(figures, system), *_planning(figures, system)]


def _answers(figures: Figures, system: str, target: float) -> Iterator[Row]:
    asked = [m for c in figures.cells([system]) if (m := figures.ours(c, system, target))]
    yield _none("cells with rows too few or too many", [m for m in asked if not complete(m)], asked)
    under = [m for m in asked if not reaches(m, target)]
    yield Row("cells whose mean recall is below the target", f"{len(under)} of {len(asked)}")
    short = [m for m in under if float(m.recall.mean()) < target - _SHORT]
    yield _none(f"cells more than {_SHORT:g} below it", short, asked)
    if asked:
        lowest = min(asked, key=lambda m: float(m.recall.mean()))
        yield Row("lowest mean recall", f"{float(lowest.recall.mean()):.3f} ({lowest.cell})")
        yield Row.fact("lowest 5th percentile of a cell's recall", min(map(p5, asked)), "", 2)


def _regret(figures: Figures, system: str, target: float) -> Iterator[Row]:
    """Time over that of the best plan, from which deciding is taken off."""
    pairs = _pairs(figures, system, PLANS if system == OURS else PLANS_COVERING, target)
    plain = [mine / best for _, mine, best in pairs] or [np.nan]
    eased = [max(0.0, mine - _DECIDING) / best for _, mine, best in pairs] or [np.nan]
    what = "time ÷ best plan that reaches the target"
    yield Row(f"{what}, p50", _ratio(float(np.median(plain)), pairs))
    yield Row(f"{what}, p95", _ratio(float(np.percentile(plain, 95)), pairs))
    what = f"(time - {_DECIDING:g} ms) ÷ best plan"
    yield _most(f"{what}, p50", float(np.median(eased)), 1.25, pairs)
    yield _most(f"{what}, p95", float(np.percentile(eased, 95)), 2, pairs)
    if pairs:
        cell, mine, best = max(pairs, key=lambda p: (p[1] - _DECIDING) / p[2])
        yield Row(f"{what}, most", f"{max(eased):.2f} x ({cell}: {mine:.3g} for {best:.3g} ms)")


def _against_stock(figures: Figures, system: str, target: float, scale: str) -> Iterator[Row]:
    stock = _pairs(figures, system, STOCK, target)
    slower = [pair for pair in stock if pair[1] > 1.1 * pair[2] + _DECIDING]
    yield _none(f"cells slower than 1.1 x + {_DECIDING:g} ms of the best stock plan", slower, stock)
    for whom, others, bar in (
        ("the stock planner, best of grid", (DEFAULT, FREE), _BARS.get((scale, system, FREE))),
        ("the best stock plan, exact and forced too", STOCK, None),
        ("exact on the heap", (EXACT,), _BARS.get((scale, system, EXACT))),
        ("a forced iterative scan", (FORCED,), 10.0),
    ):
        pairs = _pairs(figures, system, others, target)
        gain = geometric_mean([theirs / mine for _, mine, theirs in pairs])
        yield Row(
            f"times as fast as {whom}, where that reaches the target, geometric mean",
            _ratio(gain, pairs),
            "" if bar is None else f"≥ {bar:g} x",
            None if bar is None else gain >= bar,
        )


def _against_peers(figures: Figures, system: str, target: float) -> Iterator[Row]:
    for peer in PEERS:
        cells = figures.cells([system, peer])
        if not cells:
            continue
        failed = [c for c in cells if figures.best(c, [peer], target) is None]
        yield Row(f"cells in which {peer} misses the target", f"{len(failed)} of {len(cells)}")
        faster = 0
        for cell in cells:
            mine = figures.best(cell, [system], target)
            theirs = figures.best(cell, [peer], target)
            faster += mine is not None and (
                theirs is None or figures.time(mine) < figures.time(theirs)
            )
        what = f"cells in which ours is faster than {peer}, or alone in reaching it"
        yield Row.at_least(what, 100 * faster / len(cells), 90, "%", 0)


def _limit(figures: Figures, system: str) -> Iterator[Row]:
    pairs = [
        pair
        for pair in _pairs(figures, system, (LIMIT,), TARGETS[-1])
        if share_of(pair[0]) >= _LARGE and pair[0].split()[0] in _COVERED
    ]
    if not pairs:
        return
    ratios = [mine / limit for _, mine, limit in pairs]
    worst, mine, limit = max(pairs, key=lambda p: p[1] / p[2])
    what = f"time ÷ NumPy over the rows that match, shares from {100 * _LARGE:g} %"
    yield Row(f"{what}, p50", _ratio(float(np.median(ratios)), pairs))
    bar = 2.0 if system == COVERING else None
    yield Row(
        f"{what}, most",
        f"{max(ratios):.2f} x ({worst}: {mine:.3g} for {limit:.3g} ms)",
        "" if bar is None else f"≤ {bar:g} x",
        None if bar is None else max(ratios) <= bar,
    )


def _planning(figures: Figures, system: str) -> Iterator[Row]:
    taken: dict[bool, list[float]] = {False: [], True: []}
    for cell in figures.cells([system]):
        for measured in figures.found[cell][system]:
            for plan, ms in zip(measured.plan, measured.planning, strict=False):
                taken[plan.endswith(PROBED)].append(ms)
    for probed, bar, words in ((False, 0.5, "without a probe"), (True, 0.8, "with a probe")):
        if taken[probed]:
            what = f"planning {words}, p50 of {len(taken[probed])} queries"
            yield Row.at_most(what, float(np.median(taken[probed])), bar, "ms", 2)


def building(figures: Figures, scale: str) -> Iterator[Row]:
    """How long the steps of loading took; autotune's is held to a bar."""
    for fact, value in figures.facts.items():
        what, _, step = fact.partition(": ")
        if what == "seconds":
            if step.startswith("autotune") and scale == "100k":
                yield Row.at_most(step, float(value), 60, "s", 1)
            else:
                yield Row.fact(step, float(value), "s", 1)


def _none(what: str, bad: Sequence[Measured | Pair], of: Sequence[object]) -> Row:
    """A bar that no cell may miss; the first that do are named."""
    names = [b.cell if isinstance(b, Measured) else b[0] for b in bad]
    more = ", …" if len(names) > _NAMED else ""
    named = f" ({'; '.join(names[:_NAMED])}{more})" if names else ""
    return Row(what, f"{len(names)} of {len(of)}{named}", "none", not names)


def _most(what: str, ratio: float, bar: float, pairs: Sequence[Pair]) -> Row:
    return Row(what, _ratio(ratio, pairs), f"≤ {bar:g} x", ratio <= bar)


def _ratio(ratio: float, pairs: Sequence[Pair]) -> str:
    return f"{ratio:.2f} x ({len(pairs)} cells)"


def _pairs(figures: Figures, system: str, others: Sequence[str], target: float) -> list[Pair]:
    """Cells in which both reach the target; an impossible bound is no race."""
    pairs = []
    for cell in figures.cells([system]):
        mine = figures.best(cell, [system], target)
        theirs = figures.best(cell, others, target)
        if mine is not None and theirs is not None and not cell.startswith("bound"):
            pairs.append((cell, figures.time(mine), figures.time(theirs)))
    return pairs
