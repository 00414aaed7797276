"""What a picture costs by its size: seconds and seconds for each megapixel of input."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from _measure import Result, from_json, quartiles, quiet, take_turns, timed, to_json
from _parts import Options, Part
from _pictures import drawn, wallpaper
from _processes import in_child
from _tables import markdown, others

from waifu2x import codec
from waifu2x.pipeline import PictureUpscaler

MEGAPIXELS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
QUICK_MEGAPIXELS = (0.001, 0.004)
#: Of the pictures: width by height.
ASPECT = 16 / 9


def run(options: Options) -> Part:
    default = QUICK_MEGAPIXELS if options.quick else MEGAPIXELS
    sizes = [shape(amount) for amount in options.megapixels or default]
    pattern = options.folder / "pattern.npy"
    drawing = options.pictures[0][1] if options.pictures else drawn(256, 256)
    np.save(pattern, np.asarray(drawing))
    threads = options.threads[0]
    part = Part({"engine": options.engine, "threads": threads, "models": []}, "")
    for model in options.models or ("upconv_7", "cunet"):
        told = in_child(
            "_cost",
            "measure",
            arguments={
                "model": model,
                "engine": options.engine,
                "threads": threads,
                "sizes": sizes,
                "pattern": str(pattern),
                "rounds": options.rounds,
            },
        )
        rows = [
            row(size, from_json(result), options.quiet_below)
            for size, result in zip(sizes, told["results"], strict=True)
        ]
        part.report["models"].append({"model": model, "engine": told["engine"], "sizes": rows})
        part.text += (
            f"\nCost by size, {model}, 2x, engine {told['engine']}, {threads} threads, array to "
            f"array:\n\n{table(rows)}\n"
        )
    return part


def shape(megapixels: float) -> tuple[int, int]:
    """Width and height of a picture of about that size."""
    width = max(1, round((megapixels * 1e6 * ASPECT) ** 0.5))
    return width, max(1, round(megapixels * 1e6 / width))


def row(size: tuple[int, int], result: Result, quiet_below: float) -> dict[str, Any]:
    """All about one size, for JSON; without times where too few samples are quiet."""
    told: dict[str, Any] = {
        "width": size[0],
        "height": size[1],
        "megapixels": size[0] * size[1] / 1e6,
        "not_run": result.not_run,
        "others": others(result.samples),
        **to_json([result])[0],
    }
    times = quiet(result.samples, quiet_below)
    if times:
        told["q1_s"], told["median_s"], told["q3_s"] = quartiles(times)
        told["min_s"], told["max_s"] = min(times), max(times)
        told["s_per_megapixel"] = told["median_s"] / told["megapixels"]
    return told


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The last column is the cost of a megapixel by the usual cost of one, which is the median."""
    usual = statistics.median(
        [row["s_per_megapixel"] for row in rows if "s_per_megapixel" in row] or [1.0]
    )
    lines = []
    for one in rows:
        name = f"{one['megapixels']:.3g} MP, {one['width']}x{one['height']}"
        if one["not_run"] or "median_s" not in one:
            lines.append([name, f"not run: {one['not_run'] or 'no quiet sample'}"])
            continue
        lines.append([
            name, f"{one['median_s']:.3f}", f"{one['min_s']:.3f} - {one['max_s']:.3f}",
            f"{one['s_per_megapixel']:.3f}", f"{one['s_per_megapixel'] / usual:.2f}",
            one["others"],
        ])  # fmt: skip
    return markdown(
        ["input", "median s", "min - max s", "s per MP", "of the usual", "others' load"], lines
    )


# --- in the process that measures ----------------------------------------------------------------


def measure(
    model: str,
    engine: str,
    threads: int,
    sizes: Sequence[tuple[int, int]],
    pattern: str,
    rounds: int,
) -> dict[str, Any]:
    upscaler = PictureUpscaler(model, engine=engine, threads=threads)
    pixels = np.load(pattern)

    def enlarge(width: int, height: int) -> None:
        upscaler.run(codec.from_array(pictures[width, height]), scale=2)

    pictures = {
        (width, height): wallpaper(pixels, width, height) for width, height in map(tuple, sizes)
    }
    enlarge(*min(pictures, key=lambda size: size[0] * size[1]))  # loads the network
    results = [Result(f"{width}x{height}", True, "") for width, height in pictures]
    take_turns(
        [
            (result, lambda size=size: timed(lambda: enlarge(*size)))  # type: ignore[misc]
            for result, size in zip(results, pictures, strict=True)
        ],
        rounds,
    )
    return {"engine": upscaler.engine.name, "results": to_json(results)}
