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
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.conninfo import make_conninfo

from voxprint.db import keeper, postmaster
from voxprint.db.account import Account, server_account
from voxprint.db.cluster import Cluster, server_environment
from voxprint.db.connection import CONNECT_TIMEOUT
from voxprint.db.install import prepare_server
from voxprint.db.locks import FileLock, is_locked, open_lock_file
from voxprint.db.runtime import runtime_folder
from voxprint.db.settings import DATABASE, SUPERUSER, default_data
from voxprint.db.tree import Tree, psql_path, server_tree
from voxprint.errors import ServerStartError

__all__ = ["Server", "default_data", "psql_path"]

#: Seconds without any sign of progress after which a starting server is given up. (A stopping one
#: gets a little less, from its keeper.)
STALLED = 150.0
#: The same for a server that calls itself ready and cannot be reached.
UNREACHABLE = 30.0

_POLL = 0.02
#: Seconds in which a living keeper notices that nobody uses the server any more.
_KEEPER_NOTICES = 1.0


class Server:
    """The embedded server of one data folder, shared by all processes that use the folder.

    Args:
        data: folder of the database, made where it is missing (see :func:`default_data`).
        port: TCP port on 127.0.0.1; None for the unix socket alone.
        settings: PostgreSQL settings for a server that we start, e.g. ``{"fsync": "off"}``
            for one whose data nobody will miss.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data = Path(data).expanduser().resolve()
        self._port = port
        self._settings = dict(settings or {})
        self._users = FileLock(self.data / "users.lock")
        self._server_lock = self.data / "server.lock"
        self._known: postmaster.Postmaster | None = None

    # what callers ask

    @property
    def account(self) -> tuple[int, int] | None:
        """(uid, gid) of the server where it is not our own account (we are root), else None."""
        account = server_account()
        return (account.uid, account.gid) if account.switch else None

    @property
    def running(self) -> bool:
        """Whether a server of ours takes connections on this data folder."""
        known = postmaster.recorded(self.data / "postgres")
        return known is not None and known.ready and is_locked(self._server_lock)

    @property
    def psql(self) -> Path:
        """The psql that belongs to the server."""
        return psql_path()

    @property
    def worker_dir(self) -> Path:
        """Folder for a worker's socket: private, and reachable by the server."""
        return Path(self._found().sockets) / "worker"

    def conninfo(self, dbname: str = DATABASE, user: str = SUPERUSER, password: str = "") -> str:
        """A libpq connection string over the unix socket; the superuser needs no password."""
        known = self._found()
        secret = {"password": password} if password else {}
        return make_conninfo(
            host=known.sockets, port=str(known.port), user=user, dbname=dbname, **secret
        )

    # life

    def __enter__(self) -> Self:
        """Join or start."""
        self.join_or_start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave."""
        self.stop()

    def join_or_start(self) -> bool:
        """Join the running server of this data folder, or start one.

        Returns when the server takes connections and its databases hold the extensions. It
        runs until its last user has called :meth:`stop` or has ended.

        Returns:
            True where a running server was joined.

        Raises:
            ServerStartError: the folder cannot be used (the message says why), or PostgreSQL
                does not start.
            ExtensionVersionError: the database was made by a newer voxprint.
        """
        try:
            return self._join_or_start()
        except OSError as problem:
            self._users.release()
            raise ServerStartError(
                f"the data folder {self.data} cannot be used: {problem}",
                hint="give a folder that you may write to, with room on its disk",
            ) from problem
        except BaseException:
            self._users.release()
            raise

    def start(self) -> None:
        """Start the server; as :meth:`join_or_start`, but a running one is an error."""
        if self.join_or_start():
            self.stop()
            raise ServerStartError(f"a server of voxprint runs on {self.data} already")

    def stop(self) -> None:
        """Leave the server; the last user's leaving shuts it down, and waits for that."""
        if not self._users.held:
            return
        self._users.release()
        known, self._known = self._known, None
        patience = time.monotonic() + _KEEPER_NOTICES
        while is_locked(self._server_lock):
            probe = FileLock(self.data / "users.lock")
            alone = probe.acquire(wait=False)
            others = not alone and probe.acquire(shared=True, wait=False)
            probe.release()
            if others:
                return  # whoever leaves last shuts it down
            if alone and time.monotonic() > patience:  # the keeper was killed
                self._shut_down()
                patience = float("inf")
            time.sleep(_POLL)
        ended = FileLock(self._server_lock)
        remains = known is not None and Path(known.sockets).exists()
        if known is not None and remains and ended.acquire(wait=False):  # nobody starts another one
            _run_keeper({"runtime": known.sockets, "account": self.account})
        ended.release()

    # how

    def _join_or_start(self) -> bool:
        account = server_account()
        cluster = Cluster(self.data, account)
        cluster.make_folder()
        starting = FileLock(self.data / "start.lock")  # its holder may wait for recovery
        self._await_lock(starting, cluster)
        try:
            self._await_lock(self._users, cluster, shared=True)
            joined = self._await_ready(cluster)
            if not joined:
                tree = server_tree(account)
                cluster.prepare(tree, durable=self._settings.get("fsync") != "off")
                self._launch(cluster, account, tree)
                if not self._await_ready(cluster):
                    raise ServerStartError(
                        f"PostgreSQL does not start on {self.data}: {cluster.first_words()}",
                        hint=f"see the files in {cluster.logs}",
                    )
            self._check_port()
            prepare_server(self.conninfo)
        finally:
            starting.release()
        return joined

    def _await_lock(self, lock: FileLock, cluster: Cluster, *, shared: bool = False) -> None:
        """Take a lock, which another process holds no longer than it starts or stops a server."""
        moved, last = time.monotonic(), cluster.signs_of_life()
        while not lock.acquire(shared=shared, wait=False):
            if (now := cluster.signs_of_life()) != last:
                moved, last = time.monotonic(), now
            if time.monotonic() - moved > STALLED:
                raise ServerStartError(
                    f"another process has held {lock.path} for {STALLED:.0f} s and does not move",
                    hint=f"see who holds it (lsof {lock.path}), and end that process",
                )
            time.sleep(_POLL)

    def _launch(self, cluster: Cluster, account: Account, tree: Tree) -> None:
        """Start the keeper, and the server under it, with the locks that they shall hold."""
        runtime = runtime_folder(self.data, account)
        server_lock = FileLock(self._server_lock)
        self._await_lock(server_lock, cluster)
        users = open_lock_file(self.data / "users.lock")
        try:
            order = {
                "command": self._command(cluster, tree, runtime),
                "environment": server_environment(),
                "users": users,
                "server": server_lock.fileno(),
                "log": str(cluster.logs / "start.log"),
                "runtime": str(runtime),
                "account": self.account,
            }
            _run_keeper(order, [users, server_lock.fileno()])
        finally:
            os.close(users)
            server_lock.release()

    def _command(self, cluster: Cluster, tree: Tree, runtime: Path) -> list[str]:
        options = {
            "listen_addresses": "" if self._port is None else "127.0.0.1",
            "port": str(self._port or 5432),
            "unix_socket_directories": str(runtime),
            "unix_socket_permissions": "0700",
            "logging_collector": "on",
            "log_directory": str(cluster.logs),
            **self._settings,
        }
        if tree.major >= 18:
            options["extension_control_path"] = f"$system:{tree.extensions}"
        command = [str(tree.bin / "postgres"), "-D", str(cluster.path)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _await_ready(self, cluster: Cluster) -> bool:
        """Wait until the server takes connections; recovery may last while it moves.

        Returns:
            False where no server of ours lives.
        """
        moved, last, trouble = time.monotonic(), cluster.signs_of_life(), ""
        while is_locked(self._server_lock):
            self._known = known = postmaster.recorded(cluster.path)
            if known is not None and known.ready:
                trouble = self._refusal(known, cluster)
                if not trouble:
                    return True
            if (now := cluster.signs_of_life()) != last:
                moved, last = time.monotonic(), now
            if time.monotonic() - moved > (UNREACHABLE if trouble else STALLED):
                raise ServerStartError(
                    f"the server on {self.data} has not become ready and does not move: "
                    f"{trouble or cluster.first_words()}",
                    hint=f"see the files in {cluster.logs}; end what still uses the folder",
                )
            time.sleep(_POLL)
        self._known = None
        return False

    def _refusal(self, known: postmaster.Postmaster, cluster: Cluster) -> str:
        """Why a server that calls itself ready takes no connection; empty where it does."""
        if not postmaster.serves(known.pid, cluster.path):
            return f"its process {known.pid} has ended or runs in another container"
        try:
            psycopg.connect(self.conninfo("postgres"), connect_timeout=CONNECT_TIMEOUT).close()
        except psycopg.OperationalError as error:  # killed this moment, say
            return str(error)
        return ""

    def _check_port(self) -> None:
        known = self._found()
        if self._port is not None and (known.port != self._port or not known.addresses):
            raise ServerStartError(
                f"the server on {self.data} runs already, without TCP port {self._port}",
                hint="stop what uses it, or connect through its socket",
            )

    def _found(self) -> postmaster.Postmaster:
        if self._known is None:
            raise ServerStartError(f"the server on {self.data} is not started")
        return self._known

    def _shut_down(self) -> None:
        """Do the work of a keeper that was killed."""
        cluster = self.data / "postgres"
        pid = postmaster.recorded_pid(cluster)
        if pid is not None and postmaster.serves(pid, cluster):
            os.kill(pid, signal.SIGINT)


def _run_keeper(order: dict[str, Any], locks: Sequence[int] = ()) -> None:
    """Run the script ``keeper.py`` until it has done its work or has become a daemon."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", keeper.__file__, json.dumps(order)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=locks,
        text=True,
        errors="replace",
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ServerStartError(
            f"the server's keeper cannot do its work: {said[0]}",
            hint="the folders below the data folder must belong to the account of the server",
        )
