"""The directories of the results."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from .._text import reason, shown
from ..atomic import remove_stale
from ..errors import EncodeError

#: Free bytes below which a disk counts as full for any picture.
_MIN_FREE = 1 << 16


class OutputTree:
    """The output directory and the directories below it; safe for any number of threads.

    Each directory is created once, with its first result. A directory that vanishes while the batch
    runs, as with an unplugged disk, is an error and never created again.
    """

    def __init__(self, root: Path, *, create: bool = True) -> None:
        """Create the output directory unless ``create`` is False; raises `EncodeError`."""
        self.root = root
        self._status: os.stat_result | None = None
        try:
            if create:
                root.mkdir(parents=True, exist_ok=True)
            if create or root.exists():
                self._status = root.stat()
        except (OSError, ValueError) as error:
            exists = os.path.exists(root)  # noqa: PTH110  (never raises)
            what = "is a file" if exists else f"cannot be created: {reason(error)}"
            raise EncodeError(
                f"output directory {shown(root)} {what}; choose another directory"
            ) from error
        self._made: set[Path] = {root}
        self._lock = threading.Lock()
        self._full = False

    def clean(self, directories: Iterable[Path]) -> int:
        """Delete the temporary files of killed runs in ``directories``; returns the count."""
        return sum(remove_stale(directory) for directory in {*directories, self.root})

    def prepare(self, directory: Path) -> None:
        """Create ``directory``, below the root, for its first file; raises `EncodeError`."""
        with self._lock:
            try:
                status = self._status
                there = status is not None and os.path.samestat(self.root.stat(), status)
            except OSError:
                there = False
            if not there:
                raise EncodeError(
                    f"output directory {shown(self.root)} has vanished while the batch was running"
                )
            if directory in self._made:
                return  # a missing directory is detected when the file is written
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise EncodeError(
                    f"directory {shown(directory)} cannot be created: {reason(error)}"
                ) from error
            self._made.add(directory)

    def note_failure(self, error: BaseException) -> None:
        """Record whether a file failed because the disk is full."""
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            self._full = True

    def check_room(self, size: int) -> None:
        """Raise `EncodeError` if an earlier file found the disk full and it still is.

        The check saves the work on all later files.

        size: size of the input in bytes.
        """
        if not self._full:
            return
        import shutil  # loaded when needed

        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.root).free
            if free < max(size, _MIN_FREE):
                raise EncodeError(
                    f"{shown(self.root)}: {os.strerror(errno.ENOSPC)} ({free} bytes are free); "
                    "make room and run again with `resume=True`"
                )
