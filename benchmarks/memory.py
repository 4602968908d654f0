"""Does a worker grow: its resident memory over ten thousand utterances."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import psycopg

from benchmarks.report import Row, say
from benchmarks.site import embed, site
from benchmarks.speech import Speech
from voxprint.worker.settings import default_processes

_SAMPLES = 50
_WARM_UP = 0.1
_SHORTEST, _LONGEST = 0.4, 4.0
_BAR_PERCENT = 5.0
_MIB = 1 << 20


def run(*, quick: bool, utterances: int = 10_000) -> list[Row]:
    """Sample every process of a worker fifty times on the way.

    Lengths are log-uniform, so every size of tensor keeps coming. The first tenth is warm-up;
    growth is from the median of the second tenth to that of the last.
    """
    utterances = 200 if quick else utterances
    batch = max(1, utterances // _SAMPLES)
    seen: list[dict[str, float]] = []
    sessions = 2 * default_processes()
    with site() as running, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(sessions))
        callers = [stack.enter_context(running.connect()) for _ in range(sessions)]
        speech = [Speech(seed=20 + n) for n in range(sessions)]
        for n in range(_SAMPLES):
            shares = [len(range(i, batch, sessions)) for i in range(sessions)]
            list(pool.map(_call, callers, speech, shares))
            processes = running.processes().items()
            seen.append({name: child.memory_info().rss / _MIB for name, child in processes})
            if not n % 10 or n == _SAMPLES - 1:
                shown = ", ".join(f"{name} {mib:.1f} MiB" for name, mib in seen[-1].items())
                say(f"memory: {(n + 1) * batch} utterances: {shown}")
    return [row for name in seen[0] for row in _rows(name, [s[name] for s in seen], utterances)]


def _rows(name: str, mib: list[float], utterances: int) -> list[Row]:
    tenth = int(_WARM_UP * len(mib))
    early = float(np.median(mib[tenth : 2 * tenth]))
    late = float(np.median(mib[-tenth:]))
    path = f"{mib[0]:.1f} → {early:.1f} → {late:.1f}, most {max(mib):.1f} MiB"
    return [
        Row(f"{name}: first, after warm-up, at the end", path),
        Row.at_most(
            f"{name}: growth over {utterances:,} utterances",
            100 * (late / early - 1),
            _BAR_PERCENT,
            "%",
            1,
        ),
    ]


def _call(db: psycopg.Connection, speech: Speech, count: int) -> None:
    for _ in range(count):
        embed(db, speech.wav(speech.length(_SHORTEST, _LONGEST)))
