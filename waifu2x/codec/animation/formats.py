"""The formats an animation is written in, checked before the work, and their writers."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import BinaryIO

from ..._text import shown
from ...errors import ArgumentError, EncodeError
from ...picture import Metadata
from ..encoder import check_quality
from ..formats import OutputFormat, resolve_format
from .apng_writer import ApngWriter
from .avif_writer import AvifWriter
from .gif_writer import GifWriter
from .webp_writer import WebpWriter
from .writer import AnimationWriter, Target

#: GIF is written for animations only: as a still, PNG does everything better.
GIF = OutputFormat(
    name="gif",
    label="GIF",
    extensions=(".gif",),
    modes=frozenset({"RGB", "RGBA"}),
    holds=frozenset(),
    max_side=65535,
)

_WRITERS: dict[str, type[AnimationWriter]] = {
    "gif": GifWriter,
    "png": ApngWriter,
    "webp": WebpWriter,
    "avif": AvifWriter,
}

#: What `animation_writer` takes.
ANIMATION_FORMATS = tuple(_WRITERS)


def resolve_animation_format(
    path: str | os.PathLike[str] | None, format: str | None = None
) -> OutputFormat:
    """The format to write the animation ``path`` in: ``format`` where given, else by extension.

    ``format`` is one of `ANIMATION_FORMATS` or an extension ("apng" is "png").

    Raises EncodeError for a format that holds no animation, or that is unknown, or that the
    installed Pillow cannot write.
    """
    wanted = format.lower().removeprefix(".") if format is not None else None
    if wanted is None:
        wanted = PurePath(path or "").suffix[1:].lower()
    if wanted == "gif":
        return GIF
    if wanted == "apng":
        wanted = "png"
    if wanted in _WRITERS:
        return resolve_format(None, wanted)
    known = " or ".join((", ".join(ANIMATION_FORMATS[:-1]), ANIMATION_FORMATS[-1]))
    what = "a file without extension" if not wanted else shown(wanted)
    raise EncodeError(f"{what} cannot hold an animation; write it as {known}")


def check_animation_target(output: OutputFormat, width: int, height: int) -> None:
    """Raise EncodeError where ``output`` cannot hold frames of that size."""
    if output.name not in _WRITERS:
        raise EncodeError(
            f"{output.label} cannot hold an animation; use {', '.join(ANIMATION_FORMATS)}"
        )
    allowed = None
    if max(width, height) > output.max_side:
        allowed = f"at most {output.max_side} pixels a side"
    elif output.max_pixels is not None and width * height > output.max_pixels:
        allowed = f"at most {output.max_pixels} pixels in all"
    if allowed is not None:
        raise EncodeError(f"{width}x{height} is too large for {output.label} ({allowed}); use PNG")


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
) -> AnimationWriter:
    """A writer of an animation in ``output``, from `resolve_animation_format`.

    stream: an open binary file that can seek; left open. The animation begins where it stands.
    width, height: of every frame, in pixels.
    loop: how often the animation is played, 0 forever.
    quality: 1..100 for WebP and AVIF; None is lossless for WebP and 90 for AVIF.
    metadata: of the whole animation; None is none.
    gray: the frames have one color channel. has_alpha: some frame may have transparent pixels.

    Whatever the format, there is one frame in the file for each that is added, and each lasts as
    long as it should to the format's unit of time. PNG and lossless WebP hold every frame exactly.

    Raises EncodeError for a format or size that cannot be, and ArgumentError for a bad quality or
    loop.
    """
    check_animation_target(output, width, height)
    quality = check_quality(output, quality)
    if isinstance(loop, bool) or not isinstance(loop, int) or loop < 0:
        raise ArgumentError(f"loop is {loop!r}; it must be a whole number, 0 for forever")
    target = Target(
        stream=stream,
        width=width,
        height=height,
        loop=loop,
        quality=quality,
        metadata=metadata or Metadata(),
        gray=gray,
        has_alpha=has_alpha,
    )
    return _WRITERS[output.name](target)
