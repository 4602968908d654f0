"""``python -m benchmarks.hybrid``: measure filtered search, print Markdown.

Every part runs in a process of its own with one thread, one after the other. What a part has
finished stays in ``raw/SCALE.jsonl``; a run that was broken off goes on there. The printed section
goes into docs/results.md, the packed raw file into the repository (``--pack``).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module

from benchmarks.hybrid.conditions import FAMILIES, KS, SHARES, Cell, conditions
from benchmarks.hybrid.data import QUERIES, SCALES, folder_of, people
from benchmarks.hybrid.record import Results
from benchmarks.hybrid.report import section
from benchmarks.hybrid.truth import truths
from benchmarks.report import say

PARTS = {
    "postgres": "benchmarks.hybrid.postgres",
    "faiss": "benchmarks.hybrid.faiss_sql",
    "lance": "benchmarks.hybrid.lance",
    "duckdb": "benchmarks.hybrid.duck",
    "chdb": "benchmarks.hybrid.clickhouse",
}
_BUFFERS = {"5k": "256MB", "20k": "512MB", "100k": "1GB", "1m": "4GB"}
#: Shares and ks of the scales that are done in minutes; the others are measured in full.
_BRIEFLY = dict.fromkeys(("5k", "20k"), ((0.5, 0.1, 0.01, 0.001), (10,)))
#: Pools of threads that the parts compute in. (LanceDB's pools for reading are left alone: with one
#: thread they wait for themselves.)
_POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "LANCE_CPU_THREADS",
)


def main() -> None:
    """Run the parts, then print the report."""
    given = _arguments()
    results = Results.named(given.scale, given.model, given.called)
    cells = [
        Cell(condition, k)
        for condition in conditions(SCALES[given.scale], given.families, given.shares)
        for k in given.ks
    ]
    if given.part:
        import_module(PARTS[given.part]).run(cells, given, results)
        return
    if given.fresh:
        results.forget()
    if given.again:
        results.forget(given.again)
    if not given.report:
        _prepare(cells, given)
        for part in given.parts:
            say(f"{part} …")
            environment = {**os.environ, **dict.fromkeys(_POOLS, "1")}
            command = [sys.executable, "-m", "benchmarks.hybrid", *sys.argv[1:], "--part", part]
            done = subprocess.run(command, env=environment, check=False)
            if done.returncode:
                say(f"{part} ended with {done.returncode}; the others go on")
    if given.pack:
        say(f"packed: {results.pack().name}")
    print("\n".join(section(given.scale, given.model, results, given.clock)))


def _prepare(cells: list[Cell], given: argparse.Namespace) -> None:
    """Draw the people and find the truth with all cores, before anything is timed."""
    population = people(given.scale, given.model)
    wanted = {cell.condition for cell in cells}
    truths(population, wanted, given.queries, folder_of(given.scale, given.model))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.hybrid", description="Filtered search.")
    parser.add_argument("--scale", choices=SCALES, default="20k")
    parser.add_argument("--model", choices=("fitted", "synthetic"), default="fitted")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--shares", nargs="+", type=float, help="that match; default by scale")
    parser.add_argument("--ks", nargs="+", type=int, choices=KS, help="default by scale")
    parser.add_argument("--queries", type=int, default=100, help=f"at most {QUERIES}")
    parser.add_argument("--slow", type=float, default=1000.0, metavar="MS", help="fewer queries")
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="of PostgreSQL, only these")
    parser.add_argument("--again", nargs="+", metavar="NAME", help="systems to measure anew")
    parser.add_argument("--partial", action="store_true", help="partial HNSW indexes, too")
    parser.add_argument("--m", type=int, default=24, help="of the HNSW index")
    parser.add_argument("--ef-construction", type=int, default=100, help="of the HNSW index")
    parser.add_argument("--shared-buffers", help="of the server; default by scale")
    parser.add_argument("--called", help="name of the raw file; default: by scale and model")
    parser.add_argument("--fresh", action="store_true", help="forget what is measured")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="cpu", help="to compare by")
    parser.add_argument("--pack", action="store_true", help="write the packed raw file")
    given = parser.parse_args()
    shares, ks = _BRIEFLY.get(given.scale, (SHARES, KS))
    given.shares, given.ks = given.shares or shares, given.ks or ks
    given.shared_buffers = given.shared_buffers or _BUFFERS[given.scale]
    return given


if __name__ == "__main__":
    main()
