"""Draws the pictures of the README: ``python docs/make_pictures.py``.

``sample.jpg`` is a small drawing (tests/helpers/art.py) as a JPEG of quality 75. In
``before_after.png``, it is enlarged 2x: by Pillow's bicubic filter on the left, and by waifu2x at
the automatic noise level on the right.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import waifu2x

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from helpers import art  # noqa: E402

SIDE = 224
IMAGES = HERE / "images"
SAMPLE = IMAGES / "sample.jpg"


def before_and_after() -> Image.Image:
    """Return the sample enlarged 2x by Pillow's bicubic filter (left) and by waifu2x (right).

    The result is an RGB image of 904x448 px.
    """
    before = Image.open(SAMPLE).resize((2 * SIDE, 2 * SIDE), Image.Resampling.BICUBIC)
    after = waifu2x.upscale(SAMPLE, 2, noise="auto")
    gap = 8
    sheet = Image.new("RGB", (4 * SIDE + gap, 2 * SIDE), "white")
    sheet.paste(before, (0, 0))
    sheet.paste(after, (2 * SIDE + gap, 0))
    return sheet


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    art.anime_face(SIDE).save(SAMPLE, quality=75)
    before_and_after().save(IMAGES / "before_after.png", optimize=True)
