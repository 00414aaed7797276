"""Reads the size of a picture without its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ..errors import Waifu2xError
from . import jpeg2000_header, jpeg_header, jxl_header, limits, png_reader, psd_reader
from ._pillow import pillow_errors
from .avif_reader import checked_header
from .decoder import PILLOW_FORMATS
from .format_readers import reader_of
from .sniff import sniff
from .tiff_header import read_layout

_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class Header:
    """The declared size of a picture as stored, before the orientation is applied.

    pixel_bytes: of the decoded samples of one pixel, approximately.
    """

    width: int
    height: int
    pixel_bytes: int


def read_header(stream: BinaryIO, limit: int) -> Header | None:
    """Read the declared size from a seekable file; None if it is broken or no picture.

    limit: pixels, as for `decode`. Allocates nothing of the size of the picture.
    """
    name = "the file"
    try:
        with pillow_errors(name):
            found = _read(stream, limit, name)
    except (Waifu2xError, ValueError):
        return None
    return found if found.width and found.height else None


def _read(stream: BinaryIO, limit: int, name: str) -> Header:
    stream.seek(0)
    head = stream.read(1 << 16)
    kind = sniff(head).name
    if kind == "png":
        png = png_reader.read_header(stream, name)
        channels = _PNG_CHANNELS.get(png.color_type, 4)
        return Header(png.width, png.height, channels * (2 if png.depth == 16 else 1))
    if kind == "tiff":
        tiff = read_layout(stream)
        return Header(tiff.width, tiff.height, tiff.samples * -(-tiff.bits // 8))
    if kind == "psd":
        psd = psd_reader.read_header(stream)
        return Header(psd.width, psd.height, psd.channels * -(-psd.bits // 8))
    if kind == "jpeg2000":
        codestream = jpeg2000_header.read_codestream(stream)
        if codestream is None:
            raise ValueError("no codestream")
        pixel_bytes = len(codestream.components) * -(-codestream.components[0].bits // 8)
        return Header(codestream.width, codestream.height, pixel_bytes)
    if kind == "jxl":
        found = jxl_header.read_header(stream)
        return Header(found.width, found.height, 4 * -(-found.bits // 8))
    reader = reader_of(head)
    if reader is not None:
        return Header(*reader.size(stream, name), 4)
    if kind == "avif":
        avif = checked_header(stream, name, limit)
        return Header(avif.width, avif.height, 4 * -(-avif.bits // 8))
    limits.check_header(stream, head, limit, name)
    stream.seek(0)
    try:
        with Image.open(stream, formats=(*PILLOW_FORMATS, "GIF")) as image:
            return Header(image.width, image.height, len(image.getbands()))
    except UnidentifiedImageError:
        # Pillow does not open more than 8 bits.
        jpeg = jpeg_header.read_header(stream, name) if kind == "jpeg" else None
        if jpeg is None or not (jpeg.width and jpeg.height):
            raise
    return Header(jpeg.width, jpeg.height, len(jpeg.components) * -(-jpeg.bits // 8))
