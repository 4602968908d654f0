"""fastann.search() of tables, columns and indexes with names that get in its way, by every plan."""

from __future__ import annotations

import numpy as np
import pytest
from domain_gallery import text, voices
from search_tables import (  # noqa: F401
    CITIES,
    DIM,
    MODES,
    QUERY,
    ROWS,
    assert_nearest,
    covered,
    database,
    distances,
    explain,
    ids,
    indexed,
    mode,
    people,
    search,
    swept,
)

CITY = np.arange(ROWS) % CITIES
EVERY = np.ones(ROWS, bool)
OTHER = voices(ROWS, seed=2, dim=DIM)


def check_every_plan(db, vectors, name="people", **more):
    every = distances(vectors, QUERY)
    for wanted, matching in (("exact", EVERY), *((wanted, CITY == 3) for wanted in MODES)):
        condition = None if matching is EVERY else "city = 3"
        with mode(db, wanted):
            (report,) = explain(db, name=name, condition=condition, **more)
            assert report["plan"] == wanted, (name, wanted)
            found = search(db, name=name, condition=condition, **more)
        assert_nearest(found, every, matching, 10, recall=0.9, case=(name, wanted, condition))


NAMES = (
    '"Ünï cöde"',
    '"a ""quoted"".table; --"',
    '"select"',
    "found",
    "beam",
    "ranked",
    "hit",
    "report",
    "q",
    "t",
)


def test_tables_of_any_name(db):
    for name in NAMES:
        vectors = people(db, name=name)
        covered(db, name)
        indexed(db, name)
        check_every_plan(db, vectors, name)


@pytest.mark.parametrize("name", ["place", "distance"])
def test_tables_that_are_called_like_a_part_of_a_plan(db, name):
    vectors = people(db, name=name)
    covered(db, name)
    indexed(db, name)
    check_every_plan(db, vectors, name)


@pytest.mark.parametrize("name", ["city", "feature", "id"])
def test_tables_that_are_called_like_a_column_of_theirs(db, name):
    vectors = people(db, name=name)
    covered(db, name)
    indexed(db, name)
    check_every_plan(db, vectors, name)


COLUMNS = ('"Ünï cöde"', "rank", "place", "distance", "hit", "beam", "query", '"%1$s"', '"$1"')


def test_vector_columns_of_any_name(db):
    for column in COLUMNS:
        vectors = people(db, column=column)
        covered(db, column=column)
        bare = column.strip('"')
        indexed(db, column_name=bare)
        check_every_plan(db, vectors, column=bare)
        db.execute("DROP TABLE people")


def test_conditions_on_columns_of_any_name(db):
    columns = ("rank", "place", "distance", "hit", "k", "matching", "reach")
    vectors = people(db)
    covered(db)
    indexed(db)
    for column in columns:
        db.execute(f"ALTER TABLE people ADD {column} int NOT NULL DEFAULT 3")
    db.execute("UPDATE people SET " + ", ".join(f"{column} = city" for column in columns))
    for column in columns:
        db.execute("SELECT fastann.cover('people', 'feature', %s)", [[column]])
    db.execute("VACUUM (ANALYZE) people")
    every = distances(vectors, QUERY)
    for column in columns:
        for wanted in MODES:
            with mode(db, wanted):
                assert explain(db, condition=f"{column} = 3")[0]["plan"] == wanted
                for condition in (f"{column} = 3", f"people.{column} = 3"):
                    found = search(db, condition=condition)
                    assert_nearest(found, every, CITY == 3, 10, recall=0.9, case=condition)


@pytest.mark.parametrize("others", [("found", "place", "distance"), ("beam",), ("ranked",)])
def test_conditions_may_look_into_tables_of_any_name(db, others):
    """The user's own tables, not what a plan calls its parts."""
    vectors = people(db)
    indexed(db)
    every = distances(vectors, QUERY)
    for other in others:
        db.execute(f"CREATE TABLE {other} AS SELECT 3 AS c")
        for wanted in ("exact", "ann"):
            with mode(db, wanted):
                found = search(db, condition=f"city IN (SELECT c FROM {other})")
                assert_nearest(found, every, CITY == 3, 10, recall=0.9, case=wanted)
        db.execute(f"TRUNCATE {other}")
        for wanted in ("exact", "ann"):
            with mode(db, wanted):
                assert search(db, condition=f"EXISTS (SELECT FROM {other})") == [], wanted


def test_a_table_that_only_its_schema_finds(db):
    db.execute('CREATE SCHEMA "of Others"')
    vectors = people(db, name='"of Others".people')
    people(db, OTHER)
    covered(db, '"of Others".people')
    indexed(db, '"of Others".people')
    check_every_plan(db, vectors, '"of Others".people')
    db.execute("SET search_path = pg_catalog")
    with mode(db, "ann"):
        found = db.execute(
            'SELECT (hit).id, distance FROM fastann.search(NULL::"of Others".people, %s,'
            " %s::public.vector, condition => 'city = 3')",
            ["feature", text(QUERY)],
        ).fetchall()
    assert_nearest(found, distances(vectors, QUERY), CITY == 3, 10, recall=0.9)


def test_operators_of_a_search_path_are_for_the_condition_only(db):
    vectors = people(db)
    indexed(db)
    db.execute("CREATE SCHEMA evil")
    for operator, kind in (("=", "text"), ("<>", "text"), ("~~", "text"), ("<", "float8")):
        db.execute(
            f"CREATE OR REPLACE FUNCTION evil.never({kind}, {kind}) RETURNS boolean"
            " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil ran'; END $$"
        )
        db.execute(
            f"CREATE OPERATOR evil.{operator}"
            f" (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = evil.never)"
        )
    db.execute("SET search_path = evil, pg_catalog, public")
    every = distances(vectors, QUERY)
    for wanted in ("exact", "ann"):
        db.execute(f"SET fastann.index_scan_mode = {wanted}")
        assert_nearest(search(db), every, EVERY, 10, recall=0.9)
        assert_nearest(search(db, condition="city IN (3)"), every, CITY == 3, 10, recall=0.9)


def test_covering_by_a_key_of_several_columns(db):
    vectors = people(db)
    db.execute("ALTER TABLE people DROP CONSTRAINT people_pkey, ADD \"the part\" text DEFAULT 'a'")
    db.execute("ALTER TABLE people ADD distance int NOT NULL DEFAULT 1")
    db.execute('ALTER TABLE people ADD PRIMARY KEY ("the part", id, distance)')
    covered(db)
    with mode(db, "covering"):
        assert explain(db, condition="city = 3")[0]["plan"] == "covering"
        found = search(db, condition="city = 3")
    assert_nearest(found, distances(vectors, QUERY), CITY == 3, 10)


def test_autotune_measures_a_covering_index_whatever_its_key_is_called(db):
    people(db)
    db.execute("ALTER TABLE people RENAME id TO d")
    covered(db)
    db.execute("SELECT fastann.autotune('people', 'feature', queries => 10)")
    (measured,) = db.execute("SELECT covering_row_ms > 0 FROM fastann.table_models").fetchone()
    assert measured


LONG = ("a" * 60 + "b", "a" * 60 + "c")


def test_codes_of_one_column_are_never_taken_for_those_of_another(db):
    """Long names of the same beginning."""
    first = people(db, column=LONG[0])
    db.execute(f"ALTER TABLE people ADD {LONG[1]} vector({DIM})")
    with db.cursor() as cursor:
        cursor.executemany(
            f"UPDATE people SET {LONG[1]} = %s WHERE id = %s",
            [(text(vector), i) for i, vector in enumerate(OTHER)],
        )
    for column, vectors in zip(LONG, (first, OTHER), strict=True):
        covered(db, column=column)
        with mode(db, "covering"):
            found = search(db, column=column, condition="city = 3")
        assert_nearest(found, distances(vectors, QUERY), CITY == 3, 10, case=column)


def test_a_column_of_the_users_own_is_never_taken_for_codes(db):
    vectors = people(db)
    db.execute(f"ALTER TABLE people ADD other vector({DIM})")
    db.execute("UPDATE people p SET other = o.feature FROM people o WHERE o.id = 1199 - p.id")
    db.execute(
        f"ALTER TABLE people ADD feature_half halfvec({DIM})"
        f" GENERATED ALWAYS AS (other::halfvec({DIM})) STORED"
    )
    try:
        covered(db)
    except db.DataError as refusal:  # as good an answer
        assert refusal.sqlstate.startswith("VX")
    with mode(db, "covering"):
        found = search(db, condition="city = 3")
    assert_nearest(found, distances(vectors, QUERY), CITY == 3, 10)


def test_an_index_on_another_column_is_never_taken_for_this_ones(db):
    """Their names differ by a blank only."""
    vectors = people(db, kind="real[]", column="ab")
    db.execute('ALTER TABLE people ADD "a b" real[]')
    db.execute('UPDATE people p SET "a b" = o.ab FROM people o WHERE o.id = 1199 - p.id')
    db.execute(f'CREATE INDEX ON people USING hnsw (("a b"::halfvec({DIM})) halfvec_l2_ops)')
    with mode(db, "ann"):
        found = search(db, column="ab")
    assert_nearest(found, distances(vectors, QUERY), EVERY, 10, recall=0.9)


def test_a_partial_index_that_only_a_sub_select_uses_answers_nothing(db):
    vectors = people(db)
    indexed(db, condition="city = 1")
    condition = (
        "city >= 0 OR id IN (SELECT p.id FROM people p WHERE p.city = 1"
        f" ORDER BY p.feature <-> '{text(QUERY)}' LIMIT 5)"
    )
    with mode(db, "ann"):
        found = search(db, condition=condition)
    assert_nearest(found, distances(vectors, QUERY), EVERY, 10, recall=0.9)


def test_a_partial_index_of_the_same_name_elsewhere_answers_nothing(db):
    vectors = people(db)
    indexed(db, condition="city = 1", index_name="one")
    db.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.cities (c int)")
    db.execute("INSERT INTO elsewhere.cities SELECT generate_series(0, 9)")
    db.execute("CREATE INDEX one ON elsewhere.cities (c)")
    with mode(db, "ann"):
        found = search(
            db, condition="EXISTS (SELECT FROM elsewhere.cities c WHERE c.c = people.city)"
        )
    assert_nearest(found, distances(vectors, QUERY), EVERY, 10, recall=0.9)
    assert len(set(ids(found))) == 10
