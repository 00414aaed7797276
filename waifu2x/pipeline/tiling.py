"""Splits a picture into tiles, and a request into passes. Integers only, no arrays.

Every output pixel is owned by exactly one tile. A tile reads a window of the input that is its
owned rectangle plus the context the network needs; the window may reach beyond the picture, where
the edge is replicated. Windows start at multiples of the network's alignment (shifted by one and
the same margin), so that strided layers see the same phase in every tile as in the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

from ..errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range along one axis of a tile; all in pixels.

    start, size: the owned range of the input.
    window_start, window_size: the range of the input to gather; may leave the picture.
    out_start, out_size: the range of the output to write, feathered seams included.
    crop: where ``out_start`` lies in the network's output for the window.
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


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: a span across and a span down."""

    x: Span
    y: Span

    @property
    def window(self) -> tuple[int, int]:
        """(height, width) of the input window."""
        return self.y.window_size, self.x.window_size


@dataclass(frozen=True, slots=True)
class Network:
    """What planning must know of a network; see the properties of `waifu2x.network.graph.Graph`.

    scale: output pixels per input pixel.
    lost: input pixels the network consumes on each side.
    margin: context pixels gathered on each side, at least ``lost``.
    modulus, residue: allowed window sides are ``residue`` modulo ``modulus``; tiles start at
        multiples of ``modulus``.
    feather: output pixels over which neighboring tiles are blended into each other; 0 where the
        margin makes tiles exact.
    """

    scale: int
    lost: int
    margin: int
    modulus: int = 1
    residue: int = 0
    feather: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
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
        """Height and width of the largest input that a tile takes."""
        return max(y.window_size for y in self.rows), max(x.window_size for x in self.columns)


def plan_tiles(network: Network, *, width: int, height: int, tile: int = 0) -> Plan:
    """Split a picture of ``width`` x ``height`` input pixels into tiles.

    tile: the owned side of a tile in input pixels, rounded down to the network's alignment (but at
        least that); 0 takes the whole picture as one tile. The last tile of a row or column is
        what is left.

    Returns the plan, whose ``width`` and ``height`` are those of the output. Raises
    `ArgumentError` if a size is below 1 or ``tile`` is negative.
    """
    if width < 1 or height < 1:
        raise ArgumentError(f"a picture of {width}x{height} px has no pixels")
    if tile < 0:
        raise ArgumentError(f"tile is {tile}; it must be 0 for automatic, or a side in pixels")
    return Plan(
        columns=_spans(network, width, tile),
        rows=_spans(network, height, tile),
        width=width * network.scale,
        height=height * network.scale,
    )


def _spans(network: Network, length: int, tile: int) -> tuple[Span, ...]:
    step = max(tile - tile % network.modulus, network.modulus) if tile else length
    starts = range(0, length, step)
    return tuple(_span(network, start, min(step, length - start), length) for start in starts)


def _span(network: Network, start: int, size: int, length: int) -> Span:
    scale, margin = network.scale, network.margin
    # The part of a seam on each side of the border between two tiles; never into a third tile,
    # and never further than the network's output for this window goes.
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


def _window_size(network: Network, size: int) -> int:
    needed = size + 2 * network.margin
    return needed + (network.residue - needed) % network.modulus


def choose_tile(
    network: Network, bytes_per_pixel: float, budget: int, *, width: int, height: int
) -> int:
    """The tile side for a memory budget: 0 if the whole picture fits in one tile.

    bytes_per_pixel: working memory of the network per pixel of a window.
    budget: bytes that one network run may take.

    The side is chosen so that tiles come out nearly equal, which wastes the least on margins.
    """
    pixels = max(1, int(budget / bytes_per_pixel))
    if _window_size(network, width) * _window_size(network, height) <= pixels:
        return 0
    step = network.modulus
    # What a window is wider than its tile, which is the same for all aligned tiles.
    around = _window_size(network, 0)
    largest = math.isqrt(pixels) - around
    largest = max(largest - largest % step, step)
    longest = max(width, height)
    side = math.ceil(longest / math.ceil(longest / largest))
    return math.ceil(side / step) * step


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of one picture, resolved; see `plan_request`.

    passes: the (scale, noise) of each network run over the picture, in order.
    width, height: size of the result in pixels.
    resize: whether a shrink to that size follows the last pass.
    """

    passes: tuple[tuple[int, int | None], ...]
    width: int
    height: int
    resize: bool


def plan_request(
    *,
    width: int,
    height: int,
    scale: float | None = None,
    target_width: int | None = None,
    target_height: int | None = None,
    noise: int | None = None,
    denoises_at_1x: bool = True,
) -> Request:
    """Work out passes and result size for a picture of ``width`` x ``height`` pixels.

    Noise is removed once, in the first pass; enlarging goes by repeated doubling to the next power
    of two, and one shrink reaches anything between. With one target side the other keeps the
    aspect. ``denoises_at_1x`` tells whether the model has a network that only denoises; without,
    denoising doubles and shrinks back.

    Raises `ArgumentError` unless the scale or the target sides are positive and finite, and given
    one or the other.
    """
    for name, side in (("width", target_width), ("height", target_height)):
        if side is not None and not (isinstance(side, Integral) and side >= 1):
            raise ArgumentError(f"{name} is {side}; it must be a whole number, at least 1 pixel")
    if target_width is not None or target_height is not None:
        if scale is not None:
            raise ArgumentError("give a scale, or a target width or height, not both")
        if target_width is None:
            assert target_height is not None
            target_width = max(1, _round(width * target_height, height))
        if target_height is None:
            target_height = max(1, _round(height * target_width, width))
        # Compared as integers: a float ratio may land just above the power it should equal.
        doublings = 0
        while width << doublings < target_width or height << doublings < target_height:
            doublings += 1
    else:
        ratio = 2.0 if scale is None else float(scale)
        if not (math.isfinite(ratio) and ratio > 0):
            raise ArgumentError(
                f"scale is {scale}; it must be a number above 0, for example 2, 1.5 or 0.5"
            )
        if ratio * max(width, height) > 2**31:
            raise ArgumentError(f"scale is {scale:g}; the result would be more than 2^31 px wide")
        target_width = max(1, math.floor(width * ratio + 0.5))
        target_height = max(1, math.floor(height * ratio + 0.5))
        doublings = max(0, math.ceil(math.log2(ratio))) if ratio > 1 else 0

    passes: list[tuple[int, int | None]] = [(2, None)] * doublings
    if noise is not None:
        if passes:
            passes[0] = (2, noise)
        else:
            passes = [(1 if denoises_at_1x else 2, noise)]
    grown = math.prod(step for step, _ in passes)
    return Request(
        passes=tuple(passes),
        width=target_width,
        height=target_height,
        resize=(width * grown, height * grown) != (target_width, target_height),
    )


def _round(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
