"""Who may call what, and that nobody gets past the functions."""

from __future__ import annotations

import re

import pytest
from domain_gallery import call, enroll, identify, refused, voices

from voxprint.db.extensions import shipped
from voxprint.errors import SQLSTATES

VOICES = voices(3)
READER = {
    *("verify", "identify", "compare", "check_watch", "look"),
    *("show_settings", "default_model"),
}
OPERATOR = READER | {
    "enroll",
    "forget",
    "create_group",
    "drop_group",
    "join_group",
    "leave_group",
    "set_attributes",
    "set_status",
    "list_groups",
    "list_speakers",
    "list_utterances",
    "cohesion",
    "remove_utterance",
    "find_duplicates",
    "list_calibrations",
    "list_decisions",
    "label_decision",
    "decision_report",
}
AUDITOR = {"show_settings", "list_calibrations", "list_decisions", "decision_report"}
ADMIN = OPERATOR | {
    "register_model",
    "list_unmigrated",
    "migrate_utterance",
    "tune",
    "configure",
    "add_calibration",
    "use_calibration",
    "purge_decisions",
    "calibration_background",
    "labelled_decisions",
}
GRANTED = {
    "public": set(),
    "voxprint_reader": READER,
    "voxprint_operator": OPERATOR,
    "voxprint_auditor": AUDITOR,
    "voxprint_admin": ADMIN,
}
TABLES = (
    "models",
    "settings",
    "calibrations",
    "backgrounds",
    "groups",
    "speakers",
    "memberships",
    "utterances",
    "voiceprints",
    "decisions",
    "tombstones",
)


@pytest.mark.parametrize("role", GRANTED)
def test_each_role_may_call_what_it_needs_and_touch_no_table(db, role):
    rows = db.execute(
        "SELECT proname, has_function_privilege(%s, oid, 'EXECUTE') FROM pg_proc"
        " WHERE pronamespace = 'voxprint'::regnamespace",
        [role],
    ).fetchall()
    assert {name for name, may in rows if may} == GRANTED[role]
    assert all(may for name, may in rows if name in GRANTED[role])
    for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
        for table in TABLES:
            query = "SELECT has_any_column_privilege(%s, %s, %s)"
            if right in ("DELETE", "TRUNCATE", "TRIGGER"):
                query = "SELECT has_table_privilege(%s, %s, %s)"
            assert db.execute(query, [role, f"voxprint.{table}", right]).fetchone() == (False,)


def test_a_role_outside_gets_nothing(as_role, db):
    enroll(db, "ann", VOICES[0])
    stranger = as_role()
    for statement in (
        "SELECT * FROM voxprint.identify(%(v)s::vector)",
        "SELECT * FROM voxprint.speakers",
        "SELECT voxprint._score(%(v)s::vector, %(v)s::vector)",
    ):
        with refused("42501"):
            call(stranger, statement, v=VOICES[0])


def test_readers_write_nothing_and_operators_read_no_embedding(as_role, db):
    enroll(db, "ann", VOICES[0])
    reader, operator = as_role("voxprint_reader"), as_role("voxprint_operator")
    for statement in ("enroll('bob', %(v)s::vector)", "forget('ann')", "list_speakers()"):
        with refused("42501"):
            call(reader, f"SELECT * FROM voxprint.{statement}", v=VOICES[1])
    for connection in (reader, operator):
        with refused("42501"):
            connection.execute("SELECT embedding FROM voxprint.voiceprints")
        with refused("42501"):
            connection.execute("SET ROLE voxprint_owner")
    with refused("42501"):
        operator.execute("SELECT voxprint.register_model('new', 3)")


def test_definer_functions_pin_their_path_and_belong_to_a_powerless_owner(db):
    rows = db.execute(
        "SELECT proname, prosecdef, proconfig, pg_get_userbyid(proowner) FROM pg_proc"
        " WHERE pronamespace = 'voxprint'::regnamespace"
    ).fetchall()
    for name, definer, config, owner in rows:
        assert owner == "voxprint_owner", name
        assert not definer or "search_path=pg_catalog, pg_temp" in config, name
        assert not name.startswith("_") or not definer or name in TRIGGERS, name
    owner = "SELECT rolsuper, rolcanlogin, rolcreaterole, rolbypassrls FROM pg_roles"
    assert db.execute(f"{owner} WHERE rolname = 'voxprint_owner'").fetchone() == (False,) * 4
    relations = db.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'voxprint'::regnamespace"
        " AND pg_get_userbyid(relowner) <> 'voxprint_owner'"
    ).fetchall()
    assert relations == []


TRIGGERS = {"_refresh_voiceprints", "_refresh_ready", "_merge_model", "_index_model"}


def test_objects_of_the_caller_cannot_stand_in_for_ours(as_role, db):
    enroll(db, "ann", VOICES[0])
    db.execute(
        "CREATE SCHEMA trap; GRANT ALL ON SCHEMA trap TO PUBLIC;"
        " GRANT CREATE ON SCHEMA public TO PUBLIC"
    )
    reader = as_role("voxprint_reader")
    body = "LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END'"
    for schema in ("trap", "public", "pg_temp"):
        for signature in (
            "vector_norm(real[])",
            "l2_normalize(real[])",
            "num_nonnulls(VARIADIC text[])",
            "btrim(text, text)",
            "jsonb_typeof(jsonb)",
            "current_setting(text, boolean)",
            "pg_relation_size(text)",
            "format(text, text, text)",
        ):
            reader.execute(f"CREATE FUNCTION {schema}.{signature} RETURNS text {body}")
    reader.execute("CREATE TEMP TABLE voiceprints (embedding public.vector)")
    reader.execute("CREATE TEMP TABLE speakers (external_id text)")
    reader.execute(
        f"CREATE FUNCTION trap.anything(public.vector, public.vector) RETURNS float8 {body}"
    )
    for operator in ("<#>", "<->", "<=>"):
        reader.execute(
            f"CREATE OPERATOR trap.{operator} (LEFTARG = public.vector, RIGHTARG = public.vector,"
            " FUNCTION = trap.anything)"
        )
    reader.execute("SET search_path = pg_temp, trap, public, pg_catalog")
    for mode in ("auto", "ann"):
        reader.execute(f"SET fastann.index_scan_mode = {mode}")
        assert identify(reader, VOICES[0], k=1)[0]["speaker"] == "ann"


def test_every_error_code_of_the_sources_is_known_to_python():
    (extension,) = [e for e in shipped() if e.name == "voxprint"]
    used = set(re.findall(r"ERRCODE = '(VX\d{3})'", extension.script))
    assert used == {"VX001", "VX002", "VX004", "VX005", "VX006", "VX007", "VX008", "VX010"}
    assert used <= SQLSTATES.keys()


def test_every_public_function_says_what_it_does(db):
    silent = db.execute(
        "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'voxprint'::regnamespace"
        " AND proname NOT LIKE '\\_%' AND obj_description(oid, 'pg_proc') IS NULL"
    ).fetchall()
    assert silent == []


def test_nothing_of_a_voice_reaches_the_statistics(db):
    for i, voice in enumerate(VOICES):
        enroll(db, f"p{i}", voice, consent=f"letter {i}")
    db.execute("ANALYZE")
    sampled = db.execute(
        "SELECT s.tablename, s.attname, s.histogram_bounds::text, s.most_common_vals::text"
        " FROM pg_stats s WHERE s.schemaname = 'voxprint' AND (s.attname ="
        " ANY ('{direction,features,embedding,external_id,attributes,consent}'::text[] ||"
        " '{sha256,audio,quality}')"
        " OR s.tablename LIKE '%hnsw%')"
    ).fetchall()
    assert sampled == []
