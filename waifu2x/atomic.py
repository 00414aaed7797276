"""Files that appear all at once, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ._temporary import temporary_in, temporary_name
from ._text import reason, shown
from .errors import EncodeError, OutputExistsError


def check_place(
    path: str | os.PathLike[str],
    *,
    overwrite: bool,
    source: str | os.PathLike[str] | None = None,
) -> Path:
    """The file that is to be written for ``path``, checked.

    source: the file that is read, which needs ``overwrite`` under any name: links count. With
    ``overwrite``, a link is written through, as any program does that opens it.

    Raises OutputExistsError for a target that exists, and EncodeError for one that is no file or
    whose directory is missing.
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
        exists = target.exists()  # not so for a link that leads nowhere
        if target.is_dir():
            raise EncodeError(f"{name} is a directory; name a file in it")
        if exists and not stat.S_ISREG(target.stat().st_mode):
            raise EncodeError(f"{name} is a device, pipe or socket, not a file to replace")
        if not overwrite:
            if exists and source is not None and _same_file(target, source):
                raise OutputExistsError(
                    f"{name} is the input itself; choose another name, "
                    "or replace it with --overwrite (overwrite=True)"
                )
            raise OutputExistsError(
                f"{name} exists already; choose another name, "
                "or replace it with --overwrite (overwrite=True)"
            )
        if target.is_symlink():
            target = target.resolve()
            if not target.parent.is_dir():
                raise EncodeError(f"{name} is a link to {shown(target)}, which cannot be created")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise EncodeError(f"{name} cannot be written: {reason(error)}") from error
    return target


def check_writable(target: Path) -> None:
    """Create a file beside ``target`` for a moment; raises EncodeError where that fails.

    Permission bits do not tell for root, full disks and network drives.
    """
    probe = temporary_name(target.parent)
    with _reported(target):
        try:
            probe.open("xb").close()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


def _same_file(target: Path, source: str | os.PathLike[str]) -> bool:
    try:
        return target.samefile(source)
    except OSError:
        return False


def write_file(
    target: Path,
    write: Callable[[BinaryIO], object],
    *,
    overwrite: bool,
    times: tuple[int, int] | None = None,
    durable: bool = False,
    check: Callable[[], object] | None = None,
) -> None:
    """Have ``write`` fill a temporary file beside ``target``, then make it ``target``.

    So the name ``target`` never stands for half a picture. On any failure, Ctrl-C included, the
    temporary file is removed and ``target`` is as it was. Without ``overwrite``, a file that has
    appeared meanwhile is kept: OutputExistsError. Two processes that write the same ``target``
    leave the whole file of one of them.

    times: when the file was last read and changed, in nanoseconds since 1970 (``st_atime_ns`` and
        ``st_mtime_ns`` of a source); None is now.
    durable: have the disk take the contents before the name, so that the above holds for a loss
        of power as well.
    check: called when the contents are complete; what it raises keeps them from appearing.
    """
    with _reported(target), temporary_in(target.parent) as temporary:
        write(temporary.file)
        temporary.close(durable=durable)
        if times is not None:
            os.utime(temporary.path, ns=times)
        if check is not None:
            check()
        if overwrite:
            temporary.path.replace(target)
        else:
            _publish(temporary.path, target)


def _publish(temporary: Path, target: Path) -> None:
    """Give ``temporary`` the name ``target``, unless that exists.

    A plain rename replaces what is there; a link does not. Its old name is removed by the caller.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError, AttributeError):
        # No links on this file system. Claiming the name with an empty file first would leave that
        # if we were killed between, so what remains is to look: two writers at the same moment
        # then leave the file of the later one.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        temporary.replace(target)


@contextlib.contextmanager
def _reported(target: Path) -> Iterator[None]:
    """What the operating system refuses leaves as one of our errors."""
    name = shown(target)
    try:
        yield
    except FileExistsError as error:
        raise OutputExistsError(
            f"{name} has appeared meanwhile and was kept; choose another name, "
            "or replace it with --overwrite (overwrite=True)"
        ) from error
    except OSError as error:
        advice = ""
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = f"; choose a directory that takes files, {shown(target.parent)} does not"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "; nothing was left behind"
        raise EncodeError(f"{name} cannot be written: {reason(error)}{advice}") from error
