"""Score files and trial lists, read and written as Kaldi, NIST and this package have them.

The formats stand in ``voxprint.score.listing``. NIST's has room for nothing but log-likelihood
ratios, Kaldi's for one score; a table (``tsv``) holds the list's own columns, the condition,
score and LLR.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxprint.errors import UsageError
from voxprint.score.listing import Format, read_lines
from voxprint.score.trials import TrialList

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTrials:
    """Scores of one trial list under one condition.

    Attributes:
        condition: name of the condition; empty where a score file names none.
        scores: float64, shape (n,), larger = more alike; NaN for a trial without a score.
        llrs: float64, shape (n,), natural-log likelihood ratios, NaN where there is none; None
            where scores are all there is.
    """

    condition: str
    scores: Rows
    llrs: Rows | None = None


def read_scores(
    path: str | os.PathLike[str],
    trials: TrialList,
    *,
    given: Format | None = None,
    are_llrs: bool = False,
) -> list[ScoredTrials]:
    """Scores of the trials of a list, by condition.

    A trial that the file does not have, or has with an empty score, stays without one: a
    failure to acquire. Scores of other trials are passed over.

    Args:
        path: the score file; a table may be the trial list itself.
        trials: the list.
        given: format of the file; None has it recognised.
        are_llrs: what it calls scores are natural-log likelihood ratios.

    Raises:
        UsageError: it is no score file, a score is no finite number, a trial is scored twice
            under one condition, or no trial of the list is scored.
    """
    source = Path(path)
    layout, lines = read_lines(source, "score", given)
    places = {name: at for at, name in enumerate(layout.columns)}
    index = {name: i for i, name in enumerate(trials.names)}
    found: dict[str, dict[tuple[int, int], tuple[float, float]]] = {}
    for line in lines:
        enrol, test = index.get(line.enrol), index.get(line.test)
        if enrol is None or test is None:
            continue
        where = f"{source}, line {line.number}"
        condition = line.fields[places["condition"]] if "condition" in places else ""
        score, llr = (
            _number(line.fields[places[name]], where) if name in places else math.nan
            for name in ("score", "llr")
        )
        values = (score, llr)
        first = found.setdefault(condition, {}).setdefault((enrol, test), values)
        if first is not values and not np.array_equal(first, values, equal_nan=True):
            raise UsageError(f"{where}: this trial has another score in a line above")
    scored = [_filled(trials, condition, values, are_llrs) for condition, values in found.items()]
    if not any(np.isfinite(each.scores).any() for each in scored):
        raise UsageError(
            f"no trial of {trials.name} has a score in {source}",
            hint="names of both sides must be written alike in the list and in the score file",
        )
    return scored


def _number(text: str, where: str) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(
            f"{where}: expected a score, a finite number, got {text[:40]!r}",
            hint="leave out the lines of trials that could not be scored",
        )
    return value


def _filled(
    trials: TrialList,
    condition: str,
    values: dict[tuple[int, int], tuple[float, float]],
    are_llrs: bool,
) -> ScoredTrials:
    nothing = (math.nan, math.nan)
    pairs = zip(trials.enrol.tolist(), trials.test.tolist(), strict=True)
    both = np.array([values.get(pair, nothing) for pair in pairs])
    scores, llrs = both[:, 0], both[:, 1]
    if np.isnan(scores).all():
        scores = llrs
    if np.isnan(llrs).all():
        return ScoredTrials(condition, scores, scores if are_llrs else None)
    return ScoredTrials(condition, scores, llrs)


def write_scores(
    path: str | os.PathLike[str],
    trials: TrialList,
    scored: Sequence[ScoredTrials],
    written: Format = "tsv",
) -> list[Path]:
    """Write scores; with several conditions in a format without them, one file for each.

    Args:
        path: of the file; ``-<condition>`` is put before its suffix where there are several.
        trials: the list.
        scored: by condition.
        written: ``tsv``, ``kaldi`` or ``nist``. Trials without a score are left out of the
            latter two, and have an empty one in a table.

    Returns:
        The files written.

    Raises:
        UsageError: the format has no place for what is to be written.
    """
    target = Path(path)
    if written == "voxceleb":
        raise UsageError("expected tsv, kaldi or nist, got voxceleb, which has no scores")
    if written == "tsv":
        return [_write(target, _table(trials, scored))]
    rows = _kaldi_scores if written == "kaldi" else _nist_scores
    if len(scored) == 1:
        return [_write(target, rows(trials, scored[0]))]
    return [
        _write(target.with_stem(f"{target.stem}-{each.condition}"), rows(trials, each))
        for each in scored
    ]


def write_trials(
    path: str | os.PathLike[str], trials: TrialList, written: Format = "tsv"
) -> list[Path]:
    """Write a trial list (for NIST, its key) in any of the formats."""
    words = np.where(trials.same, "target", "nontarget").tolist()
    pairs = list(_pairs(trials))
    if written == "tsv":
        own = list(trials.columns)
        rows = [["label", "enrol", "test", *own]]
        columns = zip(trials.same, pairs, *trials.columns.values(), strict=True)
        rows += [[str(int(same)), *pair, *values] for same, pair, *values in columns]
    elif written == "nist":
        rows = [["modelid", "segmentid", "side", "targettype"]]
        rows += [[e, *_side(t), word] for (e, t), word in zip(pairs, words, strict=True)]
    elif written == "kaldi":
        rows = [[*_bare(pair), word] for pair, word in zip(pairs, words, strict=True)]
    else:
        rows = [[str(int(s)), *_bare(pair)] for s, pair in zip(trials.same, pairs, strict=True)]
    blank = " " if written in ("kaldi", "voxceleb") else "\t"
    return [_write(Path(path), (blank.join(row) for row in rows))]


def _pairs(trials: TrialList) -> Iterator[tuple[str, str]]:
    names = trials.names
    for enrol, test in zip(trials.enrol.tolist(), trials.test.tolist(), strict=True):
        yield names[enrol], names[test]


def _table(trials: TrialList, scored: Sequence[ScoredTrials]) -> Iterator[str]:
    own = [name for name in trials.columns if name not in ("condition", "score", "llr")]
    with_llr = any(each.llrs is not None for each in scored)
    names = ["label", "enrol", "test", *own, "condition", "score"] + ["llr"] * with_llr
    yield "\t".join(names)
    for each in scored:
        llrs = each.llrs if each.llrs is not None else np.full(trials.same.size, math.nan)
        for i, (enrol, test) in enumerate(_pairs(trials)):
            row = [str(int(trials.same[i])), enrol, test, *(trials.columns[n][i] for n in own)]
            row += [each.condition, _text(each.scores[i])] + [_text(llrs[i])] * with_llr
            yield "\t".join(row)


def _kaldi_scores(trials: TrialList, scored: ScoredTrials) -> Iterator[str]:
    for pair, score in zip(_pairs(trials), scored.scores, strict=True):
        if math.isfinite(score):
            yield " ".join([*_bare(pair), _text(score)])


def _nist_scores(trials: TrialList, scored: ScoredTrials) -> Iterator[str]:
    if scored.llrs is None:
        raise UsageError(
            "a score file of NIST holds log-likelihood ratios, and there are only scores",
            hint="calibrate them, or write the format kaldi or tsv",
        )
    yield "modelid\tsegmentid\tside\tLLR"
    for (enrol, test), llr in zip(_pairs(trials), scored.llrs, strict=True):
        if math.isfinite(llr):
            yield "\t".join([enrol, *_side(test), _text(llr)])


def _text(value: float) -> str:
    """A number as it reads back, to a float32's digits; nothing for NaN."""
    return f"{value:.9g}" if math.isfinite(value) else ""


def _side(name: str) -> tuple[str, str]:
    return (name[:-2], "b") if name.endswith(":b") else (name, "a")


def _bare(pair: tuple[str, str]) -> tuple[str, str]:
    for name in pair:
        if len(name.split()) != 1:
            raise UsageError(f"expected names without blanks for this format, got {name!r}")
    return pair


def _write(path: Path, lines: Iterable[str]) -> Path:
    """Write all lines or, where one cannot be made, nothing."""
    text = "".join(f"{line}\n" for line in lines)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path
