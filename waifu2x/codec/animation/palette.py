"""Colors reduced to a palette.

Median cut, by Pillow, gives a first palette, and Lloyd's iteration (k-means; S. P. Lloyd, "Least
squares quantization in PCM", 1982) improves it. Every color then becomes the nearest of the
palette, without dither: static areas must not flicker, and dots on flat color are more visible
than steps in a gradient.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from .frames import Bytes

_ITERATIONS = 6

# More colors than this are averaged in cells of 4 levels a side.
_MAX_COLORS = 1 << 16

# Colors that are compared with a palette at once.
_BLOCK = 1 << 14

Packed: TypeAlias = npt.NDArray[np.uint32]


def packed(color: Bytes) -> Packed:
    """Return color (..., 3) as one number 0xRRGGBB each."""
    wide = color.astype(np.uint32)
    return cast("Packed", wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def unpacked(numbers: Packed) -> Bytes:
    """Return the colors (..., 3) of numbers 0xRRGGBB."""
    planes = [(numbers >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)]
    return np.stack(planes, axis=-1)


def nearest(colors: npt.NDArray[Any], palette: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the index of the nearest of ``palette`` (k <= 256, 3) for each of ``colors`` (n, 3).

    By squared distance in RGB, values up to 255 of any type; the first of equally near colors.
    """
    entries = palette.astype(np.float32)
    half = (entries**2).sum(axis=1) / 2
    result = np.empty(len(colors), np.uint8)
    for start in range(0, len(colors), _BLOCK):
        block = colors[start : start + _BLOCK].astype(np.float32)
        # For integers, products and sums are multiples of 1/2 below 2^18: exact in float32.
        result[start : start + _BLOCK] = np.argmin(half - block @ entries.T, axis=1)
    return result


def squared_error(colors: Bytes, counts: npt.NDArray[np.int64], palette: Bytes) -> float:
    """Return the mean over pixels of the squared distance from ``colors`` (n, 3) to ``palette``."""
    difference = colors.astype(np.int64) - palette[nearest(colors, palette)]
    return float(((difference**2).sum(axis=1) * counts).sum() / counts.sum())


def best_palette(colors: Bytes, counts: npt.NDArray[np.int64], size: int) -> Bytes:
    """Return a palette (at most ``size``, 3) for ``colors`` (n, 3) that occur ``counts`` times."""
    values: npt.NDArray[Any] = colors.astype(np.float32)
    weights = counts.astype(np.float64)
    if len(colors) > _MAX_COLORS:
        values, weights = _cells(colors, weights)
    palette = _median_cut(values, weights, size).astype(np.float32)
    for _ in range(_ITERATIONS):
        index = nearest(values, palette)
        total = np.bincount(index, weights, len(palette))
        used = total > 0
        for channel in range(3):
            sums = np.bincount(index, weights * values[:, channel], len(palette))
            palette[used, channel] = sums[used] / total[used]
    return np.unique(np.floor(palette + 0.5).astype(np.uint8), axis=0)


def _cells(
    colors: Bytes, weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return the mean color of every cell of 4 levels a side, and its weight."""
    cell = packed(cast("Bytes", colors >> 2))
    _, index = np.unique(cell, return_inverse=True)
    total = np.bincount(index, weights).astype(np.float64)
    means = [np.bincount(index, weights * colors[:, c]) / total for c in range(3)]
    return np.stack(means, axis=1).astype(np.float32), total


def _median_cut(
    values: npt.NDArray[Any], weights: npt.NDArray[np.float64], size: int
) -> npt.NDArray[np.uint8]:
    # About 2^16 pixels, in proportion to the weights, at least one of each color.
    repeats = np.maximum(1, weights * (_MAX_COLORS / weights.sum())).astype(np.int64)
    pixels = np.repeat(np.floor(values + 0.5).astype(np.uint8), repeats, axis=0)
    image = Image.fromarray(pixels[None])
    reduced = image.quantize(size, method=Image.Quantize.MEDIANCUT)
    table = np.array(reduced.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used: Bytes = table[np.unique(np.asarray(reduced))]
    return used
