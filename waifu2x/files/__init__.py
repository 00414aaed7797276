"""Upscales one file: a picture, an animation or a comic archive.

Every check that can be made beforehand runs before the network. A result appears under its final
name only when it is complete.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast

from .. import codec
from .._text import reason
from ..atomic import check_place, check_writable, write_file
from ..errors import ArgumentError, EncodeError
from ..pipeline.progress import ProgressCallback
from ..pipeline.upscaler import Upscaler
from .naming import check_extension, check_is_file, result_path
from .open import open_job
from .task import Job, Options, Result

#: Results for a stream wait in memory up to this size, beyond it in a temporary file.
_SPOOLED = 64 << 20


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file.

    source, target: the files; None for a stream.

    The other fields are those of `waifu2x.files.task.Result`.
    """

    source: Path | None
    target: Path | None
    size_in: tuple[int, int]
    size_out: tuple[int, int]
    noise: int | None
    reason: str
    notes: tuple[str, ...]


def upscale_file(
    upscaler: Upscaler,
    source: str | os.PathLike[str] | BinaryIO,
    target: str | os.PathLike[str] | BinaryIO | None = None,
    options: Options | None = None,
    *,
    overwrite: bool = False,
    keep_times: bool = False,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> FileResult:
    """Upscale the picture, animation or comic archive in ``source`` and write it to ``target``.

    source: a file, or a binary stream, which is read to its end.
    target: a file, a directory, a binary stream, or None for the directory of ``source``. In that
        directory the result is called ``{stem}_waifu2x{ext}``, in any other ``{stem}{ext}``. A
        stream receives the result when it is complete.
    options: what to do. Without a format, the name of ``target`` decides. Without a name, a picture
        becomes a PNG and an animation keeps its format; for a stream both keep their format. Pages
        of an archive keep their format if it can be written, else become PNG.
    overwrite: allow an existing ``target``.
    keep_times: give the result the access and modification times of ``source``.
    progress, cancel: as for `Upscaler.upscale`.

    Raises the errors of `Upscaler.upscale`, `SkippedError`, and `EncodeError` or
    `OutputExistsError` if the result cannot be written.
    """
    options = options or Options()
    path, given = _path_or_stream(source)
    target_path, sink = _path_or_stream(target)
    named = None if target_path is None or target_path.is_dir() else target_path
    if named is not None:
        check_extension(named, options.format)
    with ExitStack() as stack:
        stream, name = stack.enter_context(
            codec.opened(given or path or "", upscaler.options.limit)
        )
        if named is not None:
            check_is_file(cast("str | os.PathLike[str]", target), options.format)
        # Reading moves the access time, so take the times before.
        status = path.stat() if keep_times and path is not None else None
        job = open_job(
            upscaler.pipeline, stream, name, options, named, keep_format=sink is not None
        )
        if not job.needs_source:
            stack.close()  # Windows cannot replace an open file
        if sink is None:
            place = named or _default_target(path, target_path, job.extension)
            checked = check_place(place, overwrite=overwrite, source=given or path)
            check_writable(checked)
            times = None if status is None else (status.st_atime_ns, status.st_mtime_ns)
            result = write_file(
                checked,
                lambda file: job.write(file, progress, cancel),
                overwrite=overwrite,
                times=times,
            )
        else:
            place = None
            result = _write_stream(job, sink, progress, cancel)
    return FileResult(source=path, target=place, **asdict(result))


def _path_or_stream(
    file: str | os.PathLike[str] | BinaryIO | None,
) -> tuple[Path | None, BinaryIO | None]:
    if file is None or isinstance(file, str | os.PathLike):
        return None if file is None else Path(file), None
    return None, file


def _default_target(source: Path | None, directory: Path | None, extension: str) -> Path:
    """The file for the result of ``source``, in its own directory unless one is given."""
    if source is None:
        raise ArgumentError("the input is a stream and has no name; name the file to write")
    return result_path(source, directory, extension)


def _write_stream(
    job: Job, target: BinaryIO, progress: ProgressCallback | None, cancel: threading.Event | None
) -> Result:
    """Write the result to ``target`` once it is complete: a reader never sees half of it."""
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
        try:
            result = job.write(cast("BinaryIO", spool), progress, cancel)
            spool.seek(0)
            shutil.copyfileobj(spool, target, 1 << 20)
            target.flush()
        except OSError as error:
            raise EncodeError(f"the result cannot be written: {reason(error)}") from error
    return result
