"""The header of JPEG 2000: the codestream's sizes, and the boxes around it.

Layout: ISO/IEC 15444-1, annexes A.5.1 (SIZ) and I (JP2), and 15444-2, annex M (JPX).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import BinaryIO, NamedTuple

from .._record import record
from .boxes import boxes, inner_boxes
from .xmp import MAX_XMP

_MOST_COMPONENTS = 16384
_MAX_HEADER = 64 << 20
_SIZ = b"\xff\x4f\xff\x51"

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"
_IPTC_UUID = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_GEO_UUID = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")

#: Types of channels in a channel definition.
COLOR, OPACITY, PREMULTIPLIED_OPACITY = range(3)


class Component(NamedTuple):
    """One component of a codestream: bits, sign, and its steps on the reference grid."""

    bits: int
    signed: bool
    across: int
    down: int


@record
class Codestream:
    """The SIZ marker: size of the picture in pixels, the number of tiles, components.

    extended: whether capabilities of Part 2 are needed. siz: the body of the marker from Rsiz on.
    If all components have the same steps above 1, ``siz`` is rewritten for steps of 1, and columns
    and rows are the samples of each column and row of the picture; otherwise they are empty.
    """

    width: int
    height: int
    tiles: int
    components: tuple[Component, ...]
    extended: bool
    siz: bytes
    columns: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


class ColorSpec(NamedTuple):
    """A "colr" box: method 1 enumerated (with its parameters), 2 or 3 a profile, or another."""

    method: int
    space: int
    body: bytes


class Palette(NamedTuple):
    """A "pclr" box: the bits and the entries (as unsigned integers) of each column."""

    bits: tuple[int, ...]
    signed: tuple[bool, ...]
    columns: tuple[tuple[int, ...], ...]


@dataclass(slots=True)
class Boxes:
    """The boxes of a JP2 or JPX file that matter for the picture.

    position, size: of the first codestream. streams: the number of codestreams. channels:
    channel -> (type, association) of "cdef". mapping: (component, type, column) of "cmap".
    dots: across and down per meter, of "res ". xmp, exif, iptc: as stored.
    notes: what the file holds in addition.
    """

    position: int = 0
    size: int = 0
    streams: int = 0
    colors: list[ColorSpec] = field(default_factory=list)
    palette: Palette | None = None
    mapping: list[tuple[int, int, int]] = field(default_factory=list)
    channels: dict[int, tuple[int, int]] = field(default_factory=dict)
    dots: tuple[float, float] | None = None
    xmp: bytes | None = None
    exif: bytes | None = None
    iptc: bytes | None = None
    notes: list[str] = field(default_factory=list)


def read_codestream(stream: BinaryIO) -> Codestream | None:
    """Read the SIZ marker of a JPEG 2000 file or codestream; None if it is not near the start."""
    stream.seek(0)
    head = stream.read(1 << 20)
    at = head.find(_SIZ)
    if at < 0:  # after large boxes
        around = read_boxes(stream)
        stream.seek(around.position)
        head = stream.read(1 << 16) if around.streams else b""
        at = 0 if head.startswith(_SIZ) else -1
    body = head[at + 6 :]
    if at < 0 or len(body) < 36:
        return None
    rsiz, x1, y1, x0, y0, step_x, step_y, tile_x, tile_y, count = struct.unpack_from(">H8IH", body)
    if not (step_x and step_y) or not 1 <= count <= _MOST_COMPONENTS:
        return None
    table = body[36 : 36 + 3 * count]
    if len(table) < 3 * count:
        return None
    components = tuple(
        Component((depth & 127) + 1, depth > 127, across, down)
        for depth, across, down in struct.iter_unpack("3B", table)
    )
    places = x1, y1, x0, y0, step_x, step_y, tile_x, tile_y
    width, height = max(x1 - x0, 0), max(y1 - y0, 0)
    tiles = max(0, -(-(x1 - tile_x) // step_x)) * max(0, -(-(y1 - tile_y) // step_y))
    found = Codestream(
        width, height, tiles, components, bool(rsiz & 0x8000), body[: 36 + 3 * count]
    )
    across, down = components[0].across, components[0].down
    alike = len({(each.across, each.down) for each in components}) == 1
    reduced = _reduced(places, across, down) if alike and max(width, height) < 1 << 20 else None
    if reduced is None:
        return found
    depths = b"".join(table[3 * index : 3 * index + 1] + b"\1\1" for index in range(count))
    return replace(
        found,
        components=tuple(each._replace(across=1, down=1) for each in components),
        siz=struct.pack(">H8IH", rsiz, *reduced, count) + depths,
        columns=tuple(max(0, x // across - reduced[2]) for x in range(x0, x1)),
        rows=tuple(max(0, y // down - reduced[3]) for y in range(y0, y1)),
    )


def _reduced(
    places: tuple[int, int, int, int, int, int, int, int], across: int, down: int
) -> tuple[int, int, int, int, int, int, int, int] | None:
    """Return corner, offset, tile size and tile offset on a grid of the components' samples.

    None if the grid has that step already, or tiles do not fit the steps.
    """
    x1, y1, x0, y0, step_x, step_y, tile_x, tile_y = places
    if (across, down) == (1, 1) or not (across and down):
        return None
    single = tile_x + step_x >= x1 and tile_y + step_y >= y1
    if not single and any(
        place % step
        for place, step in ((step_x, across), (tile_x, across), (step_y, down), (tile_y, down))
    ):
        return None
    x1, x0, step_x, tile_x = (-(-place // across) for place in (x1, x0, step_x, tile_x))
    y1, y0, step_y, tile_y = (-(-place // down) for place in (y1, y0, step_y, tile_y))
    if single:
        step_x, step_y = max(step_x, x1 - tile_x), max(step_y, y1 - tile_y)
    return x1, y1, x0, y0, step_x, step_y, tile_x, tile_y


def read_boxes(stream: BinaryIO) -> Boxes:
    """Read the boxes of a JP2 file; a bare codestream is one.

    Raises ValueError if a box that changes the pixels is broken.
    """
    found = Boxes()
    stream.seek(0)
    if stream.read(4) == _SIZ:
        found.streams, found.size = 1, stream.seek(0, 2)
        return found
    for kind, start, size in boxes(stream):
        if kind == b"jp2c":
            found.streams += 1
            if found.streams == 1:
                found.position, found.size = start, size
        elif kind in (b"jp2h", b"jpch", b"jplh") and size <= _MAX_HEADER:
            stream.seek(start)
            _read_header(stream.read(size), found)
        elif kind == b"uuid" and size >= 16:
            stream.seek(start)
            _read_uuid(stream.read(min(size, MAX_XMP + 16)), size, found)
        elif kind == b"xml ":
            found.notes.append("the XML data: left out")
    return found


def _read_uuid(body: bytes, size: int, found: Boxes) -> None:
    uuid, data = body[:16], body[16:]
    if size > MAX_XMP + 16:
        return
    if uuid == _XMP_UUID:
        found.xmp = found.xmp or data
    elif uuid == _EXIF_UUID:
        found.exif = found.exif or data
    elif uuid == _IPTC_UUID:
        found.iptc = found.iptc or data or None
    elif uuid == _GEO_UUID:
        found.notes.append("the GeoTIFF data: left out")


def _read_header(data: bytes, found: Boxes) -> None:
    for kind, _, body in inner_boxes(data):
        if kind == b"colr" and len(body) >= 3:
            space = int.from_bytes(body[3:7], "big") if body[0] == 1 else 0
            found.colors.append(ColorSpec(body[0], space, body[7:] if body[0] == 1 else body[3:]))
        elif kind == b"pclr" and found.palette is None:
            found.palette = _palette(body)
        elif kind == b"cmap" and not found.mapping:
            found.mapping = list(struct.iter_unpack(">HBB", body[: len(body) // 4 * 4]))
        elif kind == b"cdef" and not found.channels and len(body) >= 2:
            entries = body[2 : 2 + 6 * int.from_bytes(body[:2], "big")]
            found.channels = {
                channel: (role, association)
                for channel, role, association in struct.iter_unpack(
                    ">3H", entries[: len(entries) // 6 * 6]
                )
            }
        elif kind == b"res ":
            inner = {key: content for key, _, content in reversed([*inner_boxes(body)])}
            found.dots = _dots(inner.get(b"resc")) or _dots(inner.get(b"resd"))
        elif kind == b"cgrp":
            _read_header(body, found)


def _palette(body: bytes) -> Palette:
    if len(body) < 3:
        raise ValueError("its palette is broken")
    count, columns = struct.unpack_from(">HB", body)
    depths = body[3 : 3 + columns]
    bits = tuple((depth & 127) + 1 for depth in depths)
    widths = [-(-each // 8) for each in bits]
    if not count or not columns or count > 1024 or len(body) < 3 + columns + count * sum(widths):
        raise ValueError("its palette is broken")
    position, rows = 3 + columns, []
    for _ in range(count):
        row = []
        for width in widths:
            row.append(int.from_bytes(body[position : position + width], "big"))
            position += width
        rows.append(row)
    return Palette(bits, tuple(d > 127 for d in depths), tuple(zip(*rows, strict=True)))


def _dots(body: bytes | None) -> tuple[float, float] | None:
    if body is None or len(body) < 10:
        return None
    down, down_by, across, across_by, down_exponent, across_exponent = struct.unpack_from(
        ">4H2b", body
    )
    if not (down_by and across_by):
        return None
    return (
        across / across_by * 10.0**across_exponent,
        down / down_by * 10.0**down_exponent,
    )
