"""COPY in PostgreSQL's binary format, straight from arrays.

As text a million embeddings are 2 GB of digits, and the time would be that of printing them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import psycopg

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_ROWS = 20_000

Column = npt.NDArray[np.generic]


def copy_in(db: psycopg.Connection, table: str, columns: Mapping[str, Column]) -> None:
    """Append rows to a table.

    Args:
        db: where to.
        table: its name, as SQL.
        columns: by name, arrays of one length: int64, int32, bool, bytes (``S``, for text), or
            float32 of shape (n, dim) for a vector.
    """
    count = len(next(iter(columns.values())))
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
    with db.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.write(_HEADER)
        for start in range(0, count, _ROWS):
            piece = {name: values[start : start + _ROWS] for name, values in columns.items()}
            copy.write(_rows(piece))
        copy.write(_TRAILER)


def _rows(columns: Mapping[str, Column]) -> bytes:
    """Each row: the number of its fields, then each field behind its length in bytes."""
    fields: list[tuple[str, str] | tuple[str, str, int]] = [("fields", ">i2")]
    for name, values in columns.items():
        fields.append((f"{name} length", ">i4"))
        if values.ndim == 2:
            fields += [(f"{name} dim", ">i2"), (f"{name} unused", ">i2")]
            fields.append((name, ">f4", values.shape[1]))
        else:
            fields.append((name, values.dtype.newbyteorder(">").str))
    packed = np.zeros(len(next(iter(columns.values()))), dtype=fields)
    packed["fields"] = len(columns)
    for name, values in columns.items():
        packed[name] = values
        packed[f"{name} length"] = values.dtype.itemsize
        if values.ndim == 2:
            packed[f"{name} length"] = 4 + 4 * values.shape[1]
            packed[f"{name} dim"] = values.shape[1]
    return packed.tobytes()
