"""Draws the picture of the README: ``python docs/make_pictures.py``.

Saves a small drawing (tests/helpers/art.py) as a JPEG of quality 75 and enlarges it 2x: with a
bicubic filter, and with waifu2x at the automatic noise level.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

import waifu2x

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from helpers import art  # noqa: E402

SIDE = 224


def before_and_after() -> Image.Image:
    """Return a small JPEG enlarged 2x with a bicubic filter (left) and with waifu2x (right).

    The result is an RGB image of 904x448 px.
    """
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.jpg")
        art.anime_face(SIDE).save(small, quality=75)
        before = Image.open(small).resize((2 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC)
        after = waifu2x.upscale(small, 2, noise="auto")
    gap = 8
    sheet = Image.new("RGB", (4 * SIDE + gap, 2 * SIDE), "white")
    sheet.paste(before, (0, 0))
    sheet.paste(after, (2 * SIDE + gap, 0))
    return sheet


if __name__ == "__main__":
    images = HERE / "images"
    images.mkdir(exist_ok=True)
    before_and_after().save(images / "before_after.png", optimize=True)
