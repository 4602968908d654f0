"""The calibration that comes with voxprint, as the SQL of extension ``voxprint`` has it, too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from voxprint.score.calibration import Calibration
from voxprint.score.evidence import Background


@dataclass(frozen=True, slots=True, eq=False)
class Shipped:
    """A calibration for one encoder.

    Attributes:
        model, spec_hash: whose scores it is for.
        calibration: coefficients.
        background: second-order statistics of many people, the embedding of nobody.
    """

    model: str
    spec_hash: str
    calibration: Calibration
    background: Background


@lru_cache(maxsize=1)
def shipped() -> Shipped:
    """Read it."""
    kept = json.loads(Path(__file__).with_name("shipped.json").read_text(encoding="utf-8"))
    return Shipped(
        model=kept["model"],
        spec_hash=kept["spec_hash"],
        calibration=Calibration.from_json(kept["parameters"]),
        background=Background.from_rows(kept["background"]),
    )
