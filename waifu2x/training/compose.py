"""Composes training scenes: SVGs over painted grounds, procedural drawings, and mixes of both."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from . import drawings, svg
from .drawings import backgrounds, canvas, gradients, scenes, strokes, tone
from .drawings.canvas import Picture
from .drawings.lettering import Fonts, write_block

#: Shares of the sets among SVGs. Sets that resemble line art have larger shares.
_SET_WEIGHTS: Final = {
    "openclipart": 0.42,
    "dicebear": 0.26,
    "noto": 0.12,
    "fluent-emoji-flat": 0.11,
    "twemoji": 0.09,
}

#: Folders of openclipart with drawings of people, animals, plants and things.
_FIGURES: Final = (
    "people", "animals", "recreation", "plants", "food", "transportation", "unsorted",
    "buildings", "tools", "education", "household", "special",
)  # fmt: skip

#: Words in the names of their symbols: playing cards, road signs and the like.
_SYMBOLS: Final = ("cards", "roadsigns", "aiga", "stickmen", "chess", "patterns", "symbol")

#: Abstract styles of dicebear are drawn rarely.
_PEOPLE: Final = (
    "big-ears", "big-smile", "clay", "critters", "croodles", "cutouts", "dylan", "micah",
    "miniavs", "notionists", "open-peeps", "personas", "toon-head", "sprouts", "line-face",
    "moods", "thumbs",
)  # fmt: skip


@dataclass(frozen=True)
class Library:
    """The sources of scenes: SVG files by set, fonts, and pictures of the user."""

    svgs: dict[str, tuple[Path, ...]]
    fonts: Fonts
    pictures: tuple[Path, ...] = ()

    def pick(self, rng: np.random.Generator) -> str:
        """The text of a random SVG."""
        names = [name for name in _SET_WEIGHTS if self.svgs.get(name)]
        weights = np.array([_SET_WEIGHTS[name] for name in names])
        files = self.svgs[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
        path = files[int(rng.integers(len(files)))]
        for _ in range(2):
            # Up to two more draws favor figures over icons and abstract shapes.
            if path.name.startswith((*_FIGURES, *_PEOPLE)) and not any(
                word in path.name for word in _SYMBOLS
            ):
                break
            if path.parent.name not in ("openclipart", "dicebear"):
                break
            path = files[int(rng.integers(len(files)))]
        return _text(str(path))


@functools.lru_cache(maxsize=4096)
def _text(path: str) -> str:
    return Path(path).read_bytes().decode("utf-8", "replace")


def scene(rng: np.random.Generator, size: int, library: Library, kind: str) -> Picture:
    """A scene of a kind: "svg", "mix", "picture", or a kind of `drawings.KINDS`."""
    if kind == "svg":
        return svg_scene(rng, size, library)
    if kind == "mix":
        return mixed_scene(rng, size, library)
    if kind == "picture":
        return own_picture(rng, size, library.pictures)
    return drawings.draw(rng, size, kind, library.fonts)


def ground(rng: np.random.Generator, size: int) -> Picture:
    """A ground for drawings: flat, white, graded, cel-shaded or painted."""
    choice = rng.random()
    colors = canvas.palette(rng, 4)
    if choice < 0.22:
        color = colors[int(rng.integers(4))]
        return np.broadcast_to(np.asarray(color, np.uint8), (size, size, 3)).copy()
    if choice < 0.34:
        return np.full((size, size, 3), 255, np.uint8)
    if choice < 0.55:
        return gradients.gradient(rng, size)
    if choice < 0.62:
        return gradients.cel_areas(rng, size)
    return backgrounds.background(rng, size)


def drawing_layer(
    rng: np.random.Generator, library: Library, longest: int, part: int | None = None
) -> svg.Layer:
    """One SVG with random palette and strokes, shaded; raises `svg.SvgError` for a bad file.

    longest: its longer side in pixels. part: render only a square of so many pixels.
    """
    palette = canvas.palette(rng, 6)
    drawing = svg.vary(library.pick(rng), rng, palette=palette, longest=longest)
    if part is None:
        layer = svg.render_drawing(drawing, longest)
    else:
        layer = svg.render_part(drawing, rng, part, longest)
    if rng.random() < 0.5:
        layer = layer[:, ::-1]
    return canvas.shade(rng, np.ascontiguousarray(layer))


def drop_shadow(
    rng: np.random.Generator, picture: Picture, layer: svg.Layer, x: int, y: int
) -> Picture:
    """The blurred, shifted silhouette of a layer, dark and translucent."""
    alpha = Image.fromarray(layer[..., 3])
    margin = 16
    wide = Image.new("L", (alpha.width + 2 * margin, alpha.height + 2 * margin))
    wide.paste(alpha, (margin, margin))
    soft = np.asarray(wide.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 6)))), np.float32)
    shadow = np.zeros((*soft.shape, 4), np.uint8)
    shadow[..., 3] = soft * float(rng.uniform(0.2, 0.6))
    shift = int(rng.integers(2, 10))
    return canvas.placed(picture, shadow, x - margin + shift, y - margin + shift)


def svg_scene(rng: np.random.Generator, size: int, library: Library) -> Picture:
    """One large drawing in part, or several, over a ground; sometimes as manga."""
    picture = ground(rng, size)
    manga = rng.random() < 0.1
    if manga:
        picture = np.full((size, size, 3), 255, np.uint8)
        if rng.random() < 0.5:
            picture = canvas.levels(tone.random_tone(rng, size)[..., None] * [255, 255, 255])
    tries = int(rng.integers(4, 14))
    if rng.random() < 0.4:
        tries = int(rng.integers(0, 3))
        longest = size * float(math.exp(rng.uniform(math.log(0.9), math.log(2.2))))
        picture = canvas.over(picture, _sure_layer(rng, library, round(longest), size))
    places = _places(rng, size, tries)
    for center_x, center_y in places:
        longest = round(math.exp(rng.uniform(math.log(60), math.log(size * 0.8))))
        layer = _sure_layer(rng, library, longest, None)
        x, y = int(center_x - layer.shape[1] / 2), int(center_y - layer.shape[0] / 2)
        if rng.random() < 0.15:
            picture = drop_shadow(rng, picture, layer, x, y)
        picture = canvas.placed(picture, layer, x, y)
    if manga:
        picture = as_manga(rng, picture)
    return picture


def _places(rng: np.random.Generator, size: int, count: int) -> list[tuple[float, float]]:
    """Random places spread evenly over the quarters of a picture, so that none stays empty."""
    start = int(rng.integers(4))
    places = []
    for index in range(count):
        quarter = (start + index) % 4
        x, y = (float(value) for value in rng.uniform(0.05, 0.45, 2) * size)
        places.append((x + quarter % 2 * size / 2, y + quarter // 2 * size / 2))
    return places


def _sure_layer(
    rng: np.random.Generator, library: Library, longest: int, part: int | None
) -> svg.Layer:
    """A layer from the first file that renders; transparent after eight that do not."""
    for _ in range(8):
        try:
            layer = drawing_layer(rng, library, longest, part)
        except svg.SvgError:
            continue
        if int(layer[..., 3].max()) > 32:
            return layer
    side = part or longest
    return np.zeros((side, side, 4), np.uint8)


def as_manga(rng: np.random.Generator, picture: Picture) -> Picture:
    """Black on white: areas of gray become screentone, lines stay."""
    darkness = backgrounds.darkness_of(picture)
    pitch = float(math.exp(rng.uniform(math.log(3), math.log(8))))
    toned = tone.screentone(
        np.clip((darkness - 0.12) * 0.9, 0, 1), pitch, float(rng.choice(tone.ANGLES)),
        antialiased=bool(rng.random() < 0.7),
    )  # fmt: skip
    # Dark areas are solid; edges keep their antialiasing, with more contrast.
    contrast = np.clip(1.15 - 1.5 * darkness, 0, 1)
    areas = canvas.is_even(canvas.levels(255 * darkness), 12) & (darkness < 0.75)
    gray = np.where(areas, toned, contrast)
    return canvas.levels(gray[..., None] * [255, 255, 255])


def mixed_scene(rng: np.random.Generator, size: int, library: Library) -> Picture:
    """A procedural picture with SVGs, text, tone or lines over it."""
    kinds = ("novel_scene", "background", "face", "hair", "cel", "background")
    picture = drawings.draw(rng, size, kinds[int(rng.integers(len(kinds)))], library.fonts)
    for center_x, center_y in _places(rng, size, int(rng.integers(1, 6))):
        longest = round(math.exp(rng.uniform(math.log(60), math.log(size * 0.7))))
        layer = _sure_layer(rng, library, longest, None)
        x, y = int(center_x - layer.shape[1] / 2), int(center_y - layer.shape[0] / 2)
        picture = canvas.placed(picture, layer, x, y)
    choice = rng.random()
    if choice < 0.25:
        picture = scenes.text_box(rng, picture, library.fonts)
    elif choice < 0.45:
        points = int(rng.integers(16, 70))
        box = (int(rng.integers(0, size // 3)), int(rng.integers(0, size // 2)), size - 8, size - 8)
        colors = canvas.palette(rng, 4)
        picture = write_block(
            rng, picture, library.fonts, box, points, colors[3], (max(1, points // 12), colors[0])
        )
    elif choice < 0.55:
        lines = strokes.speed_line_elements(rng, size, (255, 255, 255))
        picture = canvas.over(picture, canvas.drawn(lines, size), float(rng.uniform(0.4, 1)))
    elif choice < 0.63:
        dots = tone.random_tone(rng, size)[..., None]
        across, down = canvas.grid(size)
        area = ((across + down) / (2 * size) > rng.uniform(0.3, 0.7))[..., None]
        picture = np.where(
            area & (dots < 1), canvas.levels(picture * (0.35 + 0.65 * dots)), picture
        )
    return picture


def own_picture(rng: np.random.Generator, size: int, paths: Sequence[Path]) -> Picture:
    """A crop of a picture of the user, shrunk at random to hide its own compression.

    Transparent pictures lie over a random ground; pictures smaller than the crop are mirrored.
    """
    path = paths[int(rng.integers(len(paths)))]
    with Image.open(path) as opened:
        rgba = opened.convert("RGBA")
    smaller = min(rgba.width, rgba.height) / size
    if smaller > 1:
        factor = float(rng.uniform(1, min(3.0, smaller)))
        shape = (max(size, round(rgba.width / factor)), max(size, round(rgba.height / factor)))
        rgba = rgba.resize(shape, Image.Resampling.LANCZOS)
    pixels = np.asarray(rgba)
    missing = [(0, max(0, size - side)) for side in pixels.shape[:2]]
    pixels = np.pad(pixels, (*missing, (0, 0)), mode="symmetric")
    y = int(rng.integers(pixels.shape[0] - size + 1))
    x = int(rng.integers(pixels.shape[1] - size + 1))
    part = pixels[y : y + size, x : x + size]
    if int(part[..., 3].min()) == 255:
        return np.ascontiguousarray(part[..., :3])
    return canvas.over(ground(rng, size), part)
