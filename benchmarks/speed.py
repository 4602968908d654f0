"""The network alone, in floating point and in whole numbers, on one core, in one run.

Run as ``python -m benchmarks.speed [INT8.npz ...]``, with files that
``voxprint.training.quantise`` wrote; prints Markdown. Times are ratios to CAM++ in floating point
of the same run, medians of turns; ``--threads`` adds two threads and four equal lengths at once.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import machine
from benchmarks.timing import in_turns, median
from voxprint.encoder.campplus_int8 import build_campplus_int8
from voxprint.encoder.checkpoint import read_weights
from voxprint.encoder.session import open_session
from voxprint.encoder.sources import load_graph
from voxprint.encoder.spec import DEFAULT_MODEL

_SECONDS = (1, 3, 10)
_TOGETHER = 4


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="benchmarks.speed", description=about)
    parser.add_argument("networks", nargs="*", type=Path, help="in whole numbers, .npz")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", action="store_true", help="two threads and batches, too")
    given = parser.parse_args(arguments)
    graphs = {"fp32": load_graph(DEFAULT_MODEL)}
    for path in given.networks:
        graphs[path.stem] = build_campplus_int8(read_weights(path.read_bytes()))
    facts = list(machine())
    if not given.threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = [f"| {name} | {' | '.join(cells)} |" for name, cells in _ratios(graphs, given).items()]
    names = " | ".join(f"{each} s" for each in _SECONDS)
    print("\n".join([*facts, "", f"| | {names} |", "|---" * (1 + len(_SECONDS)) + "|", *rows]))


def _ratios(graphs: dict[str, bytes], given: argparse.Namespace) -> dict[str, list[str]]:
    shown: dict[str, list[str]] = {}
    for seconds in _SECONDS:
        # The length of the filterbank's output; a network takes as long for any features.
        features = np.random.default_rng(0).standard_normal((_TOGETHER, 100 * seconds - 2, 80))
        works = _works(graphs, features.astype(np.float32), threads=given.threads)
        times = in_turns(works, max(5, given.rounds // seconds))
        for name, taken in times.items():
            ratio = median([a / b for a, b in zip(taken, times["fp32"], strict=True)])
            ratio /= _TOGETHER if name.endswith("at once") else 1
            factor = median(taken) / seconds
            cell = f"{factor:.4f}" if name == "fp32" else f"{ratio:.2f} x"
            shown.setdefault(name, []).append(cell)
    return shown


def _works(
    graphs: dict[str, bytes], features: np.ndarray, *, threads: bool
) -> dict[str, Callable[[], object]]:
    works: dict[str, Callable[[], object]] = {}
    outputs = ["embedding", "parts"]
    for name, graph in graphs.items():
        run = open_session(graph).run
        works[name] = partial(run, outputs, {"features": features[:1]})
        if threads:
            works[f"{name}, {_TOGETHER} at once"] = partial(run, outputs, {"features": features})
            two = open_session(graph, threads=2).run
            works[f"{name}, two threads"] = partial(two, outputs, {"features": features[:1]})
    return works


if __name__ == "__main__":
    main()
