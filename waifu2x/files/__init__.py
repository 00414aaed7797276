"""Upscales one file: a picture, an animation, a comic archive or a video.

Every check that can be made beforehand runs before the network. A result appears under its final
name only when it is complete.
"""

from __future__ import annotations

import io
import os
import threading
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

from .. import codec
from .._record import record
from .._text import reason
from ..atomic import check_place, check_writable, remove_stale, write_file
from ..errors import ArgumentError, DecodeError, EncodeError
from ..pipeline.arguments import (
    documented,
    has_methods,
    kind_of,
    path_text,
    picked,
    refuse_closed,
    refuse_unknown,
)
from ..pipeline.auto_noise import AnyLevel
from ..pipeline.options import UpscalerOptions
from ..pipeline.progress import ProgressCallback
from ..pipeline.upscaler import (
    RunKeywords,
    UpscaleKeywords,
    UseKeywords,
    checked_run,
    chosen_upscaler,
)
from ..video.options import VideoKeywords
from .naming import check_is_file, result_path
from .open import open_job
from .task import Depth, FormatName, Job, Options, Result, WriteOptions, check_target

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Results for a stream wait in memory up to this size, beyond it in a temporary file.
_SPOOLED: Final = 64 << 20


class FileKeywords(UpscaleKeywords, VideoKeywords, total=False):
    """The keyword arguments of `upscale_file` and `upscale_video`."""

    scale: float | None
    format: FormatName | None
    quality: int | None
    depth: Depth | None
    strip: bool
    skip_larger: tuple[int, int] | None
    strict: bool
    overwrite: bool
    keep_times: bool


#: The records whose fields `upscale_file` takes.
FILE_RECORDS: Final = (Options, UpscalerOptions, UseKeywords, WriteOptions, RunKeywords)


@record
class FileResult:
    """The result of one file.

    source, target: the files; None for bytes and file objects.
    size_in, size_out: (width, height) in pixels; for an archive, those of its largest page.
    noise: the noise level removed, or None. For an archive, the highest level of its pages.
    reason: why the level was chosen, if it was chosen automatically; otherwise empty.
    notes: remarks for the user, such as metadata that the format cannot hold.
    failures: what is wrong with each page of an archive that was carried over unchanged, or with a
        damaged video.

    >>> result = waifu2x.upscale_file("in.jpg", "big.png", model="swift")
    >>> result.size_in, result.size_out
    ((40, 36), (80, 72))
    >>> result.noise, result.reason
    (1, 'JPEG quality 75')
    """

    source: Path | None
    target: Path | None
    size_in: tuple[int, int]
    size_out: tuple[int, int]
    noise: AnyLevel | None
    reason: str
    notes: tuple[str, ...]
    failures: tuple[str, ...] = ()


@documented(*FILE_RECORDS)
def upscale_file(
    source: str | os.PathLike[str] | bytes | IO[bytes],
    target: str | os.PathLike[str] | IO[bytes] | None = None,
    **options: Unpack[FileKeywords],
) -> FileResult:
    """Upscale the picture, animation, comic archive or video in ``source`` to ``target``.

    source: a path, the bytes of a file, or a binary file object, which is read to its end.
    target: a path, a directory, a binary file object, or None for the directory of ``source``. In
        that directory the result is called ``{stem}_waifu2x{ext}``, in any other ``{stem}{ext}``. A
        file object receives the result when it is complete.

    Without a format, the name of ``target`` decides. Without a name, a picture becomes a PNG and an
    animation keeps its format; in a file object both keep their format. Pages of an archive keep
    their format if it can be written, else become PNG. A page that fails is carried over unchanged,
    and `FileResult.failures` names it. A damaged video gives what is left of it, and
    `FileResult.failures` tells what is missing.

    Raises the errors of `Upscaler.upscale`, `SkippedError` for a picture beyond ``skip_larger``,
    and `EncodeError` or `OutputExistsError` if the result cannot be written.

    >>> result = waifu2x.upscale_file("in.gif", "big.webp", scale=2, model="swift")
    >>> result.target.name, result.size_out
    ('big.webp', (48, 40))

    A file object gets the format of its source, or the given one:

    >>> import io
    >>> sink = io.BytesIO()
    >>> waifu2x.upscale_file("in.png", sink, format="webp", model="swift").target
    >>> sink.getvalue()[8:12]
    b'WEBP'
    """
    return _upscale("upscale_file", source, target, options)


@documented(*FILE_RECORDS)
def upscale_video(
    source: str | os.PathLike[str] | bytes | IO[bytes],
    target: str | os.PathLike[str] | IO[bytes] | None = None,
    **options: Unpack[FileKeywords],
) -> FileResult:
    """Upscale the video in ``source`` and write it to ``target``, as `upscale_file` does.

    source, target: as for `upscale_file`.

    All other streams of the source are copied: sound, subtitles, fonts, chapters and tags. Next to
    ``target``, a folder keeps finished segments until the result is complete, so the same call goes
    on after the process was killed. ``progress`` receives a `waifu2x.files.task.FrameShare`, a
    share with the numbers of frames and bytes.

    Raises the errors of `upscale_file`, `DecodeError` for a file that is no video, and
    `MissingExtraError` without PyAV.

    >>> result = waifu2x.upscale_video("in.mkv", "big.mkv", model="swift", crf=20, end=0.5)
    >>> result.size_in, result.size_out
    ((40, 36), (80, 72))
    """
    return _upscale("upscale_video", source, target, options, only_video=True)


def _upscale(
    function: str,
    source: str | os.PathLike[str] | bytes | IO[bytes],
    target: str | os.PathLike[str] | IO[bytes] | None,
    options: FileKeywords,
    *,
    only_video: bool = False,
) -> FileResult:
    refuse_unknown(function, options, *FILE_RECORDS)
    chosen = Options(**picked(options, Options))
    written = WriteOptions(**picked(options, WriteOptions))
    run = checked_run(options)
    path, stream_in = _path_or_stream("source", source)
    target_path, sink = _path_or_stream("target", target)
    folder = target_path is not None and os.path.isdir(target_path)  # noqa: PTH112  (never raises)
    named = None if folder else target_path
    if named is not None:
        check_target(named, chosen)
    if path is None and sink is None and named is None:
        raise ArgumentError("source has no name; name the file to write as the target")
    upscaler = chosen_upscaler(options)
    with ExitStack() as stack:
        stream, name = stack.enter_context(
            codec.opened(path or cast("BinaryIO", stream_in), upscaler.options.limit)
        )
        if named is not None:
            check_is_file(cast("str | os.PathLike[str]", target), chosen.format)
        if only_video and not codec.sniff(stream.read(codec.HEAD_BYTES)).video:
            raise DecodeError(f"{name} is no video; upscale it with `waifu2x.upscale_file`")
        # Reading moves the access time, so take the times before.
        status = path.stat() if written.keep_times and path is not None else None
        job = open_job(
            *(upscaler.pipeline, stream, name, chosen, named),
            keep_format=sink is not None,
            cancel=run.get("cancel"),
        )
        if not job.needs_source:
            stack.close()  # Windows cannot replace an open file
        if sink is None:
            place = named or result_path(cast("Path", path), target_path, job.extension)
            checked = check_place(place, overwrite=written.overwrite, source=path or stream_in)
            remove_stale(checked.parent)
            check_writable(checked)
            times = None if status is None else (status.st_atime_ns, status.st_mtime_ns)
            with job.keeping(checked):
                result = write_file(
                    checked,
                    lambda file: job.write(file, **run),
                    overwrite=written.overwrite,
                    times=times,
                )
        else:
            place = None
            result = _write_stream(job, sink, **run)
    return FileResult(source=path, target=place, **asdict(result))


def _path_or_stream(name: str, file: object) -> tuple[Path | None, BinaryIO | None]:
    """The path or the stream in an argument; raises `ArgumentError` for anything else."""
    if file is None and name == "target":
        return None, None
    if isinstance(file, str | os.PathLike):
        return Path(path_text(name, file)), None
    if isinstance(file, bytes | bytearray | memoryview) and name == "source":
        return None, io.BytesIO(file)
    method = "read" if name == "source" else "write"
    if has_methods(file, method) and not isinstance(file, io.TextIOBase):
        refuse_closed(name, file)
        return None, cast("BinaryIO", file)
    allowed = (
        "a path, the bytes of a file or a binary file object"
        if name == "source"
        else "a path, a binary file object or None"
    )
    raise ArgumentError(f"{name} is {kind_of(file)}; allowed are {allowed}")


def _write_stream(
    job: Job,
    target: BinaryIO,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> Result:
    """Write the result to ``target`` once it is complete: a reader never sees half of it.

    Raw frames are an exception: they are written one by one, so that they never pile up.
    """
    if job.streamed:
        return job.write(target, progress, cancel)
    import shutil  # loaded when needed

    from .spool import Spool

    with Spool(_SPOOLED) as spool:
        try:
            result = job.write(cast("BinaryIO", spool), progress, cancel)
            spool.seek(0)
        except OSError as error:
            raise EncodeError(f"the result cannot be written: {reason(error)}") from error
        try:
            shutil.copyfileobj(spool, target, 1 << 20)
            target.flush()
        except Exception as error:  # any object with a method `write` is accepted
            raise EncodeError(f"the result cannot be written: {reason(error)}") from error
    return result
