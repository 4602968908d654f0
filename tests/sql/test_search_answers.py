"""fastann.search() against NumPy: by every plan the rows that match, nearest first."""

from __future__ import annotations

from itertools import product

import numpy as np
import psycopg
import pytest
from domain_gallery import text, unit, voices
from hypothesis import given, settings
from hypothesis import strategies as st
from search_tables import (  # noqa: F401
    CITIES,
    DIM,
    MEASURES,
    MODES,
    QUERY,
    ROWS,
    as_written,
    assert_nearest,
    covered,
    database,
    distances,
    explain,
    ids,
    indexed,
    mode,
    people,
    plant,
    search,
    swept,
)

CITY = np.arange(ROWS) % CITIES
EVERY = np.ones(ROWS, bool)


def test_every_plan_gives_the_nearest_rows_that_match(db):
    vectors = people(db)
    covered(db)
    for measure in MEASURES:
        indexed(db, distancemeasure=measure)
    for measure, (wanted, condition, matching) in product(
        MEASURES,
        (
            ("exact", "city = 3", CITY == 3),
            ("exact", None, EVERY),
            ("covering", "city = 3", CITY == 3),
            ("ann", "city < 6", CITY < 6),
            ("ann", None, EVERY),
        ),
    ):
        options = {"k": 12, "condition": condition, "distancemeasure": measure}
        for query in voices(3, seed=5, dim=DIM):
            with mode(db, wanted):
                (report,) = explain(db, query, run=True, **options)
                found = search(db, query, **options)
            assert report["plan"] == report["actual"]["plan"] == wanted
            recall = 0.9 if wanted == "ann" else 1
            every = distances(vectors, query, measure)
            assert_nearest(found, every, matching, 12, recall=recall, case=(wanted, condition))


@pytest.mark.parametrize("measure", MEASURES)
def test_a_partial_index_answers_where_the_condition_implies_it(db, measure):
    vectors = people(db)
    name = indexed(db, distancemeasure=measure, condition="city = 3")
    with mode(db, "ann"):
        options = {"k": 12, "condition": "id > 5 AND city = 3", "distancemeasure": measure}
        (report,) = explain(db, run=True, **options)
        assert (report["plan"], report["index"]) == ("partial", name)
        assert report["actual"]["plan"] == "partial"
        every = distances(vectors, QUERY, measure)
        matching = (CITY == 3) & (np.arange(ROWS) > 5)
        assert_nearest(search(db, **options), every, matching, 12, recall=0.9)
        options["condition"] = "city < 4"
        assert_nearest(search(db, **options), every, CITY < 4, 12)


@pytest.mark.parametrize(
    ("plan", "costs", "condition"),
    [
        ("exact", {"heap_row_ms": 1e-6, "scan_row_ms": 1e-6}, "city = 3"),
        ("covering", {"heap_row_ms": 1.0, "scan_row_ms": 1.0, "covering_row_ms": 1e-4}, "city = 3"),
        ("ann", {"heap_row_ms": 1.0, "scan_row_ms": 1.0, "covering_row_ms": 1.0}, "city < 6"),
        ("ann", {"heap_row_ms": 1.0, "scan_row_ms": 1.0}, None),
        ("partial", {"heap_row_ms": 1.0, "scan_row_ms": 1.0}, "city BETWEEN 7 AND 8"),
    ],
)
def test_the_plan_that_is_cheapest_is_taken_and_right(db, plan, costs, condition):
    vectors = people(db)
    if plan == "covering":
        covered(db)
    elif plan != "exact":
        indexed(db, condition="city > 6" if plan == "partial" else None)
    plant(db, **costs)
    (report,) = explain(db, k=10, condition=condition, run=True)
    assert (report["plan"], report["actual"]["plan"]) == (plan, plan)
    matching = {"city = 3": CITY == 3, "city < 6": CITY < 6, None: EVERY}.get(condition, CITY > 6)
    matching = (CITY == 7) | (CITY == 8) if plan == "partial" else matching
    found = search(db, k=10, condition=condition)
    assert_nearest(found, distances(vectors, QUERY), matching, 10, recall=0.9)


@pytest.mark.parametrize(
    "kind", [f"vector({DIM})", "vector", f"halfvec({DIM})", "halfvec", "real[]"]
)
def test_every_kind_of_column(db, kind):
    given = people(db, voices(400, seed=1, dim=DIM), kind=kind)
    stored = given.astype(np.float16) if "half" in kind else given
    for measure in MEASURES:
        indexed(db, distancemeasure=measure, dim=DIM)
    for measure in MEASURES:
        every = distances(stored, QUERY, measure)
        tolerance = 2e-3 if "half" in kind else 1e-5
        for wanted in ("exact", "ann"):
            with mode(db, wanted):
                (report,) = explain(db, run=True, distancemeasure=measure)
                found = search(db, distancemeasure=measure)
                arrays = db.execute(
                    "SELECT (hit).id, distance FROM fastann.search(NULL::people, 'feature',"
                    " %s::real[], distancemeasure => %s)",
                    [as_written(QUERY, "real[]"), measure],
                ).fetchall()
            assert report["actual"]["plan"] == wanted, (kind, measure)
            assert arrays == found
            assert_nearest(found, every, EVERY[:400], 10, recall=0.9, tolerance=tolerance)


def test_the_whole_row_comes_back(db):
    people(db)
    db.execute("ALTER TABLE people ADD note text DEFAULT 'as it was', DROP city")
    (row,) = db.execute(
        "SELECT (s.hit).*, s.hit = p FROM fastann.search(NULL::people, 'feature', %s::vector, 1) s"
        " JOIN people p ON p.id = (s.hit).id",
        [text(QUERY)],
    ).fetchall()
    assert (len(row), row[2:]) == (4, ("as it was", True))


def test_equal_vectors_are_all_found_once(db):
    vectors = people(db, np.repeat(voices(50, seed=2, dim=DIM), 20, axis=0))
    indexed(db)
    every = distances(vectors, vectors[7])
    for wanted in ("exact", "ann"):
        with mode(db, wanted):
            for k in (1, 33, 1000, 2000):
                found = search(db, vectors[7], k=k, target_recall=0.9)
                assert_nearest(found, every, np.ones(1000, bool), k, recall=0.9)


@pytest.mark.parametrize("measure", MEASURES)
def test_rows_without_a_vector_are_never_found(db, measure):
    drawn = voices(300, seed=3, dim=DIM)
    vectors = people(db, [None if i % 3 else v for i, v in enumerate(drawn)])
    indexed(db, distancemeasure=measure)
    every = distances(vectors, QUERY, measure)
    for wanted in ("exact", "ann"):
        with mode(db, wanted):
            for condition, kept in ((None, np.ones(300, bool)), ("city = 4", np.arange(300) % 10)):
                matching = kept if condition is None else kept == 4
                found = search(db, k=500, condition=condition, distancemeasure=measure)
                assert_nearest(found, every, matching, 500, case=(wanted, condition))


def test_vectors_of_length_zero_have_no_angle_and_come_last(db):
    vectors = voices(100, seed=3, dim=DIM).copy()
    vectors[::2] = 0
    people(db, vectors)
    indexed(db, distancemeasure="COSINE")
    for wanted in ("exact", "ann"):
        with mode(db, wanted):
            found = search(db, k=80, distancemeasure="COSINE")
            assert len(found) == 80
            assert np.isnan([row[1] for row in found]).tolist() == [False] * 50 + [True] * 30
            assert len(search(db, k=80, distancemeasure="COSINE", max_distance=2.0)) == 50
            assert len(search(db, 0 * QUERY, k=80, distancemeasure="COSINE")) == 80


def test_max_distance_bounds_every_plan(db):
    vectors = people(db)
    covered(db)
    for measure in MEASURES:
        indexed(db, distancemeasure=measure)
    for measure, wanted in product(MEASURES, MODES):
        every = distances(vectors, QUERY, measure)
        inside = float(np.sort(every)[30])
        with mode(db, wanted):
            for bound in (inside + 1e-6, -5.0, -np.inf, np.inf):
                for condition, matching in ((None, EVERY), ("city = 3", CITY == 3)):
                    found = search(
                        db, k=40, max_distance=bound, condition=condition, distancemeasure=measure
                    )
                    kept = matching & (every <= bound)
                    assert_nearest(found, every, kept, 40, recall=0.9, case=(wanted, bound))


def test_a_bound_means_the_same_however_numbers_are_shown(db):
    vectors = people(db)
    every = distances(vectors, QUERY)
    bound = float(np.sort(every)[25]) + 1e-6
    db.execute("SET extra_float_digits = -15")
    assert len(search(db, k=100, max_distance=bound)) == 26


CONDITIONS = {
    "city = 1 -- the first": "city = 1",
    "city = 1 /* 1 */": "city = 1",
    "  city = 1\n\t": "city = 1",
    "": "true",
    "city IN (SELECT c FROM cities WHERE capital)": None,
    "EXISTS (SELECT FROM cities WHERE c = people.city AND capital)": None,
    "EXISTS (SELECT FROM cities c WHERE c.c = city AND c.capital)": None,
    "NOT EXISTS (SELECT FROM people p WHERE p.id > people.id AND p.city = people.city)": None,
    "tags @> ARRAY[3] AND NOT tags && ARRAY[7]": None,
    "city = ANY ('{1,4}') OR id % 7 = 0": None,
    "NULL": None,
    "city = 1 AND NULL": None,
    "false": None,
    "id = 5 OR id = -5": None,
    "name LIKE '%7%' AND name <> 'o''brien'": None,
    "name = $tag$person 12$tag$": None,
    "people.ctid IS NOT NULL AND people.tableoid = 'people'::regclass": None,
    "(people).city = 3 AND people IS NOT NULL": None,
    "l2_distance(feature, (SELECT feature FROM people p WHERE p.id = 3)) < 1.3": None,
}


def test_conditions_mean_what_they_mean_after_where(db):
    vectors = people(db)
    db.execute("ALTER TABLE people ADD tags int[], ADD name text")
    db.execute("UPDATE people SET tags = ARRAY[id % 5, id % 8], name = 'person ' || id")
    db.execute("CREATE TABLE cities AS SELECT c, c % 3 = 0 AS capital FROM generate_series(0, 9) c")
    db.execute("CREATE INDEX ON people USING gin (tags)")
    db.execute("VACUUM (ANALYZE) people")
    indexed(db)
    every = distances(vectors, QUERY)
    for condition, plainly in CONDITIONS.items():
        kept = db.execute(f"SELECT id FROM people WHERE {plainly or condition}").fetchall()
        matching = np.isin(np.arange(ROWS), [row[0] for row in kept])
        for wanted in ("auto", "exact", "ann"):
            with mode(db, wanted):
                found = search(db, k=15, condition=condition)
            assert_nearest(found, every, matching, 15, recall=0.9, case=(wanted, condition))


def test_conditions_may_name_system_columns(db):
    vectors = people(db)
    indexed(db)
    for wanted in ("exact", "ann"):
        with mode(db, wanted):
            found = search(db, condition="ctid IS NOT NULL AND tableoid = 'people'::regclass")
        assert_nearest(found, distances(vectors, QUERY), EVERY, 10, recall=0.9)


def test_a_condition_far_from_the_query_is_searched_exactly_after_all(db):
    vectors = people(db)
    every = distances(vectors, QUERY)
    far = np.argsort(-every)[:40]
    db.execute("UPDATE people SET city = 77 WHERE id = ANY (%s)", [far.tolist()])
    db.execute("ANALYZE people")
    indexed(db)
    db.execute("SET fastann.hnsw_ef_search = 100")
    with mode(db, "ann"):
        (report,) = explain(db, condition="city = 77", run=True)
        assert report["plan"] == "ann"
        assert report["actual"]["switched"] is True
        assert (report["actual"]["plan"], report["actual"]["recall"]) == ("exact", 1)
        found = search(db, condition="city = 77")
    assert_nearest(found, every, np.isin(np.arange(ROWS), far), 10)


def test_a_search_for_each_row_of_another_table(db):
    vectors = people(db)
    indexed(db)
    rows = db.execute(
        "SELECT p.id, (s.hit).id FROM people p, LATERAL fastann.search(p, 'feature', p.feature, 1,"
        " condition => format('id <> %s', p.id)) s WHERE p.id < 20 ORDER BY 1"
    ).fetchall()
    assert [row[0] for row in rows] == list(range(20))
    for i, nearest in rows:
        every = distances(vectors, vectors[i])
        assert nearest == np.argsort(every)[1]


@pytest.fixture
def town(db) -> tuple[psycopg.Connection, np.ndarray]:
    vectors = people(db)
    covered(db)
    indexed(db)
    indexed(db, condition="city = 3")
    return db, vectors


def test_any_question_is_answered_in_full(town):
    db, vectors = town

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(
        seed=st.integers(0, 1000),
        k=st.sampled_from([1, 2, 10, 100, 700]),
        kept=st.sets(st.integers(0, 9), max_size=4),
        above=st.sampled_from([-1, 500, 1150, 5000]),
        bound=st.sampled_from([None, 0.9, 1.2]),
        wanted=st.sampled_from(["auto", *MODES]),
        measure=st.sampled_from(["L2", "IP"]),
    )
    def check(seed, k, kept, above, bound, wanted, measure):
        query = unit(vectors[seed] + 0.1 * voices(1, seed=seed, dim=DIM)[0])
        every = distances(vectors, query, measure)
        condition = f"city = ANY ('{{{','.join(map(str, kept))}}}') AND id > {above}"
        matching = np.isin(CITY, list(kept)) & (np.arange(ROWS) > above)
        if bound is not None:
            bound = bound if measure == "L2" else bound**2 / 2 - 1
            matching &= every <= bound
        options = {
            "k": k, "condition": condition, "max_distance": bound, "distancemeasure": measure
        }  # fmt: skip
        with mode(db, wanted):
            exact = search(db, query, target_recall=1, **options)
            assert_nearest(exact, every, matching, k)
            quick = search(db, query, target_recall=0.9, **options)
            assert_nearest(quick, every, matching, k, recall=0.8)
            assert ids(quick)[:1] == ids(exact)[:1]

    check()


def test_a_scan_beyond_the_beam_gives_the_nearest_first(db):
    """An iterative scan comes in batches, each of them anywhere among those before: sort them."""
    vectors = people(db, voices(3000, seed=1, dim=DIM))
    indexed(db, hnsw_m=3, hnsw_ef_construction=6)  # a poor graph, where batches overlap
    db.execute(
        "INSERT INTO fastann.index_models"
        " SELECT oid, relfilenode, 3000, '{10}', '{2000}', '{0.1}', '{1,2000}', '{1,1}', 1"
        " FROM pg_class WHERE relname = 'people_feature_ann'"
    )
    db.execute("ANALYZE people")
    with mode(db, "ann"):
        (report,) = explain(db, k=20, target_recall=0.9, run=True)
        found = search(db, k=20, target_recall=0.9)
    assert report["actual"]["plan"] == "ann"
    assert report["depth"] == 2000
    every = np.sort(distances(vectors, QUERY))
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
    share = np.mean([distance <= every[19] + 1e-6 for _, distance in found])
    assert share > 0.5  # in the order of the batches it is next to none
