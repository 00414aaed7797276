"""Lines: speed lines, tapered hair strokes, hatching, and outlines of fields."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .canvas import (
    Color,
    Field,
    Picture,
    Points,
    bezier,
    drawn,
    element,
    hexed,
    hsl,
    ink,
    levels,
    linear_gradient,
    over,
    palette,
    path,
    ramp,
    shaded,
    soft_field,
    tapered,
)


def contour_lines(
    rng: np.random.Generator, picture: Picture, field: Field, cuts: Sequence[float]
) -> Picture:
    """Draw antialiased lines of 1 to 3 pixels along contours of a field."""
    if rng.random() < 0.2:
        return picture
    slope_y, slope_x = np.gradient(field)
    slope = np.maximum(np.hypot(slope_x, slope_y), 1e-5)
    color = np.asarray(ink(rng), np.float32)
    result = picture.astype(np.float32)
    for cut in cuts:
        width = float(rng.uniform(1, 3))
        share = np.clip(width / 2 + 0.5 - np.abs(field - cut) / slope, 0, 1)[..., None]
        result += (color - result) * share
    return levels(result)


def speed_lines(rng: np.random.Generator, size: int) -> Picture:
    """Lines toward a focus, or parallel lines, on white, on a color or on black."""
    dark = rng.random() < 0.25
    paper: Color = (0, 0, 0) if dark else (255, 255, 255)
    line: Color = (255, 255, 255) if dark else (0, 0, 0)
    if rng.random() < 0.3:
        colors = palette(rng, 4)
        paper, line = (colors[0], colors[3]) if dark else (colors[3], colors[0])
    base = np.broadcast_to(np.asarray(paper, np.uint8), (size, size, 3)).copy()
    if rng.random() < 0.25:
        base = levels(ramp(soft_field(rng, size, 2), [paper, shaded(paper, 0.3, line)]))
    return over(base, drawn(speed_line_elements(rng, size, line), size))


def speed_line_elements(rng: np.random.Generator, size: int, color: Color) -> list[str]:
    """Thin triangles as SVG elements."""
    fill = hexed(color)
    elements = []
    count = int(rng.integers(40, 220))
    width = float(np.exp(rng.uniform(math.log(0.8), math.log(5))))
    if rng.random() < 0.6:
        center = rng.uniform(0.15, 0.85, 2) * size
        inner = float(rng.uniform(0.1, 0.45)) * size
        stretch = float(rng.uniform(0.6, 1.6))
        angles = np.sort(rng.uniform(0, 2 * math.pi, count))
        for angle in angles:
            direction = np.array([math.cos(angle), math.sin(angle)])
            start = center + direction * np.array([stretch, 1]) * inner * float(
                rng.uniform(0.85, 1.5)
            )
            stop = center + direction * size * 1.6
            normal = np.array([-direction[1], direction[0]]) * width * float(rng.uniform(0.3, 1.2))
            # The width grows away from the focus.
            elements.append(
                element(path(np.array([start, stop + normal * 2.5, stop - normal * 2.5])), fill)
            )
        return elements
    angle = float(rng.choice([0, math.pi / 2, rng.uniform(0, math.pi)]))
    direction = np.array([math.cos(angle), math.sin(angle)])
    normal = np.array([-direction[1], direction[0]])
    middle = np.array([size / 2, size / 2])
    for _ in range(count):
        side = float(rng.uniform(-0.75, 0.75)) * size
        begin = float(rng.uniform(-0.9, 0.5)) * size
        length = float(rng.uniform(0.2, 1.2)) * size
        half = width * float(rng.uniform(0.15, 0.6))
        start = middle + normal * side + direction * begin
        stop = start + direction * length
        points = np.array([start + normal * half, stop, start - normal * half])
        elements.append(element(path(points), fill))
    return elements


def strand_bundle(
    rng: np.random.Generator, start: Points, stop: Points, bend: float, count: int, spread: float
) -> list[Points]:
    """Curves that run together: shape (14, 2) each."""
    along = stop - start
    normal = np.array([-along[1], along[0]])
    curves = []
    for _ in range(count):
        share = float(rng.normal(0, 0.35))
        shift = normal / max(float(np.hypot(*normal)), 1e-6) * spread * share
        begin, end = rng.uniform(-0.05, 0.35), rng.uniform(0.6, 1.05)
        control = start + along * 0.5 + normal * (bend + float(rng.normal(0, 0.02))) + shift * 1.6
        curve = bezier(start + shift * 0.7, control, stop + shift, 28)
        lower, upper = int(max(0, begin) * 28), max(6, int(min(1, end) * 28))
        curves.append(curve[lower:upper] if upper - lower >= 4 else curve)
    return curves


def hair_strokes(rng: np.random.Generator, size: int) -> Picture:
    """Hair in close-up: locks with soft shading, bright bands and fine tapered strands."""
    hue, saturation = float(rng.random()), float(rng.uniform(0.15, 0.7))
    if rng.random() < 0.35:
        hue, saturation = float(rng.uniform(0.02, 0.12)), float(rng.uniform(0.2, 0.6))
    middle = float(rng.uniform(0.15, 0.8))
    color = hsl(hue, saturation, middle)
    dark = hsl(hue - 0.03, saturation * 1.1, middle * 0.55)
    light = hsl(hue + 0.03, saturation, min(0.97, middle + 0.22))
    lines = shaded(dark, 0.5, (10, 5, 20))
    base = levels(ramp(soft_field(rng, size, 1.5), [dark, color, light]))
    elements = [
        "<defs>"
        + linear_gradient("a", [color, light, color, dark])
        + linear_gradient("b", [dark, color, light])
        + linear_gradient("c", [color, color, dark])
        + "</defs>"
    ]
    bend = float(rng.normal(0, 0.15))
    tilt = float(rng.normal(0, 0.5))
    width = float(rng.uniform(0.8, 2.6))
    for _ in range(int(rng.integers(5, 16))):
        x = float(rng.uniform(-0.2, 1.2)) * size
        start = np.array([x - tilt * size * 0.5, float(rng.uniform(-0.5, 0.1)) * size])
        stop = np.array([x + tilt * size * 0.5, float(rng.uniform(0.6, 1.4)) * size])
        control = (start + stop) / 2 + np.array([size * (bend + float(rng.normal(0, 0.06))), 0])
        curve = bezier(start, control, stop, 24)
        lock = float(rng.uniform(0.05, 0.22)) * size
        fill = (
            f"url(#{rng.choice(['a', 'b', 'c'])})"
            if rng.random() < 0.7
            else hexed(shaded(color, float(rng.uniform(0, 0.5)), dark))
        )
        elements.append(
            element(
                tapered(curve, lock, 0.4, 0.02),
                fill,
                stroke=hexed(lines),
                stroke_width=f"{width:.2f}",
                stroke_linejoin="round",
            )
        )
        strands = strand_bundle(
            rng, start, stop, float(rng.normal(0, 0.01)) + 0.0, int(rng.integers(2, 9)), lock
        )
        for strand in strands:
            strand = strand + (control - (start + stop) / 2) * (
                np.sin(np.linspace(0, np.pi, len(strand)))[:, None] * 0.5
            )
            tint = lines if rng.random() < 0.6 else light
            elements.append(
                element(
                    tapered(strand, width * float(rng.uniform(0.5, 1.5))),
                    hexed(tint),
                    fill_opacity=f"{rng.uniform(0.5, 1):.2f}",
                )
            )
    if rng.random() < 0.5:
        elements += highlight_band(rng, size, hexed(light if middle < 0.6 else (255, 255, 255)))
    return over(base, drawn(elements, size))


def highlight_band(rng: np.random.Generator, size: int, fill: str) -> list[str]:
    """The zigzag of light across hair."""
    y = float(rng.uniform(0.2, 0.7)) * size
    thickness = float(rng.uniform(0.03, 0.12)) * size
    count = int(rng.integers(9, 30))
    xs = np.linspace(-0.1, 1.1, count) * size
    curve = (np.linspace(-1, 1, count) ** 2) * size * float(rng.uniform(-0.15, 0.15))
    top = y + curve - thickness * rng.uniform(0.1, 1, count) * (np.arange(count) % 2)
    bottom = y + curve + thickness * rng.uniform(0.1, 1, count) * ((np.arange(count) + 1) % 2)
    points = np.concatenate([np.stack([xs, top], 1), np.stack([xs, bottom], 1)[::-1]])
    return [element(path(points), fill, fill_opacity=f"{rng.uniform(0.4, 1):.2f}")]


def hatching(rng: np.random.Generator, size: int) -> Picture:
    """Pen drawing: parallel and crossed strokes by a soft field, with outlines."""
    field = soft_field(rng, size, float(rng.uniform(1.5, 3.5)))
    spacing = float(rng.uniform(4, 9))
    width = float(rng.uniform(0.8, 2))
    color = hexed(ink(rng))
    elements = []
    for pass_ in range(int(rng.integers(1, 4))):
        angle = float(rng.uniform(0, math.pi)) + pass_ * 0.9
        direction = np.array([math.cos(angle), math.sin(angle)])
        normal = np.array([-direction[1], direction[0]])
        limit = 0.55 - 0.18 * pass_
        for place in np.arange(-0.75 * size, 0.75 * size, spacing):
            at = -0.75 * size
            while at < 0.75 * size:
                length = float(rng.uniform(15, 50))
                center = (
                    size / 2 + normal * (place + rng.normal(0, 0.5)) + direction * (at + length / 2)
                )
                at += length * float(rng.uniform(0.9, 1.3))
                column, row = int(center[0]), int(center[1])
                if not (0 <= column < size and 0 <= row < size) or field[row, column] > limit:
                    continue
                start, stop = center - direction * length / 2, center + direction * length / 2
                curve = bezier(start, center + normal * float(rng.normal(0, 1.5)), stop, 6)
                elements.append(element(tapered(curve, width, 0.3), color))
        if len(elements) > 900:
            break
    base = np.full((size, size, 3), 255, np.uint8)
    picture = over(base, drawn(elements, size))
    return contour_lines(rng, picture, field, [0.55])


def grass(rng: np.random.Generator, size: int, bottom: float, colors: Sequence[Color]) -> list[str]:
    """Blades as SVG elements, rooted around y = bottom."""
    elements = []
    height = float(rng.uniform(0.05, 0.2)) * size
    for _ in range(int(rng.integers(80, 260))):
        root = np.array([float(rng.uniform(-0.05, 1.05)) * size, bottom + rng.uniform(0, height)])
        lean = float(rng.normal(0, 0.5)) * height
        tip = root + np.array([lean, -height * float(rng.uniform(0.4, 1))])
        curve = bezier(root, root + np.array([0, -height * 0.5]), tip, 7)
        t = np.linspace(1, 0, 7)[:, None] * float(rng.uniform(0.8, 2.5))
        points = np.concatenate([curve + t * [1, 0], (curve - t * [1, 0])[::-1]])
        elements.append(element(path(points), hexed(colors[int(rng.integers(len(colors)))])))
    return elements
