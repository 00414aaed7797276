"""The quality a JPEG was saved with, read off its quantisation tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

# The example tables of the JPEG standard (annex K.1), row by row. Nearly every encoder scales
# these two by its "quality".
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)


@cache
def _scaled_logs(table: tuple[tuple[int, ...], ...]) -> npt.NDArray[np.float64]:
    """(100, 64): the logarithm of ``table`` scaled to each quality 1..100 as libjpeg scales it."""
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled = (np.array(table).reshape(1, 64) * percent + 50) // 100
    return np.log(np.clip(scaled, 1, 255))


def estimate_quality(tables: Mapping[int, Sequence[int]]) -> int | None:
    """The IJG quality 1..100 nearest to the quantisation tables of a JPEG.

    tables: table number -> 64 values in row order, as Pillow's ``image.quantization``; 0 is
    luminance, 1 chrominance. Exact for files written by libjpeg and all that scale the standard
    tables as it does. For other tables (Photoshop, cameras) it is the quality whose tables differ
    least, as the sum of the absolute log ratios: so that a step of 2 against 3 weighs as much as
    one of 20 against 30. None where there is no usable table.
    """
    distance = np.zeros(100)
    found = False
    luminance = tables.get(0)
    for number, standard in ((0, _LUMINANCE), (1, _CHROMINANCE)):
        table = tables.get(number)
        if table is None or len(table) != 64 or min(table) < 1:
            continue
        if number == 1 and luminance is not None and list(table) == list(luminance):
            continue  # An encoder with one table for all: it says nothing new.
        # A missing luminance table (only some TIFF-born files) leaves chrominance to tell.
        logs = np.log(np.asarray(table, dtype=np.float64))
        distance += np.abs(_scaled_logs(standard) - logs).sum(axis=1)
        found = True
    return int(distance.argmin()) + 1 if found else None
