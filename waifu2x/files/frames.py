"""What the jobs for videos share, with and without a container."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from .._text import plural
from ..errors import DecodeError, EncodeError
from ..picture import Picture, Source
from .task import Options

if TYPE_CHECKING:
    from ..video.demux import VideoSource

#: Advice at the end of messages on damaged files.
AGAIN: Final = "; copy or download it again"

#: What is known of a video for the choice of a noise level.
SOURCE: Final = Source(format="video")


def blank_frame(width: int, height: int) -> Picture:
    """A frame of a size without its memory: a broadcast array."""
    return Picture(np.broadcast_to(np.zeros(1, np.uint8), (height, width, 3)), source=SOURCE)


def refuse_depth(options: Options, name: str) -> None:
    """Raise `EncodeError` for a depth: a video keeps its own."""
    if options.depth is not None:
        raise EncodeError(
            f"depth is {options.depth}, and {name} is a video, which keeps its depth; leave "
            "out `depth=`"
        )


def with_level(options: Options) -> Options:
    """Options whose noise level is chosen: no quality of JPEG decides; see `resolve_noise`."""
    return replace(options, noise=None) if options.noise == "auto" else options


def video_source(
    stream: BinaryIO, path: Path | None, name: str, options: Options, limit: int
) -> VideoSource:
    """Open a video in a container; raises `DecodeError`, `EncodeError` and `LimitError`."""
    from ..video.demux import VideoSource  # loaded when needed

    return VideoSource(
        path or stream,
        name,
        start=options.start,
        end=options.end,
        deinterlace=options.deinterlace,
        max_pixels=limit,
    )


def refuse_cut(source: VideoSource, options: Options, name: str) -> None:
    """Raise `DecodeError` for a file that is cut off, if ``options`` are strict."""
    if options.strict and source.cut_off and options.end is None:
        raise DecodeError(f"{name} is cut off{AGAIN}")


def reuse_notes(*, tiles: int, reused: int, repeated: int) -> list[str]:
    """Describe what was reused, for the line of the result; empty for nothing."""
    if not reused:
        return []
    return [f"{100 * reused / tiles:.0f}% of the tiles reused, {plural(repeated, 'whole frame')}"]


def path_of(stream: BinaryIO) -> Path | None:
    """The file that ``stream`` reads, or None for any other stream."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        path = Path(stream.name)
        if os.path.samestat(path.stat(), os.fstat(stream.fileno())):
            return path.absolute()
    return None


def size_of(stream: BinaryIO) -> int:
    """The size of a regular file in bytes, else 0."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
