"""Animated GIF in.

The blocks are read here, and Pillow decodes only the pixels of one patch at a time: it would fill
cleared and uncovered areas with a background color that no browser shows.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from PIL import Image

from ..._text import AGAIN
from ...errors import DecodeError
from ...picture import Metadata, Picture, Source
from .._pillow import pillow_errors
from ..limits import check_pixels
from .frames import Animation, Bytes, Dispose, Frame, FrameControl, Patch, compose
from .stills import ContainerReader

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")

# 3 means the previous picture; old encoders wrote 4 for it, and browsers accept both.
_DISPOSE = {2: Dispose.CLEAR, 3: Dispose.RESTORE, 4: Dispose.RESTORE}

_SOURCE = Source("GIF", False)


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """An image block; ``data`` is the compressed indices with their sub-blocks."""

    control: FrameControl
    interlaced: bool
    table: bytes
    transparent: int | None
    data: bytes


def open_gif(stream: BinaryIO, name: str, limit: int) -> Animation | None:
    """Open the animation in a GIF of at least two frames, else return None.

    The NETSCAPE extension counts repetitions after the first play, as in browsers, ffmpeg and
    ImageMagick: n there is ``loop`` n + 1 here. Without it the animation is played once.
    """
    stream.seek(0)
    if stream.read(6) not in (b"GIF87a", b"GIF89a"):
        return None
    blocks = GifBlocks(stream, name)
    width, height = blocks.size
    frames, has_alpha = 0, False
    for image in blocks.images(keep=False):
        control = image.control
        check_pixels(control.width, control.height, limit, name)
        frames += 1
        covers = (
            control.left == control.top == 0 and control.width >= width and control.height >= height
        )
        has_alpha |= (
            image.transparent is not None
            or control.dispose is Dispose.CLEAR
            or (frames == 1 and not covers)
        )
    if frames < 2:
        return None
    check_pixels(width, height, limit, name)

    def play() -> Iterator[Frame]:
        for color, alpha, duration in compose(width, height, 3, _patches(stream, name)):
            yield Frame(Picture(color, alpha, Metadata(), _SOURCE), duration)

    return Animation(
        width=width,
        height=height,
        frames=frames,
        loop=blocks.loop,
        metadata=Metadata(),
        source=_SOURCE,
        gray=False,
        has_alpha=has_alpha,
        play=play,
    )


def _patches(stream: BinaryIO, name: str) -> Iterator[Patch]:
    blocks = GifBlocks(stream, name)
    width, height = blocks.size
    for number, image in enumerate(blocks.images(keep=True), 1):
        control = image.control
        indices = _indices(image, f"frame {number} of {name}")
        # Crop to the canvas.
        indices = indices[: max(0, height - control.top), : max(0, width - control.left)]
        control = replace(control, left=min(control.left, width), top=min(control.top, height))
        table = np.zeros((256, 3), np.uint8)
        stored = np.frombuffer(image.table, np.uint8).reshape(-1, 3)
        table[: len(stored)] = stored
        yield Patch(
            color=table[indices],
            alpha=(
                None
                if image.transparent is None
                else np.where(indices == image.transparent, 0, 255).astype(np.uint8)
            ),
            control=control,
        )


def _indices(image: ImageBlock, name: str) -> Bytes:
    """Return the (height, width) indices of one image block."""
    # A GIF of this image alone; without color tables Pillow returns the indices as gray.
    flags = 0x40 if image.interlaced else 0
    width, height = image.control.width, image.control.height
    still = (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + struct.pack("<BHHHHB", _IMAGE, 0, 0, width, height, flags)
        + image.data
        + b";"
    )
    with pillow_errors(name), Image.open(io.BytesIO(still), formats=["GIF"]) as opened:
        opened.load()
        return np.array(opened, np.uint8)


class GifBlocks(ContainerReader):
    """Reads the blocks of a GIF from its start."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        super().__init__(stream, name)
        stream.seek(0)
        header = self._read(13)
        self.size: tuple[int, int] = struct.unpack_from("<HH", header, 6)
        if 0 in self.size:
            raise DecodeError(f"{name} is {self.size[0]}x{self.size[1]}; no side may be 0")
        self._flags = header[10]
        #: Number of plays, known after all blocks; 0 is forever.
        self.loop = 1

    def images(self, *, keep: bool) -> Iterator[ImageBlock]:
        """Yield every image block, with its data if ``keep``.

        A file that ends between two blocks lacks only its last byte, and is accepted.
        """
        table = self._table(self._flags)
        control = bytes(4)
        while (kind := self._stream.read(1)) not in (b"", bytes([_TRAILER])):
            if kind[0] == _EXTENSION:
                label = self._read(1)[0]
                if label == _CONTROL:
                    control = self._control()
                elif label == _APPLICATION:
                    self._application()
                else:
                    self._skip_blocks()
            elif kind[0] == _IMAGE:
                self._frame += 1
                yield self._image(table, control, keep=keep)
                control = bytes(4)
            elif kind != b"\0":  # some encoders write an extra terminator
                raise DecodeError(
                    f"{self._name} is damaged: no block of GIF follows frame {self._frame}{AGAIN}"
                )

    def _image(self, table: bytes, control: bytes, *, keep: bool) -> ImageBlock:
        left, top, width, height, flags = struct.unpack("<HHHHB", self._read(9))
        if 0 in (width, height):
            raise DecodeError(
                f"frame {self._frame} of {self._name} is {width}x{height}; no side may be 0"
            )
        own = self._table(flags)
        if not (own or table):  # without color tables, gray as in Pillow
            own = bytes(value for value in range(256) for _ in range(3))
        (delay,) = struct.unpack_from("<H", control, 1)
        dispose = _DISPOSE.get(control[0] >> 2 & 7, Dispose.KEEP)
        start = self._stream.tell()
        self._read(1)
        self._skip_blocks()
        end = self._stream.tell()
        # A code has at most 12 bits and seldom stands for less than one index.
        if end - start > 4 * width * height + (1 << 16):
            raise self._damaged(f"{end - start} bytes for {width}x{height} pixels")
        data = b""
        if keep:
            self._stream.seek(start)
            data = self._read(end - start)
        return ImageBlock(
            FrameControl(left, top, width, height, Fraction(delay, 100), dispose, blend=True),
            interlaced=bool(flags & 0x40),
            table=own or table,
            transparent=control[3] if control[0] & 1 else None,
            data=data,
        )

    def _control(self) -> bytes:
        size = self._read(1)[0]
        data = self._read(size)
        if size:
            self._skip_blocks()
        return data[:4].ljust(4, b"\0")

    def _application(self) -> None:
        size = self._read(1)[0]
        known = self._read(size) in _LOOPS
        while size:
            size = self._read(1)[0]
            data = self._read(size)
            if known and size >= 3 and data[0] == 1:
                repeats = int.from_bytes(data[1:3], "little")
                self.loop = repeats + 1 if repeats else 0

    def _table(self, flags: int) -> bytes:
        return self._read(3 << (flags & 7) + 1) if flags & 0x80 else b""

    def _skip_blocks(self) -> None:
        """Skip sub-blocks and their terminator."""
        while size := self._read(1)[0]:
            self._read(size)
