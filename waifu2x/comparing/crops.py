"""Chooses the crops in which results differ most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .methods import Pixels

#: A value for each pixel, (H, W), in levels of 255.
Map: TypeAlias = npt.NDArray[np.float32]


#: Least distance of two chosen crops in one direction, as a share of their side. Without overlap, a
#: crop in the middle of a small picture would be the only one.
_APART: Final = 0.75


class Crop(NamedTuple):
    """A rectangle in pixels of the results."""

    x: int
    y: int
    width: int
    height: int

    def of(self, pixels: Pixels) -> Pixels:
        """Return a view of the rectangle in (H, W, 3) pixels."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def fits(self, width: int, height: int) -> bool:
        """Return whether the rectangle lies in a picture of ``width`` x ``height`` pixels."""
        return self.x + self.width <= width and self.y + self.height <= height


def spread(results: Sequence[Pixels]) -> Map:
    """Return the largest difference among the results at each pixel, averaged over the channels.

    results: at least one, (H, W, 3), of one size.
    """
    least, most = results[0].copy(), results[0].copy()
    for pixels in results[1:]:
        np.minimum(least, pixels, out=least)
        np.maximum(most, pixels, out=most)
    values: Map = (most - least).mean(axis=2, dtype=np.float32)
    return values


def differing_crops(differences: Map, count: int, side: int) -> list[Crop]:
    """Return up to ``count`` squares with the largest sums of ``differences``, the largest first.

    Two squares overlap by at most a quarter of their width or height. A picture smaller than
    ``side`` is one crop, or has narrower crops.
    """
    height, width = differences.shape
    wide, high = min(side, width), min(side, height)
    table = np.zeros((height + 1, width + 1))
    np.cumsum(differences, axis=0, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    sums = table[high:, wide:] - table[:-high, wide:] - table[high:, :-wide] + table[:-high, :-wide]
    found: list[Crop] = []
    while len(found) < count and sums.max() > -np.inf:
        y, x = (int(place) for place in np.unravel_index(int(sums.argmax()), sums.shape))
        found.append(Crop(x, y, wide, high))
        down, right = math.ceil(_APART * high), math.ceil(_APART * wide)
        sums[max(0, y - down + 1) : y + down, max(0, x - right + 1) : x + right] = -np.inf
    return found
