"""Pictures to measure with, and network inputs and results made from pictures."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from waifu2x.network.graph import Graph

from .environment import ROOT

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

Batch: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.uint8]
Named: TypeAlias = tuple[str, Image.Image]


def art() -> Any:
    """The module of the tests that draws pictures: identical pixels on every machine."""
    folder = str(ROOT / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("helpers.art")


def draw_face(width: int, height: int) -> Image.Image:
    """The drawing of an anime face, RGB."""
    face: Image.Image = art().anime_face(width, height)
    return face


def gallery(side: int) -> list[Named]:
    """Drawings of several kinds, a checkerboard of hard edges, and noise."""
    noise = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    return [
        ("anime face", draw_face(side, side)),
        ("manga page", art().manga_page(side, side).convert("RGB")),
        ("painted scene", art().painted_scene(side, side)),
        ("checker", art().checker(side, side, 3).convert("RGB")),
        ("noise", Image.fromarray(noise)),
    ]


def load_pictures(path: Path) -> list[Named]:
    """Read a file, or every picture of a folder, as RGB, with the names of the files."""
    paths = [path]
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    pictures = []
    for file in paths:
        with Image.open(file) as opened:
            pictures.append((file.name, opened.convert("RGB")))
    return pictures


def names(pictures: Sequence[Named]) -> list[str]:
    return [name for name, _ in pictures]


def center_crop(picture: Image.Image, side: int) -> Pixels:
    """Cut a square from the center: (side, side, 3) uint8."""
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return np.asarray(picture.convert("RGB"))[top : top + side, left : left + side]


def repeat(pixels: Pixels, width: int, height: int) -> Pixels:
    """Repeat a picture to any size."""
    rows = np.arange(height) % pixels.shape[0]
    columns = np.arange(width) % pixels.shape[1]
    repeated: Pixels = pixels[rows[:, None], columns]
    return repeated


def mosaic(pictures: Sequence[Pixels], side: int) -> Pixels:
    """Arrange pictures row by row into a picture of side x side, cut at its edges."""
    rows, index, height = [], 0, 0
    while height < side:
        row: list[Pixels] = []
        while sum(each.shape[1] for each in row) < side:
            row.append(pictures[index % len(pictures)])
            index += 1
        low = min(each.shape[0] for each in row)
        rows.append(np.concatenate([each[:low] for each in row], 1)[:, :side])
        height += low
    return np.ascontiguousarray(np.concatenate(rows, 0)[:side])


def to_batch(graph: Graph, pixels: Pixels) -> Batch:
    """Convert a picture to a network input (1, 3, H, W), the edge replicated around it.

    The padding is the border of the graph, rounded up to a size that the network accepts.
    """
    before = graph.border
    pads = [
        (before, graph.input_size(side + 2 * before) - side - before) for side in pixels.shape[:2]
    ]
    padded = np.pad(pixels, (*pads, (0, 0)), "edge")
    return np.ascontiguousarray(
        padded.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    )


def crop_result(graph: Graph, result: Batch, *, height: int, width: int) -> Batch:
    """Cut the picture of ``height`` x ``width`` input pixels out of the result for `to_batch`."""
    scale, first = graph.scale, (graph.border - graph.lost) * graph.scale
    cropped: Batch = result[:, :, first : first + height * scale, first : first + width * scale]
    return cropped


def upscale_tiles(
    run: Callable[[Batch], Batch],
    pixels: Pixels,
    *,
    tile: int,
    window: int,
    lost: int,
    crop: int = 0,
    scale: int = 2,
    batch: int = 1,
) -> Pixels:
    """Upscale a picture tile by tile, as programs around a network of fixed size do.

    tile: side of a tile in input pixels. window: side of the network's input.
    lost: input pixels around a tile on each side. crop: output pixels to cut off on each side.
    batch: tiles per run.
    """
    height, width = pixels.shape[:2]
    result: Pixels = np.empty((scale * height, scale * width, 3), np.uint8)
    around = np.arange(-lost, window - lost)
    corners = [(top, left) for top in range(0, height, tile) for left in range(0, width, tile)]
    for first in range(0, len(corners), batch):
        group = corners[first : first + batch]
        windows = [
            pixels[np.clip(top + around, 0, height - 1)[:, None],
                   np.clip(left + around, 0, width - 1)]
            for top, left in group
        ]  # fmt: skip
        inputs = np.ascontiguousarray(np.stack(windows).transpose(0, 3, 1, 2), np.float32)
        inputs /= np.float32(255)
        for (top, left), output in zip(group, run(inputs), strict=True):
            target = result[
                scale * top : scale * (top + tile), scale * left : scale * (left + tile)
            ]
            rows, columns = slice(crop, crop + len(target)), slice(crop, crop + target.shape[1])
            values = output.transpose(1, 2, 0)[rows, columns]
            target[:] = np.clip(values * np.float32(255) + np.float32(0.5), 0, 255)
    return result


def to_levels(values: npt.NDArray[np.floating]) -> Pixels:
    """Round values on [0, 1] to levels of 255, half up."""
    levels: Pixels = np.floor(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


def max_difference(a: Pixels, b: Pixels) -> int:
    """Largest difference of any sample, in levels of 255."""
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())
