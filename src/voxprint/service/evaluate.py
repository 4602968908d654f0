"""Measure an encoder on a trial list: every recording embedded once, every trial scored once.

Recordings that give no embedding are counted beside the error rates, and their trials are
left out: a failure to acquire has no score.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxprint.errors import AudioError, EmptyTrials, FailureToAcquire
from voxprint.score.estimates import P_TARGET, Rates, estimate_rates
from voxprint.score.metrics import OperatingPoint, at_threshold
from voxprint.score.trials import TrialList, read_trials

if TYPE_CHECKING:
    from voxprint.encoder.embedder import Encoder
    from voxprint.encoder.spec import ModelSpec

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An encoder on a trial list.

    Attributes:
        trials: name of the list.
        model: name of the encoder; ``spec_hash`` says which one exactly.
        files, speakers: distinct recordings and people in the list.
        failures: recordings without an embedding, by reason.
        unscored_target, unscored_nontarget: trials that such a recording takes part in.
        rates: of the trials scored.
        at_default: both error rates at the encoder's own threshold.
    """

    trials: str
    model: str
    spec_hash: str
    files: int
    speakers: int
    failures: dict[str, int]
    unscored_target: int
    unscored_nontarget: int
    rates: Rates
    at_default: OperatingPoint

    def to_json(self) -> dict[str, Any]:
        """The same as plain values for ``json.dumps``, without nesting ``rates``."""
        facts = asdict(self)
        rates = facts.pop("rates")
        rates["frr_at_far"] = {f"{far:g}": value for far, value in rates["frr_at_far"].items()}
        return {**facts, **rates}

    def to_text(self) -> str:
        """A table for people."""
        failed = ", ".join(f"{count} {why}" for why, count in self.failures.items())
        rates, default = self.rates, self.at_default
        rows = {
            "trial list": f"{self.trials} ({self.files} recordings, {self.speakers} speakers)",
            "encoder": f"{self.model}, spec {self.spec_hash[:12]}",
            "trials scored": f"{rates.n_target} same speaker, {rates.n_nontarget} different",
            "not scored": f"{self.unscored_target} same speaker, {self.unscored_nontarget} "
            f"different; recordings not acquired: {failed or 'none'}",
            "EER (ROC convex hull)": rates.eer.percent(),
            f"minDCF (P_target {P_TARGET:g})": rates.min_dcf.plain(),
            **{
                f"FRR at FAR {100 * far:g} %": estimate.percent()
                for far, estimate in rates.frr_at_far.items()
            },
            f"at threshold {default.threshold:g}": f"FRR {100 * default.p_miss:.2f} %, "
            f"FAR {100 * default.p_fa:.2f} %",
        }
        width = max(map(len, rows))
        lines = [f"{name.ljust(width)}  {value}" for name, value in rows.items()]
        if any("[" in line for line in lines):
            lines.append("[95 % interval over speakers, where a rate rests on under 30 errors]")
        return "\n".join(lines)


def evaluate(
    trials_path: str | os.PathLike[str],
    root: str | os.PathLike[str],
    encoder: Encoder,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Embed the recordings of a trial list, score its trials by cosine, and sum up.

    Args:
        trials_path: the list; see ``voxprint.score.trials``.
        root: folder that its paths are below.
        encoder: what embeds.
        progress: called with recordings done and their total, after each.
    Raises:
        EmptyTrials: no target or no nontarget trial is left to score.
        UsageError: the list is wrong; nothing has been embedded then.
    """
    trials = read_trials(trials_path, root)
    vectors = np.full((len(trials.files), encoder.spec.dim), np.nan)
    failures: Counter[str] = Counter()
    for i, (_, outcome) in enumerate(encoder.embed_files(trials.paths())):
        if isinstance(outcome, AudioError):
            failures[reason(outcome)] += 1
        else:
            vectors[i] = outcome.vector
        if progress is not None:
            progress(i + 1, len(trials.files))
    return summarise(trials, vectors, dict(failures), encoder.spec)


def summarise(
    trials: TrialList, vectors: Rows, failures: dict[str, int], spec: ModelSpec
) -> Evaluation:
    """Score the trials of embedded recordings and measure.

    Args:
        trials: the list.
        vectors: shape (files, dim), unit rows, NaN for a failure to acquire.
        failures: number of those by reason.
        spec: of the encoder.
    Raises:
        EmptyTrials: no target or no nontarget trial is left to score.
    """
    scores = cosines(vectors, trials.enrol, trials.test)
    scored = np.isfinite(scores)
    same, scores = trials.same[scored], scores[scored]
    if same.all() or not same.any():
        raise EmptyTrials(
            f"no {'nontarget' if same.any() else 'target'} trial of {trials.name} can be scored: "
            f"{sum(failures.values())} of {len(trials.files)} recordings gave no embedding",
            hint="reasons: " + ", ".join(f"{count} {why}" for why, count in failures.items()),
        )
    speaker = trials.speaker
    rates = estimate_rates(
        scores, same, speaker[trials.enrol[scored]], speaker[trials.test[scored]]
    )
    return Evaluation(
        trials=trials.name,
        model=spec.name,
        spec_hash=spec.hash,
        files=len(trials.files),
        speakers=int(speaker.max()) + 1,
        failures=failures,
        unscored_target=int(trials.same.sum()) - rates.n_target,
        unscored_nontarget=int((~trials.same).sum()) - rates.n_nontarget,
        rates=rates,
        at_default=at_threshold(scores[same], scores[~same], spec.threshold),
    )


def cosines(vectors: Rows, enrol: npt.NDArray[np.intp], test: npt.NDArray[np.intp]) -> Rows:
    """Cosine of each trial, shape (n,): inner product of unit rows; NaN where one is missing.

    Args:
        vectors: shape (files, dim), unit rows or NaN.
        enrol, test: shape (n,), rows of ``vectors``.
    """
    scores = np.empty(enrol.size)
    step = 1 << 16  # bounds memory: 200 MB for 192 dimensions
    for start in range(0, enrol.size, step):
        part = slice(start, start + step)
        scores[part] = np.einsum("ij,ij->i", vectors[enrol[part]], vectors[test[part]])
    return scores


def reason(error: AudioError) -> str:
    """Why a recording could not be acquired, in one word."""
    return (error.reason if isinstance(error, FailureToAcquire) else "") or error.code
