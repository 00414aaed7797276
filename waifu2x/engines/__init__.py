"""Engines run a network on a CPU or GPU."""

from __future__ import annotations

import logging
import re
from typing import Final

from .._machine import nvidia_gpus, thread_limit
from .._text import unknown
from ..errors import ArgumentError, EngineError
from ..kernels import tiles
from ..network.graph import Graph
from .base import Compiled, Concurrency, Engine, OnRows, Streaming
from .device import Batch, DevicePicture, Session, TileBatch, TileCopy, TileStats, Transform
from .host import RUNTIME_OVERHEAD
from .model_file import read_model

__all__ = [
    "ENGINES",
    "PRECISIONS",
    "RUNTIME_OVERHEAD",
    "Batch",
    "Compiled",
    "Concurrency",
    "DevicePicture",
    "Engine",
    "OnRows",
    "Session",
    "Streaming",
    "TileBatch",
    "TileCopy",
    "TileStats",
    "Transform",
    "check",
    "create",
    "for_model",
    "obstacles",
    "read_model",
]

_log = logging.getLogger(__name__)

#: Names of engines in `create`, apart from "auto".
ENGINES: Final = ("native", "onnx", "torch", "cuda")

#: Names of precisions in `create`.
PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16")

#: Devices of torch that a network may run on; several of one kind are joined by commas.
_DEVICES: Final = re.compile(r"(cpu|mps|xpu|cuda)(:\d+)?(\s*,\s*(cpu|mps|xpu|cuda)(:\d+)?)*")


def create(
    name: str = "auto",
    *,
    threads: int | None = None,
    device: str | None = None,
    precision: str = "auto",
) -> Engine:
    """Make an engine and import its runtime.

    name: "native", "onnx", "torch", "cuda" (torch on NVIDIA GPUs, with the CUDA kernels of this
        package), or "auto": the engine for the device. Without a device, "auto" is "cuda" if torch
        can use a GPU, else "native".
    threads: threads of one network run, at least 1; None uses the runtime's default, which for
        "native" is one per CPU available to this process.
    device: for "torch" a device such as "cpu", "cuda:0" or "mps", by default the CPU. For "cuda"
        one or several, such as "cuda:0,cuda:1", among which pictures are distributed; by default
        the first.
    precision: "fp32"; on GPUs also "fp16" or "bf16". "auto" is fp16 on GPUs, else fp32.

    Without a CUDA device, "cuda" logs a warning and returns the native engine. Raises the errors of
    `check`, `ArgumentError` for an unknown instruction set in the environment variable WAIFU2X_CPU,
    `EngineError` for more threads than the system starts or a device that is not there,
    and `MissingExtraError` if torch is needed and not installed.
    """
    check(name, threads=threads, device=device, precision=precision)
    tiles.isas()  # every engine writes pixels with kernels of this package
    if threads is not None:
        most = thread_limit()
        if most is not None and threads > most:
            raise EngineError(
                f"threads is {threads}, and this system starts at most {most}; "
                "give fewer with `threads=`"
            )
    if name == "auto":
        name = _chosen(device)
        check(name, threads=threads, device=device, precision=precision)
    if name in ("native", "onnx"):
        if name == "onnx":
            from .onnx import OnnxEngine

            return OnnxEngine(threads=threads)
        return _native(threads)
    if name == "torch":
        from .torch import TorchEngine

        return TorchEngine(threads=threads, device=device or "cpu", precision=precision)
    from .torch import TorchEngine, cuda_is_there

    if not cuda_is_there():
        _log.warning("torch finds no CUDA device: using engine native on the CPU")
        return _native(threads)
    return TorchEngine(threads=threads, device=device or "cuda:0", precision=precision, name="cuda")


def for_model(name: str, only: str | None, *, device: str | None = None) -> str:
    """Return the name of the engine for a model that only the engine ``only`` runs, if any.

    name: as in `create`. "torch" as the only engine includes "cuda".

    Raises `EngineError` if ``name`` is another engine.
    """
    if only is None:
        return name
    if name == "auto":
        return "cuda" if only == "torch" and _chosen(device) == "cuda" else only
    if name != only and (only, name) != ("torch", "cuda"):
        raise EngineError(
            f"engine is {name!r}, and this model runs on engine {only} only; "
            f"choose `engine={only!r}`"
        )
    return name


def obstacles(graph: Graph) -> dict[str, str | None]:
    """Return why an engine cannot run a network on this machine, for each; None if it can."""
    return {name: _obstacle(name, graph) for name in ENGINES}


def _obstacle(name: str, graph: Graph) -> str | None:
    try:
        if name == "cuda":
            from .torch import cuda_is_there

            if not cuda_is_there():
                return "torch finds no CUDA device"
        create(name).compile(graph)
    except EngineError as error:
        return str(error).split(";")[0]
    return None


def check(
    name: str = "auto",
    *,
    threads: int | None = None,
    device: str | None = None,
    precision: str = "auto",
) -> None:
    """Check the arguments of `create` without importing a runtime or looking at the machine.

    Raises `ArgumentError` for an unknown name or precision, a thread count below 1, and a device or
    precision that the engine does not support.
    """
    if name not in ("auto", *ENGINES):
        raise ArgumentError(unknown("engine", name, ("auto", *ENGINES)))
    if threads is not None and threads < 1:
        raise ArgumentError(
            f"threads is {threads}; it must be a whole number, at least 1, or left out"
        )
    if precision not in PRECISIONS:
        raise ArgumentError(unknown("precision", precision, PRECISIONS))
    if device is not None and not _DEVICES.fullmatch(device):
        raise ArgumentError(
            f"device is {device!r}; it must be cpu, cuda:0, several such as cuda:0,cuda:1, mps or "
            "xpu"
        )
    if device is not None and "," in device:
        each = [one.strip().removesuffix(":0") for one in device.split(",")]
        if len({one.split(":")[0] for one in each}) > 1 or len(set(each)) < len(each):
            raise ArgumentError(
                f"device is {device!r}; several must be of one kind, each once, as in cuda:0,cuda:1"
            )
    if name in ("native", "onnx"):
        if device not in (None, "cpu"):
            raise ArgumentError(
                f"device is {device!r}, and engine {name} runs on the CPU; "
                "choose `engine='cuda'` or `engine='torch'`"
            )
        if precision not in ("auto", "fp32"):
            raise ArgumentError(
                f"precision is {precision!r}, and engine {name} runs in fp32; "
                "choose `engine='cuda'` or `engine='torch'`"
            )
    if name == "cuda" and device is not None and re.search("cpu|mps|xpu", device):
        raise ArgumentError(
            f"device is {device!r}, and engine cuda takes GPUs such as cuda:0 or cuda:0,cuda:1; "
            "choose `engine='torch'`"
        )


def _native(threads: int | None) -> Engine:
    from .native import NativeEngine

    return NativeEngine(threads=threads)


def _torch_may_use_gpus() -> bool:
    """Return whether the installed torch supports GPUs, without importing torch."""
    from importlib import metadata  # loaded when needed

    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


def _chosen(device: str | None) -> str:
    """Return the engine that "auto" selects."""
    if device is not None:
        kind = device.split(":")[0]
        return {"cpu": "native", "cuda": "cuda"}.get(kind, "torch")
    if nvidia_gpus() and _torch_may_use_gpus():
        from .torch import cuda_is_there

        if cuda_is_there():
            return "cuda"
    return "native"
