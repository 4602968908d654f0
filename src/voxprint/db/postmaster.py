"""What the file ``postmaster.pid`` tells about a server, and whether to believe it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The recorded server of a data folder.

    Attributes:
        sockets: folder of its unix socket; the socket's name holds ``port``.
        addresses: what it listens on for TCP, empty for none.
        ready: whether it takes connections (during recovery it does not yet).
    """

    pid: int
    port: int
    sockets: str
    addresses: str
    ready: bool


def recorded(cluster: Path) -> Postmaster | None:
    """Read ``postmaster.pid``; None where there is none or it is not written to its end."""
    try:
        lines = (cluster / "postmaster.pid").read_text("utf-8", "surrogateescape").split("\n")
        pid, _folder, _start, port, sockets, addresses = lines[:6]
        status = lines[7].strip() if len(lines) > 7 else ""
        return Postmaster(int(pid), int(port), sockets, addresses, status == "ready")
    except (FileNotFoundError, ValueError):
        return None


def recorded_pid(cluster: Path) -> int | None:
    """The first line alone, which is there before all others."""
    try:
        return int((cluster / "postmaster.pid").read_text("utf-8", "surrogateescape").split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def serves(pid: int, cluster: Path) -> bool:
    """Whether process ``pid`` is a live PostgreSQL server on ``cluster``.

    A recorded process may have ended, wait as a zombie to be reaped, or its number may belong
    to another program by now; PostgreSQL itself would take all but the first for a server.
    """
    if sys.platform == "linux":
        try:
            # Every process of a server works in its data folder; a zombie works nowhere.
            return Path(f"/proc/{pid}/cwd").readlink() == cluster
        except OSError:
            return False
    told = subprocess.run(
        ["/bin/ps", "-o", "stat=,comm=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.split(None, 1)
    return len(told) == 2 and "Z" not in told[0] and "postgres" in told[1]
