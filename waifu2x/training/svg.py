"""Renders SVGs at random scale, position, stroke width and palette, with resvg.

The text of an SVG is changed before the rendering: colors by one mapping for the whole drawing,
stroke widths by one factor, and the root element by a `viewBox` that selects the part in view.
"""

from __future__ import annotations

import colorsys
import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import Waifu2xError

#: A picture of shape (height, width, 4): straight (not premultiplied) RGBA of 8 bits.
Layer = npt.NDArray[np.uint8]

#: Maps a color (r, g, b), each 0 to 255, to another.
Recoloring = Callable[[tuple[int, int, int]], tuple[int, int, int]]

_ROOT: Final = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_LENGTH: Final = re.compile(r"\s*([0-9.eE+-]+)\s*(px|pt|pc|mm|cm|in)?\s*$")
_UNITS: Final = {None: 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96}  # fmt: skip # noqa: E501
_COLOR: Final = re.compile(
    r"((?:fill|stroke|stop-color|flood-color|color)\s*[:=]\s*[\"']?\s*)"
    r"(?:#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b|(black|white|red|green|blue|yellow|gray|grey)\b)"
)
_NAMES: Final = {
    "black": (0, 0, 0), "white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 128, 0),
    "blue": (0, 0, 255), "yellow": (255, 255, 0), "gray": (128, 128, 128), "grey": (128, 128, 128),
}  # fmt: skip
_STROKE_WIDTH: Final = re.compile(r"(stroke-width\s*[:=]\s*[\"']?\s*)([0-9.]+)")


class SvgError(Waifu2xError):
    """An SVG cannot be rendered."""


@dataclass(frozen=True)
class View:
    """A rectangle in the coordinates of an SVG."""

    x: float
    y: float
    width: float
    height: float


def page(text: str) -> View:
    """The rectangle that the root element shows; raises `SvgError` if it is unknown or empty."""
    root = _ROOT.search(text)
    if not root:
        raise SvgError("the SVG has no root element")
    box = _attribute(root[0], "viewBox")
    try:
        if box:
            x, y, width, height = (float(part) for part in re.split(r"[\s,]+", box.strip()))
        else:
            x = y = 0.0
            width, height = (_length(_attribute(root[0], name)) for name in ("width", "height"))
    except ValueError as error:
        raise SvgError("the SVG has no size") from error
    if not (0 < width < 1e6 and 0 < height < 1e6):
        raise SvgError("the SVG has no size")
    return View(x, y, width, height)


def _attribute(tag: str, name: str) -> str | None:
    found = re.search(rf"\s{name}\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", tag)
    return None if not found else found[1] if found[1] is not None else found[2]


def _length(text: str | None) -> float:
    found = _LENGTH.match(text or "")
    if not found:
        raise ValueError
    return float(found[1]) * _UNITS[found[2]]


def render(
    text: str, view: View, width: int, height: int, *, angle: float = 0, style: str | None = None
) -> Layer:
    """Render the part ``view`` of an SVG into ``width`` x ``height`` pixels.

    angle: degrees by which the drawing is rotated about the center of the view.
    style: a style sheet that applies on top.
    Raises `SvgError` if resvg refuses the text.
    """
    import resvg_py

    root = _ROOT.search(text)
    if not root:
        raise SvgError("the SVG has no root element")
    tag = re.sub(
        r"\s(?:width|height|viewBox|preserveAspectRatio)\s*=\s*(?:\"[^\"]*\"|'[^']*')", "", root[0]
    )
    tag = (
        f'{tag[:4]} width="{width}" height="{height}" preserveAspectRatio="none" '
        f'viewBox="{view.x:.6g} {view.y:.6g} {view.width:.6g} {view.height:.6g}"{tag[4:]}'
    )
    before, after = text[: root.start()], text[root.end() :]
    end = after.rfind("</svg>")
    if angle and end >= 0 and not tag.endswith("/>"):
        center = f"{view.x + view.width / 2:.6g} {view.y + view.height / 2:.6g}"
        tag += f'<g transform="rotate({angle:.6g} {center})">'
        after = f"{after[:end]}</g>{after[end:]}"
    try:
        data = resvg_py.svg_to_bytes(
            svg_string=before + tag + after, style_sheet=style, skip_system_fonts=True
        )
    except BaseException as error:
        # resvg is written in Rust, and a panic arrives as a BaseException.
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise SvgError("the SVG cannot be rendered") from error
    picture = np.array(Image.open(io.BytesIO(data)).convert("RGBA"))
    if picture.shape != (height, width, 4):
        raise SvgError("the SVG cannot be rendered")
    return picture


def drawn_box(text: str, thumbnail: int = 64) -> View:
    """The part of the page that holds something, by a small rendering; raises `SvgError`."""
    whole = page(text)
    scale = thumbnail / max(whole.width, whole.height)
    width, height = (max(4, round(side * scale)) for side in (whole.width, whole.height))
    alpha = render(text, whole, width, height)[..., 3]
    ys, xs = np.nonzero(alpha > 8)
    if not len(ys):
        raise SvgError("the SVG is empty")
    step_x, step_y = whole.width / width, whole.height / height
    left, top = float(xs.min()), float(ys.min())
    return View(
        whole.x + left * step_x,
        whole.y + top * step_y,
        (float(xs.max()) + 1 - left) * step_x,
        (float(ys.max()) + 1 - top) * step_y,
    )


# --- palette and strokes -------------------------------------------------------------------------


def recolored(text: str, mapping: Recoloring) -> str:
    """The SVG with every color of fill, stroke and gradient stops replaced by ``mapping``."""

    def replaced(match: re.Match[str]) -> str:
        if match[3]:
            color = _NAMES[match[3]]
        else:
            digits = match[2] if len(match[2]) == 6 else "".join(digit * 2 for digit in match[2])
            color = int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
        red, green, blue = mapping(color)
        return f"{match[1]}#{red:02x}{green:02x}{blue:02x}"

    return _COLOR.sub(replaced, text)


def thickened(text: str, factor: float) -> str:
    """The SVG with all stroke widths multiplied by ``factor``."""
    return _STROKE_WIDTH.sub(lambda match: f"{match[1]}{float(match[2]) * factor:.5g}", text)


def random_recoloring(rng: np.random.Generator) -> Recoloring:
    """A mapping of colors: a rotation of hues with other saturation and lightness.

    Black, white and grays keep their lack of hue, so that dark outlines stay outlines.
    """
    # Two rotations, by warm and cold hues, rearrange a palette more than one does.
    warm, cold = (float(rng.uniform(0, 1)) for _ in range(2))
    if rng.random() < 0.5:
        cold = warm
    saturation = float(rng.uniform(0.45, 1.1))
    gamma = float(math.exp(rng.normal(0, 0.2)))

    def mapping(color: tuple[int, int, int]) -> tuple[int, int, int]:
        hue, lightness, chroma = colorsys.rgb_to_hls(*(channel / 255 for channel in color))
        turn = warm if hue < 0.2 or hue > 0.85 else cold
        mapped = colorsys.hls_to_rgb(
            (hue + turn) % 1, lightness**gamma, min(1, chroma * saturation)
        )
        red, green, blue = (round(255 * channel) for channel in mapped)
        return red, green, blue

    return mapping


def tinted_recoloring(rng: np.random.Generator, palette: list[tuple[int, int, int]]) -> Recoloring:
    """A mapping to a palette: each color moves toward the entry of the nearest lightness."""
    strength = float(rng.uniform(0.5, 1))
    weights = np.array([0.299, 0.587, 0.114])
    entries = np.array(palette, float)
    lightness = entries @ weights

    def mapping(color: tuple[int, int, int]) -> tuple[int, int, int]:
        own = float(np.dot(color, weights))
        entry = entries[int(np.argmin(np.abs(lightness - own)))]
        mixed = (1 - strength) * np.array(color, float) + strength * entry
        red, green, blue = (int(value) for value in np.clip(np.rint(mixed), 0, 255))
        return red, green, blue

    return mapping


#: Shapes that an outline is drawn around.
_OUTLINED: Final = "path,circle,ellipse,rect,polygon"


def outline_style(color: tuple[int, int, int], width: float) -> str:
    """A style sheet that draws a line of ``width`` user units around every shape."""
    red, green, blue = color
    return (
        f"{_OUTLINED}{{stroke:#{red:02x}{green:02x}{blue:02x};stroke-width:{width:.5g};"
        "stroke-linejoin:round}"
    )


# --- random rendering ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """A drawing ready to be rendered: its text, the box that holds something, how to outline."""

    text: str
    box: View
    style: str | None = None
    angle: float = 0.0


def vary(
    text: str,
    rng: np.random.Generator,
    *,
    palette: list[tuple[int, int, int]],
    outline: float = 0.35,
    longest: int = 400,
) -> Drawing:
    """An SVG with a random palette, stroke width, outline and angle; raises `SvgError`.

    outline: probability of a line around every shape, 1 to 4 pixels wide if the longer side of the
        drawing is rendered at ``longest`` pixels.
    """
    box = drawn_box(text)
    choice = rng.random()
    if choice < 0.45:
        text = recolored(text, random_recoloring(rng))
    elif choice < 0.6:
        text = recolored(text, tinted_recoloring(rng, palette))
    if rng.random() < 0.5:
        text = thickened(text, float(math.exp(rng.normal(0, 0.35))))
    style = None
    if rng.random() < outline:
        unit = max(box.width, box.height) / longest
        dark = tuple(int(value) for value in rng.integers(0, 70, 3))
        style = outline_style((dark[0], dark[1], dark[2]), float(rng.uniform(1, 4)) * unit)
    angle = float(rng.normal(0, 12)) if rng.random() < 0.4 else 0.0
    return Drawing(text, box, style, angle)


def render_drawing(drawing: Drawing, longest: int, margin: float = 0.06) -> Layer:
    """The whole drawing with its longer side ``longest`` pixels, and a margin around."""
    box = drawing.box
    grow = margin * max(box.width, box.height)
    view = View(box.x - grow, box.y - grow, box.width + 2 * grow, box.height + 2 * grow)
    scale = longest / max(view.width, view.height)
    width, height = (max(8, round(side * scale)) for side in (view.width, view.height))
    return render(drawing.text, view, width, height, angle=drawing.angle, style=drawing.style)


def render_part(drawing: Drawing, rng: np.random.Generator, size: int, longest: float) -> Layer:
    """A random square of ``size`` pixels of a drawing rendered at ``longest`` pixels."""
    box = drawing.box
    side = size * max(box.width, box.height) / longest
    center_x = box.x + box.width * float(rng.uniform(0.2, 0.8))
    center_y = box.y + box.height * float(rng.uniform(0.2, 0.8))
    if side >= box.width:
        center_x = box.x + box.width / 2 + float(rng.uniform(-0.5, 0.5)) * (side - box.width)
    if side >= box.height:
        center_y = box.y + box.height / 2 + float(rng.uniform(-0.5, 0.5)) * (side - box.height)
    view = View(center_x - side / 2, center_y - side / 2, side, side)
    return render(drawing.text, view, size, size, angle=drawing.angle, style=drawing.style)
