"""What every engine offers: the same verbs, whatever computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..network.graph import Activation, Graph
from ..picture import Samples

Batch: TypeAlias = npt.NDArray[np.float32]


def negative_slopes(activation: Activation | None, channels: int) -> Batch:
    """What each channel's negative values are multiplied by, (channels,); no sigmoid has that."""
    match activation:
        case None:
            slope = 1.0
        case Activation(kind="prelu", slopes=slopes):
            assert slopes is not None  # Graph checked it
            return np.ascontiguousarray(slopes, np.float32)
        case Activation(kind="relu"):
            slope = 0.0
        case Activation():
            slope = activation.slope
    return np.full(channels, slope, np.float32)


def first_line(error: Exception) -> str:
    """What an error of a runtime says, in one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


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
        target: (H', W', 1 or 3), the same dtypes, written in place as `waifu2x.kernels.tiles.blend` does.
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


#: A picture in the memory of a device, (H, W, 1 or 3).
Held: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Cut:
    """A window of a picture, and what of the network's output for it goes where; in pixels.

    left, top: the window's corner in the source; it may lie outside, where the edge is repeated.
    src_x, src_y: corner of a rectangle of the output. dst_x, dst_y: where it goes in the target.
    width, height: of that rectangle.
    ramps: weights across and down with which it is added to a canvas; None where it is written.
    """

    left: int
    top: int
    src_x: int
    src_y: int
    dst_x: int
    dst_y: int
    width: int
    height: int
    ramps: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A picture turned and mirrored, and the means that the network is given for it.

    turns: quarter turns counter-clockwise, before the mirroring.
    """

    turns: int = 0
    mirrored: bool = False
    means: tuple[Batch, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """What was seen of one tile.

    bad: samples of the network's output that are not finite.
    brightest_in, brightest_out: the largest samples of window and result, in [0, 1].
    """

    bad: int
    brightest_in: float
    brightest_out: float


class Session(Protocol):
    """One device, for as long as one picture is worked on.

    All of it raises `DeviceMemoryError` where there is too little memory, `DeviceLostError` where
    the device stopped working, and `EngineError` for anything else that fails. Work is queued in
    order; only ``download`` and ``read`` wait for it.
    """

    @property
    def accelerated(self) -> bool:
        """Whether the device is another one than the processor."""
        ...

    @property
    def largest_batch(self) -> int:
        """How many windows it pays to run at once."""
        ...

    def available(self) -> int:
        """Bytes of the device's memory that a run may take now."""
        ...

    def forget(self) -> bool:
        """Give back all memory that is kept for later, and offer half as much from now on.

        Returns whether that is the first time.
        """
        ...

    def upload(self, samples: Samples) -> Held:
        """Bring a picture to the device."""
        ...

    def download(self, held: Held) -> Samples:
        """Bring a picture back."""
        ...

    def empty(self, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> Held:
        """A picture (H, W, 1 or 3) on the device: zeros if it is float32, else anything."""
        ...

    def quantize(self, canvas: Held, dtype: npt.DTypeLike) -> Held:
        """As `waifu2x.kernels.tiles.quantize`, without the check."""
        ...

    def turned(self, held: Held, turns: int, mirrored: bool) -> Held:
        """The picture turned counter-clockwise and mirrored left to right."""
        ...

    def marks(self, count: int) -> Any:
        """Room for what is seen of ``count`` tiles."""
        ...

    def read(self, marks: Any) -> list[Mark]:
        """What was seen, when all that has been queued is done."""
        ...


@runtime_checkable
class OnDevice(Compiled, Protocol):
    """A graph that runs over tiles of a picture that lies in the memory of a device."""

    @property
    def reduced(self) -> bool:
        """Whether it runs in less than float32."""
        ...

    def bytes_per_pixel(self, session: Session, *, full: bool = False) -> float:
        """Memory that a run takes for each pixel of its input; ``full`` as for `run_tiles`."""
        ...

    def largest_input(self) -> int:
        """Pixels that one run can take, whatever the memory."""
        ...

    def run_tiles(
        self,
        session: Session,
        source: Held,
        target: Held,
        cuts: Sequence[Cut],
        *,
        window: tuple[int, int],
        inset: int,
        turns: Sequence[Turn],
        marks: Any,
        full: bool = False,
    ) -> None:
        """Run the network over windows of one size, all at once, and write what it makes of them.

        target: of ``session.empty``; where cuts have ramps, float32 to which they are added.
        window: height and width of the network's input.
        inset: pixels on each side of a window that do not count for what is seen of it.
        turns: one, or those over which results are averaged.
        marks: of ``session.marks``, one for each cut.
        full: in float32, whatever the engine runs in.
        """
        ...

    def sum_windows(
        self,
        session: Session,
        source: Held,
        corners: Sequence[tuple[int, int]],
        *,
        window: tuple[int, int],
        means: Sequence[Batch],
        full: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Sum what the network makes of windows (left, top), over all positions: (C,)."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """How many pictures an engine is best given at the same time: small ones, and large ones."""

    small: int = 1
    large: int = 1


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
    def room(self) -> Room:
        """How many pictures it is best given at the same time."""
        ...

    def compile(self, graph: Graph) -> Compiled:
        """Make a graph ready to run. Raises `EngineError` if this engine cannot."""
        ...


@runtime_checkable
class DeviceEngine(Engine, Protocol):
    """An engine whose networks are all `OnDevice`."""

    @property
    def alive(self) -> bool:
        """Whether any device is left."""
        ...

    @property
    def accelerated(self) -> bool:
        """Whether its devices are others than the processor, with memory of their own."""
        ...

    def session(self) -> AbstractContextManager[Session]:
        """The device with the least to do, for one picture. Raises `DeviceLostError` if none is."""
        ...
