"""What a process gives up before it sees the first foreign byte.

The account under which front and compute run may be the one that owns the database's files
(as root) or the user's own (otherwise), so on Linux the processes also give up the file system
and the network through Landlock, where the kernel has it (5.13 and newer).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What is left to a process.

    Attributes:
        account: (uid, gid) to change to, None to stay.
        descriptors: highest number of open files and sockets.
        memory: bytes of address space beyond what is in use now (only Linux keeps to it), and
            not a byte into any file and no process or thread more; None for a process that
            sees no foreign media.
        readable: descriptor of the one folder that may still be read, None for none.
    """

    account: tuple[int, int] | None
    descriptors: int
    memory: int | None = None
    readable: int | None = None


def confine(limits: Limits, parent: int) -> None:
    """Give up everything else, for good.

    Args:
        parent: process id of the parent; with it this process ends, too.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits.descriptors, limits.descriptors))
    if limits.memory is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if limits.memory is not None and sys.platform == "linux":
        most = _address_space() + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if limits.account is not None:
        _become(*limits.account)
    if sys.platform == "linux":
        _end_with_parent(parent)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _prctl(_PR_SET_DUMPABLE, 0)
        _shut_out(limits.readable)


def allow_cpu_seconds(seconds: float) -> None:
    """Let the kernel kill this process after so much more processor time.

    The front watches the clock; this holds where the front itself is stopped or gone.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise RuntimeError("root's rights could not be given up")


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  (pathlib costs more here)
        return int(file.read().split()[0]) * resource.getpagesize()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), "prctl failed")


def _end_with_parent(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _shut_out(readable: int | None) -> None:
    """Landlock: no file but below ``readable``, no TCP, no signals to others.

    A kernel without Landlock (or a container that forbids it) leaves the other limits.
    Source: Linux documentation, "Landlock: unprivileged access control".
    """
    version = _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if version < 1:
        return
    files = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    fields = [files]
    if version >= 4:
        fields.append(0b11)  # bind and connect TCP
    if version >= 6:
        fields.append(0b11)  # abstract sockets and signals beyond this domain
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _checked(_syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    if readable is not None:
        rule = struct.pack("=Qi", _READ_FILE | _READ_DIR, readable)
        _checked(_syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    _checked(_syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    whole = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return int(_libc().syscall(ctypes.c_long(number), *whole))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "the file system could not be given up")
    return result
