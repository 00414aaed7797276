"""A picture on its way through the server, and the store of asynchronous jobs."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final, Literal, TypeAlias

from ..files.naming import ARCHIVE_SUFFIXES, MAX_NAME_BYTES, SUFFIX, shortened_name
from ..files.task import Result
from .parameters import Choice
from .problems import Problem, Words

Status: TypeAlias = Literal["queued", "running", "done", "failed", "canceled"]

#: What messages call a source without a name, and the stem of its result.
UNNAMED: Final = "the picture"
_UNNAMED_STEM: Final = "picture"

#: Seconds between two notices of progress.
_EVERY: Final = 0.1

#: Asynchronous jobs that are kept after their end.
KEPT_JOBS: Final = 1000

#: Ids of jobs that were dropped for room, which get another answer than unknown ids.
_REMEMBERED: Final = 4 * KEPT_JOBS


@dataclass(eq=False)
class Job:
    """One picture, animation or archive.

    client: for the fair order. name: what messages call the source. source: the received file.
    result: the file to write. keep_format: without a format in the options, keep that of the
    source. cost: pixels for which the client has been charged. status, progress (0 to 1), made,
    extension (of the result, with its dot), problem, size (bytes of the result, 0 before the end):
    written by the thread that does the work, read by any.
    """

    client: str
    name: str
    source: Path
    result: Path
    choice: Choice
    sha256: str = ""
    keep_format: bool = False
    cost: float = 0.0
    status: Status = "queued"
    progress: float = 0.0
    made: Result | None = None
    extension: str = ""
    problem: Problem | None = None
    size: int = 0
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    cancel: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listeners: set[Callable[[], None]] = field(default_factory=set)
    _noticed: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the job is done, failed or canceled."""
        return self.status in ("done", "failed", "canceled")

    def set_status(self, status: Status) -> None:
        """Change the status and notify all watchers."""
        if status == "done":
            with contextlib.suppress(OSError):  # canceled meanwhile
                self.size = self.result.stat().st_size
        self.status = status
        self._notify()

    def fail(self, problem: Problem) -> None:
        """End the job with ``problem``."""
        self.problem = problem
        self.set_status("failed")

    def follow(self, share: float) -> None:
        """Note the share of the work that is done; a progress callback."""
        self.progress = share
        now = time.monotonic()
        if now - self._noticed >= _EVERY:
            self._noticed = now
            self._notify()

    @contextlib.contextmanager
    def watched(self) -> Iterator[asyncio.Event]:
        """Yield an event of the running loop that is set at every change."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def listener() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(event.set)

        with self._lock:
            self._listeners.add(listener)
        try:
            yield event
        finally:
            with self._lock:
                self._listeners.discard(listener)

    async def finished(self) -> None:
        """Wait for the end of the job."""
        with self.watched() as changed:
            while not self.over:
                await changed.wait()
                changed.clear()

    def remove_files(self) -> None:
        """Remove the source and the result."""
        for path in (self.source, self.result):
            with contextlib.suppress(OSError):
                path.unlink()

    @property
    def result_name(self) -> str:
        """The name that the result has next to its source."""
        end = f"{SUFFIX}{self.extension}"
        stem = _UNNAMED_STEM if self.name == UNNAMED else PurePath(self.name).stem
        return f"{shortened_name(stem, MAX_NAME_BYTES - len(end))}{end}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the client, failed pages of an archive included."""
        return () if self.made is None else (*self.made.notes, *self.made.failures)

    def _notify(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


def archive_suffix(name: str) -> str:
    """The suffix of ``name`` if it is that of an archive, else an empty text."""
    suffix = PurePath(name).suffix.lower()
    return suffix if suffix in ARCHIVE_SUFFIXES else ""


class JobStore:
    """The asynchronous jobs; used by the event loop alone.

    Jobs that have ended are bounded in number, bytes and time. The bounds are enforced when a job
    ends and by timers of the event loop, so that they hold without further requests.

    seconds: how long a job is kept after its end. most: bytes of all results.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._jobs: dict[str, Job] = {}
        #: Jobs that have ended, the oldest end first, with the timers that drop them.
        self._ended: dict[str, tuple[Job, asyncio.TimerHandle]] = {}
        self._dropped: deque[str] = deque(maxlen=_REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def size(self) -> int:
        """The bytes of all results."""
        return sum(job.size for job, _ in self._ended.values())

    def add(self, job: Job) -> None:
        """Keep ``job`` until its time is over."""
        self._jobs[job.id] = job
        task = asyncio.get_running_loop().create_task(self._await_end(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def get(self, id: str) -> Job:
        """Return a job; raises `Problem` for one that does not exist any more."""
        if id in self._jobs:
            return self._jobs[id]
        if id in self._dropped:
            raise Problem(
                410,
                "the result of this job was removed to make room for later ones; "
                "fetch results sooner, or send the picture again",
            )
        raise Problem(404, "there is no such job; a job is forgotten some time after its end")

    def drop(self, job: Job) -> None:
        """Forget a job; its files are removed once no thread works on it."""
        self._jobs.pop(job.id, None)
        if job.id in self._ended:
            self._ended.pop(job.id)[1].cancel()
        job.cancel.set()
        if job.over:
            job.remove_files()

    async def _await_end(self, job: Job) -> None:
        await job.finished()
        if job.id not in self._jobs:
            job.remove_files()  # dropped while a thread worked on it
            return
        timer = asyncio.get_running_loop().call_later(self._seconds, self.drop, job)
        self._ended[job.id] = job, timer
        while len(self._ended) > KEPT_JOBS or self.size > self._most:
            oldest, _ = next(iter(self._ended.values()))
            self.drop(oldest)
            self._dropped.append(oldest.id)

    def facts(self, job: Job, position: int | None, words: Words) -> dict[str, Any]:
        """The fields of a job for JSON."""
        made = job.made
        link = f"/api/jobs/{job.id}"
        return {
            "id": job.id,
            "status": job.status,
            "position": position,
            "progress": 1.0 if job.status == "done" else round(job.progress, 4),
            "name": job.result_name if job.status == "done" else job.name,
            "size_in": None if made is None else made.size_in,
            "size_out": None if made is None else made.size_out,
            "notes": [words(note) for note in job.notes],
            "error": None if job.problem is None else job.problem.facts,
            "links": {"self": link, "events": f"{link}/events", "result": f"{link}/result"},
        }
