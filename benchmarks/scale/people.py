"""The table that is searched, ``people(id, feature, city)``, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import psycopg

from benchmarks.scale.bulk import Column, copy_in
from benchmarks.scale.voices import DIM, Rows, Voices

UTTERANCES = 5
#: ``city < CITIES * share`` selects that share of the people, whatever they sound like.
CITIES = 10_000
#: float32 sums in another order differ by less; people this much alike are one answer.
_SAME = 1e-6

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Embeddings of people with :data:`UTTERANCES` each; row i has the id i + 1.

    Attributes:
        voices: that they have.
        identity: who the people are, shape (people, DIM).
        feature: unit embeddings, shape (n, DIM).
        city: int32, shape (n,), independent of the feature.
    """

    voices: Voices
    identity: Rows
    feature: Rows
    city: npt.NDArray[np.int32]

    def probes(self, count: int, seed: int = 9) -> Rows:
        """Utterances that are not in the gallery, of people who are; shape (count, DIM)."""
        random = np.random.default_rng(seed)
        return self.voices.speak(
            random, self.identity[random.integers(len(self.identity), size=count)]
        )

    def below(self, share: float) -> Bools:
        return self.city < round(CITIES * share)


def gallery(size: int, voices: Voices) -> Gallery:
    """The same people every time; a smaller gallery is not part of a larger one."""
    random = np.random.default_rng(size)
    identity = voices.people(random, -(-size // UTTERANCES))
    feature = voices.speak(random, np.repeat(identity, UTTERANCES, axis=0)[:size])
    return Gallery(voices, identity, feature, random.integers(CITIES, size=size, dtype=np.int32))


def create(db: psycopg.Connection, more: str = "") -> None:
    columns = f"id bigint PRIMARY KEY, feature vector({DIM}), city int{more}"
    db.execute(f"CREATE TABLE people ({columns})".encode())


def fill(db: psycopg.Connection, people: Gallery, more: Mapping[str, Column] | None = None) -> None:
    """COPY all of them."""
    ids = np.arange(1, len(people.feature) + 1, dtype=np.int64)
    columns: dict[str, Column] = {"id": ids, "feature": people.feature, "city": people.city}
    copy_in(db, "people", columns | dict(more or {}))


def recall(ids: npt.ArrayLike, alike: Rows, allowed: Bools | None, k: int) -> float:
    """Share of the nearest k that were found; k is what can be found where that is less.

    Args:
        ids: of the answer.
        alike: cosine of every row with the probe, shape (n,).
        allowed: rows that the condition leaves; None: all.
        k: asked for.
    """
    left = alike if allowed is None else alike[allowed]
    wanted = min(k, len(left))
    if not wanted:
        return 1.0
    least = np.partition(left, len(left) - wanted)[len(left) - wanted] - _SAME
    rows = np.unique(np.asarray(ids, dtype=np.int64)) - 1
    right = alike[rows] >= least
    if allowed is not None:
        right &= allowed[rows]
    return float(min(right.sum(), wanted) / wanted)
