"""One reference a person and channel, chosen by the probe's channel, searched as one person."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from domain_gallery import call, enroll, identify, text, unit, utterances, verify, voices
from psycopg.types.json import Jsonb

VOICES = voices(6)
WIDE, PHONE = Jsonb({"bandwidth_hz": 7600}), Jsonb({"bandwidth_hz": 3400.5})
CHANNELS = ("wideband", "telephone", "any")


@pytest.fixture
def reader(as_role) -> psycopg.Connection:
    return as_role("voxprint_reader")


def test_each_channel_has_its_own_reference_with_its_speech(db):
    for vector, quality, seconds in zip(
        utterances(VOICES[0], 4), (WIDE, PHONE, PHONE, None), (2, 1, 0.5, None), strict=True
    ):
        enroll(db, "ann", vector, quality=quality, speech_seconds=seconds)
    assert call(
        db,
        "SELECT channel, speech_seconds, utterances, ready FROM voxprint.voiceprints ORDER BY 2",
    ) == [
        {"channel": "telephone", "speech_seconds": 1.5, "utterances": 2, "ready": True},
        {"channel": "wideband", "speech_seconds": 2.0, "utterances": 1, "ready": True},
        {"channel": "any", "speech_seconds": None, "utterances": 1, "ready": True},
    ]


def test_the_reference_that_came_the_same_way_is_taken(reader, db):
    wide, phone, unknown = utterances(VOICES[0], 3)
    enroll(db, "ann", wide, quality=WIDE)
    enroll(db, "ann", phone, quality=PHONE)
    for probe, quality, channel in (
        (phone, PHONE, "telephone"),
        (phone, WIDE, "wideband"),  # though the other one is more alike
        (phone, None, "telephone"),
        (wide, None, "wideband"),
        (wide, Jsonb({"bandwidth_hz": "7600"}), "wideband"),
    ):
        found = verify(reader, "ann", probe, quality=quality)
        (candidate,) = identify(reader, probe, quality=quality)
        assert found["channel"] == candidate["channel"] == channel
        assert found["score"] == candidate["score"]
    enroll(db, "bob", unknown)
    assert verify(reader, "bob", unknown, quality=PHONE)["channel"] == "any"


def test_a_search_finds_k_people_however_many_channels_they_have(reader, db):
    prints = voices(300, seed=3)
    spoken = np.stack([utterances(voice, 3, seed=i, spread=0.01) for i, voice in enumerate(prints)])
    with db.transaction():
        db.execute("CREATE TEMP TABLE given (i int, channel text, v public.vector) ON COMMIT DROP")
        with db.cursor().copy("COPY given FROM STDIN") as copy:
            for i, vectors in enumerate(spoken):
                for channel, vector in list(zip(CHANNELS, vectors, strict=True))[: 2 + i % 2]:
                    copy.write_row((i, channel, text(vector)))
        db.execute(
            "INSERT INTO voxprint.speakers (external_id) SELECT DISTINCT 'p' || i FROM given;"
            "INSERT INTO voxprint.utterances (speaker_id, model, channel, embedding, sha256)"
            " SELECT s.speaker_id, 'campplus_zh_en_192', g.channel, g.v,"
            "   sha256(convert_to(g.i || g.channel, 'UTF8'))"
            " FROM given g JOIN voxprint.speakers s ON s.external_id = 'p' || g.i"
        )
    db.execute("ANALYZE voxprint.voiceprints")
    for mode, k in (("ann", 1), ("ann", 40), ("ann", 300), ("auto", 40)):
        reader.execute("SELECT set_config('fastann.index_scan_mode', %s, false)", [mode])
        for person in (7, 8):
            probe = spoken[person, 1]
            found = identify(reader, probe, k=k, threshold=0.5)
            assert len({row["speaker"] for row in found}) == len(found) == k
            assert (found[0]["speaker"], found[0]["decision"]) == (f"p{person}", "accept")
            best = np.sort([(v[: 2 + i % 2] @ probe).max() for i, v in enumerate(unit(spoken))])[
                ::-1
            ]
            scores = [row["score"] for row in found]
            assert np.mean(np.isclose(scores, best[:k], atol=1e-5)) >= 0.95


def test_the_cohort_key_spreads_people_evenly_and_survives(db):
    for i, voice in enumerate(voices(60)):
        enroll(db, f"p{i}", voice, quality=PHONE)
    keys = [key for (key,) in db.execute("SELECT cohort_key FROM voxprint.voiceprints")]
    assert len(set(keys)) == 60
    assert 0 <= min(keys) < 0.2 < 0.8 < max(keys) < 1
    enroll(db, "p0", utterances(VOICES[0], 1)[0], quality=PHONE)
    after = [key for (key,) in db.execute("SELECT cohort_key FROM voxprint.voiceprints")]
    assert sorted(after) == sorted(keys)
