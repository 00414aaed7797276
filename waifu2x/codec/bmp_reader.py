"""BMP and DIB of every header and bit layout; also the pictures inside icons.

Pillow knows eleven of the possible masks, drops profiles, and reads 2 bits and RLE24 not at all.
Layout: Windows' BITMAPINFOHEADER to BITMAPV5HEADER (Microsoft, "Bitmap Header Types"), and OS/2's
BITMAPINFOHEADER2 for headers of 16 to 64 bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from .._record import record
from ..errors import DecodeError
from ..picture import Metadata, Picture, Source
from .bit_fields import indices, integers, scaled, scattered
from .faults import damaged, truncated, unsupported
from .image import matching_icc
from .limits import check_pixels
from .png_reader import MAX_PROFILE
from .samples import valid_dpi

Bytes = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]

_RGB, _RLE8, _RLE4, _MASKS, _JPEG, _PNG, _ALPHA_MASKS = range(7)
_RLE24, _HUFFMAN = -24, -1  # of OS/2, which numbers them 4 and 3
_UNSUPPORTED: Final = {
    _JPEG: "JPEG data",
    _PNG: "PNG data",
    _HUFFMAN: "Huffman coding",
    11: "CMYK",
    12: "CMYK with RLE8",
    13: "CMYK with RLE4",
}
_RLE_BITS: Final = {_RLE8: 8, _RLE4: 4, _RLE24: 24}

# Masks of red, green, blue and alpha if the file has none.
_MASKS_16: Final = (0x7C00, 0x3E0, 0x1F, 0)
_MASKS_32: Final = (0xFF0000, 0xFF00, 0xFF, 0)

_CALIBRATED, _EMBEDDED, _LINKED = 0, 0x4D424544, 0x4C494E4B
_INCH: Final = 0.0254
_LARGEST_HEADER: Final = 1024

# Pixels that are unpacked at once, so that wide copies stay small.
_STRIP_PIXELS: Final = 1 << 18


@record
class BmpLayout:
    """The header of a BMP or DIB.

    start: of the header in the file; pixels: of the samples. height: without a sign.
    masks: of red, green, blue and alpha; palette: (N, 3) in RGB, empty without one.
    body: the header behind its size, filled with zeros to 120 bytes.
    """

    start: int
    size: int
    width: int
    height: int
    bits: int
    compression: int
    top_down: bool
    masks: tuple[int, int, int, int]
    palette: Bytes
    pixels: int
    body: bytes

    @property
    def stride(self) -> int:
        """Bytes of a stored row, without compression."""
        return (self.width * self.bits + 31) // 32 * 4


@dataclass(slots=True)
class BmpPixels:
    """Color (H, W, 1 or 3), alpha (H, W) or None, and notes.

    unused: the fourth byte of pixels of 32 bits without masks, if it was asked for.
    """

    color: Samples
    alpha: Samples | None = None
    unused: Bytes | None = None
    notes: list[str] = field(default_factory=list)


def is_bmp(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is a BMP, or a DIB without file header."""
    start = 14 if head.startswith(b"BM") else 0
    size = int.from_bytes(head[start : start + 4], "little")
    planes = 10 if size == 12 else 12
    return (start > 0 and len(head) > start + 4) or (
        size in (12, 40, 52, 56, 64, 108, 124)
        and head[start + planes - 2 : start + planes] in (b"\1\0", b"\0\0")
        and len(head) > start + size
    )


def read_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height of a BMP or DIB; raises DecodeError."""
    layout = _file_layout(stream, name)
    return layout.width, layout.height


def read_bmp(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Read a BMP or DIB: gray, RGB or RGBA of 8 bits, or of 16 if a mask has more than 8.

    Raises DecodeError for a damaged file, or one of a kind that is not supported, and LimitError.
    """
    layout = _file_layout(stream, name)
    check_pixels(layout.width, layout.height, limit, name)
    pixels = read_pixels(stream, layout, name, unused=True)
    notes = pixels.notes
    if pixels.unused is not None and pixels.unused.min() != pixels.unused.max():
        notes.append("a fourth byte of each pixel, which BMP does not use: left out")
    if pixels.alpha is not None and not pixels.alpha.any():
        notes.append("every pixel is transparent")
    metadata = _metadata(stream, layout, pixels.color.shape[2], notes)
    source = Source("BMP", False, notes=tuple(notes))
    return Picture(pixels.color, pixels.alpha, metadata, source)


def _file_layout(stream: BinaryIO, name: str) -> BmpLayout:
    stream.seek(0)
    head = stream.read(14)
    if head.startswith(b"BM"):
        return read_layout(stream, 14, name, pixels=int.from_bytes(head[10:14], "little"))
    return read_layout(stream, 0, name)


def read_layout(stream: BinaryIO, start: int, name: str, *, pixels: int = 0) -> BmpLayout:
    """Read the header at ``start``; ``pixels``: where the samples begin, 0 behind the palette.

    Raises DecodeError.
    """
    stream.seek(start)
    size = int.from_bytes(stream.read(4), "little")
    if size > _LARGEST_HEADER:
        raise damaged(name, "BMP", "its header is not one")
    if not (size == 12 or 16 <= size <= 64 or size in (108, 124)):
        raise unsupported(name, f"a BMP whose header has {size} bytes")
    stored = stream.read(size - 4)
    if len(stored) < size - 4:
        raise truncated(name)
    body = stored.ljust(120, b"\0")
    if size == 12:
        width, height, _, bits = struct.unpack_from("<4H", body)
        compression = colors = 0
    else:
        width, height, _, bits, compression, _, _, _, colors = struct.unpack_from("<iiHHI4I", body)
    top_down, height = height < 0, abs(height)
    if width <= 0 or height == 0:
        raise DecodeError(f"{name} is {width}x{height}; no side may be 0 or less")
    if size not in (12, 40, 52, 56, 108, 124):  # OS/2
        compression = {(3, 1): _HUFFMAN, (4, 24): _RLE24}.get((compression, bits), compression)
    _check_kind(bits, compression, name)
    end = start + size
    masks = (0, 0, 0, 0)
    if compression in (_MASKS, _ALPHA_MASKS):
        if size >= 52:
            given = struct.unpack_from("<4I", body, 36)
            masks = (*given[:3], given[3] if size >= 56 else 0)
        else:
            count = 3 if compression == _MASKS else 4
            extra = stream.read(4 * count)
            if len(extra) < 4 * count:
                raise truncated(name)
            end += 4 * count
            masks = struct.unpack("<4I", extra.ljust(16, b"\0"))
        if not any(masks):
            masks = (*_MASKS_32[:3], 0xFF000000) if bits == 32 else _MASKS_16
    elif bits in (16, 32):
        masks = _MASKS_16 if bits == 16 else _MASKS_32
    _check_masks(masks, name)
    palette = np.empty((0, 3), np.uint8)
    entry = 3 if size == 12 else 4
    if bits <= 8:
        count = min(colors or 1 << bits, 1 << bits)
        if pixels > end:
            count = min(count, (pixels - end) // entry)
        table = stream.read(entry * count)
        rows = len(table) // entry
        stored_colors = np.frombuffer(table, np.uint8, entry * rows).reshape(rows, entry)
        palette = stored_colors[:, 2::-1]
    # A palette of more colors may be there for screens of few colors.
    after = end + entry * (colors or (1 << bits if bits <= 8 else 0))
    return BmpLayout(
        start,
        size,
        width,
        height,
        bits,
        compression,
        top_down,
        masks,
        palette,
        pixels or after,
        body,
    )


def _check_kind(bits: int, compression: int, name: str) -> None:
    masks = compression in (_MASKS, _ALPHA_MASKS)
    sound = (
        (compression == _RGB and bits in (1, 2, 4, 8, 16, 24, 32))
        or (masks and bits in (16, 24, 32))
        or _RLE_BITS.get(compression) == bits
    )
    if not sound:
        what = _UNSUPPORTED.get(compression, f"compression {compression}")
        what = f"{bits} bits per pixel" if compression == _RGB or masks else what
        raise unsupported(name, f"a BMP with {what}")


def _check_masks(masks: tuple[int, ...], name: str) -> None:
    mask = scattered(masks)
    if mask is not None:
        raise unsupported(name, f"a BMP with the mask {mask:#x}, whose bits are apart")


# --- pixels


def read_pixels(
    stream: BinaryIO, layout: BmpLayout, name: str, *, unused: bool = False
) -> BmpPixels:
    """Read the samples of a picture whose size was checked.

    unused: return the fourth byte of pixels of 32 bits without masks, too.
    """
    if layout.compression in _RLE_BITS:
        return _run_length(stream, layout, name)
    width, height, bits = layout.width, layout.height, layout.bits
    deep = any(mask.bit_count() > 8 for mask in layout.masks)
    dtype = np.uint16 if deep else np.uint8
    gray = bits <= 8 and _is_gray(layout)
    color = np.empty((height, width, 1 if gray else 3), dtype)
    alpha = np.empty((height, width), dtype) if layout.masks[3] else None
    fourth = None
    if unused and bits == 32 and layout.compression == _RGB:
        fourth = np.empty((height, width), np.uint8)
    table = _table(layout, gray=gray)
    stream.seek(layout.pixels)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        data = stream.read(count * layout.stride)
        # The padding of the last row may be missing.
        missing = count * layout.stride - len(data)
        if missing > (layout.stride - (width * bits + 7) // 8 if top + count == height else 0):
            raise truncated(name)
        strip = np.frombuffer(data.ljust(count * layout.stride, b"\0"), np.uint8)
        strip = strip.reshape(count, layout.stride)
        part = slice(top, top + count)
        if not layout.top_down:
            part, strip = slice(height - top - count, height - top), strip[::-1]
        if bits <= 8:
            color[part] = table[indices(strip, width, bits)]
        elif bits == 24 and layout.compression == _RGB:
            color[part] = strip[:, : 3 * width].reshape(count, width, 3)[:, :, ::-1]
        else:
            values = integers(strip, width, bits)
            for channel, mask in enumerate(layout.masks[:3]):
                color[part, :, channel] = scaled(values, mask, dtype)
            if alpha is not None:
                alpha[part] = scaled(values, layout.masks[3], dtype)
            if fourth is not None:
                fourth[part] = values >> np.uint32(24)
    return BmpPixels(color, alpha, fourth)


def _is_gray(layout: BmpLayout) -> bool:
    """Return whether the palette is black and white, or each index its own shade."""
    palette = layout.palette
    shades = [0, 255] if len(palette) == 2 else range(len(palette))
    return len(palette) > 0 and bool((palette == np.array(shades)[:, None]).all())


def _table(layout: BmpLayout, *, gray: bool) -> Bytes:
    """Return the palette with 256 rows; missing colors are black."""
    table = np.zeros((256, 1 if gray else 3), np.uint8)
    table[: len(layout.palette)] = layout.palette[:, : table.shape[1]]
    return table


def _run_length(stream: BinaryIO, layout: BmpLayout, name: str) -> BmpPixels:
    """Read RLE8, RLE4 or RLE24; pixels that the file skips have the first color, or black."""
    width, height, bits = layout.width, layout.height, layout.bits
    stream.seek(layout.pixels)
    unit = 3 if bits == 24 else 1
    data = stream.read(_most_run_length(layout))
    canvas = np.zeros((height, width, unit), np.uint8)
    drawn = np.zeros((height, width), np.bool_)
    x = y = at = 0
    end = len(data)
    while at + 2 <= end and y < height:
        count, value = data[at], data[at + 1]
        if count:  # a run
            at += 1 + unit
            stop = min(x + count, width)
            if stop > x:
                canvas[y, x:stop] = _run(data[at - unit : at], stop - x, bits)
                drawn[y, x:stop] = True
            x += count
            continue
        at += 2
        if value == 0:  # end of row
            x, y = 0, y + 1
        elif value == 1:  # end of picture
            break
        elif value == 2:
            if at + 2 > end:
                raise truncated(name)
            x, y, at = x + data[at], y + data[at + 1], at + 2
        else:
            size = (value * bits + 7) // 8
            part = np.frombuffer(data, np.uint8, min(size, end - at), at)
            if len(part) < size:
                raise truncated(name)
            at += size + (size & 1)
            found = indices(part[None], value, bits)[0] if bits < 24 else part
            stop = min(x + value, width)
            if stop > x:
                canvas[y, x:stop] = found.reshape(-1, unit)[: stop - x]
                drawn[y, x:stop] = True
            x += value
    else:
        if y < height and not (y == height - 1 and drawn[y].all()):
            raise truncated(name)
    notes = [] if drawn.all() else ["pixels that the file skips have the first color"]
    if not layout.top_down:
        canvas = canvas[::-1]
    if bits == 24:
        return BmpPixels(np.ascontiguousarray(canvas[:, :, ::-1]), notes=notes)
    return BmpPixels(_table(layout, gray=_is_gray(layout))[canvas[:, :, 0]], notes=notes)


def _run(value: bytes, count: int, bits: int) -> Bytes:
    """Return the samples (count, 1 or 3) of a run."""
    if bits == 4:
        pair = np.array([value[0] >> 4, value[0] & 15], np.uint8)
        return np.resize(pair, count)[:, None]
    return np.frombuffer(value, np.uint8)[None]


def _most_run_length(layout: BmpLayout) -> int:
    """Return the most bytes that any sensible encoder writes for the picture."""
    unit = 4 if layout.bits == 24 else 2
    return layout.height * (unit * layout.width + 8) + (1 << 16)


# --- labels


def _metadata(stream: BinaryIO, layout: BmpLayout, channels: int, notes: list[str]) -> Metadata:
    x, y = struct.unpack_from("<ii", layout.body, 20) if layout.size >= 32 else (0, 0)
    dpi = valid_dpi((x * _INCH, y * _INCH))
    if layout.size < 108:
        return Metadata(dpi=dpi)
    (space,) = struct.unpack_from("<I", layout.body, 52)
    if space == _CALIBRATED:
        return _calibrated(layout, dpi, notes)
    if space == _LINKED:
        notes.append("a link to a color profile in another file: left out")
    icc = _profile(stream, layout) if space == _EMBEDDED and layout.size == 124 else None
    kept = matching_icc(icc, channels)
    if icc is not None and kept is None:
        notes.append("a color profile that does not fit the picture: left out")
    return Metadata(icc=kept, dpi=dpi)


def _profile(stream: BinaryIO, layout: BmpLayout) -> bytes:
    """Return the embedded profile, empty if it is missing."""
    offset, size = struct.unpack_from("<II", layout.body, 108)
    stream.seek(layout.start + offset)
    return stream.read(size) if size <= MAX_PROFILE else b""


def _calibrated(layout: BmpLayout, dpi: tuple[float, float] | None, notes: list[str]) -> Metadata:
    """Return primaries and gamma of a header; without any, the colors are unlabeled."""
    points = np.array(struct.unpack_from("<9i", layout.body, 56), np.float64).reshape(3, 3) / 2**30
    gammas = [value / 65536 for value in struct.unpack_from("<3I", layout.body, 92)]
    if not points.any() or not any(gammas):
        return Metadata(dpi=dpi)
    sums = points.sum(axis=1)
    if (sums <= 0).any() or min(gammas) <= 0 or max(gammas) - min(gammas) > 0.01:
        notes.append("calibrated colors of BMP that make no sense: left out")
        return Metadata(dpi=dpi)
    (red, green, blue) = (points[:, :2] / sums[:, None]).tolist()
    # Some programs store the inverse. The header names no white; it is that of sRGB, as in Firefox.
    gamma = gammas[0] if gammas[0] < 1 else 1 / gammas[0]
    return Metadata(dpi=dpi, gamma=gamma, chromaticities=(0.3127, 0.3290, *red, *green, *blue))
