"""Time of every layer, and of the network alone by several implementations of convolution."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from waifu2x.engines.cuda_fused import FusedRunner
from waifu2x.engines.torch import ModuleRunner, TorchEngine
from waifu2x.network import registry
from waifu2x.network.graph import Graph

from ..common.measure import reason
from ..common.parts import Part
from ..common.tables import markdown
from .options import GpuOptions, spread

MODELS = ("upconv_7", "cunet")


def network(model: str) -> Graph:
    entry = registry.model(model).network(2, None)
    assert entry is not None
    return registry.load(entry)


@contextmanager
def convolutions(choice: str) -> Iterator[None]:
    """Select the convolutions, "auto", "own" or "cudnn", of networks loaded within."""
    before = os.environ.get("WAIFU2X_CUDA_CONV")
    os.environ["WAIFU2X_CUDA_CONV"] = choice
    try:
        yield
    finally:
        os.environ.pop("WAIFU2X_CUDA_CONV")
        if before is not None:
            os.environ["WAIFU2X_CUDA_CONV"] = before


def run(options: GpuOptions) -> Part:
    options.require_gpu()
    limit = _tensor_core_limit(options)
    report: dict[str, Any] = {"tensor_core_limit_tflops": limit / 1e12, "models": {}}
    text = f"\nA product of matrices of 8192x8192 in fp16: {limit / 1e12:.0f} TFLOP/s"
    for model in MODELS:
        found = _measure(options, model, limit)
        report["models"][model] = found
        rows = [
            [each["name"], f"{each['ms']:.3f}", f"{each['tflops']:.0f}", f"{each['share']:.0%}"]
            for each in found["layers"]
        ]
        rows.append(["all layers", f"{sum(each['ms'] for each in found['layers']):.3f}"])
        text += f"\n\n{model}, 1920x1080:\n\n"
        text += markdown(["layer", "ms", "TFLOP/s", "of the limit"], rows)
        rows = [
            [name, f"{1e3 * each['median']:.2f}"]
            if "median" in each
            else [name, f"not run: {each['not_run']}"]
            for name, each in found["networks"].items()
        ]
        text += "\n\n" + markdown(["network alone", "ms"], rows)
    return Part(report, text)


def _tensor_core_limit(options: GpuOptions) -> float:
    """FLOP/s of a product of large fp16 matrices."""
    side = 512 if options.quick else 8192
    left, right = (
        torch.randn((side, side), device=options.device, dtype=torch.float16) for _ in range(2)
    )
    return 2 * side**3 / spread(options.seconds(lambda: left @ right))["median"]


def _measure(options: GpuOptions, model: str, limit: float) -> dict[str, Any]:
    graph = network(model)
    sides = (64, 96) if options.quick else (1080, 1920)
    height, width = (graph.input_size(side + 2 * graph.margin) for side in sides)
    found: dict[str, Any] = {"layers": [], "networks": {}}
    calls: dict[str, Callable[[], object]] = {}
    for choice in ("auto", "own", "cudnn"):
        name = f"ours, convolutions {choice}"
        with convolutions(choice):
            engine = TorchEngine(device=options.device, precision="fp16")
            with engine.session() as session, session.computing():
                runner = engine.make_runner(graph, session.device, torch.float16)
                if not isinstance(runner, FusedRunner):  # plain torch under another name
                    found["networks"][name] = {
                        "not_run": "the package has no CUDA kernels for this device"
                    }
                    continue
                batch = torch.rand((1, height, width, runner.pixel), device=options.device).half()
                batch[..., 3:] = 0
                if choice == "auto":
                    found["layers"] = [
                        {
                            "name": layer,
                            "ms": 1e3 * taken,
                            "tflops": flop / taken / 1e12,
                            "share": flop / taken / limit,
                        }
                        for layer, taken, flop in runner.times(batch)
                    ]
                calls[name] = _inference(runner, batch)
    plain = ModuleRunner(graph, torch.device(options.device), torch.float16)
    batch = torch.rand((1, height, width, 3), device=options.device).half()
    calls["plain torch, channels last"] = _inference(plain, batch)
    planes = batch.permute(0, 3, 1, 2)
    # Trace the module first, because the compiler cannot guard the NumPy arrays of its graph.
    with torch.inference_mode():
        compiled = torch.compile(make_fx(plain._module)(planes))
    calls["torch.compile"] = _inference(lambda x, _: compiled(x), planes)
    for name, call in calls.items():
        try:
            found["networks"][name] = spread(options.seconds(call, calls=3))
        except Exception as error:  # such as a missing compiler: the others continue
            found["networks"][name] = {"not_run": reason(error)}
    return found


def _inference(run: Callable[..., object], batch: torch.Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return run(batch, ())

    return call
