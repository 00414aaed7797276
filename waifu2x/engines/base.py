"""What every engine offers: the same verbs, whatever computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..graph import Graph
from ..picture import Samples

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


#: Called now and then with the share done and the rows of the target that are ready, from the top;
#: True stops the run.
Watch: TypeAlias = Callable[[float, int], bool]


@runtime_checkable
class Streaming(Compiled, Protocol):
    """A graph that runs over a whole picture in bounded memory, without tiles."""

    def run_picture(
        self,
        source: Samples,
        target: Samples,
        *,
        window: tuple[int, int],
        start: int,
        crop: int,
        means: Sequence[Batch] = (),
        watch: Watch | None = None,
    ) -> int:
        """Run the network over a picture, rows streaming through.

        source: (H, W, 1 or 3), uint8, uint16 or float32, pixels contiguous. One channel is given to
            all three of the network's.
        target: (H', W', 1 or 3), the same dtypes, written in place as `waifu2x.tiles.blend` does.
        window: height and width of the network's input; beyond the picture its edge is repeated.
        start: the window's top and left in the picture, in pixels; negative for a margin.
        crop: where the target lies in the network's output, in output pixels, on both axes.
        means: as for ``run``, (1, C, 1, 1) each.
        watch: called from this thread a few times a second.

        Returns how many samples of the result were not finite. Raises `EngineError` if sizes or
        layout do not fit or memory runs out, `CancelledError` if ``watch`` stopped it.
        """
        ...

    def run_part(
        self,
        source: Samples,
        *,
        window: tuple[int, int],
        start: int,
        rows: tuple[int, int],
        columns: tuple[int, int],
        means: Sequence[Batch] = (),
    ) -> Batch:
        """What the network makes of a picture in some rows and columns, unclamped.

        rows, columns: half-open ranges of the network's output. The others are as for
            ``run_picture``.

        Returns (1, 3, rows, columns) float32, the same bytes as in any other part. Raises
        `EngineError`.
        """
        ...


class Engine(Protocol):
    """Compiles graphs for one runtime."""

    @property
    def name(self) -> str:
        """The name `waifu2x.engines.create` knows it by."""
        ...

    @property
    def threads(self) -> int:
        """How many threads of the processor a run keeps busy."""
        ...

    @property
    def shares_threads(self) -> bool:
        """Whether several runs at once share these threads, and none is left idle between them."""
        ...

    def compile(self, graph: Graph) -> Compiled:
        """Make a graph ready to run. Raises `EngineError` if this engine cannot."""
        ...
