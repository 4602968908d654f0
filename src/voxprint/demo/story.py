"""``voxprint demo``: the whole way once, on a server in a temporary folder."""

from __future__ import annotations

import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from voxprint import api
from voxprint.demo.recordings import (
    Person,
    Recording,
    choose,
    joined,
    loudest,
    people_of,
    speak,
)
from voxprint.errors import FailureToEnroll, VoxprintError
from voxprint.text import printable, table
from voxprint.types import Candidate
from voxprint.worker.supervisor import Worker

_PARAMETER = re.compile(r"%\((\w+)\)s")


def run(voices: str | None, *, take_all: bool = False) -> int:
    """Show everything; return the exit code, 0 where all went well.

    Args:
        voices: folder of real recordings, or None for synthetic voices.
        take_all: take the whole folder instead of 20 speakers x 6 recordings.
    Raises:
        VoxprintError: any step failed.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        _clean_up_on_signals()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voxprint-demo-")))
        # A server that runs under another account must be able to enter; nothing in here is
        # readable to others all the same, for the data folder itself is closed.
        folder.chmod(0o711)
        files = _files(voices, folder / "voices", take_all)
        _heading("Starting PostgreSQL and a worker in a temporary folder")
        server = api.embedded_server(folder / "data")
        stack.callback(server.stop)
        server.start()
        stack.enter_context(Worker(server))
        click.echo(f"running after {time.monotonic() - started:.1f} s: {server.conninfo()}")
        with api.open(folder / "data") as gallery:
            people = _listen(gallery, files)
            _article(gallery, people)
            _enroll(gallery, people[:-1])  # the last one is an outsider for a while
            _domain(gallery, people)
            _two_people(gallery, people)
            _enroll(gallery, people[-1:])
            right = _who_is_who(gallery, people)
        _heading("Cleaning up")
    click.echo(f"done in {time.monotonic() - started:.0f} s; the temporary folder is gone")
    return 0 if right else 1


def _clean_up_on_signals() -> None:
    """Let a closed terminal and ``kill`` end the demonstration as Ctrl-C does: tidily."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def _files(voices: str | None, folder: Path, take_all: bool) -> list[tuple[str, Path]]:
    if voices is None:
        click.echo(
            "The voices are SYNTHETIC (espeak-ng), to show the way; for real ones give a folder\n"
            "laid out <speaker>/<file>: make demo VOICES=folder"
        )
        speak(folder)
        return choose(folder, take_all=True)[0]
    files, left_out = choose(Path(voices), take_all=take_all)
    if left_out:
        click.echo(left_out)
    return files


def _listen(gallery: api.Voxprint, files: list[tuple[str, Path]]) -> list[Person]:
    """Embed every recording, and say which ones cannot be used."""
    _heading("Listening to the recordings")
    refused = []
    usable = []
    embedded = gallery.encoder.embed_files([file for _, file in files])
    with click.progressbar(embedded, length=len(files), label="embedding") as bar:
        for (speaker, file), (_, result) in zip(files, bar, strict=True):
            if isinstance(result, VoxprintError):
                refused.append(f"{file}: refused: {result}")
            else:
                usable.append((speaker, Recording(file, result)))
    for line in refused:
        click.echo(printable(line), err=True)
    click.echo(f"{len(usable)} of {len(files)} recordings can be used")
    return people_of(usable)


def _article(gallery: api.Voxprint, people: list[Person]) -> None:
    _heading("The article's SQL, step by step")
    values = _values(people)
    with gallery.connection() as connection:
        for title, statement in _statements("article.sql"):
            _show(connection, title, statement, values)
            if statement.startswith("INSERT"):
                for person in people[1:]:
                    enrolled = person.enrolled[0].path.read_bytes()
                    connection.execute(statement, {"speaker": person.name, "enrolled": enrolled})


def _values(people: list[Person]) -> dict[str, str | bytes]:
    """What the statements are run with: the first person's recordings, and those of others."""
    first, second, last = people[0], people[1], people[-1]
    return {
        "speaker": first.name,
        "enrolled": first.enrolled[0].path.read_bytes(),
        "probe": first.probes[0].path.read_bytes(),
        "other": second.probes[0].path.read_bytes(),
        "outsider": last.probes[0].path.read_bytes(),
        "half_a_second": loudest(first.probes[0].path, 0.5),
    }


def _enroll(gallery: api.Voxprint, people: list[Person]) -> None:
    _heading(f"Enrolling {printable(people[0].name) if len(people) == 1 else 'people'}")
    recordings = 0
    for person in people:
        for recording in person.enrolled:
            try:
                last = gallery.enroll(person.name, recording.embedding)
            except FailureToEnroll as error:
                click.echo(printable(f"{recording.path}: refused: {error}"), err=True)
                continue
            recordings += 1
            if last.duplicates:
                names = ", ".join(other.speaker for other in last.duplicates)
                click.echo(printable(f"{recording.path}: already enrolled as {names}, it seems"))
    whom = f"{len(people)} people" if len(people) > 1 else printable(people[0].name)
    click.echo(f"{recordings} recordings of {whom} are enrolled")


def _domain(gallery: api.Voxprint, people: list[Person]) -> None:
    _heading(f"Decisions in SQL ({printable(people[-1].name)} is not enrolled yet)")
    values = _values(people)
    with gallery.connection() as connection:
        for title, statement in _statements("domain.sql"):
            _show(connection, title, statement, values)


def _two_people(gallery: api.Voxprint, people: list[Person]) -> None:
    """Try to enrol a recording in which two people speak."""
    _heading("A recording of two people is no reference")
    spoken = joined(each.path for person in people[:2] for each in person.probes[:1])
    try:
        gallery.enroll("two people", spoken)
    except FailureToEnroll as error:
        click.echo(f"refused: {error} ({', '.join(error.reasons)})\nhint: {error.hint}")
    else:
        gallery.forget("two people", scrub=False)
        click.echo(
            "these two voices are too alike to be told apart by one recording; removed again"
        )


def _who_is_who(gallery: api.Voxprint, people: list[Person]) -> bool:
    """Compare every unseen recording with everybody; print who was taken for whom.

    Returns:
        Whether most were taken for the right person.
    """
    _heading("Who was taken for whom: every recording here was unseen")
    rows = []
    with click.progressbar(people, label="identifying") as bar:
        for person in bar:
            found = [
                gallery.identify(probe.embedding, k=min(1000, len(people)))
                for probe in person.probes
            ]
            rows.append((person.name, len(found), *_counts(person.name, found)))
    shown = table(
        ["speaker", "probes", "accepted as self", "as others", "nearest", ""],
        [
            (
                *(name, count, own, others),
                ", ".join(f"{who} {times}" for who, times in taken.most_common()),
                "" if taken[name] == count else "<- wrong",
            )
            for name, count, own, others, taken in rows
        ],
    )
    click.echo(shown)
    total = sum(row[1] for row in rows)
    own = sum(row[2] for row in rows)
    others = sum(row[3] for row in rows)
    right = sum(row[4][row[0]] for row in rows)
    click.echo(
        f"\n{right} of {total} unseen recordings were nearest to the right person; "
        f"{own} of {total} were accepted\nas who they are, {others} as somebody else; for the rest "
        "the answer is nobody, or inconclusive.\n"
        "What to expect of real voices, and why: docs/results.md"
    )
    return right / total > 0.5


def _counts(name: str, found: list[list[Candidate]]) -> tuple[int, int, Counter[str]]:
    """How often a person was accepted as self, as somebody else, and who was nearest."""
    accepted = [c.speaker for all_ in found for c in all_ if c.decision == "accept"]
    own = accepted.count(name)
    return own, len(accepted) - own, Counter(all_[0].speaker for all_ in found)


def _heading(text: str) -> None:
    click.secho(f"\n== {text}", bold=True)


def _statements(name: str) -> Iterator[tuple[str, str]]:
    """Yield (title, statement) of an SQL file whose steps begin with a comment line."""
    title = ""
    for block in files("voxprint.demo").joinpath(name).read_text("utf-8").split(";\n"):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("-- "):
            title, lines = lines[0][3:], lines[1:]
        if lines:
            yield title, "\n".join(lines)


def _show(connection: Any, title: str, statement: str, values: dict[str, Any]) -> None:
    """Print a statement as one would type it, run it, and print its answer."""
    click.secho(f"\n-- {title}", dim=True)
    click.echo(_PARAMETER.sub(lambda match: _shown(match[1], values[match[1]]), statement) + ";")
    began = time.monotonic()
    names = _PARAMETER.findall(statement)
    cursor = connection.execute(statement, {name: values[name] for name in names} or None)
    if cursor.description is not None:
        heads = [column.name for column in cursor.description]
        rows = [[_cell(value) for value in row] for row in cursor.fetchall()]
        click.secho("   " + " | ".join(heads), fg="cyan")
        for row in rows:
            click.secho("   " + " | ".join(row), fg="cyan")
        click.secho(f"   ({len(rows)} {'row' if len(rows) == 1 else 'rows'}, ", fg="cyan", nl=False)
    else:
        click.secho(f"   ({cursor.statusmessage}, ", fg="cyan", nl=False)
    click.secho(f"{1000 * (time.monotonic() - began):.0f} ms)", fg="cyan")


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{name}: audio, {len(value) // 1000} kB>"
    return "'" + str(value).replace("'", "''") + "'"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(value)
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:50] + f"… ({len(text)} characters)"
