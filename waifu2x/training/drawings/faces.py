"""Flat-shaded anime faces: outlines of 1 to 3 pixels, cel shadows, eyes with gradients, hair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import svg
from .canvas import (
    Color,
    Picture,
    Points,
    bezier,
    drawn,
    element,
    ellipse,
    hexed,
    hsl,
    ink,
    levels,
    linear_gradient,
    over,
    palette,
    placed,
    ramp,
    shade,
    shaded,
    smooth_path,
    soft_field,
    tapered,
)
from .strokes import strand_bundle


@dataclass(frozen=True)
class Look:
    """Colors and proportions of a figure. Lengths are shares of half the head's width."""

    skin: Color
    hair: Color
    eye: Color
    clothes: Color
    trim: Color
    line: Color
    line_width: float
    soft: float
    gradient: bool
    monochrome: bool
    chin: float
    eye_width: float
    eye_height: float
    turn: float


def random_look(rng: np.random.Generator, line_width: float, monochrome: bool = False) -> Look:
    """Colors of a figure, with lines of ``line_width`` pixels."""
    if rng.random() < 0.8:
        skin = hsl(
            float(rng.uniform(0.03, 0.09)), float(rng.uniform(0.5, 0.95)),
            float(rng.uniform(0.8, 0.94)),
        )  # fmt: skip
    else:
        skin = hsl(
            float(rng.uniform(0.03, 0.08)), float(rng.uniform(0.3, 0.6)),
            float(rng.uniform(0.35, 0.7)),
        )  # fmt: skip
    natural = rng.random() < 0.45
    hair = hsl(
        float(rng.uniform(0.02, 0.13) if natural else rng.random()),
        float(rng.uniform(0.05, 0.7)),
        float(rng.choice([0.12, 0.2, 0.35, 0.5, 0.65, 0.8])) + float(rng.normal(0, 0.04)),
    )
    colors = palette(rng, 5)
    line = ink(rng)
    look = Look(
        skin=skin,
        hair=hair,
        eye=hsl(float(rng.random()), float(rng.uniform(0.4, 0.9)), float(rng.uniform(0.3, 0.55))),
        clothes=colors[int(rng.integers(1, 5))],
        trim=colors[int(rng.integers(0, 5))],
        line=line,
        line_width=line_width,
        soft=float(rng.choice([0, 0, 0, 1.5, 4])),
        gradient=bool(rng.random() < 0.6),
        monochrome=False,
        chin=float(rng.uniform(1.05, 1.35)),
        eye_width=float(rng.uniform(0.3, 0.42)),
        eye_height=float(rng.uniform(0.32, 0.62)),
        turn=float(rng.normal(0, 0.08)),
    )
    if not monochrome:
        return look
    white, black = (255, 255, 255), (0, 0, 0)
    hair_gray = black if rng.random() < 0.4 else white
    gray = int(rng.integers(90, 220))
    return Look(
        skin=white, hair=hair_gray, eye=(60, 60, 60), clothes=(gray, gray, gray), trim=white,
        line=black, line_width=line_width, soft=0, gradient=False, monochrome=True,
        chin=look.chin, eye_width=look.eye_width, eye_height=look.eye_height, turn=look.turn,
    )  # fmt: skip


class _Pen:
    """Places shapes given in shares of half the head's width around the middle of the head."""

    def __init__(self, center: Points, unit: float, look: Look, key: str) -> None:
        self.center, self.unit, self.look, self.key = center, unit, look, key
        self.parts: list[str] = []
        self.definitions: list[str] = []

    def at(self, points: object) -> Points:
        placed: Points = np.asarray(points, np.float64) * self.unit + self.center
        return placed

    def fill(self, data: str, fill: str, line: float = 0.0, **more: object) -> None:
        if line:
            more |= {
                "stroke": hexed(self.look.line),
                "stroke_width": f"{self.look.line_width * line:.2f}",
                "stroke_linejoin": "round",
            }
        self.parts.append(element(data, fill, **more))

    def gradient(self, name: str, colors: list[Color], along_y: bool = True) -> str:
        self.definitions.append(linear_gradient(f"{self.key}{name}", colors, along_y))
        return f"url(#{self.key}{name})"

    def stroke(self, points: Points, width: float, color: Color | None = None) -> None:
        data = tapered(points, max(0.7, self.look.line_width * width), 0.1, 0.1)
        self.parts.append(element(data, hexed(color or self.look.line)))


def figure(
    rng: np.random.Generator, center: Points, unit: float, look: Look, key: str = "f"
) -> list[str]:
    """A head with hair, neck and shoulders, as SVG elements.

    center: the middle of the head. unit: half the head's width in pixels. key: begins the names of
    gradients, unique within one SVG.
    """
    pen = _Pen(center, unit, look, key)
    if look.soft:
        pen.definitions.append(
            f'<filter id="{key}blur"><feGaussianBlur stdDeviation="{look.soft:.1f}"/></filter>'
        )
    style = int(rng.integers(4))
    _back_hair(rng, pen, style)
    _body(rng, pen)
    _head(rng, pen)
    gaze = float(rng.normal(0, 0.03))
    mood = float(rng.normal(0, 0.25))
    closed = rng.random() < 0.1
    for side in (-1.0, 1.0):
        middle = np.array([side * 0.46 + look.turn, 0.18])
        if closed:
            _closed_eye(pen, middle, side)
        else:
            eye(rng, pen, middle, side, gaze)
        _brow(pen, middle, side, mood)
    _nose_and_mouth(rng, pen)
    _front_hair(rng, pen)
    return ["<defs>", *pen.definitions, "</defs>", *pen.parts]


def _hair_fill(rng: np.random.Generator, pen: _Pen, name: str, dark: float = 0.0) -> str:
    look = pen.look
    base = shaded(look.hair, dark, (0, 0, 0) if look.monochrome else (40, 20, 70))
    if not look.gradient or look.monochrome:
        return hexed(base)
    light = shaded(base, 0.25, (255, 245, 235))
    low = shaded(base, 0.25, (60, 20, 90))
    choices = [[base, light, base, low], [low, base, light], [light, base, low], [base, base, low]]
    return pen.gradient(name, choices[int(rng.integers(len(choices)))])


def _back_hair(rng: np.random.Generator, pen: _Pen, style: int) -> None:
    length = float([0.9, 1.6, 2.6, 3.6][style] + rng.normal(0, 0.15))
    wide = float(rng.uniform(1.2, 1.6))
    left = np.array(
        [[-0.6, -1.35], [-wide * 0.95, -0.7], [-wide, 0.3], [-wide * 1.05, length * 0.7]]
    )
    tips = []
    count = int(rng.integers(5, 12))
    for index, share in enumerate(np.linspace(-1, 1, count)):
        drop = length + (0.28 if index % 2 else -0.1) + float(rng.normal(0, 0.08))
        tips.append([share * wide * 1.02, drop])
    right = left[::-1] * [-1, 1]
    points = np.concatenate([left, np.array(tips), right])
    pen.fill(smooth_path(pen.at(points)), _hair_fill(rng, pen, "bh", 0.25), 1.0)
    for _ in range(int(rng.integers(3, 14))):
        x = float(rng.uniform(-wide, wide))
        curve = bezier(
            np.array([x * 0.8, -0.6]), np.array([x * 1.1, length * 0.4]),
            np.array([x, length * float(rng.uniform(0.7, 1))]), 16,
        )  # fmt: skip
        pen.stroke(pen.at(curve), float(rng.uniform(0.4, 1)), _strand_color(rng, pen.look))


def _strand_color(rng: np.random.Generator, look: Look) -> Color:
    if look.monochrome:
        return (255, 255, 255) if sum(look.hair) < 380 else (0, 0, 0)
    if rng.random() < 0.3:
        return shaded(look.hair, 0.4, (255, 250, 240))
    return shaded(look.hair, 0.55, look.line)


def _body(rng: np.random.Generator, pen: _Pen) -> None:
    look = pen.look
    chin = look.chin
    shade = hexed(shaded(look.skin, 0.25, (180, 70, 90))) if not look.monochrome else "#ffffff"
    neck = [[-0.3, chin - 0.35], [-0.3, chin + 0.35], [-0.45, chin + 0.6], [0.45, chin + 0.6],
            [0.3, chin + 0.35], [0.3, chin - 0.35]]  # fmt: skip
    pen.fill(smooth_path(pen.at(neck)), hexed(look.skin), 1.0)
    under = [[-0.3, chin - 0.3], [-0.28, chin + 0.12], [0.05, chin + 0.25], [0.3, chin - 0.05],
             [0.3, chin - 0.35]]  # fmt: skip
    pen.fill(smooth_path(pen.at(under)), shade)
    base = chin + 0.42
    shoulders = [[-0.42, base], [-1.2, base + 0.3], [-1.75, base + 0.75], [-1.85, base + 2.0],
                 [-1.6, base + 9], [1.6, base + 9], [1.85, base + 2.0],
                 [1.75, base + 0.75], [1.2, base + 0.3], [0.42, base],
                 [0.0, base + 0.35]]  # fmt: skip
    cloth = hexed(look.clothes)
    if look.gradient and not look.monochrome:
        cloth = pen.gradient("cl", [look.clothes, shaded(look.clothes, 0.25)])
    pen.fill(smooth_path(pen.at(shoulders)), cloth, 1.0)
    if rng.random() < 0.3:
        pen.fill(smooth_path(pen.at(shoulders)), _weave(rng, pen), 1.0)
    darker = hexed(shaded(look.clothes, 0.3, (0, 0, 0) if look.monochrome else (40, 20, 70)))
    for _ in range(int(rng.integers(2, 7))):
        x, y = float(rng.uniform(-1.5, 1.5)), float(base + rng.uniform(0.5, 2.2))
        fold = bezier(
            np.array([x, y]), np.array([x + rng.normal(0, 0.15), y + 0.3]),
            np.array([x + rng.normal(0, 0.4), y + rng.uniform(0.4, 1.0)]), 12,
        )  # fmt: skip
        pen.fill(tapered(pen.at(fold), float(rng.uniform(0.05, 0.2)) * pen.unit), darker)
        if rng.random() < 0.6:
            pen.stroke(pen.at(fold), 0.9)
    if rng.random() < 0.7:
        # A collar and a ribbon.
        for side in (-1, 1):
            collar = np.array([[0.4, base - 0.03], [0.95, base + 0.25], [0.6, base + 0.75],
                               [0.0, base + 0.4]]) * [side, 1]  # fmt: skip
            pen.fill("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in pen.at(collar)) + "Z",
                     hexed(look.trim), 1.0)  # fmt: skip
        accent = hexed(shaded(look.trim, 0.5, look.eye))
        for side in (-1, 1):
            bow = np.array([[0, base + 0.45], [0.5, base + 0.25], [0.55, base + 0.7]]) * [side, 1]
            pen.fill(smooth_path(pen.at(bow)), accent, 1.0)
            tail = np.array([[0, base + 0.5], [0.12, base + 0.6], [0.35, base + 1.3],
                             [0.15, base + 1.25]]) * [side, 1]  # fmt: skip
            pen.fill(smooth_path(pen.at(tail)), accent, 1.0)


def _weave(rng: np.random.Generator, pen: _Pen) -> str:
    """A pattern of stripes, checks or dots for clothes."""
    look = pen.look
    step = float(rng.uniform(0.08, 0.4)) * pen.unit
    color = (255, 255, 255) if look.monochrome else look.trim
    share = float(rng.uniform(0.15, 0.5))
    wide = step * share
    kind = int(rng.integers(3))
    mark = f'<rect width="{wide:.2f}" height="{step:.2f}" fill="{hexed(color)}"/>'
    if kind == 1:
        mark += (
            f'<rect width="{step:.2f}" height="{wide:.2f}" fill="{hexed(color)}" '
            f'fill-opacity="0.6"/>'
        )
    elif kind == 2:
        middle = step / 2
        mark = ellipse(middle, middle, wide * 0.8, wide * 0.8, fill=hexed(color))
    pen.definitions.append(
        f'<pattern id="{pen.key}weave" width="{step:.2f}" height="{step:.2f}" '
        f'patternUnits="userSpaceOnUse" patternTransform="rotate({rng.uniform(-45, 45):.1f})">'
        f"{mark}</pattern>"
    )
    return f"url(#{pen.key}weave)"


def _head(rng: np.random.Generator, pen: _Pen) -> None:
    look = pen.look
    chin = look.chin
    for side in (-1, 1):
        ear = np.array([[0.93, 0.05], [1.12, 0.02], [1.14, 0.25], [1.02, 0.5], [0.9, 0.42]])
        pen.fill(smooth_path(pen.at(ear * [side, 1])), hexed(look.skin), 1.0)
    jaw = [[-0.98, -0.3], [-0.95, 0.25], [-0.78, 0.7], [-0.35, chin - 0.12], [look.turn, chin],
           [0.35, chin - 0.12], [0.78, 0.7], [0.95, 0.25], [0.98, -0.3], [0.7, -1.05],
           [0, -1.3], [-0.7, -1.05]]  # fmt: skip
    fill = hexed(look.skin)
    if look.gradient and not look.monochrome and rng.random() < 0.5:
        fill = pen.gradient("sk", [shaded(look.skin, 0.12, (220, 110, 90)), look.skin, look.skin])
    pen.fill(smooth_path(pen.at(jaw)), fill, 1.0)
    if look.monochrome:
        return
    shadow = hexed(shaded(look.skin, float(rng.uniform(0.15, 0.35)), (190, 70, 100)))
    blur = f"url(#{pen.key}blur)" if look.soft else "none"
    # The shadow of the fringe: a band with the shape of the locks.
    count = int(rng.integers(5, 10))
    edge = [[x, (-0.32 if i % 2 else -0.05) + float(rng.normal(0, 0.05))]
            for i, x in enumerate(np.linspace(-0.93, 0.93, count))]  # fmt: skip
    points = np.array([[-0.93, -0.7], *edge, [0.93, -0.7]])
    pen.fill("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in pen.at(points)) + "Z", shadow,
             filter=blur)  # fmt: skip
    side_ = float(rng.choice([-1, 1]))
    cheek = np.array([[0.96, 0.0], [0.9, 0.35], [0.74, 0.7], [0.36, chin - 0.14],
                      [0.62, 0.68], [0.8, 0.3]]) * [side_, 1]  # fmt: skip
    pen.fill(smooth_path(pen.at(cheek)), shadow, filter=blur)
    if rng.random() < 0.6:
        blush = hsl(0.98, 0.8, 0.72)
        pen.definitions.append(
            f'<radialGradient id="{pen.key}bl"><stop offset="0" stop-color="{hexed(blush)}" '
            f'stop-opacity="{rng.uniform(0.3, 0.8):.2f}"/><stop offset="1" '
            f'stop-color="{hexed(blush)}" stop-opacity="0"/></radialGradient>'
        )
        for side in (-1, 1):
            x, y = pen.at([side * 0.58, 0.62])
            pen.parts.append(
                f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{pen.unit * 0.27:.1f}" '
                f'ry="{pen.unit * 0.14:.1f}" fill="url(#{pen.key}bl)"/>'
            )
            if rng.random() < 0.3:
                for step in (-0.12, 0, 0.12):
                    line = np.array([[side * 0.58 + step + 0.04, 0.56], [side * 0.58 + step, 0.64],
                                     [side * 0.58 + step - 0.04, 0.7]])  # fmt: skip
                    pen.stroke(pen.at(line), 0.7, shaded(look.skin, 0.6, (200, 40, 60)))


def eye(rng: np.random.Generator, pen: _Pen, middle: Points, side: float, gaze: float) -> None:
    """One eye: white, iris with a gradient, pupil, highlights, lashes and the fold of the lid.

    middle: in shares of half the head's width. side: -1 for the left of the picture, else 1.
    """
    look = pen.look
    wide, high = look.eye_width, look.eye_height
    mirror = np.array([side, 1])

    def at(points: object) -> Points:
        return pen.at(np.asarray(points, np.float64) * mirror + middle)

    white = [[-wide * 0.85, 0.0], [-wide * 0.5, -high * 0.55], [0.05, -high * 0.72],
             [wide * 0.75, -high * 0.4], [wide * 0.95, 0.02], [wide * 0.7, high * 0.5],
             [0.0, high * 0.68], [-wide * 0.6, high * 0.45]]  # fmt: skip
    pure = look.monochrome or rng.random() < 0.6
    sclera = hexed((255, 255, 255) if pure else (246, 244, 250))
    name = f"e{'l' if side < 0 else 'r'}"
    shape = smooth_path(at(white))
    pen.definitions.append(f'<clipPath id="{pen.key}{name}c"><path d="{shape}"/></clipPath>')
    pen.fill(shape, sclera)
    clip = f'clip-path="url(#{pen.key}{name}c)"'
    iris_x, iris_y = at([gaze * side, 0.0])
    radius_x, radius_y = wide * 0.62 * pen.unit, high * 0.68 * pen.unit
    dark = shaded(look.eye, 0.65, (10, 5, 30))
    if look.monochrome:
        gray = int(rng.integers(0, 120))
        dark, fill = (0, 0, 0), hexed((gray, gray, gray))
    elif look.gradient:
        light = shaded(look.eye, 0.55, (255, 255, 255))
        fill = pen.gradient(name, [dark, look.eye, light])
    else:
        fill = hexed(look.eye)
    group = [
        f'<g {clip}><ellipse cx="{iris_x:.2f}" cy="{iris_y:.2f}" rx="{radius_x:.2f}" '
        f'ry="{radius_y:.2f}" fill="{fill}" stroke="{hexed(dark)}" '
        f'stroke-width="{look.line_width * 0.9:.2f}"/>'
    ]
    if rng.random() < 0.6:
        for turn in np.linspace(0.25, math.pi - 0.25, 9):
            x1, y1 = (
                iris_x + 0.5 * radius_x * math.cos(turn),
                iris_y + 0.5 * radius_y * math.sin(turn),
            )
            x2, y2 = (
                iris_x + 0.92 * radius_x * math.cos(turn),
                iris_y + 0.9 * radius_y * math.sin(turn),
            )
            group.append(
                f'<path d="M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}" stroke="{hexed(dark)}" '
                f'stroke-width="{look.line_width * 0.4:.2f}" stroke-opacity="0.6"/>'
            )
    group.append(
        f'<ellipse cx="{iris_x:.2f}" cy="{iris_y:.2f}" rx="{radius_x * 0.45:.2f}" '
        f'ry="{radius_y * 0.5:.2f}" fill="{hexed(shaded(dark, 0.5, (0, 0, 0)))}"/>'
    )
    # The upper lid throws a shadow on the eye.
    if not look.monochrome:
        shadow = at([[-wide, -high * 0.8], [-wide, -high * 0.1], [0, -high * 0.42],
                     [wide, -high * 0.1], [wide, -high * 0.8]])  # fmt: skip
        group.append(element(smooth_path(shadow), hexed((60, 40, 90)), fill_opacity="0.35"))
    group.append("</g>")
    pen.parts.append("".join(group))
    highlight_x, highlight_y = iris_x - 0.32 * radius_x, iris_y - 0.4 * radius_y
    pen.parts.append(
        f'<ellipse cx="{highlight_x:.2f}" cy="{highlight_y:.2f}" '
        f'rx="{radius_x * float(rng.uniform(0.2, 0.36)):.2f}" '
        f'ry="{radius_y * float(rng.uniform(0.18, 0.32)):.2f}" fill="#ffffff"/>'
    )
    if rng.random() < 0.7:
        pen.parts.append(
            f'<circle cx="{iris_x + 0.35 * radius_x:.2f}" cy="{iris_y + 0.4 * radius_y:.2f}" '
            f'r="{radius_x * 0.14:.2f}" fill="#ffffff" fill-opacity="0.85"/>'
        )
    lid = np.array([[-wide * 0.95, 0.06], [-wide * 0.6, -high * 0.52], [0.05, -high * 0.76],
                    [wide * 0.7, -high * 0.5], [wide * 1.08, -0.03],
                    [wide * 1.25, 0.02]])  # fmt: skip
    inner = lid[::-1] + [0, 0.02] + [[0, 0]] * 6
    inner[1:-1, 1] += high * float(rng.uniform(0.1, 0.22))
    lash = look.line if look.monochrome or rng.random() < 0.6 else shaded(look.line, 0.3, look.hair)
    pen.parts.append(element(smooth_path(at(np.concatenate([lid, inner]))), hexed(lash)))
    for index in range(int(rng.integers(0, 4))):
        root = np.array([wide * (0.95 - 0.16 * index), -high * (0.1 + 0.17 * index)])
        tip = root + np.array([0.13, -0.07 - 0.03 * index])
        curve = bezier(root, (root + tip) / 2 + [0.02, 0.03], tip, 8)
        pen.stroke(at(curve), 1.3, lash)
    fold = bezier(
        np.array([-wide * 0.6, -high * 0.75]), np.array([0.05, -high * 1.02]),
        np.array([wide * 0.85, -high * 0.62]), 14,
    )  # fmt: skip
    pen.stroke(at(fold), 0.8)
    lower = bezier(
        np.array([-wide * 0.3, high * 0.7]), np.array([wide * 0.3, high * 0.78]),
        np.array([wide * 0.75, high * 0.5]), 12,
    )  # fmt: skip
    pen.stroke(at(lower), 0.9)


def _closed_eye(pen: _Pen, middle: Points, side: float) -> None:
    wide = pen.look.eye_width
    curve = bezier(
        np.array([-wide, 0.05]), np.array([0, 0.28]), np.array([wide * 1.1, 0.0]), 18
    ) * [side, 1]
    pen.stroke(pen.at(curve + middle), 2.4)


def _brow(pen: _Pen, middle: Points, side: float, mood: float) -> None:
    look = pen.look
    wide = look.eye_width
    top = -look.eye_height - 0.16
    curve = bezier(
        np.array([-wide * 0.8, top + mood * 0.3]), np.array([0.1, top - 0.15]),
        np.array([wide * 1.1, top + 0.05 - mood * 0.2]), 16,
    ) * [side, 1]  # fmt: skip
    color = look.line if look.monochrome else shaded(look.hair, 0.5, look.line)
    pen.stroke(pen.at(curve + middle), 1.5, color)


def _nose_and_mouth(rng: np.random.Generator, pen: _Pen) -> None:
    look = pen.look
    x, chin = look.turn * 1.3, look.chin
    nose = np.array([[x - 0.01, 0.52], [x + 0.05, 0.6], [x, 0.64]])
    pen.stroke(pen.at(nose), 0.9)
    y = 0.64 + (chin - 0.64) * 0.45
    wide = float(rng.uniform(0.1, 0.3))
    if rng.random() < 0.5:
        bend = float(rng.normal(0.06, 0.06))
        curve = bezier(
            np.array([x - wide, y]), np.array([x, y + bend]), np.array([x + wide, y]), 14
        )
        pen.stroke(pen.at(curve), 1.0)
        return
    open_ = float(rng.uniform(0.08, 0.26))
    mouth = [[x - wide, y - 0.03], [x, y - 0.06], [x + wide, y - 0.03],
             [x + wide * 0.6, y + open_ * 0.7],
             [x, y + open_], [x - wide * 0.6, y + open_ * 0.7]]  # fmt: skip
    red = (0, 0, 0) if look.monochrome else hsl(0.98, 0.6, float(rng.uniform(0.3, 0.5)))
    pen.fill(smooth_path(pen.at(mouth)), hexed(red), 1.0)
    if not look.monochrome:
        tongue = [[x - wide * 0.45, y + open_ * 0.6], [x, y + open_ * 0.45],
                  [x + wide * 0.45, y + open_ * 0.6], [x, y + open_ * 0.92]]  # fmt: skip
        pen.fill(smooth_path(pen.at(tongue)), hexed(hsl(0.99, 0.7, 0.66)))


def _lock(root: Points, tip: Points, bend: float, width: float) -> Points:
    """A closed outline of a lock: broad at the root, pointed at the tip."""
    along = tip - root
    normal = np.array([-along[1], along[0]])
    normal = normal / max(float(np.hypot(*normal)), 1e-6)
    middle = (root + tip) / 2 + normal * bend
    left = bezier(root - normal * width * 0.25, middle - normal * width * 1.3, tip, 10)
    right = bezier(root + normal * width * 0.25, middle + normal * width * 1.3, tip, 10)
    outline: Points = np.concatenate([left, right[::-1][1:]])
    return outline


def _front_hair(rng: np.random.Generator, pen: _Pen) -> None:
    look = pen.look
    dome = [[-1.1, 0.1], [-1.2, -0.5], [-0.85, -1.25], [0, -1.55], [0.85, -1.25], [1.2, -0.5],
            [1.1, 0.1], [0.85, -0.35], [0.4, -0.55], [0, -0.6], [-0.4, -0.55],
            [-0.85, -0.35]]  # fmt: skip
    pen.fill(smooth_path(pen.at(dome)), _hair_fill(rng, pen, "fh"), 1.0)
    part = float(rng.normal(0, 0.25))
    crown = np.array([part, -1.35])
    count = int(rng.integers(5, 11))
    locks = []
    for index, x in enumerate(np.linspace(-0.95, 0.95, count)):
        drop = -0.05 + float(rng.normal(0, 0.1)) - 0.12 * (index % 2) + 0.25 * abs(x)
        root = np.array([part + (x - part) * 0.6, -0.95 - 0.3 * (1 - abs(x))])
        locks.append((root, np.array([x + float(rng.normal(0, 0.06)), drop]), 0.28))
    for side in (-1, 1):
        length = float(rng.uniform(0.6, 2.2))
        for step in range(int(rng.integers(1, 4))):
            root = np.array([side * (0.8 - 0.1 * step), -1.05])
            tip = np.array([side * (1.08 - 0.12 * step + rng.normal(0, 0.05)), length - 0.3 * step])
            locks.append((root, tip, 0.17))
    order = rng.permutation(len(locks))
    for number in order:
        root, tip, width = locks[int(number)]
        outline = _lock(root, tip, float(rng.normal(0, 0.08)), width)
        fill = _hair_fill(rng, pen, f"l{number}")
        # The root stays open: no line across the top of the head.
        data = smooth_path(pen.at(outline), closed=False)
        pen.fill(data, fill, 1.0)
        for strand in strand_bundle(rng, root, tip, 0.0, int(rng.integers(1, 4)), width * 0.8):
            pen.stroke(pen.at(strand), float(rng.uniform(0.4, 0.9)), _strand_color(rng, look))
    for _ in range(int(rng.integers(2, 9))):
        x = float(rng.uniform(-1, 1))
        end = np.array([x * 1.05, -0.55 - 0.3 * (1 - abs(x))])
        curve = bezier(crown, (crown + end) / 2 + [x * 0.25, -0.12], end, 14)
        pen.stroke(pen.at(curve[2:]), float(rng.uniform(0.4, 0.9)), _strand_color(rng, look))
    if rng.random() < 0.65:
        _angel_ring(rng, pen)
    if rng.random() < 0.35:
        _hair_accessory(rng, pen)


def _angel_ring(rng: np.random.Generator, pen: _Pen) -> None:
    """Highlights across the hair: a row of spikes along an arc."""
    look = pen.look
    color = (
        (255, 255, 255)
        if look.monochrome
        else shaded(look.hair, float(rng.uniform(0.35, 0.8)), (255, 252, 240))
    )
    count = int(rng.integers(7, 18))
    xs = np.linspace(-0.8, 0.8, count)
    y = -0.95 - 0.18 * (1 - xs**2) + float(rng.normal(0, 0.05))
    tall = rng.uniform(0.03, 0.16, count)
    top = np.stack([xs, y - tall * (np.arange(count) % 2)], 1)
    bottom = np.stack([xs, y + tall * ((np.arange(count) + 1) % 2) + 0.03], 1)
    points = np.concatenate([top, bottom[::-1]])
    data = "M" + " ".join(f"{px:.1f},{py:.1f}" for px, py in pen.at(points)) + "Z"
    pen.fill(data, hexed(color), fill_opacity=f"{rng.uniform(0.5, 1):.2f}")


def _hair_accessory(rng: np.random.Generator, pen: _Pen) -> None:
    side = float(rng.choice([-1, 1]))
    color = hexed(pen.look.trim)
    middle = np.array([side * 0.85, -0.95])
    for turn in np.linspace(0, 2 * math.pi, int(rng.integers(3, 7)), endpoint=False):
        petal = np.array([[0, 0], [0.14, -0.1], [0.28, 0], [0.14, 0.1]])
        rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        pen.fill(smooth_path(pen.at(petal @ rotation + middle)), color, 0.9)


# --- pictures ------------------------------------------------------------------------------------


def portrait_layer(
    rng: np.random.Generator, size: int, unit: float, line_width: float, monochrome: bool = False
) -> tuple[svg.Layer, int, int]:
    """One figure somewhere in a square of ``size`` pixels: a layer, and x and y of its corner.

    unit: half the head's width in pixels. The layer covers the figure and no more of the square.
    """
    look = random_look(rng, line_width, monochrome)
    center = np.array([size * float(rng.uniform(0.3, 0.7)), size * float(rng.uniform(0.25, 0.55))])
    angle = float(rng.normal(0, 6))
    # Long hair and sleeves reach 3 units to the sides, turned about the head.
    left, right = (int(np.clip(center[0] + side * 3.2 * unit, 0, size)) for side in (-1, 1))
    top = int(np.clip(center[1] - 2.4 * unit, 0, size - 8))
    right = max(right, left + 8)
    center = center - [left, top]
    body = "".join(figure(rng, center, unit, look))
    turn = f"rotate({angle:.2f} {center[0]:.1f} {center[1]:.1f})"
    layer = drawn(f'<g transform="{turn}">{body}</g>', size - top, right - left)
    return (layer if monochrome else shade(rng, layer)), left, top


def add_portrait(
    rng: np.random.Generator, picture: Picture, unit: float, line_width: float
) -> Picture:
    """A picture with one figure over it."""
    layer, x, y = portrait_layer(rng, picture.shape[0], unit, line_width)
    return placed(picture, layer, x, y)


def face(rng: np.random.Generator, size: int) -> Picture:
    """One to three faces before a flat or softly graded background."""
    colors = palette(rng, 3)
    if rng.random() < 0.4:
        base = np.broadcast_to(np.asarray(colors[2], np.uint8), (size, size, 3)).copy()
    else:
        base = levels(ramp(soft_field(rng, size, float(rng.uniform(0.8, 2))), colors))
    for _ in range(int(rng.choice([1, 2, 3, 4]))):
        unit = float(np.exp(rng.uniform(math.log(0.06), math.log(0.4)))) * size
        width = float(np.clip(unit / 40 * rng.uniform(0.6, 1.4), 0.9, 3.2))
        base = add_portrait(rng, base, unit, width)
    return base


def eyes(rng: np.random.Generator, size: int) -> Picture:
    """Eyes in close-up."""
    look = random_look(rng, float(rng.uniform(1.5, 3.5)))
    unit = float(rng.uniform(0.5, 1.0)) * size
    center = np.array([size * float(rng.uniform(0.2, 0.8)), size * float(rng.uniform(0.2, 0.6))])
    body = "".join(figure(rng, center, unit, look))
    base = np.broadcast_to(np.asarray(palette(rng, 3)[2], np.uint8), (size, size, 3)).copy()
    return over(base, drawn(body, size))
