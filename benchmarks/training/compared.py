"""Error rates of a teacher and its students on the same trials, and how sure the changes are.

Row 0 of the draws counts everybody once, so the first of the drawn rates is the rate itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import say
from voxprint.errors import EmptyTrials
from voxprint.score.paired import draw_people, drawn_interval, drawn_rates, relative_change
from voxprint.training.measure import Trials, cosines

Floats = npt.NDArray[np.float64]
#: Of the drawn rates, shape (figures, 1 + replicates).
FIGURES = ("eer", "min_dcf")
TEACHER = "teacher"


def on_teacher(student: str) -> str:
    """Name of the system in which people were enrolled with the teacher, and a student hears."""
    return f"{student} on teacher"


@dataclass(frozen=True)
class Draws:
    """The same draws of people for all lists.

    Attributes:
        column: of each speaker in ``times``.
        times: shape (1 + replicates, people).
    """

    column: dict[str, int]
    times: npt.NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[Trials], replicates: int, seed: int = 0) -> Draws:
        """People stand for those who speak in the same lists: every list keeps its size."""
        present: dict[str, list[int]] = {}
        for number, trials in enumerate(lists):
            for who in {speaker(name) for name in (*trials.enrol, *trials.test)}:
                present.setdefault(who, []).append(number)
        people = sorted(present)
        kinds = sorted(present.values())
        groups = [kinds.index(present[who]) for who in people]
        drawn = draw_people(groups, replicates=replicates, seed=seed)
        once = np.ones((1, len(people)), np.int64)
        return cls({who: i for i, who in enumerate(people)}, np.concatenate([once, drawn]))


def speaker(name: str) -> str:
    """``set/speaker`` of a recording's path below the speech folder."""
    return name.rpartition("/")[0]


@dataclass(frozen=True)
class Cell:
    """One list under one condition, or their mean.

    Attributes:
        facts: list, condition, numbers of people and trials.
        drawn: of each system, shape (figures, 1 + replicates); NaN where nothing is known.
    """

    facts: dict[str, Any]
    drawn: dict[str, Floats]

    @property
    def known(self) -> bool:
        """Whether every system has rates."""
        return all(np.isfinite(rates[:, 0]).all() for rates in self.drawn.values())


def cells(
    lists: Sequence[Trials],
    conditions: Sequence[str],
    names: Sequence[str],
    embedded: dict[str, npt.NDArray[np.float32]],
    draws: Draws,
) -> Iterator[Cell]:
    """Every list under every condition, the mean over the lists last.

    Args:
        lists: trials.
        conditions: of the test side; ``full`` is that of the references.
        names: recordings, in the order of the embeddings.
        embedded: of the teacher (``TEACHER``, first) and of students, shape (conditions, names,
            dim).
        draws: of the people.
    """
    rows = {name: i for i, name in enumerate(names)}
    clean = conditions.index("full")
    found: list[Cell] = []
    for trials in lists:
        enrol = np.array([draws.column[speaker(name)] for name in trials.enrol])
        test = np.array([draws.column[speaker(name)] for name in trials.test])
        for at, condition in enumerate(conditions):
            scores = {}
            for who, vectors in embedded.items():
                scores[who] = cosines(trials, rows, vectors[clean], vectors[at])
                if who != TEACHER:
                    teacher = embedded[TEACHER]
                    scores[on_teacher(who)] = cosines(trials, rows, teacher[clean], vectors[at])
            heard = np.logical_and.reduce([np.isfinite(each) for each in scores.values()])
            facts = {
                "list": trials.name,
                "condition": condition,
                "people": len(set(enrol.tolist()) | set(test.tolist())),
                "targets": int((trials.same & heard).sum()),
                "nontargets": int((~trials.same & heard).sum()),
                "failed": int((~heard).sum()),
            }
            who_speaks = trials.same[heard], enrol[heard], test[heard]
            drawn = {s: _drawn(each[heard], *who_speaks, draws) for s, each in scores.items()}
            found.append(Cell(facts, drawn))
        say(f"  {trials.name}: rates and their draws are there")
    yield from found
    for condition in conditions:
        yield _mean([each for each in found if each.facts["condition"] == condition])


def _drawn(
    scores: Floats,
    same: npt.NDArray[np.bool_],
    enrol: npt.NDArray[np.intp],
    test: npt.NDArray[np.intp],
    draws: Draws,
) -> Floats:
    try:
        return np.stack(drawn_rates(scores, same, enrol, test, draws.times))
    except EmptyTrials:
        return np.full((len(FIGURES), len(draws.times)), np.nan)


def _mean(of_lists: list[Cell]) -> Cell:
    """Unweighted, over the lists of which all systems have rates."""
    known = [each for each in of_lists if each.known] or of_lists
    facts = {
        "list": "mean",
        "condition": known[0].facts["condition"],
        "lists": [each.facts["list"] for each in known],
    }
    return Cell(
        facts,
        {who: np.mean([each.drawn[who] for each in known], axis=0) for who in known[0].drawn},
    )


def record(cell: Cell) -> dict[str, Any]:
    """For JSON: figures of every system with their intervals, and changes from the teacher.

    Rates are shares, in [0, 1]; a change of -0.1 is a tenth less. None where nothing is known: no
    change from a teacher without errors, no upper end of a rate of 0 (drawing shows no error that
    was not seen), none of a change where errors appeared in draws in which the teacher had none.
    """
    systems: dict[str, Any] = {}
    for who, drawn in cell.drawn.items():
        systems[who] = {}
        for figure, values, before in zip(FIGURES, drawn, cell.drawn[TEACHER], strict=True):
            rate = _with_interval(values)
            if rate is not None and rate["value"] == 0:
                rate["high"] = None
            systems[who][figure] = rate
            if who != TEACHER:
                change = _with_interval(relative_change(before, values)) if before[0] else None
                systems[who][f"{figure}_change"] = change
    return {**cell.facts, "systems": systems}


def _with_interval(values: Floats) -> dict[str, float | None] | None:
    """The figure itself comes first, that of every draw after it."""
    if np.isnan(values[0]) or np.isnan(values[1:]).all():
        return None
    interval = drawn_interval(values[1:])
    shown = {"value": float(values[0]), "low": interval.low, "high": interval.high}
    return {name: each if np.isfinite(each) else None for name, each in shown.items()}
