"""How results are printed: text for people, or one JSON document."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from voxprint.errors import VoxprintError
from voxprint.text import printable, table

#: Exit codes: 0 done (verify, compare: accept), 1 reject, 2 error, 3 inconclusive.
EXIT_ERROR = 2


def print_json(value: Any) -> None:
    """Print one JSON document; dataclasses, arrays and paths become what one expects."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def as_plain(result: Any) -> dict[str, Any]:
    """Return a result's fields by name."""
    return {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_plain(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def print_error(error: VoxprintError, *, as_json: bool) -> None:
    """Print an error with its hint: to stderr for people, to stdout as JSON where asked."""
    if as_json:
        print_json({"error": error_json(error)})
        return
    click.echo(f"voxprint: {printable(error)}", err=True)
    if error.hint:
        click.echo(f"hint: {printable(error.hint)}", err=True)


def error_json(error: VoxprintError) -> dict[str, Any]:
    """Return the stable form of an error in JSON output."""
    described: dict[str, Any] = {"code": error.code, "message": str(error), "hint": error.hint}
    for name in ("reason", "reasons"):
        if found := getattr(error, name, None):
            described[name] = found
    return described


def scrubbed(kept_by: Sequence[str]) -> str:
    """Say what a scrub left: nothing, or what may still hold copies."""
    if kept_by:
        return f"gallery rewritten; copies may remain in: {', '.join(kept_by)}"
    return "gallery rewritten: nothing of a forgotten person is left in it; other tables are yours"


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns."""
    click.echo(table(headings, rows))


def number(value: float | None, places: int = 2) -> str:
    """A number for a cell of a table; nothing where there is none."""
    return "" if value is None else f"{value:.{places}f}"


def progress(iterable: Iterable[Any], *, total: int, label: str, quiet: bool = False) -> Any:
    """Return ``iterable`` behind a progress bar on stderr; silent where no terminal watches.

    Use as a context manager that yields the iterable.
    """
    return click.progressbar(
        iterable,
        length=total,
        label=label,
        file=sys.stderr,
        hidden=quiet or not sys.stderr.isatty(),
        show_pos=True,
    )


@contextmanager
def stages(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars of work in stages, one for each name: call with name, done and total."""
    with ExitStack() as bars:
        shown: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in shown:
                bar = progress((), total=total, label=stage, quiet=quiet)
                shown[stage] = bars.enter_context(bar)
            shown[stage].update(done - shown[stage].pos)

        yield advance
