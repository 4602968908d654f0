"""Trial lists: what is to be compared with what, and whether one person speaks.

``voxprint.score.listing`` has the formats. A label is 1 or ``target`` for the same speaker, 0 or
``nontarget`` for different ones. What is compared are names: of one recording each, or of several
where a mapping says so (``voxprint.score.naming``). Paths are relative to a root folder and stay
below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError
from voxprint.score.listing import LABELS, Format, Layout, Line, read_lines
from voxprint.score.naming import Names, Recording

Index = npt.NDArray[np.intp]
Rows = npt.NDArray[np.float64]

#: Columns that say what a trial is; all others describe it.
_STRUCTURE = ("label", "enrol", "test", "side")


@dataclass(frozen=True, slots=True, eq=False)
class TrialList:
    """A checked trial list.

    Attributes:
        name: of the file it was read from.
        format: that it is written in.
        root: folder that the paths are below; None where no recording is wanted.
        names: what the list compares, in order of appearance.
        recordings: the distinct recordings behind the names; empty without a root.
        parts: for each name the rows of ``recordings`` it stands for.
        same: bool, shape (n,), true where one person speaks in both.
        enrol: shape (n,), index into ``names`` of the reference.
        test: shape (n,), index into ``names`` of the probe.
        speaker: shape (len(names),), who speaks, numbered from 0: the folder of a name where
            all labels agree with that; elsewhere the speakers are the sets of names that
            target trials join.
        columns: the list's further columns by name, n values each.
    """

    name: str
    format: Format
    root: Path | None
    names: tuple[str, ...]
    recordings: tuple[Recording, ...]
    parts: tuple[tuple[int, ...], ...]
    same: npt.NDArray[np.bool_]
    enrol: Index
    test: Index
    speaker: Index
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def paths(self) -> list[Path]:
        """Where ``recordings`` lie, in the same order."""
        return [(self.root or Path()) / each.path for each in self.recordings]


def read_trials(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None,
    *,
    given: Format | None = None,
    mappings: Iterable[str | os.PathLike[str]] = (),
) -> TrialList:
    """Read a trial list and check all of it, so that nothing is embedded in vain.

    Args:
        path: the list, UTF-8.
        root: folder that its paths are relative to; None where only its labels are wanted.
        given: its format; None has it recognised.
        mappings: files that lead from names to paths (see ``voxprint.score.naming``).
    Raises:
        EmptyTrials: no trial, or none of the same speaker, or none of different speakers.
        UsageError: a column, label, path or file that is wrong or missing; names the line.
    """
    source = Path(path)
    known = None if root is None else Names(root, mappings)
    layout, lines = read_lines(source, "label", given)
    reader = _Reader(source, layout, known)
    for line in lines:
        reader.add(line)
    return reader.finish()


class _Reader:
    """Collects the lines of a list."""

    def __init__(self, source: Path, layout: Layout, known: Names | None) -> None:
        self._source, self._format, self._known = source, layout.format, known
        self._label_at = layout.columns.index("label")
        self._extra = [name for name in layout.columns if name not in _STRUCTURE]
        self._extra_at = [layout.columns.index(name) for name in self._extra]
        self._names: dict[str, int] = {}
        self._recordings: dict[Recording, int] = {}
        self._parts: list[tuple[int, ...]] = []
        self._same: list[bool] = []
        self._pairs: list[tuple[int, int]] = []
        self._numbers: list[int] = []
        self._others: list[list[str]] = []

    def add(self, line: Line) -> None:
        """Take one line."""
        where = f"{self._source}, line {line.number}"
        self._same.append(_label(line.fields[self._label_at], where))
        enrol, test = self._index(line.enrol, where), self._index(line.test, where)
        if enrol == test or set(self._parts[enrol]) & set(self._parts[test]):
            raise UsageError(f"{where}: a recording against itself: {line.test}")
        self._pairs.append((enrol, test))
        self._numbers.append(line.number)
        self._others.append([line.fields[i] for i in self._extra_at])

    def _index(self, name: str, where: str) -> int:
        index = self._names.get(name)
        if index is None:
            found = () if self._known is None else self._known.recordings(name, where)
            rows = [self._recordings.setdefault(r, len(self._recordings)) for r in found]
            index = self._names[name] = len(self._names)
            self._parts.append(tuple(dict.fromkeys(rows)))
        return index

    def finish(self) -> TrialList:
        """Check what holds of the whole list."""
        _check_both_kinds(self._same, self._source)
        pairs, same = np.array(self._pairs, dtype=np.intp), np.array(self._same)
        names = tuple(self._names)
        speaker = _speakers(names, same, pairs)
        contradicted = ~same & (speaker[pairs[:, 0]] == speaker[pairs[:, 1]])
        if contradicted.any():
            raise UsageError(
                f"{self._source}, line {self._numbers[int(np.argmax(contradicted))]}: different "
                "speakers by its label, but other lines say that these recordings are of one "
                "person"
            )
        values = zip(*self._others, strict=True)
        return TrialList(
            name=self._source.name,
            format=self._format,
            root=None if self._known is None else self._known.root,
            names=names,
            recordings=tuple(self._recordings),
            parts=tuple(self._parts),
            same=same,
            enrol=pairs[:, 0],
            test=pairs[:, 1],
            speaker=speaker,
            columns=dict(zip(self._extra, values, strict=True)) if self._extra else {},
        )


def _label(text: str, where: str) -> bool:
    if text not in LABELS:
        raise UsageError(
            f"{where}: expected label 1 (same speaker) or 0 (different), got {text[:40]!r}"
        )
    return LABELS[text]


def _check_both_kinds(same: list[bool], source: Path) -> None:
    if not same:
        raise EmptyTrials(f"the trial list has a header and no trial: {source}")
    if all(same) or not any(same):
        lacking = "nontarget (label 0)" if all(same) else "target (label 1)"
        raise EmptyTrials(f"the trial list has no {lacking} trial: {source}")


def _speakers(names: tuple[str, ...], same: npt.NDArray[np.bool_], pairs: Index) -> Index:
    _, folder = np.unique([str(PurePosixPath(name).parent) for name in names], return_inverse=True)
    if np.array_equal(folder[pairs[:, 0]] == folder[pairs[:, 1]], same):
        return folder.astype(np.intp)
    return _joined(len(names), pairs[same, 0], pairs[same, 1])


def _joined(n: int, left: Index, right: Index) -> Index:
    """Connected components of n nodes: shape (n,), numbered from 0."""
    leader = np.arange(n)
    while True:
        lowest = np.minimum(leader[left], leader[right])
        before = leader.copy()
        np.minimum.at(leader, left, lowest)
        np.minimum.at(leader, right, lowest)
        leader = leader[leader]
        if np.array_equal(leader, before):
            return np.unique(leader, return_inverse=True)[1].astype(np.intp)
