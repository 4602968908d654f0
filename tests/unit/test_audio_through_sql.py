"""What a worker, with its few rights and little memory, makes of audio is what the encoder does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from recordings import every_format

from voxprint import Encoder

FORMATS = every_format()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder()


def test_every_format_through_sql_is_the_voice_that_python_hears(worker, db, encoder):
    db.execute("SELECT open_analytic.pipeline_create('p')")
    for name, (audio, _, rate) in FORMATS.items():
        (answer,) = db.execute(
            "SELECT open_analytic.pipeline_run_json('p', %s::bytea)::text", [audio]
        ).fetchone()
        facts, expected = json.loads(answer), encoder.embed_file(audio)
        assert np.abs(np.array(facts["emb"]) - expected.vector).max() < 1e-6, name
        assert facts["sample_rate"] == rate, name
        assert facts["seconds"] == expected.seconds, name
