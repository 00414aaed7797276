"""TGA of every type, depth and origin.

Pillow lets no run cross a row, and takes any fourth channel as transparency. Layout: Truevision TGA
File Format Specification, version 2.0.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from .._record import record
from ..picture import Metadata, Picture, Source
from .faults import truncated, unsupported
from .limits import check_pixels
from .run_length import Bytes, expand
from .samples import unpremultiplied
from .sniff import sniff

_MAPPED, _COLOR, _GRAY = 1, 2, 3
_RLE = 8
_HUFFMAN: Final = (32, 33)
_DEPTHS: Final = {_MAPPED: (8, 16), _COLOR: (15, 16, 24, 32), _GRAY: (8, 16)}
_MAP_DEPTHS: Final = (15, 16, 24, 32)

_FOOTER: Final = b"TRUEVISION-XFILE.\0"
_EXTENSION_BYTES: Final = 495
# Kinds of the fourth channel in the extension area.
_USEFUL, _PREMULTIPLIED = 3, 4

_HEADS: Final = range(256)
_COUNTS: Final = tuple((head & 127) + 1 for head in _HEADS)
_RUNS: Final = np.array([head >> 7 for head in _HEADS], np.uint8)


@record
class _Header:
    """The first 18 bytes; attributes: bits per pixel that are no color."""

    id_length: int
    has_map: bool
    kind: int
    map_start: int
    map_length: int
    map_depth: int
    width: int
    height: int
    depth: int
    descriptor: int

    @property
    def attributes(self) -> int:
        return self.descriptor & 15

    @property
    def layout(self) -> int:
        """Mapped, color or gray."""
        return self.kind & 7

    @property
    def one_bit(self) -> bool:
        """Whether the fourth channel is a single bit."""
        return (self.map_depth if self.layout == _MAPPED else self.depth) == 16

    @property
    def map_bytes(self) -> int:
        """Bytes of the color map."""
        return self.map_length * ((self.map_depth + 7) // 8) if self.has_map else 0


@record
class _Extension:
    """What the extension area says: the kind of the fourth channel, texts, and notes."""

    channel: int | None = None
    texts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def is_tga(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` may be a TGA, which has no signature."""
    if len(head) < 18 or sniff(head).name:
        return False
    header = _header(head)
    if header.kind in _HUFFMAN:
        return header.has_map and header.map_depth in _MAP_DEPTHS and header.depth == 8
    return (
        head[1] in (0, 1)
        and header.kind in (1, 2, 3, 9, 10, 11)
        and header.depth in _DEPTHS[header.layout]
        and header.width > 0
        and header.height > 0
        and (not header.has_map or header.map_depth in _MAP_DEPTHS)
    )


def _header(head: bytes) -> _Header:
    fields = struct.unpack_from("<3BHHB4xHHBB", head)
    return _Header(fields[0], fields[1] == 1, *fields[2:])


def read_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height of a file that `is_tga` accepts."""
    stream.seek(0)
    header = _header(stream.read(18))
    return header.width, header.height


def read_tga(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read a TGA of 8 bits: gray or RGB, with alpha if the file declares some.

    The fourth channel counts if the header has attribute bits or the extension area calls it
    useful. Raises DecodeError for a damaged file, or one that is not supported, and LimitError.
    """
    stream.seek(0)
    header = _header(stream.read(18))
    check_pixels(header.width, header.height, limit, name)
    if header.kind in _HUFFMAN or header.descriptor & 0xC0:
        what = "Huffman coding" if header.kind in _HUFFMAN else "interleaved rows"
        raise unsupported(name, f"a TGA with {what}")
    title = stream.read(header.id_length)
    stored_map = stream.read(header.map_bytes)
    if len(stored_map) < header.map_bytes:
        raise truncated(name)
    pixels = _stored(stream, header, name)
    extension = _extension(stream)
    channels, attribute, notes = _channels(pixels, header, stored_map)
    notes += extension.notes
    # Two bits of another kind than alpha are undefined.
    useful = header.attributes > 0 if extension.channel is None else extension.channel >= _USEFUL
    alpha = attribute if useful else None
    if alpha is None and attribute is not None and attribute.min() != attribute.max():
        notes.append("a channel of TGA that is not declared as transparency: left out")
    if alpha is not None and header.one_bit and not alpha.any():
        # Old programs declare the bit and never set it.
        alpha = None
        notes.append("the bit of transparency is 0 everywhere: read as opaque")
    color = channels
    if alpha is not None and extension.channel == _PREMULTIPLIED:
        color = unpremultiplied(color, alpha)
    color, alpha = _upright(color, header), None if alpha is None else _upright(alpha, header)
    texts = (*_text("Comment", title), *extension.texts)
    source = Source("TGA", False, notes=tuple(notes))
    return Picture(color, alpha, Metadata(text=texts), source)


def _stored(stream: BinaryIO, header: _Header, name: str) -> Bytes:
    """Return the pixels (H * W, bytes) as stored, runs expanded."""
    unit = (header.depth + 7) // 8
    count = header.width * header.height
    if not header.kind & _RLE:
        data = stream.read(count * unit)
        if len(data) < count * unit:
            raise truncated(name)
        return np.frombuffer(data, np.uint8).reshape(count, unit)
    # A packet of one pixel is the longest form.
    data = stream.read(count * (unit + 1) + 128 * unit)
    steps = tuple(1 + unit * (1 if head & 128 else head + 1) for head in _HEADS)
    pixels = expand(data, count, unit, steps, _COUNTS, _RUNS)
    if pixels is None:
        raise truncated(name)
    return pixels


def _channels(
    pixels: Bytes, header: _Header, stored_map: bytes
) -> tuple[Bytes, Bytes | None, list[str]]:
    """Return color (H, W, 1 or 3), the other channel (H, W) or None, and notes."""
    size = header.height, header.width
    if header.layout == _GRAY or (header.layout == _MAPPED and not header.has_map):
        attribute = pixels[:, 1].reshape(size) if pixels.shape[1] == 2 else None
        return np.ascontiguousarray(pixels[:, 0]).reshape(*size, 1), attribute, []
    if header.layout == _COLOR:
        color, attribute = _unpacked(pixels, header.depth)
    else:
        indices = pixels[:, 0].astype(np.int64)
        if pixels.shape[1] == 2:
            indices |= pixels[:, 1].astype(np.int64) << 8
        entry = (header.map_depth + 7) // 8
        colors, others = _unpacked(
            np.frombuffer(stored_map, np.uint8).reshape(-1, entry), header.map_depth
        )
        rows = header.map_start + len(colors)
        table = np.zeros((max(rows, int(indices.max()) + 1), 3), np.uint8)
        table[header.map_start : rows] = colors
        color, attribute = table[indices], None
        if others is not None:
            opaque = np.full(len(table), 255, np.uint8)
            opaque[header.map_start : rows] = others
            attribute = opaque[indices]
    if attribute is not None:
        attribute = attribute.reshape(size)
    return color.reshape(*size, 3), attribute, []


def _unpacked(pixels: Bytes, depth: int) -> tuple[Bytes, Bytes | None]:
    """Return RGB (N, 3) of stored colors (N, bytes), and their other channel or None."""
    if depth >= 24:
        color = np.ascontiguousarray(pixels[:, 2::-1])
        return color, np.ascontiguousarray(pixels[:, 3]) if depth == 32 else None
    values = pixels[:, 0].astype(np.uint16) | pixels[:, 1].astype(np.uint16) << np.uint16(8)
    levels = np.floor(np.arange(32) * 255 / 31 + 0.5).astype(np.uint8)
    color = np.stack(
        [levels[values >> np.uint16(shift) & np.uint16(31)] for shift in (10, 5, 0)], 1
    )
    if depth == 15:
        return color, None
    # As in ImageMagick and as for 32 bits; Pillow inverts the bit.
    return color, np.where(values >> np.uint16(15), 255, 0).astype(np.uint8)


def _upright(rows: npt.NDArray[Any], header: _Header) -> npt.NDArray[Any]:
    """Return rows from the top and pixels from the left."""
    if not header.descriptor & 0x20:
        rows = rows[::-1]
    if header.descriptor & 0x10:
        rows = rows[:, ::-1]
    return np.ascontiguousarray(rows)


def _extension(stream: BinaryIO) -> _Extension:
    """Read the extension area that the footer names, if there is one."""
    end = stream.seek(0, io.SEEK_END)
    stream.seek(max(0, end - 26))
    footer = stream.read(26)
    if len(footer) < 26 or not footer.endswith(_FOOTER):
        return _Extension()
    (offset,) = struct.unpack_from("<I", footer)
    if not offset:
        return _Extension()
    stream.seek(offset)
    area = stream.read(_EXTENSION_BYTES)
    if len(area) < _EXTENSION_BYTES or struct.unpack_from("<H", area)[0] < _EXTENSION_BYTES:
        return _Extension()
    comment = b"\n".join(
        line.split(b"\0")[0] for line in (area[43 + 81 * n : 124 + 81 * n] for n in range(4))
    )
    texts = (
        *_text("Author", area[2:43]),
        *_text("Comment", comment.rstrip(b"\n")),
        *_text("Software", area[426:467]),
    )
    over, under = struct.unpack_from("<HH", area, 478)
    gamma = over / under if under else 0
    usual = gamma == 0 or abs(gamma - 1) < 0.01 or abs(gamma - 2.2) < 0.05
    notes = () if usual else (f"the gamma {gamma:g} of TGA: left out",)
    return _Extension(area[494], texts, notes)


def _text(keyword: str, stored: bytes) -> tuple[tuple[str, str], ...]:
    """Return a text up to its first NUL, without spaces around it; none if it is empty."""
    text = stored.split(b"\0")[0].decode("latin-1").strip()
    return ((keyword, text),) if text and text.replace("\n", "").isprintable() else ()
