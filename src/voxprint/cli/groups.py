"""``voxprint group``: the named parts of the gallery."""

from __future__ import annotations

import click

from voxprint.cli.options import database_options, json_option, open_gallery
from voxprint.cli.output import print_json, print_table
from voxprint.text import printable


@click.group()
def group() -> None:
    """Groups (voiceprint libraries): create, drop, join, leave, list."""


@group.command()
@click.argument("name")
@click.option("--description", help="What the group is for.")
@click.option("--watchlist", is_flag=True, help="Verifications can be checked against its members.")
@database_options
@json_option
def create(
    name: str,
    description: str | None,
    watchlist: bool,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Make the group NAME."""
    with open_gallery(data, dsn) as gallery:
        gallery.create_group(name, description, watchlist=watchlist)
    return _done(f"group {name} made", as_json)


@group.command()
@click.argument("name")
@database_options
@json_option
def drop(name: str, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Remove the group NAME; its members stay enrolled."""
    with open_gallery(data, dsn) as gallery:
        gallery.drop_group(name)
    return _done(f"group {name} removed", as_json)


@group.command()
@click.argument("speaker")
@click.argument("name")
@database_options
@json_option
def join(speaker: str, name: str, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Put SPEAKER into the group NAME."""
    with open_gallery(data, dsn) as gallery:
        gallery.join_group(speaker, name)
    return _done(f"{speaker} is in {name}", as_json)


@group.command()
@click.argument("speaker")
@click.argument("name")
@database_options
@json_option
def leave(speaker: str, name: str, data: str | None, dsn: str | None, as_json: bool) -> int:
    """Take SPEAKER out of the group NAME."""
    with open_gallery(data, dsn) as gallery:
        gallery.leave_group(speaker, name)
    return _done(f"{speaker} is not in {name}", as_json)


@group.command("list")
@database_options
@json_option
def list_groups(data: str | None, dsn: str | None, as_json: bool) -> int:
    """List the groups with the number of their members."""
    with open_gallery(data, dsn) as gallery:
        groups = gallery.groups()
    if as_json:
        print_json(groups)
    elif groups:
        rows = [
            (each.name, each.speakers, "yes" if each.watchlist else "", each.description or "")
            for each in groups
        ]
        print_table(["group", "speakers", "watchlist", "description"], rows)
    else:
        click.echo("there is no group")
    return 0


def _done(what: str, as_json: bool) -> int:
    if as_json:
        print_json({"done": what})
    else:
        click.echo(printable(what))
    return 0


COMMANDS = (group,)
