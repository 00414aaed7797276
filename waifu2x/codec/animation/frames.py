"""What an animation is, and how its frames are composed from stored patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..._record import record
from ...picture import Metadata, Picture, Source

Bytes: TypeAlias = npt.NDArray[np.uint8]

#: `Animation.loop` of an animation that never stops.
FOREVER = 0


@record
class Frame:
    """One frame as shown.

    picture: the whole canvas, uint8; its alpha is None if every pixel is opaque.
    duration: in seconds, 0 or more, exactly as stored.
    """

    picture: Picture
    duration: Fraction


@record
class Animation:
    """An animation in an open file. Each iteration reads it from its start.

    Memory holds one frame and the canvas. The stream must stay open, and only one iteration at a
    time may read it. Iterating raises DecodeError, which names the frame, if pixels are damaged.

    width, height: of every frame, in pixels.
    frames: their number.
    loop: number of plays; 0 is forever.
    metadata: as of a still picture (`waifu2x.picture.Metadata`), the same for all frames.
    source: the format, and whether it is lossy.
    gray: every frame has one color channel, else three.
    has_alpha: some frame may have transparent pixels.
    """

    width: int
    height: int
    frames: int
    loop: int
    metadata: Metadata
    source: Source
    gray: bool
    has_alpha: bool
    play: Callable[[], Iterator[Frame]]

    def __iter__(self) -> Iterator[Frame]:
        return self.play()


class Dispose(Enum):
    """What happens to a patch before the next one is drawn."""

    KEEP = 0
    CLEAR = 1
    RESTORE = 2


@record
class FrameControl:
    """Place and treatment of a stored frame.

    left, top, width, height: of its rectangle, which lies within the canvas.
    duration: in seconds.
    blend: alpha compositing over the canvas; otherwise the rectangle replaces it.
    """

    left: int
    top: int
    width: int
    height: int
    duration: Fraction
    dispose: Dispose
    blend: bool

    def covers(self, width: int, height: int) -> bool:
        """Return whether the rectangle is the whole canvas."""
        return (self.left, self.top, self.width, self.height) == (0, 0, width, height)


@record
class Patch:
    """The pixels of a stored frame; color (h, w, C) uint8, alpha (h, w) uint8, None for opaque."""

    color: Bytes
    alpha: Bytes | None
    control: FrameControl


def compose(
    width: int, height: int, channels: int, patches: Iterator[Patch]
) -> Iterator[tuple[Bytes, Bytes | None, Fraction]]:
    """Yield color (height, width, channels), alpha or None if opaque, and duration of each frame.

    The canvas is transparent at first and after a patch is cleared, as in browsers, which ignore
    the file's background color. The arrays belong to the caller.
    """
    color = np.zeros((height, width, channels), np.uint8)
    alpha = np.zeros((height, width), np.uint8)
    for patch in patches:
        control = patch.control
        rows, columns = patch.color.shape[:2]
        area = (
            slice(control.top, control.top + rows),
            slice(control.left, control.left + columns),
        )
        before = None
        if control.dispose is Dispose.RESTORE:
            before = color[area].copy(), alpha[area].copy()
        _draw(color[area], alpha[area], patch)
        opaque = bool(alpha.min() == 255)
        yield color.copy(), None if opaque else alpha.copy(), control.duration
        if before is not None:
            color[area], alpha[area] = before
        elif control.dispose is Dispose.CLEAR:
            color[area], alpha[area] = 0, 0


def _draw(color: Bytes, alpha: Bytes, patch: Patch) -> None:
    """Draw ``patch`` on its area of the canvas, in place."""
    if patch.alpha is None or not patch.control.blend:
        color[...] = patch.color
        alpha[...] = 255 if patch.alpha is None else patch.alpha
        return
    replaced = (patch.alpha == 255) | (alpha == 0)
    replaced &= patch.alpha > 0
    color[replaced] = patch.color[replaced]
    mixed = (patch.alpha > 0) & ~replaced
    if mixed.any():
        # Porter and Duff's "over" for straight alpha, times 255 before the division.
        above = patch.alpha[mixed].astype(np.int64) * 255
        below = alpha[mixed] * (255 - patch.alpha[mixed].astype(np.int64))
        total = above + below
        wide: npt.NDArray[Any] = patch.color[mixed] * above[:, None]
        wide += color[mixed] * below[:, None]
        color[mixed] = (wide + total[:, None] // 2) // total[:, None]
        alpha[mixed] = (total + 127) // 255
    alpha[replaced] = patch.alpha[replaced]
