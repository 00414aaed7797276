"""AVIF in: labels by `avif_header`, pixels by Pillow, or by imagecodecs at more than 8 bits."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import BinaryIO

from PIL import Image

from .._text import reason
from ..errors import DecodeError, LimitError
from ..picture import Metadata, Picture
from . import avif_blue, high_depth
from .avif_header import AvifHeader, read_header
from .boxes import boxes
from .exif import reset_orientation
from .faults import damaged
from .image import picture_of, planes_of, raw_mode, source_of
from .limits import check_bytes, check_pixels
from .samples import Planes

# The limits of libavif, as Pillow and imagecodecs build it.
_MAX_SIDE = 32768
_MAX_PIXELS = 16384 * 16384
# The matrix coefficients of H.273 that libavif converts from.
_MATRICES = frozenset((0, 1, 2, 4, 5, 6, 7, 8, 9, 12))
_MATRIX_NAMES = {
    10: "BT.2020 of constant luminance",
    11: "SMPTE ST 2085",
    13: "constant luminance by primaries",
    14: "ICtCp",
    15: "IPT-PQ-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}


def checked_header(stream: BinaryIO, name: str, limit: int) -> AvifHeader:
    """Read the header of an AVIF that its decoders can open, before they see it.

    Raises DecodeError for damage, LimitError for a picture beyond ``limit`` or beyond libavif.
    """
    check_bytes(stream, limit, name)
    try:
        header = read_header(stream)
    except ValueError as error:
        raise damaged(name, "AVIF", reason(error)) from error
    width, height = header.width, header.height
    if 0 in (width, height):
        raise DecodeError(f"{name} is {width}x{height}; no side may be 0")
    check_pixels(width, height, limit, name)
    if max(width, height) > _MAX_SIDE or width * height > _MAX_PIXELS:
        raise LimitError(
            f"{name} is {width}x{height}, and libavif reads AVIF of at most {_MAX_SIDE} pixels a "
            f"side and {_MAX_PIXELS} in all; save it as PNG"
        )
    if header.matrix not in _MATRICES:
        what = _MATRIX_NAMES.get(header.matrix, "unknown")
        raise DecodeError(
            f"{name} is an AVIF with matrix coefficients {header.matrix} ({what}), "
            "which is not supported; save it as PNG"
        )
    return header


def decodable(stream: BinaryIO, header: AvifHeader) -> BinaryIO:
    """Return a stream that libavif accepts: it refuses a file for a broken EXIF block."""
    if header.exif is None or reset_orientation(header.exif) is not None:
        return stream
    stream.seek(0)
    data = bytearray(stream.read())
    for kind, start, size in boxes(stream):
        if kind in (b"meta", b"moov"):
            part = slice(start, start + size)
            data[part] = data[part].replace(b"Exif", b"none")
    return io.BytesIO(data)


def still_of(image: Image.Image, stream: BinaryIO, header: AvifHeader) -> Picture:
    """Return the only picture of an AVIF that Pillow opened as ``image``, upright."""
    if header.bits > 8:
        planes = high_depth.avif_planes(stream, image.size, header.bits)
        return _picture(image, header, planes)
    return frame_of(image, header)


def frame_of(image: Image.Image, header: AvifHeader) -> Picture:
    """Return the selected frame of ``image``, upright, with 8 bits."""
    stored = raw_mode(image)
    image.load()
    color, alpha = planes_of(image, stored)
    picture = _picture(image, header, (avif_blue.mended(color, header), alpha))
    return replace(picture, source=replace(picture.source, reduced=header.bits > 8))


def _picture(image: Image.Image, header: AvifHeader, planes: Planes) -> Picture:
    color, alpha = planes
    if header.crop is not None:
        left, top, width, height = header.crop
        place = slice(top, top + height), slice(left, left + width)
        color, alpha = color[place], None if alpha is None else alpha[place]
    if header.exif is not None:
        image.info["exif"] = header.exif  # Pillow's is rewritten
    # An ICC profile counts before the code points.
    labeled = header.colors is not None and "icc_profile" not in image.info
    found = Metadata(cicp=(*header.colors, 0, 1) if labeled and header.colors else None)
    source = replace(source_of(image), notes=header.notes)
    return picture_of(
        image,
        source,
        "",
        planes=(color, alpha),
        found=found,
        orientation=header.orientation,
    )
