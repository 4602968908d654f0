"""The verbs about people: enroll, verify, identify, compare, list, forget."""

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
    threshold_option,
)
from voxprint.cli.output import EXIT_ERROR, error_json, print_json, print_table, progress, scrubbed
from voxprint.errors import UsageError, VoxprintError
from voxprint.text import printable

if TYPE_CHECKING:
    from voxprint.audio.decode import RawFormat

_EXIT = {"accept": 0, "reject": 1, "inconclusive": 3}
_FILE = click.Path(dir_okay=False, path_type=str)


@click.command()
@click.argument("speaker", required=False)
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--folder", type=click.Path(), help="Enrol a folder laid out <speaker>/<file>.")
@click.option("--attributes", metavar="JSON", help="Free facts about the person, merged in.")
@click.option("--group", "groups", multiple=True, help="Existing group to join; repeatable.")
@click.option("--consent", help="Reference to the person's consent.")
@click.option("--keep-audio", is_flag=True, help="Store the recordings too (default: never).")
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
    channel: int | None,
    raw: RawFormat | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Enrol SPEAKER with one or more FILES, or a whole --folder.

    Enrolling the same recording of the same person again changes nothing and says so.
    """
    options: dict[str, Any] = {
        "attributes": parse_attributes(attributes),
        "groups": list(groups) or None,
        "consent": consent,
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
        results = []
        for file, result in zip(files, enrolled, strict=True):
            results.append({"file": file, "result": result})
            if not as_json:
                what = "enrolled" if result.added else "already enrolled, nothing changed"
                told = (
                    f"{file}: {what} ({speaker}: {result.utterances} utterances, "
                    f"{result.speech_seconds:.1f} s of speech)"
                )
                click.echo(printable(told))
    if as_json:
        print_json(results)
    return 0


def _enroll_folder(
    folder: str, options: dict[str, Any], data: str | None, dsn: str | None, as_json: bool
) -> int:
    from voxprint.service.layout import folder_files

    files = folder_files(folder)
    done: list[dict[str, Any]] = []
    refused = 0
    with open_gallery(data, dsn) as gallery:
        results = gallery.enroll_files(files, **options)
        with progress(results, total=len(files), label="enrolling", quiet=as_json) as bar:
            for speaker, path, result in bar:
                row: dict[str, Any] = {"speaker": speaker, "file": path}
                if isinstance(result, VoxprintError):
                    refused += 1
                    done.append({**row, "error": error_json(result)})
                else:
                    done.append({**row, "result": result})
    if as_json:
        print_json(done)
    else:
        for row in done:
            if "error" in row:
                told = f"{row['file']}: refused: {row['error']['message']}"
                click.echo(printable(told), err=True)
        added = sum(1 for row in done if "result" in row and row["result"].added)
        people = len({row["speaker"] for row in done if "result" in row})
        known = len(done) - refused - added
        click.echo(
            f"{added} utterances of {people} speakers enrolled, {known} already there, "
            f"{refused} refused"
        )
    return EXIT_ERROR if refused else 0


@click.command()
@click.argument("speaker")
@click.argument("file", type=_FILE)
@threshold_option
@audio_options
@database_options
@json_option
def verify(
    speaker: str,
    file: str,
    threshold: float | None,
    channel: int | None,
    raw: RawFormat | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Is the voice in FILE the person SPEAKER?

    Exits 0 for accept, 1 for reject, 3 for inconclusive, 2 for an error.
    """
    with open_gallery(data, dsn) as gallery:
        result = gallery.verify(speaker, file, threshold=threshold, channel=channel, raw=raw)
    if as_json:
        print_json(result)
    else:
        click.echo(f"{result.decision}: score {result.score:.3f}")
    return _EXIT[result.decision]


@click.command()
@click.argument("file", type=_FILE)
@click.option("-k", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@click.option("--group", "groups", multiple=True, help="Only members of this group; repeatable.")
@click.option("--attributes", metavar="JSON", help="Only people whose attributes contain these.")
@click.option("--path", metavar="JSONPATH", help="Only people whose attributes match this.")
@threshold_option
@audio_options
@database_options
@json_option
def identify(
    file: str,
    k: int,
    groups: Sequence[str],
    attributes: str | None,
    path: str | None,
    threshold: float | None,
    channel: int | None,
    raw: RawFormat | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Whose voice is in FILE? The most similar people, best first."""
    with open_gallery(data, dsn) as gallery:
        results = gallery.identify(
            file,
            k=k,
            groups=list(groups) or None,
            attributes=parse_attributes(attributes),
            attributes_path=path,
            threshold=threshold,
            channel=channel,
            raw=raw,
        )
    if as_json:
        print_json(results)
    elif results:
        print_table(
            ["rank", "speaker", "decision", "score"],
            [(r.rank, r.speaker, r.decision, f"{r.score:.3f}") for r in results],
        )
    else:
        click.echo("nobody is enrolled who meets the conditions")
    return 0


@click.command()
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@threshold_option
@audio_options
@database_options
@json_option
def compare(
    a: str,
    b: str,
    threshold: float | None,
    channel: int | None,
    raw: RawFormat | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Are recordings A and B of one person? Nothing is stored. Exit codes as of verify."""
    with open_gallery(data, dsn) as gallery:
        result = gallery.compare(a, b, threshold=threshold, channel=channel, raw=raw)
    if as_json:
        print_json(result)
    else:
        click.echo(f"{result.decision}: score {result.score:.3f}")
    return _EXIT[result.decision]


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
@click.option("--no-scrub", is_flag=True, help="Delete only; leave freed bytes to a later forget.")
@database_options
@json_option
def forget(speaker: str, no_scrub: bool, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Remove SPEAKER and everything derived from their voice, then scrub the data files."""
    with open_gallery(data, dsn) as gallery:
        removal = gallery.forget(speaker, scrub=not no_scrub)
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


COMMANDS = (enroll, verify, identify, compare, list_speakers, forget)
