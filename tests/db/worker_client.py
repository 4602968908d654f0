"""Talking to a worker in the tests, watching its processes, and voices to send."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from talking import talk, wav

from voxprint.db.server import Server
from voxprint.worker.supervisor import Worker

MODEL = "campplus_zh_en_192"
PATIENCE = 60.0

Calls = Callable[[], psycopg.Connection]


def login_of(server: Server) -> str:
    """What a superuser can read of the worker's address and password."""
    with psycopg.connect(server.conninfo()) as connection:
        row = connection.execute(
            "SELECT srvoptions || umoptions FROM pg_foreign_server s"
            " JOIN pg_user_mappings m ON m.srvid = s.oid WHERE s.srvname = 'voxprint_worker'"
        ).fetchone()
    assert row is not None
    return make_conninfo(**dict(option.split("=", 1) for option in row[0]))


@dataclass(frozen=True)
class Kin:
    """Processes of one worker."""

    worker: Worker

    def _named(self, name: str) -> list[psutil.Process]:
        if sys.platform != "linux":
            pytest.skip("the worker's processes show what they are on Linux only")
        assert self.worker.pid is not None
        children = psutil.Process(self.worker.pid).children()
        alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        return [child for child in alive if child.name().startswith(f"vxp {name}")]

    def all(self) -> list[psutil.Process]:
        """Front and compute processes, and whatever else the worker may have forked."""
        return psutil.Process(self.worker.pid).children(recursive=True)

    def false_cancel(self, pid: int) -> None:
        """Ask for the end of a session's query without knowing its secret."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(self.worker.address.socket_path))
            wire.sendall(struct.pack("!IIII", 16, 80877102, pid, 0))
            assert wire.recv(1) == b""

    @property
    def front(self) -> psutil.Process:
        (front,) = wait_for(lambda: self._named("front"))
        return front

    @property
    def compute(self) -> list[psutil.Process]:
        return self._named("compute")

    def stop_compute(self) -> list[psutil.Process]:
        """Freeze all compute processes; jobs that they are given stay under way."""
        frozen = self.compute
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        return frozen

    def resume_compute(self) -> None:
        for process in self.compute:
            process.send_signal(signal.SIGCONT)


def whole(calls: Calls) -> None:
    """Wait until every compute process waits for work."""
    expected = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    connection = calls()
    wait_for(lambda: status(connection)["idle"] == expected)


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return result


def status(connection: psycopg.Connection) -> dict[str, int]:
    return {name: int(value) for name, value in connection.execute("STATUS").fetchall()}


def run(connection: psycopg.Connection, audio: bytes, channel: str = "mix") -> dict[str, str]:
    """RUN and the columns of its answer."""
    cursor = connection.execute(f"RUN {MODEL} {channel} {audio.hex()}".encode())
    return named(cursor)


def named(cursor: psycopg.Cursor) -> dict[str, str]:
    row = cursor.fetchone()
    assert row is not None
    assert cursor.fetchone() is None
    assert cursor.description is not None
    return dict(zip([column.name for column in cursor.description], row, strict=True))


def vector(answer: dict[str, str]) -> np.ndarray:
    return np.array(json.loads(answer["embedding"]), dtype=np.float32)


def voice(seed: int, seconds: float = 1.0, *, padding: int = 0) -> bytes:
    """A WAV of a made-up voice, another for every seed.

    ``padding`` is the size of a chunk of zeros that players skip.
    """
    data = wav(talk(seed, seconds))
    if padding:
        chunk = b"JUNK" + padding.to_bytes(4, "little") + bytes(padding)
        riff = len(data) - 8 + len(chunk)
        data = data[:4] + riff.to_bytes(4, "little") + data[8:12] + chunk + data[12:]
    return data
