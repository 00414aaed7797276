"""Finds the GPUs that ncnn reaches through Vulkan."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from .._record import record
from ..errors import EngineError, MissingExtraError

try:
    import ncnn
except ImportError as error:
    raise MissingExtraError(
        "engine vulkan needs ncnn, which is not installed; "
        "run `pip install ncnn`, or choose `engine='native'`"
    ) from error

#: Kinds of devices by VkPhysicalDeviceType as ncnn counts them, the fastest first.
_KINDS: Final = ("discrete", "integrated", "virtual", "software")

_lock = threading.Lock()


@record
class VulkanGpu:
    """A device of Vulkan.

    index: its number in ncnn. kind: "discrete", "integrated", "virtual", or "software" for a driver
    that computes on the CPU. driver: its version, as the number that the driver reports.
    """

    index: int
    name: str
    kind: str
    driver: str

    @property
    def software(self) -> bool:
        """Whether the driver computes on the CPU."""
        return self.kind == "software"

    def handle(self) -> Any:
        """Return the device of ncnn, which is created once."""
        with _lock, _silent():
            return ncnn.get_gpu_device(self.index)


@cache
def gpus() -> tuple[VulkanGpu, ...]:
    """Return the devices of Vulkan, in the order of ncnn; empty without a driver."""
    with _lock, _silent():
        count = ncnn.get_gpu_count()
        infos = [ncnn.get_gpu_info(index) for index in range(count)]
    return tuple(
        VulkanGpu(
            index,
            str(info.device_name()),
            _KINDS[min(int(info.type()), len(_KINDS) - 1)],
            f"{info.vendor_id():x}:{info.device_id():x}:{info.driver_version()}",
        )
        for index, info in enumerate(infos)
    )


def chosen(numbers: list[int | None]) -> list[VulkanGpu]:
    """Return the devices with these numbers; None stands for the fastest kind, the first of it.

    Raises `EngineError` for a number that is not there.
    """
    found = gpus()
    best = min(found, key=lambda gpu: _KINDS.index(gpu.kind)).index if found else 0
    wanted = [best if number is None else number for number in numbers]
    for number in wanted:
        if number >= len(found):
            there = ", ".join(f"vulkan:{gpu.index} ({gpu.name})" for gpu in found)
            raise EngineError(
                f"device vulkan:{number} is not there; ncnn finds {there or 'no device'}; "
                "choose another with `device=`, or `engine='native'`"
            )
    return [found[number] for number in wanted]


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what ncnn prints about devices off the standard error of the process."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
