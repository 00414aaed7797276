"""Computes global means once per picture, for networks with squeeze-excitation gates.

The gates of cunet are functions of global means. A network that runs on a tile averages over the
tile, so the tiles of other programs differ from the whole picture and from each other. Here each
mean is computed once per picture and given to every tile.

The means depend on each other: the first on the picture alone, the second on the first, and so on
(`Graph.stage`). Up to `EXACT_PIXELS` they cover the whole picture, each position once. Beyond, they
cover a sample of windows, since all stages together cost about twice the network.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from .. import engines
from .._record import record
from ..errors import DeviceMemoryError
from ..network.graph import Graph
from .tiling import CompiledNetwork, tiling_of

_log = logging.getLogger(__name__)

#: Largest picture with exact means, in pixels, margins included.
EXACT_PIXELS: Final = 600 * 600

#: Side of a sampled window in input pixels. At equal cost, smaller windows cover more places and
#: waste more on margins; 96 and 128 were worse on drawings.
SAMPLE_SIDE: Final = 64
#: Cost of a sample, at most, as a share of the network's cost over the picture,
SAMPLE_SHARE: Final = 0.25
#: and, at most, the network's cost over this many pixels: an eighth of 4 megapixels.
SAMPLE_COST: Final = 1 << 19
#: Windows for each mean of the network, at most; stages may cost little. Errors of means add up,
#: because each mean is an input of those after it.
SAMPLE_WINDOWS: Final = 24

#: Side of a window for exact means; constant, so that results have the same bytes.
_EXACT_SIDE: Final = 256
#: Target size of a batch in input pixels.
BATCH_PIXELS: Final = 1 << 16

#: Called with the multiply-accumulates just done; an exception ends the work.
Advance = Callable[[float], object]


@record
class Window:
    """A rectangle of the network's input, in pixels from its corner."""

    top: int
    left: int
    height: int
    width: int


@record
class SamplingPlan:
    """How the global means of a picture are sampled.

    height, width: the network's input for the whole picture, margins included.
    sample: windows of one size; empty to cover the whole input.
    side: target side of the windows that cover the whole input.
    """

    height: int
    width: int
    sample: tuple[Window, ...] = ()
    side: int = _EXACT_SIDE

    @property
    def exact(self) -> bool:
        """Whether the means cover every position."""
        return not self.sample

    def __str__(self) -> str:
        """Describe the plan for the log."""
        if self.exact:
            return f"exact, over all of {self.width}x{self.height} px"
        window = self.sample[0]
        return (
            f"from a sample of {self.width}x{self.height} px: {len(self.sample)} windows of "
            f"{window.width}x{window.height} px ({100 * self.share:.0f}%)"
        )

    @property
    def share(self) -> float:
        """Sampled pixels as a share of all pixels."""
        if self.exact:
            return 1.0
        seen = sum(window.height * window.width for window in self.sample)
        return seen / (self.height * self.width)


class LoadedNetwork:
    """A network compiled for an engine; its stages are compiled when first needed."""

    def __init__(self, graph: Graph, engine: engines.Engine) -> None:
        """Compile ``graph``. Raises `EngineError` for an operation the engine does not have."""
        self.whole = CompiledNetwork(engine.compile(graph), tiling_of(graph))
        self._engine = engine
        self._lock = threading.Lock()
        self._means: GlobalMeans | None = None

    @property
    def means(self) -> GlobalMeans:
        """The stages of a network that has global means."""
        with self._lock:
            if self._means is None:
                self._means = GlobalMeans(self.whole.graph, self._engine)
            return self._means

    @property
    def given(self) -> CompiledNetwork:
        """The network whose global means are inputs."""
        return CompiledNetwork(self.means.network, self.whole.tiling)


class GlobalMeans:
    """The stages of a network that compute its global means, and the network that takes them.

    Safe to use from several threads at once.
    """

    def __init__(self, graph: Graph, engine: engines.Engine) -> None:
        """Compile the stages of ``graph``, which has global means. Raises `EngineError`."""
        self.graph = graph
        self.network = engine.compile(graph.with_given_means())
        self._stages = [engine.compile(graph.stage(i)) for i in range(len(graph.means))]
        names = [node.name for node in graph.means]
        self._inputs = [
            [names.index(value.name) for value in stage.graph.inputs[1:]] for stage in self._stages
        ]
        self._given = [names.index(value.name) for value in self.network.graph.inputs[1:]]

    def plan_sampling(self, *, width: int, height: int) -> SamplingPlan:
        """Choose the windows to sample for an input of that size in pixels, margins included."""
        if width * height <= EXACT_PIXELS:
            return SamplingPlan(height, width)
        pixels = min(SAMPLE_SHARE * width * height, SAMPLE_COST)
        all_stages = sum(stage.graph.macs_per_pixel for stage in self._stages)
        pixels *= self.graph.macs_per_pixel / all_stages
        most = SAMPLE_WINDOWS * len(self._stages)
        count = max(1, min(most, int(pixels / SAMPLE_SIDE**2)))
        side = self.graph.input_size(SAMPLE_SIDE)
        windows = _spread(count, side, self.graph.alignment, width, height)
        return SamplingPlan(height, width, windows)

    def cost(self, plan: SamplingPlan) -> float:
        """Estimate the multiply-accumulates of `measure`."""
        return sum(
            stage.graph.macs_per_pixel * window.height * window.width
            for stage in self._stages
            for window in _windows(stage.graph, plan)
        )

    def measure(
        self,
        session: engines.Session,
        source: engines.DevicePicture,
        plan: SamplingPlan,
        *,
        margin: int,
        advance: Advance,
        full: bool = False,
        batch_pixels: int = BATCH_PIXELS,
    ) -> tuple[engines.Batch, ...]:
        """Compute the global means of a picture on a device.

        margin: pixels by which the network's input exceeds the picture at the top and left; the
            edge of the picture is replicated there.
        advance: called after every batch.
        full: compute in float32, regardless of the engine's precision.
        batch_pixels: target size of a batch.

        Returns (1, C, 1, 1) float32 for each given input of ``network``, in its order. Raises
        `EngineError`.
        """
        _log.debug("global means: %s", plan)
        found: list[engines.Batch] = []
        for stage, inputs in zip(self._stages, self._inputs, strict=True):
            given = [found[index] for index in inputs]
            graph = stage.graph
            sums = np.zeros(graph.out.channels, np.float64)
            count = 0
            waiting = _groups(_windows(graph, plan), batch_pixels)
            while waiting:
                group = waiting.pop(0)
                height, width = group[0].height, group[0].width
                corners = [(window.left - margin, window.top - margin) for window in group]
                try:
                    sums += stage.sum_windows(
                        session, source, corners, window=(height, width), means=given, full=full
                    )
                except DeviceMemoryError:
                    if len(group) == 1:
                        raise
                else:
                    count += len(group) * graph.output_size(height) * graph.output_size(width)
                    advance(len(group) * height * width * graph.macs_per_pixel)
                    continue
                # Outside the handler: a live exception keeps the memory of its frames.
                half = len(group) // 2
                warn_of_shortage(session.release_memory(), f"windows in batches of {half}")
                waiting[:0] = [group[:half], group[half:]]
            found.append((sums / count).astype(np.float32).reshape(1, -1, 1, 1))
        return tuple(found[index] for index in self._given)


def warn_of_shortage(first: bool, consequence: str) -> None:
    """Log a shortage of device memory: a warning for the first time, then information."""
    level = logging.WARNING if first else logging.INFO
    _log.log(level, "not enough memory on the device: continuing with %s", consequence)


def _windows(graph: Graph, plan: SamplingPlan) -> Sequence[Window]:
    """Return the windows for one stage."""
    if plan.sample:
        return plan.sample
    return [
        Window(top, left, height, width)
        for top, height in _cover(graph, plan.height, plan.side)
        for left, width in _cover(graph, plan.width, plan.side)
    ]


def _cover(graph: Graph, size: int, side: int) -> list[tuple[int, int]]:
    """Split an input into ranges (start, size) whose outputs join without gap or overlap."""
    overlap = graph.out.lost / graph.out.scale
    if overlap.denominator != 1 or overlap % graph.alignment:
        return [(0, size)]  # the outputs of windows would not join
    step = max(side - side % graph.alignment, graph.alignment)
    starts = range(0, max(1, size - int(overlap)), step)
    return [(start, min(step + int(overlap), size - start)) for start in starts]


def _groups(windows: Sequence[Window], pixels: int) -> list[list[Window]]:
    """Group windows of one size into batches of about ``pixels``."""
    sizes: dict[tuple[int, int], list[Window]] = {}
    for window in windows:
        sizes.setdefault((window.height, window.width), []).append(window)
    groups = []
    for (height, width), same in sizes.items():
        step = max(1, pixels // (height * width))
        groups += [same[i : i + step] for i in range(0, len(same), step)]
    return groups


_PLASTIC: Final = 1.32471795724474602596
_R2: Final = (1 / _PLASTIC, 1 / _PLASTIC**2)


def _spread(count: int, side: int, alignment: int, width: int, height: int) -> tuple[Window, ...]:
    """Place about ``count`` windows of ``side`` pixels, one in each cell of a grid.

    The R2 sequence (M. Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences", 2018)
    chooses the position in the cell, so that no regular pattern of the picture is always hit or
    always missed.
    """
    tall, wide = min(side, height), min(side, width)
    rows = min(max(1, round(math.sqrt(count * height / width))), height // tall, count)
    columns = max(1, min(count // rows, width // wide))
    across, down = width / columns, height / rows
    windows = []
    for index in range(rows * columns):
        row, column = divmod(index, columns)
        left = int(column * across + (across - wide) * ((index + 1) * _R2[0] % 1))
        top = int(row * down + (down - tall) * ((index + 1) * _R2[1] % 1))
        windows.append(Window(top - top % alignment, left - left % alignment, tall, wide))
    return tuple(windows)
