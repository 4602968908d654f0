"""Eight sessions at once: is the machine busy, and does everybody get a turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil
import psycopg

from benchmarks.report import Row, say
from benchmarks.site import Site, embed, site
from benchmarks.speech import Speech
from benchmarks.timing import median
from voxprint.worker.settings import default_processes

_SESSIONS = 8
_AUDIO_SECONDS = 3.0


@dataclass
class Window:
    """What happened in one stretch of time.

    Attributes:
        calls: of each session, how long each of its calls took, in seconds.
        seconds: wall time.
        cpu: seconds of all cores used by the compute processes, by everything of voxprint
            with its callers, and by anything on this machine.
    """

    calls: list[list[float]]
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Calls a second."""
        return sum(map(len, self.calls)) / self.seconds

    @property
    def least_share(self) -> float:
        """Calls of the slowest session, as a share of an equal one."""
        counts = [len(calls) for calls in self.calls]
        return min(counts) / float(np.mean(counts))

    def busy(self, whose: str) -> float:
        """Share of all cores, in percent."""
        return 100 * self.cpu[whose] / self.seconds / default_processes()


def run(*, quick: bool) -> list[Row]:
    """Windows of one session and of eight, in turns; every call brings new audio."""
    seconds, rounds = (2.0, 1) if quick else (8.0, 3)
    one, eight = [], []
    with site() as running, ExitStack() as stack:
        sessions = [stack.enter_context(running.connect()) for _ in range(_SESSIONS)]
        speech = [Speech(seed=10 + n) for n in range(_SESSIONS)]
        for n, session in enumerate(sessions):
            embed(session, speech[n].wav(_AUDIO_SECONDS))
        for n in range(rounds):
            say(f"sessions: round {n + 1} of {rounds}")
            one.append(_window(running, sessions[:1], speech, seconds))
            eight.append(_window(running, sessions, speech, seconds))
    gain = [b.rate / a.rate for a, b in zip(one, eight, strict=True)]
    calls = [call for window in eight for session in window.calls for call in session]
    return [
        Row.fact(f"calls a second, 1 session, {_AUDIO_SECONDS:g} s", _typical(one, "rate"), "", 1),
        Row.fact(f"calls a second, {_SESSIONS} sessions", _typical(eight, "rate"), "", 1),
        Row.fact(f"throughput, {_SESSIONS} sessions ÷ 1", median(gain), digits=2),
        Row.at_least("cores busy with voxprint and its callers", _busy(eight, "all"), 90, "%", 0),
        Row.fact("cores busy with embedding", _busy(eight, "compute"), "%", 0),
        Row.fact("cores busy with anything on this machine", _busy(eight, "anything"), "%", 0),
        Row.at_least(
            "calls of the slowest session ÷ equal share", _typical(eight, "least_share"), 0.8, "", 2
        ),
        Row.fact("longest call ÷ median call", max(calls) / median(calls), digits=2),
    ]


def _typical(windows: list[Window], name: str) -> float:
    return median([getattr(window, name) for window in windows])


def _busy(windows: list[Window], whose: str) -> float:
    return median([window.busy(whose) for window in windows])


def _window(
    running: Site, sessions: list[psycopg.Connection], speech: list[Speech], seconds: float
) -> Window:
    window = Window([[] for _ in sessions])
    with _accounted(running, sessions, window), ThreadPoolExecutor(len(sessions)) as pool:
        end = time.perf_counter() + seconds
        for n, session in enumerate(sessions):
            pool.submit(_call_until, end, session, speech[n], window.calls[n])
    return window


def _call_until(end: float, db: psycopg.Connection, speech: Speech, taken: list[float]) -> None:
    while (started := time.perf_counter()) < end:
        embed(db, speech.wav(_AUDIO_SECONDS))
        taken.append(time.perf_counter() - started)


@contextmanager
def _accounted(running: Site, sessions: list[psycopg.Connection], window: Window) -> Iterator[None]:
    """Write wall and processor time of the context into ``window``."""
    front, *compute = running.processes().values()
    backends = [psutil.Process(session.info.backend_pid) for session in sessions]
    groups = {"compute": compute, "all": [*compute, front, *backends, psutil.Process()]}
    before = {name: sum(map(_cpu_seconds, group)) for name, group in groups.items()}
    idle = psutil.cpu_times().idle
    started = time.perf_counter()
    yield
    window.seconds = time.perf_counter() - started
    for name, group in groups.items():
        window.cpu[name] = sum(map(_cpu_seconds, group)) - before[name]
    capacity = window.seconds * (psutil.cpu_count() or 1)
    window.cpu["anything"] = capacity - (psutil.cpu_times().idle - idle)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
