"""Engines run a network; they know nothing of files, tiles or alpha."""

from __future__ import annotations

from typing import Final

from ..errors import ArgumentError
from .base import Batch, Compiled, Engine, Streaming, Watch

__all__ = ["ENGINES", "Batch", "Compiled", "Engine", "Streaming", "Watch", "create"]

#: Names that `create` knows, besides "auto".
ENGINES: Final = ("native", "onnx", "torch")


def create(name: str = "auto", *, threads: int | None = None, device: str | None = None) -> Engine:
    """Make an engine; its runtime is imported here, not before.

    name: "auto" (the fastest on this device, now "native"), "native", "onnx" or "torch".
    threads: threads inside one network run, at least 1; None lets the runtime choose, which for
        "native" is one for each processor this process may use.
    device: for "torch" a device such as "cpu", "cuda:0" or "mps"; None means the CPU.

    Raises `ArgumentError` for an unknown name, a thread count below 1, or a device for an engine
    that has none, and `MissingExtraError` when torch is asked for and not installed.
    """
    if threads is not None and threads < 1:
        raise ArgumentError(f"threads is {threads}; it must be at least 1, or left out")
    if name in ("auto", "native", "onnx"):
        if device not in (None, "cpu"):
            raise ArgumentError(f"device {device!r} needs engine 'torch'; {name!r} runs on the CPU")
        if name != "onnx":
            from .native import NativeEngine

            return NativeEngine(threads=threads)
        from .onnx import OnnxEngine

        return OnnxEngine(threads=threads)
    if name == "torch":
        from .torch import TorchEngine

        return TorchEngine(threads=threads, device=device or "cpu")
    raise ArgumentError(f"engine {name!r} is unknown; allowed are auto, {', '.join(ENGINES)}")
