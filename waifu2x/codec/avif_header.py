"""The labels and the layout in the boxes of an AVIF.

Pillow gives access to neither the color label (nclx), nor the orientation, nor an unchanged EXIF
block, and ignores the clean aperture. Boxes: ISO/IEC 14496-12 and 23008-12 (HEIF), AV1 Image File
Format 1.1; code points of colors: ITU-T H.273.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import BinaryIO

from .._record import record
from .av1_sequence import Colors, colors_of
from .boxes import boxes, inner_boxes

# The color profile is in here too.
_MAX_META = 1 << 24
_MAX_MOVIE = 1 << 28
_MAX_EXIF = 1 << 24
# Extents may take no bytes at all, so that their count bounds nothing.
_MAX_EXTENTS = 1 << 16
# The sequence header is among the first bytes of the pixels.
_BITSTREAM_HEAD = 256

_UNSPECIFIED = 2
_SRGB = (1, 13)
_DEPTH_MAP = b"auxiliary:depth"
_PICTURES = (b"av01", b"grid", b"iovl")
_SAMPLE_ENTRY = 78  # fields of a VisualSampleEntry before its boxes

# EXIF orientations of a counterclockwise rotation by 0, 90, 180 and 270 degrees: alone, and with
# the mirror image from top to bottom (axis 0) or left to right (axis 1) taken afterward.
_ROTATED = (1, 8, 3, 6)
_MIRRORED = ((4, 5, 2, 7), (2, 7, 4, 5))


@record
class AvifHeader:
    """What the boxes of an AVIF say about its picture, or about all frames.

    width, height: as stored, before the crop and the orientation are applied.
    bits: per sample. colors: primaries and transfer of H.273, or None for sRGB.
    matrix: the matrix coefficients of H.273 between RGB and the stored samples.
    primaries: those of H.273 for `matrix` 12, which follows from them.
    limited: whether stored samples of 8 bits end at 16 and 235 or 240.
    crop: left, top, width and height of the clean aperture, or None for all.
    orientation: as in EXIF, 1..8, but from the transformations irot and imir.
    exif: the EXIF block as stored, or None.
    notes: what is left out, one short sentence each.
    """

    width: int
    height: int
    bits: int = 8
    colors: tuple[int, int] | None = None
    matrix: int = _UNSPECIFIED
    primaries: int = _UNSPECIFIED
    limited: bool = False
    crop: tuple[int, int, int, int] | None = None
    orientation: int = 1
    exif: bytes | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Items:
    """The items of a meta box: id -> value."""

    primary: int = 0
    types: dict[int, bytes] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    places: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    references: list[tuple[bytes, int, list[int]]] = field(default_factory=list)
    properties: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)

    def referred(self, kind: bytes, item: int) -> list[int]:
        """Return the items that ``item`` refers to by ``kind``."""
        return [
            target
            for found, source, targets in self.references
            if (found, source) == (kind, item)
            for target in targets
        ]


def read_header(stream: BinaryIO) -> AvifHeader:
    """Read the boxes of the AVIF in a seekable file; a sequence is read by its first track.

    Raises ValueError if the file is damaged.
    """
    try:
        found = {kind: (start, size) for kind, start, size in boxes(stream)}
        stream.seek(8)
        sequence = stream.read(4) != b"avif" and b"moov" in found
        items = _items(_content(stream, *found[b"meta"], _MAX_META), found[b"meta"][0])
        if sequence:
            movie = found[b"moov"]
            return _of_track(stream, _content(stream, *movie, _MAX_MOVIE), movie[0], items)
        return _of_item(stream, items)
    except (KeyError, IndexError, struct.error, ZeroDivisionError) as error:
        raise ValueError("its boxes are damaged") from error


def _content(stream: BinaryIO, start: int, size: int, limit: int) -> bytes:
    if size > limit:
        raise ValueError("its boxes are too large")
    stream.seek(start)
    return stream.read(size)


# --- items


def _items(meta: bytes, start: int) -> _Items:
    """Return the items in ``meta``, the content of the box at ``start`` of the file."""
    items = _Items()
    tables: dict[bytes, bytes] = {}
    for kind, at, content in inner_boxes(meta[4:]):
        tables[kind] = content
        if kind == b"idat":
            idat = start + 4 + at
    if b"pitm" in tables:
        items.primary = _id(tables[b"pitm"], 4, wide=tables[b"pitm"][0] > 0)
    if b"iinf" in tables:
        body = tables[b"iinf"]
        for kind, _, entry in inner_boxes(body[6 if body[0] == 0 else 8 :]):
            if kind == b"infe" and entry[0] in (2, 3):
                item, at = _id(entry, 4, wide=entry[0] == 3), 6 if entry[0] == 2 else 8
                items.types[item] = entry[at + 2 : at + 6]
                if entry[3] & 1:
                    items.hidden.add(item)
    if b"iloc" in tables:
        for item, inside, extents in _locations(tables[b"iloc"]):
            shift = idat if inside else 0
            items.places[item] = [(shift + offset, length) for offset, length in extents]
    if b"iref" in tables:
        items.references = list(_references(tables[b"iref"]))
    if b"iprp" in tables:
        items.properties = _properties(tables[b"iprp"])
    return items


def _id(data: bytes, at: int, *, wide: bool) -> int:
    size = 4 if wide else 2
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "big")


def _locations(box: bytes) -> Iterator[tuple[int, bool, list[tuple[int, int]]]]:
    """Yield each item of iloc: id, whether its data is in idat, offsets and lengths."""
    reader = _Fields(box, 4)
    version = box[0]
    sizes = reader.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    left = _MAX_EXTENTS
    for _ in range(reader.number(4 if version == 2 else 2)):
        item = reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version in (1, 2) else 0
        reader.number(2)  # data_reference_index
        base = reader.number(base_size)
        extents = []
        count = reader.number(2)
        left -= count
        if left < 0:
            raise ValueError("its items have too many extents")
        for _ in range(count):
            reader.number(index_size)
            offset = reader.number(offset_size)
            extents.append((base + offset, reader.number(length_size)))
        if method < 2:
            yield item, method == 1, extents


class _Fields:
    """Reads big-endian numbers one after the other; raises IndexError at the end."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def number(self, size: int) -> int:
        end = self._at + size
        if end > len(self._data):
            raise IndexError
        value = int.from_bytes(self._data[self._at : end], "big")
        self._at = end
        return value


def _references(box: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    size = 2 if box[0] == 0 else 4
    for kind, _, content in inner_boxes(box[4:]):
        fields = _Fields(content, 0)
        source = fields.number(size)
        yield kind, source, [fields.number(size) for _ in range(fields.number(2))]


def _properties(box: bytes) -> dict[int, list[tuple[bytes, bytes]]]:
    """Return item -> kind and content of its properties, in order."""
    known: list[tuple[bytes, bytes]] = []
    links: dict[int, list[tuple[bytes, bytes]]] = {}
    for kind, _, content in inner_boxes(box):
        if kind == b"ipco":
            known = [(inner, data) for inner, _, data in inner_boxes(content)]
        elif kind == b"ipma":
            fields = _Fields(content, 4)
            wide = content[3] & 1
            for _ in range(fields.number(4)):
                item = fields.number(2 if content[0] == 0 else 4)
                for _ in range(fields.number(1)):
                    index = fields.number(2) & 0x7FFF if wide else fields.number(1) & 0x7F
                    if 0 < index <= len(known):
                        links.setdefault(item, []).append(known[index - 1])
    return links


def _of_item(stream: BinaryIO, items: _Items) -> AvifHeader:
    properties = items.properties.get(items.primary, [])
    by_kind = dict(properties)
    width, height = struct.unpack_from(">II", by_kind[b"ispe"], 4)
    # The tiles of a grid have the properties of its pixels.
    tiles = items.referred(b"dimg", items.primary)
    pixels = items.primary if b"av1C" in by_kind else tiles[0]
    inner = properties + items.properties.get(pixels, [])
    return _described(
        inner,
        (width, height),
        partial(_data, stream, items, pixels, _BITSTREAM_HEAD),
        exif=_exif(stream, items),
        notes=_left_out(items),
    )


def _data(stream: BinaryIO, items: _Items, item: int, limit: int) -> bytes:
    """Return the first ``limit`` bytes of the data of ``item``."""
    parts = []
    for offset, length in items.places.get(item, []):
        stream.seek(offset)
        parts.append(stream.read(min(length, limit)))
        limit -= len(parts[-1])
    return b"".join(parts)


def _exif(stream: BinaryIO, items: _Items) -> bytes | None:
    """Return the first EXIF block, without the offset before it."""
    for item, kind in items.types.items():
        if kind == b"Exif":
            data = _data(stream, items, item, _MAX_EXIF)
            start = 4 + int.from_bytes(data[:4], "big")
            return data[start:] or None
    return None


def _left_out(items: _Items) -> tuple[str, ...]:
    """Return notes of the pictures in addition to the primary one."""
    notes = []
    if b"tmap" in items.types.values():
        notes.append("the gain map (HDR): left out")
    if any(
        kind == b"auxC" and _DEPTH_MAP in data
        for properties in items.properties.values()
        for kind, data in properties
    ):
        notes.append("the depth map: left out")
    parts = {
        item
        for kind, source, targets in items.references
        for item in ([source] if kind in (b"auxl", b"thmb") else targets)
    }
    others = [
        item
        for item, kind in items.types.items()
        if kind in _PICTURES and item not in (items.primary, *parts, *items.hidden)
    ]
    if others:
        notes.append(f"other pictures in the file: left out ({len(others)})")
    return tuple(notes)


# --- tracks


def _of_track(stream: BinaryIO, movie: bytes, start: int, items: _Items) -> AvifHeader:
    """Return the header of the first track of pictures in ``movie``, at ``start`` of the file."""
    for kind, at, track in inner_boxes(movie):
        if kind != b"trak":
            continue
        inside = {inner: (place, data) for inner, place, data in inner_boxes(track)}
        media = {inner: data for inner, _, data in inner_boxes(inside[b"mdia"][1])}
        if media[b"hdlr"][8:12] != b"pict":
            continue
        information = {inner: data for inner, _, data in inner_boxes(media[b"minf"])}
        table = {inner: data for inner, _, data in inner_boxes(information[b"stbl"])}
        entry = next(data for _, _, data in inner_boxes(table[b"stsd"][8:]))
        properties = [(inner, data) for inner, _, data in inner_boxes(entry[_SAMPLE_ENTRY:])]
        own = items
        if b"meta" in inside:
            place, meta = inside[b"meta"]
            own = _items(meta, start + at + place)
        return _described(
            properties,
            struct.unpack_from(">HH", entry, 24),
            partial(_first_sample, stream, table),
            exif=_exif(stream, own) or _exif(stream, items),
        )
    raise ValueError("it has no track of pictures")


def _first_sample(stream: BinaryIO, table: dict[bytes, bytes]) -> bytes:
    """Return the start of the bitstream at the first chunk offset."""
    wide = table.get(b"co64")
    stream.seek(_Fields(wide, 8).number(8) if wide else _Fields(table[b"stco"], 8).number(4))
    return stream.read(_BITSTREAM_HEAD)


# --- properties


def _described(
    properties: list[tuple[bytes, bytes]],
    size: tuple[int, int],
    bitstream: Callable[[], bytes],
    *,
    exif: bytes | None,
    notes: tuple[str, ...] = (),
) -> AvifHeader:
    """Return the header of pixels with these properties; the first of a kind counts."""
    first: dict[bytes, bytes] = {}
    colors = None
    for kind, data in properties:
        first.setdefault(kind, data)
        if kind == b"colr" and data[:4] == b"nclx" and colors is None:
            primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", data, 4)
            colors = Colors(primaries, transfer, matrix, limited=flags < 128)
    configuration = first.get(b"av1C", b"")
    if colors is None:
        colors = colors_of(configuration[4:]) or colors_of(bitstream())
    aspect = struct.unpack_from(">II", first.get(b"pasp", b"\0\0\0\1\0\0\0\1"))
    crop = None if b"clap" not in first else _crop(first[b"clap"], *size)
    levels = [kind.decode() for kind in (b"clli", b"mdcv") if kind in first]
    return AvifHeader(
        *size,
        bits=_bits(configuration),
        colors=_known(colors),
        matrix=_UNSPECIFIED if colors is None else colors.matrix,
        primaries=_UNSPECIFIED if colors is None else colors.primaries,
        limited=colors is not None and colors.limited,
        crop=crop,
        orientation=_orientation(first.get(b"irot"), first.get(b"imir")),
        exif=exif,
        notes=(
            *notes,
            *([f"light levels of HDR ({', '.join(levels)}): left out"] if levels else []),
            *(["cropped to the clean aperture"] if crop else []),
            *(
                [f"pixels of {aspect[0]}:{aspect[1]} are written as square"]
                if aspect[0] != aspect[1]
                else []
            ),
        ),
    )


def _bits(configuration: bytes) -> int:
    flags = configuration[2] if len(configuration) > 2 else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def _known(colors: Colors | None) -> tuple[int, int] | None:
    """Return primaries and transfer with sRGB for what is unspecified; None for sRGB."""
    if colors is None:
        return None
    primaries, transfer = (
        default if each == _UNSPECIFIED else each
        for each, default in zip(colors[:2], _SRGB, strict=True)
    )
    return None if (primaries, transfer) == _SRGB else (primaries, transfer)


def _orientation(rotation: bytes | None, mirror: bytes | None) -> int:
    angle = rotation[0] & 3 if rotation else 0
    return _MIRRORED[mirror[0] & 1][angle] if mirror else _ROTATED[angle]


def _crop(box: bytes, width: int, height: int) -> tuple[int, int, int, int] | None:
    """Return left, top, width and height of a clean aperture; None if it is invalid, or all."""
    numbers = struct.unpack_from(">IIIIiIiI", box)
    if not all(numbers[1::2]):
        return None
    columns, rows, x, y = (Fraction(*numbers[at : at + 2]) for at in (0, 2, 4, 6))
    left, top = (width - columns) / 2 + x, (height - rows) / 2 + y
    place = (left, top, columns, rows)
    whole = all(value.denominator == 1 for value in place)
    inside = left >= 0 and top >= 0 and left + columns <= width and top + rows <= height
    if not whole or not inside or 0 in (columns, rows):
        return None
    crop = int(left), int(top), int(columns), int(rows)
    return None if crop == (0, 0, width, height) else crop
