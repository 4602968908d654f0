"""What a worker, with its few rights and little memory, makes of audio is what the encoder does."""

from __future__ import annotations

import json

import numpy as np
import psycopg
import pytest
from recordings import encoded, every_format
from talking import talk

from voxprint import Encoder

FORMATS = encoded(talk(3), talk(3, rate=8000))


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


def test_what_is_no_speech_in_every_format_is_refused_as_that(worker, db):
    """Formats are also read that nothing here writes; of these there is a tone only."""
    db.execute("SELECT open_analytic.pipeline_create('p')")
    for name in every_format().keys() - FORMATS.keys():
        with pytest.raises(psycopg.Error) as error:
            db.execute(
                "SELECT open_analytic.pipeline_run_json('p', %s::bytea)", [every_format()[name][0]]
            )
        assert (error.value.sqlstate, error.value.diag.message_detail) == ("VX013", "no_speech")
