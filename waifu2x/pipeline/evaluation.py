"""Measures how well a network restores pictures: PSNR and SSIM against the originals.

Both are computed on the luma of the 8-bit result, as is usual for super-resolution, and on the
whole picture without cropping a border. Luma is that of the literature: BT.601 in studio range,
Y = 16 + 65.481 R + 128.553 G + 24.966 B for R, G, B in [0, 1], not rounded, with a peak of 255.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ..network.graph import Graph
from ..network.registry import Level, Model, Network
from ..picture import Picture
from .options import UpscalerOptions
from .pipeline import Pipeline
from .squeeze_excitation import LoadedNetwork

Luma: TypeAlias = npt.NDArray[np.float64]
Pixels: TypeAlias = npt.NDArray[np.uint8]

PEAK: Final = 255.0
#: Side of the window of SSIM, and so the least side of a picture.
SSIM_SIDE: Final = 11


def luma(pixels: Pixels) -> Luma:
    """Convert (H, W, 3) uint8 to (H, W) BT.601 luma, 16 for black to 235 for white."""
    weights = np.array([65.481, 128.553, 24.966])
    values: Luma = pixels.astype(np.float64) / 255 @ weights + 16
    return values


def psnr(first: Luma, second: Luma) -> float:
    """Peak signal-to-noise ratio in dB, for a peak of 255; infinite for equal pictures."""
    error = float(np.mean((first - second) ** 2))
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def ssim(first: Luma, second: Luma) -> float:
    """Mean structural similarity. Raises ValueError for sides below 11.

    Z. Wang et al., "Image quality assessment" (2004, https://doi.org/10.1109/TIP.2003.819861):
    Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, only where the whole window fits.
    """
    window = np.exp(-(np.arange(-(SSIM_SIDE // 2), SSIM_SIDE // 2 + 1) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    if min(first.shape) < window.size:
        raise ValueError(f"SSIM needs {window.size} px a side, and the picture is {first.shape}")

    def mean(values: Luma) -> Luma:
        rows: Luma = _valid(_valid(values, window).T, window).T
        return rows

    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    m1, m2 = mean(first), mean(second)
    v1 = mean(first**2) - m1**2
    v2 = mean(second**2) - m2**2
    covariance = mean(first * second) - m1 * m2
    similarity = (2 * m1 * m2 + c1) * (2 * covariance + c2)
    similarity /= (m1**2 + m2**2 + c1) * (v1 + v2 + c2)
    return float(similarity.mean())


def _valid(values: Luma, window: Luma) -> Luma:
    """Filter every column with ``window``, only where the whole window fits."""
    size = values.shape[0] - window.size + 1
    total = np.zeros((size, values.shape[1]))
    for start, weight in enumerate(window):
        total += weight * values[start : start + size]
    return total


def box_shrunk(pixels: Pixels, factor: int) -> Pixels:
    """Return the mean of each block of ``factor`` x ``factor`` pixels, rounded half up.

    pixels: (H, W, 3); both sides are multiples of the factor.
    """
    height, width, channels = pixels.shape
    blocks = pixels.reshape(height // factor, factor, width // factor, factor, channels)
    area = factor * factor
    sums = blocks.sum((1, 3), dtype=np.int64)
    shrunk: Pixels = ((2 * sums + area) // (2 * area)).astype(np.uint8)
    return shrunk


class NetworkPipeline(Pipeline):
    """A pipeline of one network that is not in the registry, on the native engine."""

    def __init__(self, graph: Graph, *, threads: int | None = None) -> None:
        """Compile ``graph``. Raises `EngineError` for an operation that the engine lacks."""
        super().__init__(UpscalerOptions(engine="native", threads=threads))
        # A network that does not enlarge removes something, or the pipeline would have no pass.
        level: Level | None = None if graph.scale > 1 else 0
        network = Network(graph.scale, level, round(graph.macs_per_pixel), "", ())
        self.model = Model("network", "", "", "", "", "", (network,))
        self._costs = {(graph.scale, level): graph.macs_per_pixel}
        self._networks[graph.scale, level] = LoadedNetwork(graph, self.engine)
        self._scale, self._level = graph.scale, level

    def restore(self, pixels: Pixels) -> Pixels:
        """Return (H, W, 3) uint8 pixels enlarged by the network's scale."""
        picture = Picture(pixels)
        request = self.request(picture, scale=self._scale, noise=self._level)
        return self.run(picture, request).color.astype(np.uint8, copy=False)
