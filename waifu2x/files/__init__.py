"""One file in, one file out: a picture, an animation or a comic archive.

Everything that can be known is checked before the work, and a result appears under its name only
when it is complete.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from .. import codec
from .._text import reason
from ..atomic import check_place, check_writable, write_file
from ..errors import ArgumentError, EncodeError
from ..pipeline.progress import ProgressCallback
from ..pipeline.upscaler import Upscaler
from .open import Work, open_work
from .task import Options, Outcome

SUFFIX = "_waifu2x"

#: Results for a pipe up to this size wait in memory, larger ones in a temporary file.
_SPOOLED = 64 << 20


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file.

    source, target: the files; None for a stream.
    size_in, size_out: (width, height) in pixels; of an archive, those of its largest page.
    noise: the level of noise removed, or None; ``reason`` says why if it was chosen here. Of an
        archive, the highest of its pages.
    notes: what else the user should know: something the format could not hold, or that there was
        nothing to do.
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

    source: a file, or an open binary stream, which is read to its end.
    target: a file; a directory, or None for that of ``source``, where the result is called after
        the source with ``_waifu2x`` added; or an open binary stream, which gets the result when
        it is complete.
    options: what to do. Without a format, the name of ``target`` decides; where there is none, a
        picture becomes a PNG and an animation stays what it is, as does anything written to a
        stream. In an archive, every page stays what it is where we write that, else becomes a PNG.
    overwrite: whether ``target`` may exist.
    keep_times: give the file the times at which ``source`` was read and changed.
    progress, cancel: as for `Upscaler.upscale`.

    Raises the errors of `Upscaler.upscale`, and `EncodeError` or `OutputExistsError` if the result
    cannot be written.
    """
    options = options or Options()
    path, given = _path_or_stream(source)
    target_path, sink = _path_or_stream(target)
    named = None if target_path is None or target_path.is_dir() else target_path
    with ExitStack() as stack:
        stream, name = stack.enter_context(
            codec.opened(given or path or "", upscaler.options.limit)
        )
        work = open_work(upscaler, stream, name, options, named, as_input=sink is not None)
        if not work.reads_on:
            stack.close()  # an open file cannot be replaced on Windows
        if sink is None:
            place = named or _place(path, target_path, work.extension)
            checked = check_place(place, overwrite=overwrite, source=path)
            check_writable(checked)
            outcomes: list[Outcome] = []
            write_file(
                checked,
                lambda file: outcomes.append(work.write(file, progress, cancel)),
                overwrite=overwrite,
                times=_times(path) if keep_times else None,
            )
            outcome = outcomes[0]
        else:
            place = None
            outcome = _into_stream(work, sink, progress, cancel)
    return FileResult(
        source=path,
        target=place,
        size_in=outcome.size_in,
        size_out=outcome.size_out,
        noise=outcome.noise,
        reason=outcome.reason,
        notes=outcome.notes,
    )


def _path_or_stream(
    file: str | os.PathLike[str] | BinaryIO | None,
) -> tuple[Path | None, BinaryIO | None]:
    if file is None or isinstance(file, str | os.PathLike):
        return None if file is None else Path(file), None
    return None, file


def _place(source: Path | None, directory: Path | None, extension: str) -> Path:
    """The file for the result of ``source``, in its own directory if no other is given."""
    if source is None:
        raise ArgumentError("the input is a stream and has no name; name the file to write")
    return (directory or source.parent) / f"{source.stem}{SUFFIX}{extension}"


def _times(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    status = path.stat()
    return status.st_atime_ns, status.st_mtime_ns


def _into_stream(
    work: Work,
    target: BinaryIO,
    progress: ProgressCallback | None,
    cancel: threading.Event | None,
) -> Outcome:
    """Hand the result over when it is complete, so that nobody reads half of one."""
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
        try:
            outcome = work.write(cast("BinaryIO", spool), progress, cancel)
            spool.seek(0)
            shutil.copyfileobj(spool, target, 1 << 20)
            target.flush()
        except OSError as error:
            raise EncodeError(f"the result cannot be written: {reason(error)}") from error
    return outcome
