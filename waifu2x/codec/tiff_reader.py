"""Reads a TIFF that Pillow cannot hold: pixels by `high_depth`, tags by Pillow."""

from __future__ import annotations

from typing import BinaryIO, cast

from PIL import Image

from ..picture import Metadata, Picture, Samples, Source
from .exif import reset_orientation
from .high_depth import tiff_planes
from .image import apply_orientation, kept_xmp, matching_icc, tiff_exif, valid_dpi
from .tiff_header import TiffLayout

_X_RESOLUTION = 282
_Y_RESOLUTION = 283
_RESOLUTION_UNIT = 296
_XMP = 700
_ICC = 34675
_CENTIMETER = 3


def tiff_picture(stream: BinaryIO, layout: TiffLayout) -> Picture:
    """Read the TIFF in ``stream``, whose ``layout`` is readable and within the limits.

    Raises ArgumentError for floats out of range, and what tifffile and Pillow raise for damage.
    """
    color, alpha = tiff_planes(stream, layout)
    tags = _tags(stream)
    xmp = tags.get(_XMP)
    if isinstance(xmp, tuple):  # integers, if the type of the tag is BYTE
        xmp = bytes(xmp) if all(isinstance(v, int) and 0 <= v < 256 for v in xmp) else None
    orientation = layout.orientation
    if not 1 <= orientation <= 8:
        orientation = 1
    color, alpha = apply_orientation(color, alpha, orientation)
    metadata = Metadata(
        icc=matching_icc(tags.get(_ICC), color.shape[2]),
        exif=_exif(tags),
        dpi=_dpi(tags, swapped=orientation >= 5),
        xmp=kept_xmp(xmp),
    )
    return Picture(
        cast("Samples", color), cast("Samples | None", alpha), metadata, Source("TIFF", False)
    )


def _tags(stream: BinaryIO) -> Image.Exif:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream.seek(0)
    head = stream.read(16)
    directory = ImageFileDirectory_v2(head if b"+" in head[:4] else head[:8])
    tags = Image.Exif()
    tags.bigtiff = directory._bigtiff
    tags.endian = directory._endian
    tags.load_from_fp(stream, directory.next)
    return tags


def _exif(tags: Image.Exif) -> bytes | None:
    try:
        exif = tiff_exif(tags)
    except Exception:  # broken EXIF is no reason to refuse the picture
        return None
    return reset_orientation(exif) if exif else None


def _dpi(tags: Image.Exif, *, swapped: bool) -> tuple[float, float] | None:
    unit = tags.get(_RESOLUTION_UNIT, 2)
    dpi = valid_dpi((tags.get(_X_RESOLUTION), tags.get(_Y_RESOLUTION)))
    if dpi is None or unit not in (2, _CENTIMETER):
        return None
    x, y = dpi
    if unit == _CENTIMETER:
        x, y = x * 2.54, y * 2.54
    return (y, x) if swapped else (x, y)
