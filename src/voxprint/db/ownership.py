"""Whether files and folders are safe from other accounts: what we run, and where we keep data."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def fault(path: Path, *owners: int) -> str:
    """Why ``path`` (not what it may link to) is not safe; empty where it is.

    Args:
        path: must exist.
        owners: user ids that may own it, besides ourselves and root.
    """
    state = path.lstat()
    if state.st_uid not in {*_trusted(), *owners}:
        return f"{path} belongs to {_name(state.st_uid)}"
    if not stat.S_ISLNK(state.st_mode) and _others_may_write(state):
        return f"others may write to {path} (mode {stat.S_IMODE(state.st_mode):04o})"
    return ""


def is_safe_tree(folder: Path) -> bool:
    """Whether nobody but us and root can change ``folder``, anything in it, or what it is."""
    return is_safe_place(folder.parent) and not any(
        fault(path) for path in (folder, *folder.rglob("*"))
    )


def is_safe_place(folder: Path) -> bool:
    """Whether nobody but us and root can replace what lies in ``folder``, or the folder.

    In a folder such as /tmp (sticky) others may add files, but not replace ours.
    """
    folder = folder.resolve()
    existing = (path for path in (folder, *folder.parents) if path.exists())
    return all(
        not fault(path) or (path.stat().st_mode & stat.S_ISVTX and path.stat().st_uid in _trusted())
        for path in existing
    )


def _trusted() -> set[int]:
    """Ourselves and root, who has another number in some containers but owns the topmost folder."""
    return {0, os.geteuid(), Path("/").stat().st_uid}


def _others_may_write(state: os.stat_result) -> bool:
    if state.st_mode & stat.S_IWOTH:
        return True
    return bool(state.st_mode & stat.S_IWGRP) and not _is_private_group(state)


def _is_private_group(state: os.stat_result) -> bool:
    """Many systems give each user a group of the same name with nobody else in it."""
    if state.st_gid == 0:
        return True
    try:
        group = grp.getgrgid(state.st_gid)
        return group.gr_name == pwd.getpwuid(state.st_uid).pw_name and not group.gr_mem
    except KeyError:
        return False


def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (user id {uid})"
    except KeyError:
        return f"user id {uid}"
