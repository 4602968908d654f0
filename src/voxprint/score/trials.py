"""Trial lists: which recording is to be compared with which, and whether one person speaks.

Two forms are read. A table, tab separated, with a header that names at least ``label``,
``enrol`` and ``test``; further columns are kept. Or, as VoxCeleb publishes its lists, bare
lines ``label enrol test`` parted by blanks. A label is 1 or ``target`` for the same speaker,
0 or ``nontarget`` for different ones. Paths are relative to a root folder and stay below it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from voxprint.errors import EmptyTrials, UsageError

LABELS = {"1": True, "target": True, "0": False, "nontarget": False}
COLUMNS = ("label", "enrol", "test")

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class TrialList:
    """A checked trial list.

    Attributes:
        name: of the file it was read from.
        root: folder that the paths are below.
        files: the distinct recordings, as written in the list, in order of appearance.
        same: bool, shape (n,), true where one person speaks in both.
        enrol: shape (n,), index into ``files`` of the reference.
        test: shape (n,), index into ``files`` of the probe.
        speaker: shape (len(files),), who speaks in each file, numbered from 0: its folder
            where all labels agree with that; elsewhere the speakers are the sets of files
            that target trials join.
        columns: the list's further columns by name, n values each.
    """

    name: str
    root: Path
    files: tuple[str, ...]
    same: npt.NDArray[np.bool_]
    enrol: Index
    test: Index
    speaker: Index
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def paths(self) -> list[Path]:
        """Where the recordings of ``files`` lie, in the same order."""
        return [self.root / name for name in self.files]


def read_trials(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> TrialList:
    """Read a trial list and check all of it, so that nothing is embedded in vain.

    Args:
        path: the list, UTF-8.
        root: folder that its paths are relative to.
    Raises:
        EmptyTrials: no trial, or none of the same speaker, or none of different speakers.
        UsageError: a column, label, path or file that is wrong or missing; names the line.
    """
    source, folder = Path(path), Path(root)
    if not folder.is_dir():
        raise UsageError(f"the root of the trial list is no folder: {folder}")
    files: dict[str, int] = {}
    same: list[bool] = []
    pairs: list[tuple[int, int]] = []
    numbers: list[int] = []
    others: list[list[str]] = []
    lines = _rows(source)
    header = next(lines)[1]
    extra = [name for name in header if name not in COLUMNS]
    label_at, enrol_at, test_at = (header.index(name) for name in COLUMNS)
    extra_at = [header.index(name) for name in extra]
    real_root = folder.resolve()
    for number, row in lines:
        same.append(_label(row[label_at], source, number))
        enrol, test = row[enrol_at], row[test_at]
        if enrol == test:
            raise UsageError(f"{source}, line {number}: a recording against itself: {enrol}")
        for name in (enrol, test):
            if name not in files:
                _check_file(name, real_root, source, number)
                files[name] = len(files)
        pairs.append((files[enrol], files[test]))
        numbers.append(number)
        others.append([row[i] for i in extra_at])
    _check_both_kinds(same, source)
    index = np.array(pairs, dtype=np.intp)
    labels = np.array(same)
    speaker = _speakers(list(files), labels, index)
    contradicted = ~labels & (speaker[index[:, 0]] == speaker[index[:, 1]])
    if contradicted.any():
        raise UsageError(
            f"{source}, line {numbers[int(np.argmax(contradicted))]}: different speakers by its "
            "label, but other lines say that these recordings are of one person"
        )
    columns = dict(zip(extra, zip(*others, strict=True), strict=True)) if extra else {}
    return TrialList(
        source.name, folder, tuple(files), labels, index[:, 0], index[:, 1], speaker, columns
    )


def _rows(source: Path) -> Iterator[tuple[int, list[str]]]:
    """The header (written or implied), then the rows, with line numbers; blank lines left out."""
    try:
        with source.open(encoding="utf-8-sig") as lines:
            header: list[str] = []
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                if not header:
                    header, tabbed = _header(line, source, number)
                    yield number, header
                    if tabbed:
                        continue
                row = line.rstrip("\n").split("\t") if tabbed else line.split()
                if len(row) != len(header):
                    raise UsageError(
                        f"{source}, line {number}: expected {len(header)} columns "
                        f"({', '.join(header)}), got {len(row)}"
                    )
                yield number, [value.strip() for value in row]
            if not header:
                raise EmptyTrials(f"the trial list is empty: {source}")
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is no UTF-8 text: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read the trial list {source}: {error.strerror}") from error


def _header(line: str, source: Path, number: int) -> tuple[list[str], bool]:
    """Names of the columns, and whether this line is the header of a table."""
    names = [name.strip() for name in line.rstrip("\n").split("\t")]
    bare = line.split()
    if len(bare) == len(COLUMNS) and bare[0] in LABELS:
        return list(COLUMNS), False
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise UsageError(
            f"{source}, line {number}: the header lacks {', '.join(missing)}; "
            f"it names {', '.join(names)}",
            hint="a trial list is tab separated with the columns label, enrol and test, "
            "or has bare lines: label enrol test",
        )
    if len(set(names)) != len(names):
        raise UsageError(f"{source}, line {number}: a column is named twice: {', '.join(names)}")
    return names, True


def _label(text: str, source: Path, number: int) -> bool:
    if text not in LABELS:
        raise UsageError(
            f"{source}, line {number}: expected label 1 (same speaker) or 0 (different), "
            f"got {text[:40]!r}"
        )
    return LABELS[text]


def _check_file(name: str, root: Path, source: Path, number: int) -> None:
    where = f"{source}, line {number}"
    if not name or "\0" in name:
        raise UsageError(f"{where}: expected a path, got {name!r}")
    if PurePosixPath(name).is_absolute() or not (root / name).resolve().is_relative_to(root):
        raise UsageError(
            f"{where}: {name} is not below the root {root}",
            hint="paths of a trial list are relative to --root and stay below it",
        )
    try:
        found = (root / name).is_file()
    except OSError as error:
        raise UsageError(f"{where}: cannot use {name[:200]}: {error.strerror}") from error
    if not found:
        raise UsageError(f"{where}: no such file below {root}: {name}")


def _check_both_kinds(same: list[bool], source: Path) -> None:
    if not same:
        raise EmptyTrials(f"the trial list has a header and no trial: {source}")
    if all(same) or not any(same):
        lacking = "nontarget (label 0)" if all(same) else "target (label 1)"
        raise EmptyTrials(f"the trial list has no {lacking} trial: {source}")


def _speakers(files: list[str], same: npt.NDArray[np.bool_], pairs: Index) -> Index:
    _, folder = np.unique([str(PurePosixPath(f).parent) for f in files], return_inverse=True)
    if np.array_equal(folder[pairs[:, 0]] == folder[pairs[:, 1]], same):
        return folder.astype(np.intp)
    return _joined(len(files), pairs[same, 0], pairs[same, 1])


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
