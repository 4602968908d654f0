"""The short folder where a server's sockets lie, for its account only.

A socket's path holds about 107 bytes and a data folder may lie arbitrarily deep, so the
sockets get a folder of their own in /tmp. A login session's runtime folder would vanish at
logout with the server still running.
"""

from __future__ import annotations

import hashlib
import secrets
import stat
from pathlib import Path

from voxprint.db.account import Account

_TEMPORARY = Path("/tmp")  # noqa: S108  (made with mkdir, owner and mode checked below)


def runtime_folder(data: Path, account: Account) -> Path:
    """Make, or find again, the 0700 folder for the sockets of the server on ``data``.

    The name follows from the data folder, so that what a crash left is used again. Where
    somebody else has taken that name, a random one serves: joining processes read the folder
    from ``postmaster.pid``.
    """
    key = hashlib.sha256(str(data).encode("utf-8", "surrogateescape")).hexdigest()[:10]
    folder = _TEMPORARY / f"voxprint-{account.uid}-{key}"
    try:
        account.make_folder(folder)
    except FileExistsError:
        if not _is_private(folder, account):
            folder = folder.with_name(f"{folder.name}-{secrets.token_hex(8)}")
            account.make_folder(folder)
    # As the account, which can put links into the folder. What a killed server left must go: its
    # recorded process id may live again.
    account.shell('mkdir -p -m 700 -- "$1/worker" && rm -f -- "$1"/.s.PGSQL.*', folder)
    return folder


def _is_private(folder: Path, account: Account) -> bool:
    state = folder.lstat()  # a link is no folder
    private = stat.S_ISDIR(state.st_mode) and not state.st_mode & 0o077
    return private and state.st_uid == account.uid
