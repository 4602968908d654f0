"""`Voxprint.search` and `tune`: rows of a table of the caller's own, by condition and vector."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

import voxprint
from voxprint.errors import DatabaseError, ModelMismatch, UsageError

RNG = np.random.default_rng(7)
VECTORS = RNG.standard_normal((300, 4)).astype(np.float32)
CITIES = ["Ulm", "O'Hara", "50 % off", "Köln"]


@pytest.fixture
def gallery(conninfo: str, db: psycopg.Connection):
    db.execute("CREATE SCHEMA desk")
    db.execute(
        'CREATE TABLE desk."Agents" (id int PRIMARY KEY, city text, distance int, voice vector(4))'
    )
    with db.cursor().copy('COPY desk."Agents" FROM STDIN') as copy:
        for i, vector in enumerate(VECTORS):
            copy.write_row((i, CITIES[i % 4], i, "[" + ",".join(map(str, vector)) + "]"))
    db.execute('ANALYZE desk."Agents"')
    with voxprint.open(dsn=conninfo) as opened:
        yield opened


TABLE = ("desk", "Agents")


def nearest(query: np.ndarray, keep: np.ndarray, k: int) -> list[int]:
    distances = np.linalg.norm(VECTORS - query, axis=1)
    return [int(i) for i in np.argsort(distances) if keep[i]][:k]


@pytest.mark.parametrize("city", CITIES)
def test_values_are_literals_whatever_is_in_them(gallery, city: str):
    query = RNG.standard_normal(4)
    keep = np.array([CITIES[i % 4] == city for i in range(300)])
    for where, parameters in (
        ("city = %s AND id < %s", [city, 200]),
        ("city = %(city)s AND id < %(id)s", {"city": city, "id": 200}),
    ):
        found = gallery.search(TABLE, "voice", query, k=5, where=where, parameters=parameters)
        assert [hit.row["id"] for hit in found] == nearest(query, keep & (np.arange(300) < 200), 5)
        assert found[0].row["distance"] == found[0].row["id"]  # the table's, beside ours
        assert found[0].distance == pytest.approx(
            float(np.linalg.norm(VECTORS[found[0].row["id"]] - query)), rel=1e-5
        )


def test_a_value_cannot_become_sql(gallery):
    injection = 'x\' OR true; DROP TABLE desk."Agents"; --'
    assert (
        gallery.search(TABLE, "voice", [1, 0, 0, 0], where="city = %s", parameters=[injection])
        == []
    )
    assert len(gallery.search(TABLE, "voice", [1, 0, 0, 0], k=1000)) == 300


def test_bounds_and_measures(gallery):
    query = VECTORS[3]
    (hit,) = gallery.search(TABLE, "voice", query, max_distance=1e-6)
    assert hit.row["id"] == 3
    (hit,) = gallery.search(TABLE, "voice", query, k=1, distancemeasure="cosine", target_recall=1)
    assert hit.distance == pytest.approx(0, abs=1e-6)


def test_wrong_arguments_are_told(gallery):
    for error, words, arguments in (
        (UsageError, "shape", {"query": np.zeros((2, 2))}),
        (UsageError, "finite", {"query": [1, 2, np.nan, 4]}),
        (UsageError, "numbers", {"query": "no"}),
        (ModelMismatch, "4 values", {"query": [1, 2, 3]}),
        (UsageError, "k: expected", {"k": 0}),
        (UsageError, "target_recall", {"target_recall": 1.5}),
        (UsageError, "L2, IP or COSINE", {"distancemeasure": "manhattan"}),
        (DatabaseError, "syntax error", {"where": "id = %s"}),
        (UsageError, "do not fit", {"where": "id = %s", "parameters": [1, 2]}),
        (UsageError, "without `where`", {"parameters": [1]}),
        (DatabaseError, "syntax error", {"where": "id ="}),
        (DatabaseError, "does not exist", {"where": "nowhere = 1"}),
    ):
        with pytest.raises(error, match=words):
            gallery.search(TABLE, "voice", **{"query": [1, 0, 0, 0], **arguments})
    with pytest.raises(UsageError, match="no column"):
        gallery.search(TABLE, "ears", [1, 0, 0, 0])
    with pytest.raises(DatabaseError, match="does not exist"):
        gallery.search("nowhere", "voice", [1, 0, 0, 0])


def test_tune_needs_people_to_measure_on(gallery):
    with pytest.raises(UsageError, match="too few"):
        gallery.tune()
