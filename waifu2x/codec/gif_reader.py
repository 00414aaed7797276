"""The blocks of a GIF, and a still GIF.

The blocks are read here, and Pillow decodes only the pixels of one block at a time: it would fill
cleared and uncovered areas with a background color that no browser shows, and it drops profiles.
Layout: GIF 89a; ICC profiles: https://www.color.org/icc1v42.pdf, annex B.4; XMP: XMP specification,
part 3, 1.1.2.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._record import record
from .._text import AGAIN
from ..errors import DecodeError
from ..picture import Metadata, Picture, Source
from ._pillow import pillow_errors
from .container_reader import ContainerReader
from .faults import animated
from .image import kept_xmp, matching_icc
from .limits import check_pixels
from .png_reader import MAX_PROFILE, MAX_TEXT, MAX_TEXTS

Bytes = npt.NDArray[np.uint8]

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_CONTROL, _APPLICATION, _COMMENT = 0xF9, 0xFF, 0xFE
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_ICC, _XMP = b"ICCRGBG1012", b"XMP DataXMP"

# XMP is no chain of sub-blocks; these bytes behind the packet lead any reader to its end.
_XMP_TRAILER = b"\1" + bytes(range(255, -1, -1))

_CUT = "the file ends within a block, after all pixels"


@record
class ImageBlock:
    """An image block.

    left, top, width, height: of its rectangle. delay: in 1/100 s. dispose: as stored, 0 to 7.
    table: of its colors, 3 bytes each. transparent: an index, or None.
    data: the compressed indices with their sub-blocks, if they were asked for.
    """

    left: int
    top: int
    width: int
    height: int
    delay: int
    dispose: int
    interlaced: bool
    table: bytes
    transparent: int | None
    data: bytes

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns of the rectangle."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )

    def covers(self, width: int, height: int) -> bool:
        """Return whether the rectangle includes a canvas of that size."""
        return (self.left, self.top) == (0, 0) and self.width >= width and self.height >= height


def read_gif(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read the one picture of a GIF: RGB, or gray if its palette is that of gray.

    Pixels outside the image block are transparent. A picture larger than the canvas enlarges it.

    Raises DecodeError for a damaged file or an animation, and LimitError.
    """
    blocks = GifBlocks(stream, name, whole=False)
    found: ImageBlock | None = None
    count = 0
    for image in blocks.images(keep=True, limit=limit):
        count += 1
        found = found or image
    if found is None:
        raise DecodeError(f"{name} is truncated: the file ends before the first frame{AGAIN}")
    if count > 1:
        raise animated(count, name)
    width = max(blocks.size[0], found.left + found.width)
    height = max(blocks.size[1], found.top + found.height)
    indices = indices_of(found, name)
    table = padded_table(found.table)
    stored = len(found.table) // 3
    gray = np.array_equal(table[:stored], np.arange(stored)[:, None].repeat(3, axis=1))
    if gray:
        table = table[:, :1]
    covers = found.covers(width, height)
    color = table[indices]
    if not covers:
        around = np.zeros(table.shape[1], np.uint8)
        if found.transparent is not None:
            around = table[found.transparent]
        whole = np.empty((height, width, table.shape[1]), np.uint8)
        whole[:] = around
        whole[found.area] = color
        color = whole
    alpha = None
    if found.transparent is not None or not covers:
        alpha = np.zeros((height, width), np.uint8)
        alpha[found.area] = 255
        if found.transparent is not None:
            alpha[found.area][indices == found.transparent] = 0
    return Picture(
        color,
        alpha,
        blocks.metadata(table.shape[1]),
        Source("GIF", False, notes=tuple(blocks.notes)),
    )


def padded_table(stored: bytes) -> Bytes:
    """Return a color table with 256 rows; missing colors are black."""
    table = np.zeros((256, 3), np.uint8)
    colors = np.frombuffer(stored, np.uint8).reshape(-1, 3)
    table[: len(colors)] = colors
    return table


def indices_of(image: ImageBlock, name: str) -> Bytes:
    """Return the (height, width) indices of one image block."""
    # A GIF of this image alone; without color tables Pillow returns the indices as gray.
    flags = 0x40 if image.interlaced else 0
    width, height = image.width, image.height
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

    def __init__(self, stream: BinaryIO, name: str, *, whole: bool = True) -> None:
        """whole: refuse a file that ends in a block, or with other bytes, as animations must."""
        super().__init__(stream, name)
        stream.seek(0)
        header = self._read(13)
        #: Width and height of the canvas. If 0 in the file, known after the first image.
        self.size: tuple[int, int] = struct.unpack_from("<HH", header, 6)
        self._flags = header[10]
        self._whole = whole
        #: Number of plays, known after all blocks; 0 is forever.
        self.loop = 1
        #: What was left out, known after all blocks.
        self.notes: list[str] = []
        self._icc = self._xmp = b""
        self._texts: list[tuple[str, str]] = []
        self._text_budget = MAX_TEXTS

    @property
    def frame(self) -> int:
        """The number of image blocks that began so far."""
        return self._frame

    def metadata(self, channels: int) -> Metadata:
        """Return profile, XMP and comments, complete after all blocks."""
        icc = matching_icc(self._icc, channels)
        if self._icc and icc is None:
            self.notes.append("a color profile that does not fit the picture: left out")
        return Metadata(icc=icc, xmp=kept_xmp(self._xmp), text=tuple(self._texts))

    def images(self, *, keep: bool, limit: int | None = None) -> Iterator[ImageBlock]:
        """Yield every image block, with its data if ``keep``.

        limit: the most pixels of a block, checked before its data is read.
        A file that ends between two blocks lacks only its last byte, and is accepted.
        """
        table = self._table(self._flags)
        control = bytes(4)
        while (kind := self._stream.read(1)) not in (b"", bytes([_TRAILER])):
            if kind[0] == _EXTENSION:
                try:
                    label = self._read(1)[0]
                    if label == _CONTROL:
                        control = self._control()
                    elif label == _APPLICATION:
                        self._application()
                    elif label == _COMMENT:
                        self._comment()
                    else:
                        self._skip_blocks()
                        self._note("a text drawn over the picture (plain text): left out")
                except DecodeError:
                    if self._whole or not self._frame:
                        raise
                    self._note(_CUT)
                    return
            elif kind[0] == _IMAGE:
                self._frame += 1
                yield self._image(table, control, keep=keep, limit=limit)
                control = bytes(4)
            elif kind != b"\0" and self._whole:  # some encoders write an extra terminator
                raise DecodeError(
                    f"{self._name} is damaged: no block of GIF follows frame {self._frame}{AGAIN}"
                )
            elif kind != b"\0" and self._frame:
                self._note("other bytes follow the picture: left out")
                return

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _image(self, table: bytes, control: bytes, *, keep: bool, limit: int | None) -> ImageBlock:
        left, top, width, height, flags = struct.unpack("<HHHHB", self._read(9))
        # Browsers too take a missing size from the canvas, or that of the canvas from here.
        width, height = width or self.size[0], height or self.size[1]
        if 0 in (width, height):
            raise DecodeError(
                f"frame {self._frame} of {self._name} is {width}x{height}; no side may be 0"
            )
        self.size = self.size[0] or left + width, self.size[1] or top + height
        if limit is not None:
            check_pixels(
                max(self.size[0], left + width),
                max(self.size[1], top + height),
                limit,
                self._name,
            )
        own = self._table(flags)
        if not (own or table):  # without color tables, gray as in Pillow
            own = bytes(value for value in range(256) for _ in range(3))
        (delay,) = struct.unpack_from("<H", control, 1)
        start = self._stream.tell()
        cut = False
        try:
            self._read(1)
            self._skip_blocks()
        except DecodeError:
            if self._whole or self._frame > 1:
                raise
            # Perhaps only the terminator is missing; decoding finds missing pixels.
            self._note(_CUT)
            cut = True
        end = self._stream.seek(0, io.SEEK_END) if cut else self._stream.tell()
        # A code has at most 12 bits and seldom stands for less than one index.
        if end - start > 4 * width * height + (1 << 16):
            raise self._damaged(f"{end - start} bytes for {width}x{height} pixels")
        data = b""
        if keep:
            self._stream.seek(start)
            data = self._read(end - start)
            data = _closed(data) if cut else data
        return ImageBlock(
            *(left, top, width, height, delay, control[0] >> 2 & 7),
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
        name = self._read(size)
        if not size:
            return
        if name in (_ICC, _XMP):
            data = self._collected(MAX_PROFILE, sizes=name == _XMP)
            if data is None:
                self._note("a color profile or XMP beyond the limits of size: left out")
            elif name == _ICC:
                self._icc = self._icc or data
            else:
                self._xmp = self._xmp or data.removesuffix(_XMP_TRAILER)
            return
        while size := self._read(1)[0]:
            data = self._read(size)
            if name in _LOOPS and size >= 3 and data[0] == 1:
                repeats = int.from_bytes(data[1:3], "little")
                self.loop = repeats + 1 if repeats else 0

    def _comment(self) -> None:
        data = self._collected(min(MAX_TEXT, self._text_budget), sizes=False)
        if data is None:
            self._note("comments beyond the limits of size: left out")
        elif text := data.rstrip(b"\0"):
            self._text_budget -= len(text)
            self._texts.append(("Comment", _decoded(text)))

    def _collected(self, limit: int, *, sizes: bool) -> bytes | None:
        """Return the data of sub-blocks, with their sizes if asked; None beyond ``limit``."""
        parts: list[bytes] = []
        total = 0
        while size := self._read(1)[0]:
            data = self._read(size)
            total += size + 1
            if total <= limit:
                parts.append(bytes([size]) + data if sizes else data)
        return b"".join(parts) if total <= limit else None

    def _table(self, flags: int) -> bytes:
        return self._read(3 << (flags & 7) + 1) if flags & 0x80 else b""

    def _skip_blocks(self) -> None:
        """Skip sub-blocks and their terminator."""
        while size := self._read(1)[0]:
            self._read(size)


def _closed(data: bytes) -> bytes:
    """Return a code size and sub-blocks, of which the last ends too early, with a terminator.

    The length of the last sub-block becomes that of what is there, so no code reads beyond.
    """
    position = 1
    while position < len(data):
        held = min(data[position], len(data) - position - 1)
        if held < data[position]:
            block = bytes([held]) + data[position + 1 :] if held else b""
            return data[:position] + block + b"\0"
        position += 1 + held
    return data + b"\0"


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
