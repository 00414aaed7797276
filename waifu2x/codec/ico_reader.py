"""Icons and cursors: the largest picture, and among equal sizes the deepest.

Pillow takes the shallowest, and no cursors. Layout: Microsoft, "Icons" (ICONDIR, ICONIMAGE). A
picture is a PNG, or a DIB of twice the height whose second half is a mask.
"""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import BinaryIO, NamedTuple

import numpy as np

from .._text import AGAIN
from ..errors import DecodeError
from ..picture import Metadata, Picture, Source
from .bmp_reader import Bytes, read_layout, read_pixels
from .faults import truncated
from .limits import check_bytes, check_pixels
from .png_chunks import SIGNATURE
from .png_decoder import decode_png
from .png_reader import read_header

_MAX_ENTRIES = 1024


class _Entry(NamedTuple):
    """A picture of the directory: its size, bits per pixel, and start."""

    width: int
    height: int
    bits: int
    offset: int


def is_ico(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is an icon or a cursor.

    A TGA may begin alike, but then has 0 in place of the count.
    """
    if head[:4] not in (b"\0\0\1\0", b"\0\0\2\0") or len(head) < 22:
        return False
    count = int.from_bytes(head[4:6], "little")
    offset = int.from_bytes(head[18:22], "little")
    return 0 < count <= _MAX_ENTRIES and offset >= 6 + 16 * count


def read_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height of the picture that `read_ico` reads; raises DecodeError."""
    entry = _best(stream, name)
    return entry.width, entry.height


def read_ico(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read the best picture of an icon or cursor; raises DecodeError and LimitError."""
    entry = _best(stream, name)
    check_pixels(entry.width, entry.height, limit, name)
    stream.seek(entry.offset)
    if stream.read(8) == SIGNATURE:
        check_bytes(stream, limit, name)
        stream.seek(entry.offset)
        picture = decode_png(io.BytesIO(stream.read()), name, limit)
        return replace(picture, source=replace(picture.source, format="ICO"))
    layout = read_layout(stream, entry.offset, name)
    layout = replace(layout, height=layout.height // 2)
    pixels = read_pixels(stream, layout, name, unused=True)
    alpha: Bytes | None = pixels.unused
    if pixels.alpha is not None:
        alpha = pixels.alpha.astype(np.uint8)
    color, notes = pixels.color, pixels.notes
    if alpha is None or not alpha.any():
        # Old icons of 32 bits have a mask alone.
        start = layout.pixels + layout.height * layout.stride
        mask = _mask(stream, start, layout.width, layout.height, name)
        if not layout.top_down:
            mask = mask[::-1]
        inverted = mask & color.any(axis=2)
        if inverted.any():
            notes.append("pixels that invert the screen are transparent")
        alpha = np.where(mask, 0, 255).astype(np.uint8)
    return Picture(color, alpha, Metadata(), Source("ICO", False, notes=tuple(notes)))


def _mask(stream: BinaryIO, start: int, width: int, height: int, name: str) -> Bytes:
    """Return the mask (H, W): True is transparent."""
    stride = (width + 31) // 32 * 4
    stream.seek(start)
    data = stream.read(stride * height)
    if len(data) < stride * height:
        raise truncated(name)
    rows = np.frombuffer(data, np.uint8).reshape(height, stride)
    return np.unpackbits(rows, axis=1)[:, :width].astype(np.bool_)


def _best(stream: BinaryIO, name: str) -> _Entry:
    """Return the largest entry, of those the deepest, of those the first."""
    stream.seek(4)
    count = int.from_bytes(stream.read(2), "little")
    table = stream.read(16 * min(count, _MAX_ENTRIES))
    found = []
    for (offset,) in struct.iter_unpack("<12xI", table[: len(table) // 16 * 16]):
        entry = _entry(stream, offset)
        if entry is not None:
            found.append(entry)
    if not found:
        raise DecodeError(f"{name} is damaged: no picture of this icon can be read{AGAIN}")
    return max(found, key=lambda entry: (entry.width * entry.height, entry.bits))


def _entry(stream: BinaryIO, offset: int) -> _Entry | None:
    """Return the entry of the picture at ``offset``, or None if none begins there."""
    stream.seek(offset)
    if stream.read(8) == SIGNATURE:
        stream.seek(offset)
        try:
            header = read_header(io.BytesIO(stream.read(33)), "the icon")
        except DecodeError:
            return None
        bits = 32 if header.color_type == 3 else header.pixel_bits
        return _Entry(header.width, header.height, bits, offset)
    try:
        layout = read_layout(stream, offset, "the icon")
    except DecodeError:
        return None
    if layout.height < 2:
        return None
    return _Entry(layout.width, layout.height // 2, layout.bits, offset)
