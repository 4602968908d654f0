"""The verbs about who is enrolled: enroll, list, cohesion, duplicates, forget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from voxprint.cli.options import (
    audio_options,
    database_options,
    json_option,
    open_gallery,
    parse_attributes,
)
from voxprint.cli.output import (
    EXIT_ERROR,
    error_json,
    number,
    print_json,
    print_table,
    progress,
    scrubbed,
)
from voxprint.cli.reasons import in_words
from voxprint.errors import UsageError, VoxprintError
from voxprint.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from voxprint.audio.decode import RawFormat
    from voxprint.types import Enrolment

_FILE = click.Path(dir_okay=False, path_type=str)


@click.command()
@click.argument("speaker", required=False)
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--folder", type=click.Path(), help="Enrol a folder laid out <speaker>/<file>.")
@click.option("--attributes", metavar="JSON", help="Free facts about the person, merged in.")
@click.option("--group", "groups", multiple=True, help="Existing group to join; repeatable.")
@click.option("--consent", help="Reference to the person's consent.")
@click.option("--keep-audio", is_flag=True, help="Store the recordings too (default: never).")
@click.option("--overrule", is_flag=True, help="Enrol recordings that are no good reference, too.")
@audio_options
@database_options
@json_option
def enroll(
    speaker: str | None,
    files: Sequence[str],
    folder: str | None,
    attributes: str | None,
    groups: Sequence[str],
    consent: str | None,
    keep_audio: bool,
    overrule: bool,
    channel: int | None,
    raw: RawFormat | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Enrol SPEAKER with one or more FILES, or a whole --folder.

    Says how much more speech of the person is needed, what is to be said against a recording, and
    under which other name the voice seems to be enrolled. Enrolling the same recording of the
    same person again changes nothing and says so.
    """
    options: dict[str, Any] = {
        "attributes": parse_attributes(attributes),
        "groups": list(groups) or None,
        "consent": consent,
        "overrule": overrule,
    }
    if folder is not None:
        if speaker is not None or keep_audio or channel is not None or raw is not None:
            raise UsageError("--folder excludes SPEAKER, FILES, --keep-audio, --channel and --raw")
        return _enroll_folder(folder, options, data, dsn, as_json)
    if speaker is None or not files:
        raise UsageError("SPEAKER and at least one FILE are expected, or --folder DIR")
    with open_gallery(data, dsn) as gallery:
        enrolled = gallery.enroll_all(
            speaker, files, keep_audio=keep_audio, channel=channel, raw=raw, **options
        )
    if as_json:
        print_json([{"file": f, "result": r} for f, r in zip(files, enrolled, strict=True)])
        return 0
    for file, result in zip(files, enrolled, strict=True):
        what = "enrolled" if result.added else "already enrolled, nothing changed"
        told = (
            f"{file}: {what} ({speaker}: {_counted(result.utterances)}, "
            f"{result.speech_seconds:.1f} s of speech)"
        )
        click.echo(printable(told))
        for warning in _warnings(result):
            click.echo(printable(f"  {warning}"))
    click.echo(printable(_readiness(enrolled[-1])))
    return 0


def _counted(utterances: int) -> str:
    return "1 utterance" if utterances == 1 else f"{utterances} utterances"


def _warnings(result: Enrolment) -> list[str]:
    """What is to be said against an utterance, one line each."""
    lines = []
    # How much speech is there is said of the person, not of one recording.
    against = [reason for reason in result.reasons if reason not in ("short", "too_short")]
    if against:
        lines.append(f"warning: {in_words(against)}")
    for other in result.duplicates:
        llr = "" if other.llr is None else f", LLR {other.llr:.2f}"
        lines.append(
            f"warning: this voice is already enrolled as {other.speaker}, it seems "
            f"(score {other.score:.3f}{llr})"
        )
    return lines


def _readiness(result: Enrolment) -> str:
    if result.ready:
        return f"{result.speaker} is ready"
    return (
        f"{result.speaker} is not ready: {result.speech_needed:.1f} s more speech is needed, "
        "until then every decision is inconclusive"
    )


def _enroll_folder(
    folder: str, options: dict[str, Any], data: str | None, dsn: str | None, as_json: bool
) -> int:
    from voxprint.service.layout import folder_files

    files = folder_files(folder)
    with open_gallery(data, dsn) as gallery:
        results = gallery.enroll_files(files, **options)
        with progress(results, total=len(files), label="enrolling", quiet=as_json) as bar:
            done = list(bar)
    if as_json:
        print_json([_row(*each) for each in done])
    else:
        _print_folder(done)
    return EXIT_ERROR if any(isinstance(outcome, VoxprintError) for _, _, outcome in done) else 0


def _row(speaker: str, path: Path, outcome: Enrolment | VoxprintError) -> dict[str, Any]:
    row = {"speaker": speaker, "file": path}
    if isinstance(outcome, VoxprintError):
        return {**row, "error": error_json(outcome)}
    return {**row, "result": outcome}


def _print_folder(done: Sequence[tuple[str, Path, Enrolment | VoxprintError]]) -> None:
    enrolled: dict[str, Enrolment] = {}
    added = known = refused = 0
    for speaker, path, outcome in done:
        if isinstance(outcome, VoxprintError):
            refused += 1
            click.echo(printable(f"{path}: refused: {outcome}"), err=True)
            continue
        enrolled[speaker] = outcome  # the last one knows how much there is of the person
        added += outcome.added
        known += not outcome.added
        for warning in _warnings(outcome):
            click.echo(printable(f"{path}: {warning}"), err=True)
    for result in enrolled.values():
        if not result.ready:
            click.echo(printable(_readiness(result)), err=True)
    click.echo(
        f"{added} utterances of {len(enrolled)} speakers enrolled, {known} already there, "
        f"{refused} refused"
    )


@click.command("list")
@click.option("--group", "groups", multiple=True, help="Only members of this group; repeatable.")
@database_options
@json_option
def list_speakers(groups: Sequence[str], data: str | None, dsn: str | None, as_json: bool) -> int:
    """List who is enrolled."""
    with open_gallery(data, dsn) as gallery:
        speakers = gallery.speakers(groups=list(groups) or None)
    if as_json:
        print_json(speakers)
    elif speakers:
        print_table(
            ["speaker", "status", "utterances", "speech s", "groups", "attributes"],
            [
                (
                    *(s.speaker, s.status, s.utterances, f"{s.speech_seconds:.1f}"),
                    ", ".join(s.groups),
                    json.dumps(s.attributes, ensure_ascii=False) if s.attributes else "",
                )
                for s in speakers
            ],
        )
    else:
        where = f"in {' or '.join(groups)}" if groups else "enrolled"
        click.echo(printable(f"nobody is {where}"))
    return 0


@click.command()
@click.argument("speaker")
@database_options
@json_option
def cohesion(speaker: str, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Do the utterances of SPEAKER agree? Names those that seem to be of another voice."""
    with open_gallery(data, dsn) as gallery:
        utterances = gallery.cohesion(speaker)
    if as_json:
        print_json(utterances)
        return 0
    print_table(
        ["utterance", "channel", "score", "LLR", ""],
        [
            (
                *(u.utterance_id, u.channel, number(u.score, 3), number(u.llr)),
                "<- of another voice, it seems" if u.outlier else "",
            )
            for u in utterances
        ],
    )
    if any(u.outlier for u in utterances):
        click.echo("to remove one: voxprint forget SPEAKER --utterance NUMBER")
    return 0


@click.command()
@click.option(
    "--far",
    type=float,
    help="How often different people may be taken for one, in (0, 1) (default: the setting).",
)
@database_options
@json_option
def duplicates(far: float | None, data: str | None, dsn: str | None, as_json: bool) -> int:
    """List pairs of names that seem to be of one voice. Takes long in a large gallery."""
    with open_gallery(data, dsn) as gallery:
        pairs = gallery.find_duplicates(far)
    if as_json:
        print_json(pairs)
    elif pairs:
        print_table(
            ["speaker", "other", "score", "LLR"],
            [(p.speaker, p.other, number(p.score, 3), number(p.llr)) for p in pairs],
        )
    else:
        click.echo("every name seems to have a voice of its own")
    return 0


@click.command()
@click.argument("speaker")
@click.option("--utterance", type=int, help="Remove this utterance alone (see cohesion).")
@click.option("--no-scrub", is_flag=True, help="Delete only; leave freed bytes to a later forget.")
@database_options
@json_option
def forget(
    speaker: str,
    utterance: int | None,
    no_scrub: bool,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Remove SPEAKER and everything derived from their voice, then scrub the data files."""
    with open_gallery(data, dsn) as gallery:
        if utterance is None:
            removal = gallery.forget(speaker, scrub=not no_scrub)
        else:
            removal = gallery.remove_utterance(speaker, utterance, scrub=not no_scrub)
    if as_json:
        print_json(removal)
        return 0
    rows = ", ".join(f"{count} {table}" for table, count in sorted(removal.removed.items()))
    click.echo(f"forgotten: {rows}; tombstone {removal.tombstone}")
    click.echo(
        "freed bytes may still lie in the data files: voxprint scrub"
        if removal.scrub_pending
        else scrubbed(removal.kept_by)
    )
    return 0


COMMANDS = (enroll, list_speakers, cohesion, duplicates, forget)
