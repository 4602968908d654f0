"""Which settings act on fastann.search(), and that none leaves a call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest
from domain_gallery import enroll, identify, refused, text
from search_tables import (  # noqa: F401
    CITIES,
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
SEARCH = (
    "SELECT (hit).id, distance FROM fastann.search(NULL::people, 'feature', %s::vector,"
    " k => %s, condition => %s)"
)
OF_THE_USER = {
    "hnsw.ef_search": "7",
    "hnsw.iterative_scan": "strict_order",
    "hnsw.max_scan_tuples": "333",
    "hnsw.scan_mem_multiplier": "2",
    "enable_seqscan": "on",
    "enable_sort": "on",
    "enable_bitmapscan": "off",
    "enable_indexscan": "on",
    "jit": "on",
    "random_page_cost": "3.5",
    "work_mem": "5MB",
    "search_path": "public, pg_catalog",
    "plan_cache_mode": "force_custom_plan",
}


@pytest.fixture
def town(db) -> psycopg.Connection:
    people(db)
    covered(db)
    indexed(db)
    indexed(db, condition="city = 3")
    return db


def shown(connection: psycopg.Connection) -> dict[str, str]:
    """Every setting of the session, but for what the client library says of itself."""
    rows = connection.execute("SELECT name, setting FROM pg_settings").fetchall()
    return dict(rows)


def test_no_setting_leaves_a_call(town):
    search(town)  # loads pgvector
    for name, value in OF_THE_USER.items():
        town.execute("SELECT set_config(%s, %s, false)", [name, value])
    before = shown(town)
    calls = [
        {"condition": condition, "k": k}
        for condition in (None, "city = 3", "city < 6", "1 / (id - 9) > 0", "nonsense")
        for k in (5, 400, 0)
    ]
    failed = 0
    for wanted in ("auto", *MODES):
        with mode(town, wanted):
            for options in calls:
                for door in (search, explain):
                    try:
                        door(town, **options)
                    except psycopg.Error:
                        failed += 1
    assert 0 < failed < 4 * 2 * len(calls)
    assert shown(town) == before


def test_no_setting_leaves_a_call_inside_a_transaction(town):
    search(town)
    before = shown(town)
    for wanted in ("exact", "covering", "ann"):
        with town.transaction():
            town.execute(f"SET LOCAL fastann.index_scan_mode = {wanted}")
            town.execute("SET LOCAL hnsw.ef_search = 11")
            inside = shown(town)
            for condition in (None, "city = 3", "city < 6"):
                assert len(search(town, condition=condition)) == 10
                assert shown(town) == inside
            for bad in ("1 / (id - id) > 0", "nonsense"):
                with pytest.raises(psycopg.Error), town.transaction():
                    search(town, condition=bad)
                assert shown(town) == inside
    assert shown(town) == before


def test_autotune_and_cover_leave_no_setting(town):
    search(town)
    before = shown(town)
    town.execute("SELECT fastann.autotune('people', 'feature', queries => 10)")
    assert shown(town) == before


def test_prepared_statements_and_pipelines(town):
    before = shown(town)
    for wanted in MODES:
        with mode(town, wanted):
            expected = {c: search(town, condition=c) for c in (None, "city = 3", "city < 6")}
            for plan in ("force_generic_plan", "force_custom_plan", "auto"):
                town.execute(f"SET plan_cache_mode = {plan}")
                for condition, rows in expected.items():
                    cursor = town.execute(SEARCH, [text(QUERY), 10, condition], prepare=True)
                    assert cursor.fetchall() == rows
            with town.pipeline():
                cursors = [
                    town.execute(SEARCH, [text(QUERY), 10, condition]) for condition in expected
                ]
                answers = [cursor.fetchall() for cursor in cursors]
            assert answers == list(expected.values())
            with pytest.raises(psycopg.Error), town.pipeline():
                town.execute(SEARCH, [text(QUERY), 10, "1 / (id - id) > 0"])
                town.execute(SEARCH, [text(QUERY), 10, None])
    town.execute("RESET plan_cache_mode")
    after = shown(town)
    assert {name: after[name] for name in before} == before


def test_cursors_and_functions_search_too(town):
    with mode(town, "ann"), town.transaction():
        expected = search(town, k=50)
        town.execute(
            "DECLARE rows SCROLL CURSOR FOR SELECT (hit).id, distance FROM"
            " fastann.search(NULL::people, 'feature', %s::vector, 50)".replace(
                "%s", f"'{text(QUERY)}'"
            )
        )
        assert town.execute("FETCH 5 FROM rows").fetchall() == expected[:5]
        assert len(search(town, k=3)) == 3
        assert town.execute("FETCH ALL FROM rows").fetchall() == expected[5:]
    town.execute(
        "CREATE FUNCTION near(q vector) RETURNS SETOF people STABLE LANGUAGE sql"
        " SET enable_sort = off"
        " AS $$ SELECT (s.hit).* FROM fastann.search(NULL::people, 'feature', q, 5) s $$"
    )
    found = town.execute("SELECT id FROM near(%s)", [text(QUERY)]).fetchall()
    assert ids(found) == ids(search(town, k=5))


@pytest.mark.parametrize("access", ["READ ONLY", "READ WRITE"])
def test_every_kind_of_transaction(town, access):
    town.execute("SET fastann.record_workload = on")
    for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        for wanted in MODES:
            with mode(town, wanted), town.transaction():
                town.execute(f"SET TRANSACTION ISOLATION LEVEL {level}, {access}")
                for condition in (None, "city = 3", "city < 6"):
                    assert len(search(town, condition=condition)) == 10
                    assert len(explain(town, condition=condition, run=True)) == 1
    recorded = town.execute("SELECT count(*) > 0 FROM fastann.workload").fetchone()
    assert recorded == (access == "READ WRITE",)


def test_a_search_sees_the_rows_of_its_snapshot(town, conninfo):
    expected = {}
    with town.transaction(), psycopg.connect(conninfo, autocommit=True) as other:
        town.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for wanted in MODES:
            with mode(town, wanted):
                expected[wanted] = search(town, condition="city = 3")
        other.execute("DELETE FROM people WHERE city = 3 AND id < 800")
        other.execute("UPDATE people SET city = 3 WHERE id % 3 = 0")
        for wanted in MODES:
            with mode(town, wanted):
                assert search(town, condition="city = 3") == expected[wanted], wanted


def test_rows_of_the_own_transaction_are_found(db):
    vectors = people(db)
    covered(db)
    indexed(db)
    with db.transaction(force_rollback=True):
        nearest = int(np.argmin(distances(vectors, QUERY)))
        db.execute("DELETE FROM people WHERE id = %s", [nearest])
        db.execute("INSERT INTO people VALUES (9999, 3, %s)", [text(QUERY)])
        for wanted in MODES:
            with mode(db, wanted):
                found = ids(search(db, condition="city = 3 OR city <> 3"))
                assert found[0] == 9999
                assert nearest not in found


def test_searches_go_on_while_others_write(town, conninfo):
    def write(seed: int) -> None:
        with psycopg.connect(conninfo, autocommit=True) as writer:
            for i in range(60):
                writer.execute(
                    "UPDATE people SET city = city WHERE id = %s", [(31 * i + 7 * seed) % ROWS]
                )

    every = distances(
        np.array([row[0] for row in town.execute(
            "SELECT feature::real[] FROM people ORDER BY id").fetchall()], np.float32), QUERY
    )  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, 1)
        searches = 0
        while not writing.done() or searches < 12:
            with mode(town, MODES[searches % 3]):
                found = search(town, condition="city = 3")
            assert_nearest(found, every, CITY == 3, 10, recall=0.9)
            searches += 1
        writing.result()


def test_topk_is_k_where_the_call_names_none(town):
    assert len(search(town)) == 10
    town.execute("SET fastann.topk = 7")
    assert len(search(town)) == 7
    assert explain(town)[0]["k"] == 7
    assert len(search(town, k=3)) == 3


def test_ef_search_fixes_the_beam(town):
    town.execute("SET fastann.hnsw_ef_search = 123")
    with mode(town, "ann"):
        (report,) = explain(town, run=True)
    assert (report["ef_search"], report["depth"]) == (123, 123)
    assert report["actual"]["rows_fetched"] <= 123


@pytest.mark.parametrize("wanted", ["auto", "ann"])
def test_max_scan_points_bounds_what_the_index_gives(town, wanted):
    town.execute("SET fastann.hnsw_max_scan_points = 150")
    with mode(town, wanted):
        (report,) = explain(town, condition="city < 6", run=True)
        assert report["actual"].get("rows_fetched", 0) <= 150
        town.execute("SET fastann.hnsw_max_scan_points = 15")
        (report,) = explain(town, condition="city < 6", run=True)
        assert report["actual"].get("rows_fetched", 0) <= 15
        assert len(search(town, condition="city < 6")) == 10


def test_a_beam_too_small_for_k_is_not_the_answer(db):
    vectors = people(db)
    indexed(db)
    db.execute("SET fastann.hnsw_ef_search = 5")
    for wanted in ("auto", "ann"):
        with mode(db, wanted):
            found = search(db, k=50)
        assert_nearest(found, distances(vectors, QUERY), EVERY, 50, recall=0.9)


BAD = (
    ("fastann.topk", ["0", "-1", "10001", "ten", "1e3", "99999999999", " 5"]),
    ("fastann.hnsw_ef_search", ["0", "1001", "-5", "auto", "4.5"]),
    ("fastann.hnsw_max_scan_points", ["0", "-1", "many", "9999999999"]),
    ("fastann.index_scan_mode", ["fast", "EXACT ", "on", "0", "exact; DROP TABLE people"]),
)
BAD_SWITCHES = (("fastann.record_workload", ["yes please", "2", "onn"]),)


@pytest.mark.parametrize("bad", [BAD, BAD_SWITCHES])
def test_bad_settings_are_refused_with_how_to_reset_them(town, bad):
    for name, values in bad:
        for value in values:
            town.execute("SELECT set_config(%s, %s, false)", [name, value])
            for door in (search, explain):
                with refused("VX006", name, value, f"RESET {name}", case=value):
                    door(town)
            town.execute(f"RESET {name}")
            assert len(search(town)) == 10


def test_record_workload_is_read_as_postgresql_reads_a_switch(town):
    for number, value in enumerate(("on", "true", "1", "yes", "ON", "True"), start=1):
        town.execute("SELECT set_config('fastann.record_workload', %s, false)", [value])
        search(town)
        recorded = town.execute("SELECT count(*) FROM fastann.workload").fetchone()
        assert recorded == (number,), value


def test_equal_people_are_ranked_by_name_however_many_there_are(db):
    """Among equal scores identify() goes by name, also beyond what one search fetches."""
    voice = np.eye(192)[0]
    enroll(db, "zoe", voice)
    db.execute(
        "INSERT INTO voxprint.speakers (external_id)"
        " SELECT 'p' || lpad(i::text, 2, '0') FROM generate_series(0, 39) i ORDER BY i % 7, i DESC"
    )
    db.execute(
        "INSERT INTO voxprint.utterances (speaker_id, model, embedding, sha256)"
        " SELECT speaker_id, 'campplus_zh_en_192', %s, sha256(int8send(speaker_id))"
        " FROM voxprint.speakers WHERE external_id <> 'zoe' ORDER BY speaker_id",
        [text(voice)],
    )
    for wanted in ("auto", "exact", "ann"):
        with mode(db, wanted):
            found = [row["speaker"] for row in identify(db, voice, k=3)]
        assert found == ["p00", "p01", "p02"], wanted
