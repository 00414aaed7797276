"""Defines what every engine offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .._record import record
from ..errors import EngineError
from ..network.graph import Graph
from ..picture import Samples
from .device import Batch, DevicePicture, Session, TileBatch


def first_line(error: Exception) -> str:
    """Return the first line of the message of a runtime's error."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def check_runs(graph: Graph, engine: str) -> None:
    """Raise `EngineError` if the runtime of another engine has to execute the network."""
    only = graph.only_engine
    if only is not None and only != engine:
        raise EngineError(f"this network runs on engine {only} only; choose `engine={only!r}`")


class Compiled(Protocol):
    """A graph compiled for an engine; safe to call from several threads at once."""

    @property
    def graph(self) -> Graph:
        """The graph that was compiled."""

    @property
    def reduced(self) -> bool:
        """Whether the network runs in less than float32."""

    def run(self, batch: Batch, means: Sequence[Batch] = ()) -> Batch:
        """Run the network.

        batch: (N, C, H, W) float32, C-contiguous; the graph must accept H and W.
        means: for a graph with given means, one (N or 1, C, 1, 1) float32 array for each of
            ``graph.inputs[1:]``.

        Returns (N, C, H', W') float32, neither clamped nor checked. Raises `EngineError` if the
        runtime fails, and `DeviceMemoryError` if memory runs out.
        """

    def bytes_per_pixel(self, session: Any, *, full: bool = False) -> float:
        """Return the memory of a run per pixel of its input; ``full`` as in `TileBatch`."""

    def largest_input(self) -> int:
        """Return the most pixels a run takes, regardless of memory."""

    def run_tiles(self, session: Any, tiles: TileBatch) -> None:
        """Run the network over windows of one size and write the tiles."""

    def sum_windows(
        self,
        session: Any,
        source: DevicePicture,
        corners: Sequence[tuple[int, int]],
        *,
        window: tuple[int, int],
        means: Sequence[Batch],
        full: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Sum the network's output over all positions of all windows: (C,).

        corners: (left, top) of each window. window: height and width of the windows.
        """


#: Receives the share done and the number of final rows from the top; True stops the run.
OnRows: TypeAlias = Callable[[float, int], bool]


class Streaming(Compiled, Protocol):
    """A compiled graph that runs over a whole picture, without tiles."""

    @property
    def stored_per_pixel(self) -> float:
        """Bytes per input pixel that a run stores for the whole picture, global means left out."""

    def run_picture(
        self,
        source: Samples,
        target: Samples,
        *,
        window: tuple[int, int],
        start: int,
        crop: int,
        means: Sequence[Batch] = (),
        on_rows: OnRows | None = None,
    ) -> int:
        """Stream a picture through the network, row by row.

        source: (H, W, 1 or 3), uint8, uint16 or float32, pixels contiguous. A single channel feeds
            all three channels of the network.
        target: (H', W', 1 or 3), same dtypes, written in place like `waifu2x.kernels.blend` does.
        window: height and width of the network's input; beyond the picture its edge is replicated.
        start: top and left of the window in the picture, in pixels; negative for a margin.
        crop: top and left of the target in the network's output, in output pixels.
        means: as for ``run``, (1, C, 1, 1) each.
        on_rows: called from this thread several times a second.

        Returns the number of samples that were not finite. Raises `EngineError` if sizes or layout
        do not fit, `DeviceMemoryError` if memory runs out, and `CancelledError` if ``on_rows``
        stopped the run.
        """


@record
class Concurrency:
    """How many pictures an engine should run at once: small ones and large ones."""

    small: int = 1
    large: int = 1


class Engine(Protocol):
    """Compiles graphs for one runtime."""

    @property
    def name(self) -> str:
        """The name in `waifu2x.engines.create`."""

    @property
    def threads(self) -> int:
        """The number of CPU threads that a run keeps busy."""

    @property
    def precision(self) -> str:
        """The precision of networks: "fp32", "fp16" or "bf16"."""

    @property
    def identities(self) -> Mapping[str, str]:
        """Devices that are tested before they are trusted, by name.

        The value names all that decides a result: device, driver, runtime and precision.
        """

    @property
    def concurrency(self) -> Concurrency:
        """How many pictures should run at once."""

    @property
    def streams(self) -> bool:
        """Whether compiled graphs are `Streaming`; other engines run tiles."""

    @property
    def accelerated(self) -> bool:
        """Whether the engine runs on devices with memory of their own."""

    @property
    def alive(self) -> bool:
        """Whether a usable device is left."""

    def compile(self, graph: Graph) -> Compiled:
        """Compile a graph. Raises `EngineError` for an operation the engine does not have."""

    def session(self) -> AbstractContextManager[Session]:
        """Reserve the least busy device for a picture. Raises `DeviceLostError` without devices."""
