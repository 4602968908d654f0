"""The parent of front and compute: forks them, connects them, brings them back.

It has one thread, and imports everything that its children need before it forks: their account
may not be able to read the Python tree. It touches no foreign byte itself, so as root it keeps
root's rights, with which a replacement makes itself ready before it gives them up.

On macOS system libraries do not survive a fork once they are in use, so there the parent stays
bare and every child imports for itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxprint.db.locks import FileLock
from voxprint.errors import VoxprintError
from voxprint.worker import frames
from voxprint.worker.confine import Limits, confine
from voxprint.worker.settings import Address, Settings

_LOG = logging.getLogger("voxprint.worker")

_LONGEST_PAUSE = 5.0
_STABLE_SECONDS = 2.0
_HOPELESS = 3
_STOP_SECONDS = 3.0
_FRONT_DESCRIPTORS = 512
_COMPUTE_DESCRIPTORS = 64
#: Address space for a job: the network was seen to take 2.2 MB for every second of audio.
_MEMORY = 1 << 30
_MEMORY_A_SECOND = 3.5 * (1 << 20)


class Busy(Exception):
    """Another worker serves at this address."""


@dataclass(slots=True, eq=False)
class Child:
    """A place for one child process, whoever fills it at the moment.

    Attributes:
        pid: of the process, 0 while there is none.
        control: our end of the socket to it.
        serial: of its connection to the front (compute only).
        since: when it was forked.
        failures: how often in a row it ended soon after.
        due: when to fork the next one.
    """

    name: str
    pid: int = 0
    control: socket.socket | None = None
    serial: int = 0
    since: float = 0.0
    failures: int = 0
    due: float = 0.0

    def ended(self, now: float) -> None:
        """Plan the next fork: at once, and ever later where it keeps ending early."""
        if self.control is not None:
            self.control.close()
        stable = now - self.since > _STABLE_SECONDS
        self.failures = 0 if stable else self.failures + 1
        pause = 0.0 if self.failures <= 1 else min(_LONGEST_PAUSE, 0.1 * 2**self.failures)
        self.pid, self.control, self.serial, self.due = 0, None, 0, now + pause


@dataclass(slots=True)
class Parent:
    """The loop that keeps the children alive.

    Attributes:
        settings: for all of them.
        listener: bound and listening; survives every front.
        lifeline: readable (at its end) when whoever started us has gone.
        report: called once, with None when the first compute process is ready or with the
            reason why there never will be one.
        private: descriptors that no child may keep.
    """

    settings: Settings
    listener: socket.socket
    lifeline: int
    report: Callable[[str | None], None]
    private: list[int]
    _front: Child = field(default_factory=lambda: Child("front"))
    _compute: list[Child] = field(default_factory=list)
    _serial: int = 0
    _heard: float = 0.0
    _ready: bool = False
    _stopping: bool = False
    _pid: int = field(default_factory=os.getpid)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self) -> None:
        """Return when told to stop, when nobody wants us any more, or when it is hopeless."""
        self._compute = [Child(f"compute {n + 1}") for n in range(self.settings.processes)]
        woken = self._wake_on_signals()
        self._selector.register(woken, selectors.EVENT_READ)
        self._selector.register(self.lifeline, selectors.EVENT_READ)
        self.private = [*self.private, woken]
        try:
            while not self._stopping:
                self._reap()
                self._fork_what_is_due()
                self._check_front()
                self._wait(woken)
        finally:
            self._end_children()

    def _wake_on_signals(self) -> int:
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        return read

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _wait(self, woken: int) -> None:
        now = time.monotonic()
        dues = [child.due for child in self._children() if not child.pid]
        timeout = min([self.settings.beat_seconds / 2, *(due - now for due in dues)])
        for key, _ in self._selector.select(max(0.0, timeout)):
            if key.fd == woken:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 1024)
            elif key.fd == self.lifeline:
                self._stopping = self._stopping or not os.read(self.lifeline, 1024)
            else:
                self._listen_to_front()

    # forking

    def _children(self) -> list[Child]:
        return [self._front, *self._compute]

    def _fork_what_is_due(self) -> None:
        now = time.monotonic()
        if not self._front.pid and self._front.due <= now:
            self._fork_front()
        for child in self._compute:
            if not child.pid and child.due <= now:
                self._fork(child, self._run_compute)
                self._connect(child)

    def _fork_front(self) -> None:
        self._fork(self._front, self._run_front)
        self._heard = time.monotonic()
        if self._front.control is not None:
            self._selector.register(self._front.control, selectors.EVENT_READ)
        for child in self._compute:
            if child.pid:
                self._connect(child)

    def _fork(self, child: Child, life: Callable[[socket.socket], None]) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        sys.stderr.flush()
        child.since = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _live(child.name, lambda: self._in_child(child.name, ours, theirs, life))
        theirs.close()
        child.pid, child.control = pid, ours

    def _in_child(
        self,
        name: str,
        ours: socket.socket,
        theirs: socket.socket,
        life: Callable[[socket.socket], None],
    ) -> None:
        """Forget everything that belongs to the parent and to other children."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._selector.close()
        for descriptor in self.private:
            os.close(descriptor)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.close(nothing)
        for child in self._children():
            if child.control is not None:
                child.control.close()
        ours.close()
        _show_name(name)
        life(theirs)

    def _run_front(self, control: socket.socket) -> None:
        from voxprint.worker import front

        limits = Limits(self.settings.account, _FRONT_DESCRIPTORS)
        front.run(self.settings, self.listener, control, lambda: confine(limits, self._pid))

    def _run_compute(self, control: socket.socket) -> None:
        from voxprint.worker import compute

        self.listener.close()

        def give_up(media: int | None) -> None:
            memory = _MEMORY + int(_MEMORY_A_SECOND * self.settings.max_seconds)
            limits = Limits(self.settings.account, _COMPUTE_DESCRIPTORS, memory, media)
            confine(limits, self._pid)

        compute.run(self.settings, control, give_up)

    def _connect(self, child: Child) -> None:
        """Give front and compute process the two ends of a new connection."""
        if self._front.control is None or child.control is None:
            return
        self._serial += 1
        child.serial = self._serial
        for_front, for_child = socket.socketpair()
        with for_front, for_child:
            self._send(child, for_child)
            self._send(self._front, for_front, child.serial)

    def _send(self, to: Child, carried: socket.socket, serial: int = 0) -> None:
        if to.control is None:
            return
        try:
            frames.send_note(to.control, frames.CONNECT, serial, carried)
        except OSError as error:  # it has gone, or reads nothing any more
            _LOG.warning("%s takes no connection (%s)", to.name, error.strerror)
            self._kill(to)

    # watching

    def _listen_to_front(self) -> None:
        control = self._front.control
        if control is None:
            return
        try:
            note = frames.receive_note(control)
        except BlockingIOError:
            return
        except (OSError, frames.FrameError):
            note = None
        if note is None:
            self._selector.unregister(control)
            control.close()
            self._front.control = None
            self._kill(self._front)
            return
        kind, serial, _ = note
        self._heard = time.monotonic()
        if kind == frames.KILL:
            for child in self._compute:
                if child.serial == serial:
                    _LOG.warning("%s is ended on the front's word", child.name)
                    self._kill(child)
        elif kind == frames.READY and not self._ready:
            self._ready = True
            self.report(None)

    def _check_front(self) -> None:
        silent = time.monotonic() - self._heard
        if self._front.pid and silent > self.settings.beat_seconds:
            _LOG.warning("the front has been silent for %.1f s and is started anew", silent)
            self._heard = time.monotonic()
            self._kill(self._front)

    def _kill(self, child: Child) -> None:
        if child.pid:
            os.kill(child.pid, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children():
                if child.pid == pid:
                    self._bury(child, status)

    def _bury(self, child: Child, status: int) -> None:
        _LOG.warning("%s ended (%s)", child.name, _how(status))
        if child is self._front and child.control is not None:
            self._selector.unregister(child.control)
        child.ended(time.monotonic())
        if not self._ready and child.failures >= _HOPELESS:
            self.report(f"the worker's {child.name} process ends as soon as it starts")
            self._stopping = True

    def _end_children(self) -> None:
        """The front says goodbye to its clients; nobody else has anything to say."""
        if self._front.pid:
            os.kill(self._front.pid, signal.SIGTERM)
        for child in self._compute:
            self._kill(child)
        deadline = time.monotonic() + _STOP_SECONDS
        alive = {child.pid for child in self._children() if child.pid}
        while alive:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            alive.discard(pid)
            if pid == 0:
                if time.monotonic() > deadline:
                    self._kill(self._front)
                time.sleep(0.01)


def _show_name(name: str) -> None:
    """For ``ps`` and ``top``, which show at most 15 characters."""
    if sys.platform == "linux":
        Path("/proc/self/comm").write_text(f"vxp {name}"[:15])


def _live(name: str, life: Callable[[], None]) -> None:
    """A child's life: it never returns into the parent's code."""
    status = 1
    try:
        life()
        status = 0
    except VoxprintError as error:
        print(f"voxprint worker: {name}: {error}", file=sys.stderr)  # noqa: T201
    except BaseException:  # noqa: BLE001  (whatever it is, the parent's stack is not ours)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"


def listen(settings: Settings) -> tuple[socket.socket, FileLock | None]:
    """Bind the front's address; for a unix socket under a lock that is free again at our end.

    Raises:
        Busy: another worker has it.
        OSError: the address cannot be used.
    """
    address = settings.address
    if not address.is_unix:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=128), None
    with acting_as(settings.account):
        lock = FileLock(lock_path(address))
        if not lock.acquire(wait=False):
            raise Busy
        path = address.socket_path
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(128)
    return listener, lock


@contextlib.contextmanager
def acting_as(account: tuple[int, int] | None) -> Iterator[None]:
    """Touch files with an account's rights alone: in folders of its own it can plant links.

    The whole process is meant, so this is for the parent, which has one thread.
    """
    if account is None:
        yield
        return
    uid, gid = account
    user, group, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
        os.setgroups(groups)


def lock_path(address: Address) -> Path:
    """The lock that a worker on this unix address holds."""
    return address.socket_path.with_name(f"worker.{address.port}.lock")


def say(words: dict[str, Any]) -> None:
    """One line of JSON to whoever started us; they may have gone."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(words).encode() + b"\n")
