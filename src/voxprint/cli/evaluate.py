"""The command that measures: a trial list through the encoder, or scores made elsewhere."""

from __future__ import annotations

import click

from voxprint.cli.options import json_option, weights_option
from voxprint.cli.output import print_json, progress


@click.command()
@click.argument("trials", type=click.Path(dir_okay=False))
@click.option(
    "--root",
    required=True,
    type=click.Path(file_okay=False),
    help="Folder that the paths of the list are below.",
)
@weights_option
@json_option
def evaluate(trials: str, root: str, weights: str | None, as_json: bool) -> int:
    """Measure the encoder on a trial list: EER, minDCF, FRR at FAR 1 % and 0.1 %.

    TRIALS is tab separated with the columns label (1 same speaker, 0 different), enrol and test.
    """
    from voxprint.encoder.embedder import Encoder
    from voxprint.service import evaluate as service

    with progress((), total=0, label="embedding", quiet=as_json) as bar:

        def advance(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        report = service.evaluate(trials, root, Encoder(weights=weights), progress=advance)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(report.to_text())
    return 0


COMMANDS = (evaluate,)
