"""Draws the pictures of the README and the docs: ``python docs/make_pictures.py``.

Code draws the picture (tests/art.py). The script saves it as a small JPEG of quality 75 and
upscales the JPEG twice: by a bicubic filter, as in a browser, and by waifu2x with automatic noise
reduction.
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
    """Upscale the small JPEG 2x by a bicubic filter (left) and by waifu2x (right)."""
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
