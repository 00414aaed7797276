"""Classifies what a crop shows: screentone, lines, or gradients and flat areas."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..pipeline.evaluation import luma
from .methods import Pixels

Kind: TypeAlias = Literal["lines", "screentone", "gradients"]

KINDS: Final[tuple[Kind, ...]] = ("lines", "screentone", "gradients")

#: A pixel is on an edge if luma changes by more than this share of its range to a neighbor.
_EDGE: Final = 0.12
#: Share of pixels on edges, below which a crop counts as gradients.
_FEW_EDGES: Final = 0.02
#: Share of pixels on edges, and repetition, from which a crop counts as screentone. At 128 px,
#: drawn faces have a repetition of up to 0.15, focus lines of 0.29, and dots of 0.38 and more.
_MANY_EDGES: Final = 0.2
_REPEATED: Final = 0.3
#: Side of the part that is looked at, and the smallest, in pixels.
_MOST: Final = 256
_LEAST: Final = 16
#: The longest distance of dots, and the window of the mean that is subtracted, in pixels.
_REACH: Final = 24
_WINDOW: Final = 7


def kind_of(pixels: Pixels) -> Kind:
    """Classify (H, W, 3) pixels of a source picture."""
    values = (luma(pixels[:_MOST, :_MOST]) - 16) / 219
    if min(values.shape) < _LEAST:
        return "gradients"
    across = np.abs(np.diff(values, axis=1))[:-1]
    down = np.abs(np.diff(values, axis=0))[:, :-1]
    edges = float((np.maximum(across, down) > _EDGE).mean())
    if edges < _FEW_EDGES:
        return "gradients"
    dots = edges > _MANY_EDGES and repetition(values) > _REPEATED
    return "screentone" if dots else "lines"


def repetition(values: npt.NDArray[np.float64]) -> float:
    """Return how much the values repeat at distances of 2 to 24 px, 0 to 1.

    values: (H, W) luma. The result is the mean of the four highest local maxima of the
    autocorrelation. The autocorrelation of dots has a maximum for each neighbor; along a line it
    falls without one.
    """
    height, width = values.shape
    detail = (values - _local_mean(values)) * np.outer(np.hanning(height), np.hanning(width))
    energy = np.abs(np.fft.rfft2(detail, (2 * height, 2 * width))) ** 2
    correlation = np.fft.fftshift(np.fft.irfft2(energy, (2 * height, 2 * width)))
    center = correlation[height, width]
    reach = min(_REACH, height - 2, width - 2)
    if center <= 0:
        return 0.0
    rows, columns = (
        slice(height - reach - 1, height + reach + 2),
        slice(width - reach - 1, width + reach + 2),
    )
    around = correlation[rows, columns] / center
    inner = around[1:-1, 1:-1]
    size = inner.shape[0]
    neighbors = [
        around[y : y + size, x : x + size] for y in range(3) for x in range(3) if (y, x) != (1, 1)
    ]
    place = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    peaks = np.sort(inner[(inner > np.max(neighbors, axis=0)) & (place >= 2)])[::-1]
    # Each maximum occurs twice, on opposite sides.
    return float(peaks[:8:2].mean()) if peaks.size >= 8 else 0.0


def _local_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean of the window around each value; outside the picture the edge continues."""
    padded = np.pad(values, _WINDOW // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_WINDOW, _WINDOW))
    means: npt.NDArray[np.float64] = windows.mean(axis=(2, 3))
    return means
