"""From one encoder to another: ``voxprint model migrate``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner
from talking import wav

import voxprint
from voxprint.audio.decode import decode
from voxprint.cli import cli
from voxprint.db.server import Server
from voxprint.encoder.embedder import Encoder
from voxprint.errors import ModelMismatch
from voxprint.worker.supervisor import Worker

CALLS, PUBLISHED = "campplus_calls_192", "campplus_zh_en_192"


@pytest.fixture(scope="module")
def place(server: Server) -> Iterator[Server]:
    folder = server.data.parent / "migrated"
    with Server(folder, settings={"fsync": "off"}) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture
def gallery(place: Server, voices: Path) -> Iterator[voxprint.Voxprint]:
    """Of Amy everything is kept, of Boris one of two, of Chen nothing."""
    with voxprint.open(place.data) as opened:
        for name, kept in (("Amy", (1, 2)), ("Boris", (1,)), ("Chen", ())):
            for take in (1, 2):
                voice = voices / name / f"{take}.wav"
                opened.enroll(name, voice, keep_audio=take in kept)
        yield opened
        for speaker in opened.speakers():
            opened.forget(speaker.speaker, scrub=False)


def models(place: Server) -> dict[str, list[str]]:
    with psycopg.connect(place.conninfo()) as db:
        return dict(
            db.execute(
                "SELECT s.external_id, array_agg(u.model::text ORDER BY u.utterance_id)"
                " FROM voxprint.utterances u JOIN voxprint.speakers s USING (speaker_id) GROUP BY 1"
            ).fetchall()
        )


def migrate(place: Server, *more: str):
    return CliRunner().invoke(
        cli, ["model", "migrate", "--to", CALLS, "--data", str(place.data), *more]
    )


def test_what_was_kept_is_heard_again_and_the_others_are_named(place, gallery, voices):
    with Worker(place, processes=1, models=(PUBLISHED, CALLS)):
        foretold = json.loads(migrate(place, "--dry-run", "--json").stdout)
        assert models(place)["Amy"] == [PUBLISHED] * 2
        counted = [(s.speaker, s.utterances, s.speech_seconds) for s in gallery.speakers()]
        done = migrate(place, "--json")
        assert done.exit_code == 0, done.output
        assert counted == [(s.speaker, s.utterances, s.speech_seconds) for s in gallery.speakers()]
        said = json.loads(done.stdout)
        assert said == foretold
        assert (said["heard"], said["again"], said["refused"]) == (3, ["Chen"], [])
        assert models(place) == {
            "Amy": [PUBLISHED, PUBLISHED, CALLS, CALLS],
            "Boris": [PUBLISHED, PUBLISHED, CALLS],
            "Chen": [PUBLISHED] * 2,
        }
        again = migrate(place)
        assert "0 recordings heard" in again.output
        assert "Chen" in again.output
    with voxprint.open(place.data, model=CALLS) as other:
        assert other.verify("Amy", voices / "Amy" / "5.wav").score > 0.5
        with pytest.raises(ModelMismatch):
            other.verify("Chen", voices / "Chen" / "5.wav")
    assert gallery.verify("Chen", voices / "Chen" / "5.wav").decision == "accept"


@pytest.mark.parametrize("channel", [0, 1, None])
def test_a_kept_recording_is_heard_by_the_channel_it_was_enrolled_by(place, voices, channel):
    """Amy on one side of a call, Boris on the other."""
    sides = [decode(voices / name / "1.wav").samples for name in ("Amy", "Boris")]
    both = np.stack([side[: min(map(len, sides))] for side in sides], axis=1)
    recording = wav(both)
    with voxprint.open(place.data) as gallery:
        gallery.enroll("Amy", recording, channel=channel, keep_audio=True, overrule=True)
        try:
            with Worker(place, processes=1, models=(CALLS,)):
                done = json.loads(migrate(place, "--json").stdout)
            assert (done["heard"], done["refused"]) == (1, [])
            with psycopg.connect(place.conninfo()) as db:
                embedding, quality = db.execute(
                    "SELECT embedding::text, quality FROM voxprint.utterances WHERE model = %s",
                    [CALLS],
                ).fetchone()
        finally:
            gallery.forget("Amy", scrub=False)
    encoder = Encoder(CALLS)
    scores = {
        each: np.array(json.loads(embedding)) @ encoder.embed_file(recording, channel=each).vector
        for each in (0, 1, None)
    }
    assert max(scores, key=scores.__getitem__) == channel
    assert scores[channel] > 0.9999
    assert quality["channel"] == channel


def test_a_worker_of_other_models_ends_it_at_once(place, gallery):
    with Worker(place, processes=1, models=(PUBLISHED,)):
        done = migrate(place)
    assert done.exit_code != 0
    assert CALLS in str(done.exception)
    assert models(place)["Amy"] == [PUBLISHED] * 2


def test_a_model_that_nobody_knows_is_refused(place):
    done = CliRunner().invoke(cli, ["model", "migrate", "--to", "none", "--data", str(place.data)])
    assert "expected one of the models" in str(done.exception)


def test_a_recording_that_was_not_kept_cannot_be_heard_again(place, gallery):
    with psycopg.connect(place.conninfo(), autocommit=True) as db:
        (number,) = db.execute(
            "SELECT min(utterance_id) FROM voxprint.utterances WHERE audio IS NULL"
        ).fetchone()
        for utterance, words in ((number, "was not kept"), (-1, "no utterance -1"), (None, "NULL")):
            with pytest.raises(psycopg.Error, match=words) as caught:
                db.execute("SELECT voxprint.migrate_utterance(%s, %s)", (utterance, CALLS))
            assert caught.value.sqlstate == "VX006"
