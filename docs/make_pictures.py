"""Draws the pictures of the README and of models.md: ``python docs/make_pictures.py``.

``sample.jpg`` is a small drawing (tests/helpers/art.py) as a JPEG of quality 75. In
``before_after.png``, it is enlarged 2x: by Pillow's bicubic filter on the left, and by waifu2x at
the automatic noise level on the right. ``models.png`` shows the same two crops, enlarged 4x by
every model; it needs the extra ``models``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import waifu2x

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from helpers import art  # noqa: E402

SIDE = 224
IMAGES = HERE / "images"
SAMPLE = IMAGES / "sample.jpg"

#: The models of ``models.png``, by cost.
MODELS = (
    *("swift", "fine", "upconv_7", "cunet", "realcugan", "realcugan_pro"),
    *("realesrgan_animevideo", "realesrgan_anime", "realesrgan"),
)
COLUMNS = 5
SCALE = 4
#: Pixels around a crop that the networks see, too.
CONTEXT = 16
GAP, LABEL = 8, 22


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


def crops() -> list[Image.Image]:
    """Return the two crops of ``models.png``, RGB, with `CONTEXT` pixels around them."""
    face, page = art.anime_face(SIDE), art.manga_page(2 * SIDE, 2 * SIDE).convert("RGB")
    boxes = [(face, (62, 74, 54, 62)), (page, (90, 316, 54, 40))]
    return [
        picture.crop(
            (left - CONTEXT, top - CONTEXT, left + width + CONTEXT, top + height + CONTEXT)
        )
        for picture, (left, top, width, height) in boxes
    ]


def every_model() -> Image.Image:
    """Return two crops as JPEG of quality 75, enlarged 4x by every model, as one RGB image.

    Each model runs at the automatic noise level. The first cell is Pillow's bicubic filter.
    """
    sources = crops()
    inner = [tuple((side - 2 * CONTEXT) * SCALE for side in each.size) for each in sources]
    width, height = inner[0][0], sum(size[1] for size in inner) + GAP // 2
    names = ["bicubic", *MODELS]
    rows = -(-len(names) // COLUMNS)
    sheet = Image.new(
        "RGB", (COLUMNS * (width + GAP) - GAP, rows * (height + LABEL + GAP) - GAP), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{index}.jpg") for index in range(len(sources))]
        for path, source in zip(paths, sources, strict=True):
            source.save(path, quality=75)
        for index, name in enumerate(names):
            row, column = divmod(index, COLUMNS)
            x, y = column * (width + GAP), row * (height + LABEL + GAP)
            draw.text((x + width // 2, y + LABEL // 2), name, "black", font, anchor="mm")
            y += LABEL
            upscaler = None if name == "bicubic" else waifu2x.Upscaler(name)
            for path in paths:
                if upscaler is None:
                    with Image.open(path) as source:
                        size = (source.width * SCALE, source.height * SCALE)
                        large = source.resize(size, Image.Resampling.BICUBIC)
                else:
                    large = upscaler.upscale(path, SCALE, noise="auto")
                cut = CONTEXT * SCALE
                large = large.crop((cut, cut, large.width - cut, large.height - cut))
                sheet.paste(large, (x, y))
                y += large.height + GAP // 2
    return sheet


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    art.anime_face(SIDE).save(SAMPLE, quality=75)
    before_and_after().save(IMAGES / "before_after.png", optimize=True)
    every_model().save(IMAGES / "models.png", optimize=True)
