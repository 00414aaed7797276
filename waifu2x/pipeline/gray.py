"""Recognizes gray pictures that are stored as RGB, as most scans of manga are.

Such a picture runs as gray, so that the channels of the result are equal. In three channels, a
network returns up to 32 levels of color.

Encoders of JPEG keep equal channels equal: libjpeg-turbo, ImageMagick, libvips, OpenCV, ffmpeg and
jpeg-js, at qualities 50 to 95, in 4:2:0 and 4:4:4. Differences come from a source whose channels
differ by a rounding error, as after a color conversion; quantization increases these to 5 levels,
and to a mean of 0.9 levels of Cb or Cr over 16x16 pixels. The faintest colors that were tried are
further away: paper of (255, 254, 250) has a mean of 2.2, a pale line or a stamp of a tenth of its
strength differs by 13 levels or more.

A page saved as PNG from such a JPEG holds the same noise. In a lossless file a tint of one level
may be meant, as in paper of (255, 255, 254); but noise has no color of its own: the mean of Cb or
Cr over the whole page is at most 0.19 levels, with such a paper 0.3 or more.
"""

from __future__ import annotations

import logging
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from ..picture import Picture, Samples, Source, sample_max
from . import alpha as opacity

_log = logging.getLogger(__name__)

#: Maximum difference between the channels of a pixel, and maximum mean of Cb and Cr in a block, in
#: levels of 255.
_NOISE: Final = 6
_MEAN_NOISE: Final = 1.0
#: Maximum mean of Cb and Cr in the whole of a lossless picture.
_WHOLE_MEAN_NOISE: Final = 0.2
#: Side of a block in pixels.
_BLOCK: Final = 16

#: Pixels that are compared at once, so that copies stay in the CPU's cache.
_STRIP_PIXELS: Final = 1 << 16

#: BT.601, as in JPEG.
_LUMA: Final = (0.299, 0.587, 0.114)


class GrayTest:
    """Whether all pictures that were added are gray; the frames of an animation, or one picture.

    A file may differ from gray by the noise of lossy compression, its own or an earlier one's;
    arrays may not.
    """

    def __init__(self, source: Source) -> None:
        self._from_file = source.format is not None
        self._lossless = source.lossy is False
        self._noise = "an earlier compression" if self._lossless else str(source.format)
        self._gray, self._compared = True, False
        self._difference = 0.0

    def add(self, picture: Picture) -> None:
        """Compare the channels of ``picture``; colors below transparent pixels do not count."""
        if self._gray and not picture.gray:
            hidden = None
            if picture.alpha is not None and not opacity.is_flat(picture.alpha):
                hidden = picture.alpha == 0
            noisy = self._from_file and picture.color.dtype.kind == "u"
            found = _difference(picture.color, hidden, noisy=noisy, lossless=self._lossless)
            self._gray, self._compared = found is not None, True
            self._difference = max(self._difference, found or 0.0)

    def result(self) -> bool:
        """Return whether the pictures are gray, and log that RGB is."""
        if self._gray and self._difference:
            _log.debug(
                "gray: the channels differ by at most %.3g of 255, the noise of %s",
                *(self._difference, self._noise),
            )
        elif self._gray and self._compared:
            _log.debug("gray: all channels are equal")
        return self._gray


def to_gray(color: Samples) -> Samples:
    """Return the luma of gray samples (H, W, 3) as (H, W, 1), of the same type."""
    gray: npt.NDArray[Any] = np.empty((*color.shape[:2], 1), color.dtype)
    rows = _rows(color)
    for top in range(0, len(color), rows):
        strip = color[top : top + rows]
        target = gray[top : top + rows, :, 0]
        target[...] = strip[:, :, 0]
        if not _is_equal(strip):
            unequal = _spread(strip) > 0
            luma = strip[unequal] @ np.array(_LUMA)
            target[unequal] = luma if color.dtype == np.float32 else np.rint(luma)
    return cast("Samples", gray)


def to_rgb(gray: Samples) -> Samples:
    """Return gray samples (H, W, 1) in three equal channels, a new array."""
    color: npt.NDArray[Any] = np.empty((*gray.shape[:2], 3), gray.dtype)
    for channel in range(3):  # many times as fast as a broadcast or `np.repeat`
        color[:, :, channel] = gray[:, :, 0]
    return cast("Samples", color)


def _difference(
    color: Samples, hidden: npt.NDArray[np.bool_] | None, *, noisy: bool, lossless: bool
) -> float | None:
    """Return the largest difference between channels in levels of 255; None for a colored picture.

    hidden: pixels that do not count. noisy: whether to allow noise. lossless: whether all noise
    together must have no color.
    """
    largest = 0.0
    rows = _rows(color)
    level = sample_max(color.dtype) / 255
    whole = np.zeros(3)
    for top in range(0, len(color), rows):
        strip = color[top : top + rows]
        if _is_equal(strip):
            continue
        if hidden is not None:
            strip = np.where(hidden[top : top + rows, :, None], strip[:, :, :1], strip)
        found = float(_spread(strip).max()) / level
        if not found:
            continue
        if not noisy or found > _NOISE:
            return None
        sums, counts = _block_sums(strip)
        if _chroma(sums / counts) / level > _MEAN_NOISE:
            return None
        largest = max(largest, found)
        whole += sums.sum((0, 1)) / level
    mean = whole / (color.shape[0] * color.shape[1])
    return None if lossless and _chroma(mean) > _WHOLE_MEAN_NOISE else largest


def _rows(color: Samples) -> int:
    """Return the rows of a strip: whole blocks."""
    width = int(color.shape[1])
    return max(1, _STRIP_PIXELS // width // _BLOCK) * _BLOCK


def _is_equal(strip: Samples) -> bool:
    """Return whether the channels of (n, W, 3) are equal."""
    # Comparing neighbors in memory is eight times as fast as comparing channels.
    flat = np.ascontiguousarray(strip).reshape(-1)
    equal = flat[:-1] == flat[1:]
    equal[2::3] = True  # the last channel of a pixel and the first of the next
    return bool(equal.all())


def _spread(strip: Samples) -> npt.NDArray[Any]:
    red, green, blue = (np.ascontiguousarray(strip[:, :, channel]) for channel in range(3))
    spread: npt.NDArray[Any] = np.maximum(np.maximum(red, green), blue)
    spread -= np.minimum(np.minimum(red, green), blue)
    return spread


def _block_sums(strip: Samples) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return sums and numbers of pixels of blocks: (rows, columns, 3) and (rows, columns, 1)."""
    height, width, _ = strip.shape
    rows, columns = np.arange(0, height, _BLOCK), np.arange(0, width, _BLOCK)
    sums = np.add.reduceat(np.add.reduceat(strip.astype(np.float64), rows), columns, axis=1)
    counts = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    return sums, counts[:, :, None]


def _chroma(means: npt.NDArray[np.float64]) -> float:
    """Return the largest Cb or Cr, without sign, of colors (..., 3)."""
    red, green, blue = np.moveaxis(means, -1, 0)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    chroma = ((blue - luma) / (2 - 2 * _LUMA[2]), (red - luma) / (2 - 2 * _LUMA[0]))
    return float(max(np.abs(each).max() for each in chroma))
