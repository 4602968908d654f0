"""Configurations out of TOML: files, those of the package, and single settings in their place."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from voxprint.errors import UsageError
from voxprint.training.config import Config
from voxprint.training.rules import checked


def read_config(path: Path) -> Config:
    """A configuration out of a TOML file.

    Raises:
        UsageError: not readable, not TOML, an unknown section or key (the known ones are
            named), or a value of the wrong kind or out of range.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"expected a TOML file, got {path}: {error}") from error
    return checked(_filled(Config, given, str(path)), str(path))


def shipped_config(name: str) -> Path:
    """Where a configuration of this package lies.

    Raises:
        UsageError: there is none of this name.
    """
    folder = Path(__file__).with_name("configs")
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in known:
        raise UsageError(f"expected a TOML file or one of {', '.join(known)}, got {name!r}")
    return folder / f"{name}.toml"


def with_overrides(config: Config, assignments: list[str]) -> Config:
    """A configuration with ``section.key=value`` applied, values as TOML writes them.

    Raises:
        UsageError: as :func:`read_config`.
    """
    for text in assignments:
        name, _, value = text.partition("=")
        section, _, key = name.strip().partition(".")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise UsageError(
                f"expected section.key=value in TOML, got {text!r}",
                hint="Text stands in quotes, which the shell must leave: 'data.fold=\"A\"'.",
            ) from error
        held = {section: {key: parsed}}
        config = _filled(Config, held, text, over=config)
    # Together: what one of them may be can depend on another.
    return checked(config, ", ".join(assignments)) if assignments else config


_Section = TypeVar("_Section")


def _filled(
    kind: type[_Section], given: dict[str, Any], where: str, over: _Section | None = None
) -> _Section:
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
            values[key] = _filled(type(before), value, f"{where}, {key}", over=before)
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
