"""Who is it, among a million: voxprint.identify on galleries of simulated people.

The search may miss somebody whom a scan finds; what that costs is the difference between two
answers to the same probe. NumPy knows the nearest two people of every probe. Where identify gave
these two, a scan would have given the same answer, for the decision rests on them; where it did
not, it is asked again with a scan forced. So no probe is left out of the comparison, and only
some are asked twice to compare the times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.report import say
from benchmarks.scale import identifyreport
from benchmarks.scale.enrolled import GROUP, Enrolled, enrolled, prepared, row_of
from benchmarks.scale.meter import Answer, Session, session, spent
from benchmarks.scale.people import Ints
from benchmarks.scale.raw import Record
from benchmarks.scale.stage import Stage, short
from benchmarks.scale.voices import Rows
from voxprint.encoder.spec import DEFAULT_MODEL
from voxprint.types import vector_text

FPIR = 0.01
#: People asked for: the first two decide about the first.
K = 2
_WARM = 20
#: Probes that NumPy looks at together: their cosines with a million people are 200 MB.
_TOGETHER = 50
_ASK = (
    f"SELECT speaker, decision, score FROM voxprint.identify(%(probe)s::vector, k => {K},"
    f" fpir => {FPIR:g}, groups => %(groups)s::text[]) ORDER BY rank"
)
#: How a scan is forced: in the search of today, and in the one before it.
_SCAN = {"fastann.index_scan_mode": "exact", "voxprint.exact_scan_kb": "1000000000"}
_AUTO = {"fastann.index_scan_mode": "auto", "voxprint.exact_scan_kb": ""}


@dataclass(frozen=True, eq=False)
class Probes:
    """Questions to a gallery.

    Attributes:
        unit: embeddings, shape (n, DIM).
        who: row of the person who speaks; -1 where nobody of the gallery does.
        nearest: rows of the K people most alike, shape (n, K), by NumPy.
        groups: that the search is restricted to; None: everybody.
    """

    unit: Rows
    who: Ints
    nearest: Ints
    groups: list[str] | None


def run(stage: Stage) -> Iterator[str]:
    """Everybody, and a tenth of them, at every size."""
    for size in stage.sizes:
        parts = [("identify", short(size), whom) for whom in ("everybody", GROUP)]
        if not all(stage.raw.have(*part) for part in parts):
            people = enrolled(size, stage.voices)
            with stage.server() as server, session(prepared(stage, server, people)) as asked:
                for part in parts:
                    whole = part[2] != GROUP
                    stage.raw.once(*part, measure=partial(_measure, stage, asked, people, whole))
    yield from identifyreport.report(stage)


def _measure(stage: Stage, asked: Session, people: Enrolled, whole: bool) -> Record:
    """Half of the probes are of people who are enrolled, half are of others."""
    count = stage.probes if whole else -(-stage.probes // 4)
    probes = _probes(stage, people, count, whole)
    answers: list[Answer] = []
    again: dict[int, Answer] = {}
    twice = set(np.linspace(0, len(probes.who) - 1, stage.queries).astype(int).tolist())
    for n in range(min(_WARM, count)):
        _ask(asked, probes, n)
    for n in range(len(probes.who)):
        if n in twice and n % 2:  # the other half of these is scanned afterwards
            again[n] = _scanned(asked, probes, n)
        answers.append(_ask(asked, probes, n))
        expected = _rows(answers[n]) == probes.nearest[n].tolist()
        if n not in again and (n in twice or not expected):
            again[n] = _scanned(asked, probes, n)
        if n and not n % 1000:
            say(f"  {n} of {len(probes.who)} probes")
    found = [_outcome(answer) for answer in answers]
    exact = [_outcome(again[n]) if n in again else found[n] for n in range(len(found))]
    return {
        "probes": count,
        "gallery": len(people.identity) if whole else len(people.members),
        "asked_again": len(again),
        "twice": len(twice),
        "unexpected": sum(
            found[n] != exact[n] for n in twice if _rows(answers[n]) == probes.nearest[n].tolist()
        ),
        "found": _rates(found, probes),
        "exact": _rates(exact, probes),
        "time": spent(answers),
        "time_exact": spent([again[n] for n in sorted(twice)]),
    }


def _probes(stage: Stage, people: Enrolled, count: int, whole: bool) -> Probes:
    """First of enrolled people, then as many of people who are not; NumPy's answer to each."""
    random = np.random.default_rng(11)
    rows = np.arange(len(people.identity)) if whole else people.members
    who = rows[random.integers(len(rows), size=count)]
    own = stage.voices.speak(random, people.identity[who])
    others = stage.voices.speak(random, stage.voices.people(random, count))
    unit = np.concatenate([own, others])
    among = people.voiceprint if whole else people.voiceprint[rows]
    pieces = np.split(unit, range(_TOGETHER, len(unit), _TOGETHER))
    nearest = [rows[_best(piece, among)] for piece in pieces]
    nobody = np.full(count, -1, dtype=np.int64)
    groups = None if whole else [GROUP]
    return Probes(unit, np.concatenate([who, nobody]), np.concatenate(nearest), groups)


def _best(probes: Rows, among: Rows) -> Ints:
    """Columns of the K most alike, the most alike first, shape (n, K)."""
    alike = probes @ among.T
    best = np.argpartition(-alike, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(alike, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def _ask(asked: Session, probes: Probes, n: int) -> Answer:
    return asked.ask(_ASK, {"probe": vector_text(probes.unit[n]), "groups": probes.groups})


def _scanned(asked: Session, probes: Probes, n: int) -> Answer:
    asked.set(_SCAN)
    answer = _ask(asked, probes, n)
    asked.set(_AUTO)
    return answer


def _rows(answer: Answer) -> list[int]:
    return [row_of(row[0]) for row in answer.rows]


#: First person's row, the decision about them, and their cosine.
Outcome = tuple[int, str, float]


def _outcome(answer: Answer) -> Outcome:
    speaker, decision, score = answer.rows[0]
    return row_of(speaker), str(decision), round(float(score), 6)


def _rates(found: list[Outcome], probes: Probes) -> dict[str, Any]:
    """Counts among the known and among the strangers; closed set: decisions left aside."""
    first = np.array([row for row, _, _ in found])
    score = np.array([score for _, _, score in found])
    accepted = np.array([decision == "accept" for _, decision, _ in found])
    stranger = probes.who < 0
    right = first == probes.who
    limits = {
        "decision": accepted,
        "fixed": score >= DEFAULT_MODEL.threshold,
        "chosen": score > np.quantile(score[stranger], 1 - FPIR),
    }
    return {
        "top1": int(right[~stranger].sum()),
        **{
            name: {
                "false_positive": int(passed[stranger].sum()),
                "missed": int((~(passed & right))[~stranger].sum()),
            }
            for name, passed in limits.items()
        },
        "threshold": float(np.quantile(score[stranger], 1 - FPIR)),
        "inconclusive": _inconclusive(found, ~stranger),
    }


def _inconclusive(found: list[Outcome], among: npt.NDArray[np.bool_]) -> int:
    return sum(found[n][1] == "inconclusive" for n in np.flatnonzero(among))
