"""The command that trains an encoder: a configuration through every stage of the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from voxprint.cli.options import json_option
from voxprint.cli.output import print_json
from voxprint.errors import UsageError
from voxprint.text import printable

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("config")
@click.option("--corpora", type=_FOLDER, required=True, help="Folder of the labelled speech.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for weights, figures and the log.")
@click.option(
    "--work",
    type=_FOLDER,
    help="Folder for checkpoints and for gigabytes that can be made again (default: OUT/work).",
)
@click.option("--weights", type=_FILE, help="The teacher's weights, .pt or .npz.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="A setting in place of the configuration's, as TOML has it; repeatable.",
)
@click.option(
    "--folds",
    type=_SECONDS,
    nargs=3,
    metavar="A B BOTH",
    help="Train three students for so many seconds: on fold A, on fold B, on both.",
)
@click.option(
    "--deadline",
    type=_SECONDS,
    metavar="SECONDS",
    help="Seconds that all of --folds may take.",
)
@json_option
def train(
    config: str,
    corpora: Path,
    out: Path,
    work: Path | None,
    weights: Path | None,
    assignments: Sequence[str],
    folds: tuple[float, float, float] | None,
    deadline: float | None,
    as_json: bool,
) -> int:
    """Train a student of the encoder, and measure it beside its teacher.

    CONFIG is a TOML file, or the name of one that comes with the package: distil-small,
    distil-gpu, scratch-small, scratch-gpu. A training that was broken off goes on from its
    checkpoint when the command is given again. What goes on is told on stderr.
    docs/training.md tells what each stage does.
    """
    if deadline is not None and folds is None:
        raise UsageError("expected --deadline beside --folds, got it alone")
    from voxprint.training import needs_torch
    from voxprint.training.reading import read_config, shipped_config, with_overrides

    source = Path(config) if config.endswith(".toml") else shipped_config(config)
    settings = with_overrides(read_config(source), list(assignments))
    needs_torch()
    from voxprint.training.places import Places
    from voxprint.training.runs import run_folds, run_recipe

    places = Places(corpora, out, work or out / "work", weights)
    if folds is None:
        students = [run_recipe(settings, places, _say)]
    else:
        limits = dict(zip(("A", "B", "both"), folds, strict=True))
        students = run_folds(settings, places, seconds=limits, deadline=deadline, say=_say)
    if as_json:
        print_json({"students": students, "results": out / "results.json"})
    else:
        for student in students:
            click.echo(student)
    return 0


def _say(line: str) -> None:
    for each in line.splitlines():
        click.echo(printable(each), err=True)


COMMANDS = (train,)
