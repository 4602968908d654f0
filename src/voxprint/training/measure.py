"""Teacher and student on trial lists, clean and damaged, quickly: all embeddings in few batches.

References are whole and clean, probes are damaged. Only speakers count that the student was not
trained on. The figures that decide about a release come from the product itself
(``benchmarks``); these come minutes earlier.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from voxprint.score.metrics import InvertedScores, eer, min_dcf
from voxprint.score.trials import TrialList, read_trials
from voxprint.training.corpus import people
from voxprint.training.probes import Probes

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
_FRAMES_AT_ONCE = 80_000
#: Frames that are left out at the end so that utterances of nearly one length go together.
_GRID = 4


@dataclass(frozen=True)
class Trials:
    """One list, as far as it counts.

    Attributes:
        name: of the list.
        enrol, test: paths below the speech folder, n of each.
        same: bool, shape (n,).
    """

    name: str
    enrol: list[str]
    test: list[str]
    same: Bools


def read_lists(
    corpora: Path, lists: Iterable[str], fold: str | None, most: int = 0
) -> list[Trials]:
    """Trial lists of the corpora, of which a trial counts when both speakers are in ``fold``.

    Args:
        corpora: folder of the corpora.
        lists: names of lists; those without both kinds of trials in this fold are left out.
        fold: ``A`` or ``B``; None for all trials.
        most: trials of each kind, the first so many; 0 for all.

    Raises:
        UsageError: no such list, or it names a recording or a speaker that is not there.
    """
    folds = {f"{row['set']}/{row['speaker']}": row["fold"] for row in people(corpora)}
    out = []
    for name in lists:
        whole = _whole_list(corpora / "trials" / f"{name}.tsv", corpora / "speech")
        inside = np.array(
            [fold is None or folds.get(each.rpartition("/")[0]) == fold for each in whole.names]
        )
        kept = inside[whole.enrol] & inside[whole.test]
        if most:
            for kind in (whole.same, ~whole.same):
                kept &= ~(kind & kept & (np.cumsum(kind & kept) > most))
        rows = np.flatnonzero(kept)
        same = whole.same[rows]
        if same.any() and not same.all():
            enrol = [whole.names[i] for i in whole.enrol[rows]]
            out.append(Trials(name, enrol, [whole.names[i] for i in whole.test[rows]], same))
    return out


@lru_cache(maxsize=32)
def _whole_list(path: Path, speech: Path) -> TrialList:
    return read_trials(path, speech)


def equal_lengths(
    probes: Probes, names: Sequence[str], frames_at_once: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float16]]]:
    """Features of probes in batches that a network takes: those of nearly one length together.

    Up to three frames are left out at the end, and all of what has less than two.

    Args:
        probes: made to the end.
        names: which of them; all are held in memory.
        frames_at_once: of a batch; one probe that is longer is a batch of its own.

    Yields:
        int, shape (k, 2), positions in ``names`` and in the conditions; and float16, shape (k,
        frames, bins), whose mean over time is to be taken off again.
    """
    groups: dict[int, list[tuple[int, int, npt.NDArray[np.float16]]]] = defaultdict(list)
    for i, name in enumerate(names):
        for j, rows in enumerate(probes.read(name)):
            if rows is not None and len(rows) >= 2:
                count = max(len(rows) // _GRID * _GRID, min(len(rows), 2))
                groups[count].append((i, j, rows[:count]))
    for count, members in sorted(groups.items()):
        at_once = max(1, frames_at_once // count)
        for first in range(0, len(members), at_once):
            some = members[first : first + at_once]
            yield np.array([(i, j) for i, j, _ in some]), np.stack([r for _, _, r in some])


class Heard:
    """Features of all probes on the device, ordered so that equal lengths lie together.

    Args:
        probes: made to the end.
        device: where the networks run.
    """

    def __init__(self, probes: Probes, device: torch.device) -> None:
        self.names = {name: i for i, name in enumerate(probes.names)}
        self.conditions = probes.conditions
        self._device = device
        self._batches = [
            (torch.from_numpy(where).to(device), torch.from_numpy(rows).to(device))
            for where, rows in equal_lengths(probes, probes.names, _FRAMES_AT_ONCE)
        ]

    @torch.no_grad()
    def embed(self, network: nn.Module) -> Floats:
        """Unit embeddings, shape (conditions, names, dim); NaN where there were no features."""
        out: torch.Tensor | None = None
        for where, rows in self._batches:
            wide = rows.float()
            vectors = network(wide - wide.mean(1, keepdim=True)).float()
            if out is None:
                shape = (len(self.conditions), len(self.names), vectors.shape[1])
                out = torch.full(shape, float("nan"), device=self._device)
            out[where[:, 1], where[:, 0]] = functional.normalize(vectors)
        assert out is not None  # noqa: S101 - trial lists are never empty
        return np.asarray(out.cpu().numpy(), np.float32)


def cosines(
    trials: Trials, rows: Mapping[str, int], enrolled: Floats, probed: Floats
) -> npt.NDArray[np.float64]:
    """Scores of a list, shape (n,); NaN where one side could not be heard.

    Args:
        trials: which.
        rows: of each recording, by name.
        enrolled, probed: unit embeddings of the references and of the probes, shape
            (recordings, dim).
    """
    references = enrolled[[rows[name] for name in trials.enrol]].astype(np.float64)
    return np.einsum("nd,nd->n", references, probed[[rows[name] for name in trials.test]])


def rates(
    trials: Trials, heard: Heard, enrolled: Floats, probed: Floats, condition: str
) -> dict[str, float | None]:
    """EER in percent and minDCF of one list, references clean and whole.

    Both are None where no trial of one kind is left: none of its probes could be heard.

    Args:
        trials: which.
        heard: names and conditions of the embeddings.
        enrolled: of the network that made the references.
        probed: of the network that hears the probes.
        condition: of the probes.
    """
    clean, damaged = heard.conditions.index("full"), heard.conditions.index(condition)
    scores = cosines(trials, heard.names, enrolled[clean], probed[damaged])
    known = np.isfinite(scores)
    target, nontarget = scores[known & trials.same], scores[known & ~trials.same]
    measurable = len(target) > 0 and len(nontarget) > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InvertedScores)
        return {
            "eer": 100 * eer(target, nontarget) if measurable else None,
            "min_dcf": min_dcf(target, nontarget).cost if measurable else None,
            "targets": len(target),
            "nontargets": len(nontarget),
            "failed": int((~known).sum()),
        }


def compare(
    trials: Sequence[Trials],
    heard: Heard,
    teacher: Floats,
    students: dict[str, Floats],
    *,
    one_space: bool = True,
) -> list[dict[str, Any]]:
    """One row a list and condition: the teacher, and each student with itself and with it.

    Args:
        trials: lists.
        heard: what was embedded.
        teacher: its embeddings.
        students: theirs, by name.
        one_space: they were asked to stay in the teacher's; of others, there are no rows with it.
    """
    rows: list[dict[str, Any]] = []
    for each in trials:
        for condition in heard.conditions:
            row: dict[str, Any] = {"list": each.name, "condition": condition}
            row["teacher"] = rates(each, heard, teacher, teacher, condition)
            for name, vectors in students.items():
                row[name] = rates(each, heard, vectors, vectors, condition)
                if one_space:
                    row[f"{name} on teacher"] = rates(each, heard, teacher, vectors, condition)
            rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]], student: str, figure: str = "eer") -> list[str]:
    """Lines: a list a row, a condition a column, teacher > student (relative change)."""
    lists = list(dict.fromkeys(row["list"] for row in rows))
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    found = {(row["list"], row["condition"]): row for row in rows}
    lines = [f"{student}: {figure}".ljust(24) + "".join(c.rjust(19) for c in conditions)]
    sums: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name in lists:
        cells = []
        for condition in conditions:
            row = found[name, condition]
            before, after = row["teacher"][figure], row[student][figure]
            if before is not None and after is not None:
                sums[condition].append((before, after))
            cells.append(_cell(before, after))
        lines.append(name.ljust(24) + "".join(cells))
    means = [np.mean(sums[c], axis=0) if sums[c] else (None, None) for c in conditions]
    lines.append("mean".ljust(24) + "".join(_cell(b, a) for b, a in means))
    return lines


def _cell(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return "-".rjust(19)
    change = 100 * (after / before - 1) if before else 0.0
    return f"{before:.2f}>{after:.2f} {change:+.0f}%".rjust(19)
