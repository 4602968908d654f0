"""One client of the front: who it is, what it asks, what it gets."""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import re
import struct
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from voxprint.worker import scram, wire
from voxprint.worker.budget import Budget
from voxprint.worker.dispatch import Dispatch, Key, Row
from voxprint.worker.settings import COLUMNS, USER
from voxprint.worker.wire import ProtocolError, Refusal, Session

_CHUNK = 256 * 1024
_MAX_PASSWORD = 2_000
_MAX_COMMAND = 16 * 1024
_MAX_MESSAGE = 1 << 30
_BODY_SECONDS = 60.0
_IDLE_SECONDS = 300.0
_COMMAND = re.compile(rb"\s*(RUN|FILE|GET) ([A-Za-z0-9_.+-]{1,64}) (mix|\d{1,3}) ")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_MODEL_COLUMNS = ("name", "dim", "spec_hash", "threshold")
_GREETING = {
    "server_version": "16.0 (voxprint)",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}


@dataclass(frozen=True, slots=True)
class Gate:
    """What every session of a front shares.

    Attributes:
        verifier: of the one user.
        decoy_secret: random, makes the salts of unknown users.
        max_bytes: largest audio.
        budget: bytes of audio that all sessions together may hold.
        media: True where FILE is switched on.
        tls_only: True where a client must come encrypted.
    """

    dispatch: Dispatch
    verifier: scram.Verifier
    decoy_secret: bytes
    max_bytes: int
    budget: Budget
    media: bool
    tls_only: bool


async def authenticate(session: Session, gate: Gate) -> None:
    """SCRAM, always: dblink lets an ordinary role connect only where a password was asked.

    Raises:
        Refusal: the client is not who it says it is.
        ProtocolError: it does not speak SCRAM.
    """
    if gate.tls_only and not session.encrypted:
        raise Refusal(
            "28000", "the worker takes encrypted connections only", "Use sslmode=require."
        )
    user = session.parameters.get("user", "")
    known = user == USER
    verifier = gate.verifier if known else gate.verifier.decoy(user, gate.decoy_secret)
    exchange = scram.Exchange(verifier)
    try:
        await session.send(wire.authentication_sasl(scram.MECHANISM))
        answer = exchange.first(_initial_response(await _password_message(session)))
        await session.send(wire.authentication_continue(answer))
        final = exchange.final(await _password_message(session))
    except scram.WrongProof:
        raise Refusal("28P01", f'password authentication failed for user "{user[:64]}"') from None
    except scram.ScramError as fault:
        raise Refusal("08P01", str(fault)) from None
    await session.send(wire.authentication_final(final), wire.authentication_ok())


async def _password_message(session: Session) -> bytes:
    kind, length = await session.header()
    if kind != b"p":
        raise ProtocolError(f"expected a SASL message, got {kind!r}")
    return await session.body(length, _MAX_PASSWORD)


def _initial_response(body: bytes) -> bytes:
    mechanism, separator, rest = body.partition(b"\0")
    if mechanism.decode("ascii", "replace") != scram.MECHANISM:
        raise scram.ScramError(f"the client chose another SASL mechanism than {scram.MECHANISM}")
    if not separator or len(rest) < 4 or struct.unpack("!i", rest[:4])[0] != len(rest) - 4:
        raise scram.ScramError("malformed SASL message")
    return rest[4:]


class Conversation:
    """The queries of one authenticated client, one after the other.

    Args:
        session: after :func:`authenticate`.
        cancelled: set from outside when the client sent a cancel request.
    """

    def __init__(self, session: Session, gate: Gate) -> None:
        self._session = session
        self._gate = gate
        self._skip_to_sync = False
        self.cancelled = asyncio.Event()

    async def run(self, pid: int, secret: int) -> None:
        """Answer queries until the client terminates.

        Raises:
            ProtocolError: the client does not speak the protocol.
            asyncio.IncompleteReadError, ConnectionError: it has gone.
            TimeoutError: it said nothing for too long.
        """
        greeting = wire.parameter_status(_GREETING)
        await self._session.send(greeting, wire.backend_key(pid, secret), wire.ready())
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                kind, length = await self._session.header()
            if kind == b"X":
                return
            await self._message(kind, length)

    async def _message(self, kind: bytes, length: int) -> None:
        if length > _MAX_MESSAGE:
            raise ProtocolError(f"a message of {length} bytes is over the limit")
        if kind == b"Q":
            self.cancelled.clear()
            try:
                answer = await self._query(length)
            except Refusal as fault:
                answer = wire.error(fault)
            await self._session.send(answer, wire.ready())
            return
        await self._discard(length)
        if kind == b"S":
            self._skip_to_sync = False
            await self._session.send(wire.ready())
        elif kind in b"PBDEC" and not self._skip_to_sync:
            self._skip_to_sync = True
            hint = "The worker answers simple queries only."
            refusal = Refusal("0A000", "the extended query protocol is not supported", hint)
            await self._session.send(wire.error(refusal))
        elif kind not in b"PBDECHFdcf":
            raise ProtocolError(f"unexpected message type {kind!r}")

    async def _query(self, length: int) -> bytes:
        """Read one query of ``length`` bytes to its end and answer it."""
        head = await self._session.reader.readexactly(min(length, _CHUNK))
        match = _COMMAND.match(head)
        rest = length - len(head)
        if match is None:
            await self._discard(rest)
            return self._plain(head[:_MAX_COMMAND])
        verb, model, channel = (match[n].decode() for n in (1, 2, 3))
        if verb == "RUN":
            row = await self._run(model, channel, head, match.end(), length)
            return wire.rows(COLUMNS, [row])
        await self._discard(rest)
        argument = head[match.end() :].rstrip(b"\0; \n")
        if rest or len(argument) > _MAX_COMMAND or not _HEX.fullmatch(argument):
            raise _malformed(verb)
        found = await self._get_or_file(verb, model, channel, argument)
        return wire.rows(COLUMNS, [] if found is None else [found])

    async def _get_or_file(
        self, verb: str, model: str, channel: str, argument: bytes
    ) -> Row | None:
        dispatch = self._gate.dispatch
        if verb == "GET":
            if len(argument) != 64:
                raise _malformed(verb)
            return await self._unless_gone(
                dispatch.known((model, channel, argument.decode().lower()))
            )
        if not self._gate.media:
            raise Refusal(
                "VX006",
                "the worker reads no files",
                "Pass the audio as bytea, or start the worker with --media FOLDER.",
            )
        head = {"model": model, "channel": channel, "path": argument.decode()}
        return await self._unless_gone(dispatch.run(None, head, bytearray()))

    async def _run(self, model: str, channel: str, head: bytes, start: int, length: int) -> Row:
        """Take the audio, decoding its hex on the way, and have it embedded."""
        digits = length - start - 1
        if digits > 2 * self._gate.max_bytes:
            await self._discard(length - len(head))
            raise Refusal(
                "VX014",
                f"expected audio of at most {self._gate.max_bytes} bytes, got {digits // 2}",
                "Send a shorter or compressed recording, or raise the worker's limit.",
            )
        async with self._gate.budget.of(digits // 2), asyncio.timeout(_BODY_SECONDS) as limit:
            audio, digest = await self._audio(head[start:], length - len(head), digits)
            limit.reschedule(None)
            key: Key = (model, channel, digest)
            job = {"model": model, "channel": channel}
            row = await self._unless_gone(self._gate.dispatch.run(key, job, audio))
        if row is None:  # only GET gives no row
            raise ConnectionError
        return row

    async def _audio(self, first: bytes, rest: int, digits: int) -> tuple[bytearray, str]:
        """The audio of a RUN and its sha256; the message is read to its end in any case."""
        audio, at = bytearray(digits // 2), 0
        digest = hashlib.sha256()
        chunk, good = first, digits % 2 == 0
        while True:
            last = not rest
            text = chunk[:-1] if last and chunk[-1:] == b"\0" else chunk
            even = len(text) if last else len(text) & ~1
            try:
                decoded = binascii.unhexlify(text[:even]) if good else b""
            except binascii.Error:
                good, decoded = False, b""
            if good:
                audio[at : at + len(decoded)] = decoded
                at += len(decoded)
                digest.update(decoded)
            if last:
                break
            more = await self._read(rest)
            rest -= len(more)
            chunk = text[even:] + more
        if not good or at != len(audio):
            raise _malformed("RUN")
        return audio, digest.hexdigest()

    async def _read(self, rest: int) -> bytes:
        data = await self._session.reader.read(min(rest, _CHUNK))
        if not data:
            raise asyncio.IncompleteReadError(b"", rest)
        return data

    async def _discard(self, rest: int) -> None:
        """Read past what is not wanted, so that the client can read our answer."""
        async with asyncio.timeout(_BODY_SECONDS):
            while rest:
                rest -= len(await self._read(rest))

    async def _unless_gone(self, work: Coroutine[Any, Any, Row | None]) -> Row | None:
        """The result of ``work``, which ends with the client or with its cancel request."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._session.reader.gone.wait())
        cancel = asyncio.ensure_future(self.cancelled.wait())
        try:
            await asyncio.wait({task, gone, cancel}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise ConnectionResetError
            raise Refusal("57014", "canceling statement due to user request")
        finally:
            for pending in (task, gone, cancel):
                pending.cancel()

    def _plain(self, text: bytes) -> bytes:
        """Answer the commands that need no computing, and what drivers say by themselves."""
        words = text.rstrip(b"\0; \r\n\t").decode("utf-8", "replace").upper().split()
        match words:
            case []:
                return wire.empty_query()
            case ["PING"]:
                return wire.rows(["ping"], [["pong"]])
            case ["MODELS"]:
                return wire.rows(_MODEL_COLUMNS, self._models())
            case ["STATUS"]:
                counts = {**self._gate.dispatch.status(), "bytes": self._gate.budget.used}
                return wire.rows(["name", "value"], [[n, str(v)] for n, v in counts.items()])
            case ["SHOW", name]:
                value = {k.upper(): v for k, v in _GREETING.items()}.get(name, "")
                return wire.rows([name.lower()], [[value]])
            case ["BEGIN" | "COMMIT" | "ROLLBACK" | "SET" | "RESET" | "DISCARD" as verb, *_]:
                return wire.command_complete(verb)
        raise Refusal(
            "42601",
            "expected PING, MODELS, STATUS, GET, RUN or FILE",
            "This is a voxprint worker, not a database; call it through extension open_analytic.",
        )

    def _models(self) -> Sequence[Row]:
        if self._gate.dispatch.models is None:
            raise Refusal("VX010", "the worker is still starting", "Try again in a few seconds.")
        return self._gate.dispatch.models


def _malformed(verb: str) -> Refusal:
    argument = {"RUN": "AUDIO_AS_HEX", "GET": "SHA256_AS_HEX", "FILE": "PATH_AS_HEX"}[verb]
    return Refusal("VX006", f"expected {verb} MODEL CHANNEL {argument}, got something else")
