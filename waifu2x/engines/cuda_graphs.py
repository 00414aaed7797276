"""CUDA graphs: a run of a shape that comes again is recorded once, and then started as one thing.

A network is some dozens of kernels, and for small tiles starting them one by one takes longer than
running them. What is recorded keeps its memory, so there are few, and all share one pool: they
never run at the same time.
"""

from __future__ import annotations

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
#: Runs before a shape is recorded: pictures of all sizes may come, each once.
_RUNS_BEFORE: Final = 1
#: One that has been used within so many runs is not dropped for another: where more shapes than
#: there is room for come in turns, recording them over and over would cost the most.
_KEPT_FOR: Final = 64


class Runner(Protocol):
    """A network on a device, in one precision."""

    @property
    def pixel(self) -> int:
        """Channels per pixel of its input; what is past the third must be 0."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of its input."""
        ...

    def __call__(self, batch: torch.Tensor, means: Sequence[torch.Tensor]) -> torch.Tensor:
        """(N, H, W, pixel) to (N, H', W', C or more); means are (1, C, 1, 1) float32."""
        ...


@dataclass(slots=True)
class Captured:
    """A captured run: the CUDA graph and its static tensors."""

    graph: Any
    batch: torch.Tensor
    means: list[torch.Tensor]
    output: torch.Tensor
    last_run: int = 0


class CudaGraphCache:
    """The recorded runs of one device; used by one thread at a time, on the current stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._recorded: OrderedDict[object, Captured] = OrderedDict()
        self._runs: OrderedDict[object, int] = OrderedDict()
        self._count = 0

    def clear(self) -> None:
        """Drop all of them, and their memory."""
        self._recorded.clear()
        self._pool = None

    def run(
        self,
        runner: Runner,
        batch: torch.Tensor,
        means: Sequence[torch.Tensor],
        *,
        room: Callable[[], bool],
    ) -> torch.Tensor:
        """Run a network; ``room`` tells whether there is memory to record it.

        What is returned holds until the next run.
        """
        key = (runner, tuple(batch.shape))
        self._count += 1
        recorded = self._recorded.get(key)
        if recorded is None:
            before = self._runs.pop(key, 0)
            self._runs[key] = before + 1
            while len(self._runs) > _MOST_SHAPES:
                self._runs.popitem(last=False)
            if before < _RUNS_BEFORE or not self._has_place() or not room():
                return runner(batch, means)
            recorded = self._record(runner, batch, means)
            if recorded is None:
                self._runs[key] = -(1 << 60)  # not again
                return runner(batch, means)
            self._recorded[key] = recorded
            while len(self._recorded) > _MOST_GRAPHS:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(key)
        recorded.last_run = self._count
        recorded.batch.copy_(batch)
        for static, mean in zip(recorded.means, means, strict=True):
            static.copy_(mean)
        recorded.graph.replay()
        return recorded.output

    def _has_place(self) -> bool:
        """Whether one more may be kept, or the one that was used longest ago may go."""
        if len(self._recorded) < _MOST_GRAPHS:
            return True
        oldest = next(iter(self._recorded.values()))
        return self._count - oldest.last_run > _KEPT_FOR

    def _record(
        self, runner: Runner, batch: torch.Tensor, means: Sequence[torch.Tensor]
    ) -> Captured | None:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            static, given = batch.clone(), [mean.clone() for mean in means]
            # Worth its time for a shape that comes again: cuDNN tries all of its ways once.
            with cudnn(benchmark=True):
                for _ in range(2):
                    runner(static, given)
                graph = torch.cuda.CUDAGraph()
                # Other threads copy and allocate meanwhile.
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=torch.cuda.current_stream(self._device),
                    capture_error_mode="thread_local",
                ):
                    output = runner(static, given)
        except RuntimeError as error:
            _log.debug("a run of %s could not be recorded: %s", tuple(batch.shape), error)
            return None
        return Captured(graph, static, given, output)
