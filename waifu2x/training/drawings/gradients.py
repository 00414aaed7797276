"""Soft gradients of 8 bits with their bands, dithered gradients, and film grain."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from .canvas import Color, Field, Picture, grid, hsl, levels, palette, ramp, shaded, soft_field
from .strokes import contour_lines

#: The ordered dither matrix of Bayer, 8x8, from 0 to 63.
BAYER: Final = np.array(
    [[sum((((x >> bit) & 1) ^ ((y >> bit) & 1)) << (5 - 2 * bit) | ((y >> bit) & 1) << (4 - 2 * bit)
          for bit in range(3)) for x in range(8)] for y in range(8)]
)  # fmt: skip


def random_slope(rng: np.random.Generator, size: int) -> Field:
    """A linear, radial, conical or soft field from 0 to 1."""
    x, y = grid(size)
    choice = rng.random()
    if choice < 0.4:
        angle = float(rng.choice([0.0, math.pi / 2, float(rng.uniform(0, 2 * math.pi))]))
        field = (x * math.cos(angle) + y * math.sin(angle)) / size
    elif choice < 0.6:
        center = rng.uniform(-0.2, 1.2, 2) * size
        field = np.hypot(x - center[0], y - center[1]) / size
    elif choice < 0.65:
        center = rng.uniform(0.2, 0.8, 2) * size
        field = np.abs(np.arctan2(y - center[1], x - center[0])) / math.pi
    else:
        return soft_field(rng, size, float(rng.uniform(0.7, 2.5)))
    low, high = float(field.min()), float(field.max())
    return ((field - low) / max(high - low, 1e-6)).astype(np.float32)


def gradient(rng: np.random.Generator, size: int) -> Picture:
    """A smooth gradient rounded to 8 bits; gentle ones show bands of one level."""
    colors = palette(rng, int(rng.integers(2, 5)))
    if rng.random() < 0.5:
        # A few levels across the picture: each band is many pixels wide.
        colors = [colors[0], shaded(colors[0], float(rng.uniform(0.03, 0.25)), colors[-1])]
    return levels(ramp(random_slope(rng, size), colors))


def dithered(rng: np.random.Generator, size: int) -> Picture:
    """A gradient in few colors, by ordered dither, checkers or random dither."""
    field = random_slope(rng, size)
    colors = palette(rng, 2)
    values = ramp(field, [colors[0], colors[-1]])
    step = float(rng.choice([8, 16, 32, 64, 255]))
    kind = rng.random()
    if kind < 0.6:
        matrix = BAYER if rng.random() < 0.6 else BAYER[:2, :2] // 16 * 16
        count = 8 if matrix.shape[0] == 8 else 2
        threshold = (matrix / matrix.size if count == 2 else (matrix + 0.5) / 64) - 0.5
        if count == 2:
            threshold = np.array([[-0.375, 0.125], [0.375, -0.125]])
        tiles = np.tile(threshold, (size // count + 1, size // count + 1))[:size, :size, None]
    elif kind < 0.8:
        checker = np.indices((size, size)).sum(0) % 2
        tiles = (checker * 0.5 - 0.25)[..., None]
    else:
        # Coarse random dither is noise, which no network can restore.
        step = min(step, 16.0)
        tiles = rng.random((size, size, 1)) - 0.5
    return levels(np.rint(values / step + tiles) * step)


def fine_dither(rng: np.random.Generator, size: int) -> Picture:
    """A gradient dithered by one level of 255, as painting programs export."""
    colors = palette(rng, 2)
    values = ramp(random_slope(rng, size), [colors[0], shaded(colors[0], 0.3, colors[1])])
    return levels(values + rng.random((size, size, 1)) - 0.5)


def grain(rng: np.random.Generator, picture: Picture) -> Picture:
    """Light film grain: noise of 1 to 3 levels, partly correlated between pixels."""
    size = picture.shape[0]
    strength = float(rng.uniform(0.8, 3))
    noise = rng.standard_normal((size, size, 1), np.float32)
    if rng.random() < 0.5:
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / np.float32(1.7)
    if rng.random() < 0.3:
        noise = rng.standard_normal((size, size, 3), np.float32)
    return levels(picture + strength * noise)


def cel_areas(rng: np.random.Generator, size: int) -> Picture:
    """Flat and softly graded areas with crisp or blurred borders, as cel shading has."""
    colors: list[Color] = palette(rng, 5)
    field = soft_field(rng, size, float(rng.uniform(1, 4)), int(rng.integers(1, 3)))
    cuts = np.sort(rng.uniform(0.1, 0.9, int(rng.integers(2, 6))))
    slope = np.maximum(np.hypot(*np.gradient(field)), 1e-5)
    values = np.broadcast_to(np.asarray(colors[0], np.float32), (size, size, 3)).copy()
    for index, cut in enumerate(cuts):
        color = colors[int(rng.integers(5))]
        second = shaded(color, float(rng.uniform(0.05, 0.4)), hsl(float(rng.random()), 0.4, 0.5))
        area = ramp(random_slope(rng, size), [color, second])
        softness = float(rng.choice([1.0, 1.0, 1.0, 6.0, 20.0]))
        share = np.clip((field - cut) / (slope * softness) + 0.5, 0, 1)
        values += (area - values) * share[..., None].astype(np.float32)
        if index > 3:
            break
    picture = levels(values)
    return contour_lines(rng, picture, field, [float(cut) for cut in cuts[:2]])
