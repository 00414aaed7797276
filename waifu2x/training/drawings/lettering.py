"""Lettering: several scripts, horizontal and vertical, outlined, in bubbles and text boxes."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .canvas import Color, Picture, palette, shaded
from .gradients import gradient

#: Characters per script; words are random sequences of these.
SCRIPTS: Final = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?-",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЭЮЯ",
    "greek": "αβγδεζηθικλμνξοπρστυφχψωΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ",
    "japanese": (
        "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
        "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲンー"
        "がぎぐげござじずぜぞだでどばびぶべぼぱぴぷぺぽっゃゅょ"
        "日本人大小中国年月火水木金土学校先生友達今何時間行来食飲見聞読書話買出入上下左右東西南北前後"
        "私君僕彼女男子供父母兄弟姉妹家族心愛夢星空海山川花鳥風雪雨雲光闇剣魔法王姫勇者世界始終運命戦争"
        "永鬱響驚護議警鏡鑑願類顔題銀録機械構想像種類業務発表現実験結果続編集録音楽器官庁舎駅電車線路"
        "\uff01\uff1f。、…「」"
    ),
}  # fmt: skip

_LINES: Final = ("latin", "latin", "cyrillic", "greek", "japanese", "japanese", "japanese")


@dataclass(frozen=True)
class Fonts:
    """Font files by script; empty without any, and Pillow's own Latin font stands in."""

    files: tuple[tuple[str, str], ...] = ()

    @classmethod
    def within(cls, folder: Path) -> Fonts:
        """The fonts that `unpack` placed into ``folder``."""
        found = [
            (script, str(path))
            for path in sorted(folder.glob("font-*/*.woff"))
            for script in SCRIPTS
            if f"-{script}-" in path.name
        ]
        return cls(tuple(found))

    def pick(self, rng: np.random.Generator, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
        """A script, by a weight for Japanese, and a font of ``size`` pixels for it."""
        script = _LINES[int(rng.integers(len(_LINES)))]
        paths = [path for name, path in self.files if name == script]
        if not paths:
            font = ImageFont.load_default(size)
            assert isinstance(font, ImageFont.FreeTypeFont)
            return "latin", font
        return script, _font(paths[int(rng.integers(len(paths)))], size)


@functools.lru_cache(maxsize=256)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO(_content(path)), size)


@functools.lru_cache(maxsize=64)
def _content(path: str) -> bytes:
    return Path(path).read_bytes()


def random_line(rng: np.random.Generator, script: str, length: int) -> str:
    """Random characters; scripts with spaces get words of 2 to 9 letters."""
    characters = SCRIPTS[script]
    if script == "japanese":
        return "".join(characters[int(i)] for i in rng.integers(len(characters), size=length))
    words: list[str] = []
    left = length
    while left > 0:
        count = int(rng.integers(2, 10))
        letters = [characters[int(i)] for i in rng.integers(len(characters), size=count)]
        word = "".join(letters)
        kind = rng.random()
        words.append(word.lower() if kind < 0.6 else word.title() if kind < 0.85 else word.upper())
        left -= count + 1
    return " ".join(words)


def write_block(
    rng: np.random.Generator,
    picture: Picture,
    fonts: Fonts,
    box: tuple[int, int, int, int],
    size: int,
    color: Color,
    outline: tuple[int, Color] | None = None,
    vertical: bool | None = None,
) -> Picture:
    """Write random text into a box (left, top, right, bottom); size: of the font in pixels.

    outline: width in pixels and color of a line around each letter.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    script, font = fonts.pick(rng, size)
    left, top, right, bottom = box
    stroke, around = outline or (0, color)
    if vertical is None:
        vertical = script == "japanese" and rng.random() < 0.4
    step = round(size * float(rng.uniform(1.15, 1.5)))
    if vertical and script == "japanese":
        x = right - step
        while x >= left:
            count = int((bottom - top) / (size * 1.08) * rng.uniform(0.5, 1))
            for index, letter in enumerate(random_line(rng, script, max(1, count))):
                at = (x, top + index * size * 1.08)
                draw.text(
                    at, letter, font=font, fill=color, stroke_width=stroke, stroke_fill=around
                )
            x -= step
    else:
        y = top
        while y + size <= bottom:
            count = max(1, int((right - left) / (size * (1 if script == "japanese" else 0.55))))
            line = random_line(rng, script, int(count * rng.uniform(0.5, 1)) + 1)
            draw.text(
                (left, y), line, font=font, fill=color, stroke_width=stroke, stroke_fill=around
            )
            y += step
    return np.array(image)


def lettering(rng: np.random.Generator, size: int, fonts: Fonts | None = None) -> Picture:
    """Text of several sizes on flat or graded grounds, some with outlines or in a title."""
    fonts = fonts or Fonts()
    colors = palette(rng, 5)
    kind = rng.random()
    if kind < 0.4:
        base = np.full((size, size, 3), 255, np.uint8)
        color: Color = (0, 0, 0)
        outline = None
    elif kind < 0.7:
        base = gradient(rng, size)
        color, outline = (255, 255, 255), (int(rng.integers(1, 4)), colors[0])
    else:
        base = np.broadcast_to(np.asarray(colors[0], np.uint8), (size, size, 3)).copy()
        color, outline = colors[4], None
    y = int(rng.integers(-10, 20))
    while y < size - 10:
        points = int(np.exp(rng.uniform(np.log(11), np.log(90))))
        height = int(points * float(rng.uniform(1.2, 5)))
        line = outline
        if points > 40 and rng.random() < 0.6:
            line = (int(rng.integers(2, 6)), colors[int(rng.integers(5))])
        tint = color if rng.random() < 0.7 else shaded(color, 0.6, colors[int(rng.integers(5))])
        box = (int(rng.integers(-20, 40)), y, size - 10, min(size + points, y + height))
        base = write_block(rng, base, fonts, box, points, tint, line)
        y += height + int(rng.integers(4, 24))
    return base
