"""Recordings of many people in one folder, laid out ``<speaker>/<file>``."""

from __future__ import annotations

import os
from pathlib import Path

from voxprint.errors import UsageError


def folder_files(folder: str | os.PathLike[str]) -> list[tuple[str, Path]]:
    """Return (speaker, file) for a folder laid out ``<speaker>/<file>``, in name order.

    Raises:
        UsageError: it is no folder, or holds no file one level down.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"a folder laid out <speaker>/<file> is expected, {root} is none")
    files = [
        (person.name, file)
        for person in sorted(root.iterdir())
        if person.is_dir() and not person.name.startswith(".")
        for file in sorted(person.iterdir())
        if file.is_file() and not file.name.startswith(".")
    ]
    if not files:
        raise UsageError(f"no recording was found in {root}/<speaker>/<file>")
    return files
