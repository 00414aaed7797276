"""What the parts of `cuda.py` are given, and how they take time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _measure import FailureError
from _pictures import Named


@dataclass(frozen=True)
class CudaOptions:
    """device: as torch names it; "cpu" goes through what can run without a GPU."""

    device: str
    rounds: int
    pictures: Sequence[Named]
    quick: bool
    folder: Path

    @property
    def gpu(self) -> bool:
        return self.device.startswith("cuda")

    def require_gpu(self) -> None:
        if not self.gpu:
            raise FailureError(f"it needs a GPU, and the device is {self.device}")


def gpu_facts(device: str) -> dict[str, Any]:
    if not device.startswith("cuda"):
        return {"name": "none", "device": device}
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "memory_gb": round(found.total_memory / 1e9, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def finish(device: str) -> None:
    """Wait until a device has nothing left to do."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds(options: CudaOptions, run: Callable[[], object], *, calls: int = 10) -> list[float]:
    """Of one run, as often as there are rounds, each the mean of some runs in a row."""
    calls = 1 if options.quick else calls
    run()
    run()
    taken = []
    for _ in range(options.rounds):
        finish(options.device)
        began = time.perf_counter()
        for _ in range(calls):
            run()
        finish(options.device)
        taken.append((time.perf_counter() - began) / calls)
    return taken


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "samples": len(values),
    }
