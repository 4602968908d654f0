"""``python -m voxprint.training CONFIG``: the recipe from the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from voxprint.errors import VoxprintError
from voxprint.training.config import read_config, shipped_config, with_overrides


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; 0 where it came to its end."""
    given = _parser().parse_args(arguments)
    try:
        path = Path(given.config)
        config = read_config(path if path.suffix == ".toml" else shipped_config(given.config))
        config = with_overrides(config, given.set)
        _run(given, config)
    except VoxprintError as error:
        sys.stderr.write(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 1
    return 0


def _run(given: argparse.Namespace, config):  # type: ignore[no-untyped-def]
    from voxprint.training.recipe import Places, run_folds, run_recipe

    places = Places(given.corpora, given.out, given.work or given.out / "work", given.weights)
    if not given.folds:
        run_recipe(config, places)
        return
    seconds = dict(zip(("A", "B", "both"), given.folds, strict=True))
    run_folds(config, places, seconds=seconds, deadline=given.deadline)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m voxprint.training", description=__doc__)
    parser.add_argument("config", help="a TOML file, or the name of a shipped configuration")
    parser.add_argument("--corpora", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--out", type=Path, required=True, help="folder for results")
    parser.add_argument("--work", type=Path, help="folder for gigabytes that can be made again")
    parser.add_argument("--weights", type=Path, help="the teacher's weights, .pt or .npz")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument(
        "--folds",
        type=float,
        nargs=3,
        metavar=("A", "B", "BOTH"),
        help="seconds of three runs, on fold A, on fold B and on both, in place of one run",
    )
    parser.add_argument("--deadline", type=float, default=1e9, help="seconds for all of it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
