"""Opens animations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from ...errors import ArgumentError
from .._pillow import pillow_errors
from ..decoder import may_be_animation
from ..gif_reader import GifBlocks
from ..sniff import HEAD_BYTES, sniff
from .apng_reader import open_apng
from .avif_reader import open_avif
from .frames import Animation, Frame
from .gif_reader import open_gif
from .webp_reader import open_webp

_READERS = {"gif": open_gif, "png": open_apng, "webp": open_webp, "avif": open_avif}


def open_animation(stream: BinaryIO, name: str, *, max_pixels: int) -> Animation | None:
    """Open the animation in a GIF, PNG, WebP or AVIF file; None for a still or another file.

    stream: an open seekable binary file; it is read from its start, stays open, and must not be
        closed or moved while the animation is iterated.
    name: for messages.
    max_pixels: the largest canvas, checked before anything of its size is allocated.

    The structure of the whole file is read, so a truncated file is refused here and not after
    hours; frames are decoded when iterated. The ``loop`` of `Animation` is the number of plays in
    every format: see `open_gif` for GIF.

    Raises DecodeError for a damaged or truncated animation, naming the frame, and LimitError for
    too large a canvas. None promises nothing about the file: `waifu2x.codec.decode` finds faults.
    """
    if max_pixels < 1:
        raise ArgumentError(f"max_pixels is {max_pixels!r}; it must be a whole number, 1 or more")
    stream.seek(0)
    reader = _READERS.get(sniff(stream.read(HEAD_BYTES)).name)
    if reader is None:
        return None
    with pillow_errors(name):
        animation = reader(stream, name, max_pixels)
    if animation is None:
        return None
    frames = animation.play
    return replace(animation, play=lambda: _guarded(frames(), name))


def has_frames(stream: BinaryIO, name: str) -> bool:
    """Return whether a seekable file is an animation, by its header and a GIF's first frames.

    Raises DecodeError for a GIF that is damaged before its second frame.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    kind = sniff(head).name
    if kind == "gif":
        with pillow_errors(name):
            images = GifBlocks(stream, name).images(keep=False)
            return next(images, None) is not None and next(images, None) is not None
    if kind == "avif":
        return head[8:12] in (b"avis", b"msf1")
    return may_be_animation(stream)


def _guarded(frames: Iterator[Frame], name: str) -> Iterator[Frame]:
    """Yield ``frames``; any exception while one is read becomes an error of this package."""
    while True:
        with pillow_errors(name):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame
