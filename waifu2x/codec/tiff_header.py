"""The pixel layout of a TIFF, read within limits before any library sees the file.

Layouts: TIFF 6.0 (Adobe, 1992) and BigTIFF. What is missing or absurd raises ValueError.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

# More than any camera or editor writes.
_MOST_ENTRIES = 4096
_MOST_PAGES = 1 << 16

#: Bytes of one value of each type of TIFF 6.0.
VALUE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES = VALUE_SIZES | {16: 8, 17: 8, 18: 8}  # BigTIFF's
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}

_SUBFILE_TYPE = 254
_MOST_SAMPLES = 16

#: Compressions of plain samples, in the numbers of TIFF.
_PLAIN = frozenset((1, 5, 8, 32773, 32946, 34925, 50000))


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """The layout in the first directory of a TIFF.

    width, height: as stored, before the orientation is applied. pages: pictures in the file,
    without reduced copies. bits, samples: bits per sample and samples per pixel.
    sample_format: 1 unsigned, 2 signed, 3 float; 0 if samples differ. photometric: 0 white is
    zero, 1 black is zero, 2 RGB, ... extra: meaning of the samples beyond color: 1 alpha with
    premultiplied color, 2 straight alpha, 0 other.
    """

    width: int
    height: int
    pages: int
    bits: int
    samples: int
    sample_format: int
    photometric: int
    compression: int
    planar: bool
    extra: tuple[int, ...]
    tile: tuple[int, int] | None
    orientation: int

    @property
    def colors(self) -> int:
        """1 for gray, 3 for RGB, 0 for another color space."""
        return {0: 1, 1: 1, 2: 3}.get(self.photometric, 0)

    @property
    def readable(self) -> bool:
        """Whether `high_depth.tiff_planes` can read the pixels."""
        kind = (self.sample_format, self.bits)
        return (
            (kind in ((3, 16), (3, 24), (3, 32), (3, 64)) or kind in _UNSIGNED)
            and 0 < self.colors <= self.samples <= _MOST_SAMPLES
            and self.compression in _PLAIN
        )

    @property
    def high_depth(self) -> bool:
        """Whether `readable`, and of more than 8 bits."""
        return self.readable and self.bits > 8


_UNSIGNED = frozenset((1, bits) for bits in range(8, 17))


def read_layout(stream: BinaryIO) -> TiffLayout:
    """Read the layout of the TIFF in ``stream``.

    Walks all directories, in time and memory proportional to the file.
    Raises ValueError if they are broken, loop or hold absurd numbers.
    """
    reader = _Reader(stream)
    first, position = reader.directory(reader.first)
    seen = {reader.first}
    reduced = [reader.integer(first, _SUBFILE_TYPE, 0) & 1]
    while position and position not in seen:
        if len(seen) >= _MOST_PAGES:
            raise ValueError(f"more than {_MOST_PAGES} pages")
        seen.add(position)
        try:
            entries, position = reader.directory(position)
        except ValueError:
            break  # pages after a sound first one do not matter
        reduced.append(reader.integer(entries, _SUBFILE_TYPE, 0) & 1)
    pages = len(reduced) if reduced[0] else reduced.count(0)
    return _layout(reader, first, pages)


def _layout(reader: _Reader, entries: dict[int, tuple[int, int, bytes]], pages: int) -> TiffLayout:
    width, height = reader.integer(entries, 256), reader.integer(entries, 257)
    if not (width and height):
        raise ValueError(f"it is {width}x{height}")
    samples = reader.integer(entries, 277, 1)
    bits = reader.integers(entries, 258) or (1,)
    formats = reader.integers(entries, 339) or (1,)
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        formats = (0,)
    tile = None
    if 322 in entries or 323 in entries:
        tile = reader.integer(entries, 322), reader.integer(entries, 323)
        if 0 in tile:
            raise ValueError(f"its tiles are {tile[0]}x{tile[1]}")
    return TiffLayout(
        width=width,
        height=height,
        pages=pages,
        bits=bits[0],
        samples=samples,
        sample_format=formats[0],
        photometric=reader.integer(entries, 262, 0),
        compression=reader.integer(entries, 259, 1),
        planar=reader.integer(entries, 284, 1) == 2,
        extra=reader.integers(entries, 338),
        tile=tile,
        orientation=reader.integer(entries, 274, 1),
    )


class _Reader:
    """Reads directories of a TIFF; an entry is (type, count, the 4 or 8 bytes of its value)."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        # Overlapping directories and values would be read again and again.
        self._budget = self._size
        stream.seek(0)
        head = stream.read(16)
        order = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}.get(head[:4])
        if order is None or len(head) < 16:
            raise ValueError("it has no header")
        self._order = order
        self._big = b"+" in head[:4]
        self._offset_format = order + ("Q" if self._big else "I")
        (self.first,) = struct.unpack_from(self._offset_format, head, 8 if self._big else 4)

    def directory(self, position: int) -> tuple[dict[int, tuple[int, int, bytes]], int]:
        """Return the entries of the directory at ``position``, and the next position (0: none)."""
        count_format, link, entry = ("Q", "Q", "HHQ8s") if self._big else ("H", "I", "HHI4s")
        (count,) = self._unpack(count_format, position)
        if count > _MOST_ENTRIES:
            raise ValueError(f"one of its directories has {count} entries")
        layout = struct.Struct(self._order + entry)
        start = position + struct.calcsize("=" + count_format)
        body = self._read(start, count * layout.size)
        entries: dict[int, tuple[int, int, bytes]] = {}
        for tag, kind, number, value in layout.iter_unpack(body):
            size = number * _SIZES.get(kind, 1)
            if size > len(value):
                self._spend(size)
            entries.setdefault(tag, (kind, number, value))
        try:
            (after,) = self._unpack(link, start + len(body))
        except ValueError:
            after = 0
        return entries, int(after)

    def integer(
        self, entries: dict[int, tuple[int, int, bytes]], tag: int, default: int | None = None
    ) -> int:
        """Return the value of a tag that holds one integer."""
        values = self.integers(entries, tag)
        if values:
            return values[0]
        if default is None:
            raise ValueError(f"tag {tag} is missing")
        return default

    def integers(self, entries: dict[int, tuple[int, int, bytes]], tag: int) -> tuple[int, ...]:
        """Return the integers of a tag, or () if it is missing or of another type."""
        kind, count, value = entries.get(tag, (0, 0, b""))
        letter = _INTEGERS.get(kind)
        if letter is None or not count:
            return ()
        if count > 2 * _MOST_SAMPLES:
            raise ValueError(f"tag {tag} has {count} values")
        size = count * _SIZES[kind]
        if size > len(value):
            (offset,) = struct.unpack(self._offset_format, value)
            value = self._read(offset, size)
        return struct.unpack(f"{self._order}{count}{letter}", value[:size])

    def _unpack(self, letters: str, position: int) -> tuple[int, ...]:
        body = self._read(position, struct.calcsize("=" + letters))
        return struct.unpack(self._order + letters, body)

    def _read(self, position: int, size: int) -> bytes:
        if position > self._size or size > self._size - position:
            raise ValueError("its directories point beyond its end")
        self._spend(size)
        self._stream.seek(position)
        return self._stream.read(size)

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < -_SHARED_BYTES:
            raise ValueError("its directories overlap")


# Pages may share a few values.
_SHARED_BYTES = 1 << 20
