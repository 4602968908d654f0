"""Synthetic voices and the calls that the tests of extension voxprint share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from psycopg.rows import dict_row

Array = npt.NDArray[np.float32]
DIM = 192


def unit(vectors: npt.NDArray[Any]) -> Array:
    """Scale to length 1 along the last axis, as the database does."""
    wide = vectors.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=-1, keepdims=True)).astype(np.float32)


def voices(people: int, seed: int = 0, dim: int = DIM) -> Array:
    """One direction a person, shape (people, dim)."""
    return unit(np.random.default_rng(seed).standard_normal((people, dim)))


def utterances(voice: Array, count: int, seed: int = 0, spread: float = 0.05) -> Array:
    """Vectors near one voice, shape (count, dim), cosine to it about 0.8."""
    noise = np.random.default_rng([seed, 1]).standard_normal((count, len(voice)))
    return unit(voice + spread * noise)


def text(vector: npt.NDArray[Any]) -> str:
    """As pgvector reads it, exactly."""
    return "[" + ",".join(map(repr, vector.astype(np.float32).tolist())) + "]"


def array(value: str) -> Array:
    """As pgvector writes it."""
    return np.array(value.strip("[]").split(","), dtype=np.float32)


def call(connection: psycopg.Connection, statement: str, **values: Any) -> list[dict[str, Any]]:
    """Run one statement, with arrays given as embeddings."""
    given = {k: text(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, given).fetchall()


def enroll(
    connection: psycopg.Connection, speaker: str, vector: npt.NDArray[Any], **more: Any
) -> dict[str, Any]:
    """Enrol an embedding; ``more`` are further parameters of the function, by name."""
    extra = "".join(f", {name} => %({name})s" for name in more)
    statement = f"SELECT * FROM voxprint.enroll(%(speaker)s, %(vector)s::vector{extra})"
    return call(connection, statement, speaker=speaker, vector=vector, **more)[0]


def verify(
    connection: psycopg.Connection, speaker: str, vector: npt.NDArray[Any], **more: Any
) -> dict[str, Any]:
    extra = "".join(f", {name} => %({name})s" for name in more)
    statement = f"SELECT * FROM voxprint.verify(%(speaker)s, %(vector)s::vector{extra})"
    return call(connection, statement, speaker=speaker, vector=vector, **more)[0]


def identify(
    connection: psycopg.Connection, vector: npt.NDArray[Any], **more: Any
) -> list[dict[str, Any]]:
    extra = "".join(f", {name} => %({name})s" for name in more)
    return call(
        connection,
        f"SELECT * FROM voxprint.identify(%(vector)s::vector{extra})",
        vector=vector,
        **more,
    )


@contextmanager
def refused(sqlstate: str, *words: str, case: str = "") -> Iterator[None]:
    """Expect the SQLSTATE, and the words in message or hint."""
    with pytest.raises(psycopg.Error) as caught:
        yield
    assert caught.value.sqlstate == sqlstate, f"{case}: {caught.value}"
    said = f"{caught.value.diag.message_primary}\n{caught.value.diag.message_hint}"
    for word in words:
        assert word in said, case
