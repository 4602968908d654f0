"""Distances and operators on real[], on vectors and mixed, against NumPy."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import psycopg
import pytest

DISTANCES = {
    "l2_distance": lambda a, b: math.sqrt(((a - b) ** 2).sum()),
    "l2_squared_distance": lambda a, b: ((a - b) ** 2).sum(),
    "dp_distance": lambda a, b: a @ b,
    "inner_product_distance": lambda a, b: a @ b,
    "negative_inner_product_distance": lambda a, b: -(a @ b),
    "cosine_similarity": lambda a, b: a @ b / (np.linalg.norm(a) * np.linalg.norm(b)),
    "cosine_distance": lambda a, b: 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)),
    "hm_distance": lambda a, b: (a != b).sum(),
}
OPERATORS = {
    "<->": "l2_distance",
    "<#>": "negative_inner_product_distance",
    "<=>": "cosine_distance",
}
TYPES = ("real[]", "vector")
PAIRINGS = list(product(TYPES, TYPES))


def pair(dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(seed).normal(size=(2, dim)).astype(np.float32)
    b[: dim // 3] = a[: dim // 3]
    return a.astype(np.float64), b.astype(np.float64)


def literal(values: np.ndarray, kind: str) -> str:
    numbers = ",".join(repr(float(v)) for v in values)
    return f"'{{{numbers}}}'::real[]" if kind == "real[]" else f"'[{numbers}]'::vector"


@pytest.fixture
def anybody(as_role) -> psycopg.Connection:
    return as_role()


def value(connection: psycopg.Connection, query: str):
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_distances_equal_numpy_for_every_pairing(anybody):
    for (name, reference), types, dim in product(DISTANCES.items(), PAIRINGS, [1, 3, 192, 512]):
        a, b = pair(dim)
        got = value(anybody, f"SELECT {name}({literal(a, types[0])}, {literal(b, types[1])})")
        assert got == pytest.approx(reference(a, b), rel=1e-5, abs=1e-6), (name, types, dim)


def test_operators_equal_the_functions_for_every_pairing(anybody):
    a, b = (v / np.linalg.norm(v) for v in pair(192))
    for (operator, name), types in product(OPERATORS.items(), PAIRINGS):
        got = value(anybody, f"SELECT {literal(a, types[0])} {operator} {literal(b, types[1])}")
        assert got == pytest.approx(DISTANCES[name](a, b), abs=1e-6), (operator, types)


def test_unequal_lengths_are_an_error_with_both_numbers(anybody):
    for name in DISTANCES:
        with pytest.raises(psycopg.Error, match="got 3 and 2 values") as caught:
            anybody.execute(f"SELECT {name}(ARRAY[1,2,3]::real[], ARRAY[1,2]::real[])")
        assert caught.value.sqlstate == "VX004"
        assert caught.value.diag.message_hint


def test_operators_with_a_real_array_on_the_left_are_for_192_values(anybody):
    a, b = pair(3)
    for kind in TYPES:
        with pytest.raises(psycopg.errors.DataException, match="expected 192 dimensions, not 3"):
            anybody.execute(f"SELECT {literal(a, 'real[]')} <-> {literal(b, kind)}")


def test_what_is_no_vector_is_an_error(anybody):
    for array, message in [
        ("ARRAY[1,NULL]", "null"),
        ("ARRAY[1,'NaN']", "NaN"),
        ("ARRAY[1,'Infinity']", "[Ii]nfinit"),
        ("ARRAY[[1,2]]", "1-D"),
    ]:
        with pytest.raises(psycopg.Error, match=message):
            anybody.execute(f"SELECT l2_distance({array}::real[], ARRAY[1,2]::real[])")


def test_numbers_of_other_types_are_taken(anybody):
    assert value(anybody, "SELECT l2_distance(ARRAY[0,0], ARRAY[3,4])") == 5
    assert value(anybody, "SELECT l2_distance(ARRAY[0.0,0.0], '[3,4]'::vector)") == 5
    assert value(anybody, "SELECT l2_distance('[0,0]', '[3,4]'::vector)") == 5
    assert value(anybody, "SELECT l2_distance(NULL::real[], ARRAY[3,4]::real[])") is None


def test_distance_and_cosine_of_unit_vectors_fit_together(anybody):
    for cosine, distance in [(0.3, 1.183), (0.5, 1.0), (0.7, 0.775)]:
        a = f"ARRAY[{cosine}, {math.sqrt(1 - cosine**2)}]::real[]"
        assert value(anybody, f"SELECT l2_distance({a}, ARRAY[1, 0]::real[])") == pytest.approx(
            distance, abs=5e-4
        )
