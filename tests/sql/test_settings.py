"""Settings of the whole database: read by everybody, written by the admin, planted by nobody."""

from __future__ import annotations

import threading

import psycopg
from domain_gallery import call, refused

SHOWN = "SELECT * FROM voxprint.show_settings()"
CONFIGURE = "SELECT voxprint.configure(%(name)s, %(value)s)"
ONE_ROW = "SELECT count(*) FROM voxprint.settings"


def settings(connection: psycopg.Connection) -> dict[str, str]:
    return {row["name"]: row["value"] for row in call(connection, SHOWN)}


def test_every_setting_says_what_it_means_and_begins_at_its_default(as_role):
    for role in ("voxprint_reader", "voxprint_auditor"):
        shown = call(as_role(role), SHOWN)
        assert [row["name"] for row in shown] == [
            "far",
            "frr",
            "fpir",
            "duplicate_far",
            "min_enrol_speech",
            "record_decisions",
            "check_watchlists",
            "cost_false_reject",
            "cost_inconclusive",
            "p_target",
            "default_model",
        ]
        assert all(row["value"] == row["default"] and row["description"] for row in shown)
    assert {"far": "0.01", "min_enrol_speech": "3", "record_decisions": "asked"}.items() <= {
        row["name"]: row["default"] for row in shown
    }.items()


def test_the_admin_changes_one_and_the_rest_stays(as_role, db):
    admin, before = as_role("voxprint_admin"), settings(db)
    call(admin, CONFIGURE, name="far", value=" 1e-3 ")
    call(admin, CONFIGURE, name="record_decisions", value="always")
    assert settings(db) == before | {"far": "0.001", "record_decisions": "always"}
    assert db.execute(ONE_ROW).fetchone() == (1,)


def test_nobody_else_changes_them(as_role, db):
    before = settings(db)
    for role in ("voxprint_reader", "voxprint_operator", "voxprint_auditor"):
        connection = as_role(role)
        connection.execute("CREATE TEMP TABLE settings AS SELECT 0.9::float8 AS far")
        connection.execute("SET voxprint.far = 0.9")
        connection.execute("SET search_path = pg_temp, voxprint")
        for statement in (
            "SELECT voxprint.configure('far', '0.9')",
            "UPDATE voxprint.settings SET far = 0.9",
            "INSERT INTO voxprint.settings (far) VALUES (0.9)",
            "SELECT far FROM voxprint.settings",
        ):
            with refused("42501", case=f"{role}: {statement}"):
                connection.execute(statement)
        assert settings(connection) == before


def test_a_value_that_means_nothing_is_refused_with_what_it_should_be(db):
    before = settings(db)
    wrong = {
        "far": ("0", "1", "-0.1", "NaN", "Infinity", "1e400", "one in a thousand", "", None),
        "min_enrol_speech": ("-1", "NaN"),
        "record_decisions": ("never",),
        "check_watchlists": ("t",),
        "cost_inconclusive": ("Infinity",),
        "p_target": ("1",),
        "default_model": ("none", "", None),
    }
    for name, values in wrong.items():
        for value in values:
            with refused("VX006", f"{name} cannot be", f"{name}: ", case=f"{name} {value}"):
                call(db, CONFIGURE, name=name, value=value)
    assert settings(db) == before


def test_a_name_that_is_no_setting_is_refused_with_those_that_are(db):
    before = settings(db)
    for name in ("FAR", "singleton", "", None, "far = 0.9, fpir", "x" * 300):
        with refused("VX006", "no setting is called", "record_decisions", case=str(name)):
            call(db, CONFIGURE, name=name, value="0.9")
    assert settings(db) == before


def test_two_changes_at_once_both_count(as_role, db):
    first, second = as_role("voxprint_admin"), as_role("voxprint_admin")
    first.execute("BEGIN")
    call(first, CONFIGURE, name="far", value="0.02")
    other = threading.Thread(
        target=call, args=(second, CONFIGURE), kwargs={"name": "fpir", "value": "0.03"}
    )
    other.start()
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    while db.execute(waits).fetchone() == (0,):
        pass
    first.execute("COMMIT")
    other.join()
    assert {"far": "0.02", "fpir": "0.03"}.items() <= settings(db).items()
    assert db.execute(ONE_ROW).fetchone() == (1,)


def test_where_no_model_is_named_the_default_of_the_database_is_meant(as_role, db):
    admin, vector = as_role("voxprint_admin"), "[" + ",".join(["1"] + ["0"] * 191) + "]"
    call(admin, CONFIGURE, name="default_model", value="campplus_calls_192")
    db.execute("SELECT voxprint.enroll('Ann', %s::vector)", [vector])
    enrolled = "SELECT model FROM voxprint.list_utterances('Ann')"
    assert db.execute(enrolled).fetchall() == [("campplus_calls_192",)]
    assert db.execute("SELECT score FROM voxprint.verify('Ann', %s::vector)", [vector]).fetchone()
    with refused("VX004", "no voiceprint of model"):
        db.execute(
            "SELECT voxprint.verify('Ann', %s::vector, model => 'campplus_zh_en_192')", [vector]
        )


def created(connection: psycopg.Connection, name: str, model: str | None = None) -> str:
    connection.execute("SELECT open_analytic.pipeline_create(%s, %s)", [name, model])
    shown = "SELECT model FROM open_analytic.current_pipelines WHERE name = %s"
    return connection.execute(shown, [name]).fetchone()[0]


def test_a_pipeline_is_made_for_the_model_that_the_database_means(as_role, db):
    anybody = as_role()
    assert created(anybody, "before") == "campplus_zh_en_192"
    call(as_role("voxprint_admin"), CONFIGURE, name="default_model", value="campplus_calls_192")
    assert created(anybody, "after") == "campplus_calls_192"
    assert created(anybody, "named", "campplus_zh_en_192") == "campplus_zh_en_192"
    kept = "SELECT model FROM open_analytic.current_pipelines WHERE name = 'before'"
    assert anybody.execute(kept).fetchone() == ("campplus_zh_en_192",)


def test_extensions_made_in_either_order_agree_on_it(as_role, db):
    call(db, CONFIGURE, name="default_model", value="campplus_calls_192")
    db.execute("DROP EXTENSION open_analytic; CREATE EXTENSION open_analytic")
    assert created(as_role(), "p") == "campplus_calls_192"
    db.execute("DROP EXTENSION voxprint")
    assert created(as_role(), "q") == "campplus_zh_en_192"
    db.execute("CREATE EXTENSION voxprint")
    call(db, CONFIGURE, name="default_model", value="campplus_calls_192")
    assert created(as_role(), "r") == "campplus_calls_192"


def test_a_planted_setting_is_never_asked(as_role, db):
    """Whoever made the schema, or may create in it, could put code into the owner's hands."""
    planter = as_role()
    db.execute("DROP EXTENSION voxprint")
    plant = (
        "CREATE FUNCTION voxprint.default_model() RETURNS text LANGUAGE plpgsql AS $$"
        " BEGIN RAISE 'called as %', current_user; END $$"
    )
    db.execute(f"CREATE SCHEMA voxprint AUTHORIZATION {planter.info.user}")
    planter.execute("GRANT USAGE ON SCHEMA voxprint TO PUBLIC")
    planter.execute(plant)
    assert created(as_role(), "p") == "campplus_zh_en_192"
    db.execute("ALTER FUNCTION voxprint.default_model() OWNER TO voxprint_owner")
    assert created(as_role(), "q") == "campplus_zh_en_192"
    db.execute("ALTER SCHEMA voxprint OWNER TO voxprint_owner")
    db.execute(f"GRANT CREATE ON SCHEMA voxprint TO {planter.info.user}")
    assert created(as_role(), "r") == "campplus_zh_en_192"
