"""Options that several commands share, and how a gallery is opened from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from voxprint.errors import UsageError

if TYPE_CHECKING:
    from voxprint.api import Voxprint
    from voxprint.audio.decode import RawFormat

_Command = TypeVar("_Command", bound=Callable[..., Any])
#: Nobody has trials enough to measure less.
_LEAST_RATE = 1e-9


def json_option(command: _Command) -> _Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def database_options(command: _Command) -> _Command:
    """Add ``--data`` and ``--dsn``."""
    command = click.option(
        "--dsn",
        envvar="VOXPRINT_DSN",
        show_envvar=True,
        help="Your own PostgreSQL, in place of the embedded one.",
    )(command)
    return data_option(command)


def data_option(command: _Command) -> _Command:
    """Add ``--data`` alone, for commands about the embedded server."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False),
        envvar="VOXPRINT_DATA",
        show_envvar=True,
        help="Data folder of the embedded server.",
    )(command)


def worker_options(command: _Command) -> _Command:
    """Add what a worker may take: processes, media folder, limits."""
    for option in (
        click.option(
            "--job-seconds",
            type=click.FloatRange(min=1),
            default=120,
            show_default=True,
            help="Longest time for one audio.",
        ),
        click.option(
            "--max-seconds",
            type=click.FloatRange(min=1),
            default=600,
            show_default=True,
            help="Longest audio that is taken.",
        ),
        click.option(
            "--max-bytes",
            type=click.IntRange(min=1),
            default=32 << 20,
            show_default=True,
            help="Largest audio that is taken.",
        ),
        click.option(
            "--media",
            type=click.Path(file_okay=False, exists=True),
            help="Folder whose files pipelines may read by name; without it, none.",
        ),
        click.option(
            "--processes",
            type=click.IntRange(1, 256),
            help="Compute processes (default: one per core).",
        ),
        click.option(
            "--model",
            "models",
            multiple=True,
            metavar="NAME|FILE.toml",
            help="Encoder to serve; repeatable (default: VOXPRINT_MODEL, or campplus_zh_en_192).",
        ),
    ):
        command = option(command)
    return command


def threshold_option(command: _Command) -> _Command:
    """Add ``--threshold``."""
    return click.option(
        "--threshold",
        type=click.FloatRange(-1, 1),
        help="Accept at this cosine or above, whatever the calibration says.",
    )(command)


def far_option(command: _Command) -> _Command:
    """Add ``--far``; the database says which values it takes."""
    return click.option(
        "--far",
        type=float,
        help="False-accept rate to decide at, in (0, 1) (default: the setting).",
    )(command)


def record_option(command: _Command) -> _Command:
    """Add ``--record``: None leaves it to the setting."""
    return click.option(
        "--record/--no-record",
        default=None,
        help="Write the decision into the log (default: the setting).",
    )(command)


def audio_options(command: _Command) -> _Command:
    """Add ``--channel`` and ``--raw``: how the samples of a recording are read."""
    return channel_option(raw_option(command))


def raw_option(command: _Command) -> _Command:
    """Add ``--raw``: what samples without a container are."""
    return click.option(
        "--raw",
        metavar="RATE[:ENCODING[:CHANNELS]]",
        callback=_raw_format,
        help="The recording is raw PCM, e.g. 8000, 8000:mulaw or 16000:s16le:2.",
    )(command)


def channel_option(command: _Command) -> _Command:
    """Add ``--channel``."""
    return click.option(
        "--channel",
        type=click.IntRange(min=0),
        help="Use this channel, counted from 0, instead of the average of all.",
    )(command)


def _raw_format(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> RawFormat | None:
    if text is None:
        return None
    from voxprint.audio.decode import RawFormat

    rate, _, rest = text.partition(":")
    encoding, _, channels = rest.partition(":")
    if not rate.isdecimal() or not (channels or "1").isdecimal():
        raise UsageError(f"RATE[:ENCODING[:CHANNELS]] is expected after --raw, {text!r} came")
    return RawFormat(int(rate), encoding or "s16le", int(channels or 1))


def words(_context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
    """Read words parted by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def rates(context: click.Context, parameter: click.Parameter, text: str) -> list[float]:
    """Read false-accept rates parted by commas, each between 0 and 1."""
    try:
        found = [float(word) for word in words(context, parameter, text)]
    except ValueError as error:
        raise UsageError(f"expected rates such as 0.01,0.001 after --far, got {text!r}") from error
    if not found:
        raise UsageError(f"expected at least one rate, such as 0.01, after --far, got {text!r}")
    for rate in found:
        if not 0 < rate < 1:
            raise UsageError(f"expected rates between 0 and 1 after --far, got {rate:g}")
        if rate < _LEAST_RATE:
            raise UsageError(
                f"expected rates from {_LEAST_RATE:g} on after --far, got {rate:g}",
                hint=f"it takes {30 / _LEAST_RATE:g} trials to measure that one",
            )
    return found


def model_option(command: _Command) -> _Command:
    """Add ``--model``."""
    return click.option(
        "--model",
        metavar="NAME|FILE.toml",
        help="Encoder that hears the recordings (default: VOXPRINT_MODEL, or campplus_zh_en_192; "
        "'voxprint model show' lists them), or the file of one of your own.",
    )(command)


def weights_option(command: _Command) -> _Command:
    """Add ``--weights``."""
    return click.option(
        "--weights",
        help="Path or https URL of the encoder's weights, in place of the cache "
        "(default: VOXPRINT_WEIGHTS).",
    )(command)


def open_gallery(data: str | None, dsn: str | None) -> Voxprint:
    """Open what ``--data`` or ``--dsn`` names."""
    from voxprint import api

    data, dsn = one_database(data, dsn)
    return api.open(data, dsn=dsn)


def one_database(data: str | None, dsn: str | None) -> tuple[str | None, str | None]:
    """Return the one that counts: the command line goes before the environment.

    Raises:
        UsageError: both stand on the command line.
    """
    if data is None or dsn is None:
        return data, dsn
    source = click.get_current_context().get_parameter_source
    spoken = [name for name in ("data", "dsn") if source(name) is ParameterSource.COMMANDLINE]
    if len(spoken) == 2:
        raise UsageError("give either --data or --dsn, both came")
    return (data, None) if spoken == ["data"] else (None, dsn)


def parse_attributes(text: str | None) -> dict[str, Any] | None:
    """Read the JSON object of ``--attributes``.

    Raises:
        UsageError: it is no JSON object.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"attributes are a JSON object, {text!r} is not: {error}",
            hint="""for example --attributes '{"city": "Hangzhou"}'""",
        ) from None
    if not isinstance(value, dict):
        raise UsageError(f"attributes are a JSON object, {text!r} is a {type(value).__name__}")
    return value
