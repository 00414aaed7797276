"""Reads a TIFF: pixels by Pillow or `tiff_pixels`, tags by `tiff_metadata`."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO, cast

from ..picture import Metadata, Picture, Samples, Source
from .exif import reset_orientation
from .image import apply_orientation, icc_space, kept_xmp, matching_icc, profile_note
from .tiff_header import JPEG, JPEG_2000, JPEG_XL, WEBP, TiffLayout
from .tiff_metadata import TiffMetadata, read_metadata
from .tiff_pixels import tiff_pixels

_LOSSY = {JPEG: True, WEBP: None, **dict.fromkeys((*JPEG_2000, *JPEG_XL))}


def tiff_picture(stream: BinaryIO, layout: TiffLayout) -> Picture:
    """Read the TIFF in ``stream``, whose ``layout`` is supported and within the limits.

    Raises ArgumentError for samples out of range, and what tifffile raises for damage.
    """
    found = read_metadata(stream, layout)
    pixels = tiff_pixels(stream, layout, found.icc)
    orientation = layout.orientation
    if not 1 <= orientation <= 8:
        orientation = 1
    color, alpha = apply_orientation(pixels.color, pixels.alpha, orientation)
    source = Source("TIFF", _LOSSY.get(layout.compression, False), converted=pixels.space)
    picture = Picture(cast("Samples", color), cast("Samples | None", alpha), source=source)
    return _described(picture, found, swapped=orientation >= 5)


def with_tags(picture: Picture, stream: BinaryIO, layout: TiffLayout) -> Picture:
    """Return ``picture``, whose pixels Pillow read, with the metadata that the tags hold."""
    found = read_metadata(stream, layout)
    return _described(picture, found, swapped=layout.orientation in range(5, 9))


def _described(picture: Picture, found: TiffMetadata, *, swapped: bool) -> Picture:
    channels = picture.color.shape[2]
    icc = None if picture.source.converted else matching_icc(found.icc, channels)
    dpi = found.dpi
    notes = found.notes
    if found.icc is not None and icc is None and not _was_applied(picture, found.icc):
        notes = (*notes, profile_note(found.icc))
    metadata = Metadata(
        icc=icc,
        exif=reset_orientation(found.exif) if found.exif else None,
        dpi=(dpi[1], dpi[0]) if dpi is not None and swapped else dpi,
        xmp=kept_xmp(found.xmp),
    )
    return replace(picture, metadata=metadata, source=replace(picture.source, notes=notes))


def _was_applied(picture: Picture, icc: bytes) -> bool:
    return picture.source.converted == "CMYK" and icc_space(icc) == "CMYK"
