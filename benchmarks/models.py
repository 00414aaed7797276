"""Measures how fast the models enlarge a picture on the native engine, one next to the other.

    python -m benchmarks.models [--models upconv_7,swift,fine,cunet] [--size 1920x1080]
                                [--threads 1,2] [--rounds 7] [--command] [--json FILE]

The models take turns, in one process, from array to array at 2x and noise none. The share is that
of the time of the first model. --command measures whole commands instead, from a PNG to a PNG.
`WAIFU2X_CPU=avx2` caps the instruction sets.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from waifu2x import Upscaler, kernels

from .common.environment import describe, environment
from .common.measure import Result, Run, attempt, interleave, summarize, timed, to_json
from .common.parts import check_rounds, write_json
from .common.pictures import draw_face
from .common.processes import run_command, waifu2x_command
from .common.tables import record_table

MODELS = "upconv_7,swift,fine,cunet"
COLUMNS = {
    "model": ("model", ""), "threads": ("threads", "d"), "median s": ("seconds", ".3f"),
    "quartiles": ("quartiles", ""), "s per megapixel": ("per_megapixel", ".3f"),
    "share of the first": ("share", ".3f"),
}  # fmt: skip


def contestants(models: Sequence[str], threads: int, picture: Path, *, command: bool) -> list[Run]:
    """One run for each model. command: whole commands, from and to PNG."""
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    runs: list[Run] = []
    for name in models:
        result = Result(name, True, f"{threads} threads")
        if command:
            out = picture.with_name("out.png")
            words = waifu2x_command(picture, out, "-m", name, "-n", "none", "-e", "native",
                                    "--threads", threads)  # fmt: skip
            runs.append((result, partial(run_command, words, out)))
        else:
            upscaler = Upscaler(name, engine="native", threads=threads)
            enlarge = partial(upscaler.upscale, pixels, 2, noise=None)
            runs.append((result, partial(timed, enlarge)))
    return runs


def rows(results: Sequence[Result], threads: int, pixels: int) -> list[dict[str, Any]]:
    """The table's rows, from summarized results."""
    found = []
    for result in results:
        if result.summary is None:
            found.append({"model": result.name, "not_run": result.not_run or "too few samples"})
            continue
        seconds = result.summary.median_s
        found.append(
            {
                "model": result.name,
                "threads": threads,
                "seconds": seconds,
                "quartiles": f"{result.summary.q1_s:.3f} - {result.summary.q3_s:.3f}",
                "per_megapixel": seconds / pixels * 1e6,
                "share": seconds / results[0].seconds,
            }
        )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.models", description="Compare the speed of models."
    )
    add = parser.add_argument
    add("--models", default=MODELS, metavar="NAMES", help=f"(default: {MODELS})")
    add("--size", default="1920x1080", metavar="WxH", help="of the picture (default: 1920x1080)")
    add("--threads", default="1,2", metavar="N,N", help="(default: 1,2)")
    add("--rounds", type=int, metavar="N", help="2 or more (default: 7)")
    add("--command", action="store_true", help="measure whole commands, from PNG to PNG")
    add("--json", type=Path, metavar="FILE", help="also write every sample here")
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 7)
    width, height = map(int, arguments.size.split("x"))
    facts = environment(threads=None, distributions=("waifu2x-native", "numpy"))
    print(describe(facts), f"kernels: {kernels.isa()}", sep="\n", flush=True)
    table: list[dict[str, Any]] = []
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "in.png")
        draw_face(width, height).save(picture)
        for threads in map(int, arguments.threads.split(",")):
            runs = contestants(
                arguments.models.split(","), threads, picture, command=arguments.command
            )
            for result, measure in runs:
                attempt(result, measure)  # untimed: loads the network
            interleave(runs, arguments.rounds)
            results = [result for result, _ in runs]
            summarize(results, quiet_below=1.0)
            table += rows(results, threads, width * height)
            measured.append({"threads": threads, "results": to_json(results)})
    print(f"\n{record_table(table, COLUMNS)}")
    if arguments.json:
        write_json(arguments.json, {
            "benchmark": "models", **facts, "kernels": kernels.isa(), "rounds": arguments.rounds,
            "size": [width, height], "command": arguments.command, "table": table,
            "measured": measured,
        })  # fmt: skip
    return 1 if any("not_run" in row for row in table) else 0


if __name__ == "__main__":
    sys.exit(main())
