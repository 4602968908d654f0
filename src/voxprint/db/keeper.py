"""Runs one PostgreSQL server for as long as somebody uses it. Started as a script.

The keeper is the server's parent. It waits for the exclusive lock on the file of which every
user of the data folder holds a shared one; the kernel grants it when the last user has ended,
even if killed. Then it shuts the server down. It imports the standard library only, because it
lives as long as the server does.

Argument: a JSON object with ``command`` (of the server), ``environment``, ``users`` and
``server`` (open files, the two locks), ``log`` (of what the server says first), ``runtime``
(folder of the sockets) and ``account`` ([uid, gid], or null to stay who we are). Errors before
the server's start go to standard error.

With ``runtime`` and ``account`` alone it tidies up after a server whose keeper was killed.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

#: Seconds for a fast shutdown (with its checkpoint) before one without, which is as safe.
PATIENCE = 120.0


def main() -> None:
    """Give up root's rights, then keep a server or tidy up."""
    order = json.loads(sys.argv[1])
    os.chdir("/")
    os.umask(0o077)
    if order["account"]:  # before any file is touched: the account can put links in their place
        uid, gid = order["account"]
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if "command" in order:
        keep(order)
    else:
        tidy(Path(order["runtime"]))


def keep(order: "dict[str, Any]") -> None:
    """Become a daemon, start the server, keep it until its last user has gone."""
    Path(order["log"]).unlink(missing_ok=True)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    if os.fork():
        os._exit(0)  # the caller waits for this one only
    os.setsid()  # Ctrl-C in the caller's terminal is not for us
    os.dup2(log, 2)
    server = subprocess.Popen(
        order["command"],
        env=order["environment"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        pass_fds=[order["server"]],
    )
    threading.Thread(target=end_with, args=(server, Path(order["runtime"])), daemon=True).start()
    fcntl.flock(order["users"], fcntl.LOCK_EX)
    server.send_signal(signal.SIGINT)
    threading.Event().wait(PATIENCE)
    server.send_signal(signal.SIGQUIT)
    threading.Event().wait()


def end_with(server: "subprocess.Popen[bytes]", runtime: Path) -> None:
    """Wait for the server, tidy up and end. The lock ``server`` goes last, with the process."""
    try:
        server.wait()
        tidy(runtime)
    finally:
        os._exit(0)  # whatever happened: a lock without a server would block the folder


def tidy(runtime: Path) -> None:
    """Remove the folder of a server that has ended, unless a living worker has its socket there."""
    worker = runtime / "worker"
    with contextlib.suppress(OSError):  # somebody else was first, or put files of his own there
        if any(is_held(path) for path in worker.iterdir() if path.suffix == ".lock"):
            return
        for folder in (worker, runtime):
            for path in folder.iterdir():
                if path.suffix == ".lock" or path.name.startswith(".s."):
                    path.unlink()
            folder.rmdir()


def is_held(path: Path) -> bool:
    """Whether any process holds a lock on ``path``; a worker does while it lives."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


if __name__ == "__main__":
    main()
