"""Splits a picture into tiles.

Each output pixel belongs to exactly one tile. A tile reads a window of the input: its own rectangle
and the context that the network needs. A window may leave the picture, whose edge is replicated.
Windows start at multiples of the network's alignment, shifted by the margin, so strided layers see
the same phase in every tile as in the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .. import engines
from .._record import record
from ..errors import ArgumentError
from ..network.graph import MAX_CONTEXT, Graph


@record
class Span:
    """A half-open range along one axis of a tile; all in pixels.

    start, size: the range of the input that the tile owns.
    window_start, window_size: the range of the input to gather; may leave the picture.
    out_start, out_size: the range of the output to write, feathered seams included.
    crop: position of ``out_start`` in the network's output for the window.
    ramp_before, ramp_after: length of the feathered seam at either end of the written range.
    """

    start: int
    size: int
    window_start: int
    window_size: int
    out_start: int
    out_size: int
    crop: int
    ramp_before: int = 0
    ramp_after: int = 0


@record
class Tile:
    """One tile: a span across and a span down."""

    x: Span
    y: Span

    @property
    def window(self) -> tuple[int, int]:
        """(height, width) of the input window."""
        return self.y.window_size, self.x.window_size


@record
class TilingConstraints:
    """The properties of a network that tiling needs; see `waifu2x.network.graph.Graph`.

    scale: output pixels per input pixel.
    lost: input pixels the network consumes on each side.
    margin: context pixels gathered on each side, at least ``lost``.
    modulus, residue: allowed window sides are ``residue`` modulo ``modulus``; tiles start at
        multiples of ``modulus``.
    feather: output pixels over which neighboring tiles are blended; 0 if the margin makes tiles
        exact.
    """

    scale: int
    lost: int
    margin: int
    modulus: int = 1
    residue: int = 0
    feather: int = 0


@record
class TileLayout:
    """The tiles of one picture, row by row; see `plan_tiles`."""

    columns: tuple[Span, ...]
    rows: tuple[Span, ...]
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.columns) * len(self.rows)

    def __iter__(self) -> Iterator[Tile]:
        return (Tile(x, y) for y in self.rows for x in self.columns)

    @property
    def largest_window(self) -> tuple[int, int]:
        """Height and width of the largest window."""
        return max(y.window_size for y in self.rows), max(x.window_size for x in self.columns)


def plan_tiles(network: TilingConstraints, *, width: int, height: int, tile: int = 0) -> TileLayout:
    """Split a picture of ``width`` x ``height`` input pixels into tiles.

    tile: side of a tile in input pixels, rounded down to the network's alignment but not below it;
        0 makes the whole picture one tile. The last tile of a row or column may be smaller.

    Returns the plan, whose ``width`` and ``height`` are those of the output. Raises
    `ArgumentError` if a size is below 1 or ``tile`` is negative.
    """
    if width < 1 or height < 1:
        raise ArgumentError(f"a picture of {width}x{height} px has no pixels")
    if tile < 0:
        raise ArgumentError(f"tile is {tile}; it must be 0 for automatic, or a side in pixels")
    return TileLayout(
        columns=_spans(network, width, tile),
        rows=_spans(network, height, tile),
        width=width * network.scale,
        height=height * network.scale,
    )


def _spans(network: TilingConstraints, length: int, tile: int) -> tuple[Span, ...]:
    step = max(tile - tile % network.modulus, network.modulus) if tile else length
    starts = range(0, length, step)
    return tuple(_span(network, start, min(step, length - start), length) for start in starts)


def _span(network: TilingConstraints, start: int, size: int, length: int) -> Span:
    scale, margin = network.scale, network.margin
    # Half of a seam lies on each side of the border. It must not reach a third tile, nor leave the
    # network's output for this window.
    reach = min(network.feather // 2, (margin - network.lost) * scale)
    before = min(reach, size * scale // 2) if start > 0 else 0
    end = start + size
    after = min(reach, size * scale // 2, (length - end) * scale // 2) if end < length else 0
    return Span(
        start=start,
        size=size,
        window_start=start - margin,
        window_size=_window_size(network, size),
        out_start=start * scale - before,
        out_size=size * scale + before + after,
        crop=(margin - network.lost) * scale - before,
        ramp_before=2 * before,
        ramp_after=2 * after,
    )


def _window_size(network: TilingConstraints, size: int) -> int:
    needed = size + 2 * network.margin
    return needed + (network.residue - needed) % network.modulus


def choose_tile(
    network: TilingConstraints, bytes_per_pixel: float, budget: int, *, width: int, height: int
) -> int:
    """Choose the side of tiles for a memory budget: 0 if the whole picture fits in one tile.

    bytes_per_pixel: working memory of the network per pixel of a window.
    budget: bytes that one network run may take.

    Tiles come out nearly equal, which wastes the least on margins.
    """
    pixels = max(1, int(budget / bytes_per_pixel))
    if _window_size(network, width) * _window_size(network, height) <= pixels:
        return 0
    step = network.modulus
    # The margins of a window, which are the same for all aligned tiles.
    around = _window_size(network, 0)
    largest = math.isqrt(pixels) - around
    largest = max(largest - largest % step, step)
    longest = max(width, height)
    side = math.ceil(longest / math.ceil(longest / largest))
    return math.ceil(side / step) * step


@record
class CompiledNetwork:
    """A network compiled for an engine, and the properties that tiling needs."""

    compiled: engines.Compiled
    tiling: TilingConstraints

    @property
    def graph(self) -> Graph:
        """The graph that was compiled."""
        return self.compiled.graph

    def window(self, *, width: int, height: int) -> tuple[int, int]:
        """Return height and width of the network's input for a whole picture."""
        (tile,) = plan_tiles(self.tiling, width=width, height=height)
        return tile.window


def tiling_of(graph: Graph) -> TilingConstraints:
    """Derive the properties that tiling needs from a graph."""
    modulus, border = graph.alignment, graph.border
    return TilingConstraints(
        scale=graph.scale,
        lost=graph.lost,
        margin=border,
        modulus=modulus,
        residue=graph.input_size(0) % modulus,
        feather=0 if border >= graph.margin else MAX_CONTEXT * graph.scale,
    )


def ramp(span: Span) -> npt.NDArray[np.float32]:
    """Return the weights of a tile along one axis; two neighbors add up to 1 over their seam."""
    weights = np.ones(span.out_size, np.float32)
    if span.ramp_before:
        rise = (np.arange(span.ramp_before, dtype=np.float32) + 0.5) / span.ramp_before
        weights[: span.ramp_before] = rise
    if span.ramp_after:
        rise = (np.arange(span.ramp_after, dtype=np.float32) + 0.5) / span.ramp_after
        weights[-span.ramp_after :] = 1 - rise
    return weights
