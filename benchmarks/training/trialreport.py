"""What ``benchmarks.training.trials`` prints: teacher and student side by side, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.training.compared import TEACHER, on_teacher

Record = dict[str, Any]


def report(
    facts: Sequence[str], records: Sequence[Record], students: Sequence[str]
) -> Iterator[str]:
    """Lines: what was measured, then the mean and the lists of every student.

    Args:
        facts: lines about the whole.
        records: by ``benchmarks.training.compared.record``.
        students: their names; none for the teacher alone.
    """
    yield from (f"- {fact}" for fact in facts)
    yield "- EER in %; in brackets the 95 % interval, from draws of people: [lowest, highest]"
    yield "- drawn from five or six people it is narrower than the truth: no others are in it"
    yield ""
    for student in students or [None]:
        yield f"## {student or TEACHER}"
        yield ""
        yield from _table([each for each in records if each["list"] == "mean"], student, mean=True)
        yield ""
        yield from _table([each for each in records if each["list"] != "mean"], student, mean=False)
        yield ""


def _table(records: Sequence[Record], student: str | None, *, mean: bool) -> Iterator[str]:
    head = ["probe", TEACHER, *_columns(student), "minDCF"]
    if not mean:
        head = ["list", "people", "same / different", "not heard", *head]
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    for each in records:
        systems = each["systems"]
        line = [each["condition"], _rate(systems[TEACHER]["eer"], whole=True)]
        shown = [TEACHER]
        if student is not None:
            shown += [student, on_teacher(student)]
            for who in shown[1:]:
                line += [_rate(systems[who]["eer"]), _change(systems[who]["eer_change"])]
        line.append(" → ".join(_cost(systems[who]["min_dcf"]) for who in shown))
        if not mean:
            trials = f"{each['targets']} / {each['nontargets']}"
            line = [each["list"], str(each["people"]), trials, str(each["failed"]), *line]
        yield f"| {' | '.join(line)} |"
    if mean and records:
        yield ""
        yield f"Mean over {len(records[0]['lists'])} lists: {', '.join(records[0]['lists'])}."


def _columns(student: str | None) -> list[str]:
    return [] if student is None else ["student", "", "its probes, teacher's enrolments", ""]


def _rate(figure: Record | None, *, whole: bool = False) -> str:
    if figure is None:
        return "–"
    text = f"{100 * figure['value']:.2f}"
    if not whole or figure["high"] is None:
        return text
    return f"{text} [{100 * figure['low']:.2f}, {100 * figure['high']:.2f}]"


def _change(figure: Record | None) -> str:
    if figure is None:
        return "–"
    return f"{_percent(figure['value'])} [{_percent(figure['low'])}, {_percent(figure['high'])}]"


def _percent(share: float | None) -> str:
    """A change that is none is 0, whatever sign the rounding leaves."""
    return (
        "∞" if share is None else f"{100 * share:+.1f} %".replace("-", "−").replace("−0.0", "0.0")
    )


def _cost(figure: Record | None) -> str:
    return "–" if figure is None else f"{figure['value']:.3f}"
