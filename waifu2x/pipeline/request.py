"""Resolves a requested size and noise level into passes of networks and the size of the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

from ..errors import ArgumentError, LimitError


@dataclass(frozen=True, slots=True)
class Request:
    """The passes and the size of one result; see `plan_request`.

    passes: (scale, noise) of each network, in order.
    width, height: size of the result in pixels.
    resize: whether a shrink to that size follows.
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
    """Resolve a scale or a target size for a picture of ``width`` x ``height`` pixels.

    The first pass removes the noise. Each pass doubles the picture, up to the next power of two,
    and one shrink reaches any ratio in between. If only one target side is given, the other keeps
    the aspect.

    denoises_at_1x: whether the model has networks that denoise only; without them, denoising alone
        doubles the picture and shrinks it back.

    Raises `ArgumentError` unless either the scale or target sides are given, positive and finite,
    and `LimitError` for a result of more than 2^31 pixels a side.
    """
    for name, side in (("width", target_width), ("height", target_height)):
        if side is not None and not (isinstance(side, Integral) and side >= 1):
            raise ArgumentError(f"{name} is {side!r}; it must be a whole number, at least 1 pixel")
    if target_width is not None or target_height is not None:
        if scale is not None:
            raise ArgumentError(
                "a scale and a size are given; give `scale=`, or `width=` and `height=`"
            )
        if target_width is None:
            assert target_height is not None
            target_width = max(1, _round(width * target_height, height))
        if target_height is None:
            target_height = max(1, _round(height * target_width, width))
        # Compare integers: a float ratio may land just above the power that it should equal.
        doublings = 0
        while width << doublings < target_width or height << doublings < target_height:
            doublings += 1
    else:
        ratio = 2.0 if scale is None else float(scale)
        if not (math.isfinite(ratio) and ratio > 0):
            raise ArgumentError(
                f"scale is {ratio:g}; it must be a number above 0, for example 2, 1.5 or 0.5"
            )
        if ratio * max(width, height) > 2**31:
            raise LimitError(
                f"{width}x{height} px at a scale of {ratio:g} are more than 2^31 px a side; "
                "choose a smaller `scale=`"
            )
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
