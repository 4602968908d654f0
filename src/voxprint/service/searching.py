"""Search any table by a condition and a vector: ``fastann.search`` with Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voxprint.errors import UsageError
from voxprint.types import Embedding, Hit, Tuned, Vector, vector_text

if TYPE_CHECKING:
    import psycopg

    from voxprint.db.connection import Database

#: No column can be called so by accident; every other name may be one of the table's.
_DISTANCE = "fastann distance"

_SEARCH = """
SELECT s.distance AS {distance}, (s.hit).* FROM fastann.search(
    NULL::{table}, %(column)s, %(query)s::{vector}, k => %(k)s, condition => %(condition)s,
    max_distance => %(max_distance)s, target_recall => %(target_recall)s,
    distancemeasure => %(distancemeasure)s) AS s
"""


class Searching:
    """Searches of tables, the caller's own ones, with the rights and the search_path of the role.

    Raises:
        DatabaseError: from every method, where the server cannot be reached or refuses.
    """

    _database: Database

    def search(
        self,
        table: str | tuple[str, str],
        column: str,
        query: Embedding | Vector | Sequence[float],
        *,
        k: int = 10,
        where: str | None = None,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        max_distance: float | None = None,
        target_recall: float = 0.99,
        distancemeasure: str = "L2",
    ) -> list[Hit]:
        """Return the nearest rows of a table that match a condition, the nearest first.

        There are exactly ``k`` of them, or all that match where those are fewer.

        Args:
            table: its name, or schema and name.
            column: of type ``vector``, ``halfvec`` or ``real[]``.
            query: an embedding, or numbers of shape (dim,).
            k: rows, 1 to 10000.
            where: a condition in SQL on the columns of the table. Values belong into
                ``parameters``: ``where="city = %s AND age > %s", parameters=["Ulm", 30]``, or
                by name, ``%(city)s``. They become literals of the connection's encoding and
                never SQL.
            max_distance: leave out what is farther away.
            target_recall: share of the true nearest rows to find on the average, above 0 up
                to 1; 1 searches exactly.
            distancemeasure: ``L2`` (the root), ``IP`` (the negative inner product) or
                ``COSINE`` (1 - cosine).
        Raises:
            UsageError: an argument is out of range.
            ModelMismatch: the query has not the length of the column.
        """
        from psycopg import sql
        from psycopg.rows import dict_row

        statement = sql.SQL(_SEARCH).format(
            distance=sql.Identifier(_DISTANCE),
            table=sql.Identifier(table) if isinstance(table, str) else sql.Identifier(*table),
            vector=sql.SQL(self._database.vector_type),
        )
        with self._database.connection() as connection:
            values = {
                "column": column,
                "query": vector_text(_numbers(query)),
                "k": k,
                "condition": _condition(connection, where, parameters),
                "max_distance": max_distance,
                "target_recall": target_recall,
                "distancemeasure": distancemeasure,
            }
            rows = connection.cursor(row_factory=dict_row).execute(statement, values).fetchall()
        return [Hit(distance=row.pop(_DISTANCE), row=row) for row in rows]

    def tune(self) -> list[Tuned]:
        """Measure how the gallery is searched on this machine, and keep it for ``identify``.

        Worth it after many people were enrolled, and when there are half as many again.

        Raises:
            UsageError: there are too few people to measure on; they are searched exactly.
        """
        return [Tuned(**row) for row in self._database.rows("SELECT * FROM voxprint.tune()")]


def _numbers(query: Embedding | Vector | Sequence[float]) -> Vector:
    import numpy as np

    values = query.vector if isinstance(query, Embedding) else query
    try:
        numbers = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(f"query: expected numbers, got {type(query).__name__}") from error
    if numbers.ndim != 1 or not numbers.size:
        raise UsageError(f"query: expected numbers of shape (dim,), got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise UsageError("query: expected finite numbers, got NaN or infinity")
    return numbers


def _condition(
    connection: psycopg.Connection[Any],
    where: str | None,
    parameters: Sequence[Any] | Mapping[str, Any] | None,
) -> str | None:
    """The condition with its parameters as literals."""
    from psycopg import ClientCursor, ProgrammingError

    if where is None:
        if parameters:
            raise UsageError("parameters: expected with a condition, got them without `where`")
        return None
    try:
        return ClientCursor(connection).mogrify(where, parameters)
    except (ProgrammingError, TypeError) as error:
        raise UsageError(
            f"where: its placeholders and parameters do not fit: {error}",
            hint="write %s or %(name)s for each value, and %% for a percent sign",
        ) from error
