"""TIFF written while the picture is being computed: 8 and 16 bits and float, with all metadata.

Pillow writes neither 16-bit nor float color. Strips of about 256 KiB are differenced, compressed
by deflate on threads of their own, and written in order; the directory comes last.

An EXIF block is a TIFF without pixels, so the file begins with the unchanged block, and the
directory of the picture points into it. Makers' notes of cameras hold offsets from the start of the
block, which here is the start of the file, so they stay valid.

Layout and predictor 2: TIFF 6.0 (Adobe, 1992); predictor 3: Adobe Photoshop TIFF Technical Note 3
(2005).
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import EncodeError
from .deflate import Deflate
from .exif import DESCRIPTIVE_TAGS, EXIF_PREFIX
from .row_writer import ByteSink, RowBlock, RowWriter
from .samples import interleave
from .tiff_header import VALUE_SIZES
from .tiff_metadata import little_endian

_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 3, 4, 5, 7

_DEFLATE = 8  # Adobe's number for zlib
_STRAIGHT_ALPHA = 2
_UNSIGNED, _FLOAT = 1, 3
_INCH = 2

# Of an EXIF block's first directory: the descriptive tags, the resolution, and the links to the
# Exif and GPS directories. The other tags describe the layout of other pixels.
_RESOLUTION = (0x011A, 0x011B, 0x0128)
_SUB_DIRECTORIES = (0x8769, 0x8825)
_KEPT_TAGS = frozenset((*DESCRIPTIVE_TAGS, *_RESOLUTION, *_SUB_DIRECTORIES))

_LIMIT = 1 << 32


class SeekableSink(ByteSink, Protocol):
    """Where the file goes; its header is completed last."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to ``offset``."""

    def tell(self) -> int:
        """Return the offset of the next byte."""


class TiffWriter(RowWriter[bytes]):
    """A TIFF; see `RowWriter`. Rows that would make it larger than 4 GiB raise EncodeError."""

    label = "TIFF"
    max_side = (1 << 32) - 1
    dtypes = ("uint8", "uint16", "float32")

    def __init__(
        self,
        stream: SeekableSink,
        *,
        width: int,
        height: int,
        channels: int,
        dtype: npt.DTypeLike = np.uint8,
        threads: int | None = None,
        deflate: Deflate | None = None,
        icc_profile: bytes | None = None,
        exif: bytes | None = None,
        xmp: bytes | None = None,
        dpi: tuple[float, float] | None = None,
        iptc: bytes | None = None,
    ) -> None:
        """Write the header.

        stream: receives the file from its position on, always in the calling thread; left open.
        icc_profile, exif, xmp, dpi, iptc: as in `Metadata`. Of the first EXIF directory, the
            descriptive tags are kept; the Exif and GPS directories are kept whole; the thumbnail is
            not. With float samples, a big-endian block is converted to little-endian.
        The rest is as for `RowWriter`. Raises also what ``stream`` raises.
        """
        super().__init__(
            width=width,
            height=height,
            channels=channels,
            dtype=dtype,
            threads=threads,
            deflate=deflate,
        )
        self._stream = stream
        self._width, self._height, self._channels = width, height, channels
        self._icc, self._xmp, self._dpi, self._iptc = icc_profile, xmp, dpi, iptc
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        block = b"" if exif is None else exif.removeprefix(EXIF_PREFIX)
        if self._dtype.kind == "f" and block.startswith(b"MM"):
            # Pillow swaps the bytes of big-endian floats twice.
            try:
                block = little_endian(block, (*DESCRIPTIVE_TAGS, *_RESOLUTION))
            except ValueError:
                block = b""  # its directories overlap or lie beyond its end
        self._order = ">" if block.startswith(b"MM") else "<"
        self._exif = _kept_entries(block, self._order)
        self._base = stream.tell()
        self._position = 0
        self._append(block or b"II*\0\0\0\0\0")

    def _encode(self, blocks: list[RowBlock], above: RowBlock | None) -> bytes:
        rows = [interleave(block.color, block.alpha) for block in blocks]
        samples = rows[0] if len(rows) == 1 else np.concatenate(rows)
        return self._deflate.stream(_differenced(samples, self._order).data)

    def _write(self, encoded: bytes) -> None:
        self._offsets.append(self._append(encoded))
        self._sizes.append(len(encoded))

    def _end(self) -> None:
        directory = self._write_directory()
        self._stream.seek(self._base + 4)
        self._stream.write(self._pack("I", directory))
        self._stream.seek(self._base + self._position)

    def _append(self, data: bytes) -> int:
        """Write ``data`` at the end and return its offset, which is even."""
        offset = self._position
        if offset + len(data) + 1 >= _LIMIT:
            raise EncodeError("the file would be larger than the 4 GiB that TIFF holds; use PNG")
        padded = data + b"\0" if len(data) % 2 else data
        self._stream.write(padded)
        self._position += len(padded)
        return offset

    def _pack(self, kind: str, *values: int) -> bytes:
        return struct.pack(f"{self._order}{len(values)}{kind}", *values)

    def _write_directory(self) -> int:
        """Write the directory and the values that it points to; return its offset."""
        entries = dict(self._exif)
        for tag, (kind, count, value) in self._fields().items():
            at = value.ljust(4, b"\0") if len(value) <= 4 else self._pack("I", self._append(value))
            entries[tag] = self._pack("H", tag, kind) + self._pack("I", count) + at
        parts = [self._pack("H", len(entries)), *(entries[tag] for tag in sorted(entries))]
        return self._append(b"".join(parts) + b"\0\0\0\0")

    def _fields(self) -> dict[int, tuple[int, int, bytes]]:
        """Return tag -> type, count and value of the layout, color and metadata fields."""
        colors = 3 if self._channels >= 3 else 1
        is_float = self._dtype.kind == "f"

        def shorts(*values: int) -> tuple[int, int, bytes]:
            return _SHORT, len(values), self._pack("H", *values)

        def longs(*values: int) -> tuple[int, int, bytes]:
            return _LONG, len(values), self._pack("I", *values)

        fields = {
            256: longs(self._width),
            257: longs(self._height),
            258: shorts(*[8 * self._dtype.itemsize] * self._channels),
            259: shorts(_DEFLATE),
            262: shorts(2 if colors == 3 else 1),
            273: longs(*self._offsets),
            274: shorts(1),
            277: shorts(self._channels),
            278: longs(self._strip_rows),
            279: longs(*self._sizes),
            284: shorts(1),
            317: shorts(3 if is_float else 2),
            339: shorts(*[_FLOAT if is_float else _UNSIGNED] * self._channels),
        }
        if self._channels > colors:
            fields[338] = shorts(_STRAIGHT_ALPHA)
        if self._dpi is not None:
            for tag, value in zip((282, 283), self._dpi, strict=True):
                exact = Fraction(value).limit_denominator(1 << 16)
                pair = self._pack("I", exact.numerator, exact.denominator)
                fields[tag] = (_RATIONAL, 1, pair)
            fields[296] = shorts(_INCH)
        if self._xmp is not None:
            fields[700] = (_BYTE, len(self._xmp), self._xmp)
        if self._iptc is not None:
            fields[33723] = (_UNDEFINED, len(self._iptc), self._iptc)
        if self._icc is not None:
            fields[34675] = (_UNDEFINED, len(self._icc), self._icc)
        return fields


def _kept_entries(block: bytes, order: str) -> dict[int, bytes]:
    """Return tag -> unchanged entry of `_KEPT_TAGS` in the first directory of ``block``."""
    if len(block) < 8:
        return {}
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return {}
    (count,) = struct.unpack_from(order + "H", block, start)
    entries: dict[int, bytes] = {}
    for offset in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, values, at = struct.unpack_from(order + "HHII", block, offset)
        size = VALUE_SIZES.get(kind, 0) * values
        inside = size <= 4 or at + size <= len(block)
        if tag in _SUB_DIRECTORIES:
            inside = size == 4 and at + 2 <= len(block)
        if tag in _KEPT_TAGS and size and inside:
            entries[tag] = block[offset : offset + 12]
    return entries


def _differenced(rows: npt.NDArray[Any], order: str) -> npt.NDArray[Any]:
    """Return rows (n, W, C) with each sample less its left neighbor, as they are compressed."""
    count, _, channels = rows.shape
    if rows.dtype.kind == "f":
        # Planes of bytes, the most significant first; then differences of bytes.
        split = np.ascontiguousarray(rows, ">f4").view(np.uint8).reshape(count, -1, 4)
        planes = np.ascontiguousarray(split.transpose(0, 2, 1)).reshape(count, -1)
        result = planes.copy()
        result[:, channels:] -= planes[:, :-channels]
        return result
    result = rows.copy()
    result[:, 1:] -= rows[:, :-1]
    return result.astype(result.dtype.newbyteorder("<" if order == "<" else ">"), copy=False)
