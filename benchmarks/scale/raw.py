"""What has been measured already: one JSON object a line, so that a run that was cut goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import say

Record = dict[str, Any]


class Raw:
    """Finished parts by their key; a part measured again replaces the earlier one.

    Args:
        path: of the file, made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, Record] = {}
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                part = json.loads(line)
                self._parts[part["key"]] = part

    def find(self, *key: object) -> Record | None:
        """The part, where it has been finished."""
        return self._parts.get(_joined(key))

    def have(self, *key: object) -> bool:
        return _joined(key) in self._parts

    def once(self, *key: object, measure: Callable[[], Record]) -> Record:
        """The part; measured and written down where it is missing."""
        found = self.find(*key)
        if found is None:
            say(f"{_joined(key)} …")
            found = self.put(*key, record=measure())
        return found

    def put(self, *key: object, record: Record) -> Record:
        """Write a part down, with the load of the machine at its end."""
        part = {"key": _joined(key), "load": round(os.getloadavg()[0], 2), **record}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(part) + "\n")
        self._parts[part["key"]] = part
        return part


def _joined(key: tuple[object, ...]) -> str:
    return "/".join(map(str, key))
