"""How long a user waits for the first word: `voxprint --help` and `voxprint up`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Row
from benchmarks.site import folder
from benchmarks.timing import median, seconds_of
from voxprint.api import embedded_server

_COMMAND = [sys.executable, "-m", "voxprint"]
_HELP_BAR, _UP_BAR = 0.3, 3.0


def run(*, quick: bool) -> list[Row]:
    """Whole processes; ``up`` on a folder that has been up before."""
    helped, up, import_only = [], [], []
    with folder() as home:
        with embedded_server(home / "data"):
            pass
        for _ in range(2 if quick else 9):
            import_only.append(seconds_of(lambda: _run([sys.executable, "-c", "import click"])))
            helped.append(seconds_of(lambda: _run([*_COMMAND, "--help"])))
            up.append(_up(home / "data"))
    return [
        Row.at_most("`voxprint --help`", median(helped), _HELP_BAR, "s", 2),
        Row.fact("`python -c 'import click'`", median(import_only), "s", 2),
        Row.at_most("`voxprint up` on an existing folder", median(up), _UP_BAR, "s", 2),
    ]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _up(data: Path) -> float:
    """Seconds until the connection string is printed; then the stop, which is not counted."""
    started = time.perf_counter()
    command = [*_COMMAND, "up", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout) if process.stdout else iter(())
            if not any("host=" in line for line in lines):
                raise RuntimeError("voxprint up ended without a connection string")
            return time.perf_counter() - started
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
