"""Which students are trained: one, or one a fold and one on both, as far as time goes."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import nn

from voxprint.errors import VoxprintError
from voxprint.training.config import Config
from voxprint.training.loop import Say
from voxprint.training.places import Places
from voxprint.training.recipe import OTHER_FOLD, Recipe

#: Seconds kept free for what follows a run, and the shortest run worth beginning.
_RESERVE, _LEAST_RUN = 20.0, 10.0


def run_recipe(config: Config, places: Places, say: Say = print) -> Path:
    """All stages of one configuration; the student's weights are what comes out.

    Raises:
        UsageError: no such corpora, no GPU where one is demanded.
        ModelFileError: the teacher's weights cannot be had, or the export fails its check.
    """
    run = config.data.fold
    # Those by whom a training is watched are read, too.
    read = "both" if config.measure.watch else run
    whole = replace(config, data=replace(config.data, fold=read))
    recipe = Recipe(whole, places, {run: config}, say)
    with recipe.prepared() as prepared:
        student = recipe.train(prepared, run)
        recipe.measure(prepared, run, student, config.measure.blends)
    return places.out / f"student-{run}.npz"


def run_folds(
    config: Config,
    places: Places,
    *,
    seconds: dict[str, float],
    deadline: float | None = None,
    say: Say = print,
) -> list[Path]:
    """Runs on fold A, on fold B and on both, each measured where it may be.

    A run or a measurement that fails is said, does not stop the next, and is an error in the end.

    Args:
        config: of all runs; the one on both folds hears all noises.
        places: where.
        seconds: limit of each run.
        deadline: seconds from now after which no run goes on; None for no limit.
        say: told what happens.

    Returns:
        Weights of the students there are, in the order of ``seconds``.

    Raises:
        VoxprintError: something failed; the log has all of it.
        UsageError, ModelFileError: as :func:`run_recipe`, before any run.
    """
    deadline = math.inf if deadline is None else deadline
    all_noises = replace(config, data=replace(config.data, noises="all"))
    runs = {run: config if run in OTHER_FOLD else all_noises for run in seconds}
    whole = replace(config, data=replace(config.data, fold="both"))
    recipe = Recipe(whole, places, runs, say)
    failed: list[str] = []
    students: dict[str, nn.Module] = {}
    with recipe.prepared() as prepared:
        for run, limit in seconds.items():
            left = min(limit, deadline - recipe.elapsed - _RESERVE)
            if left < _LEAST_RUN:
                recipe.say(f"no time for run {run}")
                continue
            with _going_on(recipe, f"run {run}", failed):
                students[run] = recipe.train(prepared, run, left)
            if run in students:
                with _going_on(recipe, f"measuring {run}", failed):
                    recipe.measure(prepared, run, students[run], config.measure.blends[:1])
        for run in [r for r in students if r in OTHER_FOLD and config.measure.blends[1:]]:
            if deadline - recipe.elapsed > _RESERVE / 2:
                with _going_on(recipe, f"measuring averages of {run}", failed):
                    recipe.measure(prepared, run, students[run], config.measure.blends[1:])
        recipe.say("done")
    if failed:
        raise VoxprintError(
            f"expected every run to come to its end, failed: {'; '.join(failed)}",
            hint=f"{places.out / 'log.txt'} has all that was said.",
        )
    return [places.out / f"student-{run}.npz" for run in students]


@contextlib.contextmanager
def _going_on(recipe: Recipe, what: str, failed: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever failed, the next run goes on
        failed.append(f"{what}: {error}")
        recipe.say(f"{what} failed: {error}\n{traceback.format_exc()}")
