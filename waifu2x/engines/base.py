"""What every engine offers: the same verbs, whatever computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ..graph import Graph

Batch: TypeAlias = npt.NDArray[np.float32]


class Compiled(Protocol):
    """A graph made ready to run; safe to call from several threads at once."""

    @property
    def graph(self) -> Graph:
        """The graph that was compiled."""
        ...

    def run(self, batch: Batch, means: Sequence[Batch] = ()) -> Batch:
        """Run the network.

        batch: (N, C, H, W) float32, C-contiguous; H and W are sizes that the graph takes.
        means: for a graph with given means, one (N or 1, C, 1, 1) float32 array for each of
            ``graph.inputs[1:]``.

        Returns (N, C, H', W') float32, neither clamped nor checked. Raises `EngineError` if the
        runtime fails (out of memory, say).
        """
        ...


class Engine(Protocol):
    """Compiles graphs for one runtime."""

    @property
    def name(self) -> str:
        """The name `waifu2x.engines.create` knows it by."""
        ...

    def compile(self, graph: Graph) -> Compiled:
        """Make a graph ready to run. Raises `EngineError` if this engine cannot."""
        ...
