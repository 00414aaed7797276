"""Writes files that appear complete under their final name, or not at all.

A result is written to a hidden temporary file in the target's directory and then renamed. The
writer holds a lock on the temporary file. The system releases the lock when the process dies, so
an abandoned temporary file can be told from one that is being written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from ._text import reason, shown
from .errors import EncodeError, OutputExistsError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

_T = TypeVar("_T")

_PREFIX, _SUFFIX = ".waifu2x-", ".tmp"

#: Without locks, a temporary file counts as abandoned after so long without a write.
_ABANDONED_SECONDS = 24 * 3600

_BUFFER = 1 << 18

_live: set[Path] = set()


def check_place(
    path: str | os.PathLike[str],
    *,
    overwrite: bool,
    source: str | os.PathLike[str] | BinaryIO | None = None,
) -> Path:
    """Check that the file ``path`` can be written; returns it with links resolved.

    source: the input file, or a stream that may read it. The input is never replaced, under no
        name, links included.
    overwrite: allow another existing file. A link is then written through, as by any program.

    Raises `OutputExistsError` for a target that exists or is the input, and `EncodeError` for a
    target that is not a regular file or whose directory is missing.
    """
    name = shown(path)
    target = Path(path)
    parent = target.parent
    try:
        if os.fspath(path).endswith(("/", os.sep)) or not target.name:
            raise EncodeError(f"{name} is a directory; name a file in it")
        if not parent.is_dir():
            if parent.exists():
                raise EncodeError(f"{name}: {shown(parent)} is not a directory")
            raise EncodeError(f"{name}: directory {shown(parent)} does not exist; create it first")
        try:
            target.lstat()
        except FileNotFoundError:
            return target
        exists = target.exists()  # False for a dangling link
        if target.is_dir():
            raise EncodeError(f"{name} is a directory; name a file in it")
        if exists and not stat.S_ISREG(target.stat().st_mode):
            raise EncodeError(f"{name} is a device, pipe or socket, not a file to replace")
        if exists and source is not None and same_file(target, source):
            raise OutputExistsError(
                f"{name} is the input itself, which is never replaced; choose another name"
            )
        if not overwrite:
            raise OutputExistsError(
                f"{name} exists already; choose another name, or replace it with `overwrite=True`"
            )
        if target.is_symlink():
            target = target.resolve()
            if not target.parent.is_dir():
                raise EncodeError(f"{name} is a link to {shown(target)}, which cannot be created")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise EncodeError(f"{name} cannot be written: {reason(error)}") from error
    return target


def check_writable(target: Path) -> None:
    """Create and remove a temporary file next to ``target``; raises `EncodeError` on failure.

    Permission bits are not enough: root, full disks and network drives ignore them.
    """
    probe = _temporary_name(target.parent)
    with _converted_errors(target):
        try:
            probe.open("xb").close()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


def same_file(first: Path, second: str | os.PathLike[str] | BinaryIO) -> bool:
    """Whether a name and a name or stream lead to one file; False if either cannot be read."""
    try:
        if isinstance(second, str | os.PathLike):
            return first.samefile(second)
        return os.path.samestat(first.stat(), os.fstat(second.fileno()))
    except (OSError, ValueError, AttributeError):  # a stream without a descriptor
        return False


def write_file(
    target: Path,
    write: Callable[[BinaryIO], _T],
    *,
    overwrite: bool,
    times: tuple[int, int] | None = None,
    durable: bool = False,
    check: Callable[[], object] | None = None,
) -> _T:
    """Let ``write`` fill a temporary file, rename the file to ``target``, return its result.

    On any failure, Ctrl-C included, the temporary file is removed and ``target`` stays as before.
    Without ``overwrite``, a target that another process has created meanwhile is kept and
    `OutputExistsError` raised. Two processes that write one target leave one complete file.

    times: access and modification times in nanoseconds since 1970, as ``st_atime_ns`` and
        ``st_mtime_ns``; None means now.
    durable: flush the contents to disk before the rename, so that the guarantee survives a loss of
        power.
    check: called when the contents are complete; an error from ``check`` prevents the rename.

    Raises `EncodeError` if the system refuses to write.
    """
    with _converted_errors(target), temporary_in(target.parent) as temporary:
        result = write(temporary.file)
        temporary.close(durable=durable)
        if times is not None:
            os.utime(temporary.path, ns=times)
        if check is not None:
            check()
        if overwrite:
            temporary.path.replace(target)
        else:
            _publish(temporary.path, target)
    return result


def write_files(contents: Sequence[tuple[Path, bytes]], *, overwrite: bool) -> None:
    """Write files that belong together: all of them appear, or none.

    contents: the targets, from `check_place`, and what to write. All temporary files are complete
        before the first is renamed. If a rename fails, Ctrl-C included, the renames before it are
        undone; only a loss of power or a killed process can separate the files.

    Raises `EncodeError` if the system refuses to write, `OutputExistsError` as `write_file`.
    """
    with contextlib.ExitStack() as stack:
        temporaries = []
        for target, data in contents:
            with _converted_errors(target):
                temporary = stack.enter_context(temporary_in(target.parent))
                temporary.file.write(data)
                temporary.close(durable=False)
                temporaries.append(temporary)
        renamed: list[tuple[Path, Path | None]] = []
        try:
            for (target, _), temporary in zip(contents, temporaries, strict=True):
                with _converted_errors(target):
                    before = _second_name(target) if overwrite else None
                    if before is not None:
                        stack.callback(before.unlink, missing_ok=True)
                    renamed.append((target, before))
                    if overwrite:
                        temporary.path.replace(target)
                    else:
                        try:
                            _publish(temporary.path, target)
                        except BaseException:
                            renamed.pop()  # the target is another process's
                            raise
        except BaseException:
            for target, before in reversed(renamed):
                with contextlib.suppress(OSError):
                    if before is None:
                        target.unlink()
                    else:
                        before.replace(target)
            raise


def _second_name(target: Path) -> Path | None:
    """Give the file ``target`` a temporary second name, or copy it; None if there is no file."""
    if not os.path.lexists(target):
        return None
    second = _temporary_name(target.parent)
    try:
        os.link(target, second)
    except (OSError, NotImplementedError, AttributeError):  # a file system without links
        import shutil  # loaded when needed

        shutil.copy2(target, second)
    return second


def _publish(temporary: Path, target: Path) -> None:
    """Give ``temporary`` the name ``target`` unless the target exists.

    A rename would replace an existing file; a hard link does not. The caller removes the old name.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError, AttributeError):
        # The file system has no links. Reserving the name with an empty file would leave that file
        # behind if the process were killed. A check before the rename remains: of two writers at
        # the same moment, the later file wins.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        temporary.replace(target)


@contextlib.contextmanager
def _converted_errors(target: Path) -> Iterator[None]:
    """Convert errors of the operating system into errors of this package."""
    name = shown(target)
    try:
        yield
    except FileExistsError as error:
        raise OutputExistsError(
            f"{name} has appeared meanwhile and was kept; choose another name, "
            "or replace it with `overwrite=True`"
        ) from error
    except OSError as error:
        advice = ""
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = f"; choose a directory that takes files, {shown(target.parent)} does not"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "; nothing was left behind"
        raise EncodeError(f"{name} cannot be written: {reason(error)}{advice}") from error


# --- temporary files --------------------------------------------------------------------------


class Temporary:
    """An open, locked temporary file; see `temporary_in`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self._lock = _locked_duplicate(file)

    def close(self, *, durable: bool) -> None:
        """Close the file, reporting any write error; the lock is kept until `dispose`.

        durable: wait until the contents are on disk.
        """
        if durable:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()

    def dispose(self) -> None:
        """Remove the file if it still has its temporary name, and release the lock."""
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        if self._lock is not None:
            os.close(self._lock)


@contextlib.contextmanager
def temporary_in(directory: Path) -> Iterator[Temporary]:
    """Create a temporary file in ``directory``; it is removed at the end unless renamed.

    Raises `OSError`.
    """
    temporary = _create(directory)
    try:
        yield temporary
    finally:
        temporary.dispose()
        _live.discard(temporary.path)


def remove_stale(directory: Path) -> int:
    """Delete temporary files of processes that have exited; returns the count.

    Files that any process is writing stay. An unreadable directory counts as empty.
    """
    removed = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    removed += _remove_if_stale(entry)
    return removed


def remove_live() -> None:
    """Delete the temporary files of this process, which is about to exit."""
    for path in list(_live):
        with contextlib.suppress(OSError):
            path.unlink()


def _temporary_name(directory: Path) -> Path:
    """A unique hidden name; short, because the final name may have the maximum length."""
    return directory / f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"


def _create(directory: Path) -> Temporary:
    while True:
        path = _temporary_name(directory)
        _live.add(path)
        try:
            # "x" fails if the name exists. Unlike tempfile, it sets the usual mode: 0o666 less the
            # umask.
            temporary = Temporary(path, path.open("xb", buffering=_BUFFER))
        except BaseException:
            _live.discard(path)
            raise
        # `remove_stale` in another process may have deleted the file before it was locked.
        if path.exists():
            return temporary
        temporary.dispose()
        _live.discard(path)


def _locked_duplicate(file: BinaryIO) -> int | None:
    """A second descriptor that keeps the file locked after ``file`` is closed."""
    if fcntl is None:
        return None
    descriptor = os.dup(file.fileno())
    try:
        # Blocks only while `remove_stale` of another process holds the lock.
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
