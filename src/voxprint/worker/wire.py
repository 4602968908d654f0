"""The slice of PostgreSQL's wire protocol 3.0 that a server of simple queries needs.

Reading: :func:`open_session` takes a fresh connection to its start-up packet,
:meth:`Session.header` and the reader take it from there. Writing: the functions at the end
give one message each as bytes. Source: PostgreSQL 18 documentation, chapter 54
"Frontend/Backend Protocol".
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_VERSION_3_0 = 3 << 16
_CANCEL = 80877102
_SSL = 80877103
_GSS = 80877104
_MAX_STARTUP = 10_000
_READ_AHEAD = 256 * 1024
_TEXT_OID = 25


class ProtocolError(Exception):
    """The client does not speak the protocol; the connection is of no further use."""


class Refusal(Exception):
    """What was asked is refused with an ErrorResponse.

    Attributes:
        sqlstate: five characters.
        message, hint, detail: as in PostgreSQL's messages; the last two may be empty.
    """

    def __init__(self, sqlstate: str, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.message = message
        self.hint = hint
        self.detail = detail


class Reader(asyncio.StreamReader):
    """A stream reader that also says, at once, when the other side has gone."""

    def __init__(self) -> None:
        super().__init__(limit=_READ_AHEAD)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        """Called by the transport at end of file."""
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        """Called by the transport when the connection broke."""
        super().set_exception(exc)
        self.gone.set()


@dataclass(frozen=True, slots=True)
class Cancel:
    """A connection that came only to cancel the query of another one."""

    pid: int
    secret: int


@dataclass(slots=True)
class Session:
    """A connection after its start-up packet.

    Attributes:
        parameters: what the client said at start-up (``user``, ``database``, ...).
        encrypted: True under TLS.
    """

    reader: Reader
    writer: asyncio.StreamWriter
    parameters: dict[str, str]
    encrypted: bool

    async def header(self) -> tuple[bytes, int]:
        """Type of the next message and the length of its body, which is still to be read."""
        kind, length = struct.unpack("!cI", await self.reader.readexactly(5))
        if length < 4:
            raise ProtocolError(f"invalid message length {length}")
        return kind, length - 4

    async def body(self, length: int, most: int) -> bytes:
        """A message body of at most ``most`` bytes."""
        if length > most:
            raise ProtocolError(f"a message of {length} bytes where at most {most} are expected")
        return await self.reader.readexactly(length)

    async def send(self, *messages: bytes) -> None:
        """Write messages and wait until the client takes them."""
        self.writer.write(b"".join(messages))
        await self.writer.drain()


async def open_session(sock: socket.socket, tls: ssl.SSLContext | None) -> Session | Cancel:
    """Read from a fresh connection up to and including the start-up packet.

    Before TLS nothing but the eight bytes that ask for it is taken from the socket, so
    nothing that a man in the middle appends to them is taken for the client's.

    Raises:
        ProtocolError: anything else than a start-up of protocol 3.
        EOFError, OSError: the client has gone.
    """
    loop = asyncio.get_running_loop()
    length, code = await _raw_header(sock)
    context = None
    offered: set[int] = set()
    while code in {_SSL, _GSS} and length == 8 and code not in offered:
        offered.add(code)
        if code == _SSL and tls is not None:
            context = tls
            await loop.sock_sendall(sock, b"S")
            break
        await loop.sock_sendall(sock, b"N")
        length, code = await _raw_header(sock)
    reader, writer = await connect(sock, context)
    if context is not None:
        length, code = struct.unpack("!II", await reader.readexactly(8))
    if not 8 <= length <= _MAX_STARTUP:
        raise ProtocolError(f"invalid length of the start-up packet: {length}")
    rest = await reader.readexactly(length - 8)
    if code == _CANCEL and len(rest) == 8:
        writer.close()
        return Cancel(*struct.unpack("!II", rest))
    if code >> 16 != _VERSION_3_0 >> 16:
        raise ProtocolError(f"unsupported protocol version {code >> 16}.{code & 0xFFFF}")
    parameters = _startup_parameters(rest)
    unknown = [name for name in parameters if name.startswith("_pq_.")]
    if code != _VERSION_3_0 or unknown:
        writer.write(_negotiate(unknown))
    return Session(reader, writer, parameters, context is not None)


async def connect(
    sock: socket.socket, tls: ssl.SSLContext | None = None
) -> tuple[Reader, asyncio.StreamWriter]:
    """Reader and writer of a connected socket, under TLS (as the server) if given."""
    loop = asyncio.get_running_loop()
    reader = Reader()
    transport, protocol = await loop.connect_accepted_socket(
        lambda: asyncio.StreamReaderProtocol(reader), sock, ssl=tls
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _raw_header(sock: socket.socket) -> tuple[int, int]:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < 8:
        chunk = await loop.sock_recv(sock, 8 - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    length, code = struct.unpack("!II", data)
    return length, code


def _startup_parameters(body: bytes) -> dict[str, str]:
    texts = body.split(b"\0")
    if len(texts) < 2 or texts[-2:] != [b"", b""] or len(texts) % 2:
        raise ProtocolError("malformed start-up packet")
    decoded = [text.decode("utf-8", "replace") for text in texts[:-2]]
    return dict(zip(decoded[::2], decoded[1::2], strict=True))


def _negotiate(unknown: Sequence[str]) -> bytes:
    names = b"".join(name.encode() + b"\0" for name in unknown)
    return _message(b"v", struct.pack("!II", _VERSION_3_0, len(unknown)) + names)


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def authentication_sasl(mechanism: str) -> bytes:
    """Ask the client for one SASL mechanism."""
    return _message(b"R", struct.pack("!I", 10) + mechanism.encode() + b"\0\0")


def authentication_continue(data: bytes) -> bytes:
    """The next step of SASL."""
    return _message(b"R", struct.pack("!I", 11) + data)


def authentication_final(data: bytes) -> bytes:
    """The last step of SASL."""
    return _message(b"R", struct.pack("!I", 12) + data)


def authentication_ok() -> bytes:
    """The client is who it says it is."""
    return _message(b"R", struct.pack("!I", 0))


def parameter_status(parameters: Mapping[str, str]) -> bytes:
    """Report settings that clients want to know."""
    return b"".join(
        _message(b"S", name.encode() + b"\0" + value.encode() + b"\0")
        for name, value in parameters.items()
    )


def backend_key(pid: int, secret: int) -> bytes:
    """What a client must say to cancel a query of this session."""
    return _message(b"K", struct.pack("!II", pid, secret))


def ready() -> bytes:
    """The next query may come; never inside a transaction."""
    return _message(b"Z", b"I")


def rows(columns: Sequence[str], values: Iterable[Sequence[str | None]]) -> bytes:
    """A whole result, all columns as text."""
    fields = b"".join(
        name.encode() + b"\0" + struct.pack("!IhIhih", 0, 0, _TEXT_OID, -1, -1, 0)
        for name in columns
    )
    count = struct.pack("!h", len(columns))
    data = [_message(b"D", count + b"".join(map(_field, row))) for row in values]
    description = _message(b"T", count + fields)
    return description + b"".join(data) + command_complete(f"SELECT {len(data)}")


def _field(value: str | None) -> bytes:
    if value is None:
        return struct.pack("!i", -1)
    encoded = value.encode()
    return struct.pack("!i", len(encoded)) + encoded


def command_complete(tag: str) -> bytes:
    """A command is done."""
    return _message(b"C", tag.encode() + b"\0")


def empty_query() -> bytes:
    """The query text was empty."""
    return _message(b"I")


def error(refusal: Refusal, severity: str = "ERROR") -> bytes:
    """An ErrorResponse; ``FATAL`` where the connection ends with it."""
    fields = [
        ("S", severity),
        ("V", severity),
        ("C", refusal.sqlstate),
        ("M", refusal.message),
        ("D", refusal.detail),
        ("H", refusal.hint),
    ]
    body = b"".join(
        key.encode() + value.replace("\0", "").encode("utf-8", "replace") + b"\0"
        for key, value in fields
        if value
    )
    return _message(b"E", body + b"\0")
