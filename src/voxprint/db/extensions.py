"""The extensions that voxprint ships: their versions, needs and scripts.

In the repository each is a control file and a folder of numbered sources; PostgreSQL wants
one script a version, so the sources are joined here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: In the order in which they are created.
EXTENSION_NAMES = ("open_analytic", "fastann", "voxprint")

_SQL = Path(__file__).parent / "sql"
_CONTROL_LINE = re.compile(r"^\s*(\w+)\s*=\s*'?(.*?)'?\s*$")


@dataclass(frozen=True, slots=True)
class Extension:
    """One shipped extension.

    Attributes:
        version: the ``default_version`` of its control file.
        requires: extensions that must exist first.
        files: name -> text of everything that belongs into PostgreSQL's extension folder.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    files: Mapping[str, str]

    @property
    def script(self) -> str:
        """The SQL that creates this extension from nothing."""
        return self.files[f"{self.name}--{self.version}.sql"]


@cache
def shipped() -> tuple[Extension, ...]:
    """The extensions whose sources this package holds, in the order of their creation."""
    return tuple(_read(name) for name in EXTENSION_NAMES if _control(name).is_file())


def _control(name: str) -> Path:
    return _SQL / name / f"{name}.control"


def _read(name: str) -> Extension:
    control = _control(name).read_text("utf-8")
    options = {
        match[1]: match[2]
        for line in control.splitlines()
        if not line.lstrip().startswith("#") and (match := _CONTROL_LINE.match(line))
    }
    version = options["default_version"]
    sources = sorted((_SQL / name / "src").glob("*.sql"))
    files = {
        f"{name}.control": control,
        f"{name}--{version}.sql": "\n".join(source.read_text("utf-8") for source in sources),
    }
    for upgrade in sorted((_SQL / name).glob(f"{name}--*.sql")):
        files[upgrade.name] = upgrade.read_text("utf-8")
    requires = tuple(part.strip() for part in options.get("requires", "").split(",") if part)
    return Extension(name, version, requires, files)
