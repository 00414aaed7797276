"""Animated GIF in: blocks by `codec.gif_reader`, composed as browsers do."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from ...errors import DecodeError
from ...picture import Picture, Source
from ..gif_reader import GifBlocks, indices_of, padded_table
from ..limits import check_pixels
from .frames import Animation, Dispose, Frame, FrameControl, Patch, compose

# 3 means the previous picture; old encoders wrote 4 for it, and browsers accept both.
_DISPOSE = {2: Dispose.CLEAR, 3: Dispose.RESTORE, 4: Dispose.RESTORE}


def open_gif(stream: BinaryIO, name: str, limit: int) -> Animation | None:
    """Open the animation in a GIF of at least two frames, else return None.

    The NETSCAPE extension counts repetitions after the first play, as in browsers, ffmpeg and
    ImageMagick: n there is ``loop`` n + 1 here. Without it the animation is played once.
    """
    stream.seek(0)
    if stream.read(6) not in (b"GIF87a", b"GIF89a"):
        return None
    blocks = GifBlocks(stream, name)
    frames, has_alpha = 0, False
    try:
        for image in blocks.images(keep=False):
            width, height = blocks.size
            check_pixels(image.width, image.height, limit, name)
            frames += 1
            has_alpha |= (
                image.transparent is not None
                or _DISPOSE.get(image.dispose) is Dispose.CLEAR
                or (frames == 1 and not image.covers(width, height))
            )
    except DecodeError:
        if blocks.frame < 2:
            return None  # reading the still finds the fault
        raise
    if frames < 2:
        return None
    check_pixels(width, height, limit, name)
    metadata = blocks.metadata(3)
    source = Source("GIF", False, notes=tuple(blocks.notes))

    def play() -> Iterator[Frame]:
        for color, alpha, duration in compose(width, height, 3, _patches(stream, name)):
            yield Frame(Picture(color, alpha, metadata, source), duration)

    return Animation(
        width=width,
        height=height,
        frames=frames,
        loop=blocks.loop,
        metadata=metadata,
        source=source,
        gray=False,
        has_alpha=has_alpha,
        play=play,
    )


def _patches(stream: BinaryIO, name: str) -> Iterator[Patch]:
    blocks = GifBlocks(stream, name)
    for number, image in enumerate(blocks.images(keep=True), 1):
        width, height = blocks.size
        indices = indices_of(image, f"frame {number} of {name}")
        # Crop to the canvas.
        indices = indices[: max(0, height - image.top), : max(0, width - image.left)]
        control = FrameControl(
            *(min(image.left, width), min(image.top, height), image.width, image.height),
            Fraction(image.delay, 100),
            _DISPOSE.get(image.dispose, Dispose.KEEP),
            blend=True,
        )
        yield Patch(
            color=padded_table(image.table)[indices],
            alpha=(
                None
                if image.transparent is None
                else np.where(indices == image.transparent, 0, 255).astype(np.uint8)
            ),
            control=control,
        )
