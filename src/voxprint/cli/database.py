"""Commands about the database: up, worker, sql, install, scrub, tune, doctor."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import click

from voxprint.cli.models import ensure_model, introduce
from voxprint.cli.options import (
    data_option,
    database_options,
    json_option,
    one_database,
    open_gallery,
    worker_options,
)
from voxprint.cli.output import EXIT_ERROR, print_json, scrubbed
from voxprint.errors import VoxprintError


@click.command()
@data_option
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Listen on this TCP port of loopback as well."
)
@worker_options
@json_option
def up(data: str | None, port: int | None, as_json: bool, **limits: Any) -> int:
    """Start (or join) the embedded server and its workers; stop them on Ctrl-C."""
    from voxprint import api
    from voxprint.worker.supervisor import Worker

    stop = _stop_on_signal()
    ensure_model(limits["models"])
    server = api.embedded_server(data, port=port)
    joined = server.join_or_start()
    try:
        introduce(limits["models"], server.conninfo())
        with Worker(server, **limits) as worker:
            if as_json:
                print_json({"dsn": server.conninfo(), "joined": joined, "data": server.data})
            else:
                click.echo(f"{'joined' if joined else 'started'} {server.data}")
                click.echo(server.conninfo())
                click.echo("SQL: voxprint sql   stop: Ctrl-C")
            while not stop.wait(1.0):
                # Whoever else kept them may have gone, or been killed: take over.
                if not server.running:
                    server.join_or_start()
                    worker.stop()
                if not worker.running:
                    worker.start()
    finally:
        server.stop()
    return 0


@click.command()
@click.option("--dsn", envvar="VOXPRINT_DSN", show_envvar=True, required=True, help="Superuser's.")
@click.option("--host", help="Address to listen on (default: a socket, or loopback).")
@click.option("--port", type=click.IntRange(1, 65535), help="TCP port to listen on.")
@click.option("--certificate", type=click.Path(dir_okay=False), help="PEM chain for TLS.")
@click.option("--key", type=click.Path(dir_okay=False), help="PEM key for TLS.")
@worker_options
@json_option
def worker(
    dsn: str,
    host: str | None,
    port: int | None,
    certificate: str | None,
    key: str | None,
    as_json: bool,
    **limits: Any,
) -> int:
    """Serve your own PostgreSQL: embed the audio that its SQL hands over."""
    from voxprint.worker.supervisor import Worker

    stop = _stop_on_signal()
    ensure_model(limits["models"])
    introduce(limits["models"], dsn)
    with Worker.for_dsn(
        dsn, host=host, port=port, certificate=certificate, key=key, **limits
    ) as running:
        if as_json:
            print_json({"address": running.address})
        else:
            click.echo(f"serving on {running.address}; stop: Ctrl-C")
        while not stop.wait(1.0):
            if not running.running:
                raise VoxprintError(
                    "the worker has ended unexpectedly", hint="start it again; stderr says why"
                )
    return 0


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    return stop


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("-c", "--command", "commands", multiple=True, help="Run this SQL; repeatable.")
@click.argument("psql_arguments", nargs=-1, type=click.UNPROCESSED)
@database_options
def sql(
    commands: Sequence[str], psql_arguments: Sequence[str], data: str | None, dsn: str | None
) -> int:
    """Open psql on the database, or run -c SQL. Further arguments go to psql as they are."""
    from voxprint import api
    from voxprint.db.server import psql_path
    from voxprint.worker.supervisor import Worker

    arguments = [item for command in commands for item in ("-c", command)] + list(psql_arguments)
    data, dsn = one_database(data, dsn)
    if dsn is not None:
        return _psql(psql_path(), dsn, arguments)
    server = api.embedded_server(data)
    joined = server.join_or_start()
    try:
        if joined:
            return _psql(server.psql, server.conninfo(), arguments)
        ensure_model()
        introduce((), server.conninfo())
        with Worker(server):
            return _psql(server.psql, server.conninfo(), arguments)
    finally:
        server.stop()


def _psql(psql: Any, conninfo: str, arguments: list[str]) -> int:
    # psql handles Ctrl-C itself (it cancels the query); this process must outlive it.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.call([str(psql), conninfo, *arguments])
    finally:
        signal.signal(signal.SIGINT, previous)


@click.command()
@click.option("--dsn", envvar="VOXPRINT_DSN", show_envvar=True, required=True, help="Superuser's.")
@json_option
def install(dsn: str, as_json: bool) -> int:
    """Install or upgrade the extensions on your own PostgreSQL (16 or newer, with pgvector)."""
    from voxprint.db import install as installer

    report = installer.install(dsn)
    if as_json:
        print_json(report)
    else:
        click.echo(report)
    return 0


@click.command()
@database_options
@json_option
def scrub(data: str | None, dsn: str | None, as_json: bool) -> int:
    """Erase the freed bytes of forgotten people from the data files."""
    with open_gallery(data, dsn) as gallery:
        kept_by = gallery.scrub()
    if as_json:
        print_json({"kept_by": kept_by})
    else:
        click.echo(scrubbed(kept_by))
    return 0


@click.command()
@database_options
@json_option
def tune(data: str | None, dsn: str | None, as_json: bool) -> int:
    """Measure how the gallery is searched on this machine, and keep it for identify.

    Worth it after enrolling many people, and when there are half as many again.
    """
    from voxprint.text import table

    with open_gallery(data, dsn) as gallery:
        settings = gallery.tune()
    if as_json:
        print_json(settings)
    else:
        headings = ("index", "ef_search", "rows", "ms", "recall@1", "recall@10", "recall@100")
        click.echo(
            table(
                headings,
                (
                    (
                        row.index_name,
                        row.ef_search,
                        row.rows_fetched,
                        f"{row.ms:.2f}",
                        *(
                            "" if share is None else f"{share:.4f}"
                            for share in (row.recall_at_1, row.recall_at_10, row.recall_at_100)
                        ),
                    )
                    for row in settings
                ),
            )
        )
    return 0


@click.command()
@database_options
@json_option
def doctor(data: str | None, dsn: str | None, as_json: bool) -> int:
    """Say what is missing or wrong on this machine, and how to mend it."""
    from voxprint.cli.checks import run_checks

    checks = list(run_checks(*one_database(data, dsn)))
    if as_json:
        print_json(checks)
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.found}")
            if not check.ok:
                click.echo(f"      mend: {check.mend}")
    return 0 if all(check.ok for check in checks) else EXIT_ERROR


COMMANDS = (up, worker, sql, install, scrub, tune, doctor)
