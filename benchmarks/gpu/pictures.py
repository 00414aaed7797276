"""Whole pictures per second on a GPU, compared with a plain loop over tiles."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from waifu2x.engines.torch import TorchEngine
from waifu2x.picture import Picture
from waifu2x.pipeline.pipeline import Pipeline

from ..common.engines import create_pipeline, require_engine, upscale
from ..common.parts import Part
from ..common.pictures import Pixels, draw_face, max_difference, upscale_tiles
from ..common.tables import markdown
from ..common.torch_eager import eager
from .layers import MODELS, convolutions, network
from .options import GpuOptions, spread

#: Target pictures per second with fp16 on an H200, and target speedup over the plain loop.
TARGET_RATES = {"upconv_7": 125, "cunet": 60}
TARGET_SPEEDUP = 5
#: Pictures in flight.
CONCURRENCY = 3
PEER_TILE, PEER_BATCH = 256, 4
#: Largest difference from float32, in levels of 255.
LEVEL_TOLERANCE = 2


def picture_of(width: int, height: int) -> Picture:
    return Picture(np.asarray(draw_face(width, height).convert("RGB")))


def upscaler(options: GpuOptions, model: str, precision: str = "auto", tile: int = 0) -> Pipeline:
    """An upscaler on the device. Raises `UnavailableError` instead of a fallback to the CPU."""
    name = "cuda" if options.gpu else "torch"
    pipeline = create_pipeline(
        model, engine=name, device=options.device, precision=precision, tile=tile
    )
    require_engine(pipeline.engine, name)
    return pipeline


def run(options: GpuOptions) -> Part:
    width, height = (96, 64) if options.quick else (1920, 1080)
    report: dict[str, Any] = {"width": width, "height": height, "models": {}}
    text, problems = "", []
    for model in MODELS:
        picture = picture_of(width, height)
        rates, differs = _rates(options, model, picture, count=2 if options.quick else 30)
        rate, speedup = (
            rates["ours"]["median"],
            rates["ours"]["median"] / rates["plain loop"]["median"],
        )
        report["models"][model] = {
            "differs": differs,
            **rates,
            "wanted": {"rate": TARGET_RATES[model], "speed": TARGET_SPEEDUP},
            "speed": speedup,
        }
        text += f"\n\n{model}, {width}x{height}: {rate:.1f} pictures a second (target on an H200: "
        text += (
            f"{TARGET_RATES[model]}), {speedup:.1f}x a plain loop (target: {TARGET_SPEEDUP}x)\n\n"
        )
        rows = [
            [name, f"{each['median']:.2f}", f"{each['min']:.2f} - {each['max']:.2f}"]
            for name, each in rates.items()
        ]
        text += markdown(["", "pictures a second", "min - max"], rows)
        if differs > LEVEL_TOLERANCE:
            problems.append(f"{model}: {differs} levels from the plain loop in float32")
    return Part(report, text, problems)


def run_small(options: GpuOptions) -> Part:
    """Small pictures, with and without CUDA graphs."""
    options.require_gpu()
    side = 64 if options.quick else 256
    report: dict[str, Any] = {"side": side, "models": {}}
    text = ""
    picture = picture_of(side, side)
    for model in MODELS:
        found: dict[str, Any] = {}
        for name, graphs in (("with CUDA graphs", True), ("without", False)):
            pipeline = upscaler(options, model)
            assert isinstance(pipeline.engine, TorchEngine)
            for device in pipeline.engine.devices:
                if not graphs:
                    device.graphs = None
                assert graphs == (device.graphs is not None)
            call = lambda pipeline=pipeline: upscale(pipeline, picture)  # noqa: E731
            found[name] = spread(_concurrent(options, call, 4 if options.quick else 300))
        report["models"][model] = found
        rows = [[name, f"{each['median']:.0f}"] for name, each in found.items()]
        text += f"\n\n{model}, {side}x{side}\n\n" + markdown(["", "pictures a second"], rows)
    return Part(report, text)


def _rates(
    options: GpuOptions, model: str, picture: Picture, count: int
) -> tuple[dict[str, dict[str, float]], int]:
    """Pictures per second of all contestants, interleaved, and our difference from float32."""
    variants = [("ours", "auto", "auto")]
    if options.fused:  # else these names would all stand for plain torch
        variants += [("ours, our convolutions", "own", "auto"), ("ours, cuDNN", "cudnn", "auto")]
    if options.gpu:
        variants.append(("ours, float32", "auto", "fp32"))
    calls: dict[str, Callable[[], object]] = {}
    for name, choice, precision in variants:
        with convolutions(choice):
            pipeline = upscaler(options, model, precision)
            upscale(pipeline, picture)  # loads the network while the choice is in effect
        calls[name] = lambda pipeline=pipeline: upscale(pipeline, picture)
    half = _plain_loop(options, model, torch.float16 if options.gpu else torch.float32)
    calls["plain loop"] = lambda: half(picture.color)
    if model == "cunet":  # tiles of the loop compute global means of their own
        reference = upscale(upscaler(options, model, "fp32"), picture).color
    else:
        reference = _plain_loop(options, model, torch.float32)(picture.color)
    differs = max_difference(upscale(upscaler(options, model), picture).color, reference)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
        call()
    for _ in range(options.rounds):
        for name, call in calls.items():
            pictures = count if name.startswith("ours") else max(1, count // 6)
            taken[name] += _concurrent(options, call, pictures, rounds=1)
    return {name: spread(each) for name, each in taken.items()}, differs


def _concurrent(
    options: GpuOptions, call: Callable[[], object], count: int, rounds: int | None = None
) -> list[float]:
    """Calls per second with `CONCURRENCY` threads, one value per round."""
    rates = []
    threads = 2 if options.quick else CONCURRENCY
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: call(), range(2 * threads)))
        for _ in range(rounds or options.rounds):
            options.synchronize()
            began = time.perf_counter()
            list(pool.map(lambda _: call(), range(count)))
            rates.append(count / (time.perf_counter() - began))
    return rates


def _plain_loop(options: GpuOptions, model: str, dtype: torch.dtype) -> Callable[[Pixels], Pixels]:
    """What other programs do: tiles cut in NumPy, each batch copied to the device and back."""
    graph = network(model)
    run = eager(graph, options.device, dtype)
    tile = 64 if options.quick else PEER_TILE
    window = graph.input_size(tile + 2 * graph.margin)
    return lambda pixels: upscale_tiles(
        run, pixels, tile=tile, window=window, lost=graph.margin, scale=graph.scale,
        batch=PEER_BATCH,
    )  # fmt: skip
