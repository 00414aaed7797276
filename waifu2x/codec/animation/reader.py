"""Is this file an animation, and its frames one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from ...errors import ArgumentError
from .._pillow import reading
from ..png_reader import SIGNATURE
from .apng_reader import open_apng
from .avif_reader import open_avif
from .frames import Animation, Frame
from .gif_reader import open_gif
from .webp_reader import open_webp


def open_animation(stream: BinaryIO, name: str, *, max_pixels: int) -> Animation | None:
    """The animation in a GIF, PNG, WebP or AVIF file; None where that is a still, or another file.

    stream: an open binary file that can seek; it is read from its start, stays open, and must not
        be closed or moved while the animation is iterated.
    name: what messages call it.
    max_pixels: refuse a larger canvas, before anything of its size is allocated.

    The structure of the whole file is walked, so that one that is cut off is refused here and not
    after hours; frames are decoded when iterated. The ``loop`` of `Animation` counts plays in
    all, whatever the format counts: see `open_gif` for GIF.

    Raises DecodeError for a damaged or truncated animation, naming the frame, and LimitError for
    a canvas that is too large. Of a file where None comes out nothing is promised but its first
    bytes: `waifu2x.codec.decode` tells what is wrong with it.
    """
    if max_pixels < 1:
        raise ArgumentError(f"max_pixels is {max_pixels!r}; it must be a whole number, 1 or more")
    with reading(name):
        animation = _opened(stream, name, max_pixels)
    if animation is None:
        return None
    frames = animation.play
    return replace(animation, play=lambda: _guarded(frames(), name))


def _opened(stream: BinaryIO, name: str, limit: int) -> Animation | None:
    stream.seek(0)
    head = stream.read(16)
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return open_gif(stream, name, limit)
    if head.startswith(SIGNATURE):
        return open_apng(stream, name, limit)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return open_webp(stream, name, limit)
    if head[4:8] == b"ftyp" and head[8:12] in (b"avis", b"avif"):
        return open_avif(stream, name, limit)
    return None


def _guarded(frames: Iterator[Frame], name: str) -> Iterator[Frame]:
    """``frames``; whatever goes wrong while one is read leaves as one of our errors."""
    while True:
        with reading(name):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame
