"""Options of the GPU benchmark, and its timing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from waifu2x.engines import cuda_fused, cuda_tiles

from ..common.measure import UnavailableError
from ..common.parts import Options


@dataclass(frozen=True)
class GpuOptions(Options):
    """device: a torch device; "cpu" runs the parts that need no GPU."""

    device: str = "cuda:0"

    @property
    def gpu(self) -> bool:
        return self.device.startswith("cuda")

    def require_gpu(self) -> None:
        if not self.gpu:
            raise UnavailableError(f"it needs a GPU, and the device is {self.device}")

    @cached_property
    def native(self) -> Any:
        """The CUDA kernels of the package; None without a GPU or if they are not built for it."""
        return cuda_tiles.load(torch.device(self.device)) if self.gpu else None

    @property
    def fused(self) -> bool:
        """Whether the convolutions of the package run on the device in fp16."""
        device = torch.device(self.device)
        return self.native is not None and cuda_fused.suits(device, torch.float16)

    def facts(self) -> dict[str, Any]:
        if not self.gpu:
            return {"name": "none", "device": self.device}
        found = torch.cuda.get_device_properties(self.device)
        return {
            "name": found.name,
            "capability": f"{found.major}.{found.minor}",
            "memory_gb": round(found.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "kernels": self.native is not None,
        }

    def synchronize(self) -> None:
        if self.gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], object], *, calls: int = 10) -> list[float]:
        """Time a run once per round, each time the mean of several consecutive calls."""
        calls = 1 if self.quick else calls
        run()
        run()
        taken = []
        for _ in range(self.rounds):
            self.synchronize()
            began = time.perf_counter()
            for _ in range(calls):
                run()
            self.synchronize()
            taken.append((time.perf_counter() - began) / calls)
        return taken


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "samples": len(values),
    }
