"""Where a recipe works, and what it has found so far."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxprint.errors import VoxprintError


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Attributes:
        corpora: folder of the corpora.
        out: where results go: weights, figures, log; small.
        work: where what can be made again goes: copies, features, checkpoints; gigabytes.
        weights: the teacher's, ``.pt`` or ``.npz``; None for the published ones.
    """

    corpora: Path
    out: Path
    work: Path
    weights: Path | None = None


@dataclass
class Results:
    """What is known so far; written anew whenever something is added.

    Attributes:
        file: where it is written.
        facts: anything JSON holds.
    """

    file: Path
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, value: Any) -> None:
        """Keep one more result, on disk too."""
        self.facts[name] = value
        part = self.file.with_suffix(".part")
        try:
            part.write_text(json.dumps(self.facts, indent=1, default=str), encoding="utf-8")
            part.replace(self.file)
        except OSError as error:
            raise VoxprintError(
                f"expected room for results at {self.file}: {error.strerror}",
                hint="Make room and run again: the training goes on from its checkpoint.",
            ) from error
