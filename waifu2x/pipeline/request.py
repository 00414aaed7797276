"""Resolves a requested size and noise level into passes of networks and the size of the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Final, TypeAlias

from .._record import record
from ..errors import ArgumentError, LimitError
from ..network.registry import AnyLevel

#: Maximum width or height of a result in pixels.
MOST_SIDE: Final = 2**31

#: Multiply-accumulates per input pixel of each network of a model, by its scale and noise level.
Costs: TypeAlias = Mapping[tuple[int, AnyLevel | None], float]

_Passes: TypeAlias = tuple[tuple[int, AnyLevel | None], ...]


@record
class Request:
    """The passes and the size of one result; see `plan_request`.

    passes: (scale, noise) of each network, in order.
    width, height: size of the result in pixels.
    resize: whether a shrink to that size follows.
    strength, color_fix: of `waifu2x.pipeline.options.PictureOptions`.
    """

    passes: _Passes
    width: int
    height: int
    resize: bool
    strength: float = 1
    color_fix: bool = False

    @property
    def finished(self) -> bool:
        """Whether the result of the last network is finished in float32 (`finish.Finish`)."""
        return bool(self.passes) and (self.strength < 1 or self.color_fix)


def plan_request(
    *,
    width: int,
    height: int,
    scale: float | None = None,
    target_width: int | None = None,
    target_height: int | None = None,
    noise: AnyLevel | None = None,
    costs: Costs,
) -> Request:
    """Resolve a scale or a target size for a picture of ``width`` x ``height`` pixels.

    The first pass removes the noise; later passes only enlarge. The passes reach at least the
    requested size, and one shrink follows if they exceed it. Of all sequences of the model's
    networks, the one with the fewest passes is chosen; among equals the one without a shrink, then
    the one of least cost, then the one with the smallest picture before the shrink. If only one
    target side is given, the other keeps the aspect.

    costs: the networks of the model. If none of scale 1 removes the noise, denoising alone enlarges
        the picture and shrinks it back. A network of scale 1 without a noise level restores the
        picture, so it runs even if nothing else is to be done.

    Raises `ArgumentError` unless either the scale or target sides are given, positive and finite,
    or if there is no network for ``noise``, and `LimitError` for a result of more than 2^31 pixels
    a side.
    """
    for name, side in (("width", target_width), ("height", target_height)):
        if side is not None and not (isinstance(side, Integral) and 1 <= side <= MOST_SIDE):
            raise ArgumentError(
                f"{name} is {side!r}; it must be a whole number of pixels, 1 to {MOST_SIDE}"
            )
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
        size = target_width, target_height

        # Compare integers: a float ratio may land just above the product that it should equal.
        def reached(grown: int) -> bool:
            return width * grown >= size[0] and height * grown >= size[1]
    else:
        ratio = 2.0 if scale is None else float(scale)
        if not (math.isfinite(ratio) and ratio > 0):
            raise ArgumentError(
                f"scale is {ratio:g}; it must be a number above 0, for example 2, 1.5 or 0.5"
            )
        if ratio * max(width, height) > MOST_SIDE:
            raise LimitError(
                f"{width}x{height} px at a scale of {ratio:g} are more than 2^31 px a side; "
                "choose a smaller `scale=`"
            )
        size = max(1, math.floor(width * ratio + 0.5)), max(1, math.floor(height * ratio + 0.5))

        # Logarithms round, so that a ratio computed with an error of one bit is not one pass more.
        def reached(grown: int) -> bool:
            return math.log2(ratio) <= math.log2(grown)

    def exact(grown: int) -> bool:
        return (width * grown, height * grown) == size

    passes: _Passes = ()
    if reached(1) and noise is None and (1, None) in costs:
        return Request(((1, None),), *size, resize=not exact(1))
    if not reached(1) or (noise is not None and (1, noise) not in costs):
        passes = _enlarging(noise, costs, reached, exact)
    elif noise is not None:
        passes = ((1, noise),)
    return Request(passes, *size, resize=not exact(math.prod(step for step, _ in passes)))


def _enlarging(
    noise: AnyLevel | None,
    costs: Costs,
    reached: Callable[[int], bool],
    exact: Callable[[int], bool],
) -> _Passes:
    """Return at least one enlarging pass; see `plan_request` for the choice.

    reached, exact: whether a product of scales is large enough, and needs no shrink.
    """
    # The cheapest passes so far for each product of scales. The cost of the passes that follow
    # depends on the product only.
    found: dict[int, tuple[float, _Passes]] = {1: (0.0, ())}
    level = noise
    while True:
        steps = {scale: cost for (scale, at), cost in costs.items() if at == level and scale > 1}
        if not steps:
            if level is None:
                raise ArgumentError(
                    "the model has no network that enlarges; give `scale=1`, or choose another "
                    "`model=`"
                )
            raise ArgumentError(
                f"the model has no network that enlarges with noise {level!r}; "
                "choose another `model=` or `noise=`"
            )
        longer: dict[int, tuple[float, _Passes]] = {}
        for product, (cost, passes) in found.items():
            for scale, macs in sorted(steps.items()):
                grown = product * scale
                total = cost + product * product * macs
                if grown not in longer or total < longer[grown][0]:
                    longer[grown] = total, (*passes, (scale, level))
        ends = [grown for grown in longer if reached(grown)]
        if ends:
            best = min(ends, key=lambda grown: (not exact(grown), longer[grown][0], grown))
            return longer[best][1]
        found, level = longer, None


def denoising_scale(costs: Costs) -> int | None:
    """Return the scale of the networks that denoise a picture that is not enlarged.

    1 if there are any, else the scale of the cheapest network that removes noise; None if no
    network does.
    """
    removing = [(scale != 1, cost, scale) for (scale, at), cost in costs.items() if at is not None]
    return min(removing)[2] if removing else None


def _round(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
