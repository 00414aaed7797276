"""Pixels of a TIFF that Pillow cannot hold or reads wrong, by tifffile and imagecodecs.

Both are imported only when a file needs them. The layout and the size of the picture have been
checked before; pixels of another size are refused.
"""

from __future__ import annotations

import io
import logging
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError
from ..picture import sample_max
from . import conversion, jxl_header, tiff_header
from .high_depth import to_8_bits, to_16_bits
from .jpeg2000_header import read_codestream
from .samples import checked_float32, unpremultiplied
from .tiff_header import TiffLayout

# Pixels that are converted at once, so that wide copies stay small.
_STRIP_PIXELS = 1 << 20

_PHOTOMETRIC, _ORIENTATION = 262, 274
_LZW = 5
# LZW, Deflate (twice), LZMA and Zstandard: the compressions that may follow a predictor.
_PREDICTED = frozenset((_LZW, 8, 32946, 34925, 50000))
_LONG = 4

# It logs warnings about files that are refused here, or whose faults are ignored.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class TiffPixels(NamedTuple):
    """Color (H, W, 1 or 3) and alpha (H, W) or None as stored, before the orientation is applied.

    space: the color space that was converted to sRGB, or "".
    """

    color: npt.NDArray[Any]
    alpha: npt.NDArray[Any] | None
    space: str


def tiff_pixels(stream: BinaryIO, layout: TiffLayout, icc: bytes | None) -> TiffPixels:
    """Decode a TIFF whose ``layout`` is supported to uint8, uint16 or float32 samples.

    icc: the profile in the file, which converts CMYK.

    1 to 7 bits are scaled to 8, and 9 to 15 to 16; floats must lie in [-0.5, 1.5]; integers that
    are signed or wider must lie in the range of uint8 (for 8 bits) or uint16. Premultiplied color
    is divided by its alpha, white at zero is inverted, palettes become RGB, CMYK and CIELab become
    sRGB. Samples beyond color and alpha are dropped.

    Raises ArgumentError for samples out of range, and what tifffile raises for damaged files.
    """
    if layout.raw_ycbcr:
        pixels = _by_libtiff(stream, layout, asrgb=True)
        return TiffPixels(np.ascontiguousarray(pixels[:, :, :3]), None, "")
    stored, palette = _stored(stream, layout)
    dtype = _dtype(layout)
    height, width = stored.shape[:2]
    channels = 3 if layout.colors == 4 or layout.photometric == tiff_header.PALETTE else None
    color = np.empty((height, width, channels or layout.colors), dtype)
    if palette is not None:
        color = np.empty((height, width, 3), palette.dtype)
    found = layout.alpha
    alpha = None if found is None else np.empty((height, width), color.dtype)
    convert = _Converter(layout, palette, icc)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        strip = stored[part]
        shades = strip[:, :, : layout.colors]
        if palette is None:
            shades = _full_range(shades, layout)
        if found is not None and alpha is not None:
            index, kind = found
            alpha[part] = _as_type(_full_range(strip[:, :, index], layout), color.dtype)
            if kind == 1 and palette is None:
                shades = unpremultiplied(shades, _full_range(strip[:, :, index], layout))
        color[part] = convert(shades)
    return TiffPixels(color, alpha, convert.space)


def _stored(
    stream: BinaryIO, layout: TiffLayout
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Return the samples (H, W, S) as stored, and the palette (N, 3) or None."""
    import tifffile

    jpeg = layout.compression == tiff_header.JPEG and layout.bits == 8
    if jpeg and layout.photometric != tiff_header.CMYK:
        return _by_libtiff(stream, layout), None  # it knows every mixture of planes and colors
    stream.seek(0)
    with tifffile.TiffFile(stream, is_ome=False) as file:
        page = file.pages.first
        tile = (page.tilewidth, page.tilelength) if page.is_tiled else None
        same = (
            (page.imagewidth, page.imagelength, page.imagedepth, page.tiledepth)
            == (layout.width, layout.height, 1, 1)
        ) and (page.samplesperpixel, page.bitspersample, page.sampleformat, page.compression) == (
            layout.samples,
            layout.bits,
            layout.sample_format,
            layout.compression,
        )
        if not same or tile != layout.tile:
            raise ValueError("its tags contradict each other")
        offsets, counts = page.dataoffsets, page.databytecounts
        if len(offsets) != len(counts) or not all(offsets) or not all(counts):
            raise ValueError("some of its strips or tiles are missing")
        if sum(counts) > stream.seek(0, io.SEEK_END):
            raise ValueError("its strips or tiles overlap")
        area = tile[0] * tile[1] if tile else layout.width * min(page.rowsperstrip, layout.height)
        for offset, count in zip(offsets, counts, strict=True):
            _check_segment(stream, offset, count, layout.compression, area)
        palette = None
        if layout.photometric == tiff_header.PALETTE:
            palette = _palette(page.colormap, layout.bits)
        if layout.compression not in _PREDICTED:
            page.predictor = 1  # libtiff ignores the tag there, and tifffile does not
        if layout.compression == _LZW and layout.bits in (8, 16, 32, 64):
            return _by_libtiff(stream, layout), palette
        if layout.compression == _LZW:
            stored = _without_lzw(stream, page)
        else:
            stored = page.asarray(squeeze=False, maxworkers=1)
    separate, _, height, width, contiguous = stored.shape
    if (width, height, separate * contiguous) != (layout.width, layout.height, layout.samples):
        raise ValueError("its tags contradict each other")
    by_plane = stored.reshape(separate, height, width, contiguous)
    if contiguous > 1 or separate == 1:
        return by_plane[0], palette
    return by_plane[..., 0].transpose(1, 2, 0), palette


def _without_lzw(stream: BinaryIO, page: Any) -> npt.NDArray[Any]:
    """Return the samples of an LZW-compressed ``page``, a `tifffile.TiffPage`, by libtiff.

    The LZW decoder of imagecodecs reads memory that is not its own if a code is damaged.
    """
    import tifffile

    contiguous = page.samplesperpixel if page.planarconfig == 1 else 1
    width, rows = page.imagewidth, min(page.rowsperstrip or page.imagelength, page.imagelength)
    if page.is_tiled:
        width, rows = page.tilewidth, page.tilelength
    row_bytes = (width * contiguous * page.bitspersample + 7) // 8
    strips = -(-page.imagelength // rows)
    plain, offsets, counts = io.BytesIO(), [], []
    # Keep the tags in front, because tifffile reads some of them late.
    stream.seek(0)
    plain.write(stream.read())
    for index, (offset, count) in enumerate(
        zip(page.dataoffsets, page.databytecounts, strict=True)
    ):
        stream.seek(offset)
        high = rows if page.is_tiled else min(rows, page.imagelength - index % strips * rows)
        offsets.append(plain.tell())
        plain.write(_lzw_decoded(stream.read(count), high * row_bytes, page.fillorder))
        counts.append(plain.tell() - offsets[-1])
    plain.seek(0)
    with tifffile.TiffFile(plain, is_ome=False) as file:
        copy = file.pages.first
        copy.compression, copy.fillorder = tifffile.COMPRESSION.NONE, tifffile.FILLORDER.MSB2LSB
        copy.dataoffsets, copy.databytecounts = tuple(offsets), tuple(counts)
        stored: npt.NDArray[Any] = copy.asarray(squeeze=False, maxworkers=1)
        return stored


def _lzw_decoded(data: bytes, size: int, fill_order: int) -> bytes:
    """Return the ``size`` bytes of an LZW stream: as the only row of a gray TIFF of their own."""
    import imagecodecs

    entries = (
        (256, _LONG, size), (257, _LONG, 1), (258, _LONG, 8), (259, _LONG, _LZW), (262, _LONG, 1),
        (266, _LONG, fill_order), (273, _LONG, 0), (277, _LONG, 1), (278, _LONG, 1),
        (279, _LONG, len(data)),
    )  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    directory = b"".join(
        struct.pack("<HHII", tag, kind, 1, start if tag == 273 else value)
        for tag, kind, value in entries
    )
    header = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4)
    decoded = imagecodecs.tiff_decode(header + data)
    if decoded.size != size:
        raise ValueError("a strip or tile has another size than its tags declare")
    return decoded.tobytes()


def _check_segment(stream: BinaryIO, offset: int, count: int, compression: int, area: int) -> None:
    """Check the size that a strip or tile declares in itself, before a decoder allocates it."""
    if compression == tiff_header.JPEG:
        declared = _jpeg_area(stream, offset)
    elif compression in tiff_header.JPEG_2000:
        stream.seek(offset)
        found = read_codestream(io.BytesIO(stream.read(1 << 16)))
        declared = 0 if found is None or found.tiles > max(64, area // 256) else found.pixels
    elif compression == tiff_header.WEBP:
        stream.seek(offset)
        declared = _webp_area(stream.read(30))
    elif compression in tiff_header.JPEG_XL:
        stream.seek(offset)
        header = jxl_header.read_header(io.BytesIO(stream.read(count)))
        declared = header.width * header.height
    else:
        return
    if not 0 < declared <= area:
        raise ValueError("a strip or tile has another size than its tags declare")


def _webp_area(head: bytes) -> int:
    from .limits import webp_size

    size = webp_size(head) if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None
    return 0 if size is None else size[0] * size[1]


def _jpeg_area(stream: BinaryIO, position: int) -> int:
    """Return width x height in the frame header of a JPEG stream, 0 if there is none."""
    position += 2
    for _ in range(1000):
        stream.seek(position)
        head = stream.read(9)
        if len(head) < 9 or head[0] != 0xFF:
            return 0
        if head[1] == 0xFF:
            position += 1
            continue
        if head[1] in range(0xC0, 0xD0) and head[1] not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", head, 5)
            return int(height * width)
        position += 2 + int.from_bytes(head[2:4], "big")
    return 0


def _palette(colors: npt.NDArray[Any] | None, bits: int) -> npt.NDArray[Any]:
    """Return the color map (3, N) of uint16 as (N, 3); as uint8 if 8 bits hold every color."""
    if colors is None or colors.shape != (3, 1 << bits):
        raise ValueError("it has no complete color map")
    table = np.ascontiguousarray(colors.T).astype(np.uint16)
    if table.max(initial=0) < 256:  # some writers store 8 bits
        return table.astype(np.uint8)
    return (table >> 8).astype(np.uint8) if bits <= 8 else table


def _dtype(layout: TiffLayout) -> np.dtype[Any]:
    if layout.sample_format == tiff_header.FLOAT:
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if layout.bits <= 8 else np.uint16)


def _as_type(samples: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the alpha of a palette picture in the type of its colors."""
    if samples.dtype == dtype:
        return samples
    wide: npt.NDArray[Any] = samples >> 8 if dtype == np.uint8 else samples.astype(dtype) * 257
    return wide.astype(dtype)


def _full_range(strip: npt.NDArray[Any], layout: TiffLayout) -> npt.NDArray[Any]:
    bits = layout.bits
    if layout.sample_format == tiff_header.FLOAT:
        return checked_float32(strip, "image")
    if layout.sample_format == tiff_header.SIGNED or bits == 32:
        low, high = int(strip.min()), int(strip.max())
        most = 255 if bits == 8 else 65535
        if low < 0 or high > most:
            raise ArgumentError(
                f"image has {bits}-bit integer samples from {low} to {high}; "
                f"only 0 to {most} is supported, so save it as 16-bit"
            )
        return strip.astype(_dtype(layout))
    if bits in (8, 16):
        return strip
    if bits < 8:
        return to_8_bits(strip, bits)
    return to_16_bits(strip, bits)


class _Converter:
    """Converts samples over the full range to gray or RGB."""

    def __init__(
        self, layout: TiffLayout, palette: npt.NDArray[Any] | None, icc: bytes | None
    ) -> None:
        self._photometric, self._palette, self._icc = layout.photometric, palette, icc
        self.space = {
            tiff_header.CMYK: "CMYK",
            tiff_header.CIELAB: "LAB",
            tiff_header.ICCLAB: "LAB",
        }.get(layout.photometric, "")

    def __call__(self, shades: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._palette is not None:
            colors: npt.NDArray[Any] = self._palette[shades[:, :, 0]]
            return colors
        if self._photometric == tiff_header.WHITE_IS_ZERO:
            inverted: npt.NDArray[Any] = shades.dtype.type(sample_max(shades.dtype)) - shades
            return inverted
        if self._photometric == tiff_header.CMYK:
            return conversion.cmyk_to_rgb(shades, self._icc)
        if self._photometric == tiff_header.CIELAB:
            return conversion.lab_to_rgb(_lab(shades), shades.dtype)
        if self._photometric == tiff_header.ICCLAB:
            return conversion.lab_to_rgb(_icc_lab(shades), shades.dtype)
        return shades


def _lab(samples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return L* a* b* of CIELab samples, whose a* and b* are signed (TIFF 6.0, section 23)."""
    lab = np.empty(samples.shape, np.float64)
    signed = samples.view(np.int8 if samples.dtype == np.uint8 else np.int16)
    lab[..., 0] = samples[..., 0] * (100 / sample_max(samples.dtype))
    lab[..., 1:] = signed[..., 1:]
    if samples.dtype == np.uint16:
        lab[..., 1:] /= 256
    return lab


def _icc_lab(samples: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return L* a* b* of ICCLab samples, in the encoding of ICC.1 version 2 (TIFF Supplement 1)."""
    lab = samples.astype(np.float64)
    if samples.dtype == np.uint16:
        lab[..., 0] *= 255 / 65280  # 100 is 0xFF00
        lab[..., 1:] /= 256
    lab[..., 0] *= 100 / 255
    lab[..., 1:] -= 128
    return lab


def _by_libtiff(stream: BinaryIO, layout: TiffLayout, *, asrgb: bool = False) -> npt.NDArray[Any]:
    """Return the samples (H, W, S) by libtiff, which converts YCbCr to RGB.

    asrgb: return RGBA of YCbCr samples, of any subsampling and range.
    """
    import imagecodecs

    stream.seek(0)
    data = bytearray(stream.read())
    # libtiff would flip the picture, but not transpose it.
    _set_short(data, _ORIENTATION, 1)
    if layout.photometric == tiff_header.CMYK:
        # imagecodecs would refuse tiles of inks.
        _set_short(data, _PHOTOMETRIC, tiff_header.RGB)
    pixels = imagecodecs.tiff_decode(bytes(data), asrgb=asrgb)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    elif layout.planar and layout.samples > 1 and pixels.shape[0] == layout.samples:
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.shape != (layout.height, layout.width, 4 if asrgb else layout.samples):
        raise ValueError("its pixels are not of the size in its header")
    return pixels


def _set_short(data: bytearray, tag: int, value: int) -> None:
    """Set a tag of the first directory, if it is there, to a number of 16 bits."""
    reader = tiff_header.TiffReader(io.BytesIO(data))
    position = reader.entry(reader.first, tag)
    if position is not None:
        struct.pack_into(reader.order + "H", data, position + 2, 3)
        struct.pack_into(reader.order + "HH", data, position + (12 if reader.big else 8), value, 0)
