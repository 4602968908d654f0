"""Bytes that no driver sends, straight into the front's socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import psycopg
import pytest
from worker_client import Calls, Kin, status, wait_for

from voxprint.worker.supervisor import Worker

Wires = Callable[[], socket.socket]


@pytest.fixture
def wires(worker: Worker) -> Iterator[Wires]:
    with ExitStack() as stack:

        def connect() -> socket.socket:
            wire = stack.enter_context(socket.socket(socket.AF_UNIX))
            wire.settimeout(30)
            wire.connect(str(worker.address.socket_path))
            return wire

        yield connect


def startup(body: bytes, version: int = 196608) -> bytes:
    return struct.pack("!II", len(body) + 8, version) + body


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def everything(wire: socket.socket) -> bytes:
    """What the front says until it hangs up."""
    said = b""
    with suppress(ConnectionResetError):
        while piece := wire.recv(65536):
            said += piece
    return said


GOOD = startup(b"user\0voxprint_worker\0database\0worker\0\0")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: worker\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\0" * 64,
        b"\xff" * 64,
        startup(b"user\0x\0\0", version=131072),
        startup(b"x" * 9000),
        startup(b"user\0x"),
        struct.pack("!II", 10_001, 196608),
        struct.pack("!II", 1 << 31, 196608),
        struct.pack("!II", 7, 196608),
        struct.pack("!II", 8, 80877103) * 3,
        GOOD + message(b"Q", b"PING\0"),
        GOOD + message(b"p", b"SCRAM-SHA-256-PLUS\0\0\0\0\0"),
        GOOD + message(b"p", b"SCRAM-SHA-256\0\0\0\0\x09n,,n=,r="),
        GOOD + message(b"p", b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
        GOOD + b"p" + struct.pack("!I", 1 << 20),
        GOOD + b"p" + struct.pack("!I", 0),
    ],
)
def test_garbage_ends_the_connection_and_nothing_else(
    wires: Wires, calls: Calls, kin: Kin, garbage: bytes
) -> None:
    front = kin.front.pid
    wire = wires()
    wire.sendall(garbage)
    everything(wire)
    assert calls().execute("PING").fetchone() == ("pong",)
    assert kin.front.pid == front


def test_garbage_after_login_is_a_clear_error(calls: Calls) -> None:
    for garbage in (b"\x01\0\0\0\x04", b"Q\0\0\0\0", b"Q\xff\xff\xff\xff", b"?\0\0\0\x08abcd"):
        connection = calls()
        with socket.socket(fileno=socket.dup(connection.fileno())) as wire:
            wire.setblocking(True)
            wire.settimeout(30)
            wire.sendall(garbage)
            assert b"C08P01\0" in everything(wire)


def test_a_login_that_never_comes_is_ended(wires: Wires, calls: Calls) -> None:
    beginnings = [b"", GOOD[:3], GOOD[:12], GOOD, struct.pack("!II", 8, 80877103)]
    slow = [wires() for _ in beginnings]
    for wire, beginning in zip(slow, beginnings, strict=True):
        wire.sendall(beginning)
    with ThreadPoolExecutor(len(slow)) as pool:
        ended = pool.map(everything, slow)
        assert calls().execute("PING").fetchone() == ("pong",)
        list(ended)


def test_whoever_does_not_log_in_keeps_nobody_out(wires: Wires, login: str) -> None:
    silent = [wires() for _ in range(120)]  # more at once the kernel does not queue
    assert can_connect(login)
    silent[0].settimeout(2)  # sooner than the time to log in is over: it made room
    assert everything(silent[0]) == b""
    assert can_connect(login)


def test_many_connections_are_too_many_and_the_front_recovers(calls: Calls, login: str) -> None:
    watcher = calls()
    others = [calls() for _ in range(99)]
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        psycopg.connect(login)
    for connection in others:
        connection.close()
    wait_for(lambda: can_connect(login))
    assert status(watcher)["bytes"] == 0


def can_connect(login: str) -> bool:
    try:
        psycopg.connect(login).close()
    except psycopg.OperationalError:
        return False
    return True


def test_half_a_query_leaves_nothing(calls: Calls) -> None:
    watcher, connection = calls(), calls()
    announced = struct.pack("!I", 4 + 20_000_000)
    with socket.socket(fileno=socket.dup(connection.fileno())) as wire:
        wire.setblocking(True)
        wire.sendall(b"Q" + announced + b"RUN campplus_zh_en_192 mix " + b"00" * 300_000)
    wait_for(lambda: status(watcher)["bytes"] > 0)
    connection.close()
    wait_for(lambda: status(watcher)["bytes"] == 0)
