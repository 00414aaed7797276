"""Opens a source as a job: a picture, an animation or a comic archive."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from .. import codec
from .._text import shown
from ..codec import OutputFormat
from ..errors import DecodeError, EncodeError, SkippedError, Waifu2xError, check_cancelled
from ..picture import Source
from ..pipeline.pipeline import Pipeline
from ..video.containers import VIDEO_SUFFIXES, Y4M_SUFFIX, result_suffix
from .naming import ARCHIVE_SUFFIXES
from .still import StillJob
from .task import Amount, ChooseFormat, ComputeSlot, Job, Options, Share, options_for_format

#: Formats that may hold an animation; a still picture in them becomes a PNG.
_ANIMATED_SUFFIXES: Final = tuple(
    output.extension for output in codec.ANIMATED_OUTPUT_FORMATS if output.name != "png"
)


def open_job(
    pipeline: Pipeline,
    stream: BinaryIO,
    name: str,
    options: Options,
    target: Path | None,
    *,
    keep_format: bool = False,
    slot: ComputeSlot | None = None,
    amount: Amount | None = None,
    cancel: threading.Event | None = None,
    share: Share | None = None,
) -> Job:
    """Read a picture, or open an animation, archive or video, and check it before any network runs.

    stream: a seekable binary file. It must stay open while the job ``needs_source``.
    name: the name of the source in messages.
    target: the file to write, whose name decides the format; None for a stream or a default name.
    keep_format: without a target, keep the format of the source if it can be written.
    slot: held whenever a network runs, if several jobs run at once.
    amount: counts the pixels of the source, and limits the frames of animations.
    cancel: an event that ends every read of ``stream``, also by the job, with `CancelledError`.
    share: the segments of a video to compute; None for all. `SkippedError` is raised for anything
        else than a video if another process is to join the segments.

    Raises `DecodeError`, `LimitError`, `ArgumentError`, `EncodeError` for a result that the format
    cannot hold, `SkippedError` for a source beyond ``skip_larger``, and `CancelledError`.
    """

    def choose(source: Source, animated: bool) -> tuple[OutputFormat, Options]:
        if options.format is not None or target is not None:
            if target is not None and target.suffix.lower() in ARCHIVE_SUFFIXES:
                raise EncodeError(
                    f"{shown(target)} is named as an archive, and {name} is a picture or an "
                    "animation; name the result with the extension of its format"
                )
            return _format(target, options.format, animated, name), options
        if animated or keep_format:
            return _own_format(source, animated), options
        return _format(None, "png", animated), options

    def choose_for_page(source: Source, animated: bool) -> tuple[OutputFormat, Options]:
        if options.format is not None:
            return _format(None, options.format, animated, "a page"), options
        output = _own_format(source, animated)
        return output, options_for_format(options, output, source)

    stream = _cancellable(stream, cancel)
    stream.seek(0)
    head = stream.read(codec.HEAD_BYTES)
    found = codec.sniff(head)
    if share is not None and share.joining == "never" and (found.name == "y4m" or not found.video):
        raise SkippedError(f"{name} has no segments")
    raw = found.name == "y4m"
    to_raw = options.format == "y4m" or (target is not None and target.suffix.lower() == Y4M_SUFFIX)
    if raw:
        from .y4m import Y4mJob, check_y4m_target  # loaded when needed

        check_y4m_target(target, options.format, name)
        stream.seek(0)
        if target is None or to_raw:
            return Y4mJob(pipeline, stream, name, options, slot, amount=amount)
    if found.video and to_raw:
        from .y4m import RawVideoJob  # loaded when needed

        return RawVideoJob(pipeline, stream, name, options, slot, amount=amount)
    if found.video:
        from .video import VideoJob  # loaded when needed

        return VideoJob(
            *(pipeline, stream, name, options, target, slot), amount=amount, share=share, raw=raw
        )
    if not found.name and Path(name).suffix.lower() in {*VIDEO_SUFFIXES, Y4M_SUFFIX}:
        raise DecodeError(
            f"{shown(name)} is named as a video, and its contents are none that is known; copy or "
            "download it again"
        )
    if to_raw:
        raise EncodeError(f"a y4m video is made of another one, and {name} is none; name a video")
    if found.name != "zip":
        if found.archive:
            raise DecodeError(found.unsupported(shown(name)))
        return open_picture_job(pipeline, stream, name, choose, slot, amount=amount)

    def choose_png(source: Source, animated: bool) -> tuple[OutputFormat, Options]:
        return _format(None, "png", animated), replace(options, format=None, quality=None)

    def open_page(
        page: BinaryIO, page_name: str, *, as_png: bool = False, whole: bool = False
    ) -> Job:
        chosen = choose_png if as_png else choose_for_page
        return open_picture_job(
            *(pipeline, _cancellable(page, cancel), page_name, chosen, slot),
            amount=amount if whole and not as_png else None,  # once for each page
            cancel=cancel,
            whole=whole,
        )

    from .archive import ArchiveJob  # loaded when needed

    return ArchiveJob(stream, name, options, target, open_page)


def open_picture_job(
    pipeline: Pipeline,
    stream: BinaryIO,
    name: str,
    choose_format: ChooseFormat,
    slot: ComputeSlot | None = None,
    *,
    amount: Amount | None = None,
    cancel: threading.Event | None = None,
    whole: bool = False,
) -> Job:
    """Read a picture or open an animation; see `open_job`.

    whole: decode all frames of an animation, so that damage is found.
    """
    if codec.may_be_animation(stream):
        from ..codec.animation import open_animation  # loaded when needed
        from .animation import AnimationJob

        animation = open_animation(stream, name, max_pixels=pipeline.options.limit)
        if animation is not None:
            width, height = animation.width, animation.height
            if amount is not None:
                amount.add_frames(width, height, animation.frames, name)
            for _ in animation if whole else ():
                check_cancelled(cancel)
            return AnimationJob(pipeline, animation, name, choose_format, slot)
    picture = codec.decode_stream(stream, name, pipeline.options.limit)
    if amount is not None:
        amount.add(picture.width, picture.height)
    return StillJob(pipeline, picture, name, choose_format, slot)


class _CancellableStream:
    """Delegates to a stream, and checks an event before each read."""

    def __init__(self, stream: BinaryIO, cancel: threading.Event) -> None:
        self._stream, self._cancel = stream, cancel

    def read(self, size: int = -1) -> bytes:
        check_cancelled(self._cancel)
        return self._stream.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _cancellable(stream: BinaryIO, cancel: threading.Event | None) -> BinaryIO:
    """Return ``stream`` with reads that raise `CancelledError` once ``cancel`` is set."""
    return stream if cancel is None else cast("BinaryIO", _CancellableStream(stream, cancel))


def format_of(name: str) -> OutputFormat:
    """The format called ``name``, whether for pictures or for animations only.

    Raises `ArgumentError` for an unknown name, or y4m, and `MissingExtraError` if a package is
    missing.
    """
    return _format(None, name, animated=name.lower().removeprefix(".") == "gif")


def expected_extension(source: Path, options: Options) -> str:
    """Predict the extension, with its dot, of the result of ``source`` from its name and header.

    An unreadable file counts as a still picture.
    """
    suffix = source.suffix.lower()
    if suffix in ARCHIVE_SUFFIXES:
        return suffix
    if suffix in VIDEO_SUFFIXES:
        return Y4M_SUFFIX if options.format == "y4m" else result_suffix(suffix)
    if suffix == Y4M_SUFFIX:
        return suffix
    if options.format is not None:
        return format_of(options.format).extension
    if suffix in _ANIMATED_SUFFIXES:
        from ..codec.animation import has_frames  # loaded when needed

        try:
            with codec.opened(source, 1) as (stream, name):
                if has_frames(stream, name):
                    return suffix
        except Waifu2xError:
            pass
    return ".png"


def exact_extension(source: Path, options: Options) -> str:
    """The extension, with its dot, of the result of ``source`` by its first bytes.

    A file that cannot be opened, or opened twice, such as a pipe, counts as its name says.
    """
    with contextlib.suppress(Waifu2xError, OSError, ValueError):
        if source.is_file():
            with codec.opened(source, 1) as (stream, name):
                return _extension_of(stream, name, source.suffix.lower(), options.format)
    return expected_extension(source, options)


def _extension_of(stream: BinaryIO, name: str, suffix: str, format: str | None) -> str:
    """The extension of the result of ``stream``, whose file has the extension ``suffix``."""
    found = codec.sniff(stream.read(codec.HEAD_BYTES))
    kind = found.name
    if kind == "y4m":
        return Y4M_SUFFIX
    if found.video:
        return Y4M_SUFFIX if format == "y4m" else result_suffix(suffix)
    if kind == "zip":
        return suffix if suffix in ARCHIVE_SUFFIXES else ARCHIVE_SUFFIXES[0]
    if format is not None:
        return format_of(format).extension
    if codec.may_be_animation(stream):
        from ..codec.animation import has_frames  # loaded when needed

        if has_frames(stream, name):
            known = [each for each in codec.ANIMATED_OUTPUT_FORMATS if each.name == kind]
            return known[0].extension if known else ".png"
    return ".png"


def _format(
    target: str | os.PathLike[str] | None,
    format: str | None,
    animated: bool,
    name: str = "the source",
) -> OutputFormat:
    """The format by name, or else by the extension of ``target``; ``name`` is the source's.

    Raises `ArgumentError` for an unknown format, and `EncodeError`.
    """
    if animated:
        from ..codec.animation import resolve_animation_format  # loaded when needed

        return resolve_animation_format(target, format, name=name)
    return codec.resolve_format(target, format, name=name)


def _own_format(source: Source, animated: bool) -> OutputFormat:
    """The format of the source if it can be written, else PNG."""
    name = (source.format or "").lower()
    known = [output.name for output in codec.OUTPUT_FORMATS]
    if animated:
        known.append("gif")
    return _format(None, name if name in known else "png", animated)
