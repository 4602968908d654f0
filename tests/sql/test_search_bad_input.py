"""What fastann.search() and its family refuse, in whose words, and that nothing changes then."""

from __future__ import annotations

import threading

import numpy as np
import psycopg
import pytest
from domain_gallery import enroll, identify, refused, text, voices
from search_tables import (  # noqa: F401
    DIM,
    QUERY,
    covered,
    database,
    explain,
    indexed,
    mode,
    people,
    plant,
    search,
    swept,
)

SEARCH = "SELECT * FROM fastann.search(NULL::people, 'feature', {query}{more})"
LITERAL = f"'{text(QUERY)}'::vector"

#: what is wrong, the call, whose error it is, and words in message or hint
WRONG_QUERIES = [
    ("too short", "'[1,2,3]'::vector", "VX004", (str(DIM), "3", "one length")),
    ("too short", "'{1,2,3}'::real[]", "VX004", (str(DIM), "3", "one length")),
    ("NULL", "NULL::vector", "VX006", ("expected a vector", "NULL", "sub-select")),
    ("NULL", "NULL::real[]", "VX006", ("expected a vector", "NULL", "sub-select")),
    ("no row", "(SELECT feature FROM people WHERE id = -1)", "VX006", ("NULL", "sub-select")),
    ("NaN", "'[NaN,1]'::vector", "22000", ("NaN",)),
    ("infinite", "'[Infinity,1]'::vector", "22000", ("infinite",)),
    ("NaN", "'{NaN,1}'::real[]", "22000", ("NaN",)),
    ("NULL within", "'{NULL,1}'::real[]", "22004", ("null",)),
    ("two dimensions", "'{{1,2},{3,4}}'::real[]", "22000", ("1-D",)),
    ("empty", "'{}'::real[]", "22000", ("at least 1 dimension",)),
    ("no vector", "'voice'::vector", "22P02", ("voice",)),
    ("no vector", "3", "42883", ("function",)),
]
WRONG_OPTIONS = [
    ("k => 0", "VX006", ("k:", "1 to 10000", "got 0", "scan the table")),
    ("k => -5", "VX006", ("got -5",)),
    ("k => 10001", "VX006", ("got 10001",)),
    ("k => 2147483647", "VX006", ("got 2147483647",)),
    ("k => 99999999999", "42883", ("bigint",)),
    ("k => 'ten'", "22P02", ("ten",)),
    ("target_recall => 0", "VX006", ("above 0 up to 1, got 0", "exact search")),
    ("target_recall => -0.5", "VX006", ("got -0.5",)),
    ("target_recall => 1.5", "VX006", ("got 1.5",)),
    ("target_recall => 'NaN'", "VX006", ("got NaN",)),
    ("target_recall => 'Infinity'", "VX006", ("got Infinity",)),
    ("target_recall => NULL", "VX006", ("got NULL",)),
    ("max_distance => 'NaN'", "VX006", ("expected a distance, got NaN",)),
    ("distancemeasure => 'L3'", "VX006", ("L2, IP or COSINE, got 'L3'", "unit vectors")),
    ("distancemeasure => ''", "VX006", ("L2, IP or COSINE",)),
    ("distancemeasure => NULL", "VX006", ("NULL",)),
    ("nonsense => 1", "42883", ("nonsense",)),
]
WRONG_TABLES = [
    ("NULL::people, 'voice'", "VX006", ("public.people", "no column voice")),
    ("NULL::people, 'FEATURE'", "VX006", ("no column",)),
    ("NULL::people, 'feature; DROP TABLE people'", "VX006", ("no column",)),
    ("NULL::people, 'gone'", "VX006", ("no column gone",)),
    ("NULL::people, 'ctid'", "VX006", ("no column ctid",)),
    ("NULL::people, ''", "VX006", ("no column",)),
    ("NULL::people, NULL", "VX006", ("column_name", "NULL")),
    ("NULL::people, 'city'", "VX006", ("real[], vector or halfvec, got integer", "Keep features")),
    ("NULL::people, 'texts'", "VX006", ("got text",)),
    ("NULL::people, 'doubles'", "VX006", ("got double precision[]",)),
    ("NULL::pair, 'feature'", "VX006", ("row of the table to search", "pair", "row type")),
    ("NULL::int, 'feature'", "VX006", ("got integer", "row type")),
    ("NULL::people[], 'feature'", "VX006", ("people[]", "row type")),
    ("ROW(1, 2), 'feature'", "VX006", ("got record", "row type")),
    ("NULL, 'feature'", "42804", ("polymorphic",)),
    ("NULL::nowhere, 'feature'", "42704", ("nowhere",)),
]


@pytest.fixture
def town(db) -> psycopg.Connection:
    people(db)
    db.execute("ALTER TABLE people ADD gone vector, ADD texts text[], ADD doubles float8[]")
    db.execute("ALTER TABLE people DROP gone")
    db.execute(f"CREATE TYPE pair AS (id int, feature vector({DIM}))")
    db.execute("CREATE VIEW seen AS TABLE people")
    indexed(db)
    return db


@pytest.mark.parametrize("door", ["search", "explain"])
def test_each_wrong_argument_is_named(town, door):
    for what, query, sqlstate, words in WRONG_QUERIES:
        if door == "explain" and "real[]" in query:
            continue
        with refused(sqlstate, *words, case=f"{what}: {query}"):
            town.execute(SEARCH.replace("search", door).format(query=query, more=""))
    for more, sqlstate, words in WRONG_OPTIONS:
        with refused(sqlstate, *words, case=more):
            town.execute(SEARCH.replace("search", door).format(query=LITERAL, more=f", {more}"))
    for table, sqlstate, words in WRONG_TABLES:
        with refused(sqlstate, *words, case=table):
            town.execute(f"SELECT * FROM fastann.{door}({table}, {LITERAL})")
    for format_ in ("xml", "JSON", None):
        with refused("VX006", "text or json"):
            explain_as = f"SELECT fastann.explain(NULL::people, 'feature', {LITERAL}, format => %s)"
            town.execute(explain_as, [format_])


def test_lengths_are_compared_wherever_the_column_has_none(db):
    for kind in ("vector", "halfvec", "real[]"):
        people(db, kind=kind)
        indexed(db, dim=DIM)
        for wanted in ("exact", "ann"):
            with mode(db, wanted), refused("VX004", f"{DIM} values", "3", case=kind):
                search(db, np.ones(3))
        db.execute("DROP TABLE people")


def test_a_query_beyond_half_precision_is_refused_or_answered(db):
    """65,504 is the largest half. A vector column holds more, so such a query has an answer."""
    people(db)
    db.execute("ALTER TABLE people ALTER feature SET NOT NULL")
    indexed(db, condition="city = 3")
    far = QUERY.copy()
    far[0] = 70000
    for wanted in ("exact", "ann"):
        with mode(db, wanted):
            assert len(search(db, far, condition="city = 3")) == 10, wanted
    covered(db)
    with mode(db, "covering"):
        assert len(search(db, far, condition="city = 3")) == 10
    # an index that does not find enough falls back on what would be a covering index
    indexed(db)
    plant(db, heap_row_ms=9, scan_row_ms=9)
    db.execute("SET fastann.hnsw_ef_search = 5")
    with mode(db, "ann"):
        (report,) = explain(db, far, condition="city <> 3", run=True)
        assert len(search(db, far, condition="city <> 3")) == 10
    assert (report["plan"], report["actual"]["plan"]) == ("ann", "exact")


COVER = [
    ("'bare', 'feature', '{city}'", "VX006", ("bare", "no primary key", "ADD PRIMARY KEY")),
    ("'people', 'voice', '{city}'", "VX006", ("no column voice",)),
    ("'people', 'city', '{id}'", "VX006", ("real[], vector or halfvec, got integer",)),
    ("'people', 'feature', '{}'", "VX006", ("filter", "got none", "For example")),
    ("'people', 'feature', NULL", "VX006", ("filter", "got none")),
    ("'people', 'feature', '{city,NULL}'", "VX006", ("filter",)),
    ("'people', 'feature', '{town}'", "42703", ("town",)),
    ("'people', 'feature', '{city,\"id; DROP\"}'", "42703", ("DROP",)),
    ("'people', NULL, '{city}'", "VX006", ("column_name", "NULL")),
    ("NULL, 'feature', '{city}'", "VX006", ("table_name", "NULL")),
    ("'nowhere', 'feature', '{city}'", "42P01", ("nowhere",)),
    ("'seen', 'feature', '{city}'", "VX006", ("seen",)),
    ("'loose', 'feature', '{city}'", "VX006", ("dim", "dim => n")),
    ("'loose', 'feature', '{city}', 5000", "VX006", ("1 to 1200", "5000")),
    ("'loose', 'feature', '{city}', 0", "VX006", ("1 to 1200", "0")),
    ("'people', 'feature', '{city}', 3", "VX004", (str(DIM), "3")),
]


def columns(db: psycopg.Connection) -> list[tuple]:
    return db.execute(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped ORDER BY 1, 2"
    ).fetchall()


def test_cover_says_what_it_expected_and_changes_nothing(town, as_role):
    town.execute(f"CREATE TABLE bare (city int, feature vector({DIM}))")
    town.execute("CREATE TABLE loose (id int PRIMARY KEY, city int, feature vector)")
    before = columns(town)
    for call, sqlstate, words in COVER:
        with refused(sqlstate, *words, case=call):
            town.execute(f"SELECT fastann.cover({call})")
        assert columns(town) == before, call
    stranger = as_role()
    town.execute(f"GRANT ALL ON people TO {stranger.info.user}")
    with refused("42501", "must be owner of table"):
        stranger.execute("SELECT fastann.cover('people', 'feature', '{city}')")
    assert columns(town) == before


def test_covering_twice_makes_one_index(town):
    town.execute("SELECT fastann.cover('people', 'feature', '{city}')")
    before = columns(town)
    try:
        town.execute("SELECT fastann.cover('people', 'feature', '{city}')")
    except psycopg.Error as refusal:  # as good an answer
        assert refusal.sqlstate.startswith("VX")
    assert columns(town) == before


def test_a_column_that_stands_where_codes_should_is_left_alone(town):
    town.execute("ALTER TABLE people ADD feature_half text")
    (name,) = town.execute("SELECT fastann.cover('people', 'feature', '{city}')").fetchone()
    (made,) = town.execute("SELECT pg_get_indexdef(%s::regclass)", [name]).fetchone()
    assert "(city) INCLUDE (id, feature_half1)" in made


AUTOTUNE = [
    ("'seen', 'feature'", "VX006", ("seen", "view", "searched exactly")),
    ("'nobody', 'feature'", "VX006", ("nobody", "too few", "searched exactly")),
    ("'people', 'voice'", "VX006", ("no column voice",)),
    ("'people', 'city'", "VX006", ("got integer",)),
    ("'people', NULL", "VX006", ("column_name", "NULL")),
    ("NULL, 'feature'", "VX006", ("table_name", "NULL")),
    ("'people', 'feature', 'L3'", "VX006", ("L2, IP or COSINE",)),
    ("'people', 'feature', NULL", "VX006", ("L2, IP or COSINE",)),
    ("'people', 'feature', queries => 9", "VX006", ("10 to 1000, got 9",)),
    ("'people', 'feature', queries => 1001", "VX006", ("got 1001",)),
    ("'people', 'feature', queries => NULL", "VX006", ("got NULL",)),
    ("'nowhere', 'feature'", "42P01", ("nowhere",)),
]


def models(db: psycopg.Connection) -> list[tuple]:
    return [
        db.execute(f"TABLE fastann.{name}").fetchall()
        for name in ("table_models", "samples", "index_models")
    ]


def test_autotune_says_what_it_expected_and_changes_nothing(town, as_role):
    town.execute("CREATE TABLE nobody (LIKE people)")
    before = models(town)
    for call, sqlstate, words in AUTOTUNE:
        with refused(sqlstate, *words, case=call):
            town.execute(f"SELECT fastann.autotune({call})")
    stranger = as_role()
    town.execute(f"GRANT ALL ON people TO {stranger.info.user}")
    with refused("42501", "must be owner of table"):
        stranger.execute("SELECT fastann.autotune('people', 'feature')")
    with refused("25006"), town.transaction():
        town.execute("SET TRANSACTION READ ONLY")
        town.execute("SELECT fastann.autotune('people', 'feature', queries => 10)")
    assert models(town) == before


def test_autotune_twice_keeps_the_second_and_cancelled_the_first(town):
    for _ in range(2):
        town.execute("SELECT fastann.autotune('people', 'feature', queries => 10)")
        assert [len(rows) for rows in models(town)] == [1, 1, 1]
    before = models(town)
    measuring = threading.Event()
    town.add_notice_handler(lambda said: "index" in said.message_primary and measuring.set())
    canceller = threading.Thread(target=lambda: (measuring.wait(20), town.cancel_safe()))
    canceller.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        town.execute("SELECT fastann.autotune('people', 'feature', queries => 1000)")
    canceller.join()
    assert models(town) == before


def test_autotune_lets_no_smaller_beam_take_longer(db):
    """Times of a few queries on a busy machine go up and down; what is kept does not."""
    people(db, voices(20_000, seed=1, dim=DIM))
    indexed(db, hnsw_m=4, hnsw_ef_construction=8)
    db.execute("SELECT fastann.autotune('people', 'feature', queries => 10)")
    ((times,),) = db.execute("SELECT ms FROM fastann.index_models").fetchall()
    assert len(times) > 2
    assert times == sorted(times)


@pytest.mark.parametrize("matching", ["city = 77", "id < 4", "id = 3"])
def test_autotune_measures_partial_indexes_of_few_rows(town, matching):
    indexed(town, condition=matching)
    town.execute("SELECT fastann.autotune('people', 'feature', queries => 10)")
    with mode(town, "ann"):
        expected = town.execute(f"SELECT count(*) FROM people WHERE {matching}").fetchone()
        assert (len(search(town, condition=matching)),) == expected


def test_create_index_refuses_a_bad_condition(town):
    before = columns(town)
    for condition, sqlstate in (
        ("nowhere = 1", "42703"),
        ("city =", "42601"),
        ("city", "42804"),
        ("now() > '2020-01-01'", "42P17"),
        ("EXISTS (SELECT FROM public.people)", "0A000"),
        ("count(*) > 1", "42803"),
    ):
        with refused(sqlstate, case=condition):
            indexed(town, condition=condition)
    assert columns(town) == before
    indexed(town, condition="city = 1 -- only these")


@pytest.fixture
def two_models(db) -> psycopg.Connection:
    """A gallery with embeddings of two lengths in one table, as it is meant to hold them."""
    db.execute("SELECT voxprint.register_model('small', 64)")
    for dim, model in ((192, "campplus_zh_en_192"), (64, "small")):
        for i, voice in enumerate(voices(60, seed=dim, dim=dim)):
            enroll(db, f"{model} {i}", voice, model=model)
    db.execute("ANALYZE")
    return db


def test_a_gallery_of_two_models_can_be_tuned(two_models):
    two_models.execute("SELECT voxprint.tune()")
    found = identify(two_models, voices(60, seed=64, dim=64)[7], k=1, model="small")
    assert found[0]["speaker"] == "small 7"


def test_a_probe_looks_at_vectors_that_match_only(two_models):
    """The sample holds rows of other lengths, which the condition excludes."""
    costs = {"heap_row_ms": 9, "scan_row_ms": 9, "probe_ms": 0.01}
    plant(two_models, "voxprint.voiceprints", "embedding", **costs)
    two_models.execute(
        "INSERT INTO fastann.samples SELECT 'voxprint.voiceprints'::regclass,"
        " ARRAY(SELECT ctid FROM voxprint.voiceprints)"
    )
    probe = voices(60, seed=192, dim=192)[7]
    (report,) = explain(
        two_models, probe, "voxprint.voiceprints", column="embedding", distancemeasure="IP",
        condition="model = 'campplus_zh_en_192' AND speaker_id > 20", run=True,
    )  # fmt: skip
    assert report["probe"]["rows"] > 0
    assert identify(two_models, probe, k=1)[0]["speaker"] == "campplus_zh_en_192 7"
