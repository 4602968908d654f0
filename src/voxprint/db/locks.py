"""Advisory file locks: which processes start, use and run a data folder.

A lock belongs to an open file, so the kernel gives it back when its last holder ends,
however that ends. Unlike a recorded process id it can be neither stale nor reused, and it
is seen across containers that share the folder.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """A lock on ``path``, which is made empty where it does not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Take the lock, or change the kind of the one that is held.

        Returns:
            False where ``wait`` is false and another holder is in the way; nothing is held then.
        """
        if self._descriptor is None:
            self._descriptor = open_lock_file(self.path)
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(self._descriptor, operation)
        except BlockingIOError:
            self.release()
            return False
        except BaseException:  # Ctrl-C while waiting
            self.release()
            raise
        return True

    def release(self) -> None:
        """Close this object's file; copies handed to other processes keep the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def fileno(self) -> int:
        """The open file, to be inherited by a process that shall hold the lock, too."""
        if self._descriptor is None:
            raise ValueError(f"the lock on {self.path} is not held")
        return self._descriptor


def open_lock_file(path: Path) -> int:
    """Open the file for locking without following a link that somebody planted."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def is_locked(path: Path) -> bool:
    """Whether any process holds ``path`` exclusively; asking creates no file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two processes that ask at once do not take each other for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
