"""``voxprint calibrate``: decisions fitted to trials, or to decisions labelled since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from voxprint.cli.options import (
    database_options,
    json_option,
    model_option,
    open_gallery,
    rates,
    weights_option,
)
from voxprint.cli.output import print_json, stages
from voxprint.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from voxprint.api import Voxprint
    from voxprint.encoder.embedder import Encoder
    from voxprint.encoder.spec import ModelSpec
    from voxprint.service.calibrate import Material, Method
    from voxprint.service.calibrated import Calibrated
    from voxprint.service.judging import Judging
    from voxprint.types import Calibration

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("trials", type=_FILE, required=False)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that the paths of the list are below.",
)
@click.option(
    "--from-decisions",
    is_flag=True,
    help="Fit on the verifications of the log that were labelled, in place of TRIALS.",
)
@click.option(
    "--far",
    "fars",
    default="0.01,0.001",
    show_default=True,
    callback=rates,
    help="False-accept rates to be promised, by commas.",
)
@click.option("--dry-run", is_flag=True, help="Measure only; store nothing.")
@click.option("--plot", type=_FILE, help="Draw the DET curves before and after into this PNG.")
@model_option
@weights_option
@database_options
@json_option
def calibrate(
    trials: Path | None,
    root: Path | None,
    from_decisions: bool,
    fars: Sequence[float],
    dry_run: bool,
    plot: Path | None,
    model: str | None,
    weights: str | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Fit decisions to your own TRIALS, show what that changes, and use it from then on.

    TRIALS is tab separated with the columns label (1 same speaker, 0 different), enrol and test.
    Figures are of people whom the fit behind them has not seen. Earlier versions stay stored:
    voxprint calibrations use NUMBER goes back to one.
    """
    if from_decisions == (trials is not None) or (trials is not None and root is None):
        raise UsageError("TRIALS with --root DIR are expected, or --from-decisions alone")
    if plot is not None:
        from voxprint.service.plots import needs_matplotlib

        needs_matplotlib()
    from voxprint.encoder.embedder import Encoder
    from voxprint.service import calibrate as service

    encoder = Encoder(model, weights=weights)
    with open_gallery(data, dsn) as gallery:
        in_use = [c for c in gallery.calibrations() if c.active and c.model == encoder.spec.name]
        current = in_use[0] if in_use else None
        method = _method(gallery, current, encoder.spec)
        material = _material(gallery, method, encoder, trials, root, quiet=as_json)
        done = service.calibrate(
            material,
            method,
            encoder.spec,
            current=current.parameters if current else None,
            fars=fars,
        )
        if plot is not None:  # before storing: whoever reads of an error takes nothing to be in use
            from voxprint.service.plots import plot_det

            plot_det(plot, done.name, done.curves())
        number = None if dry_run else _stored(gallery, done)
    if as_json:
        print_json({"calibration": number, "parameters": done.parameters, **done.to_json()})
        return 0
    click.echo(done.to_text())
    back = f"; back: voxprint calibrations use {current.calibration_id}" if current else ""
    click.echo("nothing stored" if number is None else f"calibration {number} is in use{back}")
    return 0


def _method(gallery: Voxprint, current: Calibration | None, spec: ModelSpec) -> Judging:
    """Where to start from: what is in use, else what comes with voxprint."""
    from voxprint.score.calibration import Calibration as Coefficients
    from voxprint.score.evidence import Background
    from voxprint.service.judging import Judging

    if current is None:
        return Judging.shipped(spec)
    rows = gallery.background(current.calibration_id)
    return Judging(Coefficients.from_json(current.parameters), Background.from_rows(rows))


def _material(
    gallery: Voxprint,
    method: Method,
    encoder: Encoder,
    trials: Path | None,
    root: Path | None,
    *,
    quiet: bool,
) -> Material:
    from voxprint.score.trials import read_trials
    from voxprint.service.calibrate import from_decisions, from_trials

    if trials is None:
        return from_decisions(gallery.labelled_decisions(encoder.spec.name), method)
    listed = read_trials(trials, root)
    with stages(quiet=quiet) as advance:
        return from_trials(listed, encoder, method, advance)


def _stored(gallery: Voxprint, done: Calibrated) -> int:
    return gallery.add_calibration(
        done.model, done.spec_hash, done.parameters, report=done.to_json(), source=done.source
    )


COMMANDS = (calibrate,)
