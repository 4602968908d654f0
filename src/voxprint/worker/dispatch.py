"""Jobs of the front: one queue, equal jobs joined, a short memory of answers.

First come, first served over all sessions, and a session has one job at a time, so none
starves. Everything lives in one event loop; nothing here is decoded or computed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from voxprint.worker.frames import FrameError, read_head, write_frame
from voxprint.worker.settings import COLUMNS
from voxprint.worker.wire import Reader, Refusal

_LOG = logging.getLogger("voxprint.worker")

_MAX_WAITING = 64
_MAX_REMEMBERED = 256
_ATTEMPTS = 2
_HANDED_OUT = 5
_GRACE_SECONDS = 2.0
_START_SECONDS = 120.0

Row = tuple[str | None, ...]
Key = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class Job:
    """Audio (or the path of a file) that waits for its embedding.

    Attributes:
        key: model, channel and sha256 of the audio; None for a file, which may change.
        head: what the compute process is told.
        body: the encoded audio, empty for a file.
        waiting: how many sessions want the answer.
        handed_out: how often a compute process was sent the job.
        attempts: how often one began it; a process that was dead already does not count.
    """

    key: Key | None
    head: dict[str, Any]
    body: bytearray
    answer: asyncio.Future[Row]
    waiting: int = 0
    handed_out: int = 0
    attempts: int = 0


@dataclass(slots=True, eq=False)
class Link:
    """The front's end of the connection to one compute process."""

    serial: int
    reader: Reader
    writer: asyncio.StreamWriter
    job: Job | None = None


@dataclass(slots=True)
class Dispatch:
    """Who computes what, and who waits for it.

    Attributes:
        job_seconds: longest time for one job.
        cache_seconds: how long an answer is kept for GET.
        kill: called with the serial number of a link whose process must end.
        ready: called when a link takes its first job.
        models: the rows of MODELS, from the compute processes; None until the first is ready.
    """

    job_seconds: float
    cache_seconds: float
    kill: Callable[[int], None]
    ready: Callable[[int], None]
    models: list[Row] | None = None
    _queue: deque[Job] = field(default_factory=deque)
    _idle: deque[Link] = field(default_factory=deque)
    _busy: set[Link] = field(default_factory=set)
    _under_way: dict[Key, Job] = field(default_factory=dict)
    _answers: dict[Key, Row] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def known(self, key: Key) -> Row | None:
        """The answer for ``key`` if it is remembered or under way, else None."""
        if key in self._answers:
            return self._answers[key]
        job = self._under_way.get(key)
        return None if job is None else await self._wait(job)

    async def run(self, key: Key | None, head: dict[str, Any], body: bytearray) -> Row:
        """The answer for this audio, computed unless it is known.

        Raises:
            Refusal: the audio cannot be used, or there is nobody to compute it.
        """
        if key is not None:
            if key in self._answers:
                return self._answers[key]
            if key in self._under_way:
                return await self._wait(self._under_way[key])
        if len(self._queue) >= _MAX_WAITING:
            raise Refusal(
                "VX010",
                f"the worker takes no more calls: {len(self._queue)} are waiting already",
                "Try again, or start the worker with more processes.",
            )
        job = Job(key, head, body, asyncio.get_running_loop().create_future())
        if key is not None:
            self._under_way[key] = job
        self._queue.append(job)
        self._hand_out()
        return await self._wait(job)

    def status(self) -> dict[str, int]:
        """Counts for STATUS."""
        return {
            "waiting": len(self._queue),
            "running": len(self._busy),
            "idle": len(self._idle),
            "remembered": len(self._answers),
        }

    async def _wait(self, job: Job) -> Row:
        job.waiting += 1
        try:
            return await asyncio.shield(job.answer)
        finally:
            job.waiting -= 1
            if not job.waiting and not job.answer.done():
                self._abandon(job)

    def _abandon(self, job: Job) -> None:
        """Nobody wants the answer any more: drop the job, or end it if it does not end soon."""
        job.answer.cancel()
        self._settle(job)
        if job in self._queue:
            self._queue.remove(job)
        for link in self._busy:
            if link.job is job:
                loop = asyncio.get_running_loop()
                loop.call_later(_GRACE_SECONDS, self._kill_if_still_at, link, job)

    def _kill_if_still_at(self, link: Link, job: Job) -> None:
        if link.job is job:
            self.kill(link.serial)

    def _settle(self, job: Job) -> None:
        if job.key is not None and self._under_way.get(job.key) is job:
            del self._under_way[job.key]

    def _hand_out(self) -> None:
        while self._idle and self._queue:
            link, job = self._idle.popleft(), self._queue.popleft()
            link.job = job
            self._busy.add(link)
            task = asyncio.create_task(self._work(link, job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def attend(self, link: Link) -> None:
        """Serve one compute process until it ends: this front's side of its life."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                head = await read_head(link.reader)
            self.models = [tuple(map(str, row)) for row in head["models"]]
            self.ready(link.serial)
            self._idle.append(link)
            self._hand_out()
            await link.reader.gone.wait()
        except TimeoutError:
            self.kill(link.serial)
        except (asyncio.IncompleteReadError, ConnectionError):
            _LOG.warning("a compute process ended before it was ready")
        finally:
            if link in self._idle:
                self._idle.remove(link)
            link.writer.close()

    async def _work(self, link: Link, job: Job) -> None:
        """One attempt at a job, by a compute process that may die of it."""
        job.handed_out += 1
        try:
            async with asyncio.timeout(self.job_seconds):
                await write_frame(link.writer, job.head, job.body)
                await read_head(link.reader)
                job.attempts += 1
                answer = await read_head(link.reader)
        except TimeoutError:
            self.kill(link.serial)
            self._refuse(job, _too_slow(self.job_seconds))
        except (asyncio.IncompleteReadError, ConnectionError):
            self._take_up_again(job)
        except FrameError as fault:
            _LOG.error("a compute process broke the format: %s", fault)
            self.kill(link.serial)
            self._take_up_again(job)
        else:
            self._idle.append(link)
            self._resolve(job, answer)
        finally:
            link.job = None
            self._busy.discard(link)
            self._hand_out()

    def _take_up_again(self, job: Job) -> None:
        if job.answer.done():
            return
        if job.attempts < _ATTEMPTS and job.handed_out < _HANDED_OUT:
            _LOG.warning("a compute process died at work; its job is taken up again")
            self._queue.appendleft(job)
        else:
            self._refuse(job, _died_of_it())

    def _resolve(self, job: Job, answer: dict[str, Any]) -> None:
        fault = answer.get("error")
        row = answer.get("row")
        if isinstance(fault, list) and len(fault) == 4:
            self._refuse(job, Refusal(*map(str, fault)))
        elif isinstance(row, list) and len(row) == len(COLUMNS):
            self._settle(job)
            if not job.answer.done():
                texts = tuple(None if value is None else str(value) for value in row)
                if job.key is not None:
                    self._remember(job.key, texts)
                job.answer.set_result(texts)
        else:
            self._refuse(job, _died_of_it())

    def _refuse(self, job: Job, refusal: Refusal) -> None:
        self._settle(job)
        if not job.answer.done():
            job.answer.set_exception(refusal)

    def _remember(self, key: Key, row: Row) -> None:
        """Keep an answer for a moment; a timer removes it, so an idle front holds none."""
        if len(self._answers) >= _MAX_REMEMBERED:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = row
        loop = asyncio.get_running_loop()
        loop.call_later(self.cache_seconds, self._forget, key, row)

    def _forget(self, key: Key, row: Row) -> None:
        if self._answers.get(key) is row:
            del self._answers[key]


def _too_slow(seconds: float) -> Refusal:
    return Refusal(
        "VX011",
        f"the audio took longer than {seconds:g} s to embed",
        "Send a shorter recording.",
    )


def _died_of_it() -> Refusal:
    return Refusal(
        "VX010",
        "the compute process that worked on this audio died, twice",
        "The audio may be damaged in a way that breaks the decoder, or the machine may be "
        "short of memory.",
    )
