"""Measures a network on this machine: its time, and what it makes of flat colors."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from .._record import record
from ..network.registry import AnyLevel
from ..picture import Picture
from .pipeline import Pipeline
from .request import Request

#: Sides of the picture that is timed, in pixels, and the multiply-accumulates that choose it.
_SIDES: Final = (48, 384)
_MACS: Final = 6e10
_RUNS: Final = 3
#: Side of a flat picture, in pixels, and its values out of 255.
_FLAT_SIDE: Final = 24
FLAT: Final = (0, 128, 255)


@record
class Measurement:
    """What a network does here.

    seconds: per megapixel of input, of a large picture.
    flat: the average result of a flat gray picture, for each value of `FLAT`, out of 255.
    """

    seconds: float
    flat: tuple[float, ...]

    @property
    def drift(self) -> float:
        """The largest change of a flat picture, out of 255."""
        return max(abs(made - value) for made, value in zip(self.flat, FLAT, strict=True))


def measure(pipeline: Pipeline, scale: int, noise: AnyLevel | None) -> Measurement:
    """Run one network of a model, on its engine.

    The time is the least of three runs over random noise, for each pixel that the network sees, its
    border included: on a large picture, the border is a small part.

    Raises the errors of `Pipeline.run`.
    """
    network = pipeline.network(scale, noise)
    side = int(np.clip((_MACS / network.graph.macs_per_pixel) ** 0.5, *_SIDES))
    picture = Picture(np.random.default_rng(0).random((side, side, 3), np.float32))
    request = Request(((scale, noise),), side * scale, side * scale, resize=False)
    flat = tuple(_flat(pipeline, request.passes[0], value) for value in FLAT)
    times = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        pipeline.run(picture, request)
        times.append(time.perf_counter() - began)
    height, width = network.window(width=side, height=side)
    return Measurement(min(times) / (height * width) * 1e6, flat)


def _flat(pipeline: Pipeline, step: tuple[int, AnyLevel | None], value: int) -> float:
    picture = Picture(np.full((_FLAT_SIDE, _FLAT_SIDE, 3), value / 255, np.float32))
    side = _FLAT_SIDE * step[0]
    result = pipeline.run(picture, Request((step,), side, side, resize=False), gray=False)
    return float(np.mean(result.color, dtype=np.float64)) * 255
