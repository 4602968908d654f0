"""Versions of how scores become decisions: one in use, older ones kept, other models refused."""

from __future__ import annotations

import psycopg
import pytest
from domain_gallery import call, refused
from psycopg.types.json import Jsonb

from voxprint.score.shipped import shipped

MODEL, SPEC = "campplus_zh_en_192", "5" * 64
PARAMETERS = shipped().calibration.to_json()
DIMENSIONS = {MODEL: 192, "small": 3}
USE = "SELECT voxprint.use_calibration(%(calibration)s)"


@pytest.fixture
def admin(as_role, db) -> psycopg.Connection:
    db.execute("SELECT voxprint.register_model(%s, 192, %s)", [MODEL, SPEC])
    db.execute("SELECT voxprint.register_model('small', 3, %s)", [SPEC])
    return as_role("voxprint_admin")


def add(connection: psycopg.Connection, **values: object) -> int:
    given = {"model": MODEL, "spec_hash": SPEC, "parameters": PARAMETERS} | values
    if (dim := DIMENSIONS.get(given["model"])) and "background" not in given:
        given["background"] = [{"weight": 0.01, "direction": [0.1] * dim}]
    given = {k: Jsonb(v) if isinstance(v, dict | list) else v for k, v in given.items()}
    named = ", ".join(f"{name} => %({name})s" for name in given)
    return call(connection, f"SELECT voxprint.add_calibration({named}) AS id", **given)[0]["id"]


def listed(connection: psycopg.Connection, model: str = MODEL) -> dict[int, dict]:
    rows = call(connection, "SELECT * FROM voxprint.list_calibrations()")
    return {
        row["calibration_id"]: row
        for row in rows
        if row["model"] == model and row["source"] != "shipped"
    }


def in_use(connection: psycopg.Connection, model: str = MODEL) -> list[int]:
    return [number for number, row in listed(connection, model).items() if row["active"]]


def test_a_new_calibration_is_used_and_an_older_one_can_be_again(admin, as_role):
    first = add(admin, report={"cllr": [0.4, 0.1]})
    assert in_use(admin) == [first]
    second = add(admin, source="decisions")
    assert in_use(admin) == [second]
    third = add(admin, activate=False)
    assert in_use(admin) == [second]
    for chosen in (first, first, third):
        call(admin, USE, calibration=chosen)
        assert in_use(admin) == [chosen]
    shown = listed(as_role("voxprint_operator"))[first]
    assert (shown["parameters"], shown["report"]) == (PARAMETERS, {"cllr": [0.4, 0.1]})
    assert (shown["source"], shown["created_by"]) == ("trials", admin.info.user)


def test_models_are_calibrated_each_for_itself(admin):
    wide, small = add(admin), add(admin, model="small")
    assert (in_use(admin), in_use(admin, "small")) == ([wide], [small])


def test_a_calibration_for_another_network_is_refused(admin, db):
    for spec in ("6" * 64, None, ""):
        with refused("VX008", "spec", "calibrate with this one"):
            add(admin, spec_hash=spec)
    with refused("VX004", "unknown model"):
        add(admin, model="other")
    stored = add(admin, activate=False)
    db.execute("SELECT voxprint.register_model(%s, 192, %s)", [MODEL, "6" * 64])
    with refused("VX008", "spec"):
        call(admin, USE, calibration=stored)
    assert in_use(admin) == []


def test_a_model_that_became_another_one_loses_its_calibration(admin, db):
    chosen = "SELECT (voxprint._calibration(voxprint._model(%s))).calibration_id"
    added = add(admin)
    assert db.execute(chosen, [MODEL]).fetchone() == (added,)
    db.execute("SELECT voxprint.register_model(%s, 192, %s)", [MODEL, "6" * 64])
    assert db.execute(chosen, [MODEL]).fetchone() == (None,)


def test_what_is_no_calibration_is_refused(admin):
    for name, values in {
        "parameters": (None, [], {}, [1.0], {"slope": {"deep": [1, {"x": 2.5e300}]}}),
        "source": ("shipped", "guesses", None),
        "report": ([1],),
        "background": (
            {},
            [1],
            [{"weight": 1.0}],
            [{"weight": 1.0, "direction": [1.0] * 3}],
            [{"weight": "1", "direction": [1.0] * 192}],
            [{"direction": [1.0] * 192}],
        ),
    }.items():
        for value in values:
            with refused("VX006", case=f"{name}: {value}"):
                add(admin, **{name: value})
    assert listed(admin) == {}


def test_an_unknown_version_is_refused(admin):
    added = add(admin)
    for unknown in (added + 1, -1, None):
        with refused("VX006", "no calibration", "list_calibrations"):
            call(admin, USE, calibration=unknown)
    assert in_use(admin) == [added]


def test_a_background_lies_beside_its_calibration(admin, db):
    background = [
        {"weight": 1.0 / (n + 1), "direction": [0.0] * n + [1.0] * (192 - n)} for n in range(3)
    ]
    added = add(admin, background=background)
    rows = db.execute(
        "SELECT component, weight, vector_dims(direction) FROM voxprint.backgrounds"
        " WHERE calibration_id = %s ORDER BY 1",
        [added],
    ).fetchall()
    assert rows == [(0, 1.0, 192), (1, 0.5, 192), (2, pytest.approx(1 / 3), 192)]


def test_only_the_admin_adds_and_chooses(admin, as_role):
    added = add(admin)
    for role in ("voxprint_reader", "voxprint_operator", "voxprint_auditor"):
        connection = as_role(role)
        with refused("42501"):
            add(connection)
        for statement in (
            f"SELECT voxprint.use_calibration({added})",
            "UPDATE voxprint.calibrations SET active = false",
            "SELECT * FROM voxprint.backgrounds",
        ):
            with refused("42501", case=f"{role}: {statement}"):
                connection.execute(statement)


#: What a dump holds, in the order in which it is restored.
DUMPED = ("settings", "calibrations", "backgrounds")


def ship(connection: psycopg.Connection, parameters: dict, weight: float) -> None:
    """What the extension's script does, in place of whatever is there."""
    connection.execute("DELETE FROM voxprint.backgrounds; DELETE FROM voxprint.calibrations")
    connection.execute(
        "INSERT INTO voxprint.calibrations OVERRIDING SYSTEM VALUE"
        " VALUES (1, %s, %s, 'shipped', %s, NULL, now(), 'voxprint', true)",
        [MODEL, SPEC, Jsonb(parameters)],
    )
    connection.execute(
        "INSERT INTO voxprint.backgrounds VALUES (1, 0, %s, array_fill(1::real, '{192}')::vector)",
        [weight],
    )


def test_a_restored_dump_meets_what_the_extension_has_put_there(admin, db):
    ship(db, PARAMETERS, 0.5)
    added = add(admin, background=[{"weight": 1.0, "direction": [1.0] * 192}])
    db.execute("SELECT voxprint.configure('far', '0.002')")
    dumped = {table: copied(db, table) for table in DUMPED}
    ship(db, {"version": 0}, 0.25)
    db.execute("SELECT voxprint.configure('far', '0.01')")
    for table in DUMPED:
        with db.cursor().copy(f"COPY voxprint.{table} FROM STDIN") as copy:
            copy.write(dumped[table])
    assert {table: copied(db, table) for table in DUMPED} == dumped
    assert in_use(db) == [added]


def copied(connection: psycopg.Connection, table: str) -> bytes:
    ordered = f"COPY (SELECT * FROM voxprint.{table} ORDER BY 1, 2) TO STDOUT"
    with connection.cursor().copy(ordered) as copy:
        return b"".join(bytes(block) for block in copy)
