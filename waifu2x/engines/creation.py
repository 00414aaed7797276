"""Makes engines by name, device and precision."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec
from typing import Final

from .._machine import nvidia_gpus, thread_limit
from ..errors import EngineError
from ..kernels import tiles
from ..network.graph import Graph
from .base import Engine
from .names import ENGINES, KINDS, check, kind_of, split_device

_log = logging.getLogger(__name__)

#: The nodes of GPUs on Linux; without any, no library is loaded.
_NODES: Final = {"/dev": ("nvidia", "kfd", "dxg"), "/dev/dri": ("renderD",)}


def create(
    name: str = "auto",
    *,
    threads: int | None = None,
    device: str | None = None,
    precision: str = "auto",
) -> Engine:
    """Make an engine and import its runtime.

    name: "native", "onnx", "torch", "cuda" (torch on NVIDIA GPUs, with the CUDA kernels of this
        package), "vulkan" (ncnn on any GPU), or "auto": the engine for the device. Without a
        device, "auto" is "cuda" if torch can use a GPU, else "native".
    threads: threads of one network run, at least 1; None uses the runtime's default, which for
        "native" is one per CPU available to this process.
    device: for "torch" a device such as "cpu", "cuda:0" or "mps", by default the CPU. For "cuda"
        one or several, such as "cuda:0,cuda:1", among which pictures are distributed; by default
        the first. For "vulkan" likewise, by default the fastest kind of GPU.
    precision: "fp32"; on GPUs also "fp16" or "bf16". "auto" is fp16 on GPUs, else fp32.

    Without a device, "cuda" and "vulkan" log a warning and return the native engine. Raises the
    errors of `check`, `ArgumentError` for an unknown instruction set in the environment variable
    WAIFU2X_CPU, `EngineError` for more threads than the system starts or a device that is not
    there, and `MissingExtraError` if torch or ncnn is needed and not installed.
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

            return OnnxEngine(threads=threads, device=device or "cpu")
        return _native(threads)
    if name == "vulkan":
        return _vulkan(threads, device, precision)
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
        if name == "vulkan":
            from .vulkan_devices import gpus

            if not gpus():
                return "ncnn finds no Vulkan device"
        create(name).compile(graph)
    except EngineError as error:
        return str(error).split(";")[0]
    return None


def _native(threads: int | None) -> Engine:
    from .native import NativeEngine

    return NativeEngine(threads=threads)


def _vulkan(threads: int | None, device: str | None, precision: str) -> Engine:
    from .vulkan import VulkanEngine
    from .vulkan_devices import gpus

    if not gpus():
        _log.warning("ncnn finds no Vulkan device: using engine native on the CPU")
        return _native(threads)
    numbers = [number for _, number in split_device(device or "vulkan")]
    return VulkanEngine(numbers, precision=precision)


def torch_may_use_gpus() -> bool:
    """Return whether the installed torch supports GPUs, without importing torch."""
    from importlib import metadata  # loaded when needed

    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


def _chosen(device: str | None) -> str:
    """Return the engine that "auto" selects."""
    if device is not None:
        return KINDS[kind_of(device)][0]
    return "cuda" if has_cuda() else "native"


def has_cuda() -> bool:
    """Return whether torch can use a GPU; imports torch only if there is one."""
    if not (nvidia_gpus() and torch_may_use_gpus()):
        return False
    from .torch import cuda_is_there

    return cuda_is_there()


def has_accelerators() -> bool:
    """Return whether the machine may have a GPU that an installed runtime reaches; loads none."""
    if sys.platform == "linux" and not any(map(_has_node, _NODES)):
        return False
    return find_spec("ncnn") is not None or torch_may_use_gpus()


def _has_node(folder: str) -> bool:
    try:
        return any(name.startswith(_NODES[folder]) for name in os.listdir(folder))  # noqa: PTH208
    except OSError:
        return False
