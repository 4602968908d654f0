"""What the identify story found, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.scale.raw import Record
from benchmarks.scale.stage import Stage, short
from voxprint.encoder.spec import DEFAULT_MODEL

#: What searching instead of scanning may cost, in points.
BAR = 0.1
_WHOM = {"everybody": "everybody", "tenth": "a group of 10 %"}


def report(stage: Stage) -> Iterator[str]:
    """Errors beside those of a scan, then times."""
    parts = {
        (size, whom): part
        for whom in _WHOM
        for size in stage.sizes
        if (part := stage.raw.find("identify", short(size), whom))
    }
    yield "### Identification among N people"
    yield ""
    yield (
        f"`{stage.command}`. Simulated people ({stage.voices.name}), a voiceprint of one utterance "
        "each, bulk-loaded, above 100k without an ANN index, which finds no 0.999 there; "
        "`voxprint.identify(probe, k => 2, fpir => 0.01)`. Half of the probes "
        "are other utterances of enrolled people, half are of people who are not enrolled. FNIR: "
        "the person was not first or not accepted; FPIR: a stranger was accepted. Behind the bar: "
        "what a scan of all gives to the same probes. Thresholds: the decision; cosine "
        f"{DEFAULT_MODEL.threshold:g}; the cosine that 1 % of these strangers exceed."
    )
    yield ""
    yield (
        "| N | whom | probes | top-1 | FPIR | FNIR | inconclusive "
        f"| FPIR, FNIR at {DEFAULT_MODEL.threshold:g} | FNIR at FPIR 1 % (cosine) "
        f"| search against scan, ≤ {BAR:g} points |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for (size, whom), part in parts.items():
        yield _errors(size, whom, part)
    yield ""
    yield "| N | whom | search: p50 | p95 | processor | scan: p50 | p95 | processor |"
    yield "|---|---|---|---|---|---|---|---|"
    for (size, whom), part in parts.items():
        found, exact = part["time"], part["time_exact"]
        yield (
            f"| {short(size)} | {_WHOM[whom]} | {found['wall']:.1f} | {found['wall95']:.1f} "
            f"| {found['cpu']:.1f} | {exact['wall']:.1f} | {exact['wall95']:.1f} "
            f"| {exact['cpu']:.1f} |"
        )
    yield ""
    yield _footnote(parts)


def _errors(size: int, whom: str, part: Record) -> str:
    count, found, exact = part["probes"], part["found"], part["exact"]

    def both(*path: str) -> str:
        ours, theirs = (f"{100 * _at(rates, path) / count:.2f}" for rates in (found, exact))
        return f"{ours} / {theirs}"

    differences = [
        abs(_at(found, path) - _at(exact, path)) / count
        for path in (("top1",), ("decision", "false_positive"), ("decision", "missed"))
    ]
    worst = 100 * max(differences)
    verdict = "met" if worst <= BAR else "**missed**"
    fixed = f"{both('fixed', 'false_positive')}, {both('fixed', 'missed')}"
    return (
        f"| {short(size)} | {_WHOM[whom]} | 2 x {count} | {both('top1')} "
        f"| {both('decision', 'false_positive')} | {both('decision', 'missed')} "
        f"| {both('inconclusive')} | {fixed} "
        f"| {both('chosen', 'missed')} ({found['threshold']:.3f}) | {worst:.2f} {verdict} |"
    )


def _at(rates: dict[str, Any], path: tuple[str, ...]) -> int:
    value: Any = rates
    for name in path:
        value = value[name]
    return int(value)


def _footnote(parts: dict[tuple[int, str], Record]) -> str:
    again = sum(part["asked_again"] for part in parts.values())
    twice = sum(part["twice"] for part in parts.values())
    unexpected = sum(part["unexpected"] for part in parts.values())
    return (
        "Percent, search / scan. Times in ms; the scan's are of every so many probes, "
        f"{twice} in all, asked both ways in turns. {again} answers were asked again by a scan: "
        "these, and all whose first two are not NumPy's. Where the first two agreed, "
        f"{unexpected or 'no'} decision differed."
    )
