"""What was decided, how often, and how often wrongly: a summary of the decision log.

The counts are SQL's (``voxprint.decision_report``); here they become text, JSON and a picture.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from voxprint.errors import UsageError
from voxprint.score.intervals import Interval, wilson
from voxprint.text import printable, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from voxprint.db.connection import Database

#: What the counts are broken down by, and the heading of each.
FACETS = {
    "day": "day (UTC)",
    "channel": "channel",
    "reason": "reason",
    "target": "target rate",
    "calibration": "calibration",
}
#: For a value that a decision does not have.
_NONE = {
    "channel": "unknown",
    "reason": "(none)",
    "target": "fixed threshold",
    "calibration": "none",
}
#: Okabe and Ito's colours, which most colour-blind people tell apart.
_COLOURS = {"accepted": "#009E73", "inconclusive": "#F0E442", "rejected": "#D55E00"}


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Errors among labelled decisions.

    Attributes:
        errors, trials: counts; an inconclusive answer is a trial and no error.
        rate: errors / trials.
        interval: 95 % Wilson score interval, as if every trial were somebody else's; people
            who come again make it too narrow.
    """

    errors: int
    trials: int
    rate: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Tally:
    """Decisions of one kind that share one value of one facet.

    Attributes:
        kind: ``verify`` or ``identify``.
        facet: ``all`` or one of ``FACETS``.
        value: of the facet; empty where the decisions have none.
        decisions, accepted, rejected, inconclusive: counts.
        targets, targets_rejected: labelled as the same person, and of these rejected.
        nontargets, nontargets_accepted: labelled as another person, and of these accepted.
    """

    kind: str
    facet: str
    value: str
    decisions: int
    accepted: int
    rejected: int
    inconclusive: int
    targets: int
    targets_rejected: int
    nontargets: int
    nontargets_accepted: int

    @property
    def shown(self) -> str:
        """The value, for people."""
        return self.value or _NONE.get(self.facet, "")

    @property
    def false_accepts(self) -> ErrorRate | None:
        """Other people who were accepted; None where nobody was labelled as another."""
        return _error_rate(self.nontargets_accepted, self.nontargets)

    @property
    def false_rejects(self) -> ErrorRate | None:
        """Right people who were rejected; None where nobody was labelled as the same."""
        return _error_rate(self.targets_rejected, self.targets)

    def as_json(self) -> dict[str, Any]:
        """Counts and rates."""
        return {
            "value": self.value,
            "decisions": self.decisions,
            **{
                name: {"count": count, "rate": count / self.decisions}
                for name, count in self._outcomes().items()
            },
            "false_accepts": self.false_accepts,
            "false_rejects": self.false_rejects,
        }

    def _outcomes(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _COLOURS}


@dataclass(frozen=True, slots=True)
class Report:
    """Decisions from ``since`` on, before ``until``; None: without that end.

    Attributes:
        tallies: counts, by kind, facet and value; empty where nothing was recorded.
    """

    since: datetime | None
    until: datetime | None
    tallies: tuple[Tally, ...]

    @property
    def kinds(self) -> list[str]:
        """Which kinds of decisions were recorded."""
        return [tally.kind for tally in self.tallies if tally.facet == "all"]

    def of(self, kind: str, facet: str) -> list[Tally]:
        """The counts of one kind by one facet, by value; reasons by how often they were given."""
        found = [tally for tally in self.tallies if (tally.kind, tally.facet) == (kind, facet)]
        return sorted(found, key=lambda t: -t.decisions) if facet == "reason" else found

    def as_json(self) -> dict[str, Any]:
        """Everything, by kind and facet."""
        return {
            "since": self.since,
            "until": self.until,
            "decisions": {
                kind: {
                    facet: [tally.as_json() for tally in self.of(kind, facet)]
                    for facet in ("all", *FACETS)
                }
                for kind in self.kinds
            },
        }

    def __str__(self) -> str:
        """Tables, for people."""
        if not self.tallies:
            return f"no decision is recorded{self._period()}"
        blocks = []
        for kind in self.kinds:
            (whole,) = self.of(kind, "all")
            blocks.append(f"{kind}: {whole.decisions} decisions{self._period()}")
            blocks += [_counts(FACETS[facet], self.of(kind, facet)) for facet in FACETS]
            blocks.append(_errors([*self.of(kind, "target"), whole]))
        return "\n\n".join(blocks)

    def _period(self) -> str:
        since = f" from {self.since:%Y-%m-%d %H:%M %Z}" if self.since else ""
        until = f" before {self.until:%Y-%m-%d %H:%M %Z}" if self.until else ""
        return since + until

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw outcomes by day, and how often each reason was given, as a PNG file.

        Raises:
            UsageError: nothing was recorded, or the file cannot be written.
            VoxprintError: matplotlib is not installed.
        """
        if not self.tallies:
            raise UsageError(f"a picture needs decisions, and {self}")
        from voxprint.service.plots import needs_matplotlib

        needs_matplotlib()
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 4 * len(self.kinds)), layout="constrained")
        axes = figure.subplots(len(self.kinds), 2, squeeze=False)
        for (by_day, by_reason), kind in zip(axes, self.kinds, strict=True):
            _draw_days(by_day, kind, self.of(kind, "day"))
            _draw_reasons(by_reason, self.of(kind, "reason"))
        try:
            figure.savefig(path, format="png", dpi=120)
        except OSError as error:
            raise UsageError(f"{os.fspath(path)} cannot be written: {error.strerror}") from error


def summarise(database: Database, since: datetime | None, until: datetime | None) -> Report:
    """Count the recorded decisions of a database.

    Raises:
        UsageError: the period ends before it begins.
        DatabaseError: this role may not read the log.
    """
    if since and until and since >= until:
        raise UsageError(f"a period ends after it begins, got {since} to {until}")
    rows = database.rows("SELECT * FROM voxprint.decision_report(%s, %s)", (since, until))
    return Report(since, until, tuple(Tally(**row) for row in rows))


def _error_rate(errors: int, trials: int) -> ErrorRate | None:
    if not trials:
        return None
    return ErrorRate(errors, trials, errors / trials, wilson(errors, trials))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}"


def _counts(heading: str, tallies: list[Tally]) -> str:
    headings = [heading, "decisions", "accept %", "reject %", "inconclusive %"]
    return table(
        headings,
        [
            (
                tally.shown,
                tally.decisions,
                _percent(tally.accepted, tally.decisions),
                _percent(tally.rejected, tally.decisions),
                _percent(tally.inconclusive, tally.decisions),
            )
            for tally in tallies
        ],
    )


def _errors(tallies: list[Tally]) -> str:
    labelled = [tally for tally in tallies if tally.targets or tally.nontargets]
    if not labelled:
        return "no decision is labelled: nobody knows how many were wrong"
    rows = [
        (tally.shown or "all", name, rate.errors, rate.trials, *_shown_rate(rate))
        for tally in labelled
        for name, rate in (
            ("false accepts", tally.false_accepts),
            ("false rejects", tally.false_rejects),
        )
        if rate
    ]
    note = "of labelled decisions; they tell of all only as far as they were picked by chance"
    headings = ["target rate", "errors", "number", "of", "rate %", "95 % interval"]
    return f"{table(headings, rows)}\n{note}"


def _shown_rate(rate: ErrorRate) -> tuple[str, str]:
    low, high = 100 * rate.interval.low, 100 * rate.interval.high
    return f"{100 * rate.rate:.2f}", f"{low:.2f} to {high:.2f}"


def _draw_days(axes: Axes, kind: str, tallies: list[Tally]) -> None:
    days = np.array([tally.value for tally in tallies], dtype="datetime64[D]")
    bottom = [0] * len(tallies)
    for name, colour in _COLOURS.items():
        counts = [getattr(tally, name) for tally in tallies]
        axes.bar(days, counts, bottom=bottom, label=name, color=colour)
        bottom = [a + b for a, b in zip(bottom, counts, strict=True)]
    axes.set_xlim(days[0] - 3, days[-1] + 3)
    axes.tick_params(axis="x", rotation=30)
    axes.set_title(f"{kind} by day (UTC)")
    axes.set_ylabel("decisions")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.35), ncols=3)


def _draw_reasons(axes: Axes, tallies: list[Tally]) -> None:
    names = [printable(tally.shown) for tally in reversed(tallies)]
    axes.barh(names, [tally.decisions for tally in reversed(tallies)], color="#0072B2")
    axes.set_title("reasons given")
    axes.set_xlabel("decisions")
