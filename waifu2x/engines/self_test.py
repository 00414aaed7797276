"""Compares a device with the CPU before it is trusted: drivers and kernels return wrong pictures.

A picture with all that is hard for a network goes through the device and through the CPU. Half
precision may differ by 2 of 255 anywhere, float32 by 1.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import DeviceLostError, DeviceMemoryError, EngineError
from ..network.graph import Graph
from .base import Compiled, Engine, first_line
from .device import Batch

#: Largest difference of a right result, of 255, in half precision and in float32.
_ALLOWED_HALF: Final = 2.0
_ALLOWED_FULL: Final = 1.0
#: Least PSNR in dB; a device with less in half precision is tried in float32.
_LEAST_PSNR: Final = 60.0

#: Multiply-accumulates of a comparison, and the least side of its result in input pixels.
_MACS: Final = 2e9
_LEAST_SIDE: Final = 32
#: A device that is done so soon, in seconds, is timed with so many multiply-accumulates instead:
#: small pictures leave most of a GPU idle.
_SOON: Final = 0.05
_TIMED_MACS: Final = 3e10
#: Runs that are timed; the fastest counts.
_RUNS: Final = 3
#: Contrasts of the picture that are tried, and the values of a result that stays within reason.
_CONTRASTS: Final = (1.0, 0.5, 0.25)
_LEAST, _MOST = -1.0, 2.0
#: Side of a block of the picture, in pixels.
_BLOCK: Final = 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a test has found.

    fault: what is wrong with the result, in words; empty if nothing is.
    error: largest difference from the CPU, of 255. psnr: in dB.
    seconds: of a run, per megapixel of input.
    """

    fault: str
    error: float
    psnr: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the result is right."""
        return not self.fault

    @property
    def precise(self) -> bool:
        """Whether the result is right to `_LEAST_PSNR`."""
        return self.passed and self.psnr >= _LEAST_PSNR


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture, its right result, and the seconds per megapixel of the CPU."""

    picture: Batch
    result: Batch
    seconds: float


def reference(graph: Graph, cpu: Engine) -> Reference:
    """Run the picture of a network on an engine of the CPU.

    Some networks answer the hardest picture with values in the millions, which no two engines
    compute alike; they get one of less contrast.
    """
    compiled = cpu.compile(graph)
    whole = picture(_side(graph, _MACS))
    for contrast in _CONTRASTS:
        given = 0.5 + contrast * (whole - 0.5)
        result = compiled.run(given)
        if result.min() > _LEAST and result.max() < _MOST:
            break
    return Reference(given, result, _seconds(compiled, given))


def examine(compiled: Compiled, expected: Reference) -> Verdict:
    """Run a network on a device, and compare.

    An error of the device is a fault, too. Raises `DeviceLostError` and `DeviceMemoryError`.
    """
    try:
        result = compiled.run(expected.picture)
        seconds = _seconds(compiled, expected.picture)
        if seconds * expected.picture[0, 0].size < _SOON * 1e6:
            seconds = _seconds(compiled, picture(_side(compiled.graph, _TIMED_MACS)))
    except (DeviceLostError, DeviceMemoryError):
        raise
    except EngineError as error:
        return Verdict(str(error).split(";")[0], math.inf, 0.0, math.inf)
    except Exception as error:  # of a runtime, of any kind
        return Verdict(first_line(error), math.inf, 0.0, math.inf)
    return Verdict(*_compared(result, expected.result, compiled.reduced), seconds)


def _side(graph: Graph, macs: float) -> int:
    """Return the side of an input that costs so many multiply-accumulates."""
    side = max(int(math.sqrt(macs / graph.macs_per_pixel)), 2 * graph.lost + _LEAST_SIDE)
    return graph.input_size(side)


def _seconds(compiled: Compiled, given: Batch) -> float:
    """Return the seconds per megapixel of the fastest run."""
    best = math.inf
    for _ in range(_RUNS):
        began = time.perf_counter()
        compiled.run(given)
        best = min(best, time.perf_counter() - began)
    return best / int(given[0, 0].size) * 1e6


def _compared(got: Batch, want: Batch, reduced: bool) -> tuple[str, float, float]:
    """Return the fault, the largest difference of 255, and the PSNR."""
    if got.shape != want.shape:
        return f"its result is {got.shape[3]}x{got.shape[2]} px", math.inf, 0.0
    if not np.isfinite(got).all():
        return "its result has values that are not finite", math.inf, 0.0
    difference = np.clip(got, 0, 1).astype(np.float64) - np.clip(want, 0, 1)
    error = 255 * float(np.abs(difference).max())
    mean = float(np.mean(difference**2))
    psnr = 10 * math.log10(1 / mean) if mean else math.inf
    fault = ""
    if error > (_ALLOWED_HALF if reduced else _ALLOWED_FULL):
        black = float(got.max()) < 0.5 / 255 < float(want.max())
        fault = "its result is black" if black else f"its result is off by {error:.3g} of 255"
    return fault, error, psnr


def picture(side: int) -> Batch:
    """Return the picture of the test, (1, 3, side, side): equal sides give equal pictures.

    Blocks of checkerboards, saturated colors, gradients, lines and noise, in an order that differs
    from row to row.
    """
    rng = np.random.default_rng(255)
    down, across = np.mgrid[0:side, 0:side]
    board = (down + across) % 2
    corners = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], np.float32)
    rows, columns = down // _BLOCK, across // _BLOCK
    colors = corners[(3 * rows + 5 * columns) % len(corners)].transpose(2, 0, 1)
    others = corners[(rows + 3 * columns + 1) % len(corners)].transpose(2, 0, 1)
    ramp = (across % _BLOCK + down % _BLOCK) / (2 * _BLOCK - 2)
    line = (across + 2 * down) % 7 == 0
    noise = rng.uniform(0.25, 0.75, (3, side, side))
    kinds: list[npt.NDArray[np.float64]] = [
        np.broadcast_to(board, colors.shape),
        np.where(board == 1, colors, others),
        colors.astype(np.float64),
        colors * ramp + others * (1 - ramp),
        np.broadcast_to(ramp, colors.shape),
        noise,
        np.where(line, 0.0, 1.0) * np.ones_like(colors),
    ]
    chosen = (columns + 4 * rows) % len(kinds)
    made = np.select([chosen == index for index in range(len(kinds))], kinds)
    return np.ascontiguousarray(made[None], np.float32)
