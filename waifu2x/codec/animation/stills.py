"""Patches as still files of their own, for formats whose patches are pictures of that format."""

from __future__ import annotations

import io
from typing import BinaryIO

from PIL import Image

from ...picture import Picture, Samples
from .._pillow import reading
from ..decoder import decode
from ..image import picture_of
from ..samples import convert_samples
from .frames import Bytes

_ORIENTATION = 0x0112


class _Named(io.BytesIO):
    """Bytes with a name for messages."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def decode_still(data: bytes, name: str, limit: int) -> Picture:
    """The picture in a file that is ``data``; ``name`` is what messages call it."""
    return decode(_Named(data, name), max_pixels=limit)


def as_bytes(samples: Samples) -> Bytes:
    """``samples`` in 8 bits."""
    return convert_samples(samples, "uint8")  # type: ignore[return-value]


def turned_by(data: bytes, name: str) -> bytes | None:
    """The EXIF block of the file ``data`` if that turns or mirrors its picture, else None."""
    with reading(name), Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]) as image:
        exif = image.getexif()
        return exif.tobytes() if exif.get(_ORIENTATION, 1) in range(2, 9) else None


def turn(picture: Picture, image: Image.Image, exif: bytes) -> Picture:
    """``image`` of ``picture`` turned upright by ``exif``, with the metadata of ``picture``."""
    image.info["exif"] = exif
    turned = picture_of(image, picture.source, "")
    return Picture(turned.color, turned.alpha, picture.metadata, picture.source)


def read_exactly(stream: BinaryIO, count: int) -> bytes:
    """The next ``count`` bytes; raises EOFError where the file ends before."""
    blocks = []
    while count > 0:
        block = stream.read(min(count, 1 << 20))  # never allocates what a header promises
        if not block:
            raise EOFError
        blocks.append(block)
        count -= len(block)
    return b"".join(blocks)
