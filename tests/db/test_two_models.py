"""A worker of two encoders: each by its name, and the one that a database means by default."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from worker_client import voice

import voxprint
from voxprint.db.server import Server
from voxprint.encoder.embedder import Encoder
from voxprint.worker.supervisor import Worker

CALLS, PUBLISHED = "campplus_calls_192", "campplus_zh_en_192"


@pytest.fixture(scope="module")
def both(server: Server) -> Iterator[Server]:
    """A server of its own, whose worker knows both."""
    folder = server.data.parent / "both"
    with (
        Server(folder, settings={"fsync": "off"}) as running,
        Worker(running, processes=1, models=(PUBLISHED, CALLS)),
    ):
        yield running
    shutil.rmtree(folder)


def test_a_pipeline_hears_by_the_encoder_it_names(both: Server) -> None:
    with psycopg.connect(both.conninfo(), autocommit=True) as db:
        for name in (PUBLISHED, CALLS):
            db.execute("SELECT open_analytic.pipeline_create(%s, model => %s)", [name, name])
            heard = db.execute(
                "SELECT open_analytic.pipeline_run_dist_random(%s, %s::bytea)::text",
                [name, voice(1)],
            ).fetchone()
            assert heard is not None
            vector = np.array(heard[0].strip("[]{}").split(","), float)
            assert vector @ Encoder(name).embed_file(voice(1)).vector > 0.9999


def test_a_database_may_mean_the_other_one(both: Server, voices: Path) -> None:
    amy, other = voices / "Amy", voices / "Boris" / "5.wav"
    with psycopg.connect(both.conninfo(), autocommit=True) as db:
        db.execute("SELECT voxprint.configure('default_model', %s)", [CALLS])
        db.execute("SELECT voxprint.enroll('Amy', %s::bytea)", [(amy / "1.wav").read_bytes()])
        answers = [
            db.execute(
                "SELECT decision, llr FROM voxprint.verify('Amy', %s::bytea)", [each.read_bytes()]
            ).fetchone()
            for each in (amy / "5.wav", other)
        ]
        enrolled = db.execute("SELECT model FROM voxprint.list_utterances('Amy')").fetchall()
    assert enrolled == [(CALLS,)]
    assert answers[0][1] > answers[1][1]
    with voxprint.open(both.data, model=CALLS) as gallery:
        assert gallery.verify("Amy", amy / "5.wav").llr == pytest.approx(answers[0][1], abs=1e-3)
    with voxprint.open(both.data) as gallery, pytest.raises(voxprint.VoxprintError) as refused:
        gallery.verify("Amy", amy / "5.wav")
    assert PUBLISHED in str(refused.value)
