"""How times are taken on a machine that has other things to do.

What is compared is measured in turns, so that a slow minute hits all of it alike; medians
and ratios of neighbours are reported, never the best case.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np


def seconds_of(work: Callable[..., object], *given: object) -> float:
    """Wall time of one call with the arguments ``given``."""
    started = time.perf_counter()
    work(*given)
    return time.perf_counter() - started


def in_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall times of each of ``works``, by name, one call of each a round.

    Every second round goes backwards, so that none always follows the same neighbour. One
    round before the first is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    for n in range(rounds + 1):
        for name in order if n % 2 else reversed(order):
            taken = seconds_of(works[name])
            if n:
                times[name].append(taken)
    return times


def median(values: list[float]) -> float:
    return float(np.median(values))


def p95(values: list[float]) -> float:
    return float(np.percentile(values, 95))


@contextmanager
def one_core() -> Iterator[bool]:
    """This thread, and every process started from it meanwhile, on one core.

    Yields:
        False where the system cannot do that (macOS).
    """
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield True
    finally:
        os.sched_setaffinity(0, cores)
