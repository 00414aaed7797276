"""Networks and whole pictures on a GPU, beside a plain loop over tiles."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from _cuda_options import CudaOptions, finish, seconds, spread
from _measure import FailureError, reason
from _parts import Part
from _pictures import drawn
from _tables import markdown
from _torch_eager import eager

from waifu2x import registry
from waifu2x.engines.cuda_network import FusedRunner
from waifu2x.engines.torch import ModuleRunner, TorchEngine
from waifu2x.graph import Graph
from waifu2x.picture import Picture
from waifu2x.pipeline import PictureUpscaler

MODELS = ("upconv_7", "cunet")
#: Pictures a second that were asked for with fp16 on an H200, and how many times a plain loop.
WANTED = {"upconv_7": 125, "cunet": 60}
WANTED_SPEED = 5
#: Pictures that are given at once.
AT_ONCE = 3
PEER_TILE, PEER_BATCH = 256, 4


def network(model: str) -> Graph:
    entry = registry.model(model).network(2, None)
    assert entry is not None
    return registry.load(entry)


@contextmanager
def convolutions(way: str) -> Iterator[None]:
    """Choose who computes convolutions, for networks that are loaded within."""
    before = os.environ.get("WAIFU2X_CUDA_CONV")
    os.environ["WAIFU2X_CUDA_CONV"] = way
    try:
        yield
    finally:
        os.environ.pop("WAIFU2X_CUDA_CONV")
        if before is not None:
            os.environ["WAIFU2X_CUDA_CONV"] = before


# --- layers ---------------------------------------------------------------------------------------


def layers(options: CudaOptions) -> Part:
    options.require_gpu()
    limit = _tensor_limit(options)
    report: dict[str, Any] = {"tensor_core_limit_tflops": limit / 1e12, "models": {}}
    text = f"\nA product of matrices of 8192x8192 in fp16: {limit / 1e12:.0f} TFLOP/s"
    for model in MODELS:
        found = _layers_of(options, model, limit)
        report["models"][model] = found
        rows = [
            [each["name"], f"{each['ms']:.3f}", f"{each['tflops']:.0f}", f"{each['share']:.0%}"]
            for each in found["layers"]
        ]
        rows.append(["all of them", f"{sum(each['ms'] for each in found['layers']):.3f}"])
        text += f"\n\n{model}, 1920x1080:\n\n"
        text += markdown(["layer", "ms", "TFLOP/s", "of the limit"], rows)
        rows = [
            [name, f"{1e3 * each['median']:.2f}"] if "median" in each else [name, each["not_run"]]
            for name, each in found["networks"].items()
        ]
        text += "\n\n" + markdown(["network by itself", "ms"], rows)
    return Part(report, text)


def _tensor_limit(options: CudaOptions) -> float:
    side = 512 if options.quick else 8192
    left, right = (
        torch.randn((side, side), device=options.device, dtype=torch.float16) for _ in range(2)
    )
    return 2 * side**3 / spread(seconds(options, lambda: left @ right))["median"]


def _layers_of(options: CudaOptions, model: str, limit: float) -> dict[str, Any]:
    graph = network(model)
    height, width = (64, 96) if options.quick else (1080, 1920)
    size = (
        graph.input_size(height + 2 * graph.margin),
        graph.input_size(width + 2 * graph.margin),
    )
    found: dict[str, Any] = {"layers": [], "networks": {}}
    runners: dict[str, Callable[[], object]] = {}
    for way in ("auto", "own", "cudnn"):
        with convolutions(way):
            engine = TorchEngine(device=options.device, precision="fp16")
        with convolutions(way), engine.session() as session, session.computing():
            runner = engine.make_runner(graph, session.device, torch.float16)
            batch = torch.rand((1, *size, runner.pixel), device=options.device).half()
            batch[..., 3:] = 0
            if way == "auto" and isinstance(runner, FusedRunner):
                for name, took, flop in runner.times(batch):
                    found["layers"].append(
                        {
                            "name": name,
                            "ms": 1e3 * took,
                            "tflops": flop / took / 1e12,
                            "share": flop / took / limit,
                        }
                    )
            runners[f"ours, convolutions {way}"] = _inference(runner, batch)
    plain = ModuleRunner(graph, torch.device(options.device), torch.float16)
    batch = torch.rand((1, *size, 3), device=options.device).half()
    runners["plain torch, channels last"] = _inference(plain, batch)
    compiled = torch.compile(plain._module)
    first = batch.permute(0, 3, 1, 2)
    runners["torch.compile"] = _inference(lambda x, _: compiled(x), first)
    for name, call in runners.items():
        try:
            found["networks"][name] = spread(seconds(options, call, calls=3))
        except Exception as error:  # a compiler that is missing, say: the others go on
            found["networks"][name] = {"not_run": reason(error)}
    return found


def _inference(run: Callable[..., object], batch: torch.Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return run(batch, ())

    return call


# --- pictures -------------------------------------------------------------------------------------


def pictures(options: CudaOptions) -> Part:
    width, height = (96, 64) if options.quick else (1920, 1080)
    report: dict[str, Any] = {"width": width, "height": height, "models": {}}
    text, wrong = "", []
    for model in MODELS:
        found = _rates(options, model, width, height, count=2 if options.quick else 30)
        report["models"][model] = found
        rate, peer = found["ours"]["median"], found["plain loop"]["median"]
        found["wanted"] = {"rate": WANTED[model], "speed": WANTED_SPEED}
        found["speed"] = rate / peer
        text += f"\n\n{model}, {width}x{height}: {rate:.1f} pictures a second (wanted on an H200: "
        text += f"{WANTED[model]}), {rate / peer:.1f}x a plain loop (wanted: {WANTED_SPEED}x)\n\n"
        rows = [
            [name, f"{each['median']:.2f}", f"{each['min']:.2f} - {each['max']:.2f}"]
            for name, each in found.items()
            if "median" in (each if isinstance(each, dict) else {})
        ]
        text += markdown(["", "pictures a second", "min - max"], rows)
        if found["differs"] > 2:
            wrong.append(f"{model}: {found['differs']} levels from the plain loop in float32")
    return Part(report, text, wrong)


def small(options: CudaOptions) -> Part:
    options.require_gpu()
    side = 64 if options.quick else 256
    report: dict[str, Any] = {"side": side, "models": {}}
    text = ""
    for model in MODELS:
        found: dict[str, Any] = {}
        for name, graphs in (("with CUDA graphs", True), ("without", False)):
            core = _upscaler(options, model)
            engine = core.engine
            assert isinstance(engine, TorchEngine)
            if not graphs:
                for device in engine._devices:
                    device.graphs = None
            picture = _picture(side, side)
            count = 4 if options.quick else 300
            found[name] = spread(_many(options, lambda c=core, p=picture: c.run(p), count))
        report["models"][model] = found
        rows = [[name, f"{each['median']:.0f}"] for name, each in found.items()]
        text += f"\n\n{model}, {side}x{side}\n\n" + markdown(["", "pictures a second"], rows)
    return Part(report, text)


def _picture(width: int, height: int) -> Picture:
    return Picture(np.asarray(drawn(width, height).convert("RGB")))


def _upscaler(options: CudaOptions, model: str, precision: str = "auto") -> PictureUpscaler:
    engine = "cuda" if options.gpu else "torch"
    core = PictureUpscaler(model, engine=engine, device=options.device, precision=precision)
    if core.engine.name != engine:
        raise FailureError(f"there is no {options.device} here")
    return core


def _rates(options: CudaOptions, model: str, width: int, height: int, count: int) -> dict[str, Any]:
    """Pictures a second of everyone, in turns."""
    picture = _picture(width, height)
    ways: dict[str, Callable[[], object]] = {}
    for name, way, precision in (
        ("ours", "auto", "auto"),
        ("ours, our convolutions", "own", "auto"),
        ("ours, cuDNN", "cudnn", "auto"),
        ("ours, float32", "auto", "fp32"),
    ):
        with convolutions(way):
            core = _upscaler(options, model, precision)
            core.run(picture)  # loads the network while the choice stands
        ways[name] = lambda core=core: core.run(picture)
    loop = _Loop(network(model), options)
    ways["plain loop"] = lambda: loop(picture.colour)
    full = _Loop(network(model), options, full=True)
    # The loop's tiles of cunet take means of their own.
    reference = full(picture.colour) if model != "cunet" else core.run(picture).colour
    result = _upscaler(options, model).run(picture).colour
    differs = int(np.abs(result.astype(int) - reference.astype(int)).max())
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        call()
        call()
    for _ in range(options.rounds):
        for name, call in ways.items():
            pictures = count if name.startswith("ours") else max(1, count // 6)
            taken[name] += _many(options, call, pictures, rounds=1)
    return {"differs": differs, **{name: spread(each) for name, each in taken.items()}}


def _many(
    options: CudaOptions, call: Callable[[], object], count: int, rounds: int | None = None
) -> list[float]:
    """Calls a second, several at a time."""
    rates = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: call(), range(2 * AT_ONCE)))
        for _ in range(rounds or options.rounds):
            finish(options.device)
            began = time.perf_counter()
            list(pool.map(lambda _: call(), range(count)))
            rates.append(count / (time.perf_counter() - began))
    return rates


class _Loop:
    """What others do: tiles cut and padded in NumPy, each batch copied there and back."""

    def __init__(self, graph: Graph, options: CudaOptions, *, full: bool = False) -> None:
        half = options.gpu and not full
        self._network = eager(graph, options.device, torch.float16 if half else torch.float32)
        self._graph = graph

    def __call__(self, colour: np.ndarray) -> np.ndarray:
        graph, scale = self._graph, self._graph.scale
        height, width, _ = colour.shape
        margin = graph.margin
        side = graph.input_size(PEER_TILE + 2 * margin)
        rows, columns = -(-height // PEER_TILE), -(-width // PEER_TILE)
        below, right = rows * PEER_TILE + side - height, columns * PEER_TILE + side - width
        padded = np.pad(colour, ((margin, below), (margin, right), (0, 0)), "edge")
        result = np.empty((rows * PEER_TILE * scale, columns * PEER_TILE * scale, 3), np.uint8)
        places = [(y * PEER_TILE, x * PEER_TILE) for y in range(rows) for x in range(columns)]
        for first in range(0, len(places), PEER_BATCH):
            group = places[first : first + PEER_BATCH]
            batch = np.stack([padded[y : y + side, x : x + side] for y, x in group])
            planes = np.ascontiguousarray(batch.transpose(0, 3, 1, 2)).astype(np.float32) / 255
            made = self._network(planes)
            for (y, x), tile in zip(group, made, strict=True):
                out = PEER_TILE * scale
                part = np.clip(tile[:, :out, :out], 0, 1).transpose(1, 2, 0)
                result[y * scale : y * scale + out, x * scale : x * scale + out] = np.floor(
                    part * 255 + 0.5
                ).astype(np.uint8)
        return result[: height * scale, : width * scale]
