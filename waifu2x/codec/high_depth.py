"""Pixels of more than 8 bits that Pillow cannot hold, by imagecodecs and tifffile.

Both are imported only when a file needs them. Every function receives a size that was checked
against the limit, and refuses pixels of another size. ``Planes`` are color (H, W, 1 or 3) and
alpha (H, W) or None as stored, before the orientation is applied.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError
from ..picture import sample_max
from .png_chunks import SIGNATURE, chunk, chunks_of
from .png_reader import PngHeader
from .samples import check_floats, unpremultiplied
from .tiff_header import TiffLayout

Planes: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]

# Pixels that are converted at once, so that wide copies stay small.
_STRIP_PIXELS = 1 << 20


def png_planes(data: bytes, header: PngHeader, *, ended: bool) -> Planes:
    """Decode a PNG of 16 bits per channel to uint16 planes, its tRNS color as alpha.

    data: the file, without metadata. ended: whether its compressed pixels are complete to the last
    byte. Raises what imagecodecs raises for damaged files.
    """
    import imagecodecs

    if ended and not header.interlaced:
        size = header.width, header.height
        return split_planes(_of_size(imagecodecs.png_decode(data), size))
    # imagecodecs prints a warning of libpng for an interlaced file and refuses one without its last
    # bytes, so each pass becomes a file.
    packed = b"".join(body for kind, body in chunks_of(data) if kind == b"IDAT")
    rows = zlib.decompressobj().decompress(packed, header.filtered_bytes())
    key = b"".join(chunk(kind, body) for kind, body in chunks_of(data) if kind == b"tRNS")
    pixels: npt.NDArray[Any] | None = None
    position = 0
    for (left, top, *steps), size in zip(header.pattern, header.passes(), strict=True):
        if 0 in size:
            continue
        width, height = size
        end = position + height * (1 + (width * header.pixel_bits + 7) // 8)
        part = rows[position:end]
        if len(part) < end - position:
            raise EOFError("image file is truncated")
        still = (
            SIGNATURE
            + chunk(b"IHDR", struct.pack(">II5B", *size, header.depth, header.color_type, 0, 0, 0))
            + (key + chunk(b"IDAT", zlib.compress(part, 0)) + chunk(b"IEND", b""))
        )
        found = _of_size(imagecodecs.png_decode(still), size)
        if pixels is None:
            pixels = np.empty((header.height, header.width, found.shape[2]), found.dtype)
        pixels[top :: steps[1], left :: steps[0]] = found
        position = end
    assert pixels is not None
    return split_planes(pixels)


def tiff_planes(stream: BinaryIO, layout: TiffLayout) -> Planes:
    """Decode a TIFF whose ``layout`` is readable to uint8, uint16 or float32 planes.

    9 to 15 bits are scaled to 16; floats must lie in [-0.5, 1.5]. Premultiplied color is divided
    by its alpha, white at zero is inverted. Samples beyond color and alpha are dropped.

    Raises ArgumentError for floats out of range, and what tifffile raises for damaged files.
    """
    import tifffile

    # It logs warnings about files that are refused here, or whose faults are ignored.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
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
        stored = page.asarray(squeeze=False, maxworkers=1)
    separate, _, height, width, contiguous = stored.shape
    if (width, height, separate * contiguous) != (layout.width, layout.height, layout.samples):
        raise ValueError("its tags contradict each other")
    by_plane = stored.reshape(separate, height, width, contiguous)
    pixels = by_plane[0] if contiguous > 1 or separate == 1 else by_plane[..., 0].transpose(1, 2, 0)
    return _tiff_planes(pixels, layout)


def _tiff_planes(pixels: npt.NDArray[Any], layout: TiffLayout) -> Planes:
    """Return color and alpha from the samples (H, W, S) that a TIFF stores."""
    colors = layout.colors
    extra = layout.extra or (2,) * (layout.samples - colors)
    kind = extra[0] if extra and layout.samples > colors else 0
    dtype = np.dtype(
        {1: np.uint8 if layout.bits == 8 else np.uint16}.get(layout.sample_format, np.float32)
    )
    height, width = pixels.shape[:2]
    color = np.empty((height, width, colors), dtype)
    alpha = np.empty((height, width), dtype) if kind else None
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        strip = _full_range(pixels[part, :, : colors + bool(kind)], layout)
        shades = strip[:, :, :colors]
        if layout.photometric == 0:
            shades = dtype.type(sample_max(dtype)) - shades
        if alpha is not None:
            alpha[part] = strip[:, :, colors]
            if kind == 1:
                shades = unpremultiplied(shades, alpha[part])
        color[part] = shades
    return color, alpha


def _full_range(strip: npt.NDArray[Any], layout: TiffLayout) -> npt.NDArray[Any]:
    if layout.sample_format == 3:
        with np.errstate(over="ignore"):  # infinities are refused by `check_floats`
            strip = strip.astype(np.float32, copy=False)
        check_floats(strip, "image")
        return strip
    if layout.bits in (8, 16):
        return strip
    return to_16_bits(strip, layout.bits)


# --- formats that imagecodecs decodes at full depth


class Components(NamedTuple):
    """The samples of a JPEG 2000 codestream.

    bits: of the first component. pixels, tiles: their counts. plain: at most four components,
    unsigned, alike, and in a color space that needs no conversion.
    """

    bits: int
    pixels: int
    tiles: int
    plain: bool


def jpeg2000_components(stream: BinaryIO) -> Components | None:
    """Read the SIZ marker of a JPEG 2000 file; None if it is not near the start.

    Layout: ISO/IEC 15444-1, annex A.5.1.
    """
    stream.seek(0)
    head = stream.read(1 << 20)
    at = head.find(b"\xff\x4f\xff\x51")
    body = head[at + 8 : at + 8 + 36 + 3 * 16]
    if at < 0 or len(body) < 36 + 3:
        return None
    x1, y1, _, _, step_x, step_y, x0, y0, count = struct.unpack_from(">8IH", body, 0)
    if not (step_x and step_y):
        return None
    width, height = max(x1 - x0, 0), max(y1 - y0, 0)
    tiles = -(-width // step_x) * -(-height // step_y)
    sizes = {body[i : i + 3] for i in range(34, 34 + 3 * min(count, 16), 3)}
    depth, *steps = next(iter(sizes))
    plain = len(sizes) == 1 and depth < 128 and steps == [1, 1] and count <= 4
    # 18 is sYCC among the color spaces of the "colr" box; Pillow converts it to RGB.
    sycc = b"colr\x01\0\0\0\0\0\x12" in head[:at] or b"colr\x01\0\x01\0\0\0\x12" in head[:at]
    return Components((depth & 127) + 1, width * height, tiles, plain and not sycc)


def jpeg2000_planes(stream: BinaryIO, size: tuple[int, int], bits: int) -> Planes:
    """Decode a JPEG 2000 file of 9 to 16 ``bits`` per sample to uint16 planes."""
    return split_planes(to_16_bits(_decoded("jpeg2k", stream, size), bits))


def avif_bits(head: bytes) -> int:
    """Return the bits per sample of an AVIF whose first bytes are ``head``: 8, 10 or 12.

    Read from the first av1C box, that of the color: AV1 Codec ISO Media File Format, 2.3.
    """
    at = head.find(b"av1C")
    flags = head[at + 6] if 0 < at < len(head) - 6 else 0
    return (12 if flags & 0x20 else 10) if flags & 0x40 else 8


def avif_planes(stream: BinaryIO, size: tuple[int, int], bits: int) -> Planes:
    """Decode an AVIF of 10 or 12 ``bits`` per sample to uint16 planes."""
    return split_planes(to_16_bits(_decoded("avif", stream, size, index=0, numthreads=1), bits))


def jxl_planes(stream: BinaryIO, size: tuple[int, int], bits: int) -> Planes:
    """Decode a JPEG XL file of more than 8 ``bits`` to uint16 or float32 planes, upright.

    Raises ArgumentError for floats out of range.
    """
    pixels = _decoded("jpegxl", stream, size, index=0)
    if pixels.dtype.kind != "f":
        return split_planes(to_16_bits(pixels, bits))
    pixels = pixels.astype(np.float32, copy=False)
    check_floats(pixels, "image")
    return split_planes(pixels)


def _decoded(
    codec: str, stream: BinaryIO, size: tuple[int, int], **options: int
) -> npt.NDArray[Any]:
    """Decode the whole stream by a codec of imagecodecs."""
    import imagecodecs

    stream.seek(0)
    return _of_size(getattr(imagecodecs, f"{codec}_decode")(stream.read(), **options), size)


def _of_size(pixels: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return ``pixels`` as (H, W, C); raises ValueError unless ``size`` is (W, H)."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[1::-1] != size or not 1 <= pixels.shape[2] <= 4:
        raise ValueError("its pixels are not of the size in its header")
    if pixels.dtype not in (np.uint8, np.uint16) and pixels.dtype.kind != "f":
        raise ArgumentError(
            f"image has {pixels.dtype} samples, which is not supported; save it as 16-bit"
        )
    return pixels


def to_16_bits(samples: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint16]:
    """Return ``samples`` of 8 to 16 ``bits`` scaled to uint16: the high bits are repeated."""
    wide = samples.astype(np.uint16)
    if bits == 16:
        return wide
    # uint16 shifts: plain integers promote to a wider type in some versions of NumPy.
    up, down = np.uint16(16 - bits), np.uint16(2 * bits - 16)
    return (wide << up) | (wide >> down)


def split_planes(pixels: npt.NDArray[Any]) -> Planes:
    """Return color and alpha of (H, W, 1..4) pixels, each contiguous."""
    colors = 3 if pixels.shape[2] >= 3 else 1
    if pixels.shape[2] == colors:
        return pixels, None
    return np.ascontiguousarray(pixels[:, :, :colors]), np.ascontiguousarray(pixels[:, :, -1])
