"""Print docs/cli.md: the help of every command, as ``voxprint COMMAND --help`` gives it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from voxprint.cli import cli

HEADER = """# Command line

Made by `make docs` from the commands' own help; a test compares the two.

Every command that needs a database takes `--data DIR` (the embedded server) or `--dsn DSN` (your
own), joins a running server of ours, or starts one for its own life. `--json` prints one JSON
document; an error is then `{"error": {"code", "message", "hint"}}`. Environment: `VOXPRINT_DATA`,
`VOXPRINT_DSN`, `VOXPRINT_WEIGHTS`, `VOXPRINT_CACHE`, `VOXPRINT_PG`, `VOXPRINT_DEBUG`.

Exit codes: 0 done (verify, identify, compare: accept), 1 reject, 2 error, 3 inconclusive.
"""


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield (full name, command) for every command below ``group``, in name order."""
    for name in sorted(group.commands):
        command = group.commands[name]
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def reference() -> str:
    """Return the whole page."""
    parts = [HEADER]
    for name, command in commands(cli, "voxprint"):
        context = click.Context(command, info_name=name, max_content_width=100)
        context.terminal_width = 100
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(reference(), end="")
