"""A model with a denoiser in front, by its name with a plus, through database and worker."""

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
from voxprint.encoder.spec import find_model
from voxprint.worker.supervisor import Worker

PLAIN = "campplus_zh_en_192"
DENOISED = [f"{PLAIN}+autoencoder", f"{PLAIN}+spectral_subtraction"]


@pytest.fixture(scope="module")
def served(server: Server) -> Iterator[Server]:
    """A server of its own, whose worker knows the derived models, too."""
    folder = server.data.parent / "denoised"
    with (
        Server(folder, settings={"fsync": "off"}) as running,
        Worker(running, processes=1, models=(PLAIN, *DENOISED)),
    ):
        with psycopg.connect(running.conninfo(), autocommit=True) as db:
            for name in DENOISED:
                db.execute(
                    "SELECT voxprint.register_model(%s, 192, spec_hash => %s, threshold => 0.49)",
                    [name, find_model(name).hash],
                )
        yield running
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", DENOISED)
def test_a_pipeline_hears_by_a_derived_model(served: Server, name: str) -> None:
    with psycopg.connect(served.conninfo(), autocommit=True) as db:
        db.execute("SELECT open_analytic.pipeline_create(%s, model => %s)", [name, name])
        heard = db.execute(
            "SELECT open_analytic.pipeline_run_dist_random(%s, %s::bytea)::text",
            [name, voice(1)],
        ).fetchone()
    assert heard is not None
    vector = np.array(heard[0].strip("[]{}").split(","), float)
    assert vector @ Encoder(name).embed_file(voice(1)).vector > 0.9999


@pytest.mark.parametrize("name", DENOISED)
def test_a_derived_model_enrols_verifies_and_searches(
    served: Server, voices: Path, name: str
) -> None:
    amy, boris = voices / "Amy", voices / "Boris"
    with psycopg.connect(served.conninfo(), autocommit=True) as db:
        db.execute("SELECT voxprint.configure('default_model', %s)", [name])
        for who, file in (("Amy", amy), ("Boris", boris)):
            db.execute(
                "SELECT voxprint.enroll(%s, %s::bytea)", [who, (file / "1.wav").read_bytes()]
            )
        verified = [
            db.execute(
                "SELECT decision, score, llr, reasons, model"
                " FROM voxprint.verify('Amy', %s::bytea, model => %s)",
                [(file / "5.wav").read_bytes(), name],
            ).fetchone()
            for file in (amy, boris)
        ]
        found = db.execute(
            "SELECT speaker FROM voxprint.identify(%s::bytea, model => %s) LIMIT 1",
            [(amy / "5.wav").read_bytes(), name],
        ).fetchone()
        used = db.execute(
            "SELECT model FROM voxprint.list_utterances('Amy') WHERE model = %s", [name]
        ).fetchall()
        (index,) = db.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'voiceprints_hnsw_' || %s", [name]
        ).fetchone()
        db.execute("SELECT voxprint.configure('default_model', %s)", [PLAIN])
    assert verified[0][1] > verified[1][1]
    # No calibration comes with it: the cosine decides, and the answer says so.
    for decision, score, llr, reasons, model in verified:
        assert (decision, llr, model) == ("accept" if score >= 0.49 else "reject", None, name)
        assert "uncalibrated" in reasons
    assert found == ("Amy",)
    assert used == [(name,)]
    assert f"'{name}'" in index
    with voxprint.open(served.data, model=name) as gallery:
        again = gallery.verify("Amy", amy / "5.wav")
        assert again.score == pytest.approx(verified[0][1], abs=1e-3)
        assert "uncalibrated" in again.reasons


def test_embeddings_of_derived_models_are_not_mixed(served: Server, voices: Path) -> None:
    with (
        voxprint.open(served.data, model=PLAIN) as plain,
        voxprint.open(served.data, model=DENOISED[0]) as derived,
    ):
        derived.enroll("Carol", voices / "Boris" / "3.wav")
        with pytest.raises(voxprint.VoxprintError, match=f'no voiceprint of model "{PLAIN}"'):
            plain.verify("Carol", voices / "Amy" / "5.wav")
