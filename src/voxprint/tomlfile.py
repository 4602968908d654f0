"""TOML files as dataclasses: every key is one that is known, every value of its kind."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from voxprint.errors import UsageError

#: More than anybody writes by hand.
_MAX_BYTES = 1 << 20

_Section = TypeVar("_Section")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: not readable, larger than 1 MiB, or not TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"expected a TOML file of at most {_MAX_BYTES} bytes, got {path}")
        return tomllib.loads(data.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"expected a TOML file, got {path}: {error}") from error


def filled(
    kind: type[_Section], given: dict[str, Any], where: str, over: _Section | None = None
) -> _Section:
    """A dataclass with the values that are given in place of its defaults.

    Args:
        kind: a dataclass whose fields all have defaults; one that is a dataclass is a section.
        given: as TOML has them.
        where: they come from; messages begin with it.
        over: what the other values are taken from, in place of the defaults.

    Raises:
        UsageError: an unknown key (the known ones are named), or a value of another kind.
    """
    base = kind() if over is None else over
    hints = get_type_hints(kind)
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    values = {}
    for key, value in given.items():
        if key not in known:
            raise UsageError(f"{where}: expected one of {', '.join(known)}, got {key!r}")
        before = getattr(base, key)
        if dataclasses.is_dataclass(before):
            if not isinstance(value, dict):
                raise UsageError(f"{where}: expected a section [{key}], got {value!r}")
            values[key] = filled(type(before), value, f"{where}, {key}", over=before)
        else:
            values[key] = _value(hints[key], value, f"{where}, {key}")
    return dataclasses.replace(base, **values)  # type: ignore[type-var]


def _value(kind: Any, value: Any, where: str) -> Any:
    if args := get_args(kind):
        if not isinstance(value, list):
            raise UsageError(f"{where}: expected a list, got {value!r}")
        return tuple(_value(args[0], each, where) for each in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise UsageError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value
