"""``voxprint quality``: what can be said of recordings before anybody is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from voxprint.cli.options import audio_options, json_option, model_option, weights_option
from voxprint.cli.output import EXIT_ERROR, error_json, number, print_json, print_table
from voxprint.cli.reasons import in_words
from voxprint.errors import AudioError
from voxprint.text import printable

if TYPE_CHECKING:
    from voxprint.audio.decode import RawFormat
    from voxprint.types import Embedding

_HEADINGS = ["file", "speech s", "SNR dB", "band Hz", "clipped %", "agreement", "codec", "remarks"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False))
@audio_options
@model_option
@weights_option
@json_option
def quality(
    files: Sequence[str],
    raw: RawFormat | None,
    channel: int | None,
    model: str | None,
    weights: str | None,
    as_json: bool,
) -> int:
    """Say how good FILES are: net speech, noise, bandwidth, clipping, one voice or several.

    Agreement is the cosine between the embeddings of the two halves of the speech: low where
    two people speak. It needs 3 s of speech.
    """
    from voxprint.encoder.embedder import Encoder

    encoder = Encoder(model, weights=weights)
    heard: list[tuple[str, Embedding | AudioError]] = []
    for file in files:
        try:
            heard.append((file, encoder.embed_file(file, channel=channel, raw=raw)))
        except AudioError as error:
            heard.append((file, error))
    if as_json:
        print_json([_described(*each) for each in heard])
    else:
        _print_quality(heard)
    return EXIT_ERROR if any(isinstance(outcome, AudioError) for _, outcome in heard) else 0


def _described(file: str, outcome: Embedding | AudioError) -> dict[str, Any]:
    if isinstance(outcome, AudioError):
        return {"file": file, "error": error_json(outcome)}
    facts = {
        "seconds": outcome.seconds,
        "speech_seconds": outcome.speech_seconds,
        "sample_rate": outcome.sample_rate,
    }
    return {"file": file, **facts, "quality": outcome.quality}


def _print_quality(heard: Sequence[tuple[str, Embedding | AudioError]]) -> None:
    rows = []
    for file, outcome in heard:
        if isinstance(outcome, AudioError):
            click.echo(printable(f"{file}: {outcome}"), err=True)
        else:
            rows.append((file, *_cells(outcome)))
    if rows:
        print_table(_HEADINGS, rows)


def _cells(heard: Embedding) -> tuple[str, ...]:
    facts = heard.quality
    return (
        number(heard.speech_seconds, 1),
        number(facts["snr_db"], 0),
        number(facts["bandwidth_hz"], 0),
        number(100 * facts["clipped"]),
        number(facts["agreement"]),
        str(facts["codec"]),
        in_words(facts["reasons"], heard.speech_seconds),
    )


COMMANDS = (quality,)
