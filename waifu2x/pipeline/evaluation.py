"""Measures how well a network restores pictures: PSNR and SSIM against the originals.

Both are computed on the luma of the 8-bit result, as is usual for super-resolution, and on the
whole picture without cropping a border. Luma is that of the literature: BT.601 in studio range,
Y = 16 + 65.481 R + 128.553 G + 24.966 B for R, G, B in [0, 1], not rounded, with a peak of 255.
"""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from .. import kernels
from .._record import record
from ..network.graph import Graph
from ..network.registry import Model, Network
from ..picture import Picture, as_float
from .options import UpscalerOptions
from .pipeline import Pipeline

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


def on_white(picture: Picture) -> Pixels:
    """Return a picture as (H, W, 3) uint8, composited on white."""
    color = np.broadcast_to(as_float(picture.color), (picture.height, picture.width, 3))
    if picture.alpha is not None:
        opacity = as_float(picture.alpha)[:, :, None]
        color = color * opacity + (1 - opacity)
    return kernels.quantize(np.ascontiguousarray(color), np.uint8).astype(np.uint8, copy=False)


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Return (H, W, 3) pixels as they are read from a JPEG of Pillow's 4:2:0 subsampling."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


@record
class Score:
    """Agreement with the originals, averaged over pictures; PSNR in dB, SSIM up to 1."""

    psnr: float
    ssim: float


def scores(
    networks: Sequence[Graph], originals: Iterable[Pixels], *, jpeg: int | None = None
) -> list[Score]:
    """Return the score of each network.

    networks: from RGB to RGB, of one scale.
    originals: at least one, (H, W, 3) uint8 with sides that are multiples of the scale, and at
        least 11 px. The networks restore them from their box-shrunk versions.
    jpeg: quality at which the inputs are saved as JPEG first, 1 to 100.
    """
    pipelines = [NetworkPipeline(graph) for graph in networks]
    found: list[list[Score]] = [[] for _ in networks]
    for pixels in originals:
        given, wanted = box_shrunk(pixels, networks[0].scale), luma(pixels)
        if jpeg is not None:
            given = as_jpeg(given, jpeg)
        for pipeline, made in zip(pipelines, found, strict=True):
            result = luma(pipeline.restore(given))
            made.append(Score(psnr(result, wanted), ssim(result, wanted)))
    return [
        Score(statistics.fmean(s.psnr for s in made), statistics.fmean(s.ssim for s in made))
        for made in found
    ]


class NetworkPipeline(Pipeline):
    """A pipeline of one network that is not in the registry, on the native engine."""

    def __init__(self, graph: Graph, *, threads: int | None = None) -> None:
        """Compile ``graph``. Raises `EngineError` for an operation that the engine lacks."""
        super().__init__(UpscalerOptions(engine="native", threads=threads))
        network = Network(graph.scale, None, round(graph.macs_per_pixel), "", (), graph)
        self.model = Model("network", "", "", "", "", "", (network,))
        self._costs = {(graph.scale, None): graph.macs_per_pixel}
        self.network(graph.scale, None)

    def restore(self, pixels: Pixels) -> Pixels:
        """Return (H, W, 3) uint8 pixels enlarged by the network's scale."""
        picture = Picture(pixels)
        return self.run(picture, self.request(picture)).color.astype(np.uint8, copy=False)
