"""Starting a worker beside a database, and stopping it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from psycopg.conninfo import conninfo_to_dict

from voxprint.audio.decode import DEFAULT_LIMITS
from voxprint.db.account import server_account
from voxprint.db.locks import is_locked
from voxprint.encoder.spec import find_model, model_reference
from voxprint.errors import ModelFileError, UsageError, WorkerUnavailable
from voxprint.worker.parent import lock_path
from voxprint.worker.register import register
from voxprint.worker.scram import Verifier
from voxprint.worker.settings import Address, Settings, default_processes

if TYPE_CHECKING:
    from voxprint.db.server import Server

_PORT = 5432
_START_SECONDS = 300.0
_STOP_SECONDS = 10.0
_LOOPBACK = "127.0.0.1"
_SEE_STDERR = "What its processes wrote to standard error says more."
#: What the worker's processes may know of our environment: to find Python, weights and a package
#: index, and no more; foreign media are decoded in that memory.
_ENVIRONMENT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_", "TZ", "TMPDIR", "XDG_", "LD_LIBRARY_PATH"),
    *("PYTHON", "VIRTUAL_ENV", "VOXPRINT_WEIGHTS", "VOXPRINT_CACHE", "PIP_", "NETRC", "DYLD_"),
    *("SSL_CERT", "REQUESTS_CA", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)
_SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime starts a thread for it and calls its maker
    "OPENBLAS_NUM_THREADS": "1",  # a process has one core, and forks before it computes
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Site:
    """A database server and the place of its worker.

    Attributes:
        conninfo: of a superuser.
        address: where the worker listens, as the server reaches it.
        account: (uid, gid) that the worker runs as; None keeps ours.
        certificate, key: PEM files, for other addresses than this machine's.
    """

    conninfo: str
    address: Address
    account: tuple[int, int] | None = None
    certificate: str | None = None
    key: str | None = None


class Worker:
    """The worker of one database server; a context manager.

    Its processes run beside this one and end with it, however it ends. On an embedded server
    that has a worker already, this one joins it: it starts nothing and stops nothing.

    Args:
        place: an embedded server that runs, or a :class:`Site`.
        processes: compute processes; None for one per core.
        media: folder below which FILE requests may name files; None for no files at all.
        models: names or TOML files of the models to serve; none for ``VOXPRINT_MODEL``, or the
            default.
        weights: path of the weights, None for the usual places.
        max_bytes, max_seconds: largest and longest audio.
        job_seconds: longest time for one audio; after it the caller gets an error.
        beat_seconds: longest silence of the front; after it the front is started anew.

    Attributes:
        joined: True where another worker serves already.
    """

    def __init__(
        self,
        place: Server | Site,
        *,
        processes: int | None = None,
        media: str | os.PathLike[str] | None = None,
        models: Sequence[str] = (),
        weights: str | os.PathLike[str] | None = None,
        max_bytes: int = DEFAULT_LIMITS.max_bytes,
        max_seconds: float = DEFAULT_LIMITS.max_seconds,
        job_seconds: float = 120.0,
        beat_seconds: float = 5.0,
    ) -> None:
        self._site = place if isinstance(place, Site) else _site_of(place)
        _check_site(self._site)
        # Random, so one iteration is as safe as 4096, which a libpq without OpenSSL (such as
        # the embedded server's) spends 7 ms on, in every call.
        self._password = secrets.token_urlsafe(32)
        self._settings = Settings(
            address=self._site.address,
            verifier=str(Verifier.of(self._password, iterations=1)),
            processes=default_processes() if processes is None else processes,
            models=_references(models),
            weights=_absolute(os.environ.get("VOXPRINT_WEIGHTS") if weights is None else weights),
            account=self._site.account,
            media=None if media is None else str(_folder(media)),
            max_bytes=max_bytes,
            max_seconds=max_seconds,
            job_seconds=job_seconds,
            beat_seconds=beat_seconds,
            certificate=self._site.certificate,
            key=self._site.key,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.address = self._site.address
        self.joined = False

    @classmethod
    def for_dsn(
        cls,
        dsn: str,
        *,
        host: str | None = None,
        port: int | None = None,
        certificate: str | None = None,
        key: str | None = None,
        **options: Any,
    ) -> Self:
        """A worker for the user's own PostgreSQL.

        Args:
            dsn: a superuser's.
            host: address of this machine, as the database server reaches it; None for the
                loopback address, where the server is on this machine.
            port: TCP port; None for a free one.
            certificate, key: PEM files, needed unless ``host`` is a loopback address.
            options: as for the class.

        Raises:
            UsageError: the server is on another machine and no ``host`` was given, or no
                certificate was.
        """
        server_host = str(conninfo_to_dict(dsn).get("host") or os.environ.get("PGHOST") or "/")
        if host is None and not Address(server_host, 0).is_loopback:
            raise UsageError(
                f"expected the address at which {server_host} reaches this machine, got none",
                hint="Give --host, with --certificate and --key.",
            )
        account = server_account()
        site = Site(
            dsn,
            Address(host or _LOOPBACK, port or 0),
            (account.uid, account.gid) if account.switch else None,
            _absolute(certificate),
            _absolute(key),
        )
        return cls(site, **options)

    @property
    def running(self) -> bool:
        """Whether the worker (ours, or the one we joined) is there."""
        if self.joined:
            return is_locked(lock_path(self.address))
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the parent of all worker processes; None where none of ours runs."""
        return self._process.pid if self._process is not None and self.running else None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start the processes and tell the databases where they are.

        Returns when the first of them is ready for calls.

        Raises:
            ModelFileError: the weights cannot be had.
            WorkerUnavailable: the processes do not start; the message says why.
            DatabaseError: the worker cannot be registered.
        """
        self._process = self._spawn()
        try:
            words = self._first_words()
            if "busy" in words:
                self.joined = True
                self._end_process()
                return
            self.address = Address(self.address.host, int(words["port"]))
            sslmode = None if self.address.is_loopback else "require"
            register(self._site.conninfo, self.address, self._password, sslmode=sslmode)
        except BaseException:
            self._end_process()
            raise

    def stop(self) -> None:
        """Stop the processes that :meth:`start` started, and wait until they have ended."""
        self._end_process()
        self.joined = False

    def _spawn(self) -> subprocess.Popen[bytes]:
        """A fresh interpreter: this process may have threads, and those must not be forked."""
        environment = {
            name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)
        }
        if detector := _absolute(os.environ.get("VOXPRINT_VAD")):
            environment["VOXPRINT_VAD"] = detector
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "voxprint.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment | _SWITCHES,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(self._settings.to_json().encode() + b"\n")
                process.stdin.flush()
        return process

    def _first_words(self) -> dict[str, Any]:
        """What the parent process says: ready, busy, or why it cannot start."""
        process = self._process
        if process is None or process.stdout is None:
            raise WorkerUnavailable("the worker is not started")
        readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        line = process.stdout.readline() if readable else b""
        if not line:
            waited = "" if readable else f" within {_START_SECONDS:.0f} s"
            raise WorkerUnavailable(f"the worker did not become ready{waited}", hint=_SEE_STDERR)
        words: dict[str, Any] = json.loads(line)
        if "error" in words:
            kind = ModelFileError if words.get("code") == ModelFileError.code else WorkerUnavailable
            raise kind(
                f"the worker cannot start: {words['error']}", hint=words.get("hint") or _SEE_STDERR
            )
        return words

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # closes the pipes, whose end is the order to stop
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _site_of(server: Server) -> Site:
    address = Address(str(server.worker_dir), _PORT)
    return Site(server.conninfo(), address, server.account)


def _check_site(site: Site) -> None:
    address = site.address
    if address.host in {"0.0.0.0", "::", "*", ""}:  # noqa: S104  (refused here)
        raise UsageError(
            f"expected an address that the database server can reach, got {address.host!r}"
        )
    if not address.is_loopback and (site.certificate is None or site.key is None):
        raise UsageError(
            f"expected a certificate and its key to listen on {address.host}, got none",
            hint="Audio crosses the network there, so the worker speaks TLS only: give "
            "--certificate and --key.",
        )
    if os.geteuid() == 0 and site.account is None:
        raise UsageError("expected an account other than root for the worker, got none")


def _references(models: Sequence[str]) -> tuple[str, ...]:
    """The models as the worker's processes find them, each by a name of its own."""
    found = {model_reference(model): find_model(model).name for model in models or (None,)}
    names = sorted(found.values())
    if len({*names}) < len(names):
        raise UsageError(
            f"expected models of different names, got {', '.join(names)}",
            hint="SQL calls a model by the name in its file.",
        )
    return tuple(found)


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    """The same path from any working folder; addresses stay as they are."""
    if not path or "://" in os.fspath(path):
        return os.fspath(path) if path else None
    return str(Path(path).expanduser().absolute())


def _folder(media: str | os.PathLike[str]) -> Path:
    folder = Path(media).resolve()
    if not folder.is_dir():
        raise UsageError(f"expected a folder of audio files, got {os.fspath(media)!r}")
    return folder
