"""Pixels of more than 8 bits that Pillow cannot hold, by imagecodecs and tifffile.

Both are imported only when a file needs them. Every function receives a size that was checked
against the limit, and refuses pixels of another size. ``Planes`` are color (H, W, 1 or 3) and
alpha (H, W) or None as stored, before the orientation is applied.
"""

from __future__ import annotations

import io
import logging
import re
import struct
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError
from ..picture import sample_max
from .png_reader import filter_chunks
from .samples import FLOAT_SLACK, check_floats
from .tiff_header import TiffLayout

Planes: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]

# Pixels that are converted at once, so that wide copies stay small.
_STRIP_PIXELS = 1 << 20


def png_planes(stream: BinaryIO, size: tuple[int, int]) -> Planes:
    """Decode a PNG of 16 bits per channel to uint16 planes, its tRNS color as alpha.

    size: width and height in its header. Raises what imagecodecs raises for damaged files.
    """
    import imagecodecs

    data = filter_chunks(stream, (b"IHDR", b"tRNS", b"IDAT", b"IEND"))
    return split_planes(_of_size(imagecodecs.png_decode(data), size))


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
                shades = _unpremultiplied(shades, alpha[part])
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


def _unpremultiplied(color: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return premultiplied color divided by its alpha; 0 where alpha is 0."""
    divisor = alpha[:, :, None]
    if color.dtype.kind == "f":
        quotient = np.zeros_like(color)
        np.divide(color, divisor, out=quotient, where=divisor > 0)
        clipped: npt.NDArray[Any] = np.clip(quotient, -FLOAT_SLACK, 1 + FLOAT_SLACK)
        return clipped
    full = sample_max(color.dtype)
    wide = divisor.astype(np.uint32)
    quotient = (color.astype(np.uint32) * full + wide // 2) // np.maximum(wide, 1)
    return np.where(wide == 0, 0, np.minimum(quotient, full)).astype(color.dtype)


# --- formats that imagecodecs decodes at full depth


def ppm_planes(stream: BinaryIO, size: tuple[int, int]) -> Planes | None:
    """Decode a binary PPM (P6) with a maximum above 255 to uint16 planes; None for other files.

    Raises EOFError if the pixels end too early. Format: netpbm's ppm(5).
    """
    stream.seek(0)
    head = stream.read(1 << 12)
    found = _PPM.match(head)
    if found is None or head[:2] != b"P6":
        return None
    width, height, most = (int(number) for number in found.groups())
    if (width, height) != size or not 255 < most < 65536:
        return None
    stream.seek(found.end())
    data = stream.read(6 * width * height)
    if len(data) < 6 * width * height:
        raise EOFError("image file is truncated")
    color = np.frombuffer(data, ">u2").reshape(height, width, 3).astype(np.uint16)
    if most < 65535:
        rows = max(1, _STRIP_PIXELS // width)
        for top in range(0, height, rows):
            wide = np.minimum(color[top : top + rows], most).astype(np.uint32)
            color[top : top + rows] = (wide * 65535 + most // 2) // most
    return color, None


def ppm_is_high_depth(head: bytes) -> bool:
    """Return whether ``head`` begins a PPM, binary or text, of more than 8 bits."""
    found = _PPM.match(head)
    return found is not None and int(found[3]) > 255


_SPACE = rb"(?:\s|#[^\n]*\n)+"
_PPM = re.compile(rb"P[36]" + rb"".join(_SPACE + rb"(\d{1,9})" for _ in range(3)) + rb"\s")


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


def avif_planes(stream: BinaryIO, size: tuple[int, int], bits: int) -> Planes:
    """Decode an AVIF of 10 or 12 ``bits`` per sample to uint16 planes."""
    return split_planes(to_16_bits(_decoded("avif", stream, size, index=0, numthreads=1), bits))


def jpeg_planes(stream: BinaryIO, size: tuple[int, int], bits: int) -> Planes:
    """Decode a JPEG of 2 to 16 ``bits`` per sample to uint8 planes up to 8 bits, else uint16."""
    pixels = _decoded("jpeg8", stream, size)
    if bits >= 8:
        return split_planes(to_16_bits(pixels, bits))
    most = (1 << bits) - 1
    wide = np.minimum(pixels, most).astype(np.uint16)
    return split_planes(((wide * 255 + most // 2) // most).astype(np.uint8))


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
