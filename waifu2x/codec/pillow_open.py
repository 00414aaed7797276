"""Opens a file with Pillow, within the limit of pixels."""

from __future__ import annotations

import re
import struct
from importlib import import_module
from typing import BinaryIO, Final

from PIL import Image, UnidentifiedImageError

from ..errors import LimitError
from .limits import HOW_TO_RAISE, check_pixels

#: The plugins of Pillow for the common formats.
_PLUGINS: Final = {
    "PNG": "PngImagePlugin",
    "JPEG": "JpegImagePlugin",
    "WEBP": "WebPImagePlugin",
    "AVIF": "AvifImagePlugin",
}


class UnknownFormatError(Exception):
    """Pillow does not recognize the file."""


def open_image(stream: BinaryIO, formats: tuple[str, ...], name: str, limit: int) -> Image.Image:
    """Open an image in one of Pillow's ``formats`` and check its size.

    Raises UnknownFormatError and LimitError.
    """
    stream.seek(0)
    try:
        image = open_as(stream, formats)
    except UnidentifiedImageError as error:
        raise UnknownFormatError from error
    except Image.DecompressionBombError as error:
        raise refused_by_pillow(error, limit, name) from error
    try:
        check_pixels(image.width, image.height, limit, name)
    except LimitError:
        image.close()
        raise
    return image


def open_as(stream: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    """Do what `PIL.Image.open` does with a stream at its start, and import fewer plugins.

    `PIL.Image.open` imports those of BMP, GIF, JPEG, PPM and PNG for any file, which takes longer
    than decoding a small picture.
    """
    plugin = _PLUGINS.get(formats[0]) if len(formats) == 1 else None
    if plugin is None:
        return Image.open(stream, formats=formats)
    import_module(f"PIL.{plugin}")
    factory, accept = Image.OPEN[formats[0]]
    if accept is not None and accept(stream.read(16)) is not True:
        raise UnidentifiedImageError
    stream.seek(0)
    try:
        image = factory(stream, "")
    except (SyntaxError, IndexError, TypeError, struct.error) as error:
        raise UnidentifiedImageError from error
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > 2 * most:
        image.close()
        raise Image.DecompressionBombError(f"{image.width * image.height} pixels")
    return image


def refused_by_pillow(error: Exception, limit: int, name: str) -> LimitError:
    """Return the error for an image beyond Pillow's own limit, which it checks on opening."""
    number = re.search(r"\d+", str(error))
    pixels = int(number[0]) if number else limit + 1
    if pixels > limit:
        return LimitError(f"{name} is {pixels} pixels, and the limit is {limit}; " + HOW_TO_RAISE)
    return LimitError(
        f"{name} is {pixels} pixels, and Pillow's own limit is lower than max_pixels; "
        "raise PIL.Image.MAX_IMAGE_PIXELS too"
    )
