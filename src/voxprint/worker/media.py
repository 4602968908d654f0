"""Opening the files that FILE requests name: below one folder, and nowhere else."""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath

from voxprint.errors import AudioTooLarge, UsageError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_below(folder: int, path: str, max_bytes: int) -> bytes:
    """Content of a regular file below an open folder.

    Every step is taken from the one before and follows no symbolic link, so the path leads
    nowhere else, whatever is renamed meanwhile.

    Args:
        folder: descriptor.
        path: relative, without ``..``.

    Raises:
        UsageError: not such a path, or no regular file that can be read.
        AudioTooLarge: more than ``max_bytes``.
    """
    if "://" in path:
        raise UsageError(
            f"expected a file below the worker's media folder, got the address {path!r}",
            hint="The worker fetches nothing from the network: fetch it and pass the bytes.",
        )
    parts = PurePosixPath(path).parts
    if not parts or "\0" in path or path.startswith("/") or ".." in parts:
        raise UsageError(f"expected a relative path below the worker's media folder, got {path!r}")
    try:
        return _read(_descend(folder, parts), path, max_bytes)
    except OSError as error:
        raise UsageError(
            f"expected a file that the worker can read, got {path!r}: {error.strerror}",
            hint="Files are read by the worker's account; symbolic links are not followed.",
        ) from error


def _descend(folder: int, parts: tuple[str, ...]) -> int:
    at = os.dup(folder)
    for index, part in enumerate(parts):
        flags = _FILE if index == len(parts) - 1 else _FOLDER
        try:
            below = os.open(part, flags, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def _read(descriptor: int, path: str, max_bytes: int) -> bytes:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise UsageError(f"expected a regular file, got {path!r}, which is none")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(max_bytes + 1) if facts.st_size <= max_bytes else b""
        if facts.st_size > max_bytes or len(data) > max_bytes:
            raise AudioTooLarge(
                f"expected audio of at most {max_bytes} bytes, got {facts.st_size} in {path!r}"
            )
        return data
