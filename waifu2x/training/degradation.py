"""Degrades pictures as networks have to restore them: shrinking to half, then JPEG.

`degrade` draws a random degradation for training. `Degradation` is a fixed one by name, for the
validation set and for benchmarks/quality.py.

Kernels are those that people shrink pictures with: Pillow's own filters, which round to 8 bits
between their two passes, and exact ones that round once, in gamma or linear light. The width varies
by 5%, a slight blur or sharpening. JPEG follows the recipe of nunif
(https://github.com/nagadomi/nunif, waifu2x/training/jpeg_noise.py): qualities by noise level, 4:2:0
or 4:4:4, one to three passes, with the grid of blocks shifted between passes; levels 2 and 3 also
see high qualities.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

#: Filters of the fixed degradations, by name.
FILTERS: Final = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
}

#: Families of filters that `waifu2x.network.architectures.adaptive` tells apart: with ringing of
#: Lanczos' strength, with less, without any, and softer ones.
FAMILIES: Final = ("lanczos", "bicubic", "box", "soft")

#: Pillow's filters that the mix draws from: the family of each, and its weight next to those of
#: `KERNELS`.
_PILLOW: Final[dict[Image.Resampling | str, tuple[str, float]]] = {
    Image.Resampling.LANCZOS: ("lanczos", 0.60),
    Image.Resampling.BICUBIC: ("bicubic", 0.16),
    Image.Resampling.BOX: ("box", 0.10),
    Image.Resampling.BILINEAR: ("soft", 0.02),
    Image.Resampling.HAMMING: ("soft", 0.02),
}

#: Share of exact kernels that work in linear light.
LINEAR_SHARE: Final = 0.2

#: Kernels are 5% narrower to 5% wider, in steps of 1%.
_WIDTH_STEPS: Final = 5

#: Noise levels and the probability that a picture of this level is compressed at all.
APPLIED: Final = {0: 0.65, 1: 0.65, 2: 0.65, 3: 0.95}

#: Share of compressed pictures of levels 2 and 3 whose quality is that of levels 0 and 1: people
#: choose a level without looking, and a network blurs what it has never seen.
_MILD_SHARE: Final = 0.15

#: Least and largest side of a square of pixel art, in pixels of the halved picture.
_SQUARES: Final = (2, 7)

#: Share of pictures with chroma at half the resolution.
_SUBSAMPLED: Final = 0.5


# --- kernels -------------------------------------------------------------------------------------


def _cubic(b: float, c: float) -> Callable[[float], float]:
    """The cubics of Mitchell and Netravali 1988 (https://doi.org/10.1145/54852.378514)."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x < 1:
            return ((12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + 6 - 2 * b) / 6
        if x < 2:
            inner = (-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x
            return (inner + 8 * b + 24 * c) / 6
        return 0.0

    return kernel


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def _lanczos(lobes: int) -> Callable[[float], float]:
    return lambda x: _sinc(x) * _sinc(x / lobes) if abs(x) < lobes else 0.0


def _hamming(x: float) -> float:
    return _sinc(x) * (0.54 + 0.46 * math.cos(math.pi * x)) if abs(x) < 1 else 0.0


def _blackman(x: float) -> float:
    """A sinc of six lobes in a Blackman window: close to the ideal low-pass filter."""
    window = 0.42 + 0.5 * math.cos(math.pi * x / 6) + 0.08 * math.cos(math.pi * x / 3)
    return _sinc(x) * window if abs(x) < 6 else 0.0


@dataclass(frozen=True)
class Kernel:
    """A filter for resampling. support: half its width, in pixels of the result.

    share: its weight in the mix. family: of `FAMILIES`.
    integrated: weights are integrals of the kernel over source pixels, instead of samples.
    """

    name: str
    weight: Callable[[float], float]
    support: float
    share: float
    family: str
    integrated: bool = False


#: Exact kernels, and the weight of each in the mix.
KERNELS: Final = {
    kernel.name: kernel
    for kernel in (
        Kernel("lanczos", _lanczos(3), 3, 0.03, "lanczos"),
        Kernel("lanczos2", _lanczos(2), 2, 0.01, "lanczos"),
        Kernel("sinc", _blackman, 6, 0.015, "lanczos"),
        Kernel("mitchell", _cubic(1 / 3, 1 / 3), 2, 0.02, "soft"),
        Kernel("catmull-rom", _cubic(0, 0.5), 2, 0.025, "bicubic"),
        Kernel("sharp-cubic", _cubic(0, 0.75), 2, 0.01, "lanczos"),
        Kernel("hamming", _hamming, 1, 0.01, "soft"),
        Kernel("bilinear", lambda x: max(0.0, 1 - abs(x)), 1, 0.01, "soft"),
        Kernel("area", lambda x: 1.0 if abs(x) <= 0.5 else 0.0, 0.5, 0.02, "box", integrated=True),
    )
}

#: The families and weights of all filters of the mix.
_MIX: Final[dict[Image.Resampling | str, tuple[str, float]]] = {
    **_PILLOW,
    **{name: (kernel.family, kernel.share) for name, kernel in KERNELS.items()},
}

#: Samples per source pixel that integrate a kernel.
_INTEGRATION: Final = 50


@functools.lru_cache(maxsize=512)
def taps(name: str, width: float = 1.0) -> tuple[float, ...]:
    """The weights that halve a row: of samples 2 i - n + 1 to 2 i + n for sample i of the result.

    name: of `KERNELS`. width: factor of the kernel's width. There are 2 n weights, with sum 1; they
    are the same for every sample, because the ratio is exactly 2.
    """
    kernel = KERNELS[name]
    scale = 2 * width
    half = math.ceil(kernel.support * scale)
    offsets = (np.arange(_INTEGRATION) + 0.5) / _INTEGRATION if kernel.integrated else [0.5]
    weights = [
        sum(kernel.weight((place + float(offset)) / scale) for offset in offsets)
        for place in range(-half, half)
    ]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


@functools.lru_cache(maxsize=512)
def _edge_gain(weights: tuple[float, ...], size: int) -> npt.NDArray[np.float32]:
    """One over the sum of the weights inside the picture, for each sample of the result."""
    half = len(weights) // 2
    first = 2 * np.arange(size // 2)[:, None] - half + 1
    places = first + np.arange(len(weights))
    inside = ((places >= 0) & (places < size)) @ np.asarray(weights)
    gain: npt.NDArray[np.float32] = (1 / inside).astype(np.float32)
    return gain


def _halve(values: npt.NDArray[np.float32], weights: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Halve the first axis: float32 (N, ...) to (N / 2, ...).

    Weights outside the picture are left out and the rest is normalized, as Pillow does. Sums of
    slices are as fast as a product of matrices, and need no threads of the BLAS library.
    """
    half = len(weights) // 2
    size = values.shape[0]
    padded = np.zeros((size + 2 * half - 1, *values.shape[1:]), np.float32)
    padded[half - 1 : half - 1 + size] = values
    total = np.zeros((size // 2, *values.shape[1:]), np.float32)
    scratch = np.empty_like(total)
    for place, weight in enumerate(weights):
        if weight:
            np.multiply(padded[place : place + size : 2], np.float32(weight), out=scratch)
            total += scratch
    gain = _edge_gain(weights, size)
    total *= gain.reshape(-1, *(1 for _ in values.shape[1:]))
    return total


@functools.lru_cache(maxsize=1)
def _to_linear() -> npt.NDArray[np.float32]:
    """Levels of sRGB (IEC 61966-2-1) as linear light from 0 to 1."""
    level = np.arange(256) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def _from_linear(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    light = np.clip(light, 0, 1)
    curve = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    )
    return (255 * curve).astype(np.float32)


def shrink(patch: Pixels, name: str, *, width: float = 1.0, linear: bool = False) -> Pixels:
    """Halve a picture by an exact kernel: uint8 (H, W, 3) to uint8 (H / 2, W / 2, 3).

    linear: average linear light instead of the stored values. The result is rounded once, without
    dither.
    """
    values = _to_linear()[patch] if linear else patch.astype(np.float32)
    weights = taps(name, width)
    across = _halve(_halve(values, weights).swapaxes(0, 1), weights)
    small = across.swapaxes(0, 1)
    if linear:
        small = _from_linear(small)
    result: Pixels = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    return result


def _pillow(patch: Pixels, filter: Image.Resampling) -> Pixels:
    size = (patch.shape[1] // 2, patch.shape[0] // 2)
    return np.asarray(Image.fromarray(patch).resize(size, filter))


# --- JPEG ----------------------------------------------------------------------------------------


def jpeg(
    picture: Pixels, quality: int, *, subsampled: bool, shift: tuple[int, int] = (0, 0)
) -> Pixels:
    """A picture after one pass of JPEG: uint8 (H, W, 3).

    subsampled: 4:2:0 instead of 4:4:4. shift: of the grid of blocks, (x, y) in pixels; the picture
    is extended by its edge.
    """
    x, y = shift
    if x or y:
        picture = np.pad(picture, ((y, 0), (x, 0), (0, 0)), mode="edge")
    file = io.BytesIO()
    Image.fromarray(picture).save(
        file, "JPEG", quality=quality, subsampling="4:2:0" if subsampled else "4:4:4"
    )
    return np.asarray(Image.open(file))[y:, x:]


def random_qualities(rng: np.random.Generator, noise: int) -> list[int]:
    """The qualities of one to three passes of JPEG for a noise level from 0 to 3."""
    if noise == 0:
        return [int(rng.integers(85, 96))]
    if noise == 1:
        return [int(rng.integers(65, 86))]
    passes = rng.random()
    if passes < _MILD_SHARE:
        return [int(rng.integers(71, 96))]
    if passes < 0.6:
        return [int(rng.integers(27, 71))]
    if passes < 0.9:
        first = int(rng.integers(37, 71))
        return [first, first - int(rng.integers(5, 11))]
    first = int(rng.integers(52, 71))
    return [first, first - int(rng.integers(5, 16)), first - int(rng.integers(15, 26))]


def compress(picture: Pixels, rng: np.random.Generator, noise: int) -> Pixels:
    """JPEG artifacts of a noise level, always; shape and type as given."""
    subsampled = bool(rng.random() < _SUBSAMPLED)
    for quality in random_qualities(rng, noise):
        x, y = (int(value) for value in rng.integers(0, 8, 2))
        picture = jpeg(picture, quality, subsampled=subsampled, shift=(x, y))
    return picture


# --- random degradations -------------------------------------------------------------------------


@functools.cache
def _choices(
    family: str | None = None,
) -> tuple[list[Image.Resampling | str], npt.NDArray[np.float64]]:
    """Return the kernels of a family, or all, and their shares, cumulated to 1."""
    chosen = {name: share for name, (kind, share) in _MIX.items() if family in (None, kind)}
    shares = np.array(list(chosen.values()))
    return list(chosen), np.cumsum(shares) / shares.sum()


@dataclass(frozen=True)
class Degraded:
    """What `degrade` made: uint8 (H / 2, W / 2, 3), and how.

    family: index of the filter's family in `FAMILIES`. compressed: whether JPEG followed.
    """

    pixels: Pixels
    family: int
    compressed: bool = False


def random_shrink(patch: Pixels, rng: np.random.Generator, *, balanced: bool = False) -> Degraded:
    """Halve a picture, uint8 (H, W, 3), by a random kernel.

    balanced: draw from all of `FAMILIES` as often, instead of by the shares of the kernels.
    """
    names, cumulated = _choices(FAMILIES[int(rng.integers(len(FAMILIES)))] if balanced else None)
    name = names[int(np.searchsorted(cumulated, rng.random(), side="right"))]
    family = FAMILIES.index(_MIX[name][0])
    if isinstance(name, Image.Resampling):
        return Degraded(_pillow(patch, name), family)
    width = 1 + int(rng.integers(-_WIDTH_STEPS, _WIDTH_STEPS + 1)) / 100
    small = shrink(patch, name, width=width, linear=bool(rng.random() < LINEAR_SHARE))
    return Degraded(small, family)


def degrade(
    patch: Pixels, rng: np.random.Generator, noise: int | None, *, balanced: bool = False
) -> Degraded:
    """A random degradation of a picture, uint8 (H, W, 3), for training.

    Sides are even. noise: None for shrinking alone, or 0 to 3 for JPEG afterwards with the
    probability in `APPLIED`. balanced: see `random_shrink`. Raises KeyError for another level.
    """
    return _noised(random_shrink(patch, rng, balanced=balanced), rng, noise)


def _noised(small: Degraded, rng: np.random.Generator, noise: int | None) -> Degraded:
    if noise is None or rng.random() >= APPLIED[noise]:
        return small
    return Degraded(compress(small.pixels, rng, noise), small.family, compressed=True)


# --- pixel art -----------------------------------------------------------------------------------


def pixelated(patch: Pixels, rng: np.random.Generator) -> Pixels:
    """Return pixel art with the shapes of a picture, enlarged by whole pixels: as ``patch``.

    The squares have even sides, and begin at even places. Half of the results have a random
    palette, because the colors of pixel art are further apart than those of drawings.
    """
    side = 2 * int(rng.integers(_SQUARES[0], _SQUARES[1] + 1))
    art = patch[::side, ::side]
    if rng.random() < 0.5:
        colors = int(rng.integers(3, 13))
        palette = rng.integers(0, 256, (colors, 3), dtype=np.uint8)
        art = palette[art.mean(2).astype(np.int64) * colors // 256]
    art = np.pad(art, ((1, 2), (1, 2), (0, 0)), mode="symmetric")
    top, left = (side + 2 * int(rng.integers(-side // 4, side // 4 + 1)) for _ in range(2))
    height, width, _ = patch.shape
    squares = art.repeat(side, 0).repeat(side, 1)[top : top + height, left : left + width]
    return np.ascontiguousarray(squares)


def degrade_pixelated(art: Pixels, rng: np.random.Generator, noise: int | None) -> Degraded:
    """Halve what `pixelated` made, by which squares stay sharp, and add JPEG as `degrade` does."""
    small = np.ascontiguousarray(art[::2, ::2])
    return _noised(Degraded(small, FAMILIES.index("box")), rng, noise)


# --- fixed degradations --------------------------------------------------------------------------


@dataclass(frozen=True)
class Degradation:
    """Shrink to half by a filter, then optionally save as JPEG. jpeg: quality, 1 to 100."""

    filter: str
    jpeg: int | None = None

    @property
    def name(self) -> str:
        """As `parse` reads it."""
        return self.filter if self.jpeg is None else f"{self.filter}+jpeg{self.jpeg}"

    @classmethod
    def parse(cls, text: str) -> Degradation:
        """Parse "box" or "lanczos+jpeg75". Raises ValueError that lists what is allowed."""
        kind, plus, quality = text.partition("+jpeg")
        if kind not in FILTERS or (plus and not quality.isdecimal()):
            raise ValueError(
                f"degradation {text!r} is unknown; allowed are {', '.join(FILTERS)}, "
                "each optionally with +jpeg and a quality, as in lanczos+jpeg75"
            )
        if plus and not 1 <= int(quality) <= 100:
            raise ValueError(f"JPEG quality is {quality}; allowed are 1 to 100")
        return cls(kind, int(quality) if plus else None)

    def apply(self, image: Image.Image) -> Image.Image:
        """Return an RGB picture of half the size; sides must be even."""
        size = (image.width // 2, image.height // 2)
        small = image.resize(size, FILTERS[self.filter])
        if self.jpeg is None:
            return small
        file = io.BytesIO()
        small.save(file, "JPEG", quality=self.jpeg)
        # A picture from an array carries no sign of the JPEG.
        return Image.fromarray(np.asarray(Image.open(file).convert("RGB")))

    def shrunk(self, pixels: Pixels) -> Pixels:
        """`apply` for an array: uint8 (H, W, 3) to uint8 (H / 2, W / 2, 3)."""
        return np.asarray(self.apply(Image.fromarray(pixels)))
