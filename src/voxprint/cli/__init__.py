"""The command line: the verbs of :mod:`voxprint.api`, nothing more.

Everything but click is imported inside the commands: ``--help`` must answer at once.
"""

from __future__ import annotations

import os
import sys

import click

from voxprint import __version__
from voxprint.cli import (
    calibrate,
    database,
    deciding,
    enrolling,
    evaluate,
    groups,
    models,
    quality,
    records,
    train,
    watch,
)
from voxprint.cli.output import EXIT_ERROR, print_error
from voxprint.errors import UsageError, VoxprintError

#: What a shell reports of a program that Ctrl-C ended.
EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="voxprint")
def cli() -> None:
    """Voiceprints in SQL: enrol, verify and identify people by their voice.

    A command that needs a database joins the running server of the data folder, or starts one
    for its own life. Exit codes: 0 done (verify, identify, compare: accept), 1 reject, 2 error,
    3 inconclusive.
    """


for family in (
    *(enrolling, deciding, watch, quality, groups, calibrate, records, database, models),
    *(evaluate, train),
):
    for command in family.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the command line; no traceback reaches the user unless VOXPRINT_DEBUG is set."""
    as_json = "--json" in sys.argv
    try:
        code = cli.main(prog_name="voxprint", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        if as_json:
            print_error(UsageError(error.format_message()), as_json=True)
        else:
            error.show()
        sys.exit(EXIT_ERROR)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except VoxprintError as error:
        print_error(error, as_json=as_json)
        sys.exit(EXIT_ERROR)
    except BrokenPipeError:
        # The reader of our output went away (``| head``): nothing is left to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except Exception as error:
        if os.environ.get("VOXPRINT_DEBUG"):
            raise
        wrapped = VoxprintError(
            f"{type(error).__name__}: {error}",
            hint="this is a fault of voxprint or of the machine; VOXPRINT_DEBUG=1 shows where",
        )
        print_error(wrapped, as_json=as_json)
        sys.exit(EXIT_ERROR)
