"""What a process can still do after it has given up its rights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voxprint.db.account import server_account

#: Confines itself, and then runs the statement that it is given.
PRISONER = """
import os, signal, socket, sys
from voxprint.worker.confine import Limits, allow_cpu_seconds, confine
uid, gid, statement = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
account = None if uid < 0 else (uid, gid)
readable = os.open(sys.argv[4], os.O_RDONLY | os.O_DIRECTORY)
confine(Limits(account, 16, 200 << 20, readable), os.getppid())
exec(statement)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def prisoner(statement: str, readable: Path) -> subprocess.CompletedProcess[str]:
    account = server_account()
    identity = [str(account.uid), str(account.gid)] if account.switch else ["-1", "-1"]
    return subprocess.run(
        [sys.executable, "-c", PRISONER, *identity, statement, str(readable)],
        capture_output=True,
        text=True,
    )


@pytest.fixture
def readable(open_folder: Path) -> Path:
    (open_folder / "audio").write_text("sound")
    return open_folder


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        pytest.param("bytearray(1 << 30)", "MemoryError", marks=linux),
        pytest.param("[os.dup(0) for _ in range(20)]", "Too many open files", marks=linux),
        pytest.param("open('/etc/passwd')", "PermissionError", marks=linux),
        pytest.param("open(sys.argv[4] + '/new', 'w')", "PermissionError", marks=linux),
        pytest.param("os.unlink(sys.argv[4] + '/audio')", "PermissionError", marks=linux),
        pytest.param("os.listdir('/')", "PermissionError", marks=linux),
        pytest.param("os.execv('/bin/sh', ['sh'])", "Errno", marks=linux),
        pytest.param("os.fork()", "BlockingIOError", marks=linux),
        pytest.param("os.kill(os.getppid(), 0)", "PermissionError", marks=linux),
        pytest.param(
            "os.setuid(0)",
            "PermissionError",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root has that right"),
        ),
    ],
)
def test_what_was_given_up_is_gone(readable: Path, statement: str, complaint: str) -> None:
    result = prisoner(statement, readable)
    assert complaint in result.stderr
    assert result.returncode == 1


@linux
def test_one_folder_can_still_be_read(readable: Path) -> None:
    result = prisoner("print(open(os.open('audio', 0, dir_fd=readable)).read())", readable)
    assert result.stdout == "sound\n", result.stderr


def test_processor_time_ends(readable: Path) -> None:
    result = prisoner("allow_cpu_seconds(0.5)\nwhile True: pass", readable)
    assert result.returncode < 0
