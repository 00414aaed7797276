"""Draws text and heat maps with Pillow, in the font that Pillow contains."""

from __future__ import annotations

from functools import cache
from typing import Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .._text import shown
from .crops import Map
from .methods import Pixels

Color: TypeAlias = tuple[int, int, int]

PAPER: Final[Color] = (255, 255, 255)
INK: Final[Color] = (24, 24, 28)
FAINT: Final[Color] = (120, 120, 128)

#: Height of a line of text, and of its letters, in pixels.
LINE: Final = 20
_SIZE: Final = 14

#: Colors of a heat map from no difference to the largest; brightness rises throughout.
_HEAT: Final = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)],
    np.float32,
)


@cache
def font(size: int = _SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of Pillow."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int = _SIZE) -> int:
    """Return the width of a line in pixels."""
    return round(font(size).getlength(text))


def write(
    canvas: Image.Image,
    place: tuple[int, int],
    text: str,
    *,
    width: int | None = None,
    color: Color = INK,
) -> None:
    """Write a line with its upper left corner at ``place``; a text wider than ``width`` is cut."""
    line = shown(text)
    if width is not None and text_width(line) > width:
        while line and text_width(f"{line}...") > width:
            line = line[:-1]
        line = f"{line}..."
    ImageDraw.Draw(canvas).text(place, line, fill=color, font=font())


def heat_map(values: Map, most: float) -> Pixels:
    """Return ``values`` from 0 to ``most`` as colors from black to light yellow, (H, W, 3)."""
    place = np.clip(values / max(most, 1e-6), 0, 1) * (len(_HEAT) - 1)
    below = np.minimum(place.astype(np.int64), len(_HEAT) - 2)
    part = (place - below)[:, :, None]
    colors: Pixels = (_HEAT[below] * (1 - part) + _HEAT[below + 1] * part + 0.5).astype(np.uint8)
    return colors
