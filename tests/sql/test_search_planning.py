"""What fastann.explain() says, when a model is stale, and what is recorded and advised."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest
from domain_gallery import refused, text, voices
from search_tables import (  # noqa: F401
    CITIES,
    DIM,
    QUERY,
    ROWS,
    assert_nearest,
    covered,
    database,
    distances,
    explain,
    indexed,
    mode,
    people,
    plant,
    search,
    swept,
)

CITY = np.arange(ROWS) % CITIES


@pytest.fixture
def town(db) -> psycopg.Connection:
    people(db)
    covered(db)
    indexed(db)
    return db


def lines(connection: psycopg.Connection, **more: object) -> list[str]:
    extra = "".join(f", {name} => %({name})s" for name in more)
    rows = connection.execute(
        f"SELECT fastann.explain(NULL::people, 'feature', %(query)s::vector{extra})",
        {"query": text(QUERY), **more},
    )
    return [row[0] for row in rows]


def test_the_report_has_what_is_published(town):
    for wanted, condition in (("exact", None), ("covering", "city = 3"), ("ann", "city < 6")):
        with mode(town, wanted):
            (planned,) = explain(town, condition=condition)
            (ran,) = explain(town, condition=condition, run=True)
        assert {"plan", "why", "estimated", "expected_recall", "stale"} <= planned.keys()
        assert "actual" not in planned
        assert planned["plan"] == ran["plan"] == ran["actual"]["plan"] == wanted
        assert (planned["table"], planned["k"]) == ("public.people", 10)
        assert {"rows", "table_rows", "ms", "exact_ms"} <= planned["estimated"].keys()
        assert planned["estimated"]["table_rows"] == ROWS
        assert ran["actual"]["rows"] == 10
        assert ran["actual"]["switched"] is False
        assert ran["actual"]["exact"] is planned["exact"] is (wanted == "exact")
        assert planned["expected_recall"] >= 0.99
    (empty,) = explain(town, condition="false", run=True)
    assert (empty["plan"], empty["actual"]["rows"]) == ("empty", 0)


def test_the_text_says_the_same_in_words(town):
    with mode(town, "ann"):
        said = lines(town, condition="city < 6", run=True)
        (report,) = explain(town, condition="city < 6", run=True)
    assert said[0] == f"Plan: ann on public.people: {report['why']}"
    for beginning in ("Asked: the nearest 10, recall 0.99", "Estimated: ", "Index: people_feature"):
        assert any(line.startswith(beginning) for line in said)
    assert f"ef_search {report['ef_search']}, {report['depth']} rows fetched" in "\n".join(said)
    assert any(line.startswith("Came true: 10 rows by ann in ") for line in said)
    assert any("never measured" in line and "autotune" in line for line in said)
    assert not any(line.startswith("Switched") for line in said)


def test_the_reason_is_true_of_a_plan_that_was_forced(town):
    """Nobody is told that exact ways take longer where the figures beside it say otherwise."""
    with mode(town, "ann"):
        (report,) = explain(town)
    assert report["estimated"]["ms"] > report["estimated"]["exact_ms"]
    assert "longer" not in report["why"]
    assert "index_scan_mode" in report["why"]


def test_a_plan_that_cannot_be_forced_says_why(db):
    people(db)
    for wanted in ("covering", "ann"):
        with mode(db, wanted):
            (report,) = explain(db, condition="city = 3")
        assert report["plan"] == "exact"
        assert wanted in report["why"], report["why"]


@pytest.mark.parametrize("bound", [-1, 0.2])
def test_a_bound_is_explained(town, bound):
    said = lines(town, max_distance=bound, run=True)
    assert any(line.startswith("Came true: 0 rows") for line in said)
    assert not any("  " in line for line in said), said


def tuned(connection: psycopg.Connection) -> None:
    connection.execute("SELECT fastann.autotune('people', 'feature', queries => 10)")
    with mode(connection, "ann"):
        assert explain(connection)[0]["stale"] is None
    assert explain(connection, condition="city = 3")[0]["stale"] is None


STALE = {
    "REINDEX INDEX people_feature_ann": "rewritten since autotune",
    "VACUUM FULL people": "rewritten since autotune",
    f"INSERT INTO people SELECT id + {ROWS}, city, feature FROM people WHERE id % 5 < 3; "
    "ANALYZE people": f"{ROWS} rows at autotune",
    f"DELETE FROM people WHERE id > {ROWS // 3}; ANALYZE people": f"{ROWS} rows at autotune",
}


@pytest.mark.parametrize("change", STALE)
def test_a_model_of_what_is_no_more_is_called_stale(db, change):
    people(db)
    indexed(db)
    tuned(db)
    for statement in change.split("; "):
        db.execute(statement)
    for wanted in ("auto", "ann"):
        with mode(db, wanted):
            (report,) = explain(db, condition="city < 6")
            assert report["stale"] is not None, wanted
            assert STALE[change] in report["stale"], wanted
            assert "autotune" in "\n".join(lines(db, condition="city < 6"))
    tuned(db)


def test_a_vacuum_or_a_few_rows_make_nothing_stale(town):
    tuned(town)
    town.execute(
        f"INSERT INTO people (id, city, feature) SELECT id + {ROWS}, city, feature FROM people"
        " WHERE id % 5 = 0"
    )
    town.execute("VACUUM ANALYZE people")
    with mode(town, "ann"):
        assert explain(town)[0]["stale"] is None


def test_only_its_owner_may_say_what_a_table_costs(town, as_role):
    tuned(town)
    before = town.execute("TABLE fastann.table_models").fetchall()
    stranger = as_role()
    town.execute(f"GRANT ALL ON people TO {stranger.info.user}")
    with refused("42501", "must be owner of table"):
        stranger.execute("SELECT fastann.autotune('people', 'feature')")
    with refused("42501", "row-level security"):
        plant(stranger)
    for planted in (
        "UPDATE fastann.table_models SET scan_row_ms = 0",
        "UPDATE fastann.index_models SET recall[1] = 1",
        "UPDATE fastann.samples SET places = '{}'",
    ):
        assert stranger.execute(planted).rowcount == 0
    with refused("42501", "row-level security"):
        stranger.execute("INSERT INTO fastann.samples VALUES ('people'::regclass, '{}')")
    with refused("42501", "row-level security"):
        stranger.execute(
            "INSERT INTO fastann.index_models VALUES ('people_feature_ann'::regclass, 0, 1, '{1}',"
            " '{1}', '{0}', '{1}', '{1}', 1)"
        )
    for statement in ("DELETE FROM", "TRUNCATE", "LOCK"):
        with refused("42501"), stranger.transaction():
            stranger.execute(f"{statement} fastann.table_models")
    assert town.execute("TABLE fastann.table_models").fetchall() == before


RECORDED = "SELECT filter, plan, k FROM fastann.workload ORDER BY asked_at"


def test_searches_are_recorded_only_when_asked_and_without_values(town, as_role):
    search(town, condition="city = 3")
    explain(town, condition="city = 3", run=True)
    assert town.execute(RECORDED).fetchall() == []
    town.execute("ALTER TABLE people ADD note text DEFAULT ''")
    town.execute("SET fastann.record_workload = on")
    search(town, condition="city = 8675309 AND note <> 'the secret id of Ann'", k=7)
    search(town, condition="(people).city <> 3 -- not by id", k=8)
    search(town, k=9)
    search(town, k=11, max_distance=-1)
    town.execute("SET fastann.record_workload = off")
    search(town)
    rows = town.execute(RECORDED).fetchall()
    assert [(row[0], row[2]) for row in rows] == [
        (["city", "note"], 7),
        (["city"], 8),
        ([], 9),
        ([], 11),
    ]
    everything = town.execute("SELECT string_agg(w::text, '') FROM fastann.workload w").fetchone()[
        0
    ]
    for value in ("8675309", "secret", "Ann", text(QUERY)[1:9]):
        assert value not in everything
    stranger = as_role()
    assert stranger.execute(RECORDED).fetchall() == []
    with refused("42501"):
        stranger.execute("DELETE FROM fastann.workload")


def test_a_plan_that_only_explains_is_no_search(town):
    town.execute("SET fastann.record_workload = on")
    explain(town, condition="city = 3")
    assert town.execute(RECORDED).fetchall() == []


def advised(connection: psycopg.Connection) -> list[tuple[str, str, int]]:
    statement = "SELECT table_name::text, advice, searches FROM fastann.advise()"
    return connection.execute(statement).fetchall()


def test_advice_is_followed_by_another_plan(db):
    vectors = people(db, voices(5000, seed=1, dim=DIM))
    db.execute("ALTER TABLE people ALTER feature SET NOT NULL")
    indexes = db.execute("SELECT count(*) FROM pg_indexes").fetchone()
    plant(db, heap_row_ms=0.01, scan_row_ms=0.005, distance_row_ms=0.005)
    db.execute("SET fastann.record_workload = on")
    for _ in range(3):
        search(db, condition="city = 3")
        search(db)
    db.execute("SET fastann.record_workload = off")
    # what they took here depends on the machine
    db.execute("UPDATE fastann.workload SET ms = ms + 50")
    advice = advised(db)
    assert sorted(row[1].split("(")[0] for row in advice) == [
        "SELECT fastann.cover",
        "SELECT fastann.create_index",
    ]
    assert [row[0::2] for row in advice] == [("people", 3)] * 2
    assert db.execute("SELECT count(*) FROM pg_indexes").fetchone() == indexes
    assert [explain(db, condition=c)[0]["plan"] for c in ("city = 3", None)] == ["exact"] * 2
    for _, statement, _ in advice:
        db.execute(statement)
    db.execute("VACUUM (ANALYZE) people")
    plant_again = {"heap_row_ms": 0.01, "scan_row_ms": 0.005, "covering_row_ms": 0.001}
    db.execute("DELETE FROM fastann.table_models")
    plant(db, **plant_again)
    plans = [explain(db, condition=c)[0]["plan"] for c in ("city = 3", None)]
    assert plans == ["covering", "ann"]
    every = distances(vectors, QUERY)
    found = search(db, condition="city = 3")
    assert_nearest(found, every, np.arange(5000) % CITIES == 3, 10, recall=0.9)
    assert not {row[1] for row in advice} & {row[1] for row in advised(db)}  # it was followed


def test_advice_survives_what_became_of_the_tables(town, as_role):
    """A line that advises nothing any more, or that somebody made up, is passed over."""
    town.execute("CREATE TABLE parent (LIKE people); CREATE TABLE child () INHERITS (parent)")
    town.execute("CREATE TABLE dropped AS TABLE people; CREATE VIEW seen AS TABLE people")
    town.execute("CREATE TABLE renamed AS SELECT id, city, feature FROM people")
    town.execute("INSERT INTO parent (id, city, feature) SELECT id, city, feature FROM people")
    town.execute("SET fastann.record_workload = on")
    for name in ("people", "parent", "child", "dropped", "seen", "renamed"):
        search(town, name=name)
        search(town, name=name, condition="city < 6")
    town.execute("SET fastann.record_workload = off")
    town.execute("UPDATE fastann.workload SET ms = 50")
    stranger = as_role()
    town.execute(f"GRANT SELECT ON people TO {stranger.info.user}")
    stranger.execute(
        "INSERT INTO fastann.workload (relation, column_name, filter, rows, k, target_recall, plan,"
        " ms) VALUES ('people'::regclass, 'nonsense', '{city}', 1, 1, 1, 'exact', 1e6)"
    )
    town.execute("DROP TABLE dropped")
    advised(town)
    town.execute("ALTER TABLE renamed RENAME feature TO other")
    advised(town)
    town.execute("ALTER TABLE renamed RENAME other TO feature")
    town.execute("ALTER TABLE renamed DROP city")
    advice = [statement for name, statement, _ in advised(town) if name == "renamed"]
    assert not any("city" in statement for statement in advice)


def test_a_covering_index_of_a_table_not_vacuumed_is_turned_away(db):
    vectors = people(db)
    covered(db)
    plant(db, heap_row_ms=0.01, scan_row_ms=0.01, covering_row_ms=0.001)
    assert explain(db, condition="city < 6")[0]["plan"] == "covering"
    db.execute("UPDATE people SET id = id")
    db.execute("SELECT pg_stat_force_next_flush()")
    db.execute("SELECT pg_stat_clear_snapshot()")
    (report,) = explain(db, condition="city < 6")
    assert report["plan"] == "exact"
    found = search(db, condition="city < 6")
    assert_nearest(found, distances(vectors, QUERY), CITY < 6, 10)
    db.execute("VACUUM FULL people; ")
    db.execute("VACUUM (ANALYZE) people")
    assert explain(db, condition="city < 6")[0]["estimated"].get("pages_not_all_visible", 0) < 0.5


def test_a_covering_index_is_used_where_vectors_may_be_missing(db):
    """No column of the usual CREATE TABLE is NOT NULL."""
    people(db)
    db.execute("SELECT fastann.cover('people', 'feature', '{city}')")
    db.execute("VACUUM (ANALYZE) people")
    with mode(db, "covering"):
        assert explain(db, condition="city = 3")[0]["plan"] == "covering"


def test_what_half_precision_cannot_tell_apart_is_not_promised(db):
    """Vectors far from the origin: their codes differ by more than their distances."""
    vectors = 200 + 0.05 * voices(ROWS, seed=1, dim=DIM)
    stored = people(db, vectors.astype(np.float32))
    covered(db)
    query = stored[13]
    with mode(db, "covering"):
        found = search(db, query, condition="city = 3")
        (report,) = explain(db, query, condition="city = 3", run=True)
    every = distances(stored, query)
    assert found[0][0] == 13
    assert_nearest(found, every, CITY == 3, 10, recall=min(0.99, report["actual"]["recall"]))
