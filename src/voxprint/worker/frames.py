"""What front, compute and supervisor say to each other over their socket pairs.

Front and compute exchange *frames*: a small JSON object and raw bytes, both with their length
ahead; no pickles, so neither side can make the other build an object. Supervisor and front
exchange *notes*: one letter and the serial number of a connection to a compute process, with
that connection's descriptor where a new one is handed over.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

#: Notes. ``CONNECT`` comes with a descriptor; ``READY``, ``KILL`` and ``BEAT`` come from the front.
CONNECT, READY, KILL, BEAT = b"C", b"R", b"K", b"B"

_SIZES = struct.Struct("!II")
_NOTE = struct.Struct("!cI")
_MAX_HEAD = 256 * 1024
_CHUNK = 1024 * 1024

Head = dict[str, Any]


class FrameError(Exception):
    """The other side does not keep to the format."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A head (JSON object) and a body (raw bytes, often none)."""

    head: Head
    body: bytearray


def _start(head: Head, body_length: int) -> bytes:
    text = json.dumps(head).encode()
    return _SIZES.pack(len(text), body_length) + text


def _sizes(data: bytes | bytearray, max_body: int) -> tuple[int, int]:
    head, body = _SIZES.unpack(data)
    if head > _MAX_HEAD or body > max_body:
        raise FrameError(f"a frame of {head} + {body} bytes is over the limit")
    return head, body


def _head(data: bytes | bytearray) -> Head:
    try:
        head = json.loads(data)
    except ValueError:
        raise FrameError("the head of a frame is not JSON") from None
    if not isinstance(head, dict):
        raise FrameError("the head of a frame is not an object")
    return head


async def write_frame(writer: asyncio.StreamWriter, head: Head, body: bytes | bytearray) -> None:
    """Send one frame, at the other side's pace."""
    writer.write(_start(head, len(body)))
    whole = memoryview(body)
    for offset in range(0, len(body), _CHUNK):
        writer.write(bytes(whole[offset : offset + _CHUNK]))
        await writer.drain()
    await writer.drain()


async def read_head(reader: asyncio.StreamReader) -> Head:
    """The head of a frame that has no body.

    Raises:
        FrameError: not such a frame.
        asyncio.IncompleteReadError, ConnectionError: the other side has gone.
    """
    length, _ = _sizes(await reader.readexactly(_SIZES.size), max_body=0)
    return _head(await reader.readexactly(length))


def send_frame(sock: socket.socket, head: Head) -> None:
    """Send one frame without a body; blocks."""
    sock.sendall(_start(head, 0))


def receive_frame(sock: socket.socket, max_body: int) -> Frame | None:
    """The next frame, None at end of file; blocks.

    Raises:
        FrameError: a frame over the limits, or none.
    """
    sizes = _receive(sock, _SIZES.size)
    if sizes is None:
        return None
    head_length, body_length = _sizes(sizes, max_body)
    head = _receive(sock, head_length)
    body = _receive(sock, body_length)
    if head is None or body is None:
        return None
    return Frame(_head(head), body)


def _receive(sock: socket.socket, length: int) -> bytearray | None:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = sock.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return data


def send_note(
    sock: socket.socket, kind: bytes, serial: int = 0, carried: socket.socket | None = None
) -> None:
    """Send a note; never blocks where ``sock`` does not."""
    data = _NOTE.pack(kind, serial)
    if carried is None:
        sock.send(data)
    else:
        socket.send_fds(sock, [data], [carried.fileno()])


def receive_note(sock: socket.socket) -> tuple[bytes, int, socket.socket | None] | None:
    """The next note with the connection that it carries, None at end of file."""
    data, descriptors, _, _ = socket.recv_fds(sock, _NOTE.size, 1)
    if not data:
        return None
    carried = socket.socket(fileno=descriptors[0]) if descriptors else None
    if len(data) != _NOTE.size:
        raise FrameError("a broken note")
    kind, serial = _NOTE.unpack(data)
    return kind, serial, carried
