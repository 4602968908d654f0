"""`voxprint.tune` and the command: the gallery is measured, and identify goes by what was found."""

from __future__ import annotations

import json
import sys

import numpy as np
import psycopg
import pytest
from domain_gallery import call, identify, refused, text, utterances, voices

from voxprint.cli import main

PRINTS = voices(400, seed=11)
INDEX = "voiceprints_hnsw_campplus_zh_en_192"


@pytest.fixture
def filled(db: psycopg.Connection) -> psycopg.Connection:
    with db.transaction():
        db.execute("CREATE TEMP TABLE given (i int, v public.vector) ON COMMIT DROP")
        with db.cursor().copy("COPY given FROM STDIN") as copy:
            for row in enumerate(map(text, PRINTS)):
                copy.write_row(row)
        db.execute("INSERT INTO voxprint.speakers (external_id) SELECT 'p' || i FROM given")
        db.execute(
            "INSERT INTO voxprint.utterances (speaker_id, model, embedding, sha256)"
            " SELECT s.speaker_id, 'campplus_zh_en_192', g.v, sha256(int4send(g.i))"
            " FROM given g JOIN voxprint.speakers s ON s.external_id = 'p' || g.i"
        )
    db.execute("ANALYZE voxprint.voiceprints")
    return db


def models(db: psycopg.Connection) -> list[tuple[str, float]]:
    return db.execute("SELECT index::regclass::text, tuples FROM fastann.index_models").fetchall()


def test_an_administrator_tunes_and_nobody_else(filled, as_role):
    with refused("42501", "tune"):
        as_role("voxprint_operator").execute("SELECT * FROM voxprint.tune()")
    assert models(filled) == []
    found = call(as_role("voxprint_admin"), "SELECT * FROM voxprint.tune()")
    assert {row["index_name"] for row in found} == {INDEX}
    assert [row["ef_search"] for row in found] == sorted(row["ef_search"] for row in found)
    assert all(0 <= row["recall_at_1"] <= 1 and row["ms"] > 0 for row in found)
    assert all(row["recall_at_10"] > 0.5 for row in found)
    assert models(filled) == [(f"voxprint.{INDEX}", 400)]


def test_identify_by_the_tuned_index_finds_who_speaks(filled, as_role):
    filled.execute("SELECT voxprint.tune()")
    reader = as_role("voxprint_reader")
    reader.execute("SET fastann.index_scan_mode = ann")
    for person in range(0, 400, 40):
        probe = utterances(PRINTS[person], 1, seed=person)[0]
        best = np.argsort(-(PRINTS @ probe))[:3]
        assert [row["speaker"] for row in identify(reader, probe, k=3)] == [f"p{i}" for i in best]


def test_tuned_again_it_replaces_what_was_known(filled):
    for people in (400, 399):
        filled.execute("SELECT voxprint.tune()")
        assert [tuples for _, tuples in models(filled)] == [people]
        filled.execute("SELECT voxprint.forget('p7')" if people == 400 else "SELECT 1")
        filled.execute("VACUUM (ANALYZE) voxprint.voiceprints")


def test_the_command_prints_what_each_setting_finds(filled, conninfo, monkeypatch, capsys):
    monkeypatch.setenv("VOXPRINT_DSN", conninfo)
    printed = []
    for arguments in (["tune"], ["tune", "--json"]):
        monkeypatch.setattr(sys, "argv", ["voxprint", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        printed.append(capsys.readouterr().out)
    assert "recall@10" in printed[0]
    assert INDEX in printed[0]
    first, *_ = json.loads(printed[1])
    assert first["index_name"] == INDEX
    assert first["ef_search"] == 20


def test_voiceprints_have_a_graph_as_create_index_builds_it(filled):
    filled.execute("CREATE TABLE calls (feature vector(192))")
    (made,) = filled.execute("SELECT fastann.create_index('calls', 'feature')").fetchone()
    graphs = filled.execute(
        "SELECT relname, reloptions FROM pg_class WHERE relname IN (%s, %s)", [made, INDEX]
    ).fetchall()
    options = dict(graphs)
    assert options[INDEX] == options[made] == ["m=24", "ef_construction=100"]
