"""Commands about the encoder: embed, model; and the demonstration."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from voxprint.cli.options import (
    audio_options,
    database_options,
    json_option,
    model_option,
    open_gallery,
    weights_option,
)
from voxprint.cli.output import EXIT_ERROR, error_json, print_json
from voxprint.errors import AudioError, ModelFileError, UsageError
from voxprint.text import printable

if TYPE_CHECKING:
    from voxprint.audio.decode import RawFormat


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False))
@audio_options
@model_option
@weights_option
@json_option
def embed(
    files: Sequence[str],
    raw: RawFormat | None,
    channel: int | None,
    model: str | None,
    weights: str | None,
    as_json: bool,
) -> int:
    """Print the embedding of each of FILES as a vector literal, one a line."""
    from voxprint.encoder.embedder import Encoder
    from voxprint.types import vector_text

    encoder = Encoder(model, weights=weights)
    results: list[dict[str, Any]] = []
    failed = False
    for file in files:
        try:
            embedding = encoder.embed_file(file, channel=channel, raw=raw)
        except AudioError as error:
            failed = True
            results.append({"file": file, "error": error_json(error)})
            if not as_json:
                click.echo(printable(f"{file}: {error}"), err=True)
            continue
        results.append({"file": file, "embedding": embedding})
        if not as_json:
            click.echo(vector_text(embedding.vector))
    if as_json:
        print_json(results)
    return EXIT_ERROR if failed else 0


@click.group()
def model() -> None:
    """The encoder: fetch its weights, show its facts, print where it lies."""


@model.command()
@model_option
@weights_option
@json_option
def fetch(model: str | None, weights: str | None, as_json: bool) -> int:
    """Fetch the weights into the cache, unless they are there, and build the network."""
    from voxprint.encoder import sources
    from voxprint.encoder.spec import find_model

    spec = find_model(model)
    where = sources.fetch(spec, weights=weights, progress=None if as_json else say)
    if as_json:
        print_json(
            {
                "weights": where,
                "network": sources.cached_graph_path(spec),
                "detector": sources.detector_path(spec),
            }
        )
    else:
        click.echo(f"{spec.name}: {where}")
    return 0


def say(what: str, done: int, total: int) -> None:
    """Print a step once; while bytes come, rewrite the line where somebody watches it."""
    if done == 0:
        click.echo(what, err=True)
    elif sys.stderr.isatty():
        share = f"{100 * done // total} %" if total else f"{done >> 20} MiB"
        click.echo(f"\r{what}: {share}", err=True, nl=done >= total > 0)


def ensure_model(names: Sequence[str] = ()) -> None:
    """Fetch encoders with progress where they are not there; a worker would do so silently.

    Those of the user's own are loaded once, so that one that cannot be changes nothing.
    """
    from voxprint.encoder import sources
    from voxprint.encoder.embedder import Encoder
    from voxprint.encoder.spec import find_model

    for spec in [find_model(name) for name in names] or [find_model()]:
        if not sources.is_fetched(spec):
            sources.fetch(spec, progress=say)
        if spec.network is not None:
            Encoder(spec)


def introduce(names: Sequence[str], dsn: str) -> None:
    """Make encoders of the user's own known to a database; it knows ours from the beginning."""
    from voxprint import api
    from voxprint.encoder.spec import find_model

    wanted: Sequence[str | None] = names or (None,)
    own = [spec for spec in map(find_model, wanted) if spec.network is not None]
    if own:
        with api.open(dsn=dsn) as gallery:
            for spec in own:
                gallery.register_model(spec)


@model.command()
@click.option("--model", metavar="NAME|FILE.toml", help="Only this one (default: voxprint's own).")
@json_option
def show(model: str | None, as_json: bool) -> int:
    """Show what the encoders are, or the one named: name, dimension, hash, licence, threshold.

    A name may be followed by +spectral_subtraction or +autoencoder; docs/noise.md says why not.
    """
    from voxprint.encoder.spec import MODELS, find_model

    specs = MODELS.values() if model is None else [find_model(model)]
    facts = [{**asdict(spec), "hash": spec.hash} for spec in specs]
    if as_json:
        print_json(facts)
        return 0
    for each in facts:
        for name, value in each.items():
            click.echo(f"{name:15} {value}")
    return 0


@model.command()
@model_option
@json_option
def path(model: str | None, as_json: bool) -> int:
    """Print where the network lies; an error where it has not been fetched."""
    from voxprint.encoder import sources
    from voxprint.encoder.spec import find_model

    spec = find_model(model)
    location = sources.cached_graph_path(spec)
    if location is None:
        raise ModelFileError(
            f"the network of {spec.name} is not in {sources.graph_folder(spec)}",
            hint="voxprint model fetch",
        )
    if as_json:
        print_json({"path": location})
    else:
        click.echo(location)
    return 0


@model.command()
@click.argument("file", metavar="FILE.onnx", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def describe(file: Path, as_json: bool) -> int:
    """Write FILE.toml beside an ONNX speaker encoder: what it says of itself, what is to fill in.

    WeSpeaker's and 3D-Speaker's models are known, with sherpa-onnx's metadata or without.
    """
    from voxprint.encoder.describe import describe as described

    target = file.with_suffix(".toml")
    text = described(file)
    try:
        with target.open("x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise UsageError(
            f"expected to write {target}: {error.strerror}", hint="Move the file that is there."
        ) from error
    if as_json:
        print_json({"file": target})
    else:
        click.echo(
            f"{printable(target)}: fill in what is marked 'Not known', then --model names it"
        )
    return 0


@model.command()
@model_option
@database_options
@json_option
def register(model: str | None, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Make an encoder known to a database, so that its embeddings may be stored there."""
    from voxprint.encoder.spec import find_model

    spec = find_model(model)
    ensure_model([] if model is None else [model])
    with open_gallery(data, dsn) as gallery:
        gallery.register_model(spec)
    if as_json:
        print_json({"model": spec.name, "dim": spec.dim, "hash": spec.hash})
    else:
        click.echo(f"{spec.name}: {spec.dim} numbers, spec {spec.hash[:12]}")
    return 0


@model.command()
@click.option(
    "--to", "name", metavar="NAME|FILE.toml", required=True, help="Encoder that is to hear them."
)
@click.option("--dry-run", is_flag=True, help="Hear nothing; say what would become of the gallery.")
@database_options
@json_option
def migrate(name: str, dry_run: bool, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Have another encoder hear all recordings that were kept; name who must be enrolled again.

    Recordings do not leave the database but for its worker, which must serve that encoder
    ('voxprint up --model NAME'). Voiceprints of other encoders stay as they are, and so does the
    encoder that is meant by default: SELECT voxprint.configure('default_model', NAME).
    """
    from voxprint.encoder.spec import find_model

    name = find_model(name).name
    with open_gallery(data, dsn) as gallery:
        quiet = as_json or not sys.stderr.isatty()
        done = gallery.migrate(
            name, dry_run=dry_run, progress=(lambda *_: None) if quiet else _count
        )
    if as_json:
        print_json(done)
        return EXIT_ERROR if done.refused else 0
    would = "would be " if dry_run else ""
    recordings = "recording" if done.heard == 1 else "recordings"
    click.echo(f"{done.heard} {recordings} {would}heard by {name}")
    for speaker, utterance, reason in done.refused:
        click.echo(printable(f"refused: {speaker}, utterance {utterance}: {reason}"), err=True)
    if done.again:
        click.echo(f"to be enrolled again, since nothing was kept of them: {len(done.again)}")
        for speaker in done.again:
            click.echo(printable(f"  {speaker}"))
    return EXIT_ERROR if done.refused else 0


def _count(done: int, of: int) -> None:
    click.echo(f"\r{done} of {of}", err=True, nl=done == of)


@click.command()
@click.option(
    "--voices",
    type=click.Path(file_okay=False),
    help="Real recordings laid out <speaker>/<file>, in place of synthetic voices.",
)
@click.option("--all", "take_all", is_flag=True, help="Take all of them, not only 20 x 6.")
@click.option(
    "--speak",
    type=click.Path(file_okay=False, path_type=Path),
    help="Only write the synthetic voices to this folder, to try the other commands with.",
)
def demo(voices: str | None, take_all: bool, speak: Path | None) -> int:
    """Show everything once, on a server in a temporary folder: under a minute."""
    if speak is not None:
        from voxprint.demo import recordings

        recordings.speak(speak)
        click.echo(f"synthetic voices written to {speak}/<speaker>/<number>.wav")
        return 0
    from voxprint.demo import story

    ensure_model()
    return story.run(voices, take_all=take_all)


COMMANDS = (embed, model, demo)
