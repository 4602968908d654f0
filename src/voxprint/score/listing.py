"""The lines of trial lists and score files, whichever way they are written.

``tsv``
    A table, tab separated, with a header that names ``enrol``, ``test`` and what is wanted:
    ``label``, or ``score`` and perhaps ``llr``. Further columns are kept.
``voxceleb``
    Bare lines ``label enrol test`` parted by blanks, as VoxCeleb publishes its lists.
``kaldi``
    Bare lines ``speaker utterance target|nontarget``, and scores ``speaker utterance score``,
    as the recipes egs/sre16/v2 and egs/voxceleb/v2 of Kaldi read and write them.
``nist``
    A table with the header ``modelid segmentid side`` and ``targettype`` (in the key) or ``LLR``
    (in a system's output), as the NIST SRE18 evaluation plan has it (SRE16 says ``segment``); or
    bare lines ``modelid segmentid [side] LLR|target|nontarget``, as before. Side ``b`` of a
    segment, its second channel, is written ``segment:b`` here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from voxprint.errors import EmptyTrials, UsageError

Format = Literal["tsv", "voxceleb", "kaldi", "nist"]
Wanted = Literal["label", "score"]

FORMATS: tuple[Format, ...] = get_args(Format)
LABELS = {"1": True, "target": True, "0": False, "nontarget": False}

_WORDS = ("target", "nontarget")
_SIDES = ("a", "b", "A", "B")
#: NIST's names of columns -> ours.
_NIST = {
    "modelid": "enrol",
    "segmentid": "test",
    "segment": "test",
    "side": "side",
    "targettype": "label",
    "LLR": "llr",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of one file are cut.

    Attributes:
        format: of the file.
        columns: ``enrol``, ``test``, ``side``, ``label``, ``score``, ``llr`` or a name of the
            file's own, in the order of the file.
        tabbed: a table with a header; else bare lines parted by blanks.
    """

    format: Format
    columns: tuple[str, ...]
    tabbed: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line: where it stands, the two sides compared, and all its fields by column."""

    number: int
    enrol: str
    test: str
    fields: tuple[str, ...]


def read_lines(
    path: str | os.PathLike[str], wanted: Wanted, given: Format | None = None
) -> tuple[Layout, Iterator[Line]]:
    """Recognise a file by its first line, and cut all of it into fields.

    Args:
        path: UTF-8 text.
        wanted: what is looked for beside the two sides.
        given: the format; None has it recognised.

    Returns:
        The layout, and the lines after a header; blank ones are left out.

    Raises:
        EmptyTrials: nothing is in the file.
        UsageError: it cannot be read, is no such list, or (later) a line has too few fields.
    """
    source = Path(path)
    texts = _texts(source, "trial list" if wanted == "label" else "score file")
    first = next(texts, None)
    if first is None:
        raise EmptyTrials(f"the list is empty: {source}")
    layout = _layout(first[1], wanted, given, f"{source}, line {first[0]}")
    if not layout.tabbed:
        return layout, _cut(source, layout, first, texts)
    return layout, _cut(source, layout, None, texts)


def _texts(source: Path, kind: str) -> Iterator[tuple[int, str]]:
    try:
        with source.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is no UTF-8 text: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read the {kind} {source}: {error.strerror}") from error


def _cut(
    source: Path,
    layout: Layout,
    first: tuple[int, str] | None,
    texts: Iterator[tuple[int, str]],
) -> Iterator[Line]:
    columns = layout.columns
    enrol, test = columns.index("enrol"), columns.index("test")
    side = columns.index("side") if "side" in columns else None
    for number, text in texts if first is None else _chained(first, texts):
        row = text.split("\t") if layout.tabbed else text.split()
        if len(row) != len(columns):
            raise UsageError(
                f"{source}, line {number}: expected {len(columns)} columns "
                f"({', '.join(columns)}), got {len(row)}"
            )
        row = [value.strip() for value in row]
        segment = row[test]
        if side is not None:
            segment = _with_side(segment, row[side], f"{source}, line {number}")
        yield Line(number, row[enrol], segment, tuple(row))


def _chained(first: tuple[int, str], texts: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from texts


def _with_side(segment: str, side: str, where: str) -> str:
    if side not in ("", *_SIDES):
        raise UsageError(f"{where}: expected side a or b, got {side[:40]!r}")
    return f"{segment}:b" if side in ("b", "B") else segment


def _layout(text: str, wanted: Wanted, given: Format | None, where: str) -> Layout:
    names = [name.strip() for name in text.split("\t")]
    found: Layout | None
    if "modelid" in names:
        found = Layout("nist", tuple(_NIST.get(name, name) for name in names), tabbed=True)
    elif given == "nist":
        found = _bare_nist(text.split(), wanted)
    else:
        found = (
            _bare(text.split(), wanted, given)
            or _bare_nist(text.split(), wanted)
            or Layout("tsv", tuple(names), tabbed=True)
        )
    if found is None or given not in (None, found.format):
        raise UsageError(
            f"{where}: expected the format {given}, got {text[:80]!r}", hint=_hint(wanted)
        )
    if found.tabbed:
        _check_columns(found.columns, wanted, where)
    return found


def _bare(row: list[str], wanted: Wanted, given: Format | None) -> Layout | None:
    if len(row) != 3 or given == "tsv":
        return None
    if wanted == "score":
        return Layout("kaldi", ("enrol", "test", "score"), tabbed=False) if _number(row) else None
    if row[2] in _WORDS and given != "voxceleb":
        return Layout("kaldi", ("enrol", "test", "label"), tabbed=False)
    if row[0] in LABELS:
        return Layout("voxceleb", ("label", "enrol", "test"), tabbed=False)
    return None


def _bare_nist(row: list[str], wanted: Wanted) -> Layout | None:
    last = _number(row) if wanted == "score" else bool(row) and row[-1] in _WORDS
    name = "llr" if wanted == "score" else "label"
    if last and len(row) == 3:
        return Layout("nist", ("enrol", "test", name), tabbed=False)
    if last and len(row) == 4 and row[2] in _SIDES:
        return Layout("nist", ("enrol", "test", "side", name), tabbed=False)
    return None


def _number(row: list[str]) -> bool:
    try:
        float(row[-1])
    except (ValueError, IndexError):
        return False
    return True


def _check_columns(columns: tuple[str, ...], wanted: Wanted, where: str) -> None:
    missing = [name for name in ("enrol", "test") if name not in columns]
    if wanted == "label" and "label" not in columns:
        missing = ["label", *missing]
    if wanted == "score" and not {"score", "llr"} & set(columns):
        missing.append("score")
    if missing:
        raise UsageError(
            f"{where}: the header lacks {', '.join(missing)}; it names {', '.join(columns)}",
            hint=_hint(wanted),
        )
    if len(set(columns)) != len(columns):
        raise UsageError(f"{where}: a column is named twice: {', '.join(columns)}")


def _hint(wanted: Wanted) -> str:
    if wanted == "label":
        return (
            "a trial list is a table, tab separated, with the columns label, enrol and test; or "
            "bare lines: label enrol test (VoxCeleb), or speaker utterance target (Kaldi); or "
            "a key of NIST with modelid, segmentid and targettype"
        )
    return (
        "a score file is a table, tab separated, with the columns enrol, test and score (or "
        "llr); or bare lines: speaker utterance score (Kaldi); or has NIST's columns modelid, "
        "segmentid, side and LLR"
    )
