"""The unprivileged account that runs PostgreSQL when voxprint itself runs as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxprint.errors import ServerStartError

ACCOUNT_NAME = "voxprint"


@dataclass(frozen=True, slots=True)
class Account:
    """An entry of the user database; ``switch`` says whether we must change to it."""

    name: str
    uid: int
    gid: int
    switch: bool

    @property
    def run_as(self) -> dict[str, Any]:
        """Keyword arguments that make ``subprocess`` run a command as this account."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def make_folder(self, path: Path) -> None:
        """Make a folder of mode 0700 that belongs to this account.

        Nothing else is changed by it, even where the account owns the folder around it and puts
        something in the place of the new one at once.

        Raises:
            FileExistsError: something has that name.
        """
        path.mkdir(mode=0o700)
        if not self.switch:
            return
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchown(folder, self.uid, self.gid)
        finally:
            os.close(folder)

    def write(self, path: Path, text: str) -> None:
        """Put a file of mode 0600 in the place of whatever is there, with this account's rights.

        With root's, links in the account's own folders would lead to anything.

        Raises:
            OSError: the account may not write there, or the disk is full.
        """
        self.shell('umask 077; cat > "$1.new" && mv -f -- "$1.new" "$1"', path, text=text)

    def append(self, path: Path, text: str) -> None:
        """Add to the end of a file; as :meth:`write`."""
        self.shell('cat >> "$1"', path, text=text)

    def shell(self, script: str, *arguments: Path, text: str = "") -> None:
        """Run a shell script as this account.

        Raises:
            OSError: it failed; with what it said.
        """
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *map(str, arguments)],
            cwd="/",
            input=text.encode(),
            capture_output=True,
            **self.run_as,
        )
        if done.returncode:
            raise OSError(done.stderr.decode(errors="replace").strip())

    def can_enter(self, folder: Path) -> bool:
        """Whether this account gets into ``folder``; asked of the kernel, which knows of ACLs."""
        command = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]
        return (
            subprocess.run(command, cwd="/", stderr=subprocess.DEVNULL, **self.run_as).returncode
            == 0
        )


def server_account() -> Account:
    """The account to run PostgreSQL under: ourselves or, for root, the account ``voxprint``.

    Raises:
        ServerStartError: the account is missing and cannot be made, or we have no name
            in the user database (initdb and peer authentication need one).
    """
    uid = os.geteuid()
    if uid == 0:
        entry = _system_account()
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise ServerStartError(
            f"PostgreSQL needs a named account, and user id {uid} has no entry in /etc/passwd",
            hint="run as a user with a name, or as root (in a container: --user root)",
        ) from None
    return Account(entry.pw_name, uid, os.getegid(), switch=False)


def _system_account() -> pwd.struct_passwd:
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        problem = _create_system_account()
        try:  # another process may have been first, so the entry decides and not the exit status
            entry = pwd.getpwnam(ACCOUNT_NAME)
        except KeyError:
            raise ServerStartError(
                "PostgreSQL does not run as root, and the account "
                f"{ACCOUNT_NAME!r} for it cannot be made: {problem}",
                hint=f"make a system account named {ACCOUNT_NAME}, or run as an ordinary user",
            ) from None
    if entry.pw_uid == 0:
        raise ServerStartError(f"the account {ACCOUNT_NAME!r} is root's, PostgreSQL refuses that")
    return entry


def _create_system_account() -> str:
    """Make the account; says what went wrong, empty where nothing did."""
    useradd = shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")
    if useradd is None:
        return "this system has no useradd"
    nologin = shutil.which("nologin", path="/usr/sbin:/sbin") or "/bin/false"
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    made = subprocess.run(
        [useradd, *options, "--shell", nologin, "--comment", "voxprint database", ACCOUNT_NAME],
        capture_output=True,
        text=True,
    )
    return made.stderr.strip() if made.returncode else ""
