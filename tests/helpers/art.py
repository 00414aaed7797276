"""Crisp test pictures, drawn from scratch at any size.

Every picture is a list of vector shapes in its own coordinate system. The same drawing can be made
at 192 and 384 pixels: the input of an upscaler and the ground truth for its output. Drawing needs
only NumPy and Pillow, no fonts and no files. Nothing is random: the same call gives the same
pixels.

    python tests/helpers/art.py OUTDIR
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Points = NDArray[np.float64]
Point = tuple[float, float]
Color = tuple[int, int, int]
Stops = Sequence[tuple[float, Color]]

_Arguments = ParamSpec("_Arguments")


# --- geometry --------------------------------------------------------------------------------


def _drawn_once(draw: Callable[_Arguments, Image.Image]) -> Callable[_Arguments, Image.Image]:
    """Cache the last pictures of each kind and return copies; tests often draw the same picture."""
    kept = functools.lru_cache(maxsize=64)(draw)

    @functools.wraps(draw)
    def copied(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Image.Image:
        return kept(*args, **kwargs).copy()

    return copied


def curve(*points: Point, steps: int = 14, closed: bool = False) -> Points:
    """A smooth curve through the points (Catmull-Rom pieces, which are cubic Beziers)."""
    p = np.asarray(points, dtype=np.float64)
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = (np.arange(steps) / steps)[:, None]
    pieces = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        pieces.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2)
            + 0.5 * (3 * b - a - 3 * c + d) * t**3
        )
    if not closed:
        pieces.append(p[-2:-1])
    return join(*pieces)


def line(*points: Point) -> Points:
    """A polyline with sharp corners."""
    return np.asarray(points, dtype=np.float64)


def join(*parts: Points) -> Points:
    """Join several pieces end to end."""
    return np.concatenate(parts)


def ellipse(cx: float, cy: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    """An ellipse, rotated by an angle in degrees."""
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    x, y = rx * np.cos(t), ry * np.sin(t)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.stack([cx + c * x - s * y, cy + s * x + c * y], axis=1)


def moved(points: Points, dx: float, dy: float) -> Points:
    """The points shifted."""
    return points + np.asarray((dx, dy), dtype=np.float64)


def mirror(points: Points, axis: float = 500.0) -> Points:
    """The points reflected in a vertical line."""
    return np.stack([2 * axis - points[:, 0], points[:, 1]], axis=1)


def resample(points: Points, count: int) -> Points:
    """Resample the curve to `count` evenly spaced points."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(steps)])
    want = np.linspace(0, at[-1], count)
    return np.stack([np.interp(want, at, points[:, i]) for i in (0, 1)], axis=1)


def rotation(degrees: float, cx: float, cy: float) -> Points:
    """A 2x3 matrix that rotates about a point."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, cx - c * cx + s * cy], [s, c, cy - s * cx - c * cy]])


def compose(second: Points, first: Points) -> Points:
    """The 2x3 matrix that applies `first`, then `second`."""
    turn = second[:, :2]
    return np.concatenate([turn @ first[:, :2], (turn @ first[:, 2:]) + second[:, 2:]], axis=1)


def scaling(factor: float, cx: float, cy: float) -> Points:
    """A 2x3 matrix that enlarges about a point."""
    return np.array([[factor, 0.0, cx * (1 - factor)], [0.0, factor, cy * (1 - factor)]])


IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


# --- canvas ----------------------------------------------------------------------------------


class Canvas:
    """A large picture to draw on in drawing units, reduced with a box filter at the end.

    The canvas also records the covered area, which is the alpha of a sprite.
    """

    def __init__(
        self,
        width: int,
        height: int,
        *,
        supersample: int,
        scale: float,
        origin: Point = (0.0, 0.0),
        paper: Color = (255, 255, 255),
        detail: float = 5.0,
    ) -> None:
        if width < 1 or height < 1 or supersample < 1:
            raise ValueError("width, height and supersample must be at least 1")
        self.size = (width * supersample, height * supersample)
        self.supersample = supersample
        self.scale = scale * supersample
        self.origin = (origin[0] * supersample, origin[1] * supersample)
        self.image = Image.new("RGB", self.size, paper)
        self.cover = Image.new("L", self.size, 0)
        self.transform = IDENTITY
        self.detail = detail  # the length of a step along an ink line
        self._draw = ImageDraw.Draw(self.image)
        self._draw_cover = ImageDraw.Draw(self.cover)

    def pixels(self, points: Points) -> list[Point]:
        """Convert drawing units to pixels of the large picture; Pillow truncates fractions."""
        p = points @ self.transform[:, :2].T + self.transform[:, 2]
        p = np.floor(p * self.scale + np.asarray(self.origin) + 0.5)
        return [(x, y) for x, y in p.clip(-30000, 30000).tolist()]

    def mask(self, *shapes: Points) -> Image.Image:
        """The area that the shapes cover."""
        out = Image.new("L", self.size, 0)
        draw = ImageDraw.Draw(out)
        for shape in shapes:
            draw.polygon(self.pixels(shape), fill=255)
        return out

    def shifted(self, mask: Image.Image, dx: float, dy: float) -> Image.Image:
        """The mask moved by (dx, dy) drawing units."""
        out = Image.new("L", self.size, 0)
        scale = self.scale * abs(float(np.linalg.det(self.transform[:, :2]))) ** 0.5
        out.paste(mask, (round(dx * scale), round(dy * scale)))
        return out

    def fill(self, shape: Points, color: Color) -> None:
        """Fill a shape with one color."""
        p = self.pixels(shape)
        self._draw.polygon(p, fill=color)
        self._draw_cover.polygon(p, fill=255)

    def paint(
        self, color: Color, mask: Image.Image, clip: Image.Image | None = None, opacity: float = 1.0
    ) -> None:
        """Paint a color through a mask; the covered area stays."""
        if clip is not None:
            mask = ImageChops.darker(mask, clip)
        box = mask.getbbox()
        if box is None:
            return
        mask = mask.crop(box)
        if opacity < 1:
            mask = mask.point([round(v * opacity) for v in range(256)])
        self.image.paste(color, box, mask)

    def shade(
        self, shape: Points, color: Color, clip: Image.Image | None = None, opacity: float = 1.0
    ) -> None:
        """Paint a color on a shape; the covered area stays."""
        self.paint(color, self.mask(shape), clip, opacity)

    def gradient(
        self, shape: Points | Image.Image, stops: Stops, top: float, bottom: float
    ) -> None:
        """Fill a shape, or a mask, with colors that change from `top` down to `bottom`."""
        mask = shape if isinstance(shape, Image.Image) else self.mask(shape)
        box = mask.getbbox()
        if box is None:
            return
        ends = self.transform @ np.array([[500.0, 500.0], [top, bottom], [1.0, 1.0]])
        y = (np.arange(box[1], box[3]) + 0.5 - self.origin[1]) / self.scale
        t = (y - ends[1, 0]) / (ends[1, 1] - ends[1, 0])
        column = _ramp(t, stops)[:, None, :]
        strip = Image.fromarray(column).resize((box[2] - box[0], box[3] - box[1]))
        self.image.paste(strip, box, mask.crop(box))

    def multiply(self, color: Color, mask: Image.Image, clip: Image.Image | None = None) -> None:
        """Darken drawn areas, including ink, like a shadow."""
        if clip is not None:
            mask = ImageChops.darker(mask, clip)
        box = mask.getbbox()
        if box is None:
            return
        part = self.image.crop(box)
        dark = ImageChops.multiply(part, Image.new("RGB", part.size, color))
        self.image.paste(dark, box, mask.crop(box))

    def glow(
        self, shape: Points, color: Color, clip: Image.Image | None = None, opacity: float = 1.0
    ) -> None:
        """A soft round spot that fills the box of a shape and fades to its rim."""
        p = np.asarray(self.pixels(shape))
        x0, y0 = (int(v) for v in p.min(axis=0))
        x1, y1 = (int(v) for v in p.max(axis=0))
        if x1 <= x0 or y1 <= y0:
            return
        spot = Image.radial_gradient("L").point(
            [round(255 * max(0.0, 1 - v / 181) ** 1.5) for v in range(256)]
        )
        mask = Image.new("L", self.size, 0)
        mask.paste(spot.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR), (x0, y0))
        self.paint(color, mask, clip, opacity)

    def stroke(
        self,
        points: Points,
        color: Color,
        width: float = 5.0,
        taper: tuple[float, float] = (0.35, 0.35),
        thin: float = 0.12,
    ) -> None:
        """Draw an ink line that thins out over the fractions `taper` of its length."""
        self.ribbon(points, color, width, taper, thin)

    def ribbon(
        self,
        points: Points,
        color: Color,
        width: float,
        taper: tuple[float, float],
        thin: float,
    ) -> None:
        """Draw a line of varying width: a quadrilateral per step, a disc per corner."""
        keep = np.concatenate([[True], np.any(np.diff(points, axis=0) != 0, axis=1)])
        points = points[keep]
        if len(points) < 2:
            return
        step = np.diff(points, axis=0)
        at = np.concatenate([[0.0], np.cumsum(np.hypot(*step.T))])
        scale = abs(float(np.linalg.det(self.transform[:, :2]))) ** 0.5
        count = max(8, min(160, int(at[-1] * scale / self.detail)))
        # evenly spaced, plus the corners
        corners = at[1:-1][_turns(points)[1:-1] > 0.5]
        want = np.unique(np.concatenate([np.linspace(0, at[-1], count), corners]))
        p = np.stack([np.interp(want, at, points[:, i]) for i in (0, 1)], axis=1)
        t = want / at[-1]
        pressure = np.ones_like(t)
        if taper[0] > 0:
            pressure = np.minimum(pressure, t / taper[0])
        if taper[1] > 0:
            pressure = np.minimum(pressure, (1 - t) / taper[1])
        pressure = np.sin(pressure * np.pi / 2)
        half = width / 2 * (thin + (1 - thin) * pressure)
        tangent = np.gradient(p, axis=0)
        tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
        left = self.pixels(p + normal * half[:, None])
        right = self.pixels(p - normal * half[:, None])
        middle = self.pixels(p)
        turn = _turns(p)
        if min(taper) <= 0:  # blunt ends are round
            turn[[0, -1]] = np.pi
        radius = np.where(turn > 0.35, half * self.scale * scale, 0.0)
        for draw, ink in ((self._draw, color), (self._draw_cover, 255)):
            for i in range(len(p) - 1):
                draw.polygon([left[i], left[i + 1], right[i + 1], right[i]], fill=ink)
            for (x, y), r in zip(middle, radius.tolist(), strict=True):
                if r > 0.75:  # a corner
                    draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def reduced(self) -> Image.Image:
        """The finished picture."""
        return self.image.reduce(self.supersample)

    def reduced_rgba(self, junk: Color) -> Image.Image:
        """The finished picture with alpha, and the color `junk` in empty areas."""
        alpha = np.asarray(self.cover.reduce(self.supersample))
        h, w = alpha.shape
        n = self.supersample
        cover = np.asarray(self.cover, dtype=np.float64)[..., None] / 255
        color = (np.asarray(self.image, dtype=np.float64) * cover).reshape(h, n, w, n, 3)
        weight = cover.reshape(h, n, w, n, 1).sum(axis=(1, 3))
        mean = color.sum(axis=(1, 3)) / np.maximum(weight, 1e-9)
        rgb = np.where(alpha[..., None] > 0, np.floor(mean + 0.5), np.asarray(junk, np.float64))
        return Image.fromarray(np.dstack([rgb.astype(np.uint8), alpha]))


def _turns(p: Points) -> Points:
    """The turning angle of a polyline at each point, in radians."""
    step = np.diff(p, axis=0)
    heading = np.arctan2(step[:, 1], step[:, 0])
    turn = np.zeros(len(p))
    turn[1:-1] = np.abs((np.diff(heading) + np.pi) % (2 * np.pi) - np.pi)
    return turn


def _ramp(t: Points, stops: Stops) -> NDArray[np.uint8]:
    """Colors at positions along a list of stops."""
    at = [s[0] for s in stops]
    channels = [np.interp(t, at, [s[1][i] for s in stops]) for i in range(3)]
    return np.floor(np.stack(channels, axis=-1) + 0.5).astype(np.uint8)


# --- the portrait ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Palette:
    """The colors of the girl."""

    ink: Color = (44, 32, 66)
    skin_ink: Color = (134, 62, 66)
    skin: Color = (255, 232, 219)
    skin_shade: Color = (247, 192, 180)
    skin_deep: Color = (226, 150, 146)
    blush: Color = (250, 128, 128)
    hair: Stops = field(
        default=((0.0, (150, 168, 240)), (0.5, (158, 172, 244)), (1.0, (222, 178, 244)))
    )
    hair_light: Color = (190, 204, 255)
    hair_shade: Stops = field(
        default=((0.0, (112, 118, 212)), (0.5, (114, 116, 212)), (1.0, (166, 120, 208)))
    )
    hair_ink: Color = (92, 88, 178)
    shadow: Color = (188, 184, 226)
    hair_dark: Color = (58, 54, 128)
    hair_deep: Color = (76, 72, 158)
    shine: Color = (236, 242, 255)
    cloth: Color = (252, 250, 252)
    cloth_shade: Color = (208, 208, 232)
    collar: Color = (54, 66, 126)
    collar_shade: Color = (38, 44, 92)
    stripe: Color = (250, 250, 255)
    bow: Color = (238, 76, 92)
    bow_light: Color = (255, 128, 128)
    bow_shade: Color = (184, 40, 76)
    brow: Color = (76, 72, 158)
    lash: Color = (46, 26, 48)
    eye_white: Color = (255, 254, 254)
    eye_white_shade: Color = (206, 204, 228)
    iris: Stops = field(
        default=(
            (0.0, (74, 22, 48)),
            (0.35, (156, 42, 62)),
            (0.7, (236, 112, 68)),
            (1.0, (255, 206, 104)),
        )
    )
    iris_glow: Color = (255, 222, 130)
    pupil: Color = (52, 14, 36)
    mouth: Color = (214, 84, 92)
    sky: Stops = field(default=((0.0, (255, 240, 226)), (1.0, (255, 214, 208))))
    sky_two: Color = (255, 226, 206)
    petal: Color = (252, 168, 184)
    petal_light: Color = (255, 200, 208)


COLORS = Palette()


@dataclass(frozen=True)
class Lock:
    """A lock of hair between two edges that end in one tip."""

    left: Points
    right: Points

    def outline(self) -> Points:
        """The closed outline."""
        return join(self.left, self.right[::-1])

    def along(self, a: float) -> Points:
        """The line at a fraction of the lock's width."""
        left, right = resample(self.left, 60), resample(self.right, 60)
        return left + (right - left) * a

    def strip(self, a: float, b: float, t0: float = 0.0, t1: float = 1.0) -> Points:
        """A spindle inside the lock: from fraction `a` to `b` of its width, along t0..t1."""
        n = 40
        left, right = resample(self.left, n), resample(self.right, n)
        t = np.linspace(0, 1, n)
        keep = (t >= t0) & (t <= t1)
        bulge = np.sin(np.pi * (t[keep] - t0) / (t1 - t0))[:, None]
        left, right = left[keep], right[keep]
        middle = (a + b) / 2
        if a <= 0:
            middle = 0.0
        elif b >= 1:
            middle = 1.0
        lo = middle + (a - middle) * bulge
        hi = middle + (b - middle) * bulge
        across = right - left
        return join(left + across * lo, (left + across * hi)[::-1])


def _lock(left: Sequence[Point], right: Sequence[Point]) -> Lock:
    """Make a lock from the points of its edges; both edges end at the tip of the left edge."""
    return Lock(curve(*left), curve(*right, left[-1]))


def _draw_lock(
    c: Canvas,
    lock: Lock,
    p: Palette,
    *,
    shade: tuple[float, float] = (0.6, 1.0),
    light: tuple[float, float] | None = None,
    width: float = 5.0,
    fade: float = 0.5,
    start: float = 0.0,
) -> None:
    """Fill a lock, shade one side, optionally add a lighter streak, and ink the edges."""
    clip = c.mask(lock.outline())
    c.gradient(clip, p.hair, 0, 1000)
    dark = ImageChops.darker(c.mask(lock.strip(*shade, 0.08, 1.0)), clip)
    c.gradient(dark, p.hair_shade, 0, 1000)
    if light:
        c.shade(lock.strip(*light, 0.4, 0.94), p.hair_light, clip)
    for edge in (lock.left, lock.right):
        points = resample(edge, 60)
        c.stroke(points[int(start * 60) :], p.ink, width, (fade, 0.12))


def _background(c: Canvas, p: Palette, left: float, right: float) -> None:
    """Two warm tones, a large pale disc and scattered petals, at the requested width."""
    c.gradient(line((left, -5), (right, -5), (right, 1005), (left, 1005)), p.sky, 0, 1000)
    slope = 0.42
    band = line(
        (left, 640 - slope * (left - 500)),
        (right, 640 - slope * (right - 500)),
        (right, 1200 + abs(left) + abs(right)),
        (left, 1200 + abs(left) + abs(right)),
    )
    c.shade(band, p.sky_two)
    c.shade(ellipse(500, 430, 430, 430), (255, 250, 242), opacity=0.75)
    c.shade(ellipse(500, 430, 398, 398), (255, 238, 224), opacity=0.7)
    for k in range(int(np.floor(left / 1000)), int(np.ceil(right / 1000))):
        for x, y, size, turn in _PETALS:
            _petal(c, p, x + 1000 * k, y, size, turn)


_PETALS = (
    (72, 120, 34, 20),
    (172, 262, 22, 100),
    (60, 420, 26, 60),
    (118, 640, 38, 150),
    (40, 800, 24, 15),
    (216, 70, 20, 200),
    (842, 90, 28, 130),
    (930, 210, 38, 40),
    (852, 330, 20, 280),
    (948, 470, 26, 110),
    (906, 640, 30, 10),
    (960, 860, 36, 70),
)


def _petal(c: Canvas, p: Palette, x: float, y: float, size: float, turn: float) -> None:
    """A cherry petal with a notch and a lighter half."""
    right = curve((0.0, 1.0), (0.52, 0.45), (0.56, -0.35), (0.2, -0.95))
    shape = join(right, line((0.0, -0.68)), mirror(right, 0.0)[::-1])
    half = join(right, line((0.0, -0.68)), curve((0.0, -0.68), (0.12, 0.1), (0.0, 1.0)))
    m = rotation(turn, 0, 0)[:, :2] * size
    c.shade(moved(shape @ m.T, x, y), p.petal)
    c.shade(moved(half @ m.T, x, y), p.petal_light)


def _back_hair(c: Canvas, p: Palette) -> None:
    """The hair behind the shoulders, blown a little to the right."""
    left = curve(
        (470, 200), (330, 260), (276, 400), (256, 560), (232, 720), (196, 860), (160, 1060)
    )
    right = curve(
        (850, 1060), (816, 880), (778, 720), (752, 560), (730, 400), (680, 260), (540, 200)
    )
    mass = join(left, right)
    c.gradient(mass, p.hair_shade, 0, 1000)
    inner = curve((330, 480), (322, 700), (352, 900), (420, 1040))
    c.shade(join(inner, mirror(inner)[::-1]), p.hair_deep, c.mask(mass))
    for x0, x1, y in ((352, 372, 800), (396, 404, 770), (636, 622, 800), (596, 590, 760)):
        c.stroke(curve((x0, 600), (x0, 690), (x1, y)), p.hair_dark, 6, (0.1, 0.7))
    c.stroke(left, p.ink, 6, (0.1, 0.1))
    c.stroke(right, p.ink, 6, (0.1, 0.1))
    locks = (
        _lock(
            [(276, 420), (232, 560), (190, 690), (126, 800), (64, 842)],
            [(330, 400), (276, 600), (238, 730), (170, 818)],
        ),
        _lock(
            [(290, 420), (238, 600), (210, 770), (160, 920), (84, 1000)],
            [(340, 450), (306, 640), (292, 800), (230, 930)],
        ),
        _lock(
            [(300, 500), (262, 680), (254, 830), (226, 960), (180, 1070)],
            [(352, 560), (330, 760), (340, 900), (300, 1000)],
        ),
        _lock(
            [(690, 420), (740, 600), (790, 716), (858, 786), (948, 800)],
            [(728, 400), (768, 520), (822, 640), (880, 732)],
        ),
        _lock(
            [(670, 470), (716, 650), (748, 800), (806, 904), (912, 960)],
            [(728, 440), (774, 620), (808, 760), (850, 868)],
        ),
        _lock(
            [(650, 560), (672, 760), (694, 900), (740, 1000), (800, 1080)],
            [(712, 520), (752, 700), (778, 850), (806, 960)],
        ),
    )
    for k, lock in enumerate(locks):
        streak = (0.22, 0.36) if k % 3 != 2 else None
        _draw_lock(c, lock, p, width=6.0, shade=(0.52, 1.0), light=streak, fade=0.3)


def _body(c: Canvas, p: Palette) -> Image.Image:
    """Neck, shoulders, blouse, sailor collar and scarf; returns the mask of the clothes."""
    neck = join(
        curve((452, 640), (453, 700), (446, 742), (420, 764), (380, 780)),
        line((500, 1000)),
        curve((620, 780), (580, 764), (554, 742), (547, 700), (548, 640)),
    )
    c.fill(neck, p.skin)
    clip = c.mask(neck)
    shadow = curve((440, 690), (462, 742), (512, 772), (560, 730), (562, 640), (440, 640))
    c.shade(shadow, p.skin_shade, clip)
    c.stroke(curve((453, 668), (453, 706), (446, 742), (420, 764)), p.skin_ink, 5, (0.2, 0.3))
    c.stroke(curve((547, 668), (547, 706), (554, 742), (580, 764)), p.skin_ink, 5, (0.2, 0.3))
    c.stroke(curve((446, 806), (470, 812), (490, 824)), p.skin_ink, 3.5)
    c.stroke(curve((554, 806), (530, 812), (512, 824)), p.skin_ink, 3.5)

    left = join(
        curve((428, 756), (360, 784), (290, 812), (244, 860), (222, 930), (212, 1040)),
        line((500, 1040), (500, 880)),
    )
    for side, shape in ((0, left), (1, mirror(left))):
        c.fill(shape, p.cloth)
        clip = c.mask(shape)
        fold = curve((300, 1040), (312, 960), (330, 900), (306, 950), (270, 1040))
        low = line((240, 1040), (330, 930), (420, 950), (500, 920), (500, 1040))
        c.shade(mirror(fold) if side else fold, p.cloth_shade, clip)
        c.shade(mirror(low) if side else low, p.cloth_shade, clip)
        arm = curve((428, 756), (360, 784), (290, 812), (244, 860), (222, 930), (212, 1040))
        c.stroke(mirror(arm) if side else arm, p.ink, 6, (0.2, 0.1))
        seam = curve((312, 1040), (318, 960), (336, 900))
        c.stroke(mirror(seam) if side else seam, p.ink, 4, (0.1, 0.6))

    lapel = join(
        curve((436, 742), (404, 764), (352, 784), (296, 804)),
        curve((296, 804), (330, 872), (400, 920), (486, 944)),
        curve((500, 934), (462, 858), (440, 800), (436, 742)),
    )
    outer = curve((296, 804), (330, 872), (400, 920), (486, 944))
    for flip in (False, True):
        shape = mirror(lapel) if flip else lapel
        c.fill(shape, p.collar)
        clip = c.mask(shape)
        fold = curve((436, 742), (420, 800), (440, 872), (500, 950), (470, 860), (446, 800))
        c.shade(mirror(fold) if flip else fold, p.collar_shade, clip)
        for offset, w in ((22.0, 7.0), (38.0, 4.0)):
            trim = moved(outer, offset * 0.55, -offset)
            c.paint(p.stripe, _line_mask(c, mirror(trim) if flip else trim, w), clip)
        for edge, w in ((outer, 5.5), (curve((436, 742), (440, 800), (462, 858), (500, 934)), 5)):
            c.stroke(mirror(edge) if flip else edge, p.ink, w, (0.1, 0.1))
        top = curve((436, 742), (404, 764), (352, 784), (296, 804))
        c.stroke(mirror(top) if flip else top, p.ink, 5.5, (0.1, 0.1))

    for flip in (False, True):
        tail = join(
            curve((494, 940), (470, 980), (440, 1040)),
            line((500, 1040)),
            curve((512, 1000), (508, 960)),
        )
        tail = mirror(tail) if flip else tail
        c.fill(tail, p.bow_shade if flip else p.bow)
        c.stroke(tail, p.ink, 4.5, (0.1, 0.1))
        loop = curve((500, 934), (462, 904), (404, 900), (388, 930), (398, 966), (450, 962))
        loop = join(loop, line((500, 946)))
        loop = mirror(loop) if flip else loop
        c.fill(loop, p.bow)
        clip = c.mask(loop)
        crease = curve((500, 940), (450, 944), (398, 966), (440, 972), (500, 960))
        c.shade(mirror(crease) if flip else crease, p.bow_shade, clip)
        c.stroke(loop, p.ink, 5, (0.05, 0.05))
        fold = curve((492, 938), (460, 930), (432, 932))
        c.stroke(mirror(fold) if flip else fold, p.ink, 3.5, (0.1, 0.7))
    knot = curve((482, 926), (500, 920), (518, 926), (522, 948), (514, 964), (486, 964), (478, 948))
    c.fill(knot, p.bow_light)
    c.shade(curve((500, 965), (526, 970), (524, 925), (508, 930), closed=True), p.bow, c.mask(knot))
    c.stroke(join(knot, knot[:1]), p.ink, 5, (0.02, 0.02))
    return c.mask(left, mirror(left), lapel, mirror(lapel))


def _line_mask(c: Canvas, points: Points, width: float) -> Image.Image:
    """A line of even width as a mask."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * (width / 2)
    return c.mask(join(points + normal, (points - normal)[::-1]))


_CHIN = curve(
    (294, 390),
    (296, 480),
    (308, 552),
    (344, 612),
    (400, 663),
    (456, 697),
    (500, 707),
    (544, 697),
    (600, 663),
    (656, 612),
    (692, 552),
    (704, 480),
    (706, 390),
)


def _face(c: Canvas, p: Palette) -> tuple[Image.Image, Points]:
    """The face without its features; returns its mask and its outline."""
    outline = join(_CHIN, curve((706, 390), (500, 180), (294, 390)))
    c.fill(outline, p.skin)
    clip = c.mask(outline)
    side = join(
        curve((700, 440), (672, 520), (650, 590), (600, 650), (520, 708)),
        line((700, 720)),
    )
    c.shade(side, p.skin_shade, clip, 0.6)
    return clip, outline


def _eye(c: Canvas, p: Palette, cx: float, cy: float, size: float, flip: bool) -> None:
    """One eye. Light comes from the upper left, so highlights are not mirrored."""

    def at(points: Points, mirrored: bool = True) -> Points:
        q = points * size
        if flip and mirrored:
            q = q * (-1, 1)
        return moved(q, cx, cy)

    # u runs outward from the nose, v down
    white = join(
        curve((-52, 4), (-44, -28), (-22, -50), (8, -55), (36, -48), (54, -26), (58, 0)),
        curve((57, 10), (50, 34), (32, 52), (4, 58), (-26, 52), (-44, 32), (-52, 4)),
    )
    lid = at(white)
    c.fill(lid, p.eye_white)
    clip = c.mask(lid)
    c.shade(at(ellipse(4, -50, 70, 34)), p.eye_white_shade, clip)

    iris = at(ellipse(3, -1, 43, 58), mirrored=True)
    iris_mask = ImageChops.darker(c.mask(iris), clip)
    c.gradient(iris_mask, p.iris, cy - 44 * size, cy + 56 * size)
    rim = c.mask(iris)
    inner = c.mask(at(ellipse(3, -2, 37, 52)))
    c.paint(p.pupil, ImageChops.subtract(rim, inner), clip, 0.75)
    # light in the lower part of the iris
    c.shade(at(ellipse(3, 31, 25, 18)), p.iris_glow, iris_mask, 0.55)
    c.shade(at(ellipse(3, 38, 17, 9)), (255, 244, 196), iris_mask, 0.8)
    c.shade(at(ellipse(3, 2, 16, 25)), p.pupil, iris_mask)
    c.shade(at(ellipse(3, -46, 52, 27)), p.pupil, iris_mask, 0.72)
    # reflections
    c.shade(at(ellipse(-16, -25, 15, 20, -14), False), (255, 255, 255), iris_mask)
    c.shade(at(ellipse(20, 22, 7, 9), False), (255, 255, 255), iris_mask)
    c.shade(at(ellipse(-22, 14, 4, 5), False), (255, 240, 225), iris_mask)

    lash = join(
        curve((-60, 10), (-52, -26), (-28, -58), (8, -69), (42, -60), (68, -42), (86, -34)),
        curve((86, -34), (72, -20), (63, -4), (58, 14)),
        curve((58, 8), (54, -20), (36, -40), (8, -49), (-22, -43), (-46, -22), (-60, 10)),
    )
    c.fill(at(lash), p.lash)
    c.stroke(at(curve((58, 12), (55, 32), (40, 50), (16, 58))), p.lash, 4.6 * size, (0.1, 0.8))
    c.stroke(at(curve((-30, 55), (-8, 61), (16, 59))), p.skin_ink, 3.2 * size, (0.4, 0.4))


def _features(c: Canvas, p: Palette, face: Image.Image) -> None:
    """Eyes, nose, mouth and blush."""
    for x in (368, 632):
        c.glow(ellipse(x, 606, 66, 36), p.blush, face, 0.75)
        for k in (-20, 0, 20):
            c.stroke(line((x + k + 5, 598), (x + k - 6, 616)), p.blush, 4, (0.4, 0.4))
    c.stroke(curve((503, 590), (508, 598), (500, 604)), p.skin_ink, 5, (0.4, 0.4))
    mouth = join(
        curve((472, 630), (486, 636), (500, 633), (514, 636), (528, 630)),
        curve((528, 630), (520, 652), (500, 662), (480, 652), (472, 630)),
    )
    c.fill(mouth, p.mouth)
    clip = c.mask(mouth)
    c.shade(ellipse(500, 664, 22, 14), (255, 150, 146), clip)
    c.stroke(curve((466, 627), (486, 636), (500, 633), (514, 636), (534, 627)), p.skin_ink, 5)
    c.stroke(curve((474, 636), (482, 652), (500, 661), (518, 652), (526, 636)), p.skin_ink, 3.5)
    c.stroke(curve((490, 674), (500, 677), (510, 674)), p.skin_deep, 3.5)
    _eye(c, p, 398, 522, 1.1, True)
    _eye(c, p, 602, 522, 1.1, False)


def _brows(c: Canvas, p: Palette) -> None:
    """Eyebrows, which show through the hair."""
    brow = curve((352, 416), (376, 396), (408, 390), (442, 400))
    c.stroke(brow, p.brow, 7, (0.6, 0.25))
    c.stroke(mirror(brow), p.brow, 7, (0.6, 0.25))


def _squash(points: Points) -> Points:
    """Lower the top of the head, since the hair was drawn for a taller head."""
    y = points[:, 1]
    return np.stack([points[:, 0], np.where(y < 470, 470 - (470 - y) * 0.88, y)], axis=1)


_BANGS = tuple(
    Lock(_squash(k.left), _squash(k.right))
    for k in (
        _lock(
            [(430, 118), (322, 186), (272, 310), (268, 440), (298, 570)],
            [(500, 140), (390, 225), (338, 340), (324, 455)],
        ),
        _lock(
            [(560, 140), (632, 235), (664, 330), (676, 440), (708, 564)],
            [(606, 118), (704, 196), (738, 310), (736, 430)],
        ),
        _lock(
            [(470, 130), (378, 240), (324, 350), (322, 430), (346, 510)],
            [(520, 140), (440, 245), (402, 350), (384, 440)],
        ),
        _lock(
            [(550, 135), (584, 240), (598, 330), (610, 405), (648, 490)],
            [(570, 135), (632, 235), (666, 330), (670, 420)],
        ),
        _lock(
            [(500, 135), (428, 245), (386, 345), (386, 415), (404, 478)],
            [(535, 140), (496, 250), (470, 350), (444, 430)],
        ),
        _lock(
            [(540, 135), (536, 250), (530, 340), (540, 400), (574, 466)],
            [(556, 140), (586, 245), (602, 335), (600, 405)],
        ),
        _lock(
            [(520, 135), (484, 250), (454, 345), (452, 425), (488, 512)],
            [(548, 140), (552, 250), (544, 350), (522, 436)],
        ),
    )
)

_SIDES = (
    _lock(
        [(290, 320), (262, 440), (250, 570), (250, 700), (312, 850)],
        [(338, 390), (312, 480), (304, 590), (326, 710)],
    ),
    _lock(
        [(664, 390), (690, 480), (696, 590), (690, 710), (734, 856)],
        [(716, 320), (742, 440), (758, 570), (766, 710)],
    ),
)

_CROWN = _squash(
    curve(
        (268, 440),
        (264, 320),
        (312, 200),
        (400, 132),
        (505, 108),
        (610, 132),
        (696, 200),
        (742, 320),
        (738, 440),
    )
)
_CAP = join(_CROWN, curve((680, 380), (500, 330), (330, 380)))


def _halo(start: float, end: float, high: float, low: float) -> Points:
    """A part of the highlight ring on the hair: an arc with teeth along the strands."""
    teeth = max(3, round((end - start) * 22))
    t = np.linspace(start, end, teeth * 12 + 1)
    k = np.linspace(0, teeth, teeth * 12 + 1)
    ease = np.sin(np.pi * (t - start) / (end - start)) ** 0.6
    spike = (1 - np.abs((k % 1.0) * 2 - 1)) ** 1.5
    size = 0.7 + 0.3 * np.sin(np.floor(k) * 2.4 + 1.0)
    angle = np.pi * (0.04 + 0.92 * t)
    arc = np.stack([504 - 216 * np.cos(angle), 366 - 140 * np.sin(angle)], axis=1)
    along = arc - (520, 60)
    along /= np.hypot(*along.T)[:, None]
    top = arc - along * (high * ease * (0.4 + 0.6 * spike * size))[:, None]
    bottom = arc + along * (low * ease * (0.25 + 0.75 * spike * size))[:, None]
    return _squash(join(top, bottom[::-1]))


def _front_hair(c: Canvas, p: Palette) -> None:
    """Cap, bangs and the highlight ring."""
    c.gradient(_CAP, p.hair, 0, 1000)
    for k, lock in enumerate(_BANGS):
        streak = (0.2, 0.32) if k in (0, 4, 6) else None
        _draw_lock(c, lock, p, fade=0.7, start=0.25, shade=(0.68, 1.0), light=streak)
        if k not in (1, 3):
            c.stroke(lock.along(0.46 + 0.03 * (k % 3))[36:54], p.hair_ink, 2.8, (0.6, 0.4))
    clip = c.mask(_CAP, *(lock.outline() for lock in _BANGS))
    for start, end in ((0.04, 0.5), (0.525, 0.66), (0.68, 0.94)):
        c.shade(_halo(start, end, 38, 84), p.hair_light, clip)
        c.shade(_halo(start, end, 20, 54), p.shine, clip)
    for x, y, w in ((398, 196, 3.4), (446, 190, 4.2), (492, 178, 3.4), (560, 184, 4.0)):
        c.stroke(curve((524, 152), ((524 + x) / 2 - 3, 160), (x, y)), p.hair_ink, w, (0.3, 0.7))
    # the ribbon casts a shadow
    c.multiply(p.shadow, c.shifted(_bow_mask(c), -6, 20), clip)
    c.stroke(_CROWN, p.ink, 6.5, (0.1, 0.1))
    ahoge = _lock([(500, 112), (486, 70), (510, 34), (566, 34)], [(528, 114), (512, 78), (526, 52)])
    ahoge = Lock(_squash(ahoge.left), _squash(ahoge.right))
    _draw_lock(c, ahoge, p, width=5, fade=0.1)


_BOW_TAIL = join(
    curve((684, 222), (652, 270), (620, 330)), line((650, 322)), curve((668, 344), (696, 230))
)
_BOW_LOOP = join(
    curve((690, 216), (640, 166), (590, 150), (568, 178), (570, 236), (592, 258)),
    curve((592, 258), (640, 252), (690, 222)),
)
_BOW_PLACE = rotation(24, 690, 216) + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 24.0]])


def _bow_mask(c: Canvas) -> Image.Image:
    """The mask of the ribbon."""
    save, c.transform = c.transform, compose(c.transform, _BOW_PLACE)
    shapes = (_BOW_TAIL, _BOW_LOOP)
    mask = c.mask(*shapes, *(mirror(s, 690) for s in shapes))
    c.transform = save
    return mask


def _bow(c: Canvas, p: Palette) -> None:
    """A large ribbon at the side of the head."""
    save, c.transform = c.transform, compose(c.transform, _BOW_PLACE)
    for flip in (False, True):

        def f(points: Points, flip: bool = flip) -> Points:
            return mirror(points, 690) if flip else points

        c.fill(f(_BOW_TAIL), p.bow_shade if flip else p.bow)
        c.stroke(f(_BOW_TAIL), p.ink, 5, (0.05, 0.05))
        loop = f(_BOW_LOOP)
        c.fill(loop, p.bow)
        clip = c.mask(loop)
        low = curve((690, 222), (630, 226), (566, 214), (580, 270), (640, 262))
        c.shade(f(low), p.bow_shade, clip)
        gleam = curve((600, 164), (630, 178), (652, 196), (620, 190), (594, 184), closed=True)
        c.shade(f(gleam), p.bow_light, clip)
        c.stroke(loop, p.ink, 5.5, (0.04, 0.04))
        c.stroke(f(curve((682, 216), (654, 204), (630, 200))), p.ink, 4, (0.1, 0.8))
        c.stroke(f(curve((682, 224), (656, 230), (638, 238))), p.ink, 4, (0.1, 0.8))
    knot = curve((670, 202), (690, 196), (710, 202), (714, 222), (708, 240), (672, 240), (666, 222))
    c.fill(knot, p.bow)
    c.shade(ellipse(684, 212, 10, 7), p.bow_light, c.mask(knot))
    c.stroke(join(knot, knot[:1]), p.ink, 5.5, (0.02, 0.02))
    c.transform = save


def _portrait(c: Canvas, p: Palette) -> None:
    """Head and shoulders, in a square of 1000 units of the current transform."""
    base = c.transform
    upright = compose(base, scaling(1.06, 500, 1000))
    tilt = compose(upright, rotation(-4, 500, 760))
    c.transform = tilt
    _back_hair(c, p)
    c.transform = upright
    clothes = _body(c, p)
    c.transform = tilt
    sides = c.mask(*(lock.outline() for lock in _SIDES))
    c.multiply(p.shadow, c.shifted(sides, 14, 18), clothes)
    face, _ = _face(c, p)
    # hair over the face casts a shadow
    hair = c.mask(*(lock.outline() for lock in (*_BANGS, *_SIDES)))
    c.paint(p.skin_shade, c.shifted(hair, 6, 20), face)
    _features(c, p, face)
    c.stroke(_CHIN, p.skin_ink, 5.5, (0.2, 0.2))
    for lock in _SIDES:
        _draw_lock(c, lock, p, width=5.5, fade=0.3)
        shadow = c.shifted(c.mask(*(k.outline() for k in _BANGS)), 4, 34)
        c.gradient(ImageChops.darker(shadow, c.mask(lock.outline())), p.hair_shade, 0, 1000)
        c.stroke(lock.along(0.4)[28:50], p.hair_ink, 3.0, (0.5, 0.4))
        for edge in (lock.left, lock.right):
            c.stroke(edge, p.ink, 5.5, (0.3, 0.12))
    _front_hair(c, p)
    _brows(c, p)
    _bow(c, p)
    c.transform = base


@_drawn_once
def anime_face(width: int, height: int | None = None, *, supersample: int = 4) -> Image.Image:
    """A girl in a sailor uniform, centered, as high as the picture."""
    height = width if height is None else height
    scale = height / 1000
    c = Canvas(
        width,
        height,
        supersample=supersample,
        scale=scale,
        origin=(width / 2 - 500 * scale, 0.0),
    )
    reach = width / 2 / scale
    _background(c, COLORS, 500 - reach - 5, 500 + reach + 5)
    _portrait(c, COLORS)
    return c.reduced()


# --- the manga page --------------------------------------------------------------------------


def _gray(v: int) -> Color:
    return (v, v, v)


_BLACK, _WHITE = _gray(0), _gray(255)


def _flat(v: int) -> Stops:
    return ((0.0, _gray(v)), (1.0, _gray(v)))


MONO = Palette(
    ink=_BLACK,
    skin_ink=_BLACK,
    skin=_WHITE,
    skin_shade=_gray(206),
    skin_deep=_gray(150),
    blush=_gray(170),
    hair=_flat(255),
    hair_light=_WHITE,
    hair_shade=_flat(176),
    shadow=_gray(190),
    hair_ink=_BLACK,
    hair_dark=_BLACK,
    hair_deep=_gray(96),
    shine=_WHITE,
    cloth=_WHITE,
    cloth_shade=_gray(200),
    collar=_BLACK,
    collar_shade=_BLACK,
    stripe=_WHITE,
    bow=_gray(140),
    bow_light=_gray(224),
    bow_shade=_BLACK,
    brow=_BLACK,
    lash=_BLACK,
    eye_white=_WHITE,
    eye_white_shade=_gray(190),
    iris=((0.0, _BLACK), (0.45, _gray(90)), (0.8, _gray(190)), (1.0, _WHITE)),
    iris_glow=_gray(220),
    pupil=_BLACK,
    mouth=_gray(120),
)


def _screentone(gray: NDArray[np.uint8], pitch: float) -> NDArray[np.uint8]:
    """Grays as dots on a rotated grid, `pitch` pixels apart; black and white stay unchanged."""
    h, w = gray.shape
    y, x = np.arange(h, dtype=np.float32)[:, None], np.arange(w, dtype=np.float32)[None, :]
    f = np.float32(np.pi / pitch * np.sqrt(2))
    level = 0.5 + 0.25 * (np.cos((x + y) * f) + np.cos((x - y) * f))
    dots = np.where(level * 255 > 255 - gray.astype(np.float32), 255, 0)
    # keep dots away from flat ink and paper
    return np.where(gray < 24, 0, np.where(gray > 244, 255, dots)).astype(np.uint8)


def _wave(k: int) -> float:
    """A fixed sequence in 0..1 that looks irregular."""
    return float((k * 0.6180339887 + 0.13 * (k % 7)) % 1.0)


def _focus_lines(c: Canvas, cx: float, cy: float, inner: float, count: int) -> None:
    """Wedges that point at a focus."""
    for k in range(count):
        a = 2 * np.pi * (k + 0.7 * _wave(k)) / count
        r = inner * (1 + 0.35 * _wave(k * 3 + 1))
        wide = 0.004 + 0.012 * _wave(k * 5 + 2)
        far = [(cx + 1800 * np.cos(a + s), cy + 1800 * np.sin(a + s)) for s in (-wide, wide)]
        c.fill(line((cx + r * np.cos(a), cy + r * np.sin(a)), *far), _BLACK)


def _speed_lines(c: Canvas, left: float, right: float, top: float, bottom: float) -> None:
    """Horizontal strokes that taper."""
    for k in range(46):
        y = top + (bottom - top) * (k + _wave(k)) / 46
        length = (right - left) * (0.3 + 0.6 * _wave(k * 2 + 1))
        if k % 2:
            p = line((left, y), (left + length, y))
            c.ribbon(p, _BLACK, 2 + 5 * _wave(k + 9), (0.0, 1.0), 0.05)
        else:
            p = line((right - length, y), (right, y))
            c.ribbon(p, _BLACK, 2 + 5 * _wave(k + 9), (1.0, 0.0), 0.05)


def _lettering(c: Canvas, cx: float, cy: float, columns: int, tall: float) -> None:
    """Vertical columns of squiggles that represent text."""
    rows = max(1, int(tall / 28))
    for k in range(columns):
        x = cx + (columns - 1) * 15 - 30 * k
        for j in range(rows - (1 + k % 2 if k == columns - 1 else 0)):
            y = cy + 28 * (j - (rows - 1) / 2)
            a, b = _wave(7 * k + 3 * j), _wave(5 * k + 11 * j + 3)
            kind = (k * 3 + j * 5 + k * j) % 5
            if kind in (0, 3):
                c.stroke(
                    curve((x - 9, y - 6), (x + 8, y - 8 + 3 * b), (x - 7 * a, y + 9)), _BLACK, 4
                )
            if kind in (0, 1, 4):
                c.stroke(line((x - 9, y - 3 + 4 * b), (x + 9, y - 4 - 2 * a)), _BLACK, 3.8)
            if kind in (1, 2):
                c.stroke(curve((x + 3, y - 10), (x + 2 * b, y + 2), (x - 8, y + 10)), _BLACK, 4)
            if kind in (2, 4):
                loop = ellipse(x + 1, y + 3, 4 + 3 * a, 4 + 2 * b)
                c.stroke(loop, _BLACK, 3.4, (0.2, 0.2))
            if kind == 3:
                c.stroke(line((x - 5, y + 1), (x + 8, y + 9)), _BLACK, 3.6)


def _bubble(
    c: Canvas, cx: float, cy: float, rx: float, ry: float, tail: Point, columns: int
) -> None:
    """A speech bubble with tail and text."""
    angle = np.arctan2((tail[1] - cy) / ry, (tail[0] - cx) / rx)
    foot = [(cx + rx * np.cos(angle + s), cy + ry * np.sin(angle + s)) for s in (-0.2, 0.2)]
    body, spike = ellipse(cx, cy, rx, ry), line(*foot, tail)
    c.stroke(join(body, body[:1]), _BLACK, 8, (0.0, 0.0))
    c.stroke(line(foot[0], tail, foot[1]), _BLACK, 8, (0.0, 0.0))
    c.fill(body, _WHITE)
    c.fill(spike, _WHITE)
    _lettering(c, cx, cy, columns, ry * 1.25)


def _burst(c: Canvas, cx: float, cy: float, rx: float, ry: float, columns: int) -> None:
    """A spiky bubble for shouting."""
    n = 34
    a = 2 * np.pi * np.arange(n) / n
    r = np.where(np.arange(n) % 2, 1.0, [1.22 + 0.25 * _wave(k) for k in range(n)])
    shape = np.stack([cx + rx * r * np.cos(a), cy + ry * r * np.sin(a)], axis=1)
    c.fill(shape, _WHITE)
    c.stroke(join(shape, shape[:1]), _BLACK, 5.5, (0.0, 0.0))
    _lettering(c, cx, cy, columns, ry * 1.2)


@_drawn_once
def manga_page(width: int, height: int, *, supersample: int = 4) -> Image.Image:
    """A black and white page (mode L): panels, ink, speed lines, screentone dots and bubbles."""
    if width < 1 or height < 1:
        raise ValueError("width and height must be at least 1")
    tall = 1000 * height / width
    k = tall / 1414

    def canvas() -> Canvas:
        return Canvas(width, height, supersample=supersample, scale=width / 1000)

    def place(scale: float, x: float, y: float) -> Points:
        """The transform that places a drawing of 1000 units at (x, y) on the page."""
        return np.array([[scale, 0.0, x], [0.0, scale, y * k]])

    page = canvas()

    def panel(art: Canvas, *corners: Point) -> None:
        shape = line(*((x, y * k) for x, y in corners))
        page.image.paste(art.image, (0, 0), page.mask(shape))
        page.stroke(join(shape, shape[:1]), _BLACK, 7, (0.0, 0.0))

    art = canvas()
    _focus_lines(art, 640, 330 * k, 330, 150)
    art.transform = place(0.66, 300, -10)
    _portrait(art, MONO)
    art.transform = IDENTITY
    _bubble(art, 190, 210 * k, 115, 150 * min(k, 1.0), (350, 330 * k), 4)
    panel(art, (40, 40), (960, 40), (960, 520), (40, 610))

    art = canvas()
    art.gradient(
        line((0, 600 * k), (600, 600 * k), (600, 1010 * k), (0, 1010 * k)),
        ((0.0, _gray(110)), (1.0, _gray(250))),
        620 * k,
        1000 * k,
    )
    art.transform = place(1.7, -770, -80)
    _portrait(art, MONO)
    art.transform = IDENTITY
    panel(art, (40, 634), (520, 587), (470, 960), (40, 960))

    art = canvas()
    _speed_lines(art, 480, 970, 560 * k, 980 * k)
    art.transform = place(3.7, 490, 592)
    _chibi(art, CHIBI_MONO)
    art.transform = IDENTITY
    _burst(art, 866, 672 * k, 58, 66, 3)
    panel(art, (546, 584), (960, 543), (960, 960), (496, 960))

    art = canvas()
    sky = line((0, 960 * k), (1000, 960 * k), (1000, 1400 * k), (0, 1400 * k))
    art.gradient(sky, ((0.0, _gray(70)), (1.0, _gray(250))), 980 * k, 1260 * k)
    art.fill(ellipse(760, 1085 * k, 58, 58), _WHITE)
    for j in range(13):
        x, h = 30 + 76 * j, 60 + 150 * _wave(j * 3 + 2)
        far = line((x, 1400 * k), (x, (1300 - h) * k), (x + 70, (1300 - h) * k), (x + 70, 1400 * k))
        art.fill(far, _gray(190) if j % 2 else _WHITE)
        art.stroke(join(far, far[:1]), _BLACK, 4, (0.0, 0.0))
        for m in range(2, int(h / 24)):
            for n in (14, 42):
                y = (1300 - h + 24 * m - 24) * k
                art.fill(
                    line((x + n, y), (x + n + 14, y), (x + n + 14, y + 12), (x + n, y + 12)), _BLACK
                )
    hill = curve((0, 1330 * k), (260, 1270 * k), (520, 1320 * k), (800, 1290 * k), (1000, 1330 * k))
    art.fill(join(hill, line((1000, 1420 * k), (0, 1420 * k))), _BLACK)
    _bubble(art, 250, 1090 * k, 130, 84 * min(k, 1.0), (400, 1230 * k), 5)
    panel(art, (40, 984), (960, 984), (960, 1374), (40, 1374))

    gray = np.asarray(page.image.convert("L"))
    toned = _screentone(gray, 7.5 * page.scale)
    return Image.fromarray(toned).reduce(supersample)


# --- the sprite ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChibiPalette:
    """The colors of the little figure."""

    ink: Color = (44, 32, 66)
    skin: Color = (255, 228, 212)
    skin_shade: Color = (244, 186, 174)
    hair: Color = (150, 168, 240)
    hair_shade: Color = (108, 112, 202)
    shine: Color = (232, 240, 255)
    cloth: Color = (250, 250, 255)
    cloth_shade: Color = (206, 208, 232)
    skirt: Color = (54, 66, 126)
    skirt_shade: Color = (38, 44, 92)
    bow: Color = (238, 76, 92)
    eye: Color = (150, 44, 60)
    eye_glow: Color = (255, 190, 100)
    shoe: Color = (112, 70, 62)


CHIBI_MONO = ChibiPalette(
    ink=_BLACK,
    skin=_WHITE,
    skin_shade=_gray(206),
    hair=_WHITE,
    hair_shade=_gray(170),
    shine=_WHITE,
    cloth=_WHITE,
    cloth_shade=_gray(200),
    skirt=_gray(90),
    skirt_shade=_BLACK,
    bow=_gray(140),
    eye=_BLACK,
    eye_glow=_gray(170),
    shoe=_BLACK,
)


def _chibi(c: Canvas, p: ChibiPalette) -> None:
    """A running figure with a large head, in a square of 100 units."""

    def part(
        shape: Points,
        color: Color,
        width: float = 2.2,
        dark: Points | None = None,
        dark_color: Color = (0, 0, 0),
    ) -> Image.Image:
        c.fill(shape, color)
        mask = c.mask(shape)
        if dark is not None:
            c.shade(dark, dark_color, mask)
        c.stroke(join(shape, shape[:1]), p.ink, width, (0.0, 0.0))
        return mask

    tail = curve((30, 34), (16, 46), (12, 62), (4, 70), (18, 72), (28, 64), (36, 50), closed=True)
    part(tail, p.hair, 2.2, moved(tail, 6, 5), p.hair_shade)
    tail = curve((68, 34), (82, 46), (86, 60), (95, 66), (84, 72), (72, 64), (64, 50), closed=True)
    part(tail, p.hair, 2.2, moved(tail, 3, 6), p.hair_shade)
    for shape, foot in (
        (
            line((41, 76), (49, 76), (48, 90), (41, 90)),
            curve((38, 90), (49, 89), (50, 96), (36, 96)),
        ),
        (
            line((52, 76), (60, 76), (60, 88), (53, 88)),
            curve((51, 88), (62, 87), (65, 94), (51, 95)),
        ),
    ):
        part(shape, p.skin)
        part(foot, p.shoe)
    for arm in (
        curve((38, 62), (29, 67), (25, 73), (30, 76), (40, 70), closed=True),
        curve((62, 62), (71, 60), (77, 55), (80, 60), (72, 67), (62, 70), closed=True),
    ):
        part(arm, p.skin)
    part(curve((38, 60), (32, 66), (36, 70), (42, 68), closed=True), p.cloth)
    part(curve((62, 60), (69, 62), (68, 68), (60, 69), closed=True), p.cloth)
    fold = line((52, 58), (61, 58), (62, 72), (54, 72))
    part(line((39, 58), (61, 58), (62, 72), (38, 72)), p.cloth, 2.2, fold, p.cloth_shade)
    skirt = line((38, 70), (62, 70), (68, 82), (59, 84), (50, 83), (41, 84), (32, 82))
    fold = line((53, 70), (62, 70), (68, 82), (58, 85))
    part(skirt, p.skirt, 2.2, fold, p.skirt_shade)
    part(line((39, 58), (50, 67), (61, 58), (57, 56), (43, 56)), p.skirt, 1.8)
    part(line((50, 65), (42, 62), (42, 70), (50, 66), (58, 70), (58, 62)), p.bow, 1.6)

    part(ellipse(50, 32, 29, 27), p.hair)
    face = curve((24, 34), (26, 46), (36, 55), (50, 58), (64, 55), (74, 46), (76, 34), (50, 20))
    clip = part(face, p.skin)
    fringe = (
        (75, 46, 68, 33),
        (66, 38, 60, 30),
        (55, 38, 49, 29),
        (43, 38, 38, 30),
        (33, 39, 30, 34),
        (25, 46, 22, 40),
    )
    bangs = curve((22, 40), (21, 22), (34, 8), (50, 5), (66, 8), (79, 22), (78, 40))
    valley = (78.0, 40.0)
    for tip_x, tip_y, x, y in fringe:
        bangs = join(
            bangs,
            curve(
                valley, ((valley[0] + tip_x) / 2 + 1.5, (valley[1] + tip_y) / 2 + 1), (tip_x, tip_y)
            ),
            curve((tip_x, tip_y), ((tip_x + x) / 2 - 0.5, (tip_y + y) / 2 + 1), (x, y)),
        )
        valley = (x, y)
    keep = np.concatenate([[True], np.any(np.diff(bangs, axis=0) != 0, axis=1)])
    bangs = bangs[keep]
    c.paint(p.skin_shade, c.shifted(c.mask(bangs), 0.5, 3), clip)
    for x in (39, 61):
        c.fill(ellipse(x, 43.5, 4.8, 6.4), p.ink)
        eye = ellipse(x, 44.2, 3.7, 5.2)
        c.fill(eye, p.eye)
        c.shade(ellipse(x, 47.6, 3, 2.6), p.eye_glow, c.mask(eye))
        c.fill(ellipse(x - 1.5, 41.4, 1.7, 2.1), (255, 255, 255))
        c.fill(ellipse(x + 1.6, 46.2, 0.9, 1.1), (255, 255, 255))
        c.fill(ellipse(x + (-6 if x < 50 else 6), 50.4, 2.6, 1.4), p.skin_shade)
    c.stroke(curve((47, 51), (50, 53), (53, 51)), p.ink, 1.4)
    side = join(curve((80, 44), (72, 30), (70, 16), (60, 8)), line((84, 8)))
    clip = part(bangs, p.hair, 2.2, side, p.hair_shade)
    c.shade(curve((30, 22), (40, 16), (54, 15), (46, 18), (38, 22), (33, 27)), p.shine, clip)
    for x, y, x1 in ((38, 30, 44), (49, 29, 51), (60, 30, 57)):
        c.stroke(curve((x, y), ((x + x1) / 2, 22), (x1, 14)), p.ink, 1.6, (0.0, 0.9))
    bow = join(curve((72, 12), (60, 4), (58, 16)), curve((72, 12), (86, 20), (88, 6)))
    part(bow, p.bow, 1.8)
    part(ellipse(72, 11.5, 3, 3), p.bow, 1.6)


@_drawn_once
def sprite(size: int, *, junk: Color = (255, 0, 255), supersample: int = 8) -> Image.Image:
    """A small figure (RGBA) with soft edges; `junk` is the color of transparent pixels."""
    c = Canvas(size, size, supersample=supersample, scale=size / 100, detail=0.8)
    _chibi(c, ChibiPalette())
    return c.reduced_rgba(junk)


# --- the painted scene -----------------------------------------------------------------------


@_drawn_once
def painted_scene(width: int, height: int, *, supersample: int = 2) -> Image.Image:
    """Evening sky, clouds and hills in soft gradients, with no ink and no noise."""
    scale = height / 1000
    c = Canvas(
        width,
        height,
        supersample=supersample,
        scale=scale,
        origin=(width / 2 - 500 * scale, 0.0),
    )
    reach = max(500.0, width / 2 / scale) + 60
    left, right = 500 - reach, 500 + reach

    def soft(mask: Image.Image, radius: float) -> Image.Image:
        return mask.filter(ImageFilter.GaussianBlur(radius * c.scale))

    sky = (
        (0.0, (62, 104, 186)),
        (0.4, (132, 168, 222)),
        (0.75, (250, 208, 190)),
        (1.0, (255, 232, 190)),
    )
    c.gradient(line((left, -10), (right, -10), (right, 1010), (left, 1010)), sky, 0, 640)
    c.glow(ellipse(660, 520, 520, 420), (255, 236, 180), opacity=0.9)
    c.glow(ellipse(660, 520, 150, 150), (255, 250, 226))

    white = ((0.0, (255, 252, 246)), (0.55, (250, 222, 214)), (1.0, (190, 178, 212)))
    span = 1100.0
    for copy in range(int(np.floor(left / span)), int(np.ceil(right / span)) + 1):
        for cx, cy, size in ((180, 300, 1.0), (640, 180, 0.7), (930, 360, 0.8), (420, 430, 0.45)):
            x0 = cx + copy * span
            puffs = [
                ellipse(
                    x0 + size * (k * 34 - 150),
                    cy - size * 62 * np.sin(np.pi * (k + 0.5) / 9) * (0.6 + 0.4 * _wave(k + cx)),
                    size * (44 + 26 * _wave(k * 3 + 1)),
                    size * (34 + 22 * _wave(k * 5 + 2)),
                )
                for k in range(9)
            ]
            base = ellipse(x0 - 10 * size, cy + 8 * size, 200 * size, 26 * size)
            mask = soft(c.mask(base, *puffs), 3.5 * size)
            c.gradient(mask, white, cy - 110 * size, cy + 40 * size)
            gleam = soft(c.mask(*(moved(q, -10 * size, -12 * size) for q in puffs[2:7])), 9 * size)
            c.paint((255, 255, 252), gleam, mask, 0.55)

    layers: tuple[tuple[float, float, float, Color, Color], ...] = (
        (590, 46, 0.0061, (150, 168, 206), (206, 196, 206)),
        (660, 54, 0.0043, (112, 150, 168), (176, 190, 168)),
        (740, 40, 0.0069, (92, 146, 120), (158, 186, 112)),
        (840, 36, 0.0052, (66, 124, 84), (126, 172, 78)),
    )
    for k, (level, swell, pace, top, bottom) in enumerate(layers):
        x = np.linspace(left, right, 400)
        y = level + swell * (np.sin(x * pace + k * 1.7) + 0.4 * np.sin(x * pace * 2.3 + k))
        edge = np.stack([x, y], axis=1)
        mask = soft(c.mask(join(edge, line((right, 1010), (left, 1010)))), 2.5 - 0.4 * k)
        c.gradient(mask, ((0.0, top), (1.0, bottom)), level - swell, level + 190)
        sunny = soft(c.mask(join(moved(edge, 0, 6), moved(edge, 0, 22)[::-1])), 8)
        c.paint((255, 236, 176), sunny, mask, 0.35)
        if k < 2:
            continue
        step = 300 - 60 * k
        for j in range(int(np.floor(left / step)), int(np.ceil(right / step))):
            tx = (j + 0.8 * _wave(abs(j) * 3 + k)) * step
            ty = float(np.interp(tx, x, y)) + 14
            size = (0.5 + 0.3 * _wave(abs(j) + 5)) * (0.7 + 0.25 * (k - 1))
            _tree(c, soft, tx, ty, size)
    return c.reduced()


def _tree(
    c: Canvas, soft: Callable[[Image.Image, float], Image.Image], x: float, y: float, size: float
) -> None:
    """A round tree with a lit side."""
    trunk = line((-7, 0), (-4, -60), (4, -60), (8, 0)) * size + np.array([x, y])
    c.paint((92, 74, 78), soft(c.mask(trunk), 1.5))
    balls = ((0, -96, 52), (-36, -76, 36), (36, -74, 38), (-14, -128, 34), (20, -122, 36))
    crown = [ellipse(x + a * size, y + b * size, r * size, r * size) for a, b, r in balls]
    mask = soft(c.mask(*crown), 1.2)
    c.gradient(mask, ((0.0, (104, 168, 92)), (1.0, (38, 92, 84))), y - 160 * size, y - 40 * size)
    lit = [
        ellipse(x + (a + 9) * size, y + (b - 12) * size, r * 0.62 * size, r * 0.55 * size)
        for a, b, r in balls
    ]
    c.paint((206, 214, 120), soft(c.mask(*lit), 5 * size), mask, 0.6)


# --- small helpers ---------------------------------------------------------------------------


def gradient(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A smooth ramp in both directions, in mode L, LA, RGB, RGBA, I;16 (16 bit) or F (0 to 1)."""
    if width < 1 or height < 1:
        raise ValueError("width and height must be at least 1")
    u = np.broadcast_to((np.arange(width) + 0.5) / width, (height, width))
    v = np.broadcast_to(((np.arange(height) + 0.5) / height)[:, None], (height, width))
    mean = (u + v) / 2
    if mode == "F":
        return Image.fromarray(mean.astype(np.float32))
    if mode == "I;16":
        return Image.fromarray(np.floor(mean * 65535 + 0.5).astype(np.uint16))
    planes = {
        "L": [mean],
        "LA": [mean, 1 - u],
        "RGB": [u, v, 1 - mean],
        "RGBA": [u, v, 1 - mean, 1 - u],
    }
    if mode not in planes:
        raise ValueError(f"no gradient in mode {mode}")
    bands = [Image.fromarray(np.floor(x * 255 + 0.5).astype(np.uint8)) for x in planes[mode]]
    return bands[0] if mode == "L" else Image.merge(mode, bands)


def checker(width: int, height: int, cell: int = 1) -> Image.Image:
    """Black and white cells (mode L) with the sharpest possible edges."""
    y, x = np.mgrid[:height, :width] // cell
    return Image.fromarray(((x + y) % 2 * 255).astype(np.uint8))


def main(out: Path) -> None:
    """Write every picture into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    anime_face(512).save(out / "anime_face.png")
    manga_page(724, 1024).save(out / "manga_page.png")
    sprite(64).save(out / "sprite.png")
    sprite(256).save(out / "sprite_large.png")
    painted_scene(768, 512).save(out / "painted_scene.png")
    gradient(256, 256).save(out / "gradient.png")
    checker(64, 64, 8).save(out / "checker.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/helpers/art.py OUTDIR")
    main(Path(sys.argv[1]))
