"""Painted backgrounds of visual novels: sky, foliage, buildings, rooms, floors and lights."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from .canvas import (
    Color,
    Field,
    Picture,
    drawn,
    element,
    grid,
    hexed,
    hsl,
    levels,
    linear_gradient,
    over,
    palette,
    path,
    ramp,
    rectangle,
    shaded,
    smooth_path,
    soft_field,
)
from .strokes import grass


def _with_texture(rng: np.random.Generator, values: np.ndarray, strength: float) -> Picture:
    """Modulate by fine soft fields, as paint does; values: float32 (size, size, 3)."""
    size = values.shape[0]
    fine = soft_field(rng, size, float(rng.uniform(8, 40)), 3) - 0.5
    return levels(values * (1 + strength * fine[..., None]))


def sky(rng: np.random.Generator, size: int) -> Picture:
    """A graded sky with soft clouds, some with crisp rims."""
    hue = float(rng.choice([0.58, 0.6, 0.55, 0.07, 0.95, 0.68, 0.62]))
    dark = rng.random() < 0.2
    high = hsl(hue, float(rng.uniform(0.4, 0.8)), 0.15 if dark else float(rng.uniform(0.4, 0.65)))
    low = hsl(
        hue + float(rng.normal(0, 0.06)), 0.6, 0.4 if dark else float(rng.uniform(0.75, 0.93))
    )
    _, y = grid(size)
    curve = np.float32(rng.uniform(0.6, 1.5))
    values = ramp(((y / size) ** curve).astype(np.float32), [high, low])
    cloud = hsl(hue + 0.02, 0.3, 0.5 if dark else 0.97)
    for _ in range(int(rng.integers(0, 4))):
        field = soft_field(rng, size, float(rng.uniform(1.5, 4)), 4)
        edge = float(rng.choice([0.02, 0.08, 0.3]))
        cut = float(rng.uniform(0.5, 0.75))
        share = np.clip((field - cut) / edge, 0, 1)[..., None]
        shade = ramp(soft_field(rng, size, 4, 3), [shaded(cloud, 0.25, high), cloud, cloud])
        values += (shade - values) * share * np.float32(rng.uniform(0.5, 1))
    return levels(values)


def _leaf_cluster(
    rng: np.random.Generator, x: float, y: float, radius: float, colors: list[Color], count: int,
    leaf: float, line: dict[str, object],
) -> list[str]:  # fmt: skip
    """Leaves from the shaded to the lit side of a crown."""
    elements = []
    for index in range(count):
        share = index / count
        turn = float(rng.uniform(0, 2 * math.pi))
        away = radius * math.sqrt(float(rng.random()))
        at = np.array([x + away * math.cos(turn) - radius * 0.12 * share,
                       y + away * math.sin(turn) * 0.8 - radius * 0.15 * share])  # fmt: skip
        length = leaf * float(rng.uniform(0.5, 1.4))
        angle = float(rng.uniform(0, 2 * math.pi))
        direction = np.array([math.cos(angle), math.sin(angle)]) * length
        normal = np.array([-direction[1], direction[0]]) * float(rng.uniform(0.2, 0.45))
        points = np.array([at - direction, at + normal, at + direction, at - normal])
        color = colors[min(len(colors) - 1, int(share * len(colors) + rng.random()))]
        elements.append(element(smooth_path(points), hexed(color), **line))
    return elements


def foliage(rng: np.random.Generator, size: int) -> Picture:
    """Trees and bushes of many leaves, with or without outlines, before a sky."""
    base = sky(rng, size)
    hue = float(rng.choice([0.28, 0.32, 0.25, 0.38, 0.1, 0.93, 0.05]))
    colors = [hsl(hue + 0.05, 0.5, 0.14), hsl(hue + 0.03, 0.5, 0.24), hsl(hue, 0.5, 0.34),
              hsl(hue - 0.03, 0.55, 0.46), hsl(hue - 0.05, 0.6, 0.62)]  # fmt: skip
    outlined = rng.random() < 0.3
    line: dict[str, object] = {}
    if outlined:
        line["stroke"] = hexed(shaded(colors[0], 0.6, (0, 0, 0)))
        line["stroke_width"] = f"{rng.uniform(0.7, 1.6):.2f}"
    elements: list[str] = []
    for _ in range(int(rng.integers(2, 5))):
        x, y = float(rng.uniform(0, size)), float(rng.uniform(0.1, 0.8)) * size
        radius = float(rng.uniform(0.12, 0.4)) * size
        trunk = np.array([[x - radius * 0.08, y], [x + radius * 0.08, y],
                          [x + radius * 0.14, size], [x - radius * 0.14, size]])  # fmt: skip
        elements.append(element(path(trunk), hexed(hsl(0.07, 0.3, 0.25))))
        leaf = float(rng.uniform(2.5, 11))
        count = int(min(420, 2.5 * (radius / leaf) ** 2 + 40))
        points = np.stack(
            [x + radius * np.cos(t) * rng.uniform(0.85, 1.1) for t in np.linspace(0, 6, 14)], 0
        )
        rows = np.stack(
            [y + radius * 0.8 * np.sin(t) * rng.uniform(0.85, 1.1) for t in np.linspace(0, 6, 14)],
            0,
        )
        crown = smooth_path(np.stack([points, rows], 1))
        elements.append(element(crown, hexed(colors[0]), **line))
        elements += _leaf_cluster(rng, x, y, radius, colors, count, leaf, line)
    if rng.random() < 0.6:
        elements += grass(rng, size, size * float(rng.uniform(0.8, 1.0)), colors[1:])
    return over(base, drawn(elements, size))


def palms(rng: np.random.Generator, size: int) -> Picture:
    """Fronds of fine tapered leaflets."""
    base = sky(rng, size)
    hue = float(rng.uniform(0.2, 0.4))
    elements = []
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0.1, 0.9, 2) * size
        for turn in np.linspace(0, 2 * math.pi, int(rng.integers(8, 16)), endpoint=False):
            length = float(rng.uniform(0.2, 0.4)) * size
            direction = np.array([math.cos(turn), math.sin(turn) * 0.7 - 0.25])
            color = hsl(hue, 0.5, float(rng.uniform(0.15, 0.5)))
            for share in np.linspace(0.1, 1, 20):
                at = np.array([x, y]) + direction * length * share + [0, length * 0.6 * share**2]
                for side in (-1, 1):
                    tip = (
                        at
                        + np.array([-direction[1], direction[0]])
                        * side
                        * length
                        * 0.25
                        * (1.1 - share)
                        + direction * length * 0.12
                    )
                    width = np.array([direction[0], direction[1]]) * 1.3
                    elements.append(
                        element(path(np.array([at - width, at + width, tip])), hexed(color))
                    )
    return over(base, drawn(elements, size))


def _window(
    corner: tuple[float, float], width: float, height: float, frame: str, reflection: bool,
    line: dict[str, object],
) -> list[str]:  # fmt: skip
    """A window of four panes, filled with the gradient "g", with a slanted reflection."""
    x, y = corner
    parts = [rectangle(x, y, width, height, fill="url(#g)", **line)]
    if reflection:
        slant = (
            f"M{x + width * 0.1:.1f},{y + height:.1f}l{width * 0.4:.1f},{-height:.1f}"
            f"h{width * 0.2:.1f}l{-width * 0.4:.1f},{height:.1f}z"
        )
        parts.append(element(slant, "#fff", fill_opacity=0.35))
    cross = f"M{x + width / 2:.1f},{y:.1f}v{height:.1f}M{x:.1f},{y + height / 2:.1f}h{width:.1f}"
    parts.append(element(cross, stroke=frame, stroke_width=f"{max(1.0, width * 0.05):.1f}"))
    return parts


def building(rng: np.random.Generator, size: int) -> Picture:
    """A facade of windows, ledges and pipes, in perspective, with soft light."""
    base = sky(rng, size)
    wall = palette(rng, 4)
    shear = float(rng.normal(0, 0.25))
    columns = int(np.exp(rng.uniform(math.log(3), math.log(16))))
    rows = max(2, int(columns * rng.uniform(0.6, 1.2)))
    top = float(rng.uniform(-0.2, 0.3)) * size
    width, height = size / columns, size / rows * float(rng.uniform(0.6, 1))
    glass = [hsl(0.58, 0.4, float(rng.uniform(0.3, 0.6))), hsl(0.56, 0.5, 0.85)]
    line: dict[str, object] = {
        "stroke": hexed(shaded(wall[0], 0.4, (0, 0, 0))),
        "stroke_width": f"{rng.uniform(0.8, 2.2):.2f}",
    }
    if rng.random() < 0.3:
        line = {}
    out = [
        "<defs>",
        linear_gradient("w", [wall[3], wall[2]]),
        linear_gradient("g", glass),
        "</defs>",
        f'<g transform="skewY({math.degrees(math.atan(shear)):.2f})">',
    ]
    start = top - shear * size / 2
    out.append(
        f'<rect x="-10" y="{start}" width="{size + 20}" height="{size * 2}" fill="url(#w)"/>'
    )
    frame_x, frame_y = float(rng.uniform(0.08, 0.25)), float(rng.uniform(0.12, 0.3))
    wide, high = width * (1 - 2 * frame_x), height * (1 - 2 * frame_y)
    for row in range(rows * 2):
        y = start + row * height
        out.append(rectangle(-10, y, size + 20, height * 0.08, fill=hexed(wall[1])))
        for column in range(columns):
            reflection = rng.random() < 0.5
            corner = (column * width + width * frame_x, y + height * frame_y)
            out += _window(corner, wide, high, hexed(wall[3]), reflection, line)
    out.append("</g>")
    picture = over(base, drawn(out, size))
    light = np.clip(0.75 + 0.5 * soft_field(rng, size, 1.5), 0, 1.15)
    return levels(picture * light[..., None])


def floor(rng: np.random.Generator, size: int) -> Picture:
    """Bricks, tiles or planks in perspective, with worn colors and joints."""
    x, y = grid(size)
    horizon = float(rng.uniform(-0.5, 0.25)) * size
    depth = size / np.maximum(y - horizon, size * 0.04)
    turn = float(rng.uniform(0, math.pi))
    across = (x - size / 2) / size * depth
    scale = float(rng.uniform(6, 22))
    u = (across * math.cos(turn) + depth * math.sin(turn)) * scale
    v = (depth * math.cos(turn) - across * math.sin(turn)) * scale
    if rng.random() < 0.4:
        # Seen from above.
        u, v = x / size * scale, y / size * scale
    ratio = float(rng.choice([1, 2, 2, 4]))
    u = u / ratio
    row = np.floor(v)
    u = u + (row % 2) * np.float32(0.5 if rng.random() < 0.8 else 0)
    column = np.floor(u)
    random = (np.sin(column * 12.9898 + row * 78.233) * 43758.5453) % 1
    colors = palette(rng, 3)
    if rng.random() < 0.6:
        hue = float(rng.uniform(0.02, 0.1))
        colors = [hsl(hue, 0.4, 0.35), hsl(hue, 0.45, 0.5), hsl(hue + 0.02, 0.4, 0.65)]
    values = ramp(random.astype(np.float32), colors)
    joint = float(rng.uniform(0.02, 0.08))
    edge = np.minimum(
        np.minimum(u - column, 1 - u + column) * ratio, np.minimum(v - row, 1 - v + row)
    )
    slope = np.maximum(np.hypot(*np.gradient(v)), 1e-4).astype(np.float32)
    share = np.clip((joint - edge) / slope + 0.5, 0, 1) * np.clip(1.5 - slope * 2.5, 0, 1)
    mortar = np.asarray(shaded(colors[0], 0.3), np.float32)
    values += (mortar - values) * share[..., None]
    far = np.clip(slope * 2.5 - 0.8, 0, 1)[..., None]
    values += (np.asarray(colors[1], np.float32) - values) * far
    picture = _with_texture(rng, values, float(rng.uniform(0, 0.25)))
    top = int(max(0, horizon + size * 0.12))
    if top:
        picture[:top] = sky(rng, size)[:top]
    return picture


def lights(rng: np.random.Generator, size: int) -> Picture:
    """Blurred circles of light over a dark or bright gradient."""
    colors = palette(rng, 4)
    values = ramp(soft_field(rng, size, 1.5, 2), colors[:3])
    x, y = grid(size)
    for _ in range(int(rng.integers(5, 40))):
        cx, cy = rng.uniform(0, size, 2)
        radius = float(np.exp(rng.uniform(math.log(3), math.log(size / 6))))
        edge = float(rng.choice([1, 2, radius / 2, radius]))
        color = np.asarray(hsl(float(rng.random()) * 0.2, 0.6, 0.85), np.float32)
        opacity = np.float32(rng.uniform(0.1, 0.6))
        rows, columns = (
            slice(max(0, int(middle - radius)), int(middle + radius) + 2) for middle in (cy, cx)
        )
        part = values[rows, columns]
        away = np.hypot(x[rows, columns] - cx, y[rows, columns] - cy)
        share = np.clip((radius - away) / edge, 0, 1)
        part += (color - part) * (share[..., None] * opacity).astype(np.float32)
    return levels(values)


def painting(rng: np.random.Generator, size: int) -> Picture:
    """Soft areas of brush strokes over each other: painterly textures."""
    colors = palette(rng, 5)
    field = soft_field(rng, size, float(rng.uniform(1.5, 4)), 2)
    base = levels(ramp(field, colors))
    elements = []
    blur = float(rng.choice([0, 0.6, 1.5]))
    for _ in range(int(rng.integers(60, 260))):
        x, y = rng.uniform(0, size, 2)
        tone = float(np.clip(field[int(y), int(x)] + rng.normal(0, 0.1), 0, 0.999))
        color = colors[int(tone * len(colors))]
        length = float(np.exp(rng.uniform(math.log(6), math.log(60))))
        angle = float(rng.normal(0.6, 0.7))
        elements.append(
            f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{length:.1f}" '
            f'ry="{length * rng.uniform(0.08, 0.35):.1f}" fill="{hexed(color)}" '
            f'fill-opacity="{rng.uniform(0.2, 0.9):.2f}" '
            f'transform="rotate({math.degrees(angle):.1f} {x:.1f} {y:.1f})"/>'
        )
    picture = over(base, drawn(elements, size))
    return blurred(picture, blur) if blur else picture


def room(rng: np.random.Generator, size: int) -> Picture:
    """An interior: wall, window with light, curtains, shelf with books, baseboard and planks."""
    colors = palette(rng, 6)
    wall, trim = colors[5], colors[3]
    line: dict[str, object] = {
        "stroke": hexed(shaded(colors[0], 0.5, (0, 0, 0))),
        "stroke_width": f"{rng.uniform(0.8, 2.2):.2f}",
    }
    out = [
        "<defs>",
        linear_gradient("w", [wall, shaded(wall, 0.2)]),
        linear_gradient("s", [hsl(0.57, 0.6, 0.7), hsl(0.55, 0.4, 0.94)]),
        linear_gradient("c", [colors[4], shaded(colors[4], 0.3), colors[4]], False),
        "</defs>",
        rectangle(0, 0, size, size, fill="url(#w)"),
    ]
    if rng.random() < 0.5:
        step = float(rng.uniform(8, 40))
        stripes = "".join(f"M{x:.1f},0V{size}" for x in np.arange(0, size, step))
        width = f"{step * rng.uniform(0.1, 0.5):.1f}"
        out.append(element(stripes, stroke=hexed(shaded(wall, 0.12)), stroke_width=width))
    x, y = float(rng.uniform(0, 0.5)) * size, float(rng.uniform(-0.1, 0.3)) * size
    wide, high = float(rng.uniform(0.3, 0.6)) * size, float(rng.uniform(0.3, 0.6)) * size
    out.append(rectangle(x, y, wide, high, fill="url(#s)", **line))
    bars = f"M{x + wide / 2:.1f},{y:.1f}v{high:.1f}M{x:.1f},{y + high * 0.4:.1f}h{wide:.1f}"
    out.append(element(bars, stroke=hexed(trim), stroke_width=f"{max(2.0, wide * 0.03):.1f}"))
    for side in (0, 1):
        left = x - wide * 0.12 if side == 0 else x + wide * 0.82
        for fold in range(5):
            px = left + fold * wide * 0.06
            right = px + wide * (0.08 + float(rng.normal(0, 0.01)))
            hem = px - wide * float(rng.uniform(0, 0.02))
            points = np.array(
                [[px, y - 12], [px + wide * 0.08, y - 12], [right, y + high * 1.15],
                 [hem, y + high * 1.15]]
            )  # fmt: skip
            out.append(element(path(points), "url(#c)", **line))
    shelf = float(rng.uniform(0.5, 0.85)) * size
    at = float(rng.uniform(0, 0.3)) * size
    while at < size * 0.98:
        book, tall = float(rng.uniform(0.012, 0.05)) * size, float(rng.uniform(0.08, 0.16)) * size
        color = colors[int(rng.integers(6))]
        label = hexed(shaded(color, 0.6, (255, 240, 200)))
        out.append(rectangle(at, shelf - tall, book, tall, fill=hexed(color), **line))
        out.append(
            rectangle(at + book * 0.2, shelf - tall * 0.8, book * 0.6, tall * 0.12, fill=label)
        )
        at += book + (float(rng.uniform(0, 0.1)) * size if rng.random() < 0.1 else 0.5)
    out.append(rectangle(0, shelf, size, size * 0.03, fill=hexed(colors[2]), **line))
    picture = over(np.full((size, size, 3), 255, np.uint8), drawn(out, size))
    light = np.clip(0.8 + 0.4 * soft_field(rng, size, 1.2), 0, 1.1)
    return levels(picture * light[..., None])


def texture(rng: np.random.Generator, size: int) -> Picture:
    """Stone, earth, foliage in the distance: detail at all scales in a few close colors."""
    colors = palette(rng, 5)
    rough = int(rng.integers(4, 8))
    field = soft_field(rng, size, float(rng.uniform(2, 8)), rough)
    second = soft_field(rng, size, float(rng.uniform(10, 50)), 3)
    if rng.random() < 0.5:
        # Dabs of paint: levels with crisp edges.
        steps = float(rng.integers(4, 9))
        field = (np.floor((field * 0.75 + second * 0.25) * steps) / steps).astype(np.float32)
        picture = levels(ramp(field, colors))
        return blurred(picture, float(rng.uniform(0.4, 1)))
    values = ramp(np.clip(field * 1.4 - 0.2, 0, 1), colors)
    return levels(values * (1 + float(rng.uniform(0.05, 0.4)) * (second[..., None] - 0.5)))


def blurred(picture: Picture, radius: float) -> Picture:
    """A Gaussian blur with a standard deviation of ``radius`` pixels."""
    result: Picture = np.array(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))
    return result


def darkness_of(picture: Picture) -> Field:
    """How dark a picture is, from 0 to 1, for screentone."""
    luma = picture @ np.array([0.299, 0.587, 0.114])
    field: Field = (1 - luma / 255).astype(np.float32)
    return field


BACKGROUNDS = (sky, foliage, palms, building, floor, lights, painting, room, texture)


def background(rng: np.random.Generator, size: int) -> Picture:
    """One of the backgrounds, sometimes blurred as behind a figure."""
    picture = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))](rng, size)
    if rng.random() < 0.25:
        picture = blurred(picture, float(rng.uniform(0.8, 5)))
    return picture
