"""Opens a file with Pillow, within the limit of pixels."""

from __future__ import annotations

import re
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ..errors import LimitError
from .limits import HOW_TO_RAISE, check_pixels


class UnknownFormatError(Exception):
    """Pillow does not recognize the file."""


def open_image(stream: BinaryIO, formats: tuple[str, ...], name: str, limit: int) -> Image.Image:
    """Open an image in one of Pillow's ``formats`` and check its size.

    Raises UnknownFormatError and LimitError.
    """
    stream.seek(0)
    try:
        image = Image.open(stream, formats=formats)
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
