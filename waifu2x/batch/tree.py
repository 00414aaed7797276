"""The directories that results go to."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from .._text import reason, shown
from ..atomic import remove_stale
from ..errors import EncodeError

#: A disk with less room than this is full for any picture.
_LEAST_ROOM = 1 << 16


class OutputTree:
    """The output directory and what lies below it.

    Directories are made when the first result goes there, and once: one that vanishes while the
    batch runs (a disk that was taken out) is an error, not to be made anew somewhere else. For any
    number of threads.
    """

    def __init__(self, root: Path) -> None:
        """Make the output directory. Raises `EncodeError` where that fails."""
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._identity = _identity(root)
        except (OSError, ValueError) as error:
            what = "is a file" if root.exists() else f"cannot be created: {reason(error)}"
            raise EncodeError(
                f"output directory {shown(root)} {what}; choose another directory"
            ) from error
        self._made: set[Path] = {root}
        self._lock = threading.Lock()
        self._full = False

    def clean(self, directories: Iterable[Path]) -> int:
        """Remove what killed runs left in ``directories``; returns how many files."""
        return sum(remove_stale(directory) for directory in {*directories, self.root})

    def prepare(self, directory: Path) -> None:
        """Make ``directory``, below the root, if this is its first file. Raises `EncodeError`."""
        with self._lock:
            try:
                there = _identity(self.root) == self._identity
            except OSError:
                there = False
            if not there:
                raise EncodeError(
                    f"output directory {shown(self.root)} has vanished while the batch was running"
                )
            if directory in self._made:
                return  # whether it is still there shows when the file is written
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise EncodeError(
                    f"directory {shown(directory)} cannot be created: {reason(error)}"
                ) from error
            self._made.add(directory)

    def note_failure(self, error: BaseException) -> None:
        """Remember whether a file failed because the disk is full."""
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            self._full = True

    def check_room(self, size: int) -> None:
        """Raise `EncodeError` where a file has failed for want of room and there still is none.

        So that a full disk does not cost the work on all files that follow. size: of the input, in
        bytes.
        """
        if not self._full:
            return
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.root).free
            if free < max(size, _LEAST_ROOM):
                raise EncodeError(
                    f"{shown(self.root)}: {os.strerror(errno.ENOSPC)} ({free} bytes are free); "
                    "make room and run again with --resume (resume=True)"
                )


def _identity(directory: Path) -> tuple[int, int]:
    status = directory.stat()
    return status.st_dev, status.st_ino
