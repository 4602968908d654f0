"""One embedding a statement, however often and wherever the statement says so."""

from __future__ import annotations

import re

import psycopg
import pytest
from article_voices import recording
from psycopg import sql
from psycopg.pq import TransactionStatus

RUN = "open_analytic.pipeline_run_dist_random"


class Caller:
    """An ordinary role, and how often the worker is spoken to for it."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def execute(self, query: str, parameters=None) -> list[tuple]:
        return self.connection.execute(query, parameters).fetchall()

    def calls(self, query: str, parameters=None) -> int:
        """How many conversations with the worker ``query`` needs."""
        before = self._conversations()
        self.connection.execute(query, parameters)
        return self._conversations() - before

    def _conversations(self) -> int:
        idle = self.connection.info.transaction_status == TransactionStatus.IDLE
        view = "pg_stat_user_functions" if idle else "pg_stat_xact_user_functions"
        if idle:
            self.connection.execute("SELECT pg_stat_force_next_flush()")
        row = self.connection.execute(
            f"SELECT coalesce(sum(calls), 0) FROM {view} WHERE funcname = 'converse'"
        ).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def caller(worker, db, database, as_role) -> Caller:
    """Has a table of 1,000 features and two pipelines."""
    db.execute(sql.SQL("ALTER DATABASE {} SET track_functions = 'all'").format(_id(database)))
    connection = as_role()
    db.execute(sql.SQL("CREATE SCHEMA AUTHORIZATION {}").format(_id(connection.info.user)))
    connection.execute("SELECT open_analytic.pipeline_create('p')")
    connection.execute("SELECT open_analytic.pipeline_create('first', channel => '0')")
    connection.execute("CREATE TABLE speaker_table (speaker_id int, feature vector(192))")
    connection.execute(
        """INSERT INTO speaker_table
           SELECT n, array(SELECT sin(n * d) FROM generate_series(1, 192) AS d)
           FROM generate_series(1, 1000) AS n"""
    )
    return Caller(connection)


def _id(name: str) -> sql.Identifier:
    return sql.Identifier(name)


def test_the_article_s_search_embeds_once_however_many_rows(caller):
    caller.execute("SELECT fastann.create_index('speaker_table', 'feature', hnsw_m => 4)")
    caller.connection.execute("SET hnsw.ef_search = 1000")
    for limit in (1, 10, 1000):
        for vector in (f"{RUN}('p', %(audio)s::bytea)", f"{RUN}('p', %(digits)s)"):
            query = (
                f"SELECT speaker_id, l2_distance(feature, {vector}) FROM speaker_table "
                f"ORDER BY feature <-> {vector} LIMIT {limit}"
            )
            audio = recording(limit)
            values = {"audio": audio, "digits": "\\x" + audio.hex()}
            assert caller.calls(query, values) == 1
            found = caller.execute(query, values)
            assert 0.9 * limit <= len(found) <= limit  # the index may miss a few of all


def test_two_recordings_in_one_statement_are_both_kept(caller):
    query = f"""SELECT l2_distance(feature, {RUN}('p', %(a)s::bytea)),
                       l2_distance(feature, {RUN}('p', %(b)s::bytea)),
                       open_analytic.pipeline_run_json('p', %(a)s)
                FROM speaker_table"""
    assert caller.calls(query, {"a": recording(1), "b": recording(2)}) == 2


def test_more_recordings_than_slots_take_turns(caller):
    many = [recording(n, seconds=0.5) for n in range(6)]
    query = f"SELECT {RUN}('p', a)::text FROM unnest(%s::bytea[]) AS a"
    assert caller.calls(query, [many]) == 6
    assert len(set(caller.execute(query, [many]))) == 6


def test_the_cache_lasts_for_the_transaction_and_no_longer(caller):
    query = f"SELECT {RUN}('p', %s::bytea)"
    audio = [recording(1)]
    with caller.connection.transaction():
        assert caller.calls(query, audio) == 1
        assert caller.calls(query, audio) == 0
        with caller.connection.transaction(force_rollback=True):
            assert caller.calls(query, audio) == 0
            assert caller.calls(query, [recording(2)]) == 1
        assert caller.calls(query, audio) == 0
        assert caller.calls(query, [recording(2)]) == 1
    assert caller.calls(query, audio) == 1


def test_an_entry_never_crosses_pipelines(caller):
    audio = recording(1)
    with caller.connection.transaction():
        assert caller.calls(f"SELECT {RUN}('p', %s::bytea)", [audio]) == 1
        assert caller.calls(f"SELECT {RUN}('first', %s::bytea)", [audio]) == 1
        caller.execute("SELECT open_analytic.pipeline_drop('p')")
        missing = pytest.raises(psycopg.Error, match="no pipeline")
        with missing as caught, caller.connection.transaction():
            caller.execute(f"SELECT {RUN}('p', %s::bytea)", [audio])
        assert caught.value.sqlstate == "VX003"
        caller.execute("SELECT open_analytic.pipeline_create('p', 'another_model')")
        with pytest.raises(psycopg.Error):
            caller.execute(f"SELECT {RUN}('p', %s::bytea)", [audio])


def test_explain_needs_no_worker(caller, db):
    db.execute("DROP SERVER voxprint_worker CASCADE")
    vector = f"{RUN}('p', '\\x00')"
    query = (
        f"SELECT speaker_id, l2_distance(feature, {vector}) FROM speaker_table "
        f"WHERE l2_distance(feature, {vector}) < 1 ORDER BY feature <-> {vector} LIMIT 10"
    )
    assert caller.calls(f"EXPLAIN {query}") == 0
    with pytest.raises(psycopg.Error) as caught:
        caller.execute(query)
    assert caught.value.sqlstate == "VX010"


def cache_entries(caller: Caller) -> dict[str, str]:
    names = [f"open_analytic.cache_{n}" for n in range(1, 5)]
    return {
        name: value
        for name in names
        if (value := caller.execute("SELECT current_setting(%s, true)", [name])[0][0])
    }


def test_a_planted_entry_is_passed_over(caller):
    victim, other = recording(1), recording(2)
    query = f"SELECT {RUN}('p', %s::bytea)::text"
    (honest,), (wanted,) = caller.execute(query, [victim])[0], caller.execute(query, [other])[0]
    assert honest != wanted
    with caller.connection.transaction():
        caller.execute(query, [victim])
        ((name, entry),) = cache_entries(caller).items()
        assert honest in entry
        forgeries = [
            entry.replace(honest, wanted),  # the seal of another embedding
            "0" * 64 + entry[64:].replace(honest, wanted),
            entry[64:].replace(honest, wanted),
            re.sub(r"\[.*\]", "[1]", entry),
        ]
        for forgery in forgeries:
            caller.execute("SELECT set_config(%s, %s, true)", [name, forgery])
            assert caller.execute(query, [victim]) == [(honest,)]
    # An entry of a transaction that has ended is worth nothing, nor in the whole session.
    for number in range(1, 5):
        caller.execute(
            "SELECT set_config(%s, %s, false)",
            [f"open_analytic.cache_{number}", entry if number > 1 else forgeries[0]],
        )
    caller.execute("SELECT set_config('open_analytic.cache_turn', '; DROP TABLE x', false)")
    assert caller.calls(query, [victim]) == 1
    assert caller.execute(query, [victim]) == [(honest,)]


def test_a_long_recording_is_sent_once_for_all_rows(caller):
    query = f"SELECT count({RUN}('p', %s::bytea)) FROM speaker_table"
    assert caller.calls(query, [recording(3, seconds=8)]) == 1
