"""Measure an encoder on a trial list, under several conditions and for parts of the list.

Every recording is embedded once a condition and every trial scored once. Recordings that give
no embedding are counted beside the error rates, and their trials are left out: a failure to
acquire has no score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.estimates import FARS, Decisions, Who, estimate_llrs, estimate_rates
from voxprint.score.metrics import at_threshold
from voxprint.score.scorefile import ScoredTrials
from voxprint.score.trials import TrialList
from voxprint.service.conditions import UNCHANGED, Heard, Progress, Side, hear
from voxprint.service.galleries import GalleryResult, measure_galleries
from voxprint.service.measured import Evaluation, Result
from voxprint.types import Samples

if TYPE_CHECKING:
    from voxprint.encoder.embedder import Encoder

Rows = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured.

    Attributes:
        conditions: each measured alone; see ``voxprint.audio.degrade``.
        degraded: which side of a trial is heard under the condition.
        noises: recordings of real noise for conditions with noise.
        by: columns of the list; each of their values is measured alone, too.
        fars: false-accept rates (for galleries: FPIRs) at which the miss rate is wanted.
        galleries: numbers of people to search among; 0 for as many as there are.
    """

    conditions: Sequence[str] = (UNCHANGED,)
    degraded: Literal["test", "both"] = "test"
    noises: Sequence[Samples] = ()
    by: Sequence[str] = ()
    fars: Sequence[float] = FARS
    galleries: Sequence[int] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Scored trials of one condition, with all that a calibration may want to know of them.

    Attributes:
        enrol, test: the two sides, by name of the list.
        enrol_at, test_at: shape (n,), the row of either side in each trial.
        speaker: shape (names,), who speaks.
        scores: float64, shape (n,), finite cosines.
    """

    enrol: Side
    test: Side
    enrol_at: Index
    test_at: Index
    speaker: Index
    scores: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What a calibration makes of scored trials.

    Attributes:
        llrs: float64, shape (n,), natural-log likelihood ratios, finite.
        decisions: by target false-accept rate; int8, shape (n,): 1 accept, 0 inconclusive,
            -1 reject.
    """

    llrs: Rows
    decisions: Mapping[float, Decisions] = field(default_factory=dict)


#: Maps the scored trials of one condition to LLRs and decisions; is not told the condition.
Judge = Callable[[Comparisons], Judgement]


def evaluate(
    trials: TrialList,
    encoder: Encoder,
    plan: Plan | None = None,
    *,
    judge: Judge | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Embed the recordings of a trial list, score its trials by cosine, and sum up.

    Args:
        trials: the list, read with a root.
        encoder: what embeds.
        plan: what is wanted; None for whole recordings, the list as a whole.
        judge: a calibration; None leaves out all that rests on LLRs.
        progress: called as things get done.
    Raises:
        EmptyTrials: under one condition no target or no nontarget trial is left to score.
        UsageError: a condition, a column or a gallery that there cannot be.
    """
    plan = plan or Plan()
    _check_columns(trials, plan.by)
    used = {c: _sides(trials, c, plan.degraded) for c in dict.fromkeys(plan.conditions)}
    wanted: dict[int, list[str]] = {}
    for sides in used.values():
        for row, condition in sides:
            known = wanted.setdefault(row, [])
            if condition not in known:
                known.append(condition)
    heard = hear(trials, encoder, wanted, noises=plan.noises, progress=progress)
    results: list[Result] = []
    scored: list[ScoredTrials] = []
    searched: list[GalleryResult] = []
    for done, condition in enumerate(used):
        if progress is not None:
            progress("measuring", done, len(used))
        test = heard.side(trials, condition)
        enrol = heard.side(trials, UNCHANGED) if plan.degraded == "test" else test
        made = _scored(trials, condition, enrol, test, judge)
        scored.append(made.trials)
        results += _results(trials, made, plan, heard, used[condition], encoder.spec.threshold)
        searched += measure_galleries(trials, condition, enrol, test, plan.galleries, plan.fars)
    if progress is not None:
        progress("measuring", len(used), len(used))
    return Evaluation(
        trials=trials.name,
        model=encoder.spec.name,
        spec_hash=encoder.spec.hash,
        threshold=encoder.spec.threshold,
        recordings=len(trials.recordings),
        speakers=int(np.unique(trials.speaker).size),
        degraded=plan.degraded,
        results=tuple(results),
        galleries=tuple(searched),
        scored=tuple(scored),
        same=trials.same,
    )


def evaluate_scores(
    trials: TrialList, scored: Sequence[ScoredTrials], plan: Plan | None = None
) -> Evaluation:
    """Measure scores that were made elsewhere.

    Args:
        trials: the list; no recording is touched.
        scored: its scores, and LLRs where there are any, by condition.
        plan: of which ``by`` and ``fars`` count.
    Raises:
        EmptyTrials: under one condition no target or no nontarget trial has a score.
        UsageError: no such column.
    """
    plan = plan or Plan()
    _check_columns(trials, plan.by)
    results = [
        result for each in scored for result in _results(trials, _Made(each), plan, None, (), None)
    ]
    return Evaluation(
        trials=trials.name,
        model=None,
        spec_hash=None,
        threshold=None,
        recordings=len(trials.names),
        speakers=int(np.unique(trials.speaker).size),
        degraded=None,
        results=tuple(results),
        galleries=(),
        scored=tuple(scored),
        same=trials.same,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """Scores of a condition, and decisions for all trials (0 where there is no score)."""

    trials: ScoredTrials
    decisions: Mapping[float, Decisions] = field(default_factory=dict)


def _check_columns(trials: TrialList, by: Sequence[str]) -> None:
    for column in by:
        if column not in trials.columns:
            have = ", ".join(trials.columns) or "no further column"
            raise UsageError(f"expected a column of the trial list, got {column!r}; it has {have}")


def _sides(trials: TrialList, condition: str, degraded: str) -> list[tuple[int, str]]:
    """Recordings that a condition needs, each with how it is heard."""
    enrolled = condition if degraded == "both" else UNCHANGED
    needed = [(n, enrolled) for n in np.unique(trials.enrol)]
    needed += [(n, condition) for n in np.unique(trials.test)]
    return list(dict.fromkeys((row, how) for name, how in needed for row in trials.parts[name]))


def _scored(
    trials: TrialList, condition: str, enrol: Side, test: Side, judge: Judge | None
) -> _Made:
    scores = cosines(enrol.unit, test.unit, trials.enrol, trials.test)
    scored = np.isfinite(scores)
    if judge is None or not scored.any():
        return _Made(ScoredTrials(condition, scores))
    made = judge(
        Comparisons(
            enrol, test, trials.enrol[scored], trials.test[scored], trials.speaker, scores[scored]
        )
    )
    llrs = np.full(scores.shape, np.nan)
    llrs[scored] = made.llrs
    decisions = {}
    for far, each in made.decisions.items():
        decisions[far] = np.zeros(scores.shape, np.int8)
        decisions[far][scored] = each
    return _Made(ScoredTrials(condition, scores, llrs), decisions)


def cosines(enrol: Rows, test: Rows, enrol_at: Index, test_at: Index) -> Rows:
    """Cosine of each trial, shape (n,): inner product of unit rows; NaN where one is missing.

    Args:
        enrol, test: shape (names, dim), unit rows or NaN.
        enrol_at, test_at: shape (n,), rows of the one and the other.
    """
    scores = np.empty(enrol_at.size)
    step = 1 << 16  # bounds memory: 200 MB for 192 dimensions
    for start in range(0, enrol_at.size, step):
        part = slice(start, start + step)
        scores[part] = np.einsum("ij,ij->i", enrol[enrol_at[part]], test[test_at[part]])
    return scores


def _results(
    trials: TrialList,
    made: _Made,
    plan: Plan,
    heard: Heard | None,
    used: Sequence[tuple[int, str]],
    threshold: float | None,
) -> Iterator[Result]:
    """Of all trials, then of those with each value of each column."""
    failures = heard.failures(used) if heard is not None else {}
    whole = _measured(trials, made, plan, None, failures, threshold)
    if whole.rates is None:
        lacking = "target" if whole.unscored_target == trials.same.sum() else "nontarget"
        condition = f" under {made.trials.condition}" if made.trials.condition else ""
        raise EmptyTrials(
            f"no {lacking} trial of {trials.name} has a score{condition}",
            hint=f"recordings not acquired: {whole.failed()}" if failures else "",
        )
    yield whole
    for column in plan.by:
        for value in sorted(set(trials.columns[column])):
            yield _measured(trials, made, plan, (column, value), {}, threshold)


def _measured(
    trials: TrialList,
    made: _Made,
    plan: Plan,
    part: tuple[str, str] | None,
    failures: dict[str, int],
    threshold: float | None,
) -> Result:
    inside = np.ones(trials.same.size, dtype=np.bool_)
    if part is not None:
        inside = np.array([value == part[1] for value in trials.columns[part[0]]])
    scores, llrs = made.trials.scores, made.trials.llrs
    chosen = inside & np.isfinite(scores)
    if llrs is not None:
        chosen &= np.isfinite(llrs)
    who = Who(trials.same, trials.speaker[trials.enrol], trials.speaker[trials.test]).of(chosen)
    unscored = inside & ~chosen
    result = Result(
        condition=made.trials.condition,
        column=part[0] if part else None,
        value=part[1] if part else None,
        failures=failures,
        unscored_target=int(np.sum(unscored & trials.same)),
        unscored_nontarget=int(np.sum(unscored & ~trials.same)),
    )
    if who.same.all() or not who.same.any():
        return result
    kept = scores[chosen]
    decisions = {far: each[chosen] for far, each in made.decisions.items()}
    return result.with_rates(
        estimate_rates(kept, who, fars=plan.fars),
        None if threshold is None else at_threshold(kept[who.same], kept[~who.same], threshold),
        None if llrs is None else estimate_llrs(llrs[chosen], who, decisions),
    )
