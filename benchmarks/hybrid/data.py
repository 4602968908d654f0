"""The people that are searched: voices, attributes and queries, drawn once and kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from benchmarks.hybrid.clusters import centres_of, farthest, nearest
from benchmarks.hybrid.conditions import (
    AGES,
    BRANCHES,
    BY_QUERY,
    CELLS,
    CITIES,
    OTHER_TAGS,
    SHARES,
    Condition,
)
from benchmarks.hybrid.model import TwoCovariance
from benchmarks.report import say

Rows = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

UTTERANCES = 5
#: Queries drawn; how many of them are asked is up to the run.
QUERIES = 200
SCALES = {"5k": 5_000, "20k": 20_000, "100k": 100_000, "1m": 1_000_000}


@dataclass(frozen=True, eq=False)
class People:
    """The rows of table ``people``; the id of a row is its place here.

    Attributes:
        features: float32 of length 1, shape (n, dim).
        city, age, branch: shape (n,).
        tagged: whether a row has the tag of a share, shape (n, shares).
        tags: two further tags of every row, shape (n, 2).
        cells: cell of every row, shape (n, numbers of cells).
        region: of every branch, place of a share or -1, shape (BRANCHES,).
        queries: held-out utterances of enrolled speakers, shape (QUERIES, dim).
        near, far: cell that holds the query, and the farthest one, shape (QUERIES, ...).
    """

    features: Rows
    city: Numbers
    age: Numbers
    branch: Numbers
    tagged: Bools
    tags: Numbers
    cells: Numbers
    region: Numbers
    queries: Rows
    near: Numbers
    far: Numbers

    def __len__(self) -> int:
        return len(self.features)

    def cell(self, condition: Condition, query: int) -> int:
        """The k-means cell that the condition names for a query; -1 where it names none."""
        if condition.family not in BY_QUERY:
            return -1
        cells = self.near if condition.family == "near" else self.far
        return int(cells[query, condition.level])

    def matches(
        self, condition: Condition, query: int, rows: slice | npt.NDArray[np.int64] = slice(None)
    ) -> Bools:
        """Which of ``rows`` the condition lets through."""
        if condition.family in ("none", "bound"):
            return np.ones(len(self.city[rows]), bool)
        if condition.family in BY_QUERY:
            return self.cells[rows, condition.level] == self.cell(condition, query)
        if condition.family == "tags":
            return self.tagged[rows, condition.level]
        if condition.family == "join":
            return self.region[self.branch[rows]] == condition.level
        city, age = condition.limits
        return (self.city[rows] < city) & (self.age[rows] < age)

    @cached_property
    def tag_lists(self) -> list[list[int]]:
        """All tags of every row."""
        own = [[] for _ in range(len(self))]
        for level in range(len(SHARES)):
            for row in np.flatnonzero(self.tagged[:, level]):
                own[row].append(level)
        return [tags + more for tags, more in zip(own, self.tags.tolist(), strict=True)]


def cache_folder() -> Path:
    """``BENCH_CACHE``, or a folder that the server's account may enter, too."""
    if "BENCH_CACHE" in os.environ:
        return Path(os.environ["BENCH_CACHE"])
    if os.geteuid() == 0:
        return Path("/var/cache/voxprint-bench")
    return platformdirs.user_cache_path("voxprint-bench")


def folder_of(scale: str, model: str) -> Path:
    """Where everything made for one scale and model is kept."""
    return cache_folder() / f"{scale}-{model}"


def people(scale: str, model: str, *, in_memory: bool = True) -> People:
    """The people of a scale, drawn where that has not been done yet.

    Args:
        in_memory: read the features at once, rather than page by page as they are used.
    """
    folder = folder_of(scale, model)
    if not (folder / "people.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _draw(SCALES[scale], TwoCovariance.named(model), folder)
    features = np.load(folder / "features.npy", mmap_mode=None if in_memory else "r")
    with np.load(folder / "people.npz") as stored:
        return People(features, **{name: stored[name] for name in stored.files})


def _draw(count: int, model: TwoCovariance, folder: Path) -> None:
    say(f"drawing {count} people")
    rng = np.random.default_rng(11)
    rows, queries = model.draw(
        speakers=count // UTTERANCES, utterances=UTTERANCES, seed=10, extra=QUERIES
    )
    # Shuffled: the utterances of one speaker do not lie side by side in the table.
    rows = rows[rng.permutation(count)]
    cells, near, far = [], [], []
    for number in CELLS:
        say(f"k-means: {number} cells")
        centres = centres_of(rows, number, seed=number)
        cells.append(nearest(rows, centres))
        held = np.bincount(cells[-1], minlength=len(centres)) > 0
        # The cell that holds the query, where rows are in it.
        near.append(_nearest_held(queries, centres, held))
        # Among cells of about their share: the very farthest ones hold but a few outliers.
        large = np.bincount(cells[-1], minlength=len(centres)) * number >= count / 2
        far.append(farthest(queries, centres, large))
    # Of the branches each share has exactly its part; the others belong to no region asked for.
    region = np.full(BRANCHES, -1, np.int32)
    counts = [round(share * BRANCHES) for share in SHARES]
    region[: sum(counts)] = np.repeat(np.arange(len(SHARES)), counts)
    np.save(folder / "features.npy", rows)
    np.savez(
        folder / "people.npz",
        city=rng.integers(CITIES, size=count, dtype=np.int32),
        age=rng.integers(AGES, size=count, dtype=np.int32),
        branch=rng.integers(BRANCHES, size=count, dtype=np.int32),
        tagged=rng.random((count, len(SHARES))) < np.array(SHARES),
        tags=rng.integers(OTHER_TAGS.start, OTHER_TAGS.stop, size=(count, 2), dtype=np.int32),
        cells=np.stack(cells, axis=1),
        region=rng.permutation(region),
        queries=queries,
        near=np.stack(near, axis=1),
        far=np.stack(far, axis=1),
    )


def _nearest_held(queries: Rows, centres: Rows, held: Bools) -> Numbers:
    kept = np.flatnonzero(held)
    return kept[nearest(queries, centres[kept])].astype(np.int32)
