"""What a calibration changes: figures before and after it, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voxprint.score.estimates import Estimate, LlrRates, Who, estimate_llrs
from voxprint.text import table

if TYPE_CHECKING:
    from voxprint.service.evaluate import Judgement

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """How well trials are decided.

    Attributes:
        values: LLRs, or cosines where ``are_llrs`` is False: shape (n,).
        rates: of them and of the decisions; what is about LLRs means nothing of cosines.
        are_llrs: see there.
    """

    values: Rows
    rates: LlrRates
    are_llrs: bool

    @classmethod
    def of(cls, judged: Judgement, who: Who, *, are_llrs: bool = True) -> Figures:
        """Measure LLRs (or cosines) and decisions."""
        return cls(judged.llrs, estimate_llrs(judged.llrs, who, judged.decisions), are_llrs)

    def cells(self) -> dict[str, str]:
        """The rates for people, by name."""
        rates = self.rates
        shown = {"EER": _percent(rates.eer)}
        if self.are_llrs:
            shown |= {
                "actDCF": f"{rates.act_dcf:.3f}",
                "Cllr": f"{rates.cllr:.3f}",
                "minCllr": f"{rates.min_cllr:.3f}",
            }
        for far, decided in rates.decisions.items():
            own, other = decided.inconclusive_target, decided.inconclusive_nontarget
            at = f"at {100 * far:g} %"
            shown |= {
                f"FAR {at}": _percent(decided.far),
                f"FRR {at}": _percent(decided.frr),
                f"inconclusive {at}": f"{100 * own:.1f} % of own, {100 * other:.1f} % of others",
            }
        return shown

    def to_json(self) -> dict[str, Any]:
        """The rates as plain values; None for what cosines do not have."""
        facts = asdict(self.rates)
        if not self.are_llrs:
            facts |= dict.fromkeys(("act_dcf", "cllr", "min_cllr"))
        return {**facts, "decisions": {f"{far:g}": v for far, v in facts["decisions"].items()}}


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A calibration fitted to trials, and what it changes.

    Attributes:
        parameters: for the database.
        model, spec_hash: the encoder it is for.
        source, name: ``trials`` or ``decisions``, and which.
        n_target, n_nontarget, speakers: what it was fitted on.
        held_out: whether the figures are of people that the fits behind them had not seen.
        unscored: trials left out because a recording gave no embedding.
        failures: such recordings, by reason.
        same: bool, shape (n,), of the trials that the figures are of.
        before, after: the figures.
        warnings: why they promise less than they seem to, in words.
    """

    parameters: dict[str, Any]
    model: str
    spec_hash: str
    source: str
    name: str
    n_target: int
    n_nontarget: int
    speakers: int
    held_out: bool
    unscored: int
    failures: Mapping[str, int]
    same: npt.NDArray[np.bool_]
    before: Figures
    after: Figures
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What was measured, as plain values: the report that is stored beside the parameters."""
        plain = ("source", "name", "n_target", "n_nontarget", "speakers", "held_out", "unscored")
        return {
            **{each: getattr(self, each) for each in plain},
            "failures": dict(self.failures),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "warnings": list(self.warnings),
        }

    def curves(self) -> list[tuple[str, Rows, Rows]]:
        """Name, target and nontarget values of both sides, for a DET plot."""
        sides = (("before", self.before.values), ("after", self.after.values))
        return [(name, values[self.same], values[~self.same]) for name, values in sides]

    def to_text(self) -> str:
        """A table for people."""
        failed = ", ".join(f"{count} {why}" for why, count in self.failures.items())
        lines = [
            f"{self.name}: {self.n_target} same-speaker and {self.n_nontarget} different-speaker "
            f"trials of {self.speakers} people",
            *([f"left out: {self.unscored} trials; not acquired: {failed}"] if failed else []),
            "measured on people not fitted on, in two halves"
            if self.held_out
            else "measured on those fitted on",
            "",
            table(["", "before", "after"], self._rows()),
            "",
            "[95 % interval over speakers]",
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str, str]]:
        old, new = self.before.cells(), self.after.cells()
        return [(name, old.get(name, ""), cell) for name, cell in new.items()]


def _percent(estimate: Estimate) -> str:
    return estimate.percent(whole=True)
