"""Reads the size of a picture without its pixels."""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from .._record import record
from ..errors import Waifu2xError
from . import limits
from ._pillow import pillow_errors
from .decoder import PILLOW_FORMATS
from .sniff import sniff

_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}


@record
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
    # Each format loads its own modules.
    if kind == "png":
        from . import png_reader

        png = png_reader.read_header(stream, name)
        channels = _PNG_CHANNELS.get(png.color_type, 4)
        return Header(png.width, png.height, channels * (2 if png.depth == 16 else 1))
    if kind == "tiff":
        from .tiff_header import read_layout

        tiff = read_layout(stream)
        return Header(tiff.width, tiff.height, tiff.samples * -(-tiff.bits // 8))
    if kind == "psd":
        from . import psd_reader

        psd = psd_reader.read_header(stream)
        return Header(psd.width, psd.height, psd.channels * -(-psd.bits // 8))
    if kind == "jpeg2000":
        from . import jpeg2000_header

        codestream = jpeg2000_header.read_codestream(stream)
        if codestream is None:
            raise ValueError("no codestream")
        pixel_bytes = len(codestream.components) * -(-codestream.components[0].bits // 8)
        return Header(codestream.width, codestream.height, pixel_bytes)
    if kind == "jxl":
        from . import jxl_header

        found = jxl_header.read_header(stream)
        return Header(found.width, found.height, 4 * -(-found.bits // 8))
    if kind == "avif":
        from .avif_reader import checked_header

        avif = checked_header(stream, name, limit)
        return Header(avif.width, avif.height, 4 * -(-avif.bits // 8))
    if kind not in ("jpeg", "webp", "gif"):
        from .format_readers import reader_of

        reader = reader_of(head)
        if reader is not None:
            return Header(*reader.size(stream, name), 4)
    limits.check_header(stream, head, limit, name)
    stream.seek(0)
    try:
        with Image.open(stream, formats=(*PILLOW_FORMATS, "GIF")) as image:
            return Header(image.width, image.height, len(image.getbands()))
    except UnidentifiedImageError:
        if kind != "jpeg":
            raise
        from . import jpeg_header

        # Pillow does not open more than 8 bits.
        jpeg = jpeg_header.read_header(stream, name)
        if not (jpeg.width and jpeg.height):
            raise
    return Header(jpeg.width, jpeg.height, len(jpeg.components) * -(-jpeg.bits // 8))
