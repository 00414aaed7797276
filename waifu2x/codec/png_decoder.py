"""Decodes a PNG: chunks by `png_reader`, pixels by Pillow or imagecodecs."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import BinaryIO

from ..picture import Picture
from . import limits, png_reader
from .faults import animated, damaged
from .image import picture_of, source_of
from .limits import check_pixels
from .pillow_open import UnknownFormatError, open_image


def decode_png(stream: BinaryIO, name: str, limit: int) -> Picture:
    """Decode a still PNG of at most ``limit`` pixels; raises DecodeError and LimitError.

    Pillow decodes the pixels, and imagecodecs those of 16 bits with several channels.
    """
    header = png_reader.read_header(stream, name)
    check_pixels(header.width, header.height, limit, name)
    chunks = png_reader.read_chunks(stream, name)
    if chunks.frames:
        raise animated(chunks.frames, name)
    found = chunks.metadata
    deeper = header.depth == 16 and header.color_type != 0  # Pillow holds 16-bit gray
    plain, pixels = stream, b""
    if deeper or not chunks.plain:
        limits.check_bytes(stream, limit, name)
        pixels = chunks.pixels(stream)
        plain = io.BytesIO(pixels)
    try:
        image = open_image(plain, ("PNG",), name, limit)
    except UnknownFormatError as error:
        raise damaged(name, "PNG", "cannot be opened as such") from error
    with image:
        planes = None
        if deeper:
            from .high_depth import png_planes  # loaded when needed

            planes = png_planes(pixels, header, ended=chunks.ended)
        if planes is None:
            image.load()
        # `read_chunks` found the same or more, within limits.
        image.info["exif"] = found.exif or b""
        image.info["xmp"] = found.xmp
        image.info["icc_profile"] = found.icc
        if chunks.transparent is not None:
            values = chunks.transparent
            image.info["transparency"] = values if len(values) == 3 else values[0]
        source = replace(source_of(image), notes=chunks.notes)
        return picture_of(image, source, "", planes=planes, found=found)
