"""Rows of ``people`` in PostgreSQL's binary copy format: a million are written in half a minute."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import psycopg

from benchmarks.hybrid.conditions import CELLS
from benchmarks.hybrid.data import People

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = struct.pack(">h", -1)
_INT4 = 23
_BLOCK = 10_000
_NUMBERS = ("city", "age", "branch", *(f"cell{number}" for number in CELLS))


def copy_people(session: psycopg.Connection, people: People) -> None:
    """Fill ``people`` and ``branches``."""
    columns = ", ".join(("id", "feature", *_NUMBERS, "tags"))
    with session.cursor() as cursor:
        with cursor.copy(f"COPY people ({columns}) FROM STDIN (FORMAT binary)") as copy:
            copy.write(_HEADER)
            for block in _blocks(people):
                copy.write(block)
            copy.write(_TRAILER)
        with cursor.copy("COPY branches FROM STDIN") as copy:
            for branch, level in enumerate(people.region.tolist()):
                copy.write_row((branch, f"r{level}" if level >= 0 else "elsewhere"))


def _blocks(people: People) -> Iterator[bytes]:
    dim = people.features.shape[1]
    row = np.dtype(
        [("fields", ">i2"), ("id size", ">i4"), ("id", ">i8"), ("feature size", ">i4")]
        + [("dim", ">i2"), ("unused", ">i2"), ("feature", ">f4", (dim,))]
        + [part for name in _NUMBERS for part in ((f"{name} size", ">i4"), (name, ">i4"))]
    )
    numbers = [people.city, people.age, people.branch, *people.cells.T]
    for first in range(0, len(people), _BLOCK):
        some = slice(first, min(first + _BLOCK, len(people)))
        rows = np.zeros(some.stop - first, row)
        rows["fields"] = 3 + len(_NUMBERS)
        rows["id size"], rows["id"] = 8, np.arange(first, some.stop)
        rows["feature size"], rows["dim"] = 4 + 4 * dim, dim
        rows["feature"] = people.features[some]
        for name, values in zip(_NUMBERS, numbers, strict=True):
            rows[f"{name} size"], rows[name] = 4, values[some]
        fixed = rows.tobytes()
        size = row.itemsize
        yield b"".join(
            part
            for i, tags in enumerate(people.tag_lists[some])
            for part in (fixed[i * size : (i + 1) * size], _array(tags))
        )


def _array(values: list[int]) -> bytes:
    """A field with an int[]: one dimension from 1, no nulls, each value with its size."""
    body = struct.pack(">5i", 1, 0, _INT4, len(values), 1)
    body += b"".join(struct.pack(">2i", 4, value) for value in values)
    return struct.pack(">i", len(body)) + body
