"""``python -m benchmarks [STORY…]``: measure how fast voxprint is, print Markdown.

The printed section goes into docs/results.md. Nothing here fails for being slow: a figure
stands beside its bar and says whether it keeps it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

from benchmarks import answer, encoder, folder, memory, pipeline, sessions, startup
from benchmarks.report import Row, machine, say, table

STORIES: dict[str, Callable[..., list[Row]]] = {
    "encoder": encoder.run,
    "folder": folder.run,
    "pipeline": pipeline.run,
    "sessions": sessions.run,
    "answer": answer.run,
    "startup": startup.run,
    "memory": memory.run,
}


def main() -> None:
    """Run the stories named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="How fast voxprint is.")
    parser.add_argument("stories", nargs="*", metavar="STORY", help=", ".join(STORIES))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all")
    parser.add_argument("--utterances", type=int, default=10_000, help="of the memory story")
    given = parser.parse_args()
    if unknown := set(given.stories) - set(STORIES):
        parser.error(f"no story {', '.join(sorted(unknown))}; there are {', '.join(STORIES)}")

    chosen = {**STORIES, "memory": partial(memory.run, utterances=given.utterances)}
    facts = list(machine())
    found = []
    for name in given.stories or STORIES:
        say(f"{name} …")
        started = time.perf_counter()
        rows = chosen[name](quick=given.quick)
        found.append((name, rows))
        say(f"{name}: {time.perf_counter() - started:.0f} s")
        for row in rows:
            say(f"  {row.what}: {row.found} {row.bar}")
    print("\n".join(["## Speed", "", *facts, "", *table(found)]))


if __name__ == "__main__":
    main()
