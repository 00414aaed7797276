"""Plain NumPy versions of the kernels, and helpers for comparisons."""

from __future__ import annotations

import platform
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from waifu2x.kernels import _native

DTYPES = ("uint8", "uint16", "float32")
CHANNELS = (1, 3)

# Around the vector widths of 4, 8 and 16 pixels, and shapes that break loops over rows.
SIZES = [(1, 1), (1, 7), (1, 8), (2, 9), (5, 1), (3, 500), (17, 33), (16, 64), (23, 15)]

ARM = platform.machine().lower() in ("aarch64", "arm64")
STAIRCASE = ("scalar", "neon") if ARM else ("scalar", "avx2", "avx512")

CSRC = Path(__file__).parents[2] / "csrc"


def isas(kernel):
    """Parameters for the instruction sets with a version of ``kernel`` in csrc.

    An instruction set that this CPU lacks is skipped, never passed.
    """
    unusable = f"not usable here: {', '.join(_native.isas())}"
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(name not in _native.isas(), reason=f"{name} is {unusable}"),
        )
        for name in STAIRCASE
        if any(CSRC.rglob(f"{kernel}_{name}.cpp"))
    ]


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-45, -1e-45, 3.4e38, -3.4e38, np.nextafter(1, 0), 1 / 510],
    np.float32,
)
NOT_FINITE = np.array([np.nan, -np.nan, np.inf, -np.inf], np.float32)


def full(dtype):
    return np.float32(np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1)


def random_picture(rng, shape, dtype):
    if np.dtype(dtype).kind == "u":
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return rng.random(shape, np.float32)


def random_output(rng, shape, not_finite=0.0):
    """A network output that overshoots [0, 1], with special and optionally non-finite samples."""
    output = rng.normal(0.5, 0.5, shape).astype(np.float32)
    pick = rng.random(shape)
    output = np.where(pick < 0.1, rng.choice(SPECIAL, shape), output)
    # Halfway between two levels of either integer type.
    half = (rng.integers(0, 65535, shape) + np.float32(0.5)) / np.float32(65535)
    output = np.where((pick > 0.1) & (pick < 0.2), half.astype(np.float32), output)
    return np.where(pick > 1 - not_finite, rng.choice(NOT_FINITE, shape), output)


def gather(picture, xs, ys, height, width):
    rows, columns, channels = picture.shape
    batch = np.empty((len(xs), 3, height, width), np.float32)
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        across = [min(max(int(x) + k, 0), columns - 1) for k in range(width)]
        down = [min(max(int(y) + k, 0), rows - 1) for k in range(height)]
        window = picture[np.ix_(down, across)].astype(np.float32)
        if picture.dtype.kind == "u":
            window = window / full(picture.dtype)
        batch[i] = np.broadcast_to(window, (height, width, 3)).transpose(2, 0, 1)
        assert channels in CHANNELS
    return batch


def luma(planes):
    r, g, b = planes
    with np.errstate(all="ignore"):
        return g + (np.float32(0.299) * (r - g) + np.float32(0.114) * (b - g))


def quantize(values, dtype):
    values = np.where(np.isnan(values), np.float32(0), np.clip(values, 0, 1)) + np.float32(0)
    if np.dtype(dtype).kind != "u":
        return values
    return np.floor(values * full(dtype) + np.float32(0.5)).astype(dtype)


def interleave(planes, channels):
    return luma(planes)[:, :, None] if channels == 1 else planes.transpose(1, 2, 0)


def bleed(color, alpha, iterations):
    color, has = color.copy(), alpha > 0
    height, width, _ = color.shape
    for _ in range(iterations):
        before, had = color.copy(), has.copy()
        for y in range(height):
            for x in range(width):
                if had[y, x]:
                    continue
                around = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                near = before[around][had[around]]
                if not len(near):
                    continue
                mean = near.astype(np.float64).sum(axis=0) / len(near)
                color[y, x] = np.floor(mean + 0.5) if color.dtype.kind == "u" else mean
                has[y, x] = True
    return color


@contextmanager
def guarded(rng, array, *, gap=3):
    """A copy of an array inside a larger one; fails if a byte around it changes.

    The copy's rows are strided; guard bytes surround the copy and lie between rows.
    """
    rows, rest = array.shape[0], array.shape[1:]
    wide = (rows + 2 * gap, rest[0] + 2 * gap, *rest[1:])
    inside = (slice(gap, gap + rows), slice(gap, gap + rest[0]))
    zone = rng.integers(0, 256, (*wide, array.itemsize), np.uint8).view(array.dtype)[..., 0]
    zone[inside] = array
    before = zone.copy()
    yield zone[inside]
    before[inside] = zone[inside]
    assert zone.tobytes() == before.tobytes(), "wrote outside the destination"


def assert_same_bits(actual, expected):
    """Equal to the last bit, except that any NaN equals any other."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if actual.dtype.kind == "f":
        nan = np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(actual), nan)
        actual, expected = (np.where(nan, 0, a).view(np.uint32) for a in (actual, expected))
    np.testing.assert_array_equal(actual, expected)


def fix_colors(source, result, scale):
    """Match the colors of a result (H * scale, W * scale, C) to its source (H, W, C)."""
    f = np.float32
    color = source if source.dtype == np.float32 else (source / full(source.dtype)).astype(f)
    height, width, channels = color.shape

    def around(array, radius, mode):
        pad = ((radius, radius), (radius, radius), *[(0, 0)] * (array.ndim - 2))
        padded, span = np.pad(array, pad, mode), range(2 * radius + 1)
        return [padded[y : y + height, x : x + width] for y in span for x in span]

    def likeness(difference):
        square = (difference**2).sum(2) * (3 // channels)
        return (1 + square * f((255 / 10) ** 2)) ** 2

    low, high = (pick(around(color, 1, "edge"), axis=0) for pick in (np.min, np.max))
    spread = (high - low).max(2)
    flat = np.maximum(0, 1 - (spread * f(255 / 12)) ** 2)
    exact = np.clip((f(0.75 / 255) - spread) * f(255 / 0.5), 0, 1)
    drift = color - result.reshape(height, scale, width, scale, channels).mean((1, 3))

    def average(radius, factor):
        weights, drifts = np.zeros((height, width), f), np.zeros_like(color)
        for other, its_drift, its_factor in zip(
            *(around(color, radius, "edge"), around(drift, radius, "edge")),
            around(factor, radius, "constant"),
            strict=True,
        ):
            weight = its_factor / likeness(color - other)
            weights += weight
            drifts += weight[..., None] * its_drift
        return weights, drifts / np.maximum(weights, f(1e-6))[..., None]

    weights, mean = average(3, flat)
    enough = np.minimum(1, weights / 3)[..., None]
    hue = average(2, np.ones_like(flat))[1]
    luma = np.float32([0.299, 0.587, 0.114]) if channels == 3 else np.ones(1, f)
    hue -= (hue @ luma)[..., None]
    drift = enough * mean + (1 - enough) * hue
    confidence = enough[..., 0] + (1 - enough[..., 0]) * f(0.5)

    def wide(array):
        return array.repeat(scale, 0).repeat(scale, 1)

    t = (np.arange(scale, dtype=f) + f(0.5)) / scale
    spline = np.stack([0.5 * (1 - t) ** 2, 0.75 - (t - 0.5) ** 2, 0.5 * t * t])
    own, smooth = wide(color), np.zeros_like(result)
    weights, share = (np.zeros(result.shape[:2], f) for _ in range(2))
    drifts = np.zeros_like(result)
    planes = (around(each, 1, "edge") for each in (color, drift, confidence, exact))
    for index, (c, d, sure, same) in enumerate(zip(*planes, strict=True)):
        space = np.tile(np.outer(spline[index // 3], spline[index % 3]), (height, width)).astype(f)
        weight = space * wide(sure) / likeness(result - wide(c - d))
        weights += weight
        drifts += weight[..., None] * wide(d)
        share += space * wide(same)
        smooth += (space * wide(same))[..., None] * (wide(c) - own)
    corrected = np.clip(
        result + drifts / np.maximum(weights, f(1e-9))[..., None],
        np.minimum(result, wide(low)),
        np.maximum(result, wide(high)),
    )
    share = np.minimum(1, share * f(1.00001))[..., None]
    return share * (own + smooth) + (1 - share) * corrected
