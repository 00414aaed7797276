"""Screentone: dots, lines and grain at any pitch and angle, antialiased or of one bit."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .canvas import Field, Picture, grid, levels, soft_field
from .strokes import contour_lines

SHAPES: Final = ("dots", "lines", "cross", "squares")

#: Angles of dots, in degrees: 45 in most manga.
ANGLES: Final = (45.0, 45.0, 45.0, 0.0, 30.0, 60.0, 15.0, 75.0, 22.5)


def screentone(
    darkness: Field,
    pitch: float,
    angle: float,
    *,
    shape: str = "dots",
    antialiased: bool = True,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Field:
    """Screentone of a darkness from 0 to 1, as lightness from 0 (black) to 1.

    pitch: distance of dots or lines in pixels. angle: degrees. shape: one of `SHAPES`.
    antialiased: edges are ramps one pixel wide; otherwise the center of the pixel decides, one bit.
    """  # fmt: skip
    x, y = grid(darkness.shape[0])
    x, y = x + np.float32(offset[0]), y + np.float32(offset[1])
    radians = math.radians(angle)
    cos, sin = np.float32(math.cos(radians) / pitch), np.float32(math.sin(radians) / pitch)
    u, v = x * cos + y * sin, y * cos - x * sin
    u, v = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
    scale = np.float32(pitch)
    holes = np.zeros(darkness.shape, bool)
    reach: npt.NDArray[np.floating[Any]]
    away: npt.NDArray[np.floating[Any]]
    # The reach of a mark from its middle and the distance of each pixel from it, in pixels.
    if shape == "dots":
        # A disk covers the area pi r^2 of its cell; dots above half darkness are holes.
        u, v = np.abs(u), np.abs(v)
        holes = darkness > 0.5
        u, v = np.where(holes, 0.5 - u, u), np.where(holes, 0.5 - v, v)
        reach = np.sqrt(np.where(holes, 1 - darkness, darkness) / np.float32(math.pi)) * scale
        away = np.hypot(u, v) * scale
    elif shape == "lines":
        reach, away = darkness / 2 * scale, np.abs(v) * scale
    elif shape == "cross":
        # Two sets of lines of share w cover 1 - (1 - w)^2.
        reach = (1 - np.sqrt(np.maximum(0, 1 - darkness))) / 2 * scale
        away = np.minimum(np.abs(u), np.abs(v)) * scale
    else:
        reach = np.sqrt(darkness) / 2 * scale
        away = np.maximum(np.abs(u), np.abs(v)) * scale
    if antialiased:
        mark = np.clip(reach + np.float32(0.5) - away, 0, 1)
        mark *= _gain(reach, lines=shape in ("lines", "cross"))
    else:
        mark = np.where(away < reach, np.float32(1), np.float32(0))
    tone: Field = np.where(holes, mark, 1 - mark).astype(np.float32)
    return tone


def _gain(reach: npt.NDArray[np.floating[Any]], lines: bool) -> Field:
    """The factor by which ramps one pixel wide add up to the area of a small mark.

    reach: half the width of a line, the radius of a disk, or half the side of a square, in pixels.
    """
    wide = reach + np.float32(0.5)
    if lines:
        gain = np.where(reach < 0.5, 2 * reach / wide**2, 1)
    else:
        square = reach**2
        gain = np.where(reach < 0.5, 3 * square / wide**3, square / (square + 1 / 12))
    return gain.astype(np.float32)


def random_darkness(rng: np.random.Generator, size: int) -> Field:
    """A constant darkness, a gradation, or a soft field."""
    choice = rng.random()
    low, high = sorted(float(rng.uniform(0.03, 0.75)) for _ in range(2))
    if choice < 0.4:
        return np.full((size, size), low + 0.05, np.float32)
    x, y = grid(size)
    if choice < 0.75:
        angle = float(rng.uniform(0, 2 * math.pi))
        along = (x - size / 2) * math.cos(angle) + (y - size / 2) * math.sin(angle)
        share: Field = np.clip(along / size + 0.5, 0, 1).astype(np.float32)
    elif choice < 0.9:
        center = rng.uniform(0, size, 2)
        away = np.hypot(x - center[0], y - center[1])
        share = np.clip(away / size, 0, 1).astype(np.float32)
    else:
        share = soft_field(rng, size, 3, 2)
    return (low + (high - low) * share).astype(np.float32)


def random_tone(rng: np.random.Generator, size: int, darkness: Field | None = None) -> Field:
    """Screentone of random shape, pitch (3 to 12 pixels) and angle, 0 to 1."""
    if darkness is None:
        darkness = random_darkness(rng, size)
    shape = str(rng.choice(["dots", "dots", "dots", "dots", "lines", "cross", "squares"]))
    pitch = float(np.exp(rng.uniform(math.log(3.0), math.log(12.0))))
    if rng.random() < 0.3:
        pitch = float(round(pitch))
    angle = float(rng.choice(ANGLES)) + (float(rng.normal(0, 2)) if rng.random() < 0.2 else 0.0)
    if shape == "lines":
        angle = float(rng.choice([0, 45, 90, 135, 30, 60]))
    offset = (float(rng.uniform(0, pitch)), float(rng.uniform(0, pitch)))
    if rng.random() < 0.03:
        # Sand: random black specks. They are rare here, because no network can restore them.
        return (rng.random((size, size), dtype=np.float32) > darkness * 0.6).astype(np.float32)
    return screentone(
        darkness, pitch, angle, shape=shape, antialiased=bool(rng.random() < 0.7), offset=offset
    )


def tone_patch(rng: np.random.Generator, size: int) -> Picture:
    """Areas of different screentones with smooth borders and lines between."""
    total = np.ones((size, size), np.float32)
    field = soft_field(rng, size, float(rng.uniform(1.5, 4)))
    cuts = np.sort(rng.uniform(0.15, 0.85, int(rng.integers(1, 4))))
    for index, cut in enumerate(cuts):
        below = field < cut
        above = field >= (cuts[index - 1] if index else -1)
        total = np.where(below & above, random_tone(rng, size), total)
    paper, black = (255, 255, 255), (0, 0, 0)
    if rng.random() < 0.2:
        paper = (
            int(rng.integers(225, 256)),
            int(rng.integers(220, 256)),
            int(rng.integers(200, 256)),
        )
        black = (int(rng.integers(0, 70)), int(rng.integers(0, 60)), int(rng.integers(0, 80)))
    picture = levels(
        np.asarray(black, np.float32)
        + (np.asarray(paper, np.float32) - np.asarray(black, np.float32)) * total[..., None]
    )
    return contour_lines(rng, picture, field, [float(cut) for cut in cuts])
