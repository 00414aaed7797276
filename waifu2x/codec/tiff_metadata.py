"""Metadata of a TIFF: its tags as an EXIF block, the profile, XMP, the resolution, and notes.

The values are copied byte by byte, whatever their encoding. Makers' notes of cameras hold offsets
from the start of the file, so they keep their position if the block stays short.

Layout: TIFF 6.0 (Adobe, 1992), BigTIFF, Exif 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import numpy as np

from .._record import record
from .exif import DESCRIPTIVE_TAGS, EXIF_PREFIX
from .samples import valid_dpi
from .tiff_header import Entries, TiffLayout, TiffReader
from .xmp import MAX_XMP

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_CENTIMETER = 3
_XMP, _ICC = 700, 34675
_WHITE_POINT, _PRIMARIES = 318, 319
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_MAKER_NOTE = 0x927C

_MAX_PROFILE = 64 << 20
_MAX_VALUE = 16 << 20

# JPEG holds 64 KiB of EXIF. A longer block is not padded for makers' notes.
_MAX_PADDED = 60_000

_LONG = 4
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}

# Bytes of the numbers in a value that change with the byte order.
_NUMBERS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8}

# Tags whose meaning no other format holds, and what a note calls them.
_DROPPED = (
    ((301,), "the transfer function in TIFF tags"),
    ((34377,), "Photoshop's image resources"),
    ((37724,), "Photoshop's layers"),
    ((33550, 33922, 34264, 34735), "the GeoTIFF tags"),
    ((42112,), "the GDAL metadata"),
)


@record
class TiffMetadata:
    """What the first directory of a TIFF says about the picture.

    exif: a block of the descriptive tags with the Exif and GPS directories, or None. dpi: as
    stored, before the orientation is applied. orientation: 0 if the tag is missing.
    notes: what is left out.
    """

    icc: bytes | None
    xmp: bytes | None
    exif: bytes | None
    dpi: tuple[float, float] | None
    orientation: int
    notes: tuple[str, ...]


def read_metadata(stream: BinaryIO, layout: TiffLayout) -> TiffMetadata:
    """Read the metadata of the TIFF in ``stream``; broken metadata is left out.

    Raises ValueError if the first directory is broken.
    """
    reader = TiffReader(stream)
    entries, _ = reader.directory(reader.first)
    block = _Block(reader, entries)
    try:
        exif = block.build()
    except ValueError:
        exif = None
    notes = [f"{what}: left out" for tags, what in _DROPPED if any(tag in entries for tag in tags)]
    if _names_other_colors(reader, entries):
        notes.append("the white point and primaries in TIFF tags: left out")
    surplus = layout.samples - layout.colors - (layout.alpha is not None)
    if surplus > 0:
        notes.append(f"channels beyond color and alpha: {surplus} left out")
    if layout.masks:
        notes.append("the transparency mask: left out")
    return TiffMetadata(
        icc=_bytes(reader, entries, _ICC, _MAX_PROFILE),
        xmp=_bytes(reader, entries, _XMP, MAX_XMP),
        exif=exif,
        dpi=_dpi(reader, entries),
        orientation=reader.integer(entries, 274, 0),
        notes=(*notes, *(block.notes if exif else ())),
    )


def little_endian(block: bytes, tags: Iterable[int]) -> bytes:
    """Return an EXIF block (without its prefix) in little-endian byte order.

    Keeps ``tags`` of the first directory, and the Exif and GPS directories. Makers' notes keep
    their bytes and, if possible, their place. Raises ValueError for a broken block.
    """
    reader = TiffReader(io.BytesIO(block))
    entries, _ = reader.directory(reader.first)
    built = _Block(reader, entries, order="<", tags=tags).build()
    return b"" if built is None else built.removeprefix(EXIF_PREFIX)


def _bytes(reader: TiffReader, entries: Entries, tag: int, limit: int) -> bytes | None:
    """Return the value of a tag of bytes, or None if it is missing or broken."""
    entry = entries.get(tag)
    if entry is None:
        return None
    kind, count, stored = entry
    if kind == _LONG:  # some writers count longs
        entry = 7, 4 * count, stored
    try:
        return reader.value(entry, limit)[0]
    except ValueError:
        return None


def _dpi(reader: TiffReader, entries: Entries) -> tuple[float, float] | None:
    unit = reader.integer(entries, _RESOLUTION_UNIT, 2)
    if unit not in (2, _CENTIMETER):
        return None
    factor = 2.54 if unit == _CENTIMETER else 1
    try:
        x, y = (_number(reader, entries, tag) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    dpi = valid_dpi((x, y))
    return None if dpi is None else (dpi[0] * factor, dpi[1] * factor)


def _names_other_colors(reader: TiffReader, entries: Entries) -> bool:
    """Return whether white point and primaries label the colors, without a profile, as not sRGB."""
    if _ICC in entries:
        return False
    white, primaries = _SRGB[:2], _SRGB[2:]
    return not all(
        _matches(reader, entries, tag, expected)
        for tag, expected in ((_WHITE_POINT, white), (_PRIMARIES, primaries))
    )


def _matches(reader: TiffReader, entries: Entries, tag: int, expected: tuple[float, ...]) -> bool:
    """Return whether the rationals of a tag are near ``expected``, or missing."""
    if tag not in entries:
        return True
    try:
        data, _ = reader.value(entries[tag], 8 * len(expected))
        numbers = struct.unpack(f"{reader.order}{2 * len(expected)}I", data)
    except (ValueError, struct.error):
        return False
    pairs = zip(numbers[::2], numbers[1::2], expected, strict=True)
    return all(abs(over - under * value) <= 0.002 * under for over, under, value in pairs)


def _number(reader: TiffReader, entries: Entries, tag: int) -> float:
    entry = entries[tag]
    data, _ = reader.value(entry, 8)
    letters = {3: "H", 4: "I", 5: "II", 11: "f", 12: "d"}.get(entry[0])
    if letters is None:
        raise ValueError("no number")
    first, *rest = struct.unpack_from(reader.order + letters, data)
    return float(first / rest[0]) if rest else float(first)


class _Value(NamedTuple):
    """A value: its type, number and bytes, and its position in the block, None if not written."""

    kind: int
    number: int
    data: bytes
    position: int | None = None


class _Block:
    """Builds an EXIF block of some ``tags`` in the byte order of the file, or in ``order``."""

    def __init__(
        self,
        reader: TiffReader,
        entries: Entries,
        *,
        order: str | None = None,
        tags: Iterable[int] = DESCRIPTIVE_TAGS,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._reader, self._entries = reader, entries
        self._order = order or reader.order
        self._tags = tags

    def build(self) -> bytes | None:
        """Return the block; None if there is nothing to keep.

        Raises ValueError if the directory is broken.
        """
        main = {tag: self._entries[tag] for tag in self._tags if tag in self._entries}
        values = self._values(main)
        exif = self._directory(self._entries, _EXIF_IFD)
        gps = self._directory(self._entries, _GPS_IFD)
        interop = self._directory(exif, _INTEROP_IFD)
        exif_values, gps_values, interop_values = map(self._values, (exif, gps, interop))
        note_at = self._position(exif, _MAKER_NOTE)
        note = exif_values.pop(_MAKER_NOTE, None)
        if not (values or exif_values or gps_values or note):
            return None
        writer = _Writer(self._order)
        if note is not None and note_at is not None:
            kept = note_at % 2 == 0 and 8 <= note_at <= _MAX_PADDED - len(note.data)
            exif_values[_MAKER_NOTE] = writer.place(note, note_at if kept else None)
            if not kept:
                self.notes = ("the maker's notes moved: offsets in them no longer fit",)
        elif note is not None:
            exif_values[_MAKER_NOTE] = note
        if interop_values:
            exif_values[_INTEROP_IFD] = writer.directory(interop_values)
        if exif_values:
            values[_EXIF_IFD] = writer.directory(exif_values)
        if gps_values:
            values[_GPS_IFD] = writer.directory(gps_values)
        return EXIF_PREFIX + writer.finish(values)

    def _directory(self, entries: Entries, tag: int) -> Entries:
        position = self._reader.integer(entries, tag, 0)
        if not position:
            return {}
        try:
            return self._reader.directory(position)[0]
        except ValueError:
            return {}

    def _position(self, entries: Entries, tag: int) -> int | None:
        if tag not in entries:
            return None
        try:
            return self._reader.value(entries[tag], _MAX_VALUE)[1]
        except ValueError:
            return None

    def _values(self, entries: Entries) -> dict[int, _Value]:
        """Return tag -> type, count and bytes of the sound entries that EXIF can hold."""
        found: dict[int, _Value] = {}
        for tag, entry in entries.items():
            kind, count, _ = entry
            if kind not in _SIZES or tag in (_EXIF_IFD, _GPS_IFD, _INTEROP_IFD):
                continue
            try:
                data = self._reader.value(entry, _MAX_VALUE)[0]
            except ValueError:
                continue
            if self._order != self._reader.order:
                data = np.frombuffer(data, f"u{_NUMBERS.get(kind, 1)}").byteswap().tobytes()
            found[tag] = _Value(kind, count, data)
        return found


class _Writer:
    """Lays out directories and their values."""

    def __init__(self, order: str) -> None:
        self._order = order
        magic = b"II*\0" if order == "<" else b"MM\0*"
        self._data = bytearray(magic + bytes(4))

    def place(self, value: _Value, position: int | None) -> _Value:
        """Write a value at ``position``, or anywhere if None; called before all other methods."""
        if position is not None:
            self._data += bytes(position - len(self._data))
        return value._replace(position=self._append(value.data))

    def directory(self, values: dict[int, _Value]) -> _Value:
        """Write a directory; return the value that points to it."""
        return _Value(_LONG, 1, struct.pack(self._order + "I", self._write(values)))

    def finish(self, values: dict[int, _Value]) -> bytes:
        """Write the main directory; return the block."""
        struct.pack_into(self._order + "I", self._data, 4, self._write(values))
        return bytes(self._data)

    def _write(self, values: dict[int, _Value]) -> int:
        parts = [struct.pack(self._order + "H", len(values))]
        for tag in sorted(values):
            kind, number, data, position = values[tag]
            stored = data.ljust(4, b"\0")
            if len(data) > 4:
                position = self._append(data) if position is None else position
                stored = struct.pack(self._order + "I", position)
            parts.append(struct.pack(self._order + "HHI", tag, kind, number) + stored)
        return self._append(b"".join(parts) + bytes(4))

    def _append(self, data: bytes) -> int:
        self._data += bytes(len(self._data) % 2)
        position = len(self._data)
        self._data += data
        return position
