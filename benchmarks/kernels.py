"""Times the tile kernels: each dtype, gray and RGB, each instruction set, compared with NumPy.

    python -m benchmarks.kernels [--rounds 15] [--json FILE]

All implementations of an operation alternate in each round, and an untimed call precedes each timed
call. The table shows medians and quartiles. GB/s counts the bytes that an operation must read and
write, once each; "of copy" relates that rate to the copy of a large array. A rate above the copy
means that the 12 MB of a batch stayed in a cache. NumPy runs a plain implementation: a few
operations on whole arrays, and a fancy index for gather. All run in one thread.

Level avx512 is left out because it runs the tile kernels of avx2. The last table is the share of
gather and blend in a whole upscale.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from waifu2x.kernels import _native, tiles
from waifu2x.picture import Picture

from .common.engines import create_pipeline, upscale
from .common.environment import describe, environment
from .common.measure import quartiles
from .common.parts import check_rounds, write_json
from .common.tables import record_table

SIDE = 256  # of a tile
TILES = 16  # in a batch: with RGB in float32, 12 MB
COPY = 256 << 20  # bytes of the array copied to measure memory bandwidth

#: Levels without tile kernels of their own.
ALIASES = ("avx512",)
DTYPES = ("uint8", "uint16", "float32")

COLUMNS = {
    "operation, dtype, channels": ("case", ""), "kernel": ("way", ""),
    "median ms": ("median_ms", ".2f"), "quartiles ms": ("quartiles", ""),
    "GB/s": ("gb_per_s", ".1f"), "of copy": ("of_copy", ".0%"), "x NumPy": ("speedup", ".1f"),
}  # fmt: skip
SHARE_COLUMNS = {
    "model": ("model", ""), "total ms": ("total_ms", ".0f"), "gather ms": ("gather_ms", ".2f"),
    "blend ms": ("blend_ms", ".2f"), "share": ("share", ".2%"),
}  # fmt: skip

Run = Callable[[], object]
Row = dict[str, Any]


@dataclass
class Case:
    """An operation. bytes: read and written. runs: by implementation, "numpy" or a level."""

    operation: str
    dtype: str
    channels: int
    bytes: int
    runs: dict[str, Run]


def levels(native: Callable[[str], Run], numpy_run: Run) -> dict[str, Run]:
    """NumPy, and the kernel at every level that has its own."""
    isas = [isa for isa in _native.isas() if isa not in ALIASES]
    return {"numpy": numpy_run, **{isa: native(isa) for isa in isas}}


def random_picture(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "float32":
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def full(dtype: str) -> np.float32:
    return np.float32(1 if dtype == "float32" else np.iinfo(dtype).max)


def numpy_quantize(values: np.ndarray, dtype: str) -> np.ndarray:
    assert np.isfinite(values).all()
    clamped = np.clip(values, 0, 1)
    if dtype == "float32":
        return clamped
    return (clamped * full(dtype) + np.float32(0.5)).astype(dtype)


def numpy_pixels(tile: np.ndarray, channels: int) -> np.ndarray:
    """Planes (3, H, W) to pixels (H, W, channels), gray as BT.601 luma."""
    if channels == 1:
        return np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), tile, 1)[:, :, None]
    return tile.transpose(1, 2, 0)


def random_tiles(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """A batch of network outputs, and the corners of its tiles in a picture."""
    starts = range(0, 4 * SIDE, SIDE)
    return rng.random((TILES, 3, SIDE, SIDE), np.float32), [(x, y) for y in starts for x in starts]


def gather_case(rng: np.random.Generator, dtype: str, channels: int) -> Case:
    side = 4 * SIDE
    source = random_picture(rng, (side, side, channels), dtype)
    # Windows overlap by a margin, and those at the edge reach outside, as in a tiled picture.
    ys, xs = (
        a.ravel().astype(np.int64) for a in np.mgrid[-7 : side - 7 : SIDE, -7 : side - 7 : SIDE]
    )
    out = np.empty((TILES, 3, SIDE, SIDE), np.float32)
    steps = np.arange(SIDE)

    def with_numpy() -> None:
        rows = np.clip(ys[:, None] + steps, 0, side - 1)[:, :, None]
        columns = np.clip(xs[:, None] + steps, 0, side - 1)[:, None, :]
        windows = source[rows, columns].astype(np.float32)
        if dtype != "float32":
            windows /= full(dtype)
        out[:] = windows.transpose(0, 3, 1, 2)

    def native(isa: str) -> Run:
        return lambda: _native.gather(source, xs, ys, out, isa=isa)

    moved = source.nbytes + out.nbytes
    return Case("gather", dtype, channels, moved, levels(native, with_numpy))


def blend_case(rng: np.random.Generator, dtype: str, channels: int) -> Case:
    batch, corners = random_tiles(rng)
    target = random_picture(rng, (4 * SIDE, 4 * SIDE, channels), dtype)

    def with_numpy() -> None:
        for tile, (x, y) in zip(batch, corners, strict=True):
            values = numpy_quantize(numpy_pixels(tile, channels), dtype)
            target[y : y + SIDE, x : x + SIDE] = values

    def native(isa: str) -> Run:
        def run() -> None:
            for tile, (x, y) in zip(batch, corners, strict=True):
                _native.blend(tile, 0, 0, target, x, y, SIDE, SIDE, isa=isa)

        return run

    moved = batch.nbytes + target.nbytes
    return Case("blend", dtype, channels, moved, levels(native, with_numpy))


def feather_case(rng: np.random.Generator, channels: int) -> Case:
    batch, corners = random_tiles(rng)
    canvas = np.zeros((4 * SIDE, 4 * SIDE, channels), np.float32)
    wx, wy = rng.random(SIDE, np.float32), rng.random(SIDE, np.float32)

    def with_numpy() -> None:
        weights = (wy[:, None] * wx)[:, :, None]
        for tile, (x, y) in zip(batch, corners, strict=True):
            canvas[y : y + SIDE, x : x + SIDE] += numpy_pixels(tile, channels) * weights

    def native(isa: str) -> Run:
        def run() -> None:
            for tile, (x, y) in zip(batch, corners, strict=True):
                _native.blend_feathered(tile, 0, 0, canvas, x, y, SIDE, SIDE, wx, wy, isa=isa)

        return run

    moved = batch.nbytes + 2 * canvas.nbytes
    return Case("blend_feathered", "float32", channels, moved, levels(native, with_numpy))


def quantize_case(rng: np.random.Generator, dtype: str, channels: int) -> Case:
    canvas = rng.random((4 * SIDE, 4 * SIDE, channels), np.float32)
    target = np.empty(canvas.shape, dtype)

    def with_numpy() -> None:
        target[:] = numpy_quantize(canvas, dtype)

    def native(isa: str) -> Run:
        return lambda: _native.quantize(canvas, target, isa=isa)

    moved = canvas.nbytes + target.nbytes
    return Case("quantize", dtype, channels, moved, levels(native, with_numpy))


def bleed_case(rng: np.random.Generator, dtype: str, channels: int) -> Case:
    """Bleed the color of an opaque disc into its transparent surroundings, by a margin of 18 px."""
    side, iterations = 4 * SIDE, 18
    color = random_picture(rng, (side, side, channels), dtype)
    y, x = np.mgrid[:side, :side] - side / 2
    alpha = np.where(x * x + y * y < (side / 4) ** 2, full(dtype), 0).astype(dtype)

    def with_numpy() -> None:
        values, has = color.astype(np.float32), alpha > 0
        for _ in range(iterations):
            sums = np.zeros((side + 2, side + 2, channels), np.float32)
            counts = np.zeros((side + 2, side + 2, 1), np.float32)
            masked = np.where(has[:, :, None], values, 0)
            for dy in range(3):
                for dx in range(3):
                    sums[dy : dy + side, dx : dx + side] += masked
                    counts[dy : dy + side, dx : dx + side, 0] += has
            ring = ~has & (counts[1:-1, 1:-1, 0] > 0)
            values[ring] = (sums[1:-1, 1:-1] / np.maximum(counts[1:-1, 1:-1], 1))[ring]
            has |= ring
        half = np.float32(0 if dtype == "float32" else 0.5)
        (values + half).astype(dtype)

    # Repeated bleeding costs the same: alpha alone determines which pixels have color.
    runs: dict[str, Run] = {
        "numpy": with_numpy,
        "scalar": lambda: _native.bleed(color, alpha, iterations, isa="scalar"),
    }
    return Case("bleed", dtype, channels, color.nbytes + alpha.nbytes, runs)


def copy_case() -> Case:
    source = np.ones(COPY, np.uint8)
    target = np.zeros(COPY, np.uint8)
    return Case("copy", "uint8", 1, 2 * COPY, {"memory": lambda: np.copyto(target, source)})


def all_cases() -> list[Case]:
    rng = np.random.default_rng(2)
    cases = [copy_case()]
    for make in (gather_case, blend_case):
        cases += [make(rng, dtype, channels) for channels in (3, 1) for dtype in DTYPES]
    cases += [feather_case(rng, channels) for channels in (3, 1)]
    for make in (quantize_case, bleed_case):
        cases += [make(rng, dtype, channels) for channels in (3, 1) for dtype in DTYPES]
    return cases


def measure(cases: Sequence[Case], rounds: int) -> list[Row]:
    """Time every implementation ("way") of every operation."""
    runs = [(case, way, run) for case in cases for way, run in case.runs.items()]
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for (_, _, run), taken in zip(runs, times, strict=True):
            run()
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    rows = []
    for (case, way, _), taken in zip(runs, times, strict=True):
        q1, median, q3 = quartiles(taken)
        rows.append({
            "operation": case.operation, "dtype": case.dtype, "channels": case.channels,
            "way": way, "bytes": case.bytes, "median_ms": median * 1e3, "q1_ms": q1 * 1e3,
            "q3_ms": q3 * 1e3, "gb_per_s": case.bytes / median / 1e9,
        })  # fmt: skip
    return rows


def table(rows: Sequence[Row]) -> str:
    copy = next(row["gb_per_s"] for row in rows if row["operation"] == "copy")
    records, base = [], 0.0
    for row in rows:
        if row["way"] in ("memory", "numpy"):  # the first implementation of every operation
            base = row["median_ms"]
        records.append({
            **row, "case": f"{row['operation']}, {row['dtype']}, {row['channels']}",
            "quartiles": f"{row['q1_ms']:.2f} - {row['q3_ms']:.2f}",
            "of_copy": row["gb_per_s"] / copy, "speedup": base / row["median_ms"],
        })  # fmt: skip
    return record_table(records, COLUMNS)


def measure_share(model: str, rounds: int) -> Row:
    """Share of gather and blend in upscales of a 512x512 picture in tiles of 256."""
    pixels = np.random.default_rng(3).integers(0, 256, (512, 512, 3), np.uint8)
    upscaler = create_pipeline(model, engine="onnx", tile=256)  # which runs in tiles
    spent = {"gather": 0.0, "blend": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - start

        return call

    samples: list[tuple[float, float, float]] = []
    with mock.patch.multiple(tiles, **{name: timed(name, getattr(tiles, name)) for name in spent}):
        for index in range(rounds + 1):
            spent.update(gather=0.0, blend=0.0)
            start = time.perf_counter()
            upscale(upscaler, Picture(pixels))
            total = time.perf_counter() - start
            if index:  # the first run loads the network
                samples.append((total, spent["gather"], spent["blend"]))
    total, gather, blend = (quartiles(column)[1] * 1e3 for column in zip(*samples, strict=True))
    return {
        "model": model, "total_ms": total, "gather_ms": gather, "blend_ms": blend,
        "share": (gather + blend) / total,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description="Time the tile kernels."
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="2 or more (default 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 15)
    facts = environment(threads=None, distributions=("waifu2x-native", "numpy", "onnxruntime"))
    print(describe(facts), flush=True)
    rows = measure(all_cases(), arguments.rounds)
    print(f"\n{table(rows)}", flush=True)
    shares = [measure_share(model, min(arguments.rounds, 7)) for model in ("upconv_7", "cunet")]
    print("\nShare of a whole upscale, 512x512 to 1024x1024, tiles of 256, engine onnx:\n")
    print(record_table(shares, SHARE_COLUMNS))
    if arguments.json:
        report = {
            "benchmark": "kernels",
            **facts,
            "isa": _native.isa(),
            "isas": _native.isas(),
            "rounds": arguments.rounds,
            "results": rows,
            "shares": shares,
        }
        write_json(arguments.json, report)


if __name__ == "__main__":
    main()
