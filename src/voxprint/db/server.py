"""Life cycle of the embedded PostgreSQL server on one data folder.

A data folder holds ``postgres`` (the cluster), ``log`` and three lock files:

``start.lock``
    held while somebody starts the server or sets it up, so that one does and others wait;
``users.lock``
    shared by every process that uses the server; the keeper (``keeper.py``) waits for it to be
    free and shuts the server down then, even where the last user was killed;
``server.lock``
    held by the keeper and inherited by every process of the server: free means that no server
    of ours lives, whatever ``postmaster.pid`` says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import make_conninfo

from voxprint.db import keeper, postmaster, settings
from voxprint.db.account import Account, server_account
from voxprint.db.install import prepare_cluster
from voxprint.db.locks import FileLock, is_locked, open_lock_file
from voxprint.db.runtime import runtime_folder
from voxprint.db.tree import Tree, psql_program, server_tree
from voxprint.errors import ServerStartError

#: Seconds without any sign of progress after which a starting server is given up.
STALLED = 120.0
_POLL = 0.02


class Server:
    """The embedded server of one data folder, shared by all processes that use the folder.

    Args:
        data: folder of the database, made where it is missing; see
            :func:`voxprint.db.settings.default_data_folder`.
        port: TCP port on the loopback addresses; None for the unix socket alone.
        settings: PostgreSQL settings for a server that we start, e.g. ``{"fsync": "off"}``
            for one whose data nobody will miss.

    Attributes:
        joined: True where :meth:`start` found a running server.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data = Path(data).expanduser().resolve()
        self.joined = False
        self._port = port
        self._settings = dict(settings or {})
        self._users = FileLock(self.data / "users.lock")
        self._account: Account | None = None
        self._known: postmaster.Postmaster | None = None

    # what callers ask

    @property
    def account(self) -> tuple[int, int] | None:
        """(uid, gid) of the server where it is not our own account (we are root), else None."""
        account = self._server_account()
        return (account.uid, account.gid) if account.switch else None

    @property
    def running(self) -> bool:
        """Whether a server of ours takes connections on this data folder."""
        known = postmaster.recorded(self._cluster)
        return known is not None and known.ready and is_locked(self._server_lock)

    @property
    def psql(self) -> Path:
        """The psql that belongs to the server."""
        return psql_program()

    @property
    def worker_dir(self) -> Path:
        """Folder for a worker's socket: private, and reachable by the server."""
        return Path(self._found().sockets) / "worker"

    def conninfo(
        self, dbname: str = settings.DATABASE, user: str = settings.SUPERUSER, password: str = ""
    ) -> str:
        """A libpq connection string over the unix socket; the superuser needs no password."""
        known = self._found()
        secret = {"password": password} if password else {}
        return make_conninfo(
            host=known.sockets, port=str(known.port), user=user, dbname=dbname, **secret
        )

    # life

    def __enter__(self) -> Self:
        """Start or join."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave."""
        self.stop()

    def start(self) -> None:
        """Join the running server of this data folder, or start one.

        Returns when the server takes connections and its databases hold the extensions. It
        runs until its last user has called :meth:`stop` or ended.

        Raises:
            ServerStartError: the folder cannot be used (the message says why), or PostgreSQL
                does not start.
            ExtensionVersionError: the database was made by a newer voxprint.
        """
        try:
            self._start()
        except OSError as problem:
            self._users.release()
            raise ServerStartError(
                f"the data folder {self.data} cannot be used: {problem}",
                hint="give a folder that you may write to, with room on its disk",
            ) from problem
        except BaseException:
            self._users.release()
            raise

    def stop(self) -> None:
        """Leave the server; the last user's leaving shuts it down, and waits for that."""
        if not self._users.held:
            return
        self._users.release()
        self._known = None
        unkept_after = time.monotonic() + 5.0
        while is_locked(self._server_lock):
            probe = FileLock(self.data / "users.lock")
            alone = probe.acquire(wait=False)
            shared = not alone and probe.acquire(shared=True, wait=False)
            probe.release()
            if shared:
                return  # others use the server; whoever leaves last shuts it down
            if alone and time.monotonic() > unkept_after:
                self._shut_down()  # the keeper was killed
                unkept_after = float("inf")
            time.sleep(_POLL)

    # starting

    def _start(self) -> None:
        account = self._server_account()
        self._make_data_folder(account)
        starting = FileLock(self.data / "start.lock")
        starting.acquire()
        try:
            self._users.acquire(shared=True)
            self.joined = self._await_ready()
            if not self.joined:
                tree = server_tree(account)
                self._check_cluster(account, tree)
                self._remove_stale_pid_file()
                self._launch(account, tree)
                if not self._await_ready():
                    raise ServerStartError(
                        f"PostgreSQL does not start on {self.data}: {self._first_words()}",
                        hint=f"see the files in {self.data / 'log'}",
                    )
            self._check_port()
            prepare_cluster(self.conninfo)
        finally:
            starting.release()

    def _make_data_folder(self, account: Account) -> None:
        if not self.data.exists():
            self._make_parents(self.data.parent)
            self.data.mkdir(mode=0o700, exist_ok=True)
            account.own(self.data)
        if not self.data.is_dir():
            raise ServerStartError(f"the data folder should be a folder: {self.data}")
        if (self.data / "PG_VERSION").exists():
            raise ServerStartError(
                f"{self.data} is a data folder of PostgreSQL that voxprint did not make",
                hint="give another folder, or start that server and use --dsn",
            )
        if not account.can_enter(self.data):
            raise ServerStartError(
                f"the account {account.name!r}, which runs PostgreSQL for root, cannot enter "
                f"{self.data}",
                hint=f"use the default, {settings.default_data_folder()}, or a folder whose "
                "parents everybody may enter",
            )

    def _make_parents(self, folder: Path) -> None:
        if folder.exists():
            return
        self._make_parents(folder.parent)
        folder.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            folder.chmod(0o755)  # whatever the umask: the server's account must get through

    def _check_cluster(self, account: Account, tree: Tree) -> None:
        """See that the cluster is ours and of this version; make it where there is none."""
        if not self._cluster.exists():
            self._initialise(account, tree)
        owner = self._cluster.stat().st_uid
        if owner != account.uid:
            raise ServerStartError(
                f"{self._cluster} belongs to user id {owner}, and PostgreSQL would run as "
                f"{account.name} ({account.uid})",
                hint="run voxprint as the owner, or give another data folder",
            )
        found = (self._cluster / "PG_VERSION").read_text("ascii").strip()
        if found != str(tree.major):
            raise ServerStartError(
                f"{self._cluster} was made by PostgreSQL {found}, and this is PostgreSQL "
                f"{tree.version}",
                hint=f"name a PostgreSQL {found} with VOXPRINT_PG, or move the data with its "
                "pg_dump",
            )

    def _initialise(self, account: Account, tree: Tree) -> None:
        """Make the cluster under another name first: an interrupted initdb leaves no half."""
        draft = self.data / "postgres.new"
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(mode=0o700)
        account.own(draft)
        if tree.major >= 17:
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        else:
            locale = ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]
        command = [
            *(str(tree.bin / "initdb"), "-D", str(draft), "-U", settings.SUPERUSER),
            *("--encoding=UTF8", "--data-checksums", *locale),
            *("--auth-local=peer", "--auth-host=reject"),
            *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
        ]
        made = subprocess.run(
            command,
            cwd="/",
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            **account.run_as,
        )
        if made.returncode:
            raise ServerStartError(
                f"initdb cannot make a database in {self.data}: {made.stderr.strip()}"
            )
        with (draft / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\ninclude = 'voxprint.conf'\n")
        (draft / "pg_hba.conf").write_text(settings.access_rules(), "utf-8")
        draft.rename(self._cluster)

    def _remove_stale_pid_file(self) -> None:
        """No server of ours lives, as its lock is free: what is recorded is stale or foreign."""
        pid = postmaster.recorded_pid(self._cluster)
        if pid is not None and postmaster.serves(pid, self._cluster):
            raise ServerStartError(
                f"the data folder {self.data} is in use by a PostgreSQL server that voxprint "
                f"did not start (process {pid})",
                hint="stop that server first",
            )
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self, account: Account, tree: Tree) -> None:
        """Start the keeper, and the server under it, with the locks that they shall hold."""
        for name, text in {
            "voxprint.conf": settings.configuration(),
            "pg_ident.conf": settings.identity_map(account),
        }.items():
            file = self._cluster / name
            file.unlink(missing_ok=True)
            file.write_text(text, "utf-8")
            account.own(file)
        logs = self.data / "log"
        if not logs.is_dir():
            logs.mkdir(mode=0o700)
            account.own(logs)
        runtime = runtime_folder(self.data, account)
        server_lock = FileLock(self._server_lock)
        server_lock.acquire()
        users = open_lock_file(self.data / "users.lock")
        try:
            order = {
                "command": self._command(tree, runtime),
                "environment": _environment(),
                "users": users,
                "server": server_lock.fileno(),
                "runtime": str(runtime),
                "account": self.account,
            }
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            log = os.open(logs / "start.log", flags, 0o600)
            with os.fdopen(log, "wb") as errors:
                subprocess.run(
                    [sys.executable, "-I", "-S", keeper.__file__, json.dumps(order)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=[users, server_lock.fileno()],
                    check=True,
                )
        finally:
            os.close(users)
            server_lock.release()

    def _command(self, tree: Tree, runtime: Path) -> list[str]:
        options = {
            "listen_addresses": "" if self._port is None else "127.0.0.1,::1",
            "port": str(self._port or 5432),
            "unix_socket_directories": str(runtime),
            "unix_socket_permissions": "0700",
            "logging_collector": "on",
            "log_directory": str(self.data / "log"),
            **self._settings,
        }
        if tree.major >= 18:
            options["extension_control_path"] = f"$system:{tree.extensions}"
        command = [str(tree.bin / "postgres"), "-D", str(self._cluster)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _await_ready(self) -> bool:
        """Wait until the server takes connections.

        Recovery after a crash takes as long as it takes while it moves.

        Returns:
            False where no server of ours lives.
        """
        moved, last = time.monotonic(), self._signs_of_life()
        while is_locked(self._server_lock):
            known = postmaster.recorded(self._cluster)
            if known is not None and known.ready and postmaster.serves(known.pid, self._cluster):
                self._known = known
                return True
            if (now := self._signs_of_life()) != last:
                moved, last = time.monotonic(), now
            if time.monotonic() - moved > STALLED:
                raise ServerStartError(
                    f"the server on {self.data} has not become ready, nor moved for "
                    f"{STALLED:.0f} s: {self._first_words()}",
                    hint=f"see the files in {self.data / 'log'}",
                )
            time.sleep(_POLL)
        return False

    def _signs_of_life(self) -> tuple[object, ...]:
        """Changes while the server starts: it logs its progress every ten seconds."""
        watched = [*(self.data / "log").glob("*"), self._cluster / "global" / "pg_control"]
        states = [path.stat() for path in watched if path.exists()]
        return tuple((state.st_size, state.st_mtime_ns) for state in states)

    def _first_words(self) -> str:
        """What a failed server said: errors before its log collector began, and after."""
        logs = sorted((self.data / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        lines = [line for path in logs for line in path.read_text("utf-8", "replace").splitlines()]
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return " / ".join(fatal[-2:] or lines[-3:]) or "it said nothing"

    def _check_port(self) -> None:
        known = self._found()
        if self._port is not None and (known.port != self._port or not known.addresses):
            raise ServerStartError(
                f"the server on {self.data} runs already, without TCP port {self._port}",
                hint="stop what uses it, or connect through its socket",
            )

    # the rest

    @property
    def _cluster(self) -> Path:
        return self.data / "postgres"

    @property
    def _server_lock(self) -> Path:
        return self.data / "server.lock"

    def _server_account(self) -> Account:
        if self._account is None:
            self._account = server_account()
        return self._account

    def _found(self) -> postmaster.Postmaster:
        if self._known is None:
            raise ServerStartError(f"the server on {self.data} is not started")
        return self._known

    def _shut_down(self) -> None:
        pid = postmaster.recorded_pid(self._cluster)
        if pid is not None and postmaster.serves(pid, self._cluster):
            os.kill(pid, signal.SIGINT)


def _environment() -> dict[str, str]:
    """Of the server: nothing of ours (PGPORT, PGDATA, LANG ...) may steer it."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
    return {"LC_ALL": "C", **kept}
