"""Recordings judged by a calibration without a database: the list's own people are the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from voxprint.errors import NotCalibrated, UsageError
from voxprint.score.calibration import Calibration, Judgements
from voxprint.score.estimates import ACCEPT, REJECT
from voxprint.score.evidence import TELEPHONE_HZ, Background, CohortSums, Evidence
from voxprint.score.fitting import refit
from voxprint.score.shipped import calibrated_models, shipped
from voxprint.service.conditions import Side
from voxprint.service.evaluate import Comparisons, Judgement
from voxprint.types import LabelledDecision

if TYPE_CHECKING:
    from voxprint.encoder.spec import ModelSpec

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

#: Recordings that a person of the cohort is known by, at most.
_ENROLLED = 3
#: Probes scored against everybody at once, to bound memory.
_AT_ONCE = 2000
_UNKNOWN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Judging:
    """Scores, the cohort they are seen against, and what follows.

    Attributes:
        calibration: coefficients.
        background: statistics that the coefficients go with.
    """

    calibration: Calibration
    background: Background

    @classmethod
    def shipped(cls, spec: ModelSpec) -> Self:
        """The calibration that comes with voxprint.

        Raises:
            NotCalibrated: it is for another encoder.
        """
        known = shipped(spec.name)
        if known is None:
            raise NotCalibrated(
                f"expected one of the encoders {', '.join(calibrated_models())}, which a "
                f"calibration comes with; got {spec.name}",
                hint="scores of another encoder mean something else",
            )
        if spec.hash != known.spec_hash:
            raise NotCalibrated(
                f"expected {known.model} of spec {known.spec_hash[:12]}, which the shipped "
                f"calibration is for; got spec {spec.hash[:12]}",
                hint="scores of another encoder mean something else",
            )
        return cls(known.calibration, known.background)

    @property
    def parameters(self) -> dict[str, Any]:
        """The coefficients as the database stores them."""
        return self.calibration.to_json()

    def load(self, parameters: Mapping[str, Any]) -> Judging:
        """Other coefficients over the same background.

        Raises:
            UsageError: they are not those of a calibration.
        """
        return Judging(Calibration.from_json(dict(parameters)), self.background)

    def evidence(self, trials: Comparisons) -> Evidence:
        """What is known of compared recordings; the cohort is everybody else of the list."""
        people, prints = _prints(trials)
        probes, at = np.unique(trials.test_at, return_inverse=True)
        claimed = trials.speaker[trials.enrol_at]
        column = np.searchsorted(people, claimed)
        probe, reference = trials.test.unit[trials.test_at], trials.enrol.unit[trials.enrol_at]
        own = np.einsum("ij,ij->i", probe, prints[column])
        mean, variance, size = _sums(trials.test.unit[probes], prints).without(own, at)
        return Evidence(
            score=trials.scores,
            cohort_mean=mean,
            cohort_variance=variance,
            cohort_size=size,
            probe_level=self.background.level(probe),
            probe_spread=self.background.spread(probe),
            reference_level=self.background.level(reference),
            probe_speech=trials.test.speech_seconds[trials.test_at],
            reference_speech=trials.enrol.speech_seconds[trials.enrol_at],
            snr_db=_facts(trials.test, "snr_db")[trials.test_at],
            telephone=_telephone(trials.test)[trials.test_at],
        )

    def logged(self, decisions: Sequence[LabelledDecision]) -> Evidence:
        """What the database recorded of decisions.

        Raises:
            UsageError: one of them has no features.
        """
        names = [each.name for each in fields(Evidence)]
        rows = [_logged(decision, names) for decision in decisions]
        columns = np.array(rows, dtype=np.float64).reshape(-1, len(names)).T
        return Evidence(**dict(zip(names, columns, strict=True)))

    def fit(self, evidence: Evidence, same: npt.NDArray[np.bool_]) -> Judging:
        """Move to these trials, as :func:`voxprint.score.fitting.refit` does."""
        moved = refit(self.calibration, evidence, same, np.ones(len(evidence)))
        return Judging(moved, self.background)

    def judge(self, evidence: Evidence, fars: Sequence[float]) -> Judgement:
        """LLRs, and the decisions at each rate."""
        judged = {far: self.calibration.judge(evidence, far) for far in fars}
        return Judgement(
            next(iter(judged.values())).llr,
            {far: _decisions(each) for far, each in judged.items()},
        )

    def judge_trials(self, fars: Sequence[float], trials: Comparisons) -> Judgement:
        """The same of compared recordings."""
        return self.judge(self.evidence(trials), fars)


def _decisions(judged: Judgements) -> npt.NDArray[np.int8]:
    return np.where(judged.accepted, ACCEPT, np.where(judged.rejected, REJECT, 0)).astype(np.int8)


def _logged(decision: LabelledDecision, names: Sequence[str]) -> list[float]:
    missing = [name for name in names if name not in decision.features]
    if missing:
        raise UsageError(
            f"decision {decision.decision_id} was recorded without {', '.join(missing)}",
            hint="decisions made without a calibration cannot be used",
        )
    values = (decision.features[name] for name in names)
    return [_UNKNOWN if value is None else float(value) for value in values]


def _prints(trials: Comparisons) -> tuple[Index, Floats]:
    """Voiceprints of the people on the enrolment side, by their numbers in order."""
    wanted: dict[int, list[int]] = {}
    for name in np.unique(trials.enrol_at).tolist():
        mine = wanted.setdefault(int(trials.speaker[name]), [])
        if len(mine) < _ENROLLED:
            mine.append(name)
    people = np.array(sorted(wanted), dtype=np.intp)
    prints = np.stack([trials.enrol.unit[wanted[int(person)]].mean(axis=0) for person in people])
    return people, prints / np.linalg.norm(prints, axis=1, keepdims=True)


def _sums(probes: Floats, prints: Floats) -> CohortSums:
    return CohortSums.joined(
        [
            CohortSums.of(probes[start : start + _AT_ONCE] @ prints.T)
            for start in range(0, len(probes), _AT_ONCE)
        ]
    )


def _facts(side: Side, name: str) -> Floats:
    """One fact about the recordings of every name: their mean, NaN where it is not known."""
    known = (
        [facts[name] for facts in all_ if facts.get(name) is not None] for all_ in side.quality
    )
    return np.array([float(np.mean(values)) if values else _UNKNOWN for values in known])


def _telephone(side: Side) -> Floats:
    return (_facts(side, "bandwidth_hz") < TELEPHONE_HZ).astype(np.float64)
