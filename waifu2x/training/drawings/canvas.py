"""Colors, paths, soft fields and layers that the drawings share."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from .. import svg

#: RGB picture of shape (size, size, 3).
Picture = npt.NDArray[np.uint8]
#: A field of shape (size, size), float32.
Field = npt.NDArray[np.float32]
#: Points of shape (n, 2): x to the right, y down, in pixels.
Points = npt.NDArray[np.float64]

Color = tuple[int, int, int]

#: Entries of the table of a ramp: its error is less than a tenth of a level of 255.
_RAMP_STEPS: Final = 8192


# --- colors --------------------------------------------------------------------------------------


def hsl(hue: float, saturation: float, lightness: float) -> Color:
    """A color by hue (a circle of 1), saturation and lightness, 0 to 1."""
    red, green, blue = colorsys.hls_to_rgb(
        hue % 1, min(1.0, max(0.0, lightness)), min(1.0, max(0.0, saturation))
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def hexed(color: Color) -> str:
    """A color as SVG writes it."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def shaded(color: Color, factor: float, toward: Color = (40, 20, 70)) -> Color:
    """A color mixed with ``toward``: 0 leaves it, 1 replaces it."""
    red, green, blue = (
        round(own + (other - own) * factor) for own, other in zip(color, toward, strict=True)
    )
    return red, green, blue


def palette(rng: np.random.Generator, count: int) -> list[Color]:
    """Colors of one family and an accent, from dark to light."""
    base = float(rng.random())
    spread = float(rng.choice([0.04, 0.08, 0.15]))
    accent = base + float(rng.choice([0.33, 0.5, 0.42]))
    saturation = float(rng.uniform(0.15, 0.75))
    colors = []
    for index in range(count):
        hue = accent if rng.random() < 0.2 else base + float(rng.normal(0, spread))
        lightness = 0.12 + 0.78 * (index + float(rng.random())) / count
        colors.append(hsl(hue, saturation * float(rng.uniform(0.6, 1.2)), lightness))
    return colors


def ink(rng: np.random.Generator) -> Color:
    """A color for lines: mostly black or nearly, sometimes a dark color."""
    if rng.random() < 0.45:
        level = int(rng.integers(0, 30))
        return level, level, level
    return hsl(float(rng.random()), float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.08, 0.25)))


# --- fields --------------------------------------------------------------------------------------


def grid(size: int) -> tuple[Field, Field]:
    """Coordinates x and y of the pixel centers."""
    line = np.arange(size, dtype=np.float32) + np.float32(0.5)
    y, x = np.meshgrid(line, line, indexing="ij")
    return x, y


def soft_field(rng: np.random.Generator, size: int, cells: float, octaves: int = 1) -> Field:
    """A smooth random field from 0 to 1 with about ``cells`` bumps along a side."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        count = max(2, round(cells * 2**octave)) + 3
        coarse = Image.fromarray(rng.random((count, count), dtype=np.float32))
        inner = (1.0, 1.0, count - 1.0, count - 1.0)
        fine = coarse.resize((size, size), Image.Resampling.BICUBIC, box=inner)
        total += np.asarray(fine) / 2**octave
    low, high = float(total.min()), float(total.max())
    return ((total - low) / max(high - low, 1e-6)).astype(np.float32)


def ramp(field: Field, colors: Sequence[Color]) -> npt.NDArray[np.float32]:
    """A field from 0 to 1 as colors, float32 (size, size, 3), interpolated and not rounded."""
    places = np.linspace(0, len(colors) - 1, _RAMP_STEPS)
    table = np.stack(
        [np.interp(places, np.arange(len(colors)), channel) for channel in np.transpose(colors)], 1
    ).astype(np.float32)
    index = (np.clip(field, 0, 1) * np.float32(_RAMP_STEPS - 1) + np.float32(0.5)).astype(np.int32)
    mixed: npt.NDArray[np.float32] = table[index]
    return mixed


def levels(values: npt.NDArray[np.number[Any]]) -> Picture:
    """Values from 0 to 255 rounded to 8 bits."""
    picture: Picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return picture


def is_even(gray: npt.NDArray[np.uint8], tolerance: int = 0) -> npt.NDArray[np.bool_]:
    """Where a picture of shape (height, width) differs from its neighbors by ``tolerance`` at most.

    These are areas; lines and their antialiased edges are not even.
    """
    image = Image.fromarray(np.ascontiguousarray(gray))
    highest = np.asarray(image.filter(ImageFilter.MaxFilter(3)))
    lowest = np.asarray(image.filter(ImageFilter.MinFilter(3)))
    even: npt.NDArray[np.bool_] = highest - lowest <= tolerance
    return even


# --- layers --------------------------------------------------------------------------------------


def over(base: Picture, layer: svg.Layer, opacity: float = 1.0) -> Picture:
    """Composite a layer of straight RGBA of the same size over a picture."""
    alpha = layer[..., 3:].astype(np.float32) * np.float32(opacity / 255)
    return levels(base + (layer[..., :3].astype(np.float32) - base) * alpha)


def placed(base: Picture, layer: svg.Layer, x: int, y: int) -> Picture:
    """Composite a smaller layer with its corner at (x, y), which may lie outside."""
    size_y, size_x = base.shape[:2]
    top, left = max(0, y), max(0, x)
    bottom, right = min(size_y, y + layer.shape[0]), min(size_x, x + layer.shape[1])
    if top >= bottom or left >= right:
        return base
    result = base.copy()
    part = layer[top - y : bottom - y, left - x : right - x]
    result[top:bottom, left:right] = over(base[top:bottom, left:right], part)
    return result


def shade(rng: np.random.Generator, layer: svg.Layer) -> svg.Layer:
    """Cel shadows with crisp edges, or soft painted light, within a layer."""
    choice = rng.random()
    if choice < 0.45:
        return layer
    height, width = layer.shape[:2]
    side = max(height, width)
    field = soft_field(rng, side, float(rng.uniform(0.8, 3)))[:height, :width]
    tint = np.asarray(hsl(float(rng.uniform(0.6, 1.05)), 0.3, 0.5), np.float32) / 255
    if choice < 0.75:
        slope = np.maximum(np.hypot(*np.gradient(field)), 1e-5)
        share = np.clip((field - float(rng.uniform(0.4, 0.7))) / slope + 0.5, 0, 1)
    else:
        share = field
    factor = 1 + (tint - 1) * (share * float(rng.uniform(0.2, 0.6)))[..., None]
    result = layer.copy()
    result[..., :3] = levels(layer[..., :3] * factor)
    return result


def drawn(elements: Sequence[str] | str, height: int, width: int | None = None) -> svg.Layer:
    """Render SVG elements in pixel coordinates on a transparent layer, square by default."""
    width = width or height
    body = elements if isinstance(elements, str) else "".join(elements)
    text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{body}</svg>'
    return svg.render(text, svg.View(0, 0, width, height), width, height)


# --- paths ---------------------------------------------------------------------------------------


def path(points: Points, closed: bool = True) -> str:
    """The data of an SVG path through straight lines."""
    pairs = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return f"M{pairs}{'Z' if closed else ''}"


def smooth_path(points: Points, closed: bool = True) -> str:
    """The data of a smooth SVG path through the points, by Catmull-Rom splines."""
    count = len(points)
    parts = [f"M{points[0][0]:.2f},{points[0][1]:.2f}"]
    for index in range(count if closed else count - 1):
        if closed:
            before, start, stop, after = (points[(index + step) % count] for step in (-1, 0, 1, 2))
        else:
            before, start = points[max(index - 1, 0)], points[index]
            stop, after = points[index + 1], points[min(index + 2, count - 1)]
        first, second = start + (stop - before) / 6, stop - (after - start) / 6
        parts.append(
            f"C{first[0]:.2f},{first[1]:.2f} {second[0]:.2f},{second[1]:.2f} "
            f"{stop[0]:.2f},{stop[1]:.2f}"
        )
    return "".join(parts) + ("Z" if closed else "")


def bezier(start: Points, control: Points, stop: Points, count: int = 14) -> Points:
    """Points of a quadratic curve."""
    t = np.linspace(0, 1, count)[:, None]
    points: Points = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * stop
    return points


def tapered(points: Points, width: float, start: float = 0.0, stop: float = 0.0) -> str:
    """The data of a closed path: a stroke along the points with tapering ends.

    width: in the middle, in pixels. start, stop: width of the ends as a share of it.
    """
    t = np.linspace(0, 1, len(points))
    middle = np.sin(np.pi * t) ** 0.8
    profile = np.maximum(middle, np.where(t < 0.5, start, stop)) * width / 2
    along = np.gradient(points, axis=0)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / length[:, None] * profile[:, None]
    return path(np.concatenate([points + normal, (points - normal)[::-1]]))


def element(data: str, fill: str = "none", **attributes: object) -> str:
    """A path element; underscores of attribute names stand for hyphens."""
    return f'<path d="{data}" fill="{fill}"{_written(attributes)}/>'


def rectangle(x: float, y: float, width: float, height: float, **attributes: object) -> str:
    """A rectangle; underscores of attribute names stand for hyphens."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f"{_written(attributes)}/>"
    )


def ellipse(x: float, y: float, radius_x: float, radius_y: float, **attributes: object) -> str:
    """An ellipse about (x, y); underscores of attribute names stand for hyphens."""
    return (
        f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="{radius_x:.2f}" ry="{radius_y:.2f}"'
        f"{_written(attributes)}/>"
    )


def _written(attributes: dict[str, object]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())


def linear_gradient(name: str, colors: Sequence[Color], angle_y: bool = True) -> str:
    """A definition of a gradient along y (or x) of the shape."""
    stops = "".join(
        f'<stop offset="{index / (len(colors) - 1):.3f}" stop-color="{hexed(color)}"/>'
        for index, color in enumerate(colors)
    )
    end = 'x2="0" y2="1"' if angle_y else 'x2="1" y2="0"'
    return f'<linearGradient id="{name}" x1="0" y1="0" {end}>{stops}</linearGradient>'
