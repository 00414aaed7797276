"""What an animation is, and how its frames are composed from the patches that files store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...picture import Metadata, Picture, Source

Bytes: TypeAlias = npt.NDArray[np.uint8]

#: `Animation.loop` of an animation that never stops.
FOREVER = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it is shown, and for how long.

    picture: the whole canvas, uint8; its alpha is None where every pixel is opaque.
    duration: in seconds, 0 or more, exactly as the file stores it.
    """

    picture: Picture
    duration: Fraction


@dataclass(frozen=True, slots=True)
class Animation:
    """An animation in an open file. Iterating reads it from its start, as often as one likes.

    One frame at a time is in memory, besides the canvas it is composed on. The stream must stay
    open, and only one iteration at a time may read it. Iterating raises DecodeError, which names
    the frame, where its pixels are damaged.

    width, height: of every frame, in pixels.
    frames: how many there are.
    loop: how often the whole is played; 0 is forever.
    metadata: as of a still picture (`waifu2x.picture.Metadata`); that of the frames is the same.
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
    """What becomes of a patch when its time is over."""

    KEEP = 0
    CLEAR = 1
    RESTORE = 2


@dataclass(frozen=True, slots=True)
class Patch:
    """What a file stores of one frame: a rectangle, and what to do with it.

    color: (h, w, C) uint8; alpha: (h, w) uint8 or None for opaque.
    left, top: of the rectangle; it lies within the canvas.
    over: it is laid over the canvas by its alpha, else it replaces what is there.
    """

    color: Bytes
    alpha: Bytes | None
    left: int
    top: int
    duration: Fraction
    dispose: Dispose
    over: bool


def compose(
    width: int, height: int, channels: int, patches: Iterator[Patch]
) -> Iterator[tuple[Bytes, Bytes | None, Fraction]]:
    """Color (height, width, channels), alpha or None if opaque, and duration of every frame.

    The canvas is transparent at first, and where a patch is cleared: that is what browsers do,
    whatever background color a file names. The arrays belong to the caller.
    """
    color = np.zeros((height, width, channels), np.uint8)
    alpha = np.zeros((height, width), np.uint8)
    for patch in patches:
        rows, columns = patch.color.shape[:2]
        area = (
            slice(patch.top, patch.top + rows),
            slice(patch.left, patch.left + columns),
        )
        before = None
        if patch.dispose is Dispose.RESTORE:
            before = color[area].copy(), alpha[area].copy()
        _draw(color[area], alpha[area], patch)
        opaque = bool(alpha.min() == 255)
        yield color.copy(), None if opaque else alpha.copy(), patch.duration
        if before is not None:
            color[area], alpha[area] = before
        elif patch.dispose is Dispose.CLEAR:
            color[area], alpha[area] = 0, 0


def _draw(color: Bytes, alpha: Bytes, patch: Patch) -> None:
    """Draw ``patch`` on its area of the canvas, in place."""
    if patch.alpha is None or not patch.over:
        color[...] = patch.color
        alpha[...] = 255 if patch.alpha is None else patch.alpha
        return
    replaced = (patch.alpha == 255) | (alpha == 0)
    replaced &= patch.alpha > 0
    color[replaced] = patch.color[replaced]
    mixed = (patch.alpha > 0) & ~replaced
    if mixed.any():
        # Porter and Duff's "over" for straight alpha; everything times 255 until the division.
        above = patch.alpha[mixed].astype(np.int64) * 255
        below = alpha[mixed] * (255 - patch.alpha[mixed].astype(np.int64))
        total = above + below
        wide: npt.NDArray[Any] = patch.color[mixed] * above[:, None]
        wide += color[mixed] * below[:, None]
        color[mixed] = (wide + total[:, None] // 2) // total[:, None]
        alpha[mixed] = (total + 127) // 255
    alpha[replaced] = patch.alpha[replaced]
