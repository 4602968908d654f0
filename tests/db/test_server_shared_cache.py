"""The superuser runs what lies in the cache, so nobody else may choose that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxprint.db.account import Account
from voxprint.db.extensions import shipped
from voxprint.db.tree import server_tree

FILES = {name: text for extension in shipped() for name, text in extension.files.items()}


@pytest.fixture
def cache(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that several people use; our own one is elsewhere."""
    folder = open_folder / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setenv("VOXPRINT_CACHE", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder / "own"))
    monkeypatch.setenv("HOME", str(open_folder / "home"))
    return folder


@pytest.fixture
def published(cache: Path) -> Path:
    """What is used, as an ordinary user (who runs the server himself), in an empty cache."""
    return extensions()


def extensions() -> Path:
    """The folder that PostgreSQL is told to read."""
    account = Account("me", os.geteuid(), os.getegid(), switch=False)
    folder = server_tree(account).extensions
    assert {path.name: path.read_text() for path in folder.glob("extension/*")} == FILES
    return folder


def test_what_is_ours_is_used_again(cache: Path, published: Path) -> None:
    assert published.parent == cache
    assert extensions() == published


def test_what_was_changed_is_not_used(cache: Path, published: Path) -> None:
    with next(published.glob("extension/*.sql")).open("a") as file:
        file.write("ALTER ROLE planted SUPERUSER;")
    assert extensions().parent != cache


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_what_others_can_change_is_not_used(cache: Path, published: Path, mode: int) -> None:
    os.chown(published, -1, 1)  # no group of ours alone
    published.chmod(mode)
    assert extensions().parent != cache


def test_a_folder_whose_content_others_can_swap_is_not_used(cache: Path, published: Path) -> None:
    cache.chmod(0o777)
    assert extensions().parent != cache


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another account")
def test_what_another_account_made_is_not_used(cache: Path, published: Path) -> None:
    os.chown(published, 12345, 12345)
    assert extensions().parent != cache


def test_with_no_safe_place_a_new_folder_serves(
    cache: Path, monkeypatch: pytest.MonkeyPatch, made: list[Path]
) -> None:
    cache.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("HOME", str(cache))
    made += [extensions(), extensions()]
    assert made[0] != made[1]
    assert all(cache not in folder.parents for folder in made)


@pytest.fixture
def made() -> Iterator[list[Path]]:
    folders: list[Path] = []
    yield folders
    for folder in folders:
        shutil.rmtree(folder)
