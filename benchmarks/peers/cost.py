"""Cost of a picture by its size: seconds, and seconds per megapixel of input."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from waifu2x import codec

from ..common.engines import create_pipeline, require_engine, upscale
from ..common.measure import Result, interleave, quartiles, quiet_times, timed, to_json
from ..common.parts import Part
from ..common.pictures import Pixels, draw_face, repeat
from ..common.processes import in_child
from ..common.tables import others, record_table
from .options import PeerOptions

MEGAPIXELS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
QUICK_MEGAPIXELS = (0.001, 0.004)
COLUMNS = {
    "input": ("name", ""), "median s": ("median_s", ".3f"), "min - max s": ("range", ""),
    "s per MP": ("s_per_megapixel", ".3f"), "of the usual": ("relative", ".2f"),
    "others' load": ("others", ""),
}  # fmt: skip
#: Width of the pictures divided by their height.
ASPECT = 16 / 9


def run(options: PeerOptions) -> Part:
    default = QUICK_MEGAPIXELS if options.quick else MEGAPIXELS
    sizes = [shape(amount) for amount in options.megapixels or default]
    drawing = options.pictures[0][1] if options.pictures else draw_face(256, 256)
    pattern = np.asarray(drawing)
    threads = options.threads[0]
    part = Part({"engine": options.engine, "threads": threads, "models": []}, "")
    for model in options.models or ("upconv_7", "cunet"):
        engine, results = in_child(measure, model, sizes, pattern, options.for_child())
        rows = [
            row(size, result, options.quiet_below)
            for size, result in zip(sizes, results, strict=True)
        ]
        part.report["models"].append({"model": model, "engine": engine, "sizes": rows})
        part.text += (
            f"\nCost by size, {model}, 2x, engine {engine}, {threads} threads, array to "
            f"array:\n\n{table(rows)}\n"
        )
    return part


def shape(megapixels: float) -> tuple[int, int]:
    """Width and height of a picture of about that size."""
    width = max(1, round((megapixels * 1e6 * ASPECT) ** 0.5))
    return width, max(1, round(megapixels * 1e6 / width))


def row(size: tuple[int, int], result: Result, quiet_below: float) -> dict[str, Any]:
    """Facts of one size for JSON; without times if no sample is quiet."""
    facts: dict[str, Any] = {
        "width": size[0],
        "height": size[1],
        "megapixels": size[0] * size[1] / 1e6,
        "not_run": result.not_run,
        "others": others(result.samples),
        **to_json([result])[0],
    }
    times = quiet_times(result.samples, quiet_below)
    if times:
        facts["q1_s"], facts["median_s"], facts["q3_s"] = quartiles(times)
        facts["min_s"], facts["max_s"] = min(times), max(times)
        facts["s_per_megapixel"] = facts["median_s"] / facts["megapixels"]
    return facts


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A row per size; column "of the usual" is relative to the median cost per megapixel."""
    usual = statistics.median(
        [row["s_per_megapixel"] for row in rows if "s_per_megapixel" in row] or [1.0]
    )
    records = [
        {
            **facts,
            "name": f"{facts['megapixels']:.3g} MP, {facts['width']}x{facts['height']}",
            "not_run": facts["not_run"] or ("" if "median_s" in facts else "no quiet sample"),
            "range": f"{facts.get('min_s', 0):.3f} - {facts.get('max_s', 0):.3f}",
            "relative": facts.get("s_per_megapixel", 0) / usual,
        }
        for facts in rows
    ]
    return record_table(records, COLUMNS)


# --- in the child process ------------------------------------------------------------------------


def measure(
    model: str, sizes: Sequence[tuple[int, int]], pixels: Pixels, options: PeerOptions
) -> tuple[str, list[Result]]:
    upscaler = create_pipeline(model, engine=options.engine, threads=options.threads[0])
    require_engine(upscaler.engine, options.engine)
    pictures = {
        (width, height): codec.from_array(repeat(pixels, width, height)) for width, height in sizes
    }

    def run(size: tuple[int, int]) -> None:
        upscale(upscaler, pictures[size])

    run(min(pictures, key=lambda size: size[0] * size[1]))  # loads the network
    results = [Result(f"{width}x{height}", True, "") for width, height in pictures]
    interleave(
        [
            (result, lambda size=size: timed(lambda: run(size)))  # type: ignore[misc]
            for result, size in zip(results, pictures, strict=True)
        ],
        options.rounds,
    )
    return upscaler.engine.name, results
