"""A data folder on disk: making it, checking that it is ours, and what a start leaves in it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from voxprint.db import ownership, postmaster, settings
from voxprint.db.account import Account
from voxprint.db.tree import Tree
from voxprint.errors import ServerStartError


class Cluster:
    """The PostgreSQL cluster in the data folder ``data``, seen from outside the server.

    Attributes:
        path: PostgreSQL's own folder.
        logs: the server's logs; ``start.log`` has what it says before it opens the others.
    """

    def __init__(self, data: Path, account: Account) -> None:
        self.data = data
        self.path = data / "postgres"
        self.logs = data / "log"
        self._account = account

    def make_folder(self) -> None:
        """Make the data folder where it is missing; change nothing of one that is there.

        Raises:
            ServerStartError: it is no folder for us.
        """
        if not self.data.exists():
            _make_parents(self.data.parent)
            with contextlib.suppress(FileExistsError):  # another process was first
                self._account.make_folder(self.data)
        if not self.data.is_dir():
            raise ServerStartError(
                f"the data folder should be a folder, and is a file: {self.data}"
            )
        if fault := ownership.fault(self.data, self._account.uid):
            raise ServerStartError(
                f"the data folder should be yours alone: {fault}",
                hint="give another folder, or take it over with chown and chmod 700",
            )
        if (self.data / "PG_VERSION").exists():
            raise ServerStartError(
                f"{self.data} is a data folder of PostgreSQL that voxprint did not make",
                hint="give another folder, or start that server and use --dsn",
            )
        if self._account.switch and not self._account.can_enter(self.data):
            raise ServerStartError(
                f"the account {self._account.name!r}, which runs PostgreSQL for root, cannot "
                f"enter {self.data}",
                hint=f"use the default, {settings.default_data()}, or a folder whose parents "
                "everybody may enter",
            )

    def prepare(self, tree: Tree, *, durable: bool) -> None:
        """Make the cluster where there is none; see that it is ours and of this version.

        Args:
            tree: the server that shall run it.
            durable: False spares the disk while making it, for data that nobody will miss.

        Raises:
            ServerStartError: another owner, another version, in use, or initdb failed.
        """
        if not self.path.exists():
            self._initialise(tree, durable)
        owner = self.path.stat().st_uid
        if owner != self._account.uid:
            raise ServerStartError(
                f"{self.path} belongs to user id {owner}, and PostgreSQL would run as "
                f"{self._account.name} ({self._account.uid})",
                hint="run voxprint as the owner, or give another data folder",
            )
        found = (self.path / "PG_VERSION").read_text("ascii").strip()
        if found != str(tree.major):
            raise ServerStartError(
                f"{self.path} was made by PostgreSQL {found}, and this is PostgreSQL "
                f"{tree.version}",
                hint=f"name a PostgreSQL {found} with VOXPRINT_PG, or move the data with its "
                "pg_dump",
            )
        self._remove_stale_pid_file()
        self._configure()

    def first_words(self) -> str:
        """What a failed server said, wherever it said it."""
        logs = sorted(self.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
        lines = [line for path in logs for line in path.read_text("utf-8", "replace").splitlines()]
        telling = [line for line in lines if re.search("FATAL|PANIC|could not", line)]
        return " / ".join(telling[-3:] or lines[-3:]) or "it said nothing"

    def signs_of_life(self) -> tuple[object, ...]:
        """Something that changes while a server recovers: it logs progress every ten seconds."""
        watched = [*self.logs.glob("*"), self.path / "global" / "pg_control"]
        states = [path.stat() for path in watched if path.exists()]
        return tuple((state.st_size, state.st_mtime_ns) for state in states)

    def _initialise(self, tree: Tree, durable: bool) -> None:
        """Make the cluster under another name first: an interrupted initdb leaves no half."""
        draft = self.data / "postgres.new"
        if draft.exists():
            shutil.rmtree(draft)
        self._account.make_folder(draft)
        if tree.major >= 17:
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        else:
            locale = ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]
        command = [
            *(str(tree.bin / "initdb"), "-D", str(draft), "-U", settings.SUPERUSER),
            *(
                "--encoding=UTF8",
                "--data-checksums",
                f"--wal-segsize={settings.WAL_SEGMENT}",
                *locale,
            ),
            *("--auth-local=peer", "--auth-host=reject"),  # replaced below
            *([] if durable else ["--no-sync"]),
        ]
        made = subprocess.run(
            command,
            cwd="/",
            env=server_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            **self._account.run_as,
        )
        if made.returncode:
            raise ServerStartError(
                f"initdb cannot make a database in {self.data}: {made.stderr.strip()}",
                hint="see that the disk has room (100 MB)",
            )
        self._account.append(draft / "postgresql.conf", "\ninclude = 'voxprint.conf'\n")
        self._account.write(draft / "pg_hba.conf", settings.access_rules())
        draft.rename(self.path)

    def _remove_stale_pid_file(self) -> None:
        """No server of ours lives, as its lock is free: what is recorded is stale or foreign."""
        pid = postmaster.recorded_pid(self.path)
        if pid is not None and postmaster.serves(pid, self.path):
            raise ServerStartError(
                f"the data folder {self.data} is in use by a PostgreSQL server that voxprint "
                f"did not start (process {pid})",
                hint="stop that server first",
            )
        self._account.shell('rm -f -- "$1"', self.path / "postmaster.pid")

    def _configure(self) -> None:
        for name, text in {
            "voxprint.conf": settings.configuration(),
            "pg_ident.conf": settings.identity_map(self._account),
        }.items():
            self._account.write(self.path / name, text)
        if not self.logs.is_dir():
            self._account.make_folder(self.logs)


def server_environment() -> dict[str, str]:
    """The environment of the server's programs: no PGPORT, PGDATA or LANG of ours steers them."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
    return {"LC_ALL": "C", **kept}


def _make_parents(folder: Path) -> None:
    if folder.exists():
        return
    _make_parents(folder.parent)
    folder.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        folder.chmod(0o755)  # whatever the umask: the server's account must get through
