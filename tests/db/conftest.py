"""Fixtures that the tests in this folder share.

``spoken``, ``voices``
    synthetic speech for tests that need voices, and no corpus.
``login``
    connection string to the front of the session's worker, as dblink would use it: address and
    password come from the foreign server and the user mapping.
``calls``
    ``calls()`` opens a new connection to that front.
``kin``
    the worker's processes, by what they do.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from worker_client import Calls, Kin, login_of, whole

from voxprint.db.server import Server
from voxprint.demo.recordings import speak
from voxprint.worker.supervisor import Worker


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six synthetic speakers, six utterances each: ``<speaker>/<1-6>.wav``."""
    folder = tmp_path_factory.mktemp("voices")
    speak(folder)
    return folder


@pytest.fixture
def voices(spoken: Path, tmp_path: Path) -> Path:
    """A copy of ``spoken`` that the test may change."""
    return Path(shutil.copytree(spoken, tmp_path / "voices"))


@pytest.fixture(scope="session")
def login(server: Server, worker: Worker) -> str:
    return login_of(server)


@pytest.fixture
def calls(login: str) -> Iterator[Calls]:
    with ExitStack() as stack:

        def connect() -> psycopg.Connection:
            connection = psycopg.connect(login, autocommit=True, prepare_threshold=None)
            return stack.enter_context(connection)

        yield connect


@pytest.fixture
def kin(worker: Worker, calls: Calls) -> Iterator[Kin]:
    """The session's worker, whole before the test and after it."""
    kin = Kin(worker)
    whole(calls)
    yield kin
    kin.resume_compute()
    whole(calls)
