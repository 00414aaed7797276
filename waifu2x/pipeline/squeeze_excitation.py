"""One set of gates per picture, for networks that average over what they are shown.

The squeeze-excitation gates of cunet are made of global means. A network that is shown tiles takes
them over each tile, which is why tiles of every waifu2x differ from the whole picture and from each
other. Here each mean is taken once, over the whole picture, and given to all tiles.

Means are found one after the other: what the first averages depends on the picture alone, what the
second averages depends on the first mean, and so on (`Graph.stage`). Up to `EXACT_PIXELS` they are
those of the whole picture, every position counted once; beyond, those of a sample of windows spread
evenly over it, because running all stages costs about twice the network itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from .. import engines
from ..kernels import tiles
from ..network.graph import Graph
from ..picture import Samples

#: Pictures of up to so many pixels, margins included, get exact means.
EXACT_PIXELS: Final = 600 * 600

#: Side of the windows of a sample in input pixels. At the same cost, smaller ones see more places
#: and waste more on their margins; 96 and 128 came out worse on drawings.
SAMPLE_SIDE: Final = 64
#: A sample costs at most this much of what the network costs over the picture ...
SAMPLE_SHARE: Final = 0.25
#: ... and at most what the network costs over so many pixels: an eighth of 4 megapixels.
SAMPLE_COST: Final = 1 << 19

#: Side of the windows in which exact means are taken, always the same so that the bytes are.
_EXACT_SIDE: Final = 256
#: Input pixels that are run at once, about.
BATCH_PIXELS: Final = 1 << 16

#: Called with the multiply-accumulates just done.
Advance = Callable[[float], object]

#: Sums what a stage, given some means, makes of windows of one size, over all positions: (C,).
Total = Callable[
    [engines.Compiled, Sequence[engines.Batch], Sequence["Window"]], npt.NDArray[np.float64]
]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the network's input: top, left, height and width, in pixels from its corner."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Survey:
    """Where means are taken.

    height, width: the network's input for the whole picture, margins included.
    sample: the windows, all of one size; empty for all of the input.
    side: of the windows in which all of the input is taken, about.
    """

    height: int
    width: int
    sample: tuple[Window, ...] = ()
    side: int = _EXACT_SIDE

    @property
    def exact(self) -> bool:
        """Whether every position is counted."""
        return not self.sample

    @property
    def share(self) -> float:
        """Pixels looked at, as a share of all."""
        if self.exact:
            return 1.0
        seen = sum(window.height * window.width for window in self.sample)
        return seen / (self.height * self.width)


class Gates:
    """The stages of one network on one engine, and the network with its means given.

    Safe to use from several threads at once, once it is made.
    """

    def __init__(self, graph: Graph, engine: engines.Engine) -> None:
        """Compile ``graph``, which has global means, with ``engine``. Raises `EngineError`."""
        self.graph = graph
        self.network = engine.compile(graph.with_given_means())
        self._stages = [engine.compile(graph.stage(i)) for i in range(len(graph.means))]
        names = [node.name for node in graph.means]
        self._inputs = [
            [names.index(value.name) for value in stage.graph.inputs[1:]] for stage in self._stages
        ]
        given = self.network.graph.inputs[1:]
        self._given = [names.index(value.name) for value in given]

    @cached_property
    def _cost_per_pixel(self) -> float:
        return sum(stage.graph.macs_per_pixel for stage in self._stages)

    def survey(self, *, width: int, height: int) -> Survey:
        """Where to take the means for an input of that size, margins included."""
        if width * height <= EXACT_PIXELS:
            return Survey(height, width)
        pixels = min(SAMPLE_SHARE * width * height, SAMPLE_COST)
        pixels *= self.graph.macs_per_pixel / self._cost_per_pixel
        count = max(1, int(pixels / SAMPLE_SIDE**2))
        side = self.graph.input_size(SAMPLE_SIDE)
        return Survey(height, width, _spread(count, side, self.graph.alignment, width, height))

    def cost(self, survey: Survey) -> float:
        """Multiply-accumulates of `means`, about."""
        return sum(
            stage.graph.macs_per_pixel * window.height * window.width
            for stage in self._stages
            for window in _windows(stage.graph, survey)
        )

    def means(
        self, source: Samples, survey: Survey, *, start: int, advance: Advance
    ) -> tuple[engines.Batch, ...]:
        """Take the means of a picture.

        source: (H, W, 1 or 3), uint8, uint16 or float32.
        start: where the network's input begins in the picture, on both axes; negative for a
            margin. Beyond the picture its edge is repeated.
        advance: called after every batch; what it raises stops the work.

        Returns (1, C, 1, 1) float32 for each given input of ``network``, in its order. Raises
        `EngineError`.
        """

        def total(
            stage: engines.Compiled, given: Sequence[engines.Batch], group: Sequence[Window]
        ) -> npt.NDArray[np.float64]:
            batch = tiles.gather(
                source,
                [start + window.left for window in group],
                [start + window.top for window in group],
                height=group[0].height,
                width=group[0].width,
            )
            sums: npt.NDArray[np.float64] = stage.run(batch, given).sum((0, 2, 3), dtype=np.float64)
            return sums

        return self.collect(survey, total, advance=advance)

    def collect(
        self, survey: Survey, total: Total, *, advance: Advance, batch_pixels: int = BATCH_PIXELS
    ) -> tuple[engines.Batch, ...]:
        """The same, for a picture that lies anywhere.

        total: sums what a stage makes of windows of one size.
        batch_pixels: how many pixels it is given at once, about.
        """
        found: list[engines.Batch] = []
        for stage, inputs in zip(self._stages, self._inputs, strict=True):
            given = [found[index] for index in inputs]
            found.append(_mean(stage, given, survey, total, advance, batch_pixels))
        return tuple(found[index] for index in self._given)


def _mean(
    stage: engines.Compiled,
    given: Sequence[engines.Batch],
    survey: Survey,
    total: Total,
    advance: Advance,
    batch_pixels: int,
) -> engines.Batch:
    """The mean of what one stage makes of all windows, every position counted once."""
    graph = stage.graph
    sums = np.zeros(graph.out.channels, np.float64)
    count = 0
    for group in _groups(_windows(graph, survey), batch_pixels):
        height, width = group[0].height, group[0].width
        sums += total(stage, given, group)
        count += len(group) * graph.output_size(height) * graph.output_size(width)
        advance(len(group) * height * width * graph.macs_per_pixel)
    return (sums / count).astype(np.float32).reshape(1, -1, 1, 1)


def _windows(graph: Graph, survey: Survey) -> Sequence[Window]:
    """The windows for one stage."""
    if survey.sample:
        return survey.sample
    return [
        Window(top, left, height, width)
        for top, height in _cover(graph, survey.height, survey.side)
        for left, width in _cover(graph, survey.width, survey.side)
    ]


def _cover(graph: Graph, size: int, side: int) -> list[tuple[int, int]]:
    """Ranges (start, size) of an input whose outputs join without a gap or an overlap."""
    overlap = graph.out.lost / graph.out.scale
    if overlap.denominator != 1 or overlap % graph.alignment:
        return [(0, size)]  # outputs of windows do not join at whole steps
    step = max(side - side % graph.alignment, graph.alignment)
    starts = range(0, max(1, size - int(overlap)), step)
    return [(start, min(step + int(overlap), size - start)) for start in starts]


def _groups(windows: Sequence[Window], pixels: int) -> list[list[Window]]:
    """Windows of one size in groups to be run together."""
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
    """About ``count`` windows of ``side`` pixels or the picture's, one in each cell of a grid.

    Where in its cell a window lies goes by the R2 sequence (M. Roberts, "The Unreasonable
    Effectiveness of Quasirandom Sequences", 2018), so that nothing regular in the picture is hit
    or missed every time.
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
