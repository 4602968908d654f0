"""``python -m benchmarks.scale [STORY…] --sizes 10k,100k,1m``: print Markdown for docs/results.md.

Parts that are finished stay in ``raw.jsonl`` of the working folder, with the databases they used:
a run that was cut goes on where it stopped, and the same command prints the whole again.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.report import machine, say
from benchmarks.scale import growth, identify, load, mixed, overhead, plainsql
from benchmarks.scale.stage import Stage, parsed
from benchmarks.scale.voices import voices

STORIES: dict[str, Callable[[Stage], Iterator[str]]] = {
    "load": load.run,
    "growth": growth.run,
    "identify": identify.run,
    "mixed": mixed.run,
    "plainsql": plainsql.run,
    "overhead": overhead.run,
}


def main() -> None:
    """Run the stories named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.add_argument("stories", nargs="*", metavar="STORY", help=", ".join(STORIES))
    parser.add_argument("--sizes", default="10k,100k,1m", help="of the galleries, as 10k,100k")
    parser.add_argument("--queries", type=int, default=40, help="for each figure")
    parser.add_argument("--probes", type=int, default=2000, help="of the identify story")
    parser.add_argument("--voices", default="fitted", choices=["fitted", "synthetic"])
    parser.add_argument("--minutes", type=float, default=10.0, help="of the mixed story")
    parser.add_argument("--buffers", default="", help="shared_buffers; default: as shipped")
    parser.add_argument("--work", type=Path, default=_default_work(), help="kept between runs")
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    given = parser.parse_args()
    if unknown := set(given.stories) - set(STORIES):
        parser.error(f"no story {', '.join(sorted(unknown))}; there are {', '.join(STORIES)}")
    stage = Stage(
        work=given.work / given.voices,
        sizes=[parsed(text) for text in given.sizes.split(",")],
        voices=voices(given.voices),
        queries=given.queries,
        probes=given.probes,
        minutes=given.minutes,
        buffers=given.buffers,
        command=_command(),
    )
    if given.fresh:
        stage.forget()
    print("\n".join(["## Scale", "", *machine(), ""]))
    for name in given.stories or STORIES:
        started = time.perf_counter()
        for line in STORIES[name](stage):
            print(line, flush=True)
        print()
        say(f"{name}: {time.perf_counter() - started:.0f} s")


def _command() -> str:
    """As it was called, but for where it kept its files and that it began anew."""
    words = []
    given = iter(sys.argv[1:])
    for word in given:
        if word == "--work":
            next(given)
        elif word != "--fresh" and not word.startswith("--work="):
            words.append(word)
    return shlex.join(["python", "-m", "benchmarks.scale", *words])


def _default_work() -> Path:
    return Path(tempfile.gettempdir()) / f"voxprint-scale-{os.getuid()}"


if __name__ == "__main__":
    main()
