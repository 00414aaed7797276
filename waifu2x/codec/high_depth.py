"""Pixels of more than 8 bits that Pillow cannot hold, by imagecodecs.

It is imported only when a file needs them. Every function receives a size that was checked
against the limit, and refuses pixels of another size. Planes are as stored, before the
orientation is applied.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError
from .png_chunks import SIGNATURE, chunk, chunks_of
from .png_reader import PngHeader
from .samples import Planes, checked_float32, split_planes


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


def avif_planes(stream: BinaryIO, size: tuple[int, int], bits: int) -> Planes:
    """Decode an AVIF of 10 or 12 ``bits`` per sample to uint16 planes."""
    import imagecodecs

    stream.seek(0)
    # With index=0, imagecodecs writes all frames of a sequence into memory for one.
    pixels = imagecodecs.avif_decode(stream.read(), numthreads=1)
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    return split_planes(to_16_bits(_of_size(pixels, size), bits))


def jpeg_planes(stream: BinaryIO, size: tuple[int, int], bits: int) -> Planes:
    """Decode a JPEG of 2 to 16 ``bits`` per sample to uint8 planes up to 8 bits, else uint16."""
    pixels = _decoded("jpeg8", stream, size)
    if bits >= 8:
        return split_planes(to_16_bits(pixels, bits))
    return split_planes(to_8_bits(np.minimum(pixels, (1 << bits) - 1), bits))


def jxl_planes(stream: BinaryIO, size: tuple[int, int], bits: int, *, alpha: bool = True) -> Planes:
    """Decode a JPEG XL file to uint8 (up to 8 ``bits``), uint16 or float32 planes, upright.

    alpha: whether one of its extra channels, if there are any, is alpha.

    Raises ArgumentError for floats out of range.
    """
    import imagecodecs

    stream.seek(0)
    pixels = imagecodecs.jpegxl_decode(stream.read(), index=0)
    if not alpha and pixels.ndim == 3 and pixels.shape[1::-1] != size:
        pixels = pixels[0]  # gray, and the other channels as planes
    pixels = _of_size(pixels, size)
    if pixels.dtype.kind != "f":
        return split_planes(to_8_bits(pixels, bits) if bits <= 8 else to_16_bits(pixels, bits))
    return split_planes(checked_float32(pixels, "image"))


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


def to_8_bits(samples: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Return ``samples`` of 1 to 8 ``bits`` scaled to uint8, rounded to the nearest."""
    most = (1 << bits) - 1
    values = np.arange(most + 1, dtype=np.uint32)
    table = ((values * 255 + most // 2) // most).astype(np.uint8)
    scaled: npt.NDArray[np.uint8] = table[samples.astype(np.uint8)]
    return scaled


def to_16_bits(samples: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint16]:
    """Return ``samples`` of 8 to 16 ``bits`` scaled to uint16: the high bits are repeated."""
    wide = samples.astype(np.uint16)
    if bits == 16:
        return wide
    # uint16 shifts: plain integers promote to a wider type in some versions of NumPy.
    up, down = np.uint16(16 - bits), np.uint16(2 * bits - 16)
    return (wide << up) | (wide >> down)
