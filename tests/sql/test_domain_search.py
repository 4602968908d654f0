"""verify, identify and compare against NumPy, as a reader."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from domain_gallery import call, enroll, identify, refused, text, unit, utterances, verify, voices
from psycopg.types.json import Jsonb

from voxprint.encoder.spec import DEFAULT_MODEL

VOICES = voices(12)
INDEX = "voiceprints_hnsw_campplus_zh_en_192"


@pytest.fixture
def reader(as_role) -> psycopg.Connection:
    return as_role("voxprint_reader")


def mean(vectors: np.ndarray) -> np.ndarray:
    return unit(unit(vectors).astype(np.float64).mean(axis=0))


def fill(db: psycopg.Connection, prints: np.ndarray) -> None:
    """Enrol ``prints[i]`` under the name ``p<i>``, all in one statement."""
    with db.transaction():
        db.execute("CREATE TEMP TABLE given (i int, v public.vector) ON COMMIT DROP")
        with db.cursor().copy("COPY given FROM STDIN") as copy:
            for row in enumerate(map(text, prints)):
                copy.write_row(row)
        db.execute(
            "INSERT INTO voxprint.speakers (external_id) SELECT 'p' || i FROM given ORDER BY i"
        )
        db.execute(
            "INSERT INTO voxprint.utterances (speaker_id, model, embedding, sha256)"
            " SELECT s.speaker_id, 'campplus_zh_en_192', g.v, sha256(int4send(g.i))"
            " FROM given g JOIN voxprint.speakers s ON s.external_id = 'p' || g.i"
        )


def test_verify_scores_as_numpy_does(reader, db):
    spoken = utterances(VOICES[0], 4)
    for vector in spoken:
        enroll(db, "ann", 7 * vector)
    for probe in utterances(VOICES[0], 5, seed=1):
        found = verify(reader, "ann", 3 * probe)
        assert found["score"] == pytest.approx(float(mean(spoken) @ unit(probe)), abs=1e-6)
        assert (found["speaker"], found["model"]) == ("ann", DEFAULT_MODEL.name)


def test_accept_at_the_threshold_itself(reader, db):
    enroll(db, "ann", VOICES[0])
    score = verify(reader, "ann", VOICES[1])["score"]
    assert verify(reader, "ann", VOICES[1], threshold=score)["decision"] == "accept"
    above = float(np.nextafter(score, 1))
    assert verify(reader, "ann", VOICES[1], threshold=above)["decision"] == "reject"


def test_scores_stay_within_minus_one_and_one(reader, db):
    for i, voice in enumerate(VOICES):
        enroll(db, f"p{i}", voice)
        assert verify(reader, f"p{i}", voice, threshold=1 - 1e-6)["decision"] == "accept"
        for sign in (1, -1):
            assert -1 <= verify(reader, f"p{i}", sign * voice)["score"] <= 1


def test_a_bare_literal_is_told_apart_by_its_name(reader, db):
    enroll(db, "ann", VOICES[0])
    literal = text(VOICES[0])
    with refused("42725"):
        reader.execute(f"SELECT voxprint.verify('ann', '{literal}')")
    found = call(reader, f"SELECT * FROM voxprint.verify('ann', embedding => '{literal}')")
    assert found[0]["score"] == pytest.approx(1, abs=1e-6)


def test_compare_needs_nobody_enrolled(reader):
    a, b = utterances(VOICES[0], 2)
    statement = "SELECT * FROM voxprint.compare(%(a)s::vector, %(b)s::vector, threshold => 0.3)"
    (found,) = call(reader, statement, a=a, b=b)
    assert found["score"] == pytest.approx(float(a @ b), abs=1e-6)
    assert (found["decision"], found["model"]) == ("accept", DEFAULT_MODEL.name)
    assert [found[name] for name in ("threshold_llr", "reject_llr", "far")] == [None] * 3


def test_identify_ranks_as_numpy_does(reader, db):
    spoken = [utterances(voice, 3, seed=i) for i, voice in enumerate(VOICES)]
    for i, vectors in enumerate(spoken):
        for vector in vectors:
            enroll(db, f"p{i}", vector)
    probe = utterances(VOICES[3], 1, seed=99)[0]
    scores = np.array([mean(vectors) @ probe for vectors in spoken])
    best = np.argsort(-scores)
    found = identify(reader, probe, k=12, threshold=0.5)
    assert [row["speaker"] for row in found] == [f"p{i}" for i in best]
    assert [row["rank"] for row in found] == list(range(1, 13))
    assert np.allclose([row["score"] for row in found], scores[best], atol=1e-6)
    assert [row["decision"] for row in found] == ["accept"] + ["reject"] * 11
    assert identify(reader, probe, threshold=0.5) == found[:5]


def test_equal_scores_are_ranked_by_name(reader, db):
    for name, tail in (("b", 1), ("c", -1), ("a", 0)):
        vector = np.zeros(192)
        vector[[0, 1]] = (1, tail)
        vector[2] = 1 - abs(tail)
        enroll(db, name, vector)
    probe = np.eye(192)[0]
    assert [row["speaker"] for row in identify(reader, probe)] == ["a", "b", "c"]


def test_an_empty_gallery_answers_nobody(reader):
    assert identify(reader, VOICES[0]) == []


def test_identify_filters_by_group_and_attributes(reader, db):
    db.execute("SELECT voxprint.create_group('east'), voxprint.create_group('west')")
    people = {
        "ann": (["east"], {"age": 41, "tags": ["vip"]}),
        "bob": (["west"], {"age": 17, "vip": True}),
        "cid": (["east", "west"], {"vip": False, "age": None}),
        "dee": ([], {}),
    }
    for i, (name, (groups, attributes)) in enumerate(people.items()):
        enroll(db, name, VOICES[i], groups=groups, attributes=Jsonb(attributes))

    def names(**filters: object) -> list[str]:
        return sorted(row["speaker"] for row in identify(reader, VOICES[0], **filters))

    assert names() == ["ann", "bob", "cid", "dee"]
    assert names(groups=["east"]) == ["ann", "cid"]
    assert names(groups=["east", "west"]) == ["ann", "bob", "cid"]
    assert names(attributes=Jsonb({"tags": ["vip"]})) == ["ann"]
    assert names(attributes=Jsonb({})) == ["ann", "bob", "cid", "dee"]
    assert names(groups=["west"], attributes=Jsonb({"vip": True})) == ["bob"]
    paths = {
        "$.age > 30": ["ann"],
        "$ ? (@.age > 30)": ["ann"],
        "$.vip": ["bob"],
        "$.vip == false": ["cid"],
        "exists($.vip)": ["bob", "cid"],
        "$.age": ["ann", "bob"],
        '$.tags[*] == "vip"': ["ann"],
        "strict $.nowhere.at.all": [],
        '$.age.datetime() > "2020-01-01".datetime()': [],
        "$.age / 0": [],
        "true": ["ann", "bob", "cid", "dee"],
    }
    for path, expected in paths.items():
        assert names(attributes_path=path) == expected, path


def test_a_filter_is_no_sql(reader, db):
    enroll(db, "ann", VOICES[0])
    injection = "x'] OR true; DROP TABLE voxprint.speakers; --"
    with refused("VX002"):
        identify(reader, VOICES[0], groups=[injection])
    with refused("42601"):
        identify(reader, VOICES[0], attributes_path=injection)
    with refused("42704", '"x"'):
        identify(reader, VOICES[0], attributes_path="$x")
    assert identify(reader, VOICES[0], attributes=Jsonb({injection: injection})) == []
    assert len(identify(reader, VOICES[0])) == 1


def test_suspended_people_are_not_compared(reader, db):
    for name, voice in zip(("ann", "bob"), VOICES, strict=False):
        enroll(db, name, voice)
    db.execute("SELECT voxprint.set_status('ann', 'suspended')")
    with refused("VX006", '"ann"', "suspended"):
        verify(reader, "ann", VOICES[0])
    assert [row["speaker"] for row in identify(reader, VOICES[0])] == ["bob"]
    enroll(db, "ann", VOICES[2])
    assert [row["speaker"] for row in identify(reader, VOICES[0])] == ["bob"]
    db.execute("SELECT voxprint.set_status('ann', 'active')")
    assert [row["speaker"] for row in identify(reader, VOICES[0])] == ["ann", "bob"]


def test_the_best_of_several_voiceprints_counts_once(reader, db):
    enroll(db, "ann", VOICES[0])
    enroll(db, "bob", VOICES[1])
    db.execute(
        "INSERT INTO voxprint.utterances (speaker_id, model, channel, embedding, sha256)"
        " SELECT speaker_id, model, 'telephone', %s::public.vector, sha256('')"
        " FROM voxprint.utterances"
        " ORDER BY utterance_id LIMIT 1",
        [text(VOICES[2])],
    )
    for mode in ("auto", "ann"):
        reader.execute("SELECT set_config('fastann.index_scan_mode', %s, false)", [mode])
        found = identify(reader, VOICES[2], k=2)
        assert [row["speaker"] for row in found] == ["ann", "bob"]
        assert found[0]["score"] == pytest.approx(1, abs=1e-6)
    assert verify(reader, "ann", VOICES[2])["score"] == pytest.approx(1, abs=1e-6)


def test_models_are_never_mixed(reader, db):
    db.execute("SELECT voxprint.register_model('twin', 192)")
    enroll(db, "ann", VOICES[0])
    enroll(db, "bob", VOICES[0], model="twin")
    assert [row["speaker"] for row in identify(reader, VOICES[0])] == ["ann"]
    assert [row["speaker"] for row in identify(reader, VOICES[0], model="twin")] == ["bob"]
    with refused("VX004", "no voiceprint"):
        verify(reader, "ann", VOICES[0], model="twin")


def scans_of_index(db: psycopg.Connection) -> int:
    query = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s"
    return db.execute(query, [INDEX]).fetchone()[0]


def test_large_galleries_are_searched_by_index_with_little_loss(reader, db):
    prints = voices(2000, seed=5)
    fill(db, prints)
    db.execute("ANALYZE voxprint.voiceprints")
    probes = [utterances(prints[i], 1, seed=i)[0] for i in range(0, 2000, 100)]
    reader.execute("SET fastann.index_scan_mode = ann")
    before = scans_of_index(db)
    hits = 0
    for probe in probes:
        scores = prints @ probe
        best = np.argsort(-scores)[:10]
        found = identify(reader, probe, k=10)
        assert len(found) == 10
        assert found[0]["speaker"] == f"p{best[0]}"
        by_name = {row["speaker"]: row["score"] for row in found}
        hits += len(by_name.keys() & {f"p{i}" for i in best})
        assert all(abs(scores[int(name[1:])] - got) < 1e-6 for name, got in by_name.items())
    assert hits / (10 * len(probes)) >= 0.95
    reader.execute("SELECT pg_stat_force_next_flush()")
    assert scans_of_index(db) - before == len(probes)
    reader.execute("RESET fastann.index_scan_mode")
    for probe in probes:
        exact = [f"p{i}" for i in np.argsort(-(prints @ probe))[:10]]
        assert [row["speaker"] for row in identify(reader, probe, k=10)] == exact
    # the nearest 40 of p0 are suspended: the index alone would run out of people
    nearest = [f"p{i}" for i in np.argsort(-(prints @ probes[0]))]
    db.execute(
        "UPDATE voxprint.speakers SET status = 'suspended' WHERE external_id = ANY(%s)",
        [nearest[:40]],
    )
    reader.execute("SET fastann.index_scan_mode = ann")
    assert [row["speaker"] for row in identify(reader, probes[0], k=3)] == nearest[40:43]
    assert len(identify(reader, probes[0], k=1000)) == 1000


def test_searching_by_index_leaves_the_settings_of_the_session(reader, db):
    fill(db, voices(50))
    settings = ("hnsw.ef_search", "hnsw.iterative_scan", "enable_seqscan", "plan_cache_mode")
    reader.execute("SET hnsw.ef_search = 7")
    reader.execute("SET fastann.index_scan_mode = ann")

    def shown() -> list[str]:
        return [reader.execute(f"SHOW {name}").fetchone()[0] for name in settings]

    reader.execute("SELECT NULL::vector <-> NULL::vector")
    before = shown()
    assert len(identify(reader, VOICES[0], k=10)) == 10
    with reader.transaction():
        assert len(identify(reader, VOICES[0], k=10)) == 10
        assert shown() == before
    assert shown() == before


def test_searches_run_in_read_only_transactions(reader, db):
    enroll(db, "ann", VOICES[0])
    reader.execute("SET default_transaction_read_only = on")
    for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        with reader.transaction():
            reader.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            assert verify(reader, "ann", VOICES[0], threshold=0.5)["decision"] == "accept"
            assert len(identify(reader, VOICES[0])) == 1
