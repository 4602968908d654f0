"""What ``voxprint doctor`` looks at: each check says what it found and how to mend it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voxprint.errors import DecodeError, VoxprintError

if TYPE_CHECKING:
    from voxprint.api import Voxprint


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; ``mend`` is empty where ``ok``."""

    name: str
    ok: bool
    found: str
    mend: str = ""


def run_checks(data: str | None, dsn: str | None) -> Iterator[Check]:
    """Yield every check in the order in which the parts build on each other.

    The database is looked at as a command would use it: the server of ``data`` is joined, or
    started for the length of the check; a folder that is not there is not made.
    """
    yield _check("Python", _python)
    yield _check("packages", _packages)
    yield _check("encoder", _encoder)
    if dsn is None:
        yield _check("PostgreSQL programs", _programs)
    yield from _database(data, dsn)


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except VoxprintError as error:
        return Check(name, False, str(error), error.hint or "see the message")


def _python() -> str:
    kind, version = platform.libc_ver()
    if sys.platform == "linux" and kind == "glibc":
        if tuple(map(int, version.split(".")[:2])) < (2, 28):
            raise VoxprintError(
                f"glibc 2.28 or newer is expected, this is {version}",
                hint="use a system of 2019 or later",
            )
        return f"{platform.python_version()}, glibc {version}"
    if sys.platform == "linux":
        raise VoxprintError(
            "glibc is expected, this system has another C library",
            hint="use a system with glibc (Debian, Ubuntu, Fedora, ...)",
        )
    return f"{platform.python_version()}, {platform.platform()}"


def _packages() -> str:
    needed = ("av", "numpy", "onnx", "onnxruntime", "psycopg", "psycopg_pool", "soxr")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise VoxprintError(
            f"these packages are not installed: {', '.join(missing)}",
            hint="run make in the checkout, or pip install it again",
        )
    demo = importlib.util.find_spec("espeakng_loader") is not None
    return f"{', '.join(needed)}; synthetic voices {'can' if demo else 'cannot'} be spoken"


def _encoder() -> str:
    from voxprint.encoder.embedder import Encoder
    from voxprint.encoder.sources import is_fetched
    from voxprint.encoder.spec import find_model
    from voxprint.errors import ModelFileError

    spec = find_model()
    if not is_fetched(spec):
        raise ModelFileError(
            f"the network of {spec.name} has not been fetched", hint="voxprint model fetch"
        )
    return f"{Encoder(spec).spec.name} loads"


def _programs() -> str:
    from voxprint.db.account import server_account
    from voxprint.db.tree import server_tree

    account = server_account()
    tree = server_tree(account)
    return f"PostgreSQL {tree.version}, run as {account.name}; psql, pg_dump: {tree.bin}"


def _database(data: str | None, dsn: str | None) -> Iterator[Check]:
    from voxprint import api
    from voxprint.encoder.sources import is_fetched
    from voxprint.encoder.spec import find_model
    from voxprint.worker.supervisor import Worker

    if dsn is not None:
        yield from _gallery("your PostgreSQL", dsn, with_worker=True)
        return
    name = "embedded PostgreSQL"
    with ExitStack() as stack:
        try:
            server = api.embedded_server(data)
            if not server.data.exists():
                yield Check(name, True, f"{server.data} is not there yet: the first use makes it")
                return
            stack.callback(server.stop)
            server.join_or_start()
            # A worker without an encoder would fetch one: a check changes nothing.
            with_worker = is_fetched(find_model())
            if with_worker:
                name = "worker"
                stack.enter_context(Worker(server))
        except VoxprintError as error:
            yield Check(name, False, str(error), error.hint or "see the message")
            return
        yield from _gallery("embedded PostgreSQL", server.conninfo(), with_worker=with_worker)


def _gallery(name: str, dsn: str, *, with_worker: bool) -> Iterator[Check]:
    from voxprint import api

    try:
        gallery = api.open(dsn=dsn)
    except VoxprintError as error:
        yield Check(name, False, str(error), error.hint or "see the message")
        return
    with gallery:
        yield Check(name, True, f"answers; {len(gallery.speakers())} speakers are enrolled")
        yield _check("dblink", lambda: _dblink(gallery))
        if with_worker:
            yield _check("worker", lambda: _worker(gallery))


def _dblink(gallery: Voxprint) -> str:
    """Say who may use it; a server of yours may need it open, so that is no fault."""
    from voxprint.db.connection import pinned
    from voxprint.db.dblink import WARNING, is_open_to_public

    with gallery.connection() as connection, pinned(connection):
        return WARNING if is_open_to_public(connection) else "closed to ordinary roles"


def _worker(gallery: Voxprint) -> str:
    """Ask the worker about bytes that are no audio: that it refuses them shows that it works."""
    from voxprint.db.connection import pinned

    try:
        with gallery.connection() as connection, pinned(connection):
            connection.execute("SELECT voxprint.compare('no audio'::bytea, 'none'::bytea)")
    except DecodeError:
        return "answers"
    raise VoxprintError("the worker took bytes for audio that are none")
