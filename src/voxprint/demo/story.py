"""``voxprint demo``: the whole way once, on a server in a temporary folder."""

from __future__ import annotations

import re
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
from voxprint.demo.recordings import Person, of_folder, synthetic
from voxprint.errors import VoxprintError
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
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voxprint-demo-")))
        # A server that runs under another account must be able to enter; nothing in here is
        # readable to others all the same, for the data folder itself is closed.
        folder.chmod(0o711)
        people = _people(voices, folder / "voices", take_all)
        _heading("Starting PostgreSQL and a worker in a temporary folder")
        server = api.embedded_server(folder / "data")
        stack.callback(server.stop)
        server.start()
        stack.enter_context(Worker(server))
        click.echo(f"running after {time.monotonic() - started:.1f} s: {server.conninfo()}")
        with api.open(folder / "data") as gallery:
            _article(gallery, people)
            _enroll(gallery, people)
            _domain(gallery, people)
            right = _who_is_who(gallery, people)
        _heading("Cleaning up")
    click.echo(f"done in {time.monotonic() - started:.0f} s; nothing is left behind")
    return 0 if right else 1


def _people(voices: str | None, folder: Path, take_all: bool) -> list[Person]:
    if voices is not None:
        people, left_out = of_folder(Path(voices), take_all=take_all)
        if left_out:
            click.echo(left_out)
        return people
    click.echo(
        "The voices are SYNTHETIC (espeak-ng), to show the way; for real ones give a folder laid\n"
        "out <speaker>/<file>: make demo VOICES=folder"
    )
    return synthetic(folder)


def _article(gallery: api.Voxprint, people: list[Person]) -> None:
    _heading("The article's SQL, step by step")
    first, second = people[0], people[1]
    values = {
        "speaker": first.name,
        "enrolled": first.enrolled[0].read_bytes(),
        "probe": first.probes[0].read_bytes(),
        "other": second.probes[0].read_bytes(),
    }
    with gallery.connection() as connection:
        for title, statement in _statements("article.sql"):
            _show(connection, title, statement, values)
            if statement.startswith("INSERT"):
                for person in people[1:]:
                    connection.execute(
                        statement,
                        {"speaker": person.name, "enrolled": person.enrolled[0].read_bytes()},
                    )


def _enroll(gallery: api.Voxprint, people: list[Person]) -> None:
    _heading("Enrolling people")
    recordings = [(person.name, file) for person in people for file in person.enrolled]
    with click.progressbar(
        gallery.enroll_files(recordings), length=len(recordings), label="enrolling"
    ) as bar:
        for _, path, result in bar:
            if isinstance(result, VoxprintError):
                click.echo(f"\n{path.name}: refused: {result}", err=True)


def _domain(gallery: api.Voxprint, people: list[Person]) -> None:
    _heading("Decisions in SQL")
    values = {
        "speaker": people[0].name,
        "probe": people[0].probes[0].read_bytes(),
        "other": people[1].probes[0].read_bytes(),
    }
    with gallery.connection() as connection:
        for title, statement in _statements("domain.sql"):
            _show(connection, title, statement, values)


def _who_is_who(gallery: api.Voxprint, people: list[Person]) -> bool:
    """Identify every unseen recording, print who was taken for whom, and say if most is right."""
    _heading("Who was taken for whom: every recording here was unseen")
    probes = [(person.name, file) for person in people for file in person.probes]
    taken: dict[str, Counter[str]] = {person.name: Counter() for person in people}
    accepted = Counter[str]()
    embedded = gallery.encoder.embed_files([file for _, file in probes])
    with click.progressbar(embedded, length=len(probes), label="identifying") as bar:
        for (name, _), (file, probe) in zip(probes, bar, strict=True):
            if isinstance(probe, VoxprintError):
                click.echo(f"\n{file}: refused: {probe}", err=True)
                continue
            best = gallery.identify(probe, k=1)[0]
            taken[name][best.speaker] += 1
            accepted[name] += gallery.verify(name, probe).decision == "accept"
    width = max(len(person.name) for person in people)
    click.echo(f"{'speaker':{width}}  probes  verified  taken for")
    for name, counts in taken.items():
        whom = ", ".join(f"{who} {count}" for who, count in counts.most_common())
        click.echo(f"{name:{width}}  {counts.total():6}  {accepted[name]:8}  {whom}")
    total = sum(counts.total() for counts in taken.values())
    right = sum(counts[name] for name, counts in taken.items())
    click.echo(
        f"\n{right} of {total} unseen recordings were taken for the right person, "
        f"{accepted.total()} of {total} verified as who they are"
    )
    return total > 0 and right / total > 0.5


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
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:50] + f"… ({len(text)} characters)"
