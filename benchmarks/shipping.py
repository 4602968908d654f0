"""Fit the calibration that ships, and write it where Python and SQL read it.

Run as ``[VOXPRINT_MODEL=NAME] python -m benchmarks.shipping [--corpora DIR] [--cache DIR]``, for
the default encoder or the one that is named. Fitted on the sets whose licence lets something made
from them be shipped, and on nobody whom the encoder was trained on; what is written are
coefficients, a mean and a few directions of many people's voiceprints, the embedding of nobody.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.accuracy import default_corpora
from benchmarks.conditions import hear
from benchmarks.decisions import default_cache
from benchmarks.drawn import ONE_VOICE, background, fitted
from voxprint.encoder.spec import ModelSpec, find_model
from voxprint.score.calibration import Calibration
from voxprint.score.evidence import Background

#: Sets with enough recordings a speaker: each is a population of its own.
POPULATIONS = (
    "speechocean762",
    "librispeech_test_other",
    "dspspeech20",
    "arabic_speech_commands",
)
#: Sets that the background knows beside them.
BACKGROUND = ("librispeech_train_clean_100", "aishell_samples")
_SOURCE = Path(__file__).resolve().parents[1] / "src" / "voxprint"
JSON = _SOURCE / "score" / "calibrations"
SQL = _SOURCE / "db" / "sql" / "voxprint" / "src"
#: Number in the database, below 100, and file; the extension runs the files in their order.
PLACES = {
    "campplus_zh_en_192": (1, "95-shipped-calibration.sql"),
    "campplus_calls_192": (2, "96-shipped-calibration-calls.sql"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    speech = hear(given.corpora, given.cache)
    people = [s for s in speech.speakers(*POPULATIONS, *BACKGROUND) if s not in ONE_VOICE]
    known = background(speech, people)
    calibration = fitted(speech, [speech.speakers(name) for name in POPULATIONS], known)
    report = {"fitted_on": {name: len(speech.speakers(name)) for name in POPULATIONS}}
    write(find_model(), calibration, known, {**report, "background": len(people)})


def write(
    spec: ModelSpec, calibration: Calibration, known: Background, report: dict[str, Any]
) -> None:
    """Write both files, from the same rounded numbers."""
    number, name = PLACES[spec.name]
    kept = {
        "model": spec.name,
        "spec_hash": spec.hash,
        "parameters": calibration.to_json(),
        "report": report,
        "background": known.to_rows(),
    }
    rows = ",\n".join(json.dumps(row) for row in kept["background"])
    head = json.dumps({k: v for k, v in kept.items() if k != "background"}, indent=1)
    (JSON / f"{spec.name}.json").write_text(
        f'{head[:-2]},\n "background": [\n{rows}\n]}}\n', encoding="utf-8"
    )
    (SQL / name).write_text(
        f"""-- The calibration that comes with {spec.name}: coefficients, and statistics of many
-- people's voiceprints (mean and main directions), the embedding of nobody. Written by
-- `python -m benchmarks.shipping`; src/voxprint/score/calibrations holds the same.

INSERT INTO voxprint.calibrations
  (calibration_id, model, spec_hash, source, parameters, report, active)
OVERRIDING SYSTEM VALUE VALUES ({number}, '{kept["model"]}', '{kept["spec_hash"]}', 'shipped',
'{json.dumps(kept["parameters"])}',
'{json.dumps(report)}', true);

SELECT voxprint._store_background({number}, '[
{rows}
]');
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
