"""Lists the devices of a machine: what runs a network there, how right and how fast."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace

from .. import kernels
from .._record import record
from .._text import plural
from ..errors import DeviceLostError, DeviceMemoryError, EngineError
from ..network.graph import Graph
from .creation import create
from .names import KINDS
from .self_test import Verdict
from .trust import Tests


@record
class Found:
    """A device on an engine, or why an engine has none.

    device: as ``device=`` takes it; empty if the engine has none. name: of the hardware.
    problem: why the device cannot be used, empty if it can. verdict: of the self-test; None for
    the CPU and without a test. seconds: per megapixel of input, None if not measured.
    chosen: whether engine "auto" takes it for this network. software: whether it computes on the
    CPU, so that "auto" never takes it.
    """

    engine: str
    device: str
    name: str
    problem: str = ""
    verdict: Verdict | None = None
    seconds: float | None = None
    software: bool = False
    chosen: bool = False


def survey(
    graph: Graph, *, threads: int | None = None, precision: str = "auto", again: bool = False
) -> list[Found]:
    """Test every device with a network; the native engine comes first.

    again: test devices that have a verdict, too.
    """
    tests = Tests(graph, threads=threads, again=again)
    native = create("native", threads=threads)
    hardware = f"CPU, {kernels.isa()}, {plural(native.threads, 'thread')}"
    found = [Found("native", "cpu", hardware, seconds=tests.cpu_seconds)]
    for engine, device, name, software in _devices():
        found.append(_tested(tests, engine, device, name, software, precision))
    for engine, problem in _missing(found):
        found.append(Found(engine, "", "", problem))
    usable = [each for each in found if _is_automatic(each)]
    best = min(usable, key=lambda each: each.seconds or 0)
    return [replace(each, chosen=each is best) for each in found]


def _is_automatic(found: Found) -> bool:
    passed = found.verdict is None or found.verdict.passed
    return (
        found.engine in ("native", "cuda", "vulkan")
        and bool(found.device)
        and not found.problem
        and not found.software
        and passed
    )


def _tested(
    tests: Tests, engine: str, device: str, name: str, software: bool, precision: str
) -> Found:
    try:
        made = create(engine, device=device, precision="auto" if engine == "onnx" else precision)
        (tested,) = tests.of(made).values()
    except (DeviceLostError, DeviceMemoryError, EngineError) as error:
        return Found(engine, device, name, str(error).split(";")[0], software=software)
    verdict = tested.verdict
    seconds = verdict.seconds if verdict.passed else None
    return Found(engine, device, name, "", verdict, seconds, software)


def _devices() -> Iterator[tuple[str, str, str, bool]]:
    """Yield engine, device, name and whether it is software, for each device that is there."""
    if importlib.util.find_spec("torch"):
        import torch

        for index in range(torch.cuda.device_count()):
            yield "cuda", f"cuda:{index}", torch.cuda.get_device_name(index), False
        if torch.backends.mps.is_available():
            yield "torch", "mps", "Apple GPU", False
        if hasattr(torch, "xpu") and torch.xpu.is_available():
            for index in range(torch.xpu.device_count()):
                yield "torch", f"xpu:{index}", torch.xpu.get_device_name(index), False
    if importlib.util.find_spec("ncnn"):
        from .vulkan_devices import gpus

        for gpu in gpus():
            yield "vulkan", f"vulkan:{gpu.index}", gpu.name, gpu.software
    from .onnx_providers import installed

    for kind in installed():
        yield "onnx", kind, f"{kind} of onnxruntime", False


def _missing(found: list[Found]) -> Iterator[tuple[str, str]]:
    """Yield the engines of GPUs that have no device, and why."""
    there = {each.engine for each in found}
    if "cuda" not in there:
        problem = "torch finds no CUDA device"
        if not importlib.util.find_spec("torch"):
            problem = "PyTorch is not installed; pip install torch"
        yield "cuda", problem
    if "vulkan" not in there:
        problem = "ncnn finds no Vulkan device"
        if not importlib.util.find_spec("ncnn"):
            problem = "ncnn is not installed; pip install ncnn"
        yield "vulkan", problem
    if "onnx" not in there:
        kinds = [kind for kind, engines in KINDS.items() if "onnx" in engines and kind != "cpu"]
        yield "onnx", f"no execution provider for {', '.join(kinds)} is installed"
