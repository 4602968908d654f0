"""Fit decisions to the user's own trials, and measure what that changes.

The statistics are a :class:`Method`'s: what is known of a pair of utterances, and how that
becomes a log-likelihood ratio. Here trials are gathered, and people are parted, so that a figure
is of people whom the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.estimates import ACCEPT, REJECT, Decisions, Who
from voxprint.score.evidence import Evidence
from voxprint.score.intervals import RULE_OF_30
from voxprint.service.calibrated import Calibrated, Figures
from voxprint.service.conditions import UNCHANGED, Progress, hear
from voxprint.service.evaluate import Comparisons, Judgement, cosines
from voxprint.types import LabelledDecision

if TYPE_CHECKING:
    from voxprint.encoder.embedder import Encoder
    from voxprint.encoder.spec import ModelSpec
    from voxprint.score.trials import TrialList

Bools = npt.NDArray[np.bool_]

#: False-accept rates that a calibration is judged at where none are asked for.
FARS = (0.01, 0.001)


class Fitted(Protocol):
    """A way from what is known of trials to decisions."""

    @property
    def parameters(self) -> dict[str, Any]:
        """What the database stores and decides by: plain values for JSON."""
        ...

    def judge(self, evidence: Evidence, fars: Sequence[float]) -> Judgement:
        """LLRs of trials, and what is decided at each false-accept rate."""
        ...


class Method(Protocol):
    """What is known of trials, and how it is weighed."""

    def evidence(self, trials: Comparisons) -> Evidence:
        """What is known of compared recordings."""
        ...

    def logged(self, decisions: Sequence[LabelledDecision]) -> Evidence:
        """The same of decisions, as the database has recorded it."""
        ...

    def fit(self, evidence: Evidence, same: Bools) -> Fitted:
        """Fit on trials of both kinds; ``same`` is true where one person speaks."""
        ...

    def load(self, parameters: Mapping[str, Any]) -> Fitted:
        """What :attr:`Fitted.parameters` were taken from."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Trials to fit on.

    Attributes:
        source: ``trials`` or ``decisions``.
        name: where they come from, for people.
        evidence: of n trials, by the method.
        who: which are of one person, and who speaks.
        unscored: trials left out because a recording gave no embedding.
        failures: such recordings, by reason.
    """

    source: str
    name: str
    evidence: Evidence
    who: Who
    unscored: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def people(self) -> npt.NDArray[np.intp]:
        """Everybody who speaks, each once."""
        return np.unique(np.concatenate([self.who.enrol, self.who.test]))

    def of(self, chosen: Bools) -> Material:
        """The trials where ``chosen`` is true."""
        return Material(self.source, self.name, self.evidence.take(chosen), self.who.of(chosen))


def from_trials(
    trials: TrialList, encoder: Encoder, method: Method, progress: Progress | None = None
) -> Material:
    """Embed the recordings of a trial list, each once, and gather what is known of its trials.

    Args:
        trials: the list, read with a root.
        encoder: what embeds.
        method: what is to be known of them.
        progress: as in :func:`voxprint.service.conditions.hear`.
    Raises:
        EmptyTrials: no target or no nontarget trial can be scored.
    """
    rows = [(row, UNCHANGED) for row in range(len(trials.recordings))]
    heard = hear(trials, encoder, {row: [how] for row, how in rows}, progress=progress)
    side = heard.side(trials, UNCHANGED)
    scores = cosines(side.unit, side.unit, trials.enrol, trials.test)
    scored = np.isfinite(scores)
    enrol, test = trials.enrol[scored], trials.test[scored]
    who = Who(trials.same[scored], trials.speaker[enrol], trials.speaker[test])
    failures = heard.failures(rows)
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(failures.items()))
    _check_both(
        who.same,
        f"no {{}} trial of {trials.name} can be scored",
        f"recordings not acquired: {lost or 'none'}",
    )
    compared = Comparisons(side, side, enrol, test, trials.speaker, scores[scored])
    return Material(
        "trials",
        trials.name,
        method.evidence(compared),
        who,
        unscored=int(np.sum(~scored)),
        failures=failures,
    )


def from_decisions(decisions: Sequence[LabelledDecision], method: Method) -> Material:
    """Gather what is known of labelled decisions.

    Verifications alone: who was found by a search is the most alike of many, which is another
    kind of trial. Who spoke where it was not the person claimed is not known, so people are
    told apart by the claim.

    Raises:
        EmptyTrials: none is labelled as the same person, or none as another.
    """
    usable = [each for each in decisions if each.kind == "verify"]
    same = np.array([each.same for each in usable], dtype=np.bool_)
    _check_both(
        same,
        f"a calibration needs verifications of both kinds, of {len(usable)} labelled ones "
        "no {} one is there",
        "voxprint decisions label NUMBER says whether it was the person claimed",
    )
    claimed = np.array([each.speaker for each in usable], dtype=np.intp)
    return Material(
        "decisions",
        f"{len(usable)} labelled verifications",
        method.logged(usable),
        Who(same, claimed, claimed),
    )


def _check_both(same: Bools, message: str, hint: str) -> None:
    if same.all() or not same.any():
        lacking = "nontarget" if same.any() else "target"
        raise EmptyTrials(message.replace("{}", lacking, 1), hint=hint)


def calibrate(
    material: Material,
    method: Method,
    spec: ModelSpec,
    *,
    current: Mapping[str, Any] | None = None,
    fars: Sequence[float] = FARS,
) -> Calibrated:
    """Fit on all trials; measure by fits on half of the people, tried on the other half.

    Args:
        material: the trials.
        method: the statistics.
        spec: of the encoder whose embeddings were compared.
        current: parameters of the calibration in use; None where the encoder's cosine
            threshold decides.
        fars: false-accept rates to be promised, each in (0, 1).
    Raises:
        UsageError: a rate outside (0, 1), or none.
    """
    if not fars or not all(0.0 < far < 1.0 for far in fars):
        shown = ", ".join(f"{far:g}" for far in fars) or "none"
        raise UsageError(f"false-accept rates lie between 0 and 1, got {shown}")
    halves = _halves(material)
    unseen, after = [], []
    for known, other in halves or [(material, material)]:
        unseen.append(other)
        after.append(method.fit(known.evidence, known.who.same).judge(other.evidence, fars))
    who = _joined_who(unseen)
    return Calibrated(
        parameters=method.fit(material.evidence, material.who.same).parameters,
        model=spec.name,
        spec_hash=spec.hash,
        source=material.source,
        name=material.name,
        n_target=int(material.who.same.sum()),
        n_nontarget=int((~material.who.same).sum()),
        speakers=material.people().size,
        held_out=bool(halves),
        unscored=material.unscored,
        failures=material.failures,
        same=who.same,
        before=_before(unseen, who, method, current, spec.threshold, fars),
        after=Figures.of(_joined(after, fars), who),
        warnings=_warnings(material, bool(halves), fars),
    )


def _halves(material: Material) -> list[tuple[Material, Material]]:
    """(to fit on, to try) twice, with nobody in both; empty where that cannot be.

    Every other person goes to the other half. Trials across them are left out.
    """
    second = material.people()[1::2]
    enrol, test = np.isin(material.who.enrol, second), np.isin(material.who.test, second)
    parts = [material.of(~enrol & ~test), material.of(enrol & test)]
    if any(part.who.same.all() or not part.who.same.any() for part in parts):
        return []
    if any(part.people().size < 2 for part in parts):
        return []
    return [(parts[0], parts[1]), (parts[1], parts[0])]


def _before(
    unseen: Sequence[Material],
    who: Who,
    method: Method,
    current: Mapping[str, Any] | None,
    cosine: float,
    fars: Sequence[float],
) -> Figures:
    """How the same trials are decided now."""
    if current is not None:
        fitted = method.load(current)
        return Figures.of(_joined([fitted.judge(p.evidence, fars) for p in unseen], fars), who)
    scores = np.concatenate([part.evidence.score for part in unseen])
    decided = np.where(scores >= cosine, ACCEPT, REJECT).astype(np.int8)
    return Figures.of(Judgement(scores, dict.fromkeys(fars, decided)), who, are_llrs=False)


def _joined(parts: Sequence[Judgement], fars: Sequence[float]) -> Judgement:
    decisions: dict[float, Decisions] = {
        far: np.concatenate([part.decisions[far] for part in parts]) for far in fars
    }
    return Judgement(np.concatenate([part.llrs for part in parts]), decisions)


def _joined_who(parts: Sequence[Material]) -> Who:
    return Who(
        np.concatenate([part.who.same for part in parts]),
        np.concatenate([part.who.enrol for part in parts]),
        np.concatenate([part.who.test for part in parts]),
    )


def _warnings(material: Material, held_out: bool, fars: Sequence[float]) -> tuple[str, ...]:
    """Why the figures promise less than they seem to, in words."""
    warnings = []
    if not held_out:
        warnings.append(
            f"{material.people().size} speakers cannot be parted into two halves with trials of "
            "both kinds: the figures are of those it was fitted on, and flatter it"
        )
    different = ~material.who.same
    trials = int(different.sum())
    pairs = np.stack([material.who.enrol[different], material.who.test[different]])
    independent = np.unique(np.sort(pairs, axis=0), axis=1).shape[1]
    for far in fars:
        needed = round(RULE_OF_30 / far)
        promise = f"a false-accept rate of {100 * far:g} % can be promised from {needed:,}"
        if trials < needed:
            warnings.append(f"{promise} different-speaker trials on, {trials:,} came")
        elif material.source == "trials" and independent < needed:
            warnings.append(
                f"{promise} different pairs of people on; behind the {trials:,} trials stand "
                f"{independent:,}"
            )
    return tuple(warnings)
