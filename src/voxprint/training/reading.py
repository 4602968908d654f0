"""Configurations out of TOML: files, those of the package, and single settings in their place."""

from __future__ import annotations

import tomllib
from pathlib import Path

from voxprint.errors import UsageError
from voxprint.tomlfile import filled, read_toml
from voxprint.training.config import Config
from voxprint.training.rules import checked


def read_config(path: Path) -> Config:
    """A configuration out of a TOML file.

    Raises:
        UsageError: not readable, not TOML, an unknown section or key (the known ones are
            named), or a value of the wrong kind or out of range.
    """
    return checked(filled(Config, read_toml(path), str(path)), str(path))


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
        config = filled(Config, held, text, over=config)
    # Together: what one of them may be can depend on another.
    return checked(config, ", ".join(assignments)) if assignments else config
