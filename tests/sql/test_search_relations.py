"""fastann.search() in partitions, views and tables that change, and what a role may see there."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from domain_gallery import refused, voices
from psycopg import sql
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


def grant(db: psycopg.Connection, role: psycopg.Connection, rights: str) -> None:
    db.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(rights), sql.Identifier(role.info.user)))


def partitioned(db: psycopg.Connection) -> np.ndarray:
    """Parent ``people`` by city: p0 (0 to 3), p1 (4 to 6, columns in another order, one dropped)
    and p2 (7 and above, itself of two parts)."""
    db.execute(
        f"CREATE TABLE people (id int, city int, feature vector({DIM})) PARTITION BY RANGE (city)"
    )
    db.execute("CREATE TABLE p0 PARTITION OF people FOR VALUES FROM (MINVALUE) TO (4)")
    db.execute(f"CREATE TABLE p1 (gone text, feature vector({DIM}), city int, id int)")
    db.execute("ALTER TABLE p1 DROP gone")
    db.execute("ALTER TABLE people ATTACH PARTITION p1 FOR VALUES FROM (4) TO (7)")
    db.execute(
        "CREATE TABLE p2 PARTITION OF people FOR VALUES FROM (7) TO (MAXVALUE)"
        " PARTITION BY RANGE (city)"
    )
    db.execute("CREATE TABLE p2a PARTITION OF p2 FOR VALUES FROM (7) TO (8)")
    db.execute("CREATE TABLE p2b PARTITION OF p2 FOR VALUES FROM (8) TO (MAXVALUE)")
    vectors = people(db, create=False)
    indexed(db, "p0")
    indexed(db, "p1")
    return vectors


def test_partitions_are_searched_as_one_table(db):
    every = distances(partitioned(db), QUERY)
    for condition, matching, parts in (
        (None, EVERY, 4),
        ("city = 5", CITY == 5, 1),
        ("people.city IN (2, 8)", (CITY == 2) | (CITY == 8), 2),
        ("id % 2 = 0", np.arange(ROWS) % 2 == 0, 4),
        ("city = 5 AND city = 6", CITY < 0, 0),
        ("city > 77", CITY < 0, 1),
    ):
        for wanted in ("auto", "exact", "ann"):
            with mode(db, wanted):
                assert len(explain(db, condition=condition)) == max(parts, 1), condition
                found = search(db, k=25, condition=condition)
            assert_nearest(found, every, matching, 25, recall=0.9, case=(condition, wanted))
    with mode(db, "ann"):
        plans = {r["table"]: r["plan"] for r in explain(db)}
    assert (plans["public.p0"], plans["public.p2a"]) == ("ann", "exact")
    for part, matching in (("p1", (CITY > 3) & (CITY < 7)), ("p2", CITY > 6)):
        assert_nearest(search(db, name=part), every, matching, 10)


def test_explain_says_so_where_no_partition_is_left(db):
    partitioned(db)
    condition = "city = 5 AND city = 6"
    assert [r["plan"] for r in explain(db, condition=condition)] == ["empty"]


def test_a_column_called_like_the_partitioned_table(db):
    every = distances(partitioned(db), QUERY)
    db.execute("ALTER TABLE people ADD people int DEFAULT 1")
    assert_nearest(search(db), every, EVERY, 10)


def test_rights_on_the_whole_are_enough_for_its_partitions(db, as_role):
    every = distances(partitioned(db), QUERY)
    role = as_role()
    grant(db, role, "SELECT ON people")
    assert role.execute("SELECT count(*) FROM people").fetchone() == (ROWS,)
    assert_nearest(search(role), every, EVERY, 10)


def test_policies_of_the_whole_hold_in_its_partitions(db, as_role):
    every = distances(partitioned(db), QUERY)
    role = as_role()
    for part in ("people", "p0", "p1", "p2", "p2a", "p2b"):
        grant(db, role, f"SELECT ON {part}")
    db.execute("ALTER TABLE people ENABLE ROW LEVEL SECURITY")
    db.execute("CREATE POLICY few ON people FOR SELECT USING (id < 100)")
    assert role.execute("SELECT count(*) FROM people").fetchone() == (100,)
    for wanted in ("auto", "exact", "ann"):
        with mode(role, wanted):
            assert_nearest(search(role), every, np.arange(ROWS) < 100, 10)


def test_hidden_rows_never_appear_by_any_plan(db, as_role):
    every = distances(people(db), QUERY)
    covered(db)
    indexed(db)
    indexed(db, condition="city = 4")
    role = as_role()
    grant(db, role, "SELECT ON people")
    db.execute("ALTER TABLE people ENABLE ROW LEVEL SECURITY")
    for wanted in MODES:
        with mode(role, wanted):
            assert search(role) == []
    db.execute("CREATE POLICY few ON people FOR SELECT USING (id % 2 = 0)")
    even = np.arange(ROWS) % 2 == 0
    for wanted in MODES:
        with mode(role, wanted):
            for condition, matching in (
                (None, even),
                ("city = 4", even & (CITY == 4)),
                ("true) OR (true", even),
                ("id IN (SELECT p.id + 1 FROM people p)", CITY < 0),
            ):
                found = search(role, condition=condition)
                assert_nearest(found, every, matching, 10, recall=0.9, case=condition)
    role.execute("SET row_security = off")
    with refused("42501", "row-level security"):
        search(role)


def test_a_condition_sees_no_hidden_row_in_its_errors(db, as_role):
    """An error in the condition must come from rows that the role may read."""
    people(db)
    indexed(db)
    role = as_role()
    grant(db, role, "SELECT ON people")
    db.execute("ALTER TABLE people ENABLE ROW LEVEL SECURITY")
    db.execute("CREATE POLICY few ON people FOR SELECT USING (id <> 7)")
    for wanted in ("exact", "ann"):
        with mode(role, wanted):
            assert len(search(role, condition="1 / (id - 7) IS NOT NULL")) == 10
            with refused("22012"):
                search(role, condition="1 / (id / 9 - 7) IS NOT NULL", k=1000)


def test_a_role_without_rights_gets_the_error_of_postgresql(db, as_role):
    people(db)
    covered(db)
    indexed(db)
    role = as_role()
    for wanted in ("auto", *MODES):
        with mode(role, wanted), refused("42501", "permission denied for table people"):
            search(role)
    with refused("42501", "permission denied for table people"):
        explain(role)
    grant(db, role, "SELECT (id, city) ON people")
    with refused("42501", "permission denied for table people"):
        search(role)
    with refused("42501", "permission denied for schema voxprint"):
        search(role, condition="EXISTS (SELECT FROM voxprint.speakers)")


def test_rights_on_every_column_are_enough_for_every_plan(db, as_role):
    every = distances(people(db), QUERY)
    role = as_role()
    grant(db, role, "SELECT (id, city, feature) ON people")
    for condition, matching in (("city = 3", CITY == 3), (None, EVERY)):
        assert_nearest(search(role, condition=condition), every, matching, 10)


def test_views_and_parents_are_searched_exactly(db):
    vectors = people(db)
    every = distances(vectors, QUERY)
    indexed(db)
    db.execute("CREATE VIEW seen AS SELECT * FROM people WHERE city < 5")
    db.execute("CREATE MATERIALIZED VIEW kept AS SELECT * FROM people WHERE city < 5")
    db.execute("SELECT fastann.create_index('kept', 'feature')")
    db.execute("CREATE TABLE child () INHERITS (people)")
    db.execute("INSERT INTO child SELECT * FROM ONLY people WHERE city > 6")
    db.execute("DELETE FROM ONLY people WHERE city > 6")
    for wanted in ("auto", *MODES):
        with mode(db, wanted):
            assert_nearest(search(db), every, EVERY, 10)
            for name in ("seen", "kept"):
                found = search(db, name=name, condition="city <> 2")
                assert_nearest(found, every, (CITY < 5) & (CITY != 2), 10, recall=0.9, case=name)
            assert explain(db)[0]["plan"] == explain(db, name="seen")[0]["plan"] == "exact"
    with mode(db, "ann"):
        assert explain(db, name="kept")[0]["plan"] == "ann"


def test_a_view_without_a_table(db):
    vectors = voices(1, seed=4, dim=DIM)
    db.execute(f"CREATE VIEW one AS SELECT 0 AS id, '{vectors[0].tolist()}'::vector({DIM}) feature")
    assert_nearest(search(db, name="one"), distances(vectors, QUERY), np.ones(1, bool), 10)


def test_a_foreign_table(db, as_role):
    every = distances(people(db), QUERY)
    away = as_role().info
    db.execute(f"GRANT SELECT ON people TO {away.user}")
    try:
        db.execute("CREATE EXTENSION postgres_fdw")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL comes without postgres_fdw")
    db.execute(
        "CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS"
        f" (host '{away.host}', port '{away.port}', dbname '{away.dbname}')"
    )
    db.execute(
        "CREATE USER MAPPING FOR CURRENT_USER SERVER here OPTIONS"
        f" (user '{away.user}', password '{away.password}')"
    )
    db.execute(
        f"CREATE FOREIGN TABLE away (id int, city int, feature vector({DIM})) SERVER here"
        " OPTIONS (table_name 'people')"
    )
    for wanted in ("auto", *MODES):
        with mode(db, wanted):
            found = search(db, name="away", condition="city = 3")
            assert_nearest(found, every, CITY == 3, 10)


def test_temporary_and_empty_tables(db):
    every = distances(people(db, name="pg_temp.people"), QUERY)
    indexed(db, "pg_temp.people")
    for wanted in ("auto", *MODES):
        with mode(db, wanted):
            assert_nearest(search(db, condition="city < 5"), every, CITY < 5, 10, recall=0.9)
    db.execute("TRUNCATE people")
    for wanted in ("auto", *MODES):
        with mode(db, wanted):
            assert search(db) == search(db, condition="city = 3") == []
            assert explain(db, run=True)[0]["actual"]["rows"] == 0


CHANGES = (
    "DROP INDEX people_feature_ann",
    "VACUUM FULL people",
    "REINDEX TABLE people",
    "ALTER TABLE people ADD note text DEFAULT 'new'",
    "ALTER TABLE people DROP note",
    "CREATE INDEX people_feature_ann ON people USING ann (feature)",
    "DROP INDEX people_feature_ann",
    "ALTER TABLE people ALTER id TYPE bigint",
    "ALTER TABLE people ALTER feature TYPE real[] USING feature::real[]",
    f"ALTER TABLE people ALTER feature TYPE halfvec({DIM}) USING feature::vector::halfvec",
    "ALTER TABLE people SET UNLOGGED",
    "CREATE SCHEMA moved",
    "DELETE FROM people WHERE id >= 1000",
)


@pytest.mark.parametrize("wanted", ["auto", "ann"])
def test_one_session_sees_every_change_of_the_table(db, conninfo, wanted):
    every = distances(people(db), QUERY)
    indexed(db)
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as session:
        session.execute("SET plan_cache_mode = force_generic_plan")
        session.execute("SELECT set_config('fastann.index_scan_mode', %s, false)", [wanted])
        for change in ("SELECT", *CHANGES):
            db.execute(change)
            kept = np.arange(ROWS) < (1000 if change.startswith("DELETE") else ROWS)
            for condition, matching in ((None, kept), ("city < 5", kept & (CITY < 5))):
                found = search(session, condition=condition)
                assert_nearest(found, every, matching, 10, recall=0.9, tolerance=2e-3, case=change)
        db.execute("ALTER TABLE people RENAME feature TO other")
        with refused("VX006", "no column feature"):
            search(session)
        db.execute("TRUNCATE people")
        assert search(session, column="other") == []
        db.execute("DROP TABLE people")
        with refused("42704", "people"):
            search(session)
        again = people(db, voices(30, seed=8, dim=DIM))
        found = search(session)
        assert_nearest(found, distances(again, QUERY), np.ones(30, bool), 10)


SEVERAL = (
    "true); CREATE TABLE planted (); SELECT (1",
    "true) UNION SELECT NULL, 0, NULL FROM people WHERE (true",
    "true) UNION SELECT FROM people WHERE (true",
    "true; DROP TABLE people",
    "true)) FROM people; --",
    "city =",
    "(",
    "-- nothing else",
    "/* without an end",
    "city = 1 ORDER BY 1",
    "true) ORDER BY (1",
    "$1 IS NOT NULL",
    "nowhere = 3",
)


def test_a_condition_is_one_expression(db):
    people(db)
    indexed(db)
    for condition in SEVERAL:
        for wanted in ("auto", *MODES):
            with mode(db, wanted):
                with pytest.raises(psycopg.Error) as caught:
                    search(db, condition=condition)
                assert caught.value.sqlstate[:2] in ("42", "VX"), condition
    assert db.execute("SELECT to_regclass('planted')").fetchone() == (None,)
    assert len(ids(search(db))) == 10


def test_an_index_condition_is_one_expression(db):
    people(db)
    for condition in (
        "true); CREATE TABLE public.planted (); SELECT (1",
        "true); DROP TABLE public.people; SELECT (1",
    ):
        with pytest.raises(psycopg.Error) as caught:
            indexed(db, condition=condition)
        assert caught.value.sqlstate[:2] in ("42", "VX")
    assert db.execute("SELECT to_regclass('planted')").fetchone() == (None,)
    assert len(search(db)) == 10
