"""The command that measures: a trial list through the encoder, or scores made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from voxprint.cli.options import json_option, model_option, rates, weights_option, words
from voxprint.cli.output import print_json, stages
from voxprint.errors import UsageError

if TYPE_CHECKING:
    from voxprint.score.listing import Format
    from voxprint.score.trials import TrialList
    from voxprint.service.evaluate import Plan
    from voxprint.service.measured import Evaluation

_FORMATS = click.Choice(["auto", "tsv", "voxceleb", "kaldi", "nist"])
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


def _sizes(context: click.Context, parameter: click.Parameter, text: str) -> list[int]:
    given = words(context, parameter, text)
    for word in given:
        if word != "all" and not (word.isdecimal() and int(word) > 0):
            raise UsageError(f"expected numbers of people, or all, after --gallery, got {word!r}")
    return [0 if word == "all" else int(word) for word in given]


@click.command()
@click.argument("trials", type=_FILE)
@click.option("--root", type=_FOLDER, help="Folder that the paths of the list are below.")
@click.option(
    "--utt2path",
    "mappings",
    type=_FILE,
    multiple=True,
    help="File that leads from names to paths (wav.scp, spk2utt, NIST's enrolments); repeatable.",
)
@click.option(
    "--condition",
    "conditions",
    default="full",
    show_default=True,
    callback=words,
    help="Conditions, by commas: full, 2s, 0.5s, noise10, mulaw8k, alaw8k, gsm, amr, g722, "
    "opus6k, clip; joined by + they follow each other: 1s+noise10.",
)
@click.option(
    "--degrade",
    "degraded",
    type=click.Choice(["test", "both"]),
    default="test",
    show_default=True,
    help="Side of a trial that is heard under the condition.",
)
@click.option("--noise", type=_FOLDER, help="Folder of recordings of noise (default: pink noise).")
@click.option("--by", default="", callback=words, help="Columns of the list to measure apart.")
@click.option(
    "--far",
    "fars",
    default="0.01,0.001",
    show_default=True,
    callback=rates,
    help="False-accept rates to give the miss rate at; for --gallery, FPIRs.",
)
@click.option(
    "--gallery",
    "galleries",
    default="",
    callback=_sizes,
    help="Search among so many people, by commas: 10,100,all.",
)
@click.option(
    "--scores",
    type=_FILE,
    help="Measure these scores of the trials; nothing is embedded and --root is not needed.",
)
@click.option("--llr", "are_llrs", is_flag=True, help="The scores are log-likelihood ratios.")
@click.option(
    "--format",
    "given",
    type=_FORMATS,
    default="auto",
    show_default=True,
    help="Format of the trial list and of --scores.",
)
@click.option("--scores-out", type=_FILE, help="Write the score of every trial to this file.")
@click.option("--trials-out", type=_FILE, help="Write the trial list to this file.")
@click.option(
    "--out-format",
    "written",
    type=click.Choice(["tsv", "voxceleb", "kaldi", "nist"]),
    default="tsv",
    show_default=True,
    help="Format of both.",
)
@click.option("--plot", "plots", type=_FOLDER, help="Draw DET curves and histograms here.")
@click.option("--markdown", type=_FILE, help="Write the tables as Markdown to this file.")
@model_option
@weights_option
@json_option
def evaluate(
    trials: Path,
    root: Path | None,
    mappings: Sequence[Path],
    conditions: Sequence[str],
    degraded: str,
    noise: Path | None,
    by: Sequence[str],
    fars: Sequence[float],
    galleries: Sequence[int],
    scores: Path | None,
    are_llrs: bool,
    given: str,
    scores_out: Path | None,
    trials_out: Path | None,
    written: str,
    plots: Path | None,
    markdown: Path | None,
    model: str | None,
    weights: str | None,
    as_json: bool,
) -> int:
    """Measure the encoder, or scores, on a trial list, under conditions.

    TRIALS is tab separated with the columns label (1 same speaker, 0 different), enrol and test;
    or a list of VoxCeleb, Kaldi or NIST. docs/evaluate.md tells how to read the figures.
    """
    _check(scores is not None, root, [scores_out, trials_out, markdown], plots)
    from voxprint.score.scorefile import write_scores, write_trials
    from voxprint.score.trials import read_trials

    chosen = None if given == "auto" else _format(given)
    listed = read_trials(trials, root, given=chosen, mappings=mappings)
    plan = _plan(conditions, degraded, noise, by, fars, galleries)
    if scores is not None:
        report = _of_scores(listed, scores, are_llrs, chosen, plan)
    else:
        report = _of_recordings(listed, plan, model, weights, quiet=as_json)
    if scores_out is not None:
        write_scores(scores_out, listed, report.scored, _format(written))
    if trials_out is not None:
        write_trials(trials_out, listed, _format(written))
    _show(report, plots, markdown, as_json)
    return 0


def _check(
    have_scores: bool, root: Path | None, written: Sequence[Path | None], plots: Path | None
) -> None:
    """Refuse at once what would fail after an hour, or would be passed over in silence."""
    if have_scores:
        source = click.get_current_context().get_parameter_source
        names = (
            "root",
            "mappings",
            "conditions",
            "degraded",
            "noise",
            "galleries",
            "model",
            "weights",
        )
        spoken = [name for name in names if source(name) is ParameterSource.COMMANDLINE]
        if spoken:
            raise UsageError(
                f"expected --scores or options about recordings, got both: {', '.join(spoken)}"
            )
    elif root is None:
        raise UsageError("expected --root with the recordings, or --scores with their scores")
    for path in written:
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"expected a file in a folder that is there, got {path}")
    if plots is not None:
        from voxprint.service.plots import needs_matplotlib

        needs_matplotlib()


def _format(name: str) -> Format:
    from voxprint.score.listing import FORMATS

    return next(each for each in FORMATS if each == name)


def _plan(
    conditions: Sequence[str],
    degraded: str,
    noise: Path | None,
    by: Sequence[str],
    fars: Sequence[float],
    galleries: Sequence[int],
) -> Plan:
    from voxprint.audio.degrade import check_condition
    from voxprint.service.conditions import read_noises
    from voxprint.service.evaluate import Plan

    if not conditions:
        raise UsageError("expected at least one condition, such as full, after --condition")
    return Plan(
        conditions=[check_condition(condition) for condition in conditions],
        degraded="both" if degraded == "both" else "test",
        noises=read_noises(noise) if noise is not None else (),
        by=by,
        fars=fars,
        galleries=galleries,
    )


def _of_scores(
    listed: TrialList, scores: Path, are_llrs: bool, given: Format | None, plan: Plan
) -> Evaluation:
    from voxprint.score.scorefile import read_scores
    from voxprint.service.evaluate import evaluate_scores

    return evaluate_scores(
        listed, read_scores(scores, listed, given=given, are_llrs=are_llrs), plan
    )


def _of_recordings(
    listed: TrialList, plan: Plan, model: str | None, weights: str | None, *, quiet: bool
) -> Evaluation:
    from functools import partial

    from voxprint.encoder.embedder import Encoder
    from voxprint.service import evaluate as service
    from voxprint.service.judging import Judging

    encoder = Encoder(model, weights=weights)
    judge = None  # no calibration comes with a network of the user's own
    if encoder.spec.network is None:
        judge = partial(Judging.shipped(encoder.spec).judge_trials, plan.fars)
    with stages(quiet=quiet) as advance:
        return service.evaluate(
            listed,
            encoder,
            plan,
            judge=judge,
            progress=advance,
        )


def _show(report: Evaluation, plots: Path | None, markdown: Path | None, as_json: bool) -> None:
    if plots is not None:
        from voxprint.service.plots import plot

        plot(report, plots)
    if markdown is not None:
        try:
            markdown.write_text(report.to_markdown(), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {markdown}: {error.strerror}") from error
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.to_text())


COMMANDS = (evaluate,)
