"""Mends the blue of AVIF in limited range.

Pillow's libavif converts 8-bit samples to RGB by libyuv, which stores its factors in 8 bits. That
of Cb in blue is 2.02 to 2.15 in limited range, and is cut to 2.0 on most processors: saturated blue
is up to 4 levels off with BT.601, 12 with BT.709 and 16 with BT.2020.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from .avif_header import AvifHeader

_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
#: Shares of red and blue in luma by matrix coefficients, where libavif asks libyuv.
_LUMA: Final = {1: _BT709, 2: _BT601, 5: _BT601, 6: _BT601, 9: _BT2020}
#: The same by primaries, for matrix coefficients 12.
_LUMA_BY_PRIMARIES: Final = {1: _BT709, 5: _BT601, 6: _BT601, 9: _BT2020}

#: Of Cb in blue, for Cb of -0.5 to 0.5 and blue of 0 to 1, which has 224 of 255 levels.
_CUT_FACTOR: Final = 2.0 * 224 / 255


def mended(color: npt.NDArray[Any], header: AvifHeader) -> npt.NDArray[Any]:
    """Return ``color``, uint8 (H, W, 1 or 3) from libavif, with its blue as it should be."""
    if header.matrix == 12:
        luma = _LUMA_BY_PRIMARIES.get(header.primaries)
    else:
        luma = _LUMA.get(header.matrix)
    if luma is None or not header.limited or color.shape[2] != 3 or not _is_cut():
        return color
    mended = color.copy()
    for row, given in zip(mended, color, strict=True):
        row[:, 2] = _blue(given.astype(np.float32), *luma)
    return mended


def _blue(color: npt.NDArray[np.float32], kr: float, kb: float) -> npt.NDArray[np.float32]:
    """Return the blue (N,) of ``color`` (N, 3), whose blue has too little of Cb.

    Blue is y + f Cb, and was given as y + c Cb. With r = f / c, blue is y + r (given - y), and luma
    is y = kr red + kg green + kb blue.
    """
    ratio = 2 * (1 - kb) / _CUT_FACTOR
    red, green, given = color[:, 0], color[:, 1], color[:, 2]
    luma = kr * red + (1 - kr - kb) * green + kb * ratio * given
    luma /= 1 - kb + kb * ratio
    blue: npt.NDArray[np.float32] = np.rint(luma + ratio * (given - luma)).clip(0, 255)
    return blue


@cache
def _is_cut() -> bool:
    """Return whether libyuv cuts the factor here: as BT.2020, this blue becomes 199 or 208."""
    file = io.BytesIO()
    blue = Image.new("RGB", (16, 16), (60, 60, 200))
    blue.save(file, "AVIF", quality=100, speed=10, subsampling="4:4:4", range="limited")
    data = file.getvalue()
    label = data.index(b"colrnclx") + 8
    data = data[: label + 4] + b"\0\x09" + data[label + 6 :]  # the matrix coefficients
    with Image.open(io.BytesIO(data)) as image:
        pixel = image.convert("RGB").getpixel((8, 8))
    return isinstance(pixel, tuple) and pixel[2] < 204
