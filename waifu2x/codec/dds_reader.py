"""DDS: uncompressed surfaces by their masks, BC1 to BC7 by Pillow.

Pillow rounds down, and lacks the formats of sRGB and several layouts. The largest surface is read.
Layout: Microsoft, "Programming Guide for DDS", and the enumeration DXGI_FORMAT.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, Final, cast

import numpy as np

from .._record import record
from .._text import shown
from ..picture import Metadata, Picture, Samples, Source
from .bit_fields import integers, scaled, scattered
from .faults import damaged, truncated, unsupported
from .limits import check_bytes, check_pixels
from .pillow_open import open_image
from .samples import Planes, split_planes, unpremultiplied

_HEAD_BYTES: Final = 128
_ALPHA_PIXELS, _FOURCC, _PALETTE, _RGB, _LUMINANCE = 0x1, 0x4, 0x20, 0x40, 0x20000
_CUBE, _VOLUME = 0x200, 0x200000
_PREMULTIPLIED, _OPAQUE = 2, 3

_RGBA_32: Final = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)
_BGRA_32: Final = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)

#: DXGI_FORMAT -> bits per pixel, masks of red, green, blue and alpha. Red alone is gray.
_MASKS: Final[dict[int, tuple[int, tuple[int, int, int, int]]]] = {
    **dict.fromkeys((27, 28, 29), (32, _RGBA_32)),
    **dict.fromkeys((87, 90, 91), (32, _BGRA_32)),
    **dict.fromkeys((88, 92, 93), (32, (*_BGRA_32[:3], 0))),
    24: (32, (0x3FF, 0xFFC00, 0x3FF00000, 0xC0000000)),
    85: (16, (0xF800, 0x7E0, 0x1F, 0)),
    86: (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    115: (16, (0xF00, 0xF0, 0xF, 0xF000)),
    49: (16, (0xFF, 0xFF00, 0, 0)),
    56: (16, (0xFFFF, 0, 0, 0)),
    61: (8, (0xFF, 0, 0, 0)),
}
_RGBA_64: Final = (11, 36)  # DXGI, and the number of Direct3D 9 in place of a name

#: DXGI_FORMAT -> the code by which Pillow decodes blocks, and whether they have 16 bits.
_BLOCKS: Final[dict[int, tuple[bytes | int, bool]]] = {
    **dict.fromkeys((70, 71, 72), (b"DXT1", False)),
    **dict.fromkeys((73, 74, 75), (b"DXT3", False)),
    **dict.fromkeys((76, 77, 78), (b"DXT5", False)),
    **dict.fromkeys((79, 80), (b"ATI1", False)),
    **dict.fromkeys((82, 83), (b"ATI2", False)),
    84: (b"BC5S", False),
    95: (95, True),
    96: (96, True),
    **dict.fromkeys((97, 98, 99), (98, False)),
}
_NAMED: Final = {
    **{code: code for code in (b"DXT1", b"DXT3", b"DXT5", b"ATI1", b"ATI2", b"BC5S")},
    b"DXT2": b"DXT3",
    b"DXT4": b"DXT5",
    b"BC4U": b"ATI1",
    b"BC5U": b"ATI2",
}
_SMALL_BLOCKS: Final = (b"DXT1", b"ATI1")

# Pixels that are unpacked at once, so that wide copies stay small.
_STRIP_PIXELS: Final = 1 << 18


@record
class _Header:
    """The header; code: a name, or the number of a DXGI_FORMAT, or None for masks."""

    width: int
    height: int
    start: int
    code: bytes | int | None
    bits: int
    masks: tuple[int, int, int, int]
    kind: int
    several: bool
    alpha_mode: int


def is_dds(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is a DDS."""
    return head.startswith(b"DDS ") and len(head) >= _HEAD_BYTES


def read_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height of a file that `is_dds` accepts; raises DecodeError."""
    header = _header(stream, name)
    return header.width, header.height


def _header(stream: BinaryIO, name: str) -> _Header:
    stream.seek(0)
    head = stream.read(_HEAD_BYTES + 20)
    size, _, height, width, _, depth = struct.unpack_from("<6I", head, 4)
    kind, code, bits, *masks = struct.unpack_from("<I4s5I", head, 80)
    (caps,) = struct.unpack_from("<I", head, 112)
    if size != 124 or not (width and height):
        raise damaged(name, "DDS", f"it is {width}x{height} with a header of {size} bytes")
    several = bool(caps & _CUBE) or (bool(caps & _VOLUME) and depth > 1)
    start, found, mode = _HEAD_BYTES, None, 0
    if kind & _FOURCC:
        found = code if code[3] else int.from_bytes(code, "little")
        mode = _PREMULTIPLIED if code in (b"DXT2", b"DXT4") else 0
        if code == b"DX10":
            if len(head) < _HEAD_BYTES + 20:
                raise truncated(name)
            found, dimension, flags, count, mode = struct.unpack_from("<5I", head, _HEAD_BYTES)
            several |= bool(flags & 4) or count > 1 or dimension == 4
            start += 20
            mode &= 7
    if not kind & _ALPHA_PIXELS:
        masks[3] = 0
    return _Header(
        width, height, start, found, bits, (masks[0], masks[1], masks[2], masks[3]), kind,
        several, mode,
    )  # fmt: skip


def read_dds(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read the first surface of a DDS: gray or RGB of 8 bits, or 16, with alpha if it has some.

    Raises DecodeError for a format that is not supported, and LimitError.
    """
    header = _header(stream, name)
    check_pixels(header.width, header.height, limit, name)
    reduced = False
    code = header.code
    if isinstance(code, bytes) and code in _NAMED:
        color, alpha = _blocks(stream, header, _NAMED[code], name, limit)
    elif isinstance(code, int) and code in _BLOCKS and header.start > _HEAD_BYTES:
        block, reduced = _BLOCKS[code]
        color, alpha = _blocks(stream, header, block, name, limit)
    elif isinstance(code, int) and code == _RGBA_64[header.start == _HEAD_BYTES]:
        color, alpha = _wide(stream, header, name)
    elif isinstance(code, int) and code in _MASKS and header.start > _HEAD_BYTES:
        color, alpha = _masked(stream, header, *_MASKS[code], name)
    elif code is None and header.kind & (_RGB | _LUMINANCE) and header.bits in (8, 16, 24, 32):
        masks = header.masks
        if header.kind & _LUMINANCE:
            masks = _luminance_masks(header)
        color, alpha = _masked(stream, header, header.bits, masks, name)
    elif code is None and header.kind & _PALETTE and header.bits == 8:
        color, alpha = _mapped(stream, header, name)
    else:
        raise unsupported(name, f"a DDS in the format {_label(header)}")
    if alpha is not None and header.alpha_mode == _PREMULTIPLIED:
        color = unpremultiplied(color, alpha)
    if header.alpha_mode == _OPAQUE:
        alpha = None
    notes = ("more surfaces (of a cube, volume or array): left out",) if header.several else ()
    source = Source("DDS", None, reduced=reduced, notes=notes)
    return Picture(cast("Samples", color), cast("Samples | None", alpha), Metadata(), source)


def _luminance_masks(header: _Header) -> tuple[int, int, int, int]:
    """Return the masks of gray and alpha; Pillow and others write some that do not fit."""
    gray, alpha = header.masks[0], header.masks[3]
    if gray and not (gray | alpha) >> header.bits:
        return gray, 0, 0, alpha
    both = header.bits == 16 and bool(header.kind & _ALPHA_PIXELS)
    return (0xFF, 0, 0, 0xFF00) if both else ((1 << min(header.bits, 16)) - 1, 0, 0, 0)


def _label(header: _Header) -> str:
    code = header.code
    if code is None:
        return f"of {header.bits} bits with flags {header.kind:#x}"
    return shown(code.decode("latin-1")) if isinstance(code, bytes) else str(code)


def _read(stream: BinaryIO, count: int, name: str) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise truncated(name)
    return data


def _masked(
    stream: BinaryIO,
    header: _Header,
    bits: int,
    masks: tuple[int, int, int, int],
    name: str,
) -> Planes:
    """Read pixels of 8 to 32 bits by masks; a mask of red alone is gray."""
    mask = scattered(masks)
    if mask is not None:
        raise unsupported(name, f"a DDS with the mask {mask:#x}, whose bits are apart")
    width, height = header.width, header.height
    dtype = np.uint16 if any(mask.bit_count() > 8 for mask in masks) else np.uint8
    shades = masks[:1] if not (masks[1] or masks[2]) else masks[:3]
    color = np.empty((height, width, len(shades)), dtype)
    alpha = np.empty((height, width), dtype) if masks[3] else None
    stream.seek(header.start)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        count = part.stop - top
        data = _read(stream, count * width * bits // 8, name)
        values = integers(np.frombuffer(data, np.uint8).reshape(count, -1), width, bits)
        for channel, mask in enumerate(shades):
            color[part, :, channel] = scaled(values, mask, dtype)
        if alpha is not None:
            alpha[part] = scaled(values, masks[3], dtype)
    return color, alpha


def _wide(stream: BinaryIO, header: _Header, name: str) -> Planes:
    """Read four channels of 16 bits."""
    stream.seek(header.start)
    data = _read(stream, 8 * header.width * header.height, name)
    pixels = np.frombuffer(data, "<u2").reshape(header.height, header.width, 4).astype(np.uint16)
    return split_planes(pixels)


def _mapped(stream: BinaryIO, header: _Header, name: str) -> Planes:
    """Read indices into a palette of RGBA."""
    stream.seek(header.start)
    table = np.frombuffer(_read(stream, 1024, name), np.uint8).reshape(256, 4)
    data = _read(stream, header.width * header.height, name)
    indices = np.frombuffer(data, np.uint8).reshape(header.height, header.width)
    return np.ascontiguousarray(table[:, :3])[indices], np.ascontiguousarray(table[:, 3])[indices]


def _blocks(stream: BinaryIO, header: _Header, block: bytes | int, name: str, limit: int) -> Planes:
    """Read the first surface of blocks of 4x4 pixels, in a file that Pillow reads."""
    check_bytes(stream, limit, name)
    count = -(-header.width // 4) * -(-header.height // 4)
    stream.seek(header.start)
    data = _read(stream, count * (8 if block in _SMALL_BLOCKS else 16), name)
    fourcc = block if isinstance(block, bytes) else b"DX10"
    head = struct.pack("<4s3I", b"DDS ", 124, 0x81007, header.height)
    head += struct.pack("<I", header.width).ljust(60, b"\0")
    head += struct.pack("<II4s", 32, _FOURCC, fourcc).ljust(52, b"\0")
    if isinstance(block, int):
        head += struct.pack("<5I", block, 3, 0, 1, 0)
    with open_image(io.BytesIO(head + data), ("DDS",), name, limit) as image:
        pixels = np.array(image)
    return split_planes(pixels[:, :, None] if pixels.ndim == 2 else pixels)
