"""Reading a file that somebody else named: never without end, never without an answer."""

from __future__ import annotations

import errno
import os
import stat


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The first bytes of a regular file, however long it is.

    Opening does not wait either: a named pipe that nobody writes to is refused at once.

    Args:
        path: symbolic links are followed.
        max_bytes: read at most.

    Raises:
        OSError: no such file, not a regular one, or not readable.
        ValueError: a path that no file can have.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(max_bytes)
