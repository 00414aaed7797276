"""Results on disk by the hash of their source and the options, bounded in bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections import OrderedDict
from pathlib import Path

from .._record import record
from .._version import __version__
from ..files.task import Result
from .jobs import Job, archive_suffix


@record
class _Kept:
    path: Path
    size: int
    made: Result
    extension: str


class ResultCache:
    """The results that were used last; safe for any number of threads.

    folder: a private folder. limit: bytes of all results; 0 keeps none.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.size = 0

    def fetch(self, job: Job) -> bool:
        """Give ``job`` the result of an earlier one; returns whether there is any."""
        if not self._limit:
            return False
        with self._lock:
            kept = self._kept.get(_key(job))
            if kept is None:
                return False
            self._kept.move_to_end(_key(job))
            try:
                _link(kept.path, job.result)
            except OSError:
                return False
        job.made, job.extension = kept.made, kept.extension
        return True

    def store(self, job: Job) -> None:
        """Keep the result of ``job``; the results that were not used for longest go.

        A result whose notes name the source is not kept: another client would read the name.
        """
        if not self._limit or job.made is None:
            return
        if job.made.failures or any(job.name in note for note in job.made.notes):
            return
        with contextlib.suppress(OSError), self._lock:
            size = job.result.stat().st_size
            key = _key(job)
            if size > self._limit or key in self._kept:
                return
            path = self._folder / f"cached-{key}"
            _link(job.result, path)
            self._kept[key] = _Kept(path, size, job.made, job.extension)
            self.size += size
            while self.size > self._limit:
                _, old = self._kept.popitem(last=False)
                self.size -= old.size
                old.path.unlink(missing_ok=True)


def _key(job: Job) -> str:
    """The name of a result; the suffix of an archive decides that of its result."""
    parts = (job.sha256, archive_suffix(job.name), job.choice.key, job.keep_format, __version__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError, AttributeError):  # a file system without links
        shutil.copyfile(source, target)
