"""The filters that are measured, in words, in SQL, and as the rows they let through."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Shares of all rows that match.
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.001, 0.0001)
#: Numbers of k-means cells; one cell holds about one row in that many.
CELLS = (2, 5, 10, 20, 50, 100, 333, 1000, 10_000)
KS = (1, 10, 100)
#: What the share of a filter is drawn from.
CITIES, AGES, BRANCHES = 10_000, 100, 10_000
#: Further tags that every row has some of, so that the array index holds more than is asked.
OTHER_TAGS = range(100, 200)

#: Filters whose rows have nothing to do with the query, or everything.
FAMILIES = ("none", "city", "near", "far", "both", "tags", "join", "bound")
#: Families whose filter depends on the query.
BY_QUERY = ("near", "far")
#: Nothing is as near as this cosine distance to anything but itself.
IMPOSSIBLE = 1e-6

Dialect = str


@dataclass(frozen=True)
class Condition:
    """One filter.

    Attributes:
        family: of :data:`FAMILIES`.
        share: of the rows that match, about; 1 where there is no filter.
    """

    family: str
    share: float

    @property
    def name(self) -> str:
        return self.family if self.share == 1 else f"{self.family} {100 * self.share:g} %"

    @property
    def level(self) -> int:
        """Place of the share in :data:`SHARES`."""
        return SHARES.index(self.share)

    @property
    def cell_column(self) -> str:
        return f"cell{CELLS[self.level]}"

    @property
    def region(self) -> str:
        return f"r{self.level}"

    @property
    def limits(self) -> tuple[int, int]:
        """City and age below which rows match: (CITIES * share, AGES) for a city alone."""
        if self.family == "city":
            return round(CITIES * self.share), AGES
        age = 80 if self.share > 0.4 else 50
        return round(CITIES * AGES * self.share / age), age

    def sql(self, cell: int = -1, dialect: Dialect = "postgres") -> str | None:
        """The condition as SQL, None where all rows match.

        Args:
            cell: that the query asks for, of the families in :data:`BY_QUERY`.
        """
        if self.family in ("none", "bound"):
            return None
        if self.family in BY_QUERY:
            return f"{self.cell_column} = {cell}"
        if self.family == "tags":
            return {
                "postgres": "tags @> ARRAY[{}]",
                "duckdb": "list_contains(tags, {})",
                "lance": "array_has(tags, {})",
                "chdb": "has(tags, {})",
            }[dialect].format(self.level)
        if self.family == "join":
            return f"branch IN (SELECT id FROM branches WHERE region = '{self.region}')"
        city, age = self.limits
        return f"city < {city}" + (f" AND age < {age}" if self.family == "both" else "")


@dataclass(frozen=True)
class Cell:
    """One filter and how many neighbours are asked for."""

    condition: Condition
    k: int

    @property
    def name(self) -> str:
        return f"{self.condition.name}, k={self.k}"

    @property
    def max_distance(self) -> float | None:
        return IMPOSSIBLE if self.condition.family == "bound" else None


def conditions(
    rows: int, families: Sequence[str] = FAMILIES, shares: Sequence[float] = SHARES
) -> Iterator[Condition]:
    """Those that let at least one row of ``rows`` through, on average."""
    for family in families:
        if family in ("none", "bound"):
            yield Condition(family, 1)
        else:
            for share in shares:
                if math.floor(rows * share) >= 1:
                    yield Condition(family, share)
