"""What stands behind decisions: the log and its report, the settings, the calibrations."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from voxprint.cli.options import database_options, json_option, open_gallery
from voxprint.cli.output import print_json, print_table
from voxprint.errors import UsageError
from voxprint.text import printable

if TYPE_CHECKING:
    from voxprint.types import Calibration, LoggedDecision


def _moment(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"a date or time is expected, {text!r} came",
            hint="write 2026-03-31 or 2026-03-31T12:00+02:00; without an offset it is UTC",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_since = click.option(
    "--since", metavar="TIME", callback=_moment, help="From this date or time (UTC) on."
)
_until = click.option(
    "--until", metavar="TIME", callback=_moment, help="Before this date or time (UTC)."
)


@click.group()
def decisions() -> None:
    """The log of decisions: list, label."""


@decisions.command("list")
@_since
@_until
@click.option("--speaker", help="Only decisions about this person.")
@click.option("--decision", type=click.Choice(["accept", "reject", "inconclusive", "changed"]))
@click.option("--kind", type=click.Choice(["verify", "identify", "watch"]))
@click.option("--labelled/--unlabelled", default=None, help="Only those with, or without, a label.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@database_options
@json_option
def list_decisions(
    since: datetime | None,
    until: datetime | None,
    speaker: str | None,
    decision: str | None,
    kind: str | None,
    labelled: bool | None,
    limit: int,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """List recorded decisions, newest first."""
    with open_gallery(data, dsn) as gallery:
        found = gallery.decisions(
            since=since,
            until=until,
            speaker=speaker,
            decision=decision,
            kind=kind,
            labelled=labelled,
            limit=limit,
        )
    if as_json:
        print_json(found)
    elif found:
        print_table(
            ["id", "at", "asked by", "kind", "speaker", "decision", "score", "llr", "label", "why"],
            map(_decision_row, found),
        )
    else:
        click.echo("no such decision is recorded")
    return 0


def _decision_row(one: LoggedDecision) -> tuple[object, ...]:
    return (
        one.decision_id,
        f"{one.at:%Y-%m-%d %H:%M:%S%z}",
        one.asked_by,
        one.kind,
        one.speaker or "",
        one.decision,
        "" if one.score is None else f"{one.score:.3f}",
        "" if one.llr is None else f"{one.llr:.2f}",
        {None: "", True: "same", False: "different"}[one.label],
        ", ".join(one.reasons),
    )


@decisions.command()
@click.argument("decision_id", metavar="ID", type=click.IntRange(min=1))
@click.argument("who", type=click.Choice(["same", "different"]))
@database_options
@json_option
def label(decision_id: int, who: str, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Say of decision ID that the probe was the person named, or somebody different."""
    with open_gallery(data, dsn) as gallery:
        done = gallery.label_decision(decision_id, who == "same")
    if as_json:
        print_json(done)
        return 0
    said = f"decision {decision_id}: {who}"
    if done.earlier_at is not None:
        before = "same" if done.earlier else "different"
        said += f", was {before} by {done.earlier_by} at {done.earlier_at:%Y-%m-%d %H:%M}"
    click.echo(printable(said))
    return 0


@click.command()
@_since
@_until
@click.option(
    "--png",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw it as well; needs voxprint[evaluate].",
)
@database_options
@json_option
def report(
    since: datetime | None,
    until: datetime | None,
    png: Path | None,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Summarise recorded decisions: rates by day, channel, reason; errors where labelled."""
    with open_gallery(data, dsn) as gallery:
        summary = gallery.report(since=since, until=until)
    if as_json:
        print_json(summary.as_json())
    else:
        click.echo(str(summary))
    if png:
        summary.plot(png)
    return 0


@click.group()
def config() -> None:
    """Settings of the whole database: show, set."""


@config.command()
@database_options
@json_option
def show(data: str | None, dsn: str | None, as_json: bool) -> int:
    """Show every setting, its default and what it means."""
    with open_gallery(data, dsn) as gallery:
        settings = gallery.settings()
    if as_json:
        print_json(settings)
    else:
        rows = [(each.name, each.value, each.default, each.description) for each in settings]
        print_table(["setting", "value", "default", "meaning"], rows)
    return 0


@config.command("set")
@click.argument("name")
@click.argument("value")
@database_options
@json_option
def set_value(name: str, value: str, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Set NAME to VALUE for everybody, from the next call on."""
    with open_gallery(data, dsn) as gallery:
        gallery.configure(name, value)
    return _done(f"{name} is {value}", as_json)


@click.group()
def calibrations() -> None:
    """How scores become decisions: list, show and choose stored versions."""


@calibrations.command("list")
@database_options
@json_option
def list_calibrations(data: str | None, dsn: str | None, as_json: bool) -> int:
    """List the stored calibrations; one of each model is in use."""
    with open_gallery(data, dsn) as gallery:
        found = gallery.calibrations()
    if as_json:
        print_json(found)
    elif found:
        print_table(
            ["id", "model", "source", "made", "by", "in use"],
            [
                (
                    each.calibration_id,
                    each.model,
                    each.source,
                    f"{each.created_at:%Y-%m-%d %H:%M}",
                    each.created_by,
                    "yes" if each.active else "",
                )
                for each in found
            ],
        )
    else:
        click.echo("no calibration is stored: decisions rest on the model's cosine threshold")
    return 0


@calibrations.command("show")
@click.argument("calibration_id", metavar="ID", type=int)
@database_options
@json_option
def show_calibration(calibration_id: int, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Show calibration ID with its parameters and what was measured."""
    with open_gallery(data, dsn) as gallery:
        found = {each.calibration_id: each for each in gallery.calibrations()}
    if calibration_id not in found:
        numbers = ", ".join(map(str, found)) or "none"
        raise UsageError(f"no calibration {calibration_id}", hint=f"stored are: {numbers}")
    one = found[calibration_id]
    if as_json:
        print_json(one)
    else:
        click.echo(_calibration_text(one))
    return 0


def _calibration_text(one: Calibration) -> str:
    facts = {
        "calibration": one.calibration_id,
        "model": f"{one.model}, spec {one.spec_hash[:12]}",
        "source": one.source,
        "made": f"{one.created_at:%Y-%m-%d %H:%M} by {one.created_by}",
        "in use": "yes" if one.active else "no",
        "parameters": json.dumps(one.parameters),
        "report": json.dumps(one.report),
    }
    return "\n".join(f"{name}: {printable(value)}" for name, value in facts.items())


@calibrations.command()
@click.argument("calibration_id", metavar="ID", type=int)
@database_options
@json_option
def use(calibration_id: int, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Take up calibration ID, in place of the one in use."""
    with open_gallery(data, dsn) as gallery:
        gallery.use_calibration(calibration_id)
    return _done(f"calibration {calibration_id} is in use", as_json)


def _done(what: str, as_json: bool) -> int:
    if as_json:
        print_json({"done": what})
    else:
        click.echo(printable(what))
    return 0


COMMANDS = (decisions, report, config, calibrations)
