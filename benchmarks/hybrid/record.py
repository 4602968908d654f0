"""What was measured, line by line in a file that a broken run goes on with."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: The results that the repository holds, and those of a run: the former packed.
RAW = Path(__file__).with_name("raw")


@dataclass
class Measured:
    """One setting of one system in one cell.

    A list whose values are all the same stands in the file as that value.

    Attributes:
        system: that was measured.
        setting: which of its settings.
        cell: name of the filter and k.
        wall, cpu: milliseconds of each query.
        rows: returned for each query.
        hits: of those rows right ones.
        expected: rows of a right answer.
        plan: chosen for each query, where the system says so.
        planning: milliseconds, where the system says so.
        scouted: only as many queries as told that the setting is not worth more.
    """

    system: str
    setting: str
    cell: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    planning: list[float] = field(default_factory=list)
    scouted: bool = False

    @property
    def recall(self) -> Floats:
        """Share of the right rows that came, of each query; 1 where there are none."""
        expected = np.array(self.expected, float)
        hits = np.array(self.hits, float)
        return np.where(expected > 0, hits / np.maximum(expected, 1), 1.0)

    def line(self) -> str:
        values: dict[str, Any] = asdict(self)
        count = len(self.wall)
        for name, value in values.items():
            if isinstance(value, list):
                if name in ("wall", "cpu", "planning"):
                    values[name] = value = [float(f"{number:.3g}") for number in value]
                if value and len(set(value)) == 1:
                    values[name] = value[0]
        return json.dumps({**values, "n": count}, separators=(",", ":"))

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Measured:
        count = values.pop("n")
        for name in ("wall", "cpu", "rows", "hits", "expected", "plan", "planning"):
            if not isinstance(values[name], list):
                values[name] = [values[name]] * count
        return cls(**values)


@dataclass
class Fact:
    """One number about a run rather than about a query: how long a build took, say."""

    fact: str
    value: float | str


class Results:
    """The raw file of one scale and model."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def named(cls, scale: str, model: str, called: str | None = None) -> Results:
        suffix = "" if model == "fitted" else f"-{model}"
        return cls(RAW / f"{called or scale + suffix}.jsonl")

    def read(self) -> Iterator[Measured | Fact]:
        """Everything measured so far; of a fact that is told twice both."""
        for line in self._lines():
            values = json.loads(line)
            yield Fact(**values) if "fact" in values else Measured.parse(values)

    def done(self) -> set[tuple[str, str]]:
        """(system, cell) that need no measuring any more."""
        return {(m.system, m.cell) for m in self.read() if isinstance(m, Measured)}

    def add(self, found: Iterable[Measured]) -> None:
        """Append, all in one write: a broken run leaves whole cells behind."""
        self._append([m.line() for m in found])

    def tell(self, fact: str, value: float | str) -> None:
        self._append([json.dumps({"fact": fact, "value": value})])

    def forget(self, systems: Sequence[str] | None = None) -> None:
        """Drop these systems, or everything."""
        if systems is None:
            self.path.unlink(missing_ok=True)
            return
        kept = [line for line in self._lines() if json.loads(line).get("system") not in systems]
        self.path.write_text("".join(f"{line}\n" for line in kept), "utf-8")

    def pack(self) -> Path:
        """Write the packed file that the repository holds."""
        packed = self.path.with_suffix(".jsonl.xz")
        packed.write_bytes(lzma.compress(self.path.read_bytes(), preset=9))
        return packed

    def _append(self, lines: Iterable[str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def _lines(self) -> list[str]:
        packed = self.path.with_suffix(".jsonl.xz")
        if self.path.exists():
            text = self.path.read_text("utf-8")
        elif packed.exists():
            text = lzma.decompress(packed.read_bytes()).decode()
        else:
            text = ""
        # A line without its end is what a killed run was writing.
        return text[: text.rfind("\n") + 1].splitlines()
