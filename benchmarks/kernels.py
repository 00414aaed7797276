"""Times the tile kernels: each dtype, gray and RGB, each instruction set, beside NumPy.

    python benchmarks/kernels.py [--rounds 15] [--json FILE]

Every way of doing one operation runs in each round, in turn, so a slow spell of the machine falls
on all of them; an untimed call goes before each timed one, so that none profits from what ran
before it. The table shows medians and the spread between the quartiles. GB/s counts the bytes an
operation must read and write, once each, to be held against the copy of a large array measured in
the same rounds; more than the copy means that the 12 MB of a batch stayed in a cache. NumPy does
what a plain implementation would: a few whole-array operations, for gather a fancy index. One
thread runs. A level without tile kernels of its own (avx512) shows the noise between two timings of
the same code. The last table is how much of a whole upscale gather and blend take.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from _environment import describe, environment

from waifu2x import _native, tiles
from waifu2x.picture import Picture
from waifu2x.pipeline import PictureUpscaler, Settings

SIDE = 256  # of a tile
TILES = 16  # in a batch: with RGB in float32, 12 MB
COPY = 256 << 20  # bytes copied to measure memory

DTYPES = ("uint8", "uint16", "float32")

Run = Callable[[], object]


@dataclass
class Row:
    operation: str
    dtype: str
    channels: int
    way: str
    bytes: int
    median_ms: float
    q1_ms: float
    q3_ms: float
    gb_per_s: float


@dataclass
class Case:
    operation: str
    dtype: str
    channels: int
    bytes: int
    ways: dict[str, Run]


def picture(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "float32":
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def full(dtype: str) -> np.float32:
    return np.float32(1 if dtype == "float32" else np.iinfo(dtype).max)


def numpy_quantise(values: np.ndarray, dtype: str) -> np.ndarray:
    assert np.isfinite(values).all()
    clamped = np.clip(values, 0, 1)
    if dtype == "float32":
        return clamped
    return (clamped * full(dtype) + np.float32(0.5)).astype(dtype)


def numpy_luma(tile: np.ndarray) -> np.ndarray:
    return np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), tile, 1)[:, :, None]


def gather_case(rng: np.random.Generator, dtype: str, channels: int) -> Case:
    side = 4 * SIDE
    source = picture(rng, (side, side, channels), dtype)
    # Windows overlap by a margin, and those on the edge reach outside, as in a tiling.
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

    ways = {"numpy": with_numpy, **{isa: native(isa) for isa in _native.isas()}}
    return Case("gather", dtype, channels, source.nbytes + out.nbytes, ways)


def blend_case(rng: np.random.Generator, dtype: str, channels: int) -> Case:
    batch = rng.random((TILES, 3, SIDE, SIDE), np.float32)
    target = picture(rng, (4 * SIDE, 4 * SIDE, channels), dtype)
    corners = [(x, y) for y in range(0, 4 * SIDE, SIDE) for x in range(0, 4 * SIDE, SIDE)]

    def with_numpy() -> None:
        for tile, (x, y) in zip(batch, corners, strict=True):
            values = numpy_luma(tile) if channels == 1 else tile.transpose(1, 2, 0)
            target[y : y + SIDE, x : x + SIDE] = numpy_quantise(values, dtype)

    def native(isa: str) -> Run:
        def run() -> None:
            for tile, (x, y) in zip(batch, corners, strict=True):
                _native.blend(tile, 0, 0, target, x, y, SIDE, SIDE, isa=isa)

        return run

    ways = {"numpy": with_numpy, **{isa: native(isa) for isa in _native.isas()}}
    return Case("blend", dtype, channels, batch.nbytes + target.nbytes, ways)


def feather_case(rng: np.random.Generator, channels: int) -> Case:
    batch = rng.random((TILES, 3, SIDE, SIDE), np.float32)
    canvas = np.zeros((4 * SIDE, 4 * SIDE, channels), np.float32)
    corners = [(x, y) for y in range(0, 4 * SIDE, SIDE) for x in range(0, 4 * SIDE, SIDE)]
    wx, wy = rng.random(SIDE, np.float32), rng.random(SIDE, np.float32)

    def with_numpy() -> None:
        weights = (wy[:, None] * wx)[:, :, None]
        for tile, (x, y) in zip(batch, corners, strict=True):
            values = numpy_luma(tile) if channels == 1 else tile.transpose(1, 2, 0)
            canvas[y : y + SIDE, x : x + SIDE] += values * weights

    def native(isa: str) -> Run:
        def run() -> None:
            for tile, (x, y) in zip(batch, corners, strict=True):
                _native.blend_feathered(tile, 0, 0, canvas, x, y, SIDE, SIDE, wx, wy, isa=isa)

        return run

    ways = {"numpy": with_numpy, **{isa: native(isa) for isa in _native.isas()}}
    return Case("blend_feathered", "float32", channels, batch.nbytes + 2 * canvas.nbytes, ways)


def quantise_case(rng: np.random.Generator, dtype: str, channels: int) -> Case:
    canvas = rng.random((4 * SIDE, 4 * SIDE, channels), np.float32)
    target = np.empty(canvas.shape, dtype)

    def with_numpy() -> None:
        target[:] = numpy_quantise(canvas, dtype)

    def native(isa: str) -> Run:
        return lambda: _native.quantize(canvas, target, isa=isa)

    ways = {"numpy": with_numpy, **{isa: native(isa) for isa in _native.isas()}}
    return Case("quantise", dtype, channels, canvas.nbytes + target.nbytes, ways)


def bleed_case(rng: np.random.Generator, dtype: str, channels: int) -> Case:
    """An opaque disc on a transparent ground, bled by one network's margin."""
    side, iterations = 4 * SIDE, 18
    colour = picture(rng, (side, side, channels), dtype)
    y, x = np.mgrid[:side, :side] - side / 2
    alpha = np.where(x * x + y * y < (side / 4) ** 2, full(dtype), 0).astype(dtype)

    def with_numpy() -> None:
        values, has = colour.astype(np.float32), alpha > 0
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

    # Bleeding again over the result costs the same: alpha says which pixels have colour.
    ways: dict[str, Run] = {
        "numpy": with_numpy,
        "scalar": lambda: _native.bleed(colour, alpha, iterations, isa="scalar"),
    }
    return Case("bleed", dtype, channels, colour.nbytes + alpha.nbytes, ways)


def copy_case() -> Case:
    source = np.ones(COPY, np.uint8)
    target = np.zeros(COPY, np.uint8)
    return Case("copy", "uint8", 1, 2 * COPY, {"memory": lambda: np.copyto(target, source)})


def all_cases() -> list[Case]:
    rng = np.random.default_rng(2)
    cases = [copy_case()]
    for channels in (3, 1):
        for dtype in DTYPES:
            cases.append(gather_case(rng, dtype, channels))
            cases.append(blend_case(rng, dtype, channels))
            cases.append(quantise_case(rng, dtype, channels))
            cases.append(bleed_case(rng, dtype, channels))
        cases.append(feather_case(rng, channels))
    order = ["copy", "gather", "blend", "blend_feathered", "quantise", "bleed"]
    return sorted(cases, key=lambda case: order.index(case.operation))


def measure(cases: list[Case], rounds: int) -> list[Row]:
    times: dict[tuple[int, str], list[float]] = {}
    for _ in range(rounds):
        for index, case in enumerate(cases):
            for way, run in case.ways.items():
                run()
                start = time.perf_counter()
                run()
                times.setdefault((index, way), []).append(time.perf_counter() - start)
    rows = []
    for (index, way), taken in times.items():
        case = cases[index]
        q1, median, q3 = statistics.quantiles(taken, n=4)
        rows.append(
            Row(
                case.operation,
                case.dtype,
                case.channels,
                way,
                case.bytes,
                median * 1e3,
                q1 * 1e3,
                q3 * 1e3,
                case.bytes / median / 1e9,
            )
        )
    return rows


def show(rows: list[Row]) -> None:
    memory = next(row.gb_per_s for row in rows if row.operation == "copy")
    numpy_ms = {
        (row.operation, row.dtype, row.channels): row.median_ms
        for row in rows
        if row.way == "numpy"
    }
    print(
        f"{'operation':16}{'dtype':9}{'C':>2}  {'way':8}{'median ms':>10}{'quartiles':>17}"
        f"{'GB/s':>8}{'of copy':>9}{'x numpy':>9}"
    )
    for row in rows:
        base = numpy_ms.get((row.operation, row.dtype, row.channels))
        ratio = f"{base / row.median_ms:9.1f}" if base else f"{'':>9}"
        spread = f"{row.q1_ms:.2f}-{row.q3_ms:.2f}"
        print(
            f"{row.operation:16}{row.dtype:9}{row.channels:2}  {row.way:8}{row.median_ms:10.2f}"
            f"{spread:>17}{row.gb_per_s:8.1f}{row.gb_per_s / memory:8.0%} {ratio}"
        )


@dataclass
class Share:
    """How much of one whole upscale, picture in memory to picture in memory, a kernel took."""

    model: str
    total_ms: float
    gather_ms: float
    blend_ms: float
    share: float


def measure_share(model: str, rounds: int) -> Share:
    """Medians over upscales of a 512x512 picture in tiles of 256, with gather and blend timed."""
    colour = np.random.default_rng(3).integers(0, 256, (512, 512, 3), np.uint8)
    upscaler = PictureUpscaler(model, engine="onnx")  # which runs in tiles
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
        for round_number in range(rounds + 1):
            spent.update(gather=0.0, blend=0.0)
            start = time.perf_counter()
            upscaler.run(Picture(colour), settings=Settings(tile=256))
            total = time.perf_counter() - start
            if round_number:  # the first one loads the network
                samples.append((total, spent["gather"], spent["blend"]))
    total, gather, blend = (
        statistics.median(column) * 1e3 for column in zip(*samples, strict=True)
    )
    return Share(model, total, gather, blend, (gather + blend) / total)


def show_shares(shares: list[Share]) -> None:
    print("\nshare of a whole upscale, 512x512 to 1024x1024, tiles of 256, engine onnx")
    print(f"{'model':16}{'total ms':>10}{'gather ms':>11}{'blend ms':>10}{'share':>8}")
    for share in shares:
        print(
            f"{share.model:16}{share.total_ms:10.0f}{share.gather_ms:11.2f}{share.blend_ms:10.2f}"
            f"{share.share:8.2%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the tile kernels.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds to time (default 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds must be 2 or more: one round has no spread")
    facts = environment(threads=None, distributions=("waifu2x-native", "numpy", "onnxruntime"))
    print(describe(facts), flush=True)
    rows = measure(all_cases(), arguments.rounds)
    show(rows)
    shares = [measure_share(model, min(arguments.rounds, 7)) for model in ("upconv_7", "cunet")]
    show_shares(shares)
    if arguments.json:
        report = {
            "benchmark": "kernels",
            **facts,
            "isa": _native.isa(),
            "isas": _native.isas(),
            "rounds": arguments.rounds,
            "results": [asdict(row) for row in rows],
            "shares": [asdict(share) for share in shares],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
