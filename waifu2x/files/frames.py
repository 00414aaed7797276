"""What the jobs for videos share, with and without a container."""

from __future__ import annotations

from typing import Final

import numpy as np

from .._text import plural
from ..errors import EncodeError
from ..picture import Picture, Source
from .task import Options

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


def reuse_notes(*, tiles: int, reused: int, repeated: int) -> list[str]:
    """Describe what was reused, for the line of the result; empty for nothing."""
    if not reused:
        return []
    return [f"{100 * reused / tiles:.0f}% of the tiles reused, {plural(repeated, 'whole frame')}"]
