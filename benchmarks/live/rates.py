"""``python -m benchmarks.live.rates``: decisions on calls that go on, and voices that take over.

Everybody of a fold of speechocean762 is enrolled; every call is claimed by everybody. Pieces are
those that the product's session judges; bounds and change test are ``voxprint.score.sequential``'s,
LLRs those of the calibration that ships (fitted on these people's other recordings, too, so expect
a little more errors on others). Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy import default_corpora
from benchmarks.live.heard import CONDITIONS, Call, Noted, Person, people
from voxprint.encoder.spec import find_model
from voxprint.score.calibration import Calibration
from voxprint.score.evidence import TELEPHONE_HZ, Background, Evidence, cohort_statistics
from voxprint.score.sequential import LEAST_TO_DECIDE, Bounds, ChangeTest
from voxprint.score.shipped import shipped

FAR, FRR = 0.01, 0.05
_WITHIN = 6.0

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def main(arguments: Sequence[str] | None = None) -> None:
    """Hear, judge, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live.rates", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "voxprint-live")
    parser.add_argument("--fold", choices=("A", "B"), default="B")
    parser.add_argument("--people", type=int, default=0, help="the first so many; 0: all")
    given = parser.parse_args(arguments)
    enrolled = people(given.corpora, given.fold, given.work, given.people)
    known = shipped(find_model().name)
    if known is None:
        parser.exit(1, "expected an encoder that a calibration comes with\n")
    judge = _Judge(enrolled, known.calibration, known.background)
    print("\n".join([*_decisions(judge, enrolled), "", *_changes(judge, enrolled)]))


class _Judge:
    """LLRs of pieces against everybody who is enrolled."""

    def __init__(
        self, enrolled: Sequence[Person], calibration: Calibration, background: Background
    ) -> None:
        self._references = np.array([each.reference for each in enrolled])
        self._speech = np.array([each.speech_seconds for each in enrolled])
        self._calibration, self._background = calibration, background

    def llr(self, pieces: Sequence[Noted]) -> Floats:
        """Shape (pieces, people)."""
        n = len(self._references)
        probes = np.array([each.vector for each in pieces], np.float64)
        scores = probes @ self._references.T
        mean, variance, size = cohort_statistics(scores)
        known = self._background
        line = np.array([each.bandwidth_hz < TELEPHONE_HZ for each in pieces], np.float64)
        evidence = Evidence(
            score=scores.ravel(),
            cohort_mean=mean.ravel(),
            cohort_variance=variance.ravel(),
            cohort_size=size.ravel(),
            probe_level=np.repeat(known.level(probes), n),
            probe_spread=np.repeat(known.spread(probes), n),
            reference_level=np.tile(known.level(self._references), len(pieces)),
            probe_speech=np.repeat([each.speech_seconds for each in pieces], n),
            reference_speech=np.tile(self._speech, len(pieces)),
            snr_db=np.repeat([each.snr_db for each in pieces], n),
            telephone=np.repeat(line, n),
        )
        return self._calibration.judge(evidence, FAR).llr.reshape(len(pieces), n)


def _of(enrolled: Sequence[Person], condition: str) -> list[tuple[int, Call]]:
    return [
        (number, call)
        for number, person in enumerate(enrolled)
        for call in person.calls
        if call.condition == condition and call.looks and call.blocks
    ]


def _decisions(judge: _Judge, enrolled: Sequence[Person]) -> list[str]:
    lines = [
        f"{len(enrolled)} people, {FAR:.0%} FAR and {FRR:.0%} FRR asked for.",
        "",
        "| line | calls | FAR | FRR | undecided own / others' | speech to decide, own: median, 95 %"
        " | others' | a fixed length of the same rates | median of own to it |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    bounds = Bounds.of(FAR, FRR, len(enrolled) - 2)
    for condition in CONDITIONS:
        own_rows, all_rows = [], []
        fixed: list[tuple[Floats, Floats, Bools]] = []
        for who, call in _of(enrolled, condition):
            llr = judge.llr(call.looks)
            seconds = np.array([each.speech_seconds for each in call.looks])
            same = np.arange(llr.shape[1]) == who
            decided, at = _sequential(llr, seconds, bounds)
            own_rows.append((decided[who], at[who]))
            all_rows += list(zip(decided[~same], at[~same], strict=True))
            fixed.append((llr, seconds, same))
        own, others = np.array(own_rows), np.array(all_rows)
        length = _fixed(fixed)
        median = float(np.nanmedian(own[:, 1]))
        lines.append(
            f"| {condition} | {len(own)} | {_pc(others[:, 0] > 0)} | {_pc(own[:, 0] < 0)} "
            f"| {_pc(own[:, 0] == 0)} / {_pc(others[:, 0] == 0)} "
            f"| {median:.2f}, {np.nanpercentile(own[:, 1], 95):.2f} s "
            f"| {np.nanmedian(others[:, 1]):.2f}, {np.nanpercentile(others[:, 1], 95):.2f} s "
            f"| {f'{length:.2f} s' if length else 'none reaches them'} "
            f"| {f'{median / length:.2f}' if length else ''} |"
        )
    return lines


def _sequential(llr: Floats, seconds: Floats, bounds: Bounds) -> tuple[Floats, Floats]:
    """1, -1 or 0 for each person, and the speech at which it was decided."""
    decided = np.zeros(llr.shape[1])
    at = np.full(llr.shape[1], np.nan)
    for row, heard in zip(llr, seconds, strict=True):
        if heard < LEAST_TO_DECIDE:
            continue
        for verdict, reached in ((1, row >= bounds.accept), (-1, row <= bounds.reject)):
            new = reached & (decided == 0)
            decided[new], at[new] = verdict, heard
    return decided, at


def _fixed(calls: Sequence[tuple[Floats, Floats, Bools]]) -> float | None:
    """Least speech after which one threshold keeps both rates, in seconds."""
    for length in np.arange(0.4, 8.0, 0.1):
        own, others = [], []
        for llr, seconds, same in calls:
            reached = np.flatnonzero(seconds >= length)
            if len(reached):
                own.append(llr[reached[0]][same])
                others.append(llr[reached[0]][~same])
        if len(own) < len(calls) / 2:
            return None
        threshold = np.quantile(np.concatenate(others), 1 - FAR)
        if np.mean(np.concatenate(own) < threshold) <= FRR:
            return float(length)
    return None


def _changes(judge: _Judge, enrolled: Sequence[Person]) -> list[str]:
    lines = [
        "The person's own blocks, and those of everybody else who takes over:",
        "",
        f"| line | false alarms | of speech | found within {_WITHIN:g} s of new speech "
        "| speech until found, median |",
        "|---|---|---|---|---|",
    ]
    for condition in CONDITIONS:
        alarms, minutes, found, delays = 0, 0.0, [], []
        for who, call in _of(enrolled, condition):
            llr = judge.llr(call.blocks)
            seconds = np.cumsum([each.speech_seconds for each in call.blocks])
            minutes += seconds[-1] / 60
            for person in range(llr.shape[1]):
                alarm = _alarm(llr[:, person])
                if person == who:
                    alarms += alarm is not None
                elif alarm is not None:
                    delays.append(seconds[alarm])
                    found.append(seconds[alarm] <= _WITHIN)
                elif seconds[-1] >= _WITHIN:
                    found.append(False)
        lines.append(
            f"| {condition} | {alarms} | {minutes:.0f} min | {_pc(np.array(found))} "
            f"| {np.median(delays):.1f} s |"
        )
    return lines


def _alarm(llr: Floats) -> int | None:
    test = ChangeTest()
    return next((n for n, value in enumerate(llr) if test.look(float(value))), None)


def _pc(part: npt.NDArray[np.generic]) -> str:
    return f"{100 * float(np.mean(part)):.2f} %"


if __name__ == "__main__":
    main()
