"""The command that watches: a recording, or raw samples from a pipe, through a live session."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from voxprint.cli.options import (
    channel_option,
    database_options,
    far_option,
    json_option,
    open_gallery,
    raw_option,
)
from voxprint.cli.output import print_json
from voxprint.cli.reasons import in_words
from voxprint.errors import UsageError

if TYPE_CHECKING:
    from voxprint.audio.decode import RawFormat
    from voxprint.types import LiveEvent

EXIT = {"accept": 0, "reject": 1, "changed": 1, "undecided": 3}
#: How much is fed at once, in seconds: a packet of a telephone.
_CHUNK = 0.02
_PIPE = "-"


@click.command()
@click.argument("speaker")
@click.argument("file", type=click.Path(dir_okay=False, path_type=str, allow_dash=True))
@far_option
@click.option(
    "--frr",
    type=float,
    help="Share of the person's own calls that may be rejected, in (0, 1) (default: the setting).",
)
@raw_option
@channel_option
@click.option("--paced", is_flag=True, help="Play a recording at the speed at which it was spoken.")
@database_options
@json_option
def watch(
    speaker: str,
    file: str,
    far: float | None,
    frr: float | None,
    raw: RawFormat | None,
    channel: int | None,
    paced: bool,
    data: str | None,
    dsn: str | None,
    as_json: bool,
) -> int:
    """Is the voice in FILE the person SPEAKER, as the call goes on?

    FILE is played through a live session; - reads raw samples from a pipe as they come (16000 Hz,
    s16le, unless --raw says otherwise). What is decided is recorded in the decision log.

    Exits as the last event has it: 0 for accept, 1 for reject or another voice, 3 for undecided,
    2 for an error. With --json, prints one document a line.
    """
    from voxprint.audio.decode import RawFormat, decode

    if file == _PIPE:
        if channel is not None:
            raise UsageError("expected one channel from a pipe, got --channel")
        line = raw or RawFormat(16000)
        if line.channels != 1:
            raise UsageError(
                f"expected one channel from a pipe, got {line.channels}",
                hint="Watch each side of a call by itself.",
            )
        chunks: Iterator[bytes] = _piped()
    else:
        samples = decode(file, channel=channel, raw=raw).samples
        line = RawFormat(16000, "f32le")
        chunks = _played(samples.astype("<f4").tobytes(), paced)
    decision = "undecided"
    with open_gallery(data, dsn) as gallery:
        session = gallery.watch(speaker, line.sample_rate, encoding=line.encoding, far=far, frr=frr)
        shown = _Shown(as_json)
        for chunk in chunks:
            for event in session.feed(chunk):
                decision = shown.show(event)
        for event in session.finish():
            decision = shown.show(event)
        shown.end()
    return EXIT[decision]


def _piped() -> Iterator[bytes]:
    """Whatever has come, at once: a caller who speaks is not to be waited for."""
    while chunk := os.read(sys.stdin.fileno(), 1 << 16):
        yield chunk


def _played(data: bytes, paced: bool) -> Iterator[bytes]:
    size = round(16000 * _CHUNK) * 4
    began = time.monotonic()
    for number, at in enumerate(range(0, len(data), size), start=1):
        yield data[at : at + size]
        if paced:
            time.sleep(max(0.0, began + number * _CHUNK - time.monotonic()))


class _Shown:
    """Events on the screen: a line that moves, and one that stays for each decision."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._moving = not as_json and sys.stdout.isatty()
        self._last = "undecided"

    def show(self, event: LiveEvent) -> str:
        """Print it; returns its decision."""
        if self._as_json:
            print_json(asdict(event))
            sys.stdout.flush()
        else:
            stays = event.decision != self._last
            if stays or self._moving:
                click.echo(("\r\x1b[K" if self._moving else "") + _line(event), nl=stays)
        self._last = event.decision
        return event.decision

    def end(self) -> None:
        """Leave the cursor on a line of its own; say so where nothing was decided."""
        if self._moving:
            click.echo()
        elif not self._as_json and self._last == "undecided":
            click.echo("undecided")


def _line(event: LiveEvent) -> str:
    parts = [
        f"{event.at:7.1f} s",
        f"{event.speech_seconds:5.1f} s of speech",
        f"LLR {event.llr:+5.1f} ({event.reject_llr:.1f} to {event.accept_llr:.1f})",
        event.decision,
    ]
    if event.change_llr:
        parts.append(f"evidence of another voice {event.change_llr:.1f}")
    if event.reasons:
        parts.append(in_words(event.reasons))
    return "  ".join(parts)


COMMANDS = (watch,)
