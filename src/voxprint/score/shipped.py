"""The calibrations that come with voxprint, as the SQL of extension ``voxprint`` has them, too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from voxprint.score.calibration import Calibration
from voxprint.score.evidence import Background

_FOLDER = Path(__file__).with_name("calibrations")


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


def calibrated_models() -> list[str]:
    """Names of the encoders that a calibration comes with."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


@lru_cache(maxsize=8)
def shipped(model: str = "campplus_zh_en_192") -> Shipped | None:
    """Read the one of an encoder; None where it comes with none."""
    if model not in calibrated_models():
        return None
    kept = json.loads((_FOLDER / f"{model}.json").read_text(encoding="utf-8"))
    return Shipped(
        model=kept["model"],
        spec_hash=kept["spec_hash"],
        calibration=Calibration.from_json(kept["parameters"]),
        background=Background.from_rows(kept["background"]),
    )
