"""Small files of every variant of every format, with the pixels that they hold.

A module per group of formats; each has `variants`, an iterator. `all_variants` joins them. Files
are written by bytes here, or by tifffile, imagecodecs and Pillow if a format is too complex.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]

WIDTH, HEIGHT = 13, 9

_GROUPS = (
    "png",
    "gif",
    "bmp",
    "tga",
    "icons",
    "plain",
    "tiff",
    "jpeg2000",
    "psd",
    "jpeg",
    "modern",
)


class Variant(NamedTuple):
    """A file of one variant.

    name: kind, a dash and the variant. kind: the row of `waifu2x.codec.formats`.
    color: (H, W, 1 or 3) as it has to be decoded, or None if only other decoders can tell.
    alpha: (H, W) in the same type, or None if opaque.
    tolerance: the largest difference, of 255.
    may_refuse: "not supported" is a right answer, too.
    unlike: decoders that read this variant otherwise, each known to be wrong.
    lossy: the encoder is lossy and may store chroma at half the size.
    """

    name: str
    kind: str
    data: bytes
    color: Samples | None
    alpha: Samples | None = None
    tolerance: float = 0.0
    may_refuse: bool = False
    unlike: tuple[str, ...] = ()
    lossy: bool = False


@cache
def all_variants() -> dict[str, Variant]:
    """All variants by name."""
    found: dict[str, Variant] = {}
    for group in _GROUPS:
        for variant in import_module(f"{__name__}.{group}").variants():
            assert variant.name not in found, variant.name
            found[variant.name] = variant
    return found


def random_samples(channels: int, bits: int, *, seed: int = 1) -> Samples:
    """(HEIGHT, WIDTH, channels) of all values below 2 ** bits, smooth enough for lossy formats."""
    rng = np.random.default_rng(seed)
    dtype = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return rng.integers(0, 2**bits, (HEIGHT, WIDTH, channels), dtype)


def smooth(channels: int, white: int = 255) -> Samples:
    """(HEIGHT, WIDTH, channels) of soft ramps, which lossy formats keep well."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [
        (0.5 + 0.4 * np.sin(x / (5 + n) + n) * np.cos(y / (6 - n))) * white for n in range(channels)
    ]
    return np.stack(planes, axis=-1).astype(np.uint8 if white < 256 else np.uint16)


def scaled(samples: Samples, bits: int) -> Samples:
    """Samples of ``bits`` over the whole range of uint8, or of uint16 beyond 8 bits, rounded."""
    white = 255 if bits <= 8 else 65535
    wide = samples.astype(np.float64) * white / (2**bits - 1)
    result: Samples = np.rint(wide).astype(np.uint8 if bits <= 8 else np.uint16)
    return result


def packed(row: Samples, bits: int) -> bytes:
    """Samples of ``bits`` each, the highest bit first, in whole bytes; 16 bits big-endian."""
    flat = row.reshape(-1)
    if bits in (8, 16):
        return flat.astype(">u2" if bits == 16 else np.uint8).tobytes()
    shifts = np.arange(bits - 1, -1, -1)
    ones = (flat.astype(np.uint32)[:, None] >> shifts) & 1
    return np.packbits(ones.astype(np.uint8).reshape(-1)).tobytes()


def split(samples: Samples, colors: int) -> tuple[Samples, Samples | None]:
    """Color and alpha of samples (H, W, C)."""
    alpha = samples[:, :, colors] if samples.shape[2] > colors else None
    return samples[:, :, :colors], alpha


Variants = Iterator[Variant]
