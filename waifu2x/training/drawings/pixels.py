"""Pixel art: sprites and tiles of few colors, at 1:1 and enlarged, with one-pixel dither."""

from __future__ import annotations

import numpy as np

from .canvas import Color, Picture, hsl, palette, shaded
from .gradients import BAYER


def sprite(rng: np.random.Generator, size: int, colors: list[Color]) -> np.ndarray:
    """A mirrored sprite with an outline: int8 (size, size), -1 transparent, else a color."""
    half = (size + 1) // 2
    body = rng.random((size, half)) < 0.55
    for _ in range(2):
        # Smooth by majority, so that the sprite is one body.
        padded = np.pad(body, 1).astype(np.int8)
        near = sum(
            padded[1 + dy : size + 1 + dy, 1 + dx : half + 1 + dx]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        )
        body = np.asarray(near) >= 5
    shape = np.concatenate([body, body[:, ::-1][:, size % 2 :]], 1)
    rows = np.arange(size)[:, None] + np.arange(size)[None] // 3
    bands = (rows * (len(colors) - 1) // max(1, rows.max())).astype(np.int8)
    checker = (np.indices((size, size)).sum(0) % 2) * (rng.random() < 0.6)
    inner = np.clip(bands + checker * (rng.random((size, size)) < 0.5), 1, len(colors) - 1)
    padded = np.pad(shape, 1)
    grown = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    result = np.full((size, size), -1, np.int8)
    result[grown] = 0
    result[shape] = inner[shape]
    return result


def _tile(rng: np.random.Generator, size: int, colors: list[Color]) -> np.ndarray:
    """A ground tile: flat, bricks, checkers, dither or specks, as indices of colors."""
    kind = int(rng.integers(6))
    y, x = np.indices((size, size))
    low, high = (int(value) for value in rng.integers(0, len(colors), 2))
    if kind == 0:
        mask = np.zeros((size, size), bool)
    elif kind == 1:
        high_brick = max(3, size // 4)
        row = y // high_brick
        mask = (y % high_brick == 0) | ((x + row % 2 * (size // 4)) % max(2, size // 2) == 0)
    elif kind == 2:
        mask = (x + y) % 2 == 0
    elif kind == 3:
        level = y / size
        mask = level > (BAYER[y % 8, x % 8] + 0.5) / 64
    elif kind == 4:
        mask = rng.random((size, size)) < 0.12
    else:
        step = max(2, size // int(rng.integers(2, 5)))
        mask = (x // step + y // step) % 2 == 0
    return np.where(mask, high, low)


def pixel_art(rng: np.random.Generator, size: int) -> Picture:
    """A map of tiles with sprites and a status bar, enlarged by a whole factor."""
    factor = int(rng.choice([1, 1, 2, 2, 3, 4, 4, 6, 8]))
    inner = -(-size // factor)
    colors = palette(rng, int(rng.integers(4, 9)))
    if rng.random() < 0.4:
        colors = [
            hsl(float(rng.random()), 0.6, lightness) for lightness in np.linspace(0.1, 0.9, 6)
        ]
    table = np.asarray(colors, np.uint8)
    tile = int(rng.choice([8, 16, 16, 32]))
    kinds = [_tile(rng, tile, colors) for _ in range(3)]
    count = -(-inner // tile)
    choice = np.kron(
        rng.choice(3, (count // 2 + 1, count // 2 + 1), p=[0.6, 0.3, 0.1]), np.ones((2, 2), int)
    )
    canvas = np.block(
        [[kinds[int(choice[row, column])] for column in range(count)] for row in range(count)]
    )
    picture = table[canvas[:inner, :inner]]
    for _ in range(max(2, inner * inner // 2200)):
        side = int(rng.choice([8, 12, 16, 16, 24, 32]))
        base = hsl(float(rng.random()), float(rng.uniform(0.3, 0.8)), 0.55)
        own = [
            shaded(base, 0.85, (10, 5, 20)),
            shaded(base, 0.4),
            base,
            shaded(base, 0.5, (255, 250, 230)),
        ]
        figure = sprite(rng, side, own)
        row, column = (int(value) for value in rng.integers(0, max(1, inner - side // 2), 2))
        part = picture[row : row + side, column : column + side]
        cut = figure[: part.shape[0], : part.shape[1]]
        part[cut >= 0] = np.asarray(own, np.uint8)[cut[cut >= 0]]
    if rng.random() < 0.3:
        height = max(6, inner // 10)
        picture[:height] = table[0]
        length = int(inner * rng.uniform(0.2, 0.8))
        picture[2 : height - 2, 2:length] = table[-1]
        picture[2:3, 2:length] = table[len(table) // 2]
    enlarged: Picture = picture.repeat(factor, 0).repeat(factor, 1)[:size, :size]
    # Shift the grid of large pixels against the patch.
    shift = int(rng.integers(factor))
    return np.ascontiguousarray(np.roll(enlarged, (shift, shift), (0, 1)))
