"""Estimates the quality a JPEG was saved with, from its quantization tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

# The example tables of the JPEG standard (annex K.1), in row order. Nearly every encoder scales
# them by its "quality".
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

# For tables of another shape. Photoshop's quantize low frequencies coarsely and high ones finely,
# so unweighted distances rate its "low" as 92. With coefficients weighted by
# 1 / sqrt(standard step), and chrominance by a quarter, every table of Photoshop is within 5 of the
# quality that gives drawings the same PSNR.
_CHROMINANCE_WEIGHT = 0.25


@cache
def _scaled_logs(table: tuple[tuple[int, ...], ...]) -> npt.NDArray[np.float64]:
    """Return (100, 64): the logarithm of ``table`` as libjpeg scales it to each quality 1..100."""
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled = (np.array(table).reshape(1, 64) * percent + 50) // 100
    logs: npt.NDArray[np.float64] = np.log(np.clip(scaled, 1, 255))
    return logs


def _distances(
    table: Sequence[int], standard: tuple[tuple[int, ...], ...]
) -> npt.NDArray[np.float64]:
    """Return (100,): the distance of ``table`` from ``standard`` at each quality, 0 if equal.

    In logarithms, so that 2 against 3 counts as much as 20 against 30.
    """
    weights = np.array(standard).reshape(64) ** -0.5
    gaps = _scaled_logs(standard) - np.log(np.asarray(table, dtype=np.float64))
    distances: npt.NDArray[np.float64] = gaps**2 @ (weights / weights.sum())
    return distances


def estimate_quality(tables: Mapping[int, Sequence[int]]) -> int | None:
    """Return the IJG quality 1..100 nearest to the quantization tables of a JPEG.

    tables: table number -> 64 values in row order, as in Pillow's ``image.quantization``; 0 is
    luminance, 1 chrominance. Exact for libjpeg and encoders that scale the standard tables alike.
    For other tables (Photoshop, cameras), the quality that degrades drawings about as much. None
    without a usable table.
    """
    usable = {n: tables[n] for n in (0, 1) if len(tables.get(n, ())) == 64 and min(tables[n]) >= 1}
    distances = []
    if 0 in usable:
        distances.append(_distances(usable[0], _LUMINANCE))
    # A second table equal to the first adds no information.
    if 1 in usable and list(usable[1]) != list(usable.get(0, ())):
        distances.append(_CHROMINANCE_WEIGHT * _distances(usable[1], _CHROMINANCE))
    return int(sum(distances[1:], distances[0]).argmin()) + 1 if distances else None
