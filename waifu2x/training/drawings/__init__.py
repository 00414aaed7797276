"""Draws pictures that sets of SVGs lack, each a function of a generator and a size in pixels.

`draw` makes one; `KINDS` names all with their weights. Every drawing is a function of the random
generator alone: the same seed gives the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from . import backgrounds, faces, gradients, lettering, pixels, scenes, strokes, tone
from .canvas import Picture
from .lettering import Fonts

Drawing = Callable[[np.random.Generator, int], Picture]

#: Drawings without text: name, function, weight.
_PLAIN: Final[tuple[tuple[str, Drawing, float], ...]] = (
    ("face", faces.face, 14),
    ("eyes", faces.eyes, 5),
    ("hair", strokes.hair_strokes, 8),
    ("background", backgrounds.background, 14),
    ("cel", gradients.cel_areas, 6),
    ("tone", tone.tone_patch, 7),
    ("speed_lines", strokes.speed_lines, 4),
    ("hatching", strokes.hatching, 2),
    ("gradient", gradients.gradient, 5),
    ("dithered", gradients.dithered, 4),
    ("fine_dither", gradients.fine_dither, 2),
    ("pixel_art", pixels.pixel_art, 7),
)

#: Drawings with text: they take fonts as well.
_WITH_TEXT: Final[tuple[tuple[str, Callable[..., Picture], float], ...]] = (
    ("lettering", lettering.lettering, 5),
    ("manga_page", scenes.manga_page, 8),
    ("novel_scene", scenes.novel_scene, 12),
    ("interface", scenes.interface, 3),
)

KINDS: Final = {name: weight for name, _, weight in (*_PLAIN, *_WITH_TEXT)}
_WITHOUT_GRAIN: Final = ("gradient", "dithered", "fine_dither", "pixel_art", "interface")


def draw(
    rng: np.random.Generator, size: int, kind: str | None = None, fonts: Fonts | None = None
) -> Picture:
    """A drawing of a kind, or of a random one by weight: uint8 (size, size, 3).

    A few get light film grain. Raises KeyError if the kind is unknown.
    """
    if kind is None:
        weights = np.array(list(KINDS.values()))
        kind = str(rng.choice(list(KINDS), p=weights / weights.sum()))
    plain = {name: function for name, function, _ in _PLAIN}
    if kind in plain:
        picture = plain[kind](rng, size)
    else:
        written = {name: function for name, function, _ in _WITH_TEXT}
        picture = written[kind](rng, size, fonts)
    if kind not in _WITHOUT_GRAIN and rng.random() < 0.06:
        picture = gradients.grain(rng, picture)
    return picture
