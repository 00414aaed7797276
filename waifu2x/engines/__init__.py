"""Engines run a network on a CPU or GPU."""

from __future__ import annotations

import importlib.metadata
import logging
from typing import Final

from .._machine import nvidia_gpus
from ..errors import ArgumentError
from .base import Compiled, Concurrency, Engine, OnRows, Streaming
from .device import Batch, DevicePicture, Session, TileBatch, TileCopy, TileStats, Transform
from .host import RUNTIME_OVERHEAD

__all__ = [
    "ENGINES",
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
    "create",
]

_log = logging.getLogger(__name__)

#: Names of engines in `create`, apart from "auto".
ENGINES: Final = ("native", "onnx", "torch", "cuda")

_PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16")


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

    Without a CUDA device, "cuda" logs a warning and returns the native engine. Raises
    `ArgumentError` for an unknown name, a thread count below 1, or a device or precision that the
    engine does not support, and `MissingExtraError` if torch is needed and not installed.
    """
    if threads is not None and threads < 1:
        raise ArgumentError(f"threads is {threads}; it must be at least 1, or left out")
    if precision not in _PRECISIONS:
        raise ArgumentError(f"precision is {precision!r}; allowed are {', '.join(_PRECISIONS)}")
    if name == "auto":
        name = _chosen(device)
    if name in ("native", "onnx"):
        if device not in (None, "cpu"):
            raise ArgumentError(
                f"device {device!r} needs engine torch or cuda; {name!r} runs on the CPU"
            )
        if precision not in ("auto", "fp32"):
            raise ArgumentError(
                f"precision {precision!r} needs engine torch or cuda; {name!r} runs in fp32"
            )
        if name == "onnx":
            from .onnx import OnnxEngine

            return OnnxEngine(threads=threads)
        return _native(threads)
    if name == "torch":
        from .torch import TorchEngine

        return TorchEngine(threads=threads, device=device or "cpu", precision=precision)
    if name == "cuda":
        if device is not None and not all(
            each.strip().split(":")[0] == "cuda" for each in device.split(",")
        ):
            raise ArgumentError(
                f"device is {device!r}; engine cuda takes cuda:0, cuda:0,cuda:1 ..."
            )
        from .torch import TorchEngine, cuda_is_there

        if not cuda_is_there():
            _log.warning("torch finds no CUDA device: using engine native on the CPU")
            return _native(threads)
        return TorchEngine(
            threads=threads, device=device or "cuda:0", precision=precision, name="cuda"
        )
    raise ArgumentError(f"engine {name!r} is unknown; allowed are auto, {', '.join(ENGINES)}")


def _native(threads: int | None) -> Engine:
    from .native import NativeEngine

    return NativeEngine(threads=threads)


def _torch_may_use_gpus() -> bool:
    """Return whether the installed torch supports GPUs, without importing torch."""
    try:
        return not importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
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
