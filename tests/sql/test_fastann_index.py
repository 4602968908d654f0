"""USING ann, create_index and which queries use the index."""

from __future__ import annotations

from itertools import product

import numpy as np
import psycopg
import pytest
from psycopg import sql

DIM = 192
ROWS = 1000
#: measure -> operator and operator class
MEASURES = {
    "L2": ("<->", "vector_l2_ops"),
    "IP": ("<#>", "vector_ip_ops"),
    "COSINE": ("<=>", "vector_cosine_ops"),
}
TYPES = ("real[]", "vector")
COLUMNS = {"real[]": "real[]", "vector": f"vector({DIM})"}


@pytest.fixture
def owner(db, as_role) -> psycopg.Connection:
    """An ordinary role with a schema of its own."""
    connection = as_role()
    name = connection.info.user
    db.execute(sql.SQL("CREATE SCHEMA AUTHORIZATION {}").format(sql.Identifier(name)))
    return connection


def fill(
    connection: psycopg.Connection, column_type: str, rows: int = ROWS, dim: int = DIM
) -> None:
    connection.execute(
        f"CREATE TABLE speaker_table (speaker_id int PRIMARY KEY, feature {column_type})"
    )
    features = np.random.default_rng(1).normal(size=(rows, dim)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    opening, closing = "[]" if "vec" in column_type else "{}"
    with connection.cursor().copy("COPY speaker_table FROM STDIN") as copy:
        for number, feature in enumerate(features.tolist()):
            copy.write_row((number, opening + ",".join(map(repr, feature)) + closing))
    connection.execute("ANALYZE speaker_table")


def plan(connection: psycopg.Connection, query: str) -> str:
    return "\n".join(row[0] for row in connection.execute(f"EXPLAIN {query}"))


def query_vectors(kind: str) -> dict[str, str]:
    numbers = ",".join(f"{v:.6f}" for v in np.random.default_rng(2).normal(size=DIM))
    literal = f"'{{{numbers}}}'::real[]" if kind == "real[]" else f"'[{numbers}]'::vector"
    return {
        "literal": literal,
        "array": f"ARRAY[{numbers}]::real[]{'::vector' if kind == 'vector' else ''}",
        "sub-select": f"(SELECT feature::{kind} FROM speaker_table WHERE speaker_id = 7)",
    }


@pytest.mark.parametrize("column", COLUMNS)
def test_order_by_operator_uses_the_index(owner, column):
    fill(owner, COLUMNS[column], rows=3000)
    owner.execute("SET hnsw.ef_search = 40")  # looking farther, PostgreSQL rightly prefers to sort
    for measure, (operator, _) in MEASURES.items():
        (name,) = owner.execute(
            "SELECT fastann.create_index('speaker_table', 'feature', distancemeasure => %s)",
            [measure],
        ).fetchone()
        search = f"SELECT speaker_id FROM speaker_table ORDER BY feature {operator}"
        for kind in TYPES:
            for how, vector in query_vectors(kind).items():
                found = plan(owner, f"{search} {vector} LIMIT 10")
                assert f"Index Scan using {name}" in found, (measure, kind, how)
            owner.execute(f"PREPARE search ({kind}) AS {search} $1 LIMIT 10")
            for mode in ("force_custom_plan", "force_generic_plan"):
                owner.execute(f"SET plan_cache_mode = {mode}")
                found = plan(owner, f"EXECUTE search ({query_vectors(kind)['literal']})")
                assert f"Index Scan using {name}" in found, (measure, kind, mode)
            owner.execute("DEALLOCATE search")


@pytest.mark.parametrize("column", COLUMNS)
def test_order_by_function_is_the_exact_scan_and_agrees(owner, column):
    fill(owner, COLUMNS[column])
    owner.execute("SELECT fastann.create_index('speaker_table', 'feature')")
    owner.execute("SET hnsw.ef_search = 400")
    for name, kind in product(("l2_distance", "l2_squared_distance"), TYPES):
        vector = query_vectors(kind)["sub-select"]
        exact = f"SELECT speaker_id FROM speaker_table ORDER BY {name}(feature, {vector}) LIMIT 10"
        found = plan(owner, exact)
        assert "Sort Key" in found
        assert "_ann" not in found
        nearest = owner.execute(exact).fetchall()
        by_index = owner.execute(
            f"SELECT speaker_id FROM speaker_table ORDER BY feature <-> {vector} LIMIT 10"
        ).fetchall()
        assert nearest[0] == by_index[0] == (7,)
        assert len(set(nearest) & set(by_index)) >= 9


def test_halfvec_has_the_access_method_too(owner):
    fill(owner, f"halfvec({DIM})", rows=1)
    owner.execute("CREATE INDEX ON speaker_table USING ann (feature)")
    owner.execute("CREATE INDEX ON speaker_table USING ann (feature halfvec_cosine_ops)")
    owner.execute(
        "SELECT fastann.create_index('speaker_table', 'feature', distancemeasure => 'ip')"
    )
    assert (
        len(owner.execute("SELECT FROM pg_indexes WHERE tablename = 'speaker_table'").fetchall())
        == 4
    )


def definition(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = current_user AND indexname = %s", [name]
    ).fetchone()
    assert row is not None
    return row[0]


def test_create_index_takes_every_published_option(owner):
    notices: list[str] = []
    owner.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))
    for column, measure in product(COLUMNS, ["L2", "l2", "IP", "ip", "COSINE", "Cosine"]):
        owner.execute("DROP TABLE IF EXISTS speaker_table")
        owner.execute(f"CREATE TABLE speaker_table (feature {COLUMNS[column]})")
        notices.clear()
        (name,) = owner.execute(
            """SELECT fastann.create_index('speaker_table', 'feature', dim => 192,
                   distancemeasure => %s, hnsw_m => 24, hnsw_ef_construction => 100,
                   pq_enable => 1, pq_segments => 40, pq_centers => 256, external_storage => 1)""",
            [measure],
        ).fetchone()
        assert len(notices) == 1
        assert "pq_enable" in notices[0]
        made = definition(owner, name)
        assert "USING ann" in made
        assert "m='24', ef_construction='100'" in made
        assert measure.upper() == "L2" or MEASURES[measure.upper()][1] in made


def test_create_index_quotes_what_it_is_given(owner):
    owner.execute('CREATE TABLE "a ""table"";" ("the column""(" real[])')
    (name,) = owner.execute(
        "SELECT fastann.create_index(%s, %s, index_name => %s)",
        ['"a ""table"";"', 'the column"(', 'an "index";'],
    ).fetchone()
    assert name == 'an "index";'
    (again,) = owner.execute(
        """SELECT fastann.create_index('"a ""table"";"', 'the column"(')"""
    ).fetchone()
    assert definition(owner, again)


def test_create_index_finds_a_free_name(owner):
    long = "t" * 60
    owner.execute(f"CREATE TABLE {long} (feature real[])")
    names = {
        owner.execute("SELECT fastann.create_index(%s, 'feature')", [long]).fetchone()[0]
        for _ in range(3)
    }
    assert len(names) == 3
    assert all(len(name) <= 63 and definition(owner, name) for name in names)


def test_create_index_says_what_it_expected(owner):
    for column, arguments, sqlstate, message in [
        ("vector(192)", "'feature', dim => 512", "VX004", "192.*512"),
        ("vector(192)", "'feature', distancemeasure => 'L3'", "VX006", "L2, IP or COSINE, got"),
        ("vector(192)", "'voice'", "VX006", "no column voice"),
        ("vector", "'feature'", "VX006", "no length"),
        ("text", "'feature'", "VX006", "got text"),
        ("real[]", "'feature', hnsw_m => 1", "VX006", "2 to 100, got 1"),
        ("real[]", "'feature', hnsw_m => 60", "VX006", "twice hnsw_m"),
    ]:
        owner.execute("DROP TABLE IF EXISTS speaker_table")
        owner.execute(f"CREATE TABLE speaker_table (feature {column})")
        with pytest.raises(psycopg.Error, match=message) as caught:
            owner.execute(f"SELECT fastann.create_index('speaker_table', {arguments})")
        assert caught.value.sqlstate == sqlstate
        indexes = "SELECT FROM pg_indexes WHERE tablename = 'speaker_table'"
        assert not owner.execute(indexes).fetchall()


def test_rows_of_another_length_are_refused_with_both_numbers(owner):
    for column in TYPES:
        owner.execute("DROP TABLE IF EXISTS speaker_table")
        owner.execute(f"CREATE TABLE speaker_table (feature {column})")
        owner.execute("INSERT INTO speaker_table VALUES (ARRAY[1, 2, 3])")
        create = "SELECT fastann.create_index('speaker_table', 'feature', dim => 192)"
        with pytest.raises(psycopg.Error, match="expected 192 dimensions, not 3") as caught:
            owner.execute(create)
        assert caught.value.sqlstate == "VX004"
        owner.execute("TRUNCATE speaker_table")
        owner.execute(create)
        with pytest.raises(psycopg.Error, match="expected 192 dimensions, not 3"):
            owner.execute("INSERT INTO speaker_table VALUES (ARRAY[1, 2, 3])")


def test_another_length_is_searched_with_a_cast(owner):
    notices: list[str] = []
    owner.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))
    fill(owner, "real[]", dim=512)
    owner.execute("SET enable_seqscan = off")  # a thousand rows are scanned in no time
    (name,) = owner.execute(
        "SELECT fastann.create_index('speaker_table', 'feature', dim => 512)"
    ).fetchone()
    assert "feature::public.vector(512) <-> query::vector(512)" in notices[0]
    query = "(SELECT feature::vector(512) FROM speaker_table WHERE speaker_id = 3)"
    found = plan(
        owner,
        f"SELECT speaker_id FROM speaker_table ORDER BY feature::vector(512) <-> {query} LIMIT 5",
    )
    assert f"Index Scan using {name}" in found


def test_create_index_has_no_rights_of_its_own(owner, as_role):
    owner.execute("CREATE TABLE speaker_table (feature real[])")
    schema = owner.info.user
    owner.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(sql.Identifier(schema)))
    stranger = as_role()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute("SELECT fastann.create_index(%s, 'feature')", [f"{schema}.speaker_table"])


def test_settings_are_accepted_and_shown_beside_those_of_plain_sql(owner):
    owner.execute("SET fastann.hnsw_ef_search = 123")
    owner.execute("SET fastann.hnsw_max_scan_points = 4567")
    for name in ("topk", "pq_amp", "build_parallel_processes", "index_scan_mode"):
        owner.execute(f"SET fastann.{name} = 1")
    rows = {row[0]: row[1:4] for row in owner.execute("SELECT * FROM fastann.settings")}
    assert rows["fastann.hnsw_ef_search"][:2] == ("123", "hnsw.ef_search")
    assert len(rows) == 7
    assert owner.execute("SELECT fastann.use_settings()").fetchone() == (3,)
    assert owner.execute("SHOW hnsw.ef_search").fetchone() == ("123",)
    assert owner.execute("SHOW hnsw.max_scan_tuples").fetchone() == ("4567",)


def test_a_setting_out_of_range_is_refused_when_it_acts(owner):
    owner.execute("SET fastann.hnsw_ef_search = 100000")
    with pytest.raises(psycopg.Error, match=r"hnsw\.ef_search"):
        owner.execute("SELECT fastann.use_settings()")


def test_plain_sql_is_as_complete_as_the_index_allows_without_a_word(db):
    """The server that we start fills LIMIT from the index, in order, however few rows match."""
    db.execute("CREATE TABLE town (id int PRIMARY KEY, desk int, feature vector(16))")
    vectors = np.random.default_rng(3).standard_normal((3000, 16))
    with db.cursor().copy("COPY town FROM STDIN") as copy:
        for i, vector in enumerate(vectors):
            copy.write_row((i, i % 50, "[" + ",".join(map(str, vector)) + "]"))
    db.execute("CREATE INDEX ON town USING ann (feature)")
    db.execute("SET enable_sort = off")
    query = "[" + ",".join(["1"] * 16) + "]"
    statement = (
        "SELECT id, feature <-> %s FROM town WHERE desk = 7 ORDER BY feature <-> %s LIMIT 50"
    )
    found = db.execute(statement, [query, query]).fetchall()
    assert len(found) == 50
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
    db.execute("SET hnsw.iterative_scan = off; SET hnsw.ef_search = 40")
    assert len(db.execute(statement, [query, query]).fetchall()) < 50
