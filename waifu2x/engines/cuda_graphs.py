"""CUDA graphs: a run of a repeated shape is captured once and then replayed.

A network consists of some dozens of kernels; for small tiles launching them one by one takes longer
than running them. A captured run keeps its memory, so the cache is small, all runs share one memory
pool, and no run is captured after the device once ran out of memory. Runs never overlap.
"""

from __future__ import annotations

import gc
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch

from .torch_module import cudnn

_log = logging.getLogger(__name__)

_MOST_GRAPHS: Final = 8
_MOST_SHAPES: Final = 256
#: Runs of a shape before it is captured, since many pictures have a size of their own.
_RUNS_BEFORE: Final = 1
#: Runs for which a graph is protected from eviction. If more shapes than the cache holds alternate,
#: capturing each again and again would cost most of the time.
_PROTECTED_RUNS: Final = 64


class Runner(Protocol):
    """A network on a device, in one precision."""

    @property
    def pixel(self) -> int:
        """Channels per pixel of the input; channels past the third must be 0."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the input."""

    def __call__(self, batch: torch.Tensor, means: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run the network: (N, H, W, pixel) to (N, H', W', C or more).

        means: (1, C, 1, 1) float32 each.
        """


@dataclass(slots=True)
class Captured:
    """A captured run: the CUDA graph and its static tensors."""

    graph: Any
    batch: torch.Tensor
    means: list[torch.Tensor]
    output: torch.Tensor
    last_run: int = 0


class CudaGraphCache:
    """The captured runs of one device; used by one thread at a time, on the current stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._captured: OrderedDict[object, Captured] = OrderedDict()
        self._runs: OrderedDict[object, int] = OrderedDict()
        self._count = 0
        self._closed = False

    def close(self) -> None:
        """Evict all graphs and capture no more: their memory is needed for the runs themselves."""
        self._closed = True
        self._captured.clear()
        self._pool = None

    def run(
        self,
        runner: Runner,
        batch: torch.Tensor,
        means: Sequence[torch.Tensor],
        *,
        has_memory: Callable[[], bool],
    ) -> torch.Tensor:
        """Run a network, replaying a captured run if there is one.

        has_memory: returns whether the memory suffices for capturing.

        Returns a tensor that the next run overwrites.
        """
        if self._closed:
            return runner(batch, means)
        key = (runner, tuple(batch.shape))
        self._count += 1
        captured = self._captured.get(key)
        if captured is None:
            before = self._runs.pop(key, 0)
            self._runs[key] = before + 1
            while len(self._runs) > _MOST_SHAPES:
                self._runs.popitem(last=False)
            if before < _RUNS_BEFORE or not self._can_add() or not has_memory():
                return runner(batch, means)
            captured = self._capture(runner, batch, means)
            if captured is None:
                self._runs[key] = -(1 << 60)  # never try again
                return runner(batch, means)
            self._captured[key] = captured
            while len(self._captured) > _MOST_GRAPHS:
                self._captured.popitem(last=False)
        self._captured.move_to_end(key)
        captured.last_run = self._count
        captured.batch.copy_(batch)
        for static, mean in zip(captured.means, means, strict=True):
            static.copy_(mean)
        captured.graph.replay()
        return captured.output

    def _can_add(self) -> bool:
        """Return whether the cache has a free entry or may evict the least recently used one."""
        if len(self._captured) < _MOST_GRAPHS:
            return True
        oldest = next(iter(self._captured.values()))
        return self._count - oldest.last_run > _PROTECTED_RUNS

    def _capture(
        self, runner: Runner, batch: torch.Tensor, means: Sequence[torch.Tensor]
    ) -> Captured | None:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            static, given = batch.clone(), [mean.clone() for mean in means]
            # cuDNN benchmarks its algorithms, which pays off for a repeated shape.
            with cudnn(benchmark=True):
                for _ in range(2):
                    runner(static, given)
                graph = torch.cuda.CUDAGraph()
                # Other threads copy and allocate during the capture.
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=torch.cuda.current_stream(self._device),
                    capture_error_mode="thread_local",
                ):
                    output = runner(static, given)
        except RuntimeError as error:
            _log.debug("a run of %s could not be captured: %s", tuple(batch.shape), error)
        else:
            return Captured(graph, static, given, output)
        # Outside the handler: a live exception keeps the memory of its frames.
        self._close_pool()
        return None

    def _close_pool(self) -> None:
        """Free the pool of a failed capture.

        If the end of the capture fails too, torch leaves the pool open and in use; until it is
        closed, the allocator frees none of its cached memory. torch has no public names for this.
        """
        gc.collect()  # the exception may be part of a cycle
        end = getattr(torch._C, "_cuda_endAllocateToPool", None)
        release = getattr(torch._C, "_cuda_releasePool", None)
        if end is None or release is None:
            return
        try:
            end(self._device.index, self._pool)
        except RuntimeError:  # the capture was ended, and its graph frees the pool
            return
        release(self._device.index, self._pool)
