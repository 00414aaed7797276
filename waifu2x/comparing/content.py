"""Classifies what a crop shows: screentone, lines, or gradients and flat areas."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np

from ..pipeline.evaluation import luma
from .methods import Pixels

Kind: TypeAlias = Literal["lines", "screentone", "gradients"]

KINDS: Final[tuple[Kind, ...]] = ("lines", "screentone", "gradients")

#: A pixel is on an edge if luma changes by more than this share of its range to a neighbor.
_EDGE: Final = 0.12
#: Share of pixels on edges, below which a crop counts as gradients.
_FEW_EDGES: Final = 0.02
#: Share of pixels on edges, from which a crop can be screentone.
_MANY_EDGES: Final = 0.25
#: Share of the energy of high frequencies in its strongest frequencies, from which a crop counts
#: as screentone. Dots at one pitch have few frequencies, lines have all.
_PERIODIC: Final = 0.25
#: The strongest frequencies that are counted, and the lowest, in cycles per pixel.
_PEAKS: Final = 12
_LOWEST: Final = 0.12
#: The side of the window that is transformed, at most.
_WINDOW: Final = 256


def kind_of(pixels: Pixels) -> Kind:
    """Classify (H, W, 3) pixels of a source picture."""
    values = (luma(pixels[:_WINDOW, :_WINDOW]) - 16) / 219
    height, width = values.shape
    if min(height, width) < 2:
        return "gradients"
    across = np.abs(np.diff(values, axis=1))[:-1]
    down = np.abs(np.diff(values, axis=0))[:, :-1]
    edges = float((np.maximum(across, down) > _EDGE).mean())
    if edges < _FEW_EDGES:
        return "gradients"
    dots = edges > _MANY_EDGES and periodicity(values) > _PERIODIC
    return "screentone" if dots else "lines"


def periodicity(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Return the share of the energy of high frequencies that the strongest of them have.

    values: (H, W) luma.
    """
    height, width = values.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    energy = np.abs(np.fft.rfft2((values - values.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    high = np.sort(energy[radius > _LOWEST])
    total = float(high.sum())
    return float(high[-_PEAKS:].sum()) / total if total > 0 else 0.0
