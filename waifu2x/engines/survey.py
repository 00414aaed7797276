"""Lists the devices of a machine: what runs a network there, how right and how fast."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from .. import kernels
from .._record import record
from .._text import plural, reason
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

    @property
    def result(self) -> str:
        """The verdict in words, or the problem."""
        if self.problem:
            return self.problem
        if self.verdict is None:
            return "not tested" if self.software else "reference"
        if self.verdict.fault:
            return f"wrong: {self.verdict.fault}"
        return f"right to {self.verdict.error:.2g} of 255"

    def facts(self) -> dict[str, Any]:
        """Return all fields for JSON; null stands for an infinity, and for what was not tested."""
        facts = {name: value for name, value in asdict(self).items() if name != "verdict"}
        verdict = self.verdict
        facts["passed"] = None if verdict is None else verdict.passed
        for name in ("fault", "error", "psnr"):
            value = None if verdict is None else getattr(verdict, name)
            facts[name] = None if value == math.inf else value
        return facts


def survey(
    graph: Graph, *, threads: int | None = None, precision: str = "auto", again: bool = False
) -> list[Found]:
    """Test every device with a network; the native engine comes first.

    again: test devices that have a verdict, too.
    """
    found = list(found_devices(graph, threads=threads, precision=precision, again=again))
    best = fastest(found)
    return [replace(each, chosen=each is best) for each in found]


def found_devices(
    graph: Graph,
    *,
    threads: int | None = None,
    precision: str = "auto",
    again: bool = False,
    software: bool = True,
) -> Iterator[Found]:
    """Yield the devices, each as soon as it is tested; the native engine comes first.

    software: test devices that compute on the CPU, too.
    """
    tests = Tests(graph, threads=threads, again=again)
    native = create("native", threads=threads)
    hardware = f"CPU, {kernels.isa()}, {plural(native.threads, 'thread')}"
    yield Found("native", "cpu", hardware, seconds=tests.cpu_seconds)
    for engine, devices in _DEVICES.items():
        there = set()
        try:
            for kind, device, name, is_software in devices():
                there.add(kind)
                if is_software and not software:
                    yield Found(kind, device, name, software=True)
                else:
                    yield _tested(tests, kind, device, name, is_software, precision)
        except Exception as error:  # a library raises errors of any kind when it is imported
            yield Found(engine, "", "", f"cannot be loaded: {reason(error)}")
            continue
        if engine not in there:
            yield Found(engine, "", "", _absence(engine))


def fastest(found: Sequence[Found]) -> Found:
    """Return the device that engine "auto" takes for the network."""
    return min(filter(_is_automatic, found), key=lambda each: each.seconds or 0)


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


#: A device: engine, ``device=``, name, and whether it computes on the CPU.
_Device = tuple[str, str, str, bool]


def _torch_devices() -> Iterator[_Device]:
    if importlib.util.find_spec("torch"):
        import torch

        for index in range(torch.cuda.device_count()):
            yield "cuda", f"cuda:{index}", torch.cuda.get_device_name(index), False
        if torch.backends.mps.is_available():
            yield "torch", "mps", "Apple GPU", False
        if hasattr(torch, "xpu") and torch.xpu.is_available():
            for index in range(torch.xpu.device_count()):
                yield "torch", f"xpu:{index}", torch.xpu.get_device_name(index), False


def _vulkan_devices() -> Iterator[_Device]:
    if importlib.util.find_spec("ncnn"):
        from .vulkan_devices import gpus

        for gpu in gpus():
            yield "vulkan", f"vulkan:{gpu.index}", gpu.name, gpu.software


def _onnx_devices() -> Iterator[_Device]:
    from .onnx_providers import installed

    for kind in installed():
        yield "onnx", kind, f"{kind} of onnxruntime", False


#: The functions that find devices, by the engine that has a row without any device.
_DEVICES: Final[dict[str, Callable[[], Iterator[_Device]]]] = {
    "cuda": _torch_devices,
    "vulkan": _vulkan_devices,
    "onnx": _onnx_devices,
}


def _absence(engine: str) -> str:
    """Return why an engine of GPUs has no device."""
    if engine == "cuda":
        if importlib.util.find_spec("torch"):
            return "torch finds no CUDA device"
        return "PyTorch is not installed; pip install torch"
    if engine == "vulkan":
        if importlib.util.find_spec("ncnn"):
            return "ncnn finds no Vulkan device"
        return "ncnn is not installed; pip install ncnn"
    kinds = [kind for kind, engines in KINDS.items() if "onnx" in engines and kind != "cpu"]
    return f"no execution provider for {', '.join(kinds)} is installed"
