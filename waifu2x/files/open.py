"""A file of any kind that we take, opened and checked: a picture, an animation, a comic archive."""

from __future__ import annotations

import io
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from .. import codec
from .._text import shown
from ..codec import OutputFormat
from ..errors import EncodeError, SkippedError, Waifu2xError
from ..picture import Source
from ..pipeline.progress import ProgressCallback
from ..pipeline.upscaler import Upscaler
from .pages import (
    ArchiveReader,
    Member,
    check_pages,
    is_archive,
    refuse_other_archives,
    rewrite,
)
from .task import Conversion, Options, Outcome, Turn, fitting, prepare

ARCHIVE_SUFFIXES: Final = (".cbz", ".zip")

#: What may hold an animation and, as a still picture, becomes a PNG.
_MOVING_SUFFIXES: Final = tuple(
    output.extension for output in codec.ANIMATED_OUTPUT_FORMATS if output.name != "png"
)


class Work(Protocol):
    """A source that has been read and checked."""

    @property
    def reads_on(self) -> bool:
        """Whether the source is read while writing, and not only before."""
        ...

    @property
    def extension(self) -> str:
        """The extension of the result, with its dot."""
        ...

    def write(
        self, sink: BinaryIO, progress: ProgressCallback | None, cancel: threading.Event | None
    ) -> Outcome:
        """Do the work."""
        ...


def open_work(
    upscaler: Upscaler,
    stream: BinaryIO,
    name: str,
    options: Options,
    target: Path | None,
    *,
    as_input: bool = False,
    turn: Turn | None = None,
) -> Work:
    """Read a picture, or open an animation or an archive, and check what can be known beforehand.

    stream: an open binary file that can seek; it must stay open as long as the work ``reads_on``.
    name: what messages call it.
    target: the file that will be written, whose name decides the format; None for no name.
    as_input: without a name, keep the format of the source where we write that.
    turn: entered whenever a network is to run; see `conversion.prepare`.

    Raises the errors of `conversion.prepare`.
    """
    stream.seek(0)
    head = stream.read(codec.HEAD_BYTES)
    if is_archive(head):
        return _Archive(upscaler, stream, name, options, target, turn)
    refuse_other_archives(head, name)
    return _Single(upscaler, stream, name, options, target, as_input=as_input, turn=turn)


def format_of(name: str) -> OutputFormat:
    """The format called ``name``, whether it is for pictures or for animations only.

    Raises `EncodeError` for an unknown one, `MissingExtraError` where an extra is missing.
    """
    return _format(None, name, moving=name.lower().removeprefix(".") == "gif")


def expected_extension(source: Path, options: Options) -> str:
    """The extension, with its dot, of what ``source`` will become, by its name and a few bytes.

    A file that cannot be read is taken for a still picture.
    """
    suffix = source.suffix.lower()
    if suffix in ARCHIVE_SUFFIXES:
        return suffix
    if options.format is not None:
        return format_of(options.format).extension
    if suffix in _MOVING_SUFFIXES:
        try:
            with codec.opened(source, 1) as (stream, name):
                if codec.has_frames(stream, name):
                    return suffix
        except Waifu2xError:
            pass
    return ".png"


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
        turn: Turn | None,
    ) -> None:
        def choose(source: Source, moving: bool) -> tuple[OutputFormat, Options]:
            if options.format is not None:
                return _format(None, options.format, moving), options
            if target is not None:
                return _format(target, None, moving), options
            if moving or as_input:
                return _own_format(source, moving), options
            return _format(None, "png", moving), options

        self._conversion = prepare(upscaler, stream, name, choose, turn)
        self.extension = self._conversion.output.extension
        self.reads_on = self._conversion.reads_on

    def write(
        self, sink: BinaryIO, progress: ProgressCallback | None, cancel: threading.Event | None
    ) -> Outcome:
        return self._conversion.write(sink, progress=progress, cancel=cancel)


class _Archive:
    """A comic archive: every page a picture or an animation."""

    reads_on = True

    def __init__(
        self,
        upscaler: Upscaler,
        stream: BinaryIO,
        name: str,
        options: Options,
        target: Path | None,
        turn: Turn | None,
    ) -> None:
        if target is not None and target.suffix.lower() not in ARCHIVE_SUFFIXES:
            raise EncodeError(
                f"{shown(target)}: {name} is an archive, and its result is one too; "
                f"name it {' or '.join(ARCHIVE_SUFFIXES)}"
            )
        self._upscaler = upscaler
        self._options = options
        self._turn = turn
        self._reader = ArchiveReader(stream, name, codec.is_picture)
        self._extensions: dict[str, str] = {}
        self._larger: set[str] = set()
        check_pages(self._reader, self._verify)
        if len(self._larger) == len(self._reader.pages):
            raise SkippedError(f"{name} has only pages that are larger: left alone")
        suffix = Path(name).suffix.lower()
        self.extension = suffix if suffix in ARCHIVE_SUFFIXES else ".cbz"

    def write(
        self, sink: BinaryIO, progress: ProgressCallback | None, cancel: threading.Event | None
    ) -> Outcome:
        outcomes: list[Outcome] = []
        left_alone = 0
        pages = len(self._reader.pages)

        def within(share: float) -> None:
            if progress is not None:
                progress(min(1.0, (len(outcomes) + left_alone + share) / pages))

        def convert(member: Member, data: bytes) -> bytes:
            nonlocal left_alone
            if member.name in self._larger:
                left_alone += 1
                return data
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
        if left_alone:
            counts.append(f"{left_alone} larger page{'s'[: left_alone != 1]} left alone")
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

        return prepare(self._upscaler, io.BytesIO(data), member.name, choose, self._turn)

    def _verify(self, member: Member, data: bytes) -> None:
        try:
            self._extensions[member.name] = self._prepared(member, data).output.extension
        except SkippedError:
            self._larger.add(member.name)
            self._extensions[member.name] = member.suffix


def _format(
    target: str | os.PathLike[str] | None, format: str | None, moving: bool
) -> OutputFormat:
    """The format by name or by the extension of ``target``; raises `EncodeError`."""
    if moving:
        from ..codec.animation import resolve_animation_format  # loaded for those who need it

        return resolve_animation_format(target, format)
    return codec.resolve_format(target, format)


def _own_format(source: Source, moving: bool) -> OutputFormat:
    """The format of the source where it is one we write, else PNG."""
    name = (source.format or "").lower()
    known = [output.name for output in codec.OUTPUT_FORMATS]
    if moving:
        known.append("gif")
    return _format(None, name if name in known else "png", moving)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _together(notes: list[tuple[str, ...]]) -> Iterator[str]:
    """The notes of all pages, each once, and on how many pages where not on all."""
    counts = Counter(note for page in notes for note in set(page))
    for note, count in counts.items():
        yield note if count == len(notes) else f"{note} ({count} of {len(notes)} pages)"
