"""The formats that animations are written in, checked before the work."""

from __future__ import annotations

import os
import threading
from pathlib import PurePath
from typing import BinaryIO

from ..._text import listed
from ...errors import ArgumentError, EncodeError
from ...picture import Metadata
from ..formats import (
    ANIMATED_OUTPUT_FORMATS,
    OutputFormat,
    check_quality,
    check_size,
    load,
    resolve_format,
)
from .writer import AnimationWriter, Target

#: Names of the formats that `animation_writer` accepts.
ANIMATION_FORMATS = tuple(output.name for output in ANIMATED_OUTPUT_FORMATS)


def resolve_animation_format(
    path: str | os.PathLike[str] | None, format: str | None = None, *, name: str = "the source"
) -> OutputFormat:
    """Return the format to write the animation ``path`` in: ``format``, or by the extension.

    ``format`` is one of `ANIMATION_FORMATS` or an extension ("apng" is "png").
    name: of the source, for messages.

    Raises ArgumentError for an unknown name or extension, EncodeError for a format that holds no
    animation or that the installed Pillow cannot write.
    """
    wanted = format.lower().removeprefix(".") if format is not None else None
    if wanted is None:
        wanted = PurePath(path or "").suffix[1:].lower()
    if wanted == "gif":
        return next(output for output in ANIMATED_OUTPUT_FORMATS if output.name == "gif")
    if wanted == "apng":
        wanted = "png"
    output = resolve_format(None, "png") if wanted == "png" else resolve_format(path, format)
    if output.animation_writer is None:
        raise _holds_none(output, name)
    return output


def check_animation_target(output: OutputFormat, width: int, height: int) -> None:
    """Raise EncodeError if ``output`` cannot hold frames of that size."""
    if output.animation_writer is None:
        raise _holds_none(output, "the source")
    check_size(output, width, height, animated=True)


def _holds_none(output: OutputFormat, name: str) -> EncodeError:
    return EncodeError(
        f"{output.label} holds one picture, and {name} is an animation; "
        f"write it as {listed(ANIMATION_FORMATS)}"
    )


def animation_writer(
    stream: BinaryIO,
    output: OutputFormat,
    *,
    width: int,
    height: int,
    loop: int = 0,
    quality: int | None = None,
    metadata: Metadata | None = None,
    gray: bool = False,
    has_alpha: bool = False,
    cancel: threading.Event | None = None,
) -> AnimationWriter:
    """Open a writer of an animation in ``output``, from `resolve_animation_format`.

    stream: an open seekable binary file; left open. The animation begins at its position.
    width, height: of every frame, in pixels.
    loop: number of plays, 0 forever.
    quality: 1..100 for WebP and AVIF; None is lossless for WebP and 90 for AVIF.
    metadata: of the whole animation; None is none.
    gray: the frames have one color channel. has_alpha: some frame may have transparent pixels.
    cancel: an event that stops a writer that compresses all frames at the end.

    In every format, the file has one frame for each that is added, with its duration to the
    format's unit of time. PNG and lossless WebP hold every frame exactly.

    Raises EncodeError for an impossible format or size, and ArgumentError for a bad quality or
    loop.
    """
    check_animation_target(output, width, height)
    quality = check_quality(output, quality)
    if isinstance(loop, bool) or not isinstance(loop, int) or loop < 0:
        raise ArgumentError(f"loop is {loop!r}; it must be a whole number, 0 for forever")
    metadata = metadata or Metadata()
    target = Target(stream, width, height, loop, quality, metadata, gray, has_alpha, cancel)
    assert output.animation_writer is not None
    writer: AnimationWriter = load(output.animation_writer, __package__)(target)
    return writer
