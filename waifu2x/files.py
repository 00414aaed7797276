"""One file in, one file out: a picture, an animation or a comic archive.

Everything that can be known is checked before the work, and a result appears under its name only
when it is complete.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from . import codec
from ._text import reason, shown
from .api import Upscaler
from .archive import (
    HEAD_BYTES,
    ArchiveReader,
    Member,
    check_pages,
    is_archive,
    refuse_other_archives,
    rewrite,
)
from .atomic import check_place, check_writable, write_file
from .codec import OutputFormat
from .conversion import Conversion, Options, Outcome, fitting, prepare
from .errors import ArgumentError, EncodeError
from .picture import Source
from .pipeline import ProgressCallback

SUFFIX = "_waifu2x"

ARCHIVE_SUFFIXES = (".cbz", ".zip")

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
            codec.opened(given or path or "", upscaler.settings.max_pixels)
        )
        head = stream.read(HEAD_BYTES)
        if is_archive(head):
            job: _Job = _Archive(upscaler, stream, name, options, named)
        else:
            refuse_other_archives(head, name)
            job = _Single(upscaler, stream, name, options, named, as_input=sink is not None)
            if not job.reads_on:
                stack.close()  # an open file cannot be replaced on Windows
        if sink is None:
            place = named or _place(path, target_path, job.extension)
            checked = check_place(place, overwrite=overwrite, source=path)
            check_writable(checked)
            outcomes: list[Outcome] = []
            write_file(
                checked,
                lambda file: outcomes.append(job.write(file, progress, cancel)),
                overwrite=overwrite,
                times=_times(path) if keep_times else None,
            )
            outcome = outcomes[0]
        else:
            place = None
            outcome = _into_stream(job, sink, progress, cancel)
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
    job: _Job,
    target: BinaryIO,
    progress: ProgressCallback | None,
    cancel: threading.Event | None,
) -> Outcome:
    """Hand the result over when it is complete, so that nobody reads half of one."""
    with tempfile.SpooledTemporaryFile(_SPOOLED) as spool:
        try:
            outcome = job.write(cast("BinaryIO", spool), progress, cancel)
            spool.seek(0)
            shutil.copyfileobj(spool, target, 1 << 20)
            target.flush()
        except OSError as error:
            raise EncodeError(f"the result cannot be written: {reason(error)}") from error
    return outcome


def _format(
    target: str | os.PathLike[str] | None, format: str | None, moving: bool
) -> OutputFormat:
    """The format by name or by the extension of ``target``; raises `EncodeError`."""
    if moving:
        from .codec.animation import resolve_animation_format  # loaded for those who need it

        return resolve_animation_format(target, format)
    return codec.resolve_format(target, format)


def _own_format(source: Source, moving: bool) -> OutputFormat:
    """The format of the source where it is one we write, else PNG."""
    name = (source.format or "").lower()
    known = [output.name for output in codec.OUTPUT_FORMATS]
    if moving:
        known.append("gif")
    return _format(None, name if name in known else "png", moving)


class _Job(Protocol):
    """A source that has been read and checked."""

    @property
    def extension(self) -> str:
        """The extension of the result, with its dot."""
        ...

    def write(
        self, sink: BinaryIO, progress: ProgressCallback | None, cancel: threading.Event | None
    ) -> Outcome:
        """Do the work."""
        ...


class _Single:
    """A picture or an animation."""

    def __init__(
        self,
        upscaler: Upscaler,
        stream: BinaryIO,
        name: str,
        options: Options,
        target: Path | None,
        *,
        as_input: bool,
    ) -> None:
        def choose(source: Source, moving: bool) -> tuple[OutputFormat, Options]:
            if options.format is not None:
                return _format(None, options.format, moving), options
            if target is not None:
                return _format(target, None, moving), options
            if moving or as_input:
                return _own_format(source, moving), options
            return _format(None, "png", moving), options

        self._conversion = prepare(upscaler, stream, name, choose)
        self.extension = self._conversion.output.extension
        self.reads_on = self._conversion.reads_on

    def write(
        self, sink: BinaryIO, progress: ProgressCallback | None, cancel: threading.Event | None
    ) -> Outcome:
        return self._conversion.write(sink, progress=progress, cancel=cancel)


class _Archive:
    """A comic archive: every page a picture or an animation."""

    def __init__(
        self,
        upscaler: Upscaler,
        stream: BinaryIO,
        name: str,
        options: Options,
        target: Path | None,
    ) -> None:
        if target is not None and target.suffix.lower() not in ARCHIVE_SUFFIXES:
            raise EncodeError(
                f"{shown(target)}: {name} is an archive, and its result is one too; "
                f"name it {' or '.join(ARCHIVE_SUFFIXES)}"
            )
        self._upscaler = upscaler
        self._options = options
        self._reader = ArchiveReader(stream, name, codec.is_picture)
        self._extensions: dict[str, str] = {}
        check_pages(self._reader, self._verify)
        suffix = Path(name).suffix.lower()
        self.extension = suffix if suffix in ARCHIVE_SUFFIXES else ".cbz"

    def write(
        self, sink: BinaryIO, progress: ProgressCallback | None, cancel: threading.Event | None
    ) -> Outcome:
        outcomes: list[Outcome] = []
        pages = len(self._reader.pages)

        def within(share: float) -> None:
            if progress is not None:
                progress(min(1.0, (len(outcomes) + share) / pages))

        def convert(member: Member, data: bytes) -> bytes:
            conversion = self._prepared(member, data)
            buffer = io.BytesIO()
            outcomes.append(conversion.write(buffer, progress=within, cancel=cancel))
            return buffer.getvalue()

        result = rewrite(
            self._reader, sink, convert, extension=lambda member: self._extensions[member.name]
        )
        counts = [f"{pages} page{'s'[: pages != 1]}"]
        if result.carried:
            counts.append(f"{result.carried} other file{'s'[: result.carried != 1]} carried over")
        if result.renamed:
            counts.append(f"{result.renamed} page{'s'[: result.renamed != 1]} renamed")
        levels = [outcome.noise for outcome in outcomes if outcome.noise is not None]
        return Outcome(
            size_in=max((outcome.size_in for outcome in outcomes), key=_area),
            size_out=max((outcome.size_out for outcome in outcomes), key=_area),
            noise=max(levels, default=None),
            reason="chosen for each page" if self._options.noise == "auto" else "",
            notes=(*counts, *result.notes, *_together([each.notes for each in outcomes])),
        )

    def _prepared(self, member: Member, data: bytes) -> Conversion:
        options = self._options

        def choose(source: Source, moving: bool) -> tuple[OutputFormat, Options]:
            if options.format is not None:
                return _format(None, options.format, moving), options
            output = _own_format(source, moving)
            return output, fitting(options, output, source)

        return prepare(self._upscaler, io.BytesIO(data), member.name, choose)

    def _verify(self, member: Member, data: bytes) -> None:
        self._extensions[member.name] = self._prepared(member, data).output.extension


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _together(notes: list[tuple[str, ...]]) -> Iterator[str]:
    """The notes of all pages, each once, and on how many pages where not on all."""
    counts = Counter(note for page in notes for note in set(page))
    for note, count in counts.items():
        yield note if count == len(notes) else f"{note} ({count} of {len(notes)} pages)"
