"""The user's cache folder: files that are whole, ours, and checked whenever they are read.

A file's sha256 is either pinned (the weights) or part of its name (the built graph), so that a
truncated, damaged or planted file is noticed and made anew, never used.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import platformdirs

from voxprint.errors import ModelFileError


def cache_folder() -> Path:
    """Where weights and graphs are kept: ``VOXPRINT_CACHE``, or the user's cache folder."""
    named = os.environ.get("VOXPRINT_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("voxprint")


def sha256_hex(data: bytes) -> str:
    """Hex digest of some bytes."""
    return hashlib.sha256(data).hexdigest()


def read_own(path: Path) -> bytes | None:
    """Content of a file that belongs to this user (or root) and that no other can write.

    Returns:
        None where there is no such file, or somebody else could have written it.

    Raises:
        ModelFileError: the file is there but cannot be read.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o022:
                return None
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unusable(path, error) from error


def store(path: Path, data: bytes) -> None:
    """Write a file so that readers see all of it or nothing, whoever else writes it.

    Folders that are missing are made with mode 0700, the file has mode 0600.

    Raises:
        ModelFileError: the folder cannot be written.
    """
    try:
        _make_folders(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unusable(path, error) from error


def _make_folders(folder: Path) -> None:
    """As ``mkdir(parents=True)``, but every folder that is made has mode 0700."""
    for missing in [f for f in (folder, *folder.parents) if not f.exists()][::-1]:
        missing.mkdir(mode=0o700, exist_ok=True)


def _unusable(path: Path, error: OSError) -> ModelFileError:
    return ModelFileError(
        f"expected a cache folder that can be used, got {path.parent}: {error.strerror}",
        hint="Set VOXPRINT_CACHE to a folder of yours.",
    )
