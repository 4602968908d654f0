"""An encoder of the user's own, from its file to a decision in SQL."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from brought import bring, network
from click.testing import CliRunner

import voxprint
from voxprint.cli import cli
from voxprint.cli.output import EXIT_ERROR
from voxprint.db.server import Server
from voxprint.encoder.embedder import Encoder
from voxprint.encoder.spec import find_model
from voxprint.errors import ModelMismatch, UsageError
from voxprint.worker.supervisor import Worker


@pytest.fixture(scope="module")
def place(server: Server) -> Iterator[Server]:
    folder = server.data.parent / "own"
    with Server(folder, settings={"fsync": "off"}) as running:
        yield running
    shutil.rmtree(folder)


@pytest.mark.parametrize("dim", [256, 512])
def test_python_and_sql_hear_by_the_same_file(place, voices, open_folder, dim):
    path = bring(open_folder, name=f"own_{dim}", dim=dim)
    spec = find_model(path)
    probe = voices / "Amy" / "5.wav"
    with voxprint.open(place.data, model=path) as gallery:
        for name in ("Amy", "Boris"):
            for take in (1, 2):
                gallery.enroll(name, voices / name / f"{take}.wav")
        verified = gallery.verify("Amy", probe)
        assert verified.model == spec.name
        assert [each.speaker for each in gallery.identify(probe, k=2)] == ["Amy", "Boris"]
        with (
            Worker(place, processes=1, models=[str(path)]),
            psycopg.connect(place.conninfo(), autocommit=True) as db,
        ):
            said = db.execute(
                "SELECT score, model FROM voxprint.verify('Amy', %s::bytea, model => %s)",
                [probe.read_bytes(), spec.name],
            ).fetchone()
            assert said == (pytest.approx(verified.score, abs=1e-5), spec.name)
            db.execute("SELECT open_analytic.pipeline_create(%s, model => %s)", [spec.name] * 2)
            (heard,) = db.execute(
                "SELECT open_analytic.pipeline_run_dist_random(%s, %s::bytea)::text",
                [spec.name, probe.read_bytes()],
            ).fetchone()
        numbers = [float(each) for each in heard.strip("[]{}").split(",")]
        assert numbers @ Encoder(path).embed_file(probe).vector > 0.9999
        for name in ("Amy", "Boris"):
            gallery.forget(name, scrub=False)


def test_another_network_does_not_take_the_name_of_one_that_is_enrolled(place, voices, open_folder):
    path = bring(open_folder, name="taken")
    with voxprint.open(place.data, model=path) as gallery:
        gallery.enroll("Amy", voices / "Amy" / "1.wav")
    bring(open_folder, name="taken", features='window="povey"\nscale=1\nsubtract_mean=true')
    with (
        voxprint.open(place.data, model=path) as gallery,
        pytest.raises(ModelMismatch, match="holds embeddings of spec"),
    ):
        gallery.verify("Amy", voices / "Amy" / "2.wav")
    bring(open_folder, name="taken", dim=512)
    with (
        voxprint.open(place.data, model=path) as gallery,
        pytest.raises(ModelMismatch, match="has dimension 256"),
    ):
        gallery.verify("Amy", voices / "Amy" / "2.wav")


def test_a_database_of_ones_own_is_told_by_its_administrator(place, voices, open_folder):
    path, dsn = bring(open_folder, name="told", dim=64), place.conninfo()
    with voxprint.open(dsn=dsn, model=path) as gallery:
        with pytest.raises(ModelMismatch, match='unknown model "told"'):
            gallery.enroll("Chen", voices / "Chen" / "1.wav")
        arguments = ["model", "register", "--model", str(path), "--dsn", dsn, "--json"]
        done = CliRunner().invoke(cli, arguments)
        assert json.loads(done.stdout) == {
            "model": "told",
            "dim": 64,
            "hash": find_model(path).hash,
        }
        assert gallery.enroll("Chen", voices / "Chen" / "1.wav").added
        gallery.forget("Chen", scrub=False)


def test_a_network_that_is_another_is_not_registered(place, open_folder):
    path = bring(open_folder, network(64), name="wrong", dim=256)
    for command in ("model register", "up"):
        arguments = [*command.split(), "--model", str(path), "--data", str(place.data)]
        done = subprocess.run(
            [sys.executable, "-m", "voxprint", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == EXIT_ERROR, command
        assert "expected 256 numbers" in done.stderr, command
    with psycopg.connect(place.conninfo()) as db:
        known = db.execute("SELECT FROM voxprint.models WHERE name = 'wrong'").fetchall()
    assert known == []


def test_two_models_of_one_name_are_not_served_together(place, open_folder):
    (open_folder / "other").mkdir()
    paths = [str(bring(folder)) for folder in (open_folder, open_folder / "other")]
    with pytest.raises(UsageError, match="different names, got brought, brought"):
        Worker(place, models=paths)


def test_kept_recordings_migrate_to_a_model_of_ones_own(place, voices, open_folder: Path):
    path = bring(open_folder, name="next")
    with voxprint.open(place.data) as gallery:
        gallery.enroll("Emma", voices / "Amy" / "3.wav", keep_audio=True)
        gallery.register_model(find_model(path))
        with Worker(place, processes=1, models=[str(path)]):
            arguments = ["model", "migrate", "--to", str(path), "--data", str(place.data), "--json"]
            done = json.loads(CliRunner().invoke(cli, arguments).stdout)
        assert (done["model"], done["heard"], done["refused"]) == ("next", 1, [])
        gallery.forget("Emma", scrub=False)
