"""Whole compositions: pages of manga, scenes of visual novels, and windows of programs."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from .backgrounds import background, blurred, darkness_of
from .canvas import (
    Color,
    Picture,
    drawn,
    element,
    ellipse,
    hexed,
    is_even,
    levels,
    over,
    palette,
    path,
    placed,
    rectangle,
    shaded,
)
from .faces import add_portrait, portrait_layer
from .lettering import Fonts, write_block
from .strokes import hatching, speed_line_elements
from .tone import random_darkness, random_tone, screentone


def manga_page(rng: np.random.Generator, size: int, fonts: Fonts | None = None) -> Picture:
    """Panels with tone, figures, speed lines and bubbles with vertical text, black on white."""
    fonts = fonts or Fonts()
    page = np.full((size, size, 3), 255, np.uint8)
    gutter = int(rng.integers(6, 16))
    line = float(rng.uniform(1.5, 4))
    y = -int(rng.integers(0, size // 3))
    while y < size:
        height = int(size * float(rng.uniform(0.3, 0.7)))
        x = -int(rng.integers(0, size // 3))
        while x < size:
            width = int(size * float(rng.uniform(0.3, 0.9)))
            page = _panel(rng, page, (x, y, x + width, y + height), line, fonts)
            x += width + gutter
        y += height + gutter
    if rng.random() < 0.15:
        # Scans are gray and yellowish.
        paper = np.array(
            [int(rng.integers(235, 256)), int(rng.integers(232, 252)), int(rng.integers(215, 245))]
        )
        black = np.array([30, 28, 30]) * float(rng.random())
        page = levels(black + (paper - black) * (page / 255))
    return page


def _panel(
    rng: np.random.Generator,
    page: Picture,
    box: tuple[int, int, int, int],
    line: float,
    fonts: Fonts,
) -> Picture:
    size = page.shape[0]
    left, top, right, bottom = box
    x0, y0, x1, y1 = max(0, left), max(0, top), min(size, right), min(size, bottom)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return page
    side = max(x1 - x0, y1 - y0)
    inside = np.full((side, side, 3), 255, np.uint8)
    kind = rng.random()
    if kind < 0.3:
        inside = levels(random_tone(rng, side)[..., None] * [255, 255, 255])
    elif kind < 0.45:
        inside = over(inside, drawn(speed_line_elements(rng, side, (0, 0, 0)), side))
    elif kind < 0.55:
        painted = darkness_of(background(rng, side))
        tone = screentone(
            painted * 0.8, float(rng.uniform(3, 8)), 45, antialiased=bool(rng.random() < 0.7)
        )
        inside = levels(tone[..., None] * [255, 255, 255])
    elif kind < 0.65:
        inside = hatching(rng, side)
    elif kind < 0.72:
        inside[:] = 0
    if rng.random() < 0.75:
        unit = float(np.exp(rng.uniform(math.log(0.15), math.log(0.5)))) * side
        width = float(np.clip(unit / 40 * rng.uniform(0.7, 1.3), 1.0, 3.2))
        figure, x, y = portrait_layer(rng, side, unit, width, monochrome=True)
        # Even grays of a figure become tone; the edges of lines stay.
        gray = figure[..., 0]
        middle = (gray > 60) & (gray < 235) & (figure[..., 3] == 255) & is_even(gray)
        if rng.random() < 0.8:
            shade = levels(random_tone(rng, side, random_darkness(rng, side)) * 255)
            shade = shade[y : y + gray.shape[0], x : x + gray.shape[1]]
            figure[middle, :3] = shade[middle][:, None]
        inside = placed(inside, figure, x, y)
    if rng.random() < 0.6:
        inside = _bubble(rng, inside, (0, 0, x1 - x0, y1 - y0), line, fonts)
    page = page.copy()
    page[y0:y1, x0:x1] = inside[: y1 - y0, : x1 - x0]
    frame = rectangle(
        left, top, right - left, bottom - top, fill="none", stroke="#000",
        stroke_width=f"{line:.2f}",
    )  # fmt: skip
    return over(page, drawn(frame, size))


def _bubble(
    rng: np.random.Generator,
    picture: Picture,
    box: tuple[int, int, int, int],
    line: float,
    fonts: Fonts,
) -> Picture:
    size = picture.shape[0]
    left, top, right, bottom = box
    width = float(rng.uniform(0.25, 0.5)) * (right - left)
    height = float(rng.uniform(0.35, 0.8)) * (bottom - top)
    x = float(rng.uniform(left + width / 2, right - width / 2))
    y = float(rng.uniform(top + height / 2, bottom - height / 2))
    rim: dict[str, object] = {"stroke": "#000", "stroke_width": f"{line * 0.7:.2f}"}
    if rng.random() < 0.75:
        shape = ellipse(x, y, width / 2, height / 2, fill="#fff", **rim)
    else:
        turns = np.linspace(0, 2 * math.pi, 40, endpoint=False)
        reach = np.where(np.arange(40) % 2, 1.0, 0.82)
        points = np.stack(
            [x + width / 2 * reach * np.cos(turns), y + height / 2 * reach * np.sin(turns)], 1
        )
        shape = element(path(points), "#fff", **rim)
    picture = over(picture, drawn(shape, size))
    points_ = int(np.clip(min(width, height) / float(rng.uniform(4, 9)), 9, 60))
    inner = (
        int(x - width * 0.32),
        int(y - height * 0.32),
        int(x + width * 0.34),
        int(y + height * 0.34),
    )
    return write_block(
        rng, picture, fonts, inner, points_, (0, 0, 0), vertical=bool(rng.random() < 0.8)
    )


def novel_scene(rng: np.random.Generator, size: int, fonts: Fonts | None = None) -> Picture:
    """A painted background, one or two figures, and sometimes a text box over it."""
    fonts = fonts or Fonts()
    picture = background(rng, size)
    if rng.random() < 0.3:
        picture = blurred(picture, float(rng.uniform(1, 4)))
    for _ in range(int(rng.choice([1, 2, 3]))):
        unit = float(np.exp(rng.uniform(math.log(0.06), math.log(0.36)))) * size
        width = float(np.clip(unit / 40 * rng.uniform(0.6, 1.3), 0.9, 3.2))
        picture = add_portrait(rng, picture, unit, width)
    if rng.random() < 0.35:
        picture = text_box(rng, picture, fonts)
    return picture


def text_box(rng: np.random.Generator, picture: Picture, fonts: Fonts) -> Picture:
    """A translucent box with text at the lower edge."""
    size = picture.shape[0]
    colors = palette(rng, 5)
    dark = rng.random() < 0.6
    fill, ink = (colors[0], (255, 255, 255)) if dark else (colors[4], (30, 25, 40))
    top = int(size * float(rng.uniform(0.55, 0.8)))
    box = rectangle(
        8, top, size - 16, size - top - 8, rx=f"{rng.uniform(0, 16):.1f}", fill=hexed(fill),
        fill_opacity=f"{rng.uniform(0.5, 1):.2f}", stroke=hexed(shaded(fill, 0.6, ink)),
        stroke_width=f"{rng.uniform(1, 3):.1f}",
    )  # fmt: skip
    picture = over(picture, drawn(box, size))
    outline = (int(rng.integers(1, 3)), colors[0]) if rng.random() < 0.3 and dark else None
    points = int(rng.integers(13, 30))
    return write_block(
        rng, picture, fonts, (22, top + 10, size - 22, size - 14), points, ink, outline, False
    )


def interface(rng: np.random.Generator, size: int, fonts: Fonts | None = None) -> Picture:
    """Windows, buttons, bars and icons with crisp edges and small text."""
    fonts = fonts or Fonts()
    colors: list[Color] = palette(rng, 6)
    picture = np.broadcast_to(np.asarray(colors[5], np.uint8), (size, size, 3)).copy()
    if rng.random() < 0.4:
        picture = blurred(background(rng, size), float(rng.uniform(0.5, 3)))
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    texts: list[tuple[tuple[int, int, int, int], int, Color]] = []
    for _ in range(int(rng.integers(3, 9))):
        x, y = (int(value) for value in rng.integers(-20, size - 40, 2))
        width, height = int(rng.integers(60, size)), int(rng.integers(24, size // 2))
        fill = colors[int(rng.integers(2, 6))]
        radius = int(rng.choice([0, 0, 4, 10]))
        draw.rounded_rectangle(
            (x, y, x + width, y + height),
            radius,
            fill=fill,
            outline=colors[0],
            width=int(rng.integers(1, 3)),
        )
        bar = min(height, int(rng.integers(14, 28)))
        draw.rectangle((x + 1, y + 1, x + width - 1, y + bar), fill=colors[1])
        size_ = max(9, bar - 8)
        texts.append(((x + 6, y + 3, x + width - 4, y + bar), size_, colors[5]))
        texts.append(
            (
                (x + 8, y + bar + 6, x + width - 6, y + height),
                int(rng.integers(10, 20)),
                (20, 20, 25),
            )
        )
        for step in range(int(rng.integers(0, 5))):
            at = x + 10 + step * 30
            draw.rectangle(
                (at, y + height - 20, at + 22, y + height - 8),
                fill=colors[int(rng.integers(6))],
                outline=colors[0],
            )
    picture = np.array(image)
    for box, points, color in texts:
        picture = write_block(rng, picture, fonts, box, points, color, vertical=False)
    return picture
