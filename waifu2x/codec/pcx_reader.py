"""PCX of every depth and number of planes.

Pillow reads five of its layouts, and takes the length of rows from the width. Layout: ZSoft PCX
File Format Technical Reference Manual, revision 5.
"""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import BinaryIO, Final

import numpy as np

from .._record import record
from .._text import AGAIN
from ..errors import DecodeError
from ..picture import Metadata, Picture, Source
from .bit_fields import indices
from .faults import truncated, unsupported
from .limits import check_pixels
from .run_length import Bytes, expand
from .samples import valid_dpi

_HEAD_BYTES: Final = 128
_PALETTE_BYTES: Final = 1 + 768

# The colors of EGA, for version 3, which has no palette.
_EGA: Final = bytes.fromhex(
    "000000 0000aa 00aa00 00aaaa aa0000 aa00aa aa5500 aaaaaa"
    "555555 5555ff 55ff55 55ffff ff5555 ff55ff ffff55 ffffff"
)

_HEADS: Final = range(256)
_STEPS: Final = tuple(2 if head >= 0xC0 else 1 for head in _HEADS)
_COUNTS: Final = tuple(head & 63 if head >= 0xC0 else 1 for head in _HEADS)
_RUNS: Final = np.array([head >= 0xC0 for head in _HEADS], np.uint8)

_LAYOUTS: Final = frozenset(
    ((1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (4, 1), (8, 1), (8, 3), (8, 4))
)


@record
class _Header:
    """The first 128 bytes; stride: bytes of a row of one plane."""

    version: int
    encoded: bool
    bits: int
    left: int
    top: int
    right: int
    bottom: int
    dpi: tuple[int, int]
    palette: bytes
    planes: int
    stride: int

    @property
    def width(self) -> int:
        return self.right - self.left + 1

    @property
    def height(self) -> int:
        return self.bottom - self.top + 1


def is_pcx(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is a PCX, whose first byte is 10."""
    return (
        len(head) >= _HEAD_BYTES
        and head[0] == 10
        and head[1] in (0, 2, 3, 4, 5)
        and head[2] in (0, 1)
        and head[3] in (1, 2, 4, 8)
    )


def _header(stream: BinaryIO, name: str) -> _Header:
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    version, encoded, bits, *fields = struct.unpack_from("<3B6H", head, 1)
    planes, stride = struct.unpack_from("<BH", head, 65)
    left, top, right, bottom, *dpi = fields
    header = _Header(
        version, bool(encoded), bits, left, top, right, bottom, (dpi[0], dpi[1]), head[16:64],
        planes, stride,
    )  # fmt: skip
    if header.width < 1 or header.height < 1:
        raise DecodeError(
            f"{name} is {header.width}x{header.height}; no side may be 0 or less{AGAIN}"
        )
    return header


def read_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height of a file that `is_pcx` accepts; raises DecodeError."""
    header = _header(stream, name)
    return header.width, header.height


def read_pcx(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read a PCX of 8 bits: gray, RGB or RGBA; raises DecodeError and LimitError."""
    header = _header(stream, name)
    check_pixels(header.width, header.height, limit, name)
    if (header.bits, header.planes) not in _LAYOUTS:
        raise unsupported(name, f"a PCX of {header.planes} planes of {header.bits} bits")
    least = (header.width * header.bits + 7) // 8
    if not least <= header.stride <= 2 * least + 64:
        header = replace(header, stride=least + least % 2)  # the stored length makes no sense
    rows = _rows(stream, header, name)
    width = header.width
    alpha: Bytes | None = None
    notes: tuple[str, ...] = ()
    if header.bits == 8 and header.planes >= 3:
        color = np.ascontiguousarray(rows[:, :3, :width].transpose(0, 2, 1))
        if header.planes == 4:
            alpha = np.ascontiguousarray(rows[:, 3, :width])
    elif header.bits == header.planes == 1:
        color = indices(rows[:, 0], width, 1)[:, :, None] * np.uint8(255)
    else:
        table, notes = _table(stream, header)
        values = indices(rows[:, 0], width, header.bits)
        for plane in range(1, header.planes):
            values = values | indices(rows[:, plane], width, 1) << np.uint8(plane)
        color = table[values]
    metadata = Metadata(dpi=valid_dpi(header.dpi))
    return Picture(color, alpha, metadata, Source("PCX", False, notes=notes))


def _rows(stream: BinaryIO, header: _Header, name: str) -> Bytes:
    """Return the stored bytes (H, planes, stride)."""
    count = header.height * header.planes * header.stride
    stream.seek(_HEAD_BYTES)
    if header.encoded:
        # Two bytes for one are the longest form.
        data = stream.read(2 * count)
        found = expand(data, count, 1, _STEPS, _COUNTS, _RUNS)
    else:
        data = stream.read(count)
        found = np.frombuffer(data, np.uint8)[:, None] if len(data) == count else None
    if found is None:
        raise truncated(name)
    return found.reshape(header.height, header.planes, header.stride)


def _table(stream: BinaryIO, header: _Header) -> tuple[Bytes, tuple[str, ...]]:
    """Return the palette (256, 1 or 3), gray if each index is its own shade, and notes."""
    table = np.zeros((256, 3), np.uint8)
    if header.bits < 8:
        colors = _EGA if header.version == 3 else header.palette
        table[:16] = np.frombuffer(colors, np.uint8).reshape(16, 3)
        return table, ()
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    end = stream.seek(0, io.SEEK_END)
    stream.seek(max(_HEAD_BYTES, end - _PALETTE_BYTES))
    stored = stream.read(_PALETTE_BYTES)
    if header.version != 5:
        return ramp, ()
    if len(stored) < _PALETTE_BYTES or stored[0] != 12:
        return ramp, ("the palette is missing: read as gray",)
    table[:] = np.frombuffer(stored, np.uint8, 768, 1).reshape(256, 3)
    return (ramp if (table == ramp).all() else table), ()
