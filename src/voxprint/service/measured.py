"""What an evaluation found, as a table for people, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from voxprint.score.estimates import P_TARGET, LlrRates, Rates
from voxprint.score.metrics import OperatingPoint
from voxprint.score.scorefile import ScoredTrials
from voxprint.service.galleries import GalleryResult
from voxprint.text import printable, table

_FOOTNOTE = (
    "[95 % interval over speakers: beside every EER, and where a rate rests on fewer than 30 "
    "misses or false accepts]"
)


@dataclass(frozen=True, slots=True)
class Result:
    """One condition, for the whole list or one part of it.

    Attributes:
        condition: what the recordings were put through; empty where a score file names none.
        column, value: the part of the list; None for all of it.
        failures: recordings without an embedding, by reason; for the whole list only.
        unscored_target, unscored_nontarget: trials without a score.
        rates: None where no target or no nontarget trial has a score.
        at_default: both error rates at the encoder's own cosine threshold, where there is one.
        llr: where LLRs are given.
    """

    condition: str
    column: str | None
    value: str | None
    failures: dict[str, int]
    unscored_target: int
    unscored_nontarget: int
    rates: Rates | None = None
    at_default: OperatingPoint | None = None
    llr: LlrRates | None = None

    def with_rates(
        self, rates: Rates, at_default: OperatingPoint | None, llr: LlrRates | None
    ) -> Result:
        """The same, measured."""
        return replace(self, rates=rates, at_default=at_default, llr=llr)

    def failed(self) -> str:
        """Failures to acquire, for people."""
        return ", ".join(f"{count} {why}" for why, count in self.failures.items())

    def to_json(self) -> dict[str, Any]:
        """Plain values, ``rates`` not nested."""
        facts = asdict(self)
        rates = facts.pop("rates") or {"n_target": 0, "n_nontarget": 0}
        _name_rates(rates, "frr_at_far")
        if facts["llr"]:
            _name_rates(facts["llr"], "decisions")
        return {**facts, **rates}

    def cells(self) -> dict[str, str]:
        """What stands in the row of a table, by heading."""
        unscored = f"{self.unscored_target + self.unscored_nontarget}"
        if self.failures:
            unscored += f" ({self.failed()})"
        cells = {"condition": self.condition or "-"}
        cells |= {"part": f"{self.column}={self.value}" if self.column else "all"}
        if self.rates is None:
            return {**cells, "same / different": "no rate: one kind of trial", "not scored": "-"}
        rates = self.rates
        cells |= {
            "same / different": f"{rates.n_target} / {rates.n_nontarget}",
            "not scored": unscored,
            "EER": rates.eer.percent(whole=True),
            f"minDCF ({P_TARGET:g})": rates.min_dcf.plain(),
            **{f"FRR at FAR {_percent(far)}": e.percent() for far, e in rates.frr_at_far.items()},
        }
        if self.at_default is not None:
            at = self.at_default
            cells[f"FRR / FAR at {at.threshold:g}"] = (
                f"{100 * at.p_miss:.2f} % / {100 * at.p_fa:.2f} %"
            )
        return cells | (_llr_cells(self.llr) if self.llr is not None else {})


def _llr_cells(llr: LlrRates) -> dict[str, str]:
    cells = {
        "EER of LLRs": llr.eer.percent(whole=True),
        f"actDCF ({P_TARGET:g})": f"{llr.act_dcf:.4f} (min {llr.min_dcf:.4f})",
        "Cllr": f"{llr.cllr:.4f} (min {llr.min_cllr:.4f})",
    }
    for far, made in llr.decisions.items():
        target = f"target FAR {_percent(far)}: "
        undecided = f"{100 * made.inconclusive_target:.2f} % / "
        undecided += f"{100 * made.inconclusive_nontarget:.2f} %"
        cells[f"{target}FAR"] = made.far.percent()
        cells[f"{target}FRR"] = made.frr.percent()
        cells[f"{target}inconclusive same / different"] = undecided
    return cells


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All that was measured.

    Attributes:
        trials: name of the list.
        model: name of the encoder; ``spec_hash`` says which one exactly. None for score files.
        threshold: the encoder's own, as a cosine.
        recordings, speakers: distinct recordings (in a score file: names) and people.
        degraded: side heard under the condition, ``test`` or ``both``.
        results: by condition, the whole list first, then its parts.
        galleries: open-set searches, by condition and size.
        scored: the scores themselves, by condition.
        same: shape (n,), labels of the trials.
    """

    trials: str
    model: str | None
    spec_hash: str | None
    threshold: float | None
    recordings: int
    speakers: int
    degraded: str | None
    results: tuple[Result, ...]
    galleries: tuple[GalleryResult, ...]
    scored: tuple[ScoredTrials, ...]
    same: npt.NDArray[np.bool_]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``, without the single scores.

        The first result, of the whole list under the first condition, stands at the top, too:
        most evaluations have no other.
        """
        galleries = [asdict(each) for each in self.galleries]
        for each in galleries:
            _name_rates(each, "fnir_at_fpir")
        results = [each.to_json() for each in self.results]
        return {
            **results[0],
            "trials": self.trials,
            "model": self.model,
            "spec_hash": self.spec_hash,
            "threshold": self.threshold,
            "files": self.recordings,
            "speakers": self.speakers,
            "degraded": self.degraded,
            "results": results,
            "galleries": galleries,
        }

    def to_text(self) -> str:
        """Tables for people."""
        lines = [f"{name.ljust(10)}  {value}" for name, value in self._about().items()]
        headings, rows = self._results()
        if len(rows) == 1:
            width = max(map(len, headings))
            lines += [
                "",
                *(
                    f"{head.ljust(width)}  {printable(cell)}"
                    for head, cell in zip(headings, rows[0], strict=True)
                ),
            ]
        else:
            lines += ["", table(headings, rows)]
        if self.galleries:
            lines += ["", table(*self._galleries())]
        return "\n".join([*lines, "", _FOOTNOTE])

    def to_markdown(self) -> str:
        """The same as Markdown."""
        lines = [f"- {name}: {_escaped(value)}" for name, value in self._about().items()]
        lines += ["", *_markdown(*self._results())]
        if self.galleries:
            lines += ["", *_markdown(*self._galleries())]
        return "\n".join([*lines, "", _escaped(_FOOTNOTE), ""])

    def _about(self) -> dict[str, str]:
        about = {"trial list": f"{self.trials}, {self.speakers} speakers"}
        if self.model is not None:
            about["trial list"] += f", {self.recordings} recordings"
            about["encoder"] = f"{self.model}, spec {(self.spec_hash or '')[:12]}"
            side = {"test": "the test side", "both": "both sides"}[self.degraded or "test"]
            about["condition"] = f"heard on {side}"
        return about

    def _results(self) -> tuple[list[str], list[list[str]]]:
        cells = [each.cells() for each in self.results]
        headings = list(dict.fromkeys(name for row in cells for name in row))
        if all(each.column is None for each in self.results):
            headings.remove("part")
        if all(not each.condition for each in self.results):
            headings.remove("condition")
        return headings, [[row.get(name, "-") for name in headings] for row in cells]

    def _galleries(self) -> tuple[list[str], list[list[str]]]:
        rates = list(self.galleries[0].fnir_at_fpir)
        headings = ["condition", "N", "searches mated / non-mated", "first"]
        headings += [f"FNIR(N, 1) at FPIR(N) {_percent(rate)}" for rate in rates]
        rows = [
            [
                each.condition,
                f"{each.gallery}",
                f"{each.mated} / {each.nonmated}",
                f"{100 * each.first:.2f} %",
                *(estimate.percent(whole=True) for estimate in each.fnir_at_fpir.values()),
            ]
            for each in self.galleries
        ]
        return headings, rows


def _name_rates(facts: dict[str, Any], name: str) -> None:
    """JSON has no numbers for keys."""
    facts[name] = {f"{rate:g}": value for rate, value in facts.get(name, {}).items()}


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *([_escaped(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
