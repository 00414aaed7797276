"""Files on their way to a final name: hidden, and locked while somebody writes them.

A process that is killed leaves its temporary file behind. The lock, which the system gives up with
the process, is how another one tells such a file from one that is being written.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

_PREFIX, _SUFFIX = ".waifu2x-", ".tmp"

#: Where files cannot be locked, one that nobody has written to for so long is taken for abandoned.
_ABANDONED_SECONDS = 24 * 3600

_BUFFER = 1 << 18

_live: set[Path] = set()


class Temporary:
    """An open temporary file; see `temporary_in`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self._lock = _locked_duplicate(file)

    def close(self, *, durable: bool) -> None:
        """Close the file, which says whether all was written; the lock stays until the end.

        durable: wait until the disk has it, so that not even a loss of power leaves half a file
            under the name that it gets next.
        """
        if durable:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()

    def dispose(self) -> None:
        """Remove what is left and give up the lock."""
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        if self._lock is not None:
            os.close(self._lock)


def temporary_name(directory: Path) -> Path:
    """A hidden name that nobody else takes; short, as the final name may be the longest."""
    return directory / f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"


@contextlib.contextmanager
def temporary_in(directory: Path) -> Iterator[Temporary]:
    """A new file in ``directory``, gone at the end unless it has been renamed.

    Raises what the operating system says.
    """
    temporary = _created(directory)
    try:
        yield temporary
    finally:
        temporary.dispose()
        _live.discard(temporary.path)


def remove_stale(directory: Path) -> int:
    """Remove the temporary files that processes left which are no more; returns how many.

    Those that are being written, by whomever, stay. A directory that cannot be read has none.
    """
    removed = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    removed += _remove_if_stale(entry)
    return removed


def remove_live() -> None:
    """Remove the files that this process is writing, because it ends at once."""
    for path in list(_live):
        with contextlib.suppress(OSError):
            path.unlink()


def _created(directory: Path) -> Temporary:
    while True:
        path = temporary_name(directory)
        _live.add(path)
        try:
            # "x" fails rather than share a name, and unlike tempfile it gives an ordinary mode:
            # 0o666 less the umask.
            temporary = Temporary(path, path.open("xb", buffering=_BUFFER))
        except BaseException:
            _live.discard(path)
            raise
        # Somebody who cleans up may have seen the file before it was locked.
        if path.exists():
            return temporary
        temporary.dispose()
        _live.discard(path)


def _locked_duplicate(file: BinaryIO) -> int | None:
    """A second descriptor that holds a lock on the file, also after the first one is closed."""
    if fcntl is None:
        return None
    descriptor = os.dup(file.fileno())
    try:
        # Blocks only while somebody finds out that it is not abandoned, and removes it.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def _remove_if_stale(entry: os.DirEntry[str]) -> bool:
    if fcntl is None or not entry.is_file(follow_symlinks=False):
        return _remove_if_old(entry)
    descriptor = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return _remove_if_old(entry)
    else:
        Path(entry.path).unlink()
        return True
    finally:
        os.close(descriptor)


def _remove_if_old(entry: os.DirEntry[str]) -> bool:
    if time.time() - entry.stat(follow_symlinks=False).st_mtime < _ABANDONED_SECONDS:
        return False
    Path(entry.path).unlink()
    return True
