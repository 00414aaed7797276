"""Watches folders and processes pictures as they arrive, each when it is complete.

A picture counts as complete if its size and time have not changed for a second and, on Linux, no
process has it open for writing. After a failure it is tried again only when it changes.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from .._text import shown
from ..errors import DecodeError, MissingExtraError
from .job import is_done
from .naming import Item
from .planning import Plan
from .results import BatchResult, Summary
from .runner import Batch, BatchProgress

#: Seconds without a change until a picture can be complete.
_QUIET: Final = 1.0
#: Milliseconds between two looks at pictures that are not complete yet.
_TICK: Final = 250

#: Size and modification time; another one means that a file has changed.
_Version: TypeAlias = tuple[int, int]


class WatchBatch:
    """A batch without an end; iterate once to yield each result until `stop` or `cancel`."""

    def __init__(
        self, folders: Sequence[Path], plan: Callable[[], Plan], *, recursive: bool
    ) -> None:
        """Prepare to watch.

        folders: what to watch; recursive: with their subfolders.
        plan: finds all files, those that are done included.

        Raises `MissingExtraError` without watchfiles.
        """
        try:
            import watchfiles
        except ImportError as error:
            raise MissingExtraError(
                "watching folders needs watchfiles; run pip install watchfiles"
            ) from error
        self._watch = watchfiles.watch
        self._folders = {folder: _identity(folder) for folder in folders}
        self._plan, self._recursive = plan, recursive
        self.summary = Summary()
        self._stopping, self._cancelled = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._batch: Batch | None = None
        #: The version of each file that was taken, and since when a version has not changed.
        self._taken: dict[Path, _Version] = {}
        self._unchanged: dict[Path, tuple[_Version, float]] = {}
        self._unreadable: set[Path] = set()

    def __iter__(self) -> Generator[BatchResult, None, None]:
        look = True
        self._require_folders()
        for changes in self._watch(
            *self._folders,
            recursive=self._recursive,
            stop_event=self._stopping,
            rust_timeout=_TICK,
            yield_on_timeout=True,
            raise_interrupt=False,
            debounce=_TICK,
        ):
            self._require_folders()
            while (look or changes) and not self._stopping.is_set():
                plan = self._plan()
                yield from self._problems(plan)
                ready, look = self._ready(plan.items)
                if not ready:
                    break
                yield from self._run(replace(plan, items=ready))
                look = True  # for what has arrived or changed meanwhile

    def _require_folders(self) -> None:
        """Raise `DecodeError` for a folder that is gone: the system may send no event for that."""
        for folder, identity in self._folders.items():
            if _identity(folder) != identity:
                raise DecodeError(
                    f"{shown(folder)} has been removed or replaced; watch the folder again"
                )

    def stop(self) -> None:
        """Start no more files and finish those that have begun to compute."""
        with self._lock:
            self._stopping.set()
            if self._batch is not None:
                self._batch.stop()

    def cancel(self) -> None:
        """Start no more files and abandon those in flight as soon as possible."""
        with self._lock:
            self._cancelled.set()
            self._stopping.set()
            if self._batch is not None:
                self._batch.cancel()

    @property
    def progress(self) -> BatchProgress:
        """The progress of the files found so far; safe to read from any thread."""
        with self._lock:
            ended = self.summary.ended
            if self._batch is None:
                return BatchProgress(total=ended, ended=ended, share=float(ended > 0), current=())
            now = self._batch.progress
        left = now.total - now.ended
        share = 1 - (1 - now.share) * now.total / max(1, ended + left)
        return BatchProgress(
            total=ended + left, ended=ended, share=share, current=now.current, video=now.video
        )

    def _run(self, plan: Plan) -> Iterator[BatchResult]:
        with self._lock:
            if self._stopping.is_set():
                return
            batch = self._batch = Batch(plan)
        results = iter(batch)
        try:
            for result in results:
                if result.status == "failed" and self._has_changed(result.source):
                    continue  # it was not complete; taken again
                self.summary.count(result)
                yield result
        finally:
            results.close()
            with self._lock:
                # Files that were dropped by `stop` stay in the totals.
                if not self._stopping.is_set():
                    self._batch = None

    def _problems(self, plan: Plan) -> Iterator[BatchResult]:
        """The folders that cannot be read, each once."""
        for problem in plan.problems:
            if problem.source not in self._unreadable:
                self._unreadable.add(problem.source)
                self.summary.count(problem)
                yield problem

    def _ready(self, items: Sequence[Item]) -> tuple[tuple[Item, ...], bool]:
        """The files to process now, and whether others are not complete yet."""
        ready = []
        waiting = {}
        for item in items:
            version = _version(item.source)
            if version is None or version == self._taken.get(item.source) or is_done(item):
                continue
            if self._is_complete(item.source, version):
                self._taken[item.source] = version
                ready.append(item)
            else:
                waiting[item.source] = self._unchanged[item.source]
        self._unchanged = waiting
        return tuple(ready), bool(waiting)

    def _is_complete(self, path: Path, version: _Version) -> bool:
        """Whether a file has not changed for a while, and no process writes it."""
        now = time.monotonic()
        before, since = self._unchanged.get(path, (None, now))
        if before != version:
            since = now
            # A file from before the start has been unchanged for as long as its time shows.
            if before is None and time.time() - version[1] / 1e9 > _QUIET:
                since -= _QUIET
        self._unchanged[path] = version, since
        return version[0] > 0 and now - since >= _QUIET and not _is_being_written(path)

    def _has_changed(self, path: Path) -> bool:
        return _version(path) not in (None, self._taken.get(path))


def _identity(folder: Path) -> tuple[int, int] | None:
    """The device and the number of a folder; None if the folder cannot be reached."""
    with suppress(OSError, ValueError):
        found = folder.stat()
        return found.st_dev, found.st_ino
    return None


def _version(path: Path) -> _Version | None:
    """The version of a file; None if it has vanished or is none."""
    with suppress(OSError, ValueError):
        found = path.stat()
        if stat.S_ISREG(found.st_mode):
            return found.st_size, found.st_mtime_ns
    return None


def _is_being_written(path: Path) -> bool:
    """Whether a process on this machine has a file open for writing; False if unknown.

    Only Linux can tell: it refuses a read lease on such a file (fcntl(2), F_SETLEASE).
    """
    if fcntl is None or not hasattr(fcntl, "F_SETLEASE"):
        return False
    with suppress(OSError, ValueError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # A writer that opens the file now would end this process by SIGIO.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
        finally:
            os.close(descriptor)
    return False
