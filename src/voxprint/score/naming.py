"""Which recordings a name in a trial list stands for.

Without anything else a name is the path of one recording. A mapping file gives names to paths,
as Kaldi does: ``wav.scp`` has lines ``utterance path``, ``spk2utt`` has lines ``speaker
utterance utterance ...``; NIST's list of enrolments is a table with the header ``modelid
segmentid side``. Several files may be given, and a name may lead to further names. A name with
several recordings is enrolled from all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from voxprint.errors import UsageError

#: Longest way from a name to its paths: speaker, utterance, path.
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording of a list.

    Attributes:
        path: below the root folder, as it was written.
        channel: counted from 0; None for the mean of all.
    """

    path: str
    channel: int | None = None


class Names:
    """Names of a trial list and what they stand for.

    Args:
        root: folder that paths are relative to and stay below.
        mappings: files that give names to paths.

    Raises:
        UsageError: a mapping file cannot be read, or a line of it is of no use.
    """

    def __init__(
        self, root: str | os.PathLike[str], mappings: Iterable[str | os.PathLike[str]] = ()
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise UsageError(f"the root of the trial list is no folder: {self.root}")
        self._real_root = self.root.resolve()
        self._known: dict[str, list[str]] = {}
        for path in mappings:
            self._read(Path(path))

    def recordings(self, name: str, where: str) -> tuple[Recording, ...]:
        """All recordings of a name, each of which is there.

        Args:
            name: as the list has it; with ``:b`` for the second channel.
            where: file and line, for errors.

        Raises:
            UsageError: a path that does not lead to a file below the root.
        """
        return tuple(self._resolve(name, where, None, 0))

    def _resolve(
        self, name: str, where: str, channel: int | None, depth: int
    ) -> Iterator[Recording]:
        if depth > _DEEPEST:
            raise UsageError(f"{where}: {name} leads from name to name without end")
        values = self._known.get(name, [name])
        if values != [name]:
            for value in values:
                for word in self._words(value):
                    yield from self._resolve(word, where, channel, depth + 1)
            return
        base, _, side = name.rpartition(":")
        if base and side in ("a", "b") and (base in self._known or not self._exists(name)):
            yield from self._resolve(base, where, "ab".index(side), depth + 1)
            return
        self._check(name, where)
        yield Recording(name, channel)

    def _words(self, value: str) -> list[str]:
        """Several names, or one path, which may hold blanks."""
        words = value.split()
        return words if all(word in self._known for word in words) else [value]

    def _exists(self, name: str) -> bool:
        try:
            return (self._real_root / name).is_file()
        except (OSError, ValueError):
            return False

    def _check(self, name: str, where: str) -> None:
        if not name or "\0" in name:
            raise UsageError(f"{where}: expected a path, got {name!r}")
        mapped = bool(self._known)
        if (PurePath(name).is_absolute() and not mapped) or not self._is_below(name):
            raise UsageError(
                f"{where}: {name} is not below the root {self._real_root}",
                hint="paths of a trial list are relative to --root and stay below it",
            )
        try:
            found = (self._real_root / name).is_file()
        except OSError as error:
            raise UsageError(f"{where}: cannot use {name[:200]}: {error.strerror}") from error
        if not found:
            raise UsageError(
                f"{where}: no such file below {self._real_root}: {name}",
                hint="it is no name of the mapping files either" if mapped else "",
            )

    def _is_below(self, name: str) -> bool:
        return (self._real_root / name).resolve().is_relative_to(self._real_root)

    def _read(self, source: Path) -> None:
        try:
            lines = source.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UsageError(f"{source} is no UTF-8 text: {error}") from error
        except OSError as error:
            raise UsageError(f"cannot read the mapping {source}: {error.strerror}") from error
        table = bool(lines) and lines[0].split("\t")[0].strip() == "modelid"
        pairs = [(n, line.split(None, 1)) for n, line in enumerate(lines, 1) if line.strip()]
        for number, pair in pairs[1:] if table else pairs:
            where = f"{source}, line {number}"
            if len(pair) != 2:
                raise UsageError(f"{where}: expected a name and a path, got {pair[0]!r}")
            name, rest = pair[0], pair[1].strip()
            if rest.endswith("|"):
                raise UsageError(
                    f"{where}: expected a path, got a command, which is not run: {rest[:80]}",
                    hint="write what the command gives to files, and name those",
                )
            self._known.setdefault(name, []).append(_segment(rest, where) if table else rest)


def _segment(rest: str, where: str) -> str:
    """A segment of NIST's table of enrolments, with its side."""
    segment, *others = rest.split()
    side = others[0] if others else "a"
    if side not in ("a", "b"):
        raise UsageError(f"{where}: expected side a or b, got {side!r}")
    return segment if side == "a" else f"{segment}:b"
