"""Pictures to measure with: drawn by the tests' code, or given as files."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from _environment import ROOT
from PIL import Image

from waifu2x.graph import Graph

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

Pixels = npt.NDArray[np.uint8]
Named = tuple[str, Image.Image]


def drawn(width: int, height: int) -> Image.Image:
    """The anime face of the tests: the same pixels everywhere, and nobody's property."""
    sys.path.insert(0, str(ROOT / "tests"))
    art = importlib.import_module("art")
    face: Image.Image = art.anime_face(width, height)
    return face


def gallery(side: int) -> list[Named]:
    """Drawings of several kinds, the hardest edges there are, and noise."""
    face = drawn(side, side)
    art = importlib.import_module("art")
    noise = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    return [
        ("anime face", face),
        ("manga page", art.manga_page(side, side).convert("RGB")),
        ("painted scene", art.painted_scene(side, side)),
        ("checker", art.checker(side, side, 3).convert("RGB")),
        ("noise", Image.fromarray(noise)),
    ]


def given(path: Path) -> list[Named]:
    """A file, or every picture of a folder, as RGB, with the names of the files."""
    paths = [path]
    if path.is_dir():
        paths = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    pictures = []
    for file in paths:
        with Image.open(file) as opened:
            pictures.append((file.name, opened.convert("RGB")))
    return pictures


def middle(picture: Image.Image, side: int) -> Pixels:
    """A square from the middle."""
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return np.asarray(picture.convert("RGB"))[top : top + side, left : left + side]


def to_batch(graph: Graph, pixels: Pixels) -> npt.NDArray[np.float32]:
    """A square with as much of its edge replicated around it as the network consumes."""
    side, before = pixels.shape[0], graph.lost
    after = graph.input_size(side + 2 * before) - side - before
    padded = np.pad(pixels, ((before, after), (before, after), (0, 0)), "edge")
    return np.ascontiguousarray(
        padded.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    )


def wallpaper(pixels: Pixels, width: int, height: int) -> Pixels:
    """A picture of any size, made of repetitions."""
    rows = np.arange(height) % pixels.shape[0]
    columns = np.arange(width) % pixels.shape[1]
    repeated: Pixels = pixels[rows[:, None], columns]
    return repeated


def names(pictures: Sequence[Named]) -> list[str]:
    return [name for name, _ in pictures]
