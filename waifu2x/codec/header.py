"""The size of a picture, without its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from ..errors import Waifu2xError
from . import jxl_header, limits, png_reader
from ._pillow import reading
from .decoder import OTHERS, TIFF_SIGNATURES
from .tiff_header import read_layout

_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class Header:
    """What a file claims of its picture, as stored: width and height before any orientation.

    pixel_bytes: of the samples of one pixel once they are decoded, about.
    """

    width: int
    height: int
    pixel_bytes: int


def read_header(stream: BinaryIO, limit: int) -> Header | None:
    """The size that an open file that can seek claims; None for what is broken or no picture.

    limit: pixels, as for `decode`, which tells what is wrong with a file. Nothing of the size of
    the picture is allocated.
    """
    name = "the file"
    try:
        with reading(name):
            return _read(stream, limit, name)
    except (Waifu2xError, ValueError):
        return None


def _read(stream: BinaryIO, limit: int, name: str) -> Header:
    stream.seek(0)
    head = stream.read(1 << 16)
    if head.startswith(png_reader.SIGNATURE):
        png = png_reader.read_header(stream, name)
        channels = _PNG_CHANNELS.get(png.color_type, 4)
        return Header(png.width, png.height, channels * (2 if png.depth == 16 else 1))
    if head.startswith(TIFF_SIGNATURES):
        tiff = read_layout(stream)
        return Header(tiff.width, tiff.height, tiff.samples * -(-tiff.bits // 8))
    if jxl_header.is_jxl(head):
        found = jxl_header.read_header(stream)
        return Header(found.width, found.height, 4 * -(-found.bits // 8))
    limits.check_claims(stream, head, limit, name)
    stream.seek(0)
    with Image.open(stream, formats=OTHERS) as image:
        return Header(image.width, image.height, len(image.getbands()))
