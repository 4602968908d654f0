"""The front process: takes calls over PostgreSQL's protocol and hands them to compute.

One event loop, no foreign media, no secrets but a SCRAM verifier. It lives and dies at the
supervisor's word: it beats so that a stopped one is noticed, and ends with the supervisor.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from voxprint.worker import frames, wire
from voxprint.worker.budget import Budget
from voxprint.worker.dispatch import Dispatch, Link
from voxprint.worker.scram import Verifier
from voxprint.worker.session import Conversation, Gate, authenticate
from voxprint.worker.settings import Settings
from voxprint.worker.wire import Cancel, ProtocolError, Refusal, open_session

_LOG = logging.getLogger("voxprint.worker")

_MAX_SESSIONS = 100
_LARGEST_AT_ONCE = 8
_MAX_STRANGERS = 32
_AUTHENTICATION_SECONDS = 3.0
_BEATS = 5
_STOPPING = Refusal("57P01", "the worker is stopping", "Try again when it is back.")


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The certificate to show; read before the account changes, as its key is private."""
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    return context


class Front:
    """Everything of the front process; :meth:`run` returns when it must end.

    Args:
        listener: bound and listening.
        supervisor: the socket on which notes come and go; closed by the other side at its end.
    """

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        supervisor: socket.socket,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._supervisor = supervisor
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._sessions: dict[int, tuple[int, Conversation]] = {}
        self._strangers: dict[int, asyncio.Timeout] = {}
        self._next_pid = 1
        self._end = asyncio.Event()
        self._dispatch = Dispatch(
            settings.job_seconds,
            settings.cache_seconds,
            kill=lambda serial: self._tell(frames.KILL, serial),
            ready=lambda serial: self._tell(frames.READY, serial),
        )
        self._gate = Gate(
            self._dispatch,
            Verifier.parse(settings.verifier),
            secrets.token_bytes(32),
            settings.max_bytes,
            Budget(_LARGEST_AT_ONCE * settings.max_bytes),
            media=settings.media is not None,
            tls_only=not settings.address.is_loopback,
        )

    async def run(self) -> None:
        """Serve until the supervisor says stop, or ends."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end.set)
        self._supervisor.setblocking(False)
        self._listener.setblocking(False)
        loop.add_reader(self._supervisor, self._note)
        self._beat()
        accepting = asyncio.create_task(self._accept())
        await self._end.wait()
        accepting.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _beat(self) -> None:
        self._tell(frames.BEAT, 0)
        loop = asyncio.get_running_loop()
        loop.call_later(self._settings.beat_seconds / _BEATS, self._beat)

    def _tell(self, kind: bytes, serial: int) -> None:
        try:
            frames.send_note(self._supervisor, kind, serial)
        except BlockingIOError:
            _LOG.warning("the supervisor does not read its notes")
        except OSError:
            self._end.set()

    def _note(self) -> None:
        try:
            note = frames.receive_note(self._supervisor)
        except BlockingIOError:
            return
        except OSError:
            note = None
        if note is None:
            self._end.set()
            return
        kind, serial, carried = note
        if kind == frames.CONNECT and carried is not None:
            carried.setblocking(False)
            self._start(self._attend(serial, carried))

    async def _attend(self, serial: int, sock: socket.socket) -> None:
        reader, writer = await wire.connect(sock)
        await self._dispatch.attend(Link(serial, reader, writer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            _LOG.error("internal error in the front: %r", fault, exc_info=fault)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(self._listener)
            except OSError as fault:  # out of descriptors, or the client was gone already
                _LOG.warning("a connection could not be accepted: %s", fault.strerror)
                await asyncio.sleep(0.1)
                continue
            sock.setblocking(False)
            self._start(self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        """One connection from its first byte to its last."""
        pid, secret = self._next_pid, secrets.randbits(32)
        self._next_pid = self._next_pid % 0x7FFFFFFF + 1
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_AUTHENTICATION_SECONDS) as limit:
                with self._stranger(pid, limit):
                    session = await open_session(sock, self._tls)
                    if isinstance(session, Cancel):
                        self._cancel(session)
                        return
                    writer = session.writer
                    await authenticate(session, self._gate)
                limit.reschedule(None)
                self._check_room()
                conversation = Conversation(session, self._gate)
                self._sessions[pid] = (secret, conversation)
                await conversation.run(pid, secret)
        except Refusal as refusal:
            await _farewell(writer, refusal)
        except ProtocolError as fault:
            await _farewell(writer, Refusal("08P01", str(fault)))
        except TimeoutError:
            await _farewell(writer, Refusal("57014", "the client took too long"))
        except asyncio.CancelledError:
            await _farewell(writer, _STOPPING)
        except (EOFError, OSError):
            pass  # the client has gone; there is nobody left to tell
        finally:
            self._sessions.pop(pid, None)
            if writer is None:
                sock.close()
            else:
                writer.close()

    @contextmanager
    def _stranger(self, pid: int, limit: asyncio.Timeout) -> Iterator[None]:
        """Whoever has not logged in must not keep out those who can: the oldest makes room."""
        while len(self._strangers) >= _MAX_STRANGERS:
            oldest = self._strangers.pop(next(iter(self._strangers)))
            oldest.reschedule(asyncio.get_running_loop().time())
        self._strangers[pid] = limit
        try:
            yield
        finally:
            self._strangers.pop(pid, None)

    def _check_room(self) -> None:
        if len(self._sessions) >= _MAX_SESSIONS:
            raise Refusal("53300", "the worker has too many connections", "Try again later.")

    def _cancel(self, request: Cancel) -> None:
        secret, conversation = self._sessions.get(request.pid, (None, None))
        if conversation is not None and secret == request.secret:
            conversation.cancelled.set()


async def _farewell(writer: asyncio.StreamWriter | None, refusal: Refusal) -> None:
    """Tell the client why its connection ends, if it still listens."""
    if writer is None or writer.is_closing():
        return
    writer.write(wire.error(refusal, "FATAL"))
    try:
        async with asyncio.timeout(1.0):
            await writer.drain()
    except (TimeoutError, OSError):
        writer.transport.abort()


def run(
    settings: Settings,
    listener: socket.socket,
    supervisor: socket.socket,
    confine: Callable[[], None],
) -> None:
    """The whole life of the front process; ``confine`` gives up its privileges."""
    tls = tls_context(settings)
    confine()

    async def serve() -> None:
        await Front(settings, listener, supervisor, tls).run()

    asyncio.run(serve())
