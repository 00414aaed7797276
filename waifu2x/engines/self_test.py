"""Compares a device with the CPU before it is trusted: drivers and kernels return wrong pictures.

Two pictures go through the device and through the CPU: one with all that is hard for a network, and
a drawing. Half precision may differ by 2 of 255 anywhere, float32 by 1.
"""

from __future__ import annotations

import math
import time
from typing import Final

import numpy as np
import numpy.typing as npt

from .._record import record
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
#: Runs that are timed, and the seconds after which no other begins; the fastest counts.
_RUNS: Final = 3
_PATIENCE: Final = 1.0
#: Contrasts of the picture that are tried, and the values of a result that stays within reason.
_CONTRASTS: Final = (1.0, 0.5, 0.25)
_LEAST, _MOST = -1.0, 2.0
#: Side of a block of the picture, in pixels.
_BLOCK: Final = 16


@record
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
        """Whether a right result is near the exact one, too."""
        return self.passed and self.psnr >= _LEAST_PSNR


@record
class Reference:
    """The pictures, their right results, and the seconds per megapixel of the CPU."""

    pictures: Batch
    results: Batch
    seconds: float


def reference(graph: Graph, cpu: Engine) -> Reference:
    """Run the pictures of a network on an engine of the CPU.

    Some networks answer the hardest picture with values in the millions, which no two engines
    compute alike; they get one of less contrast.
    """
    compiled = cpu.compile(graph)
    side = _side(graph, _MACS)
    whole = hard_picture(side)
    for contrast in _CONTRASTS:
        hard = 0.5 + contrast * (whole - 0.5)
        result = compiled.run(hard)
        if result.min() > _LEAST and result.max() < _MOST:
            break
    drawn = drawing(side)
    results = np.concatenate([result, compiled.run(drawn)])
    return Reference(np.concatenate([hard, drawn]), results, _seconds(compiled, hard))


def examine(compiled: Compiled, expected: Reference) -> Verdict:
    """Run a network on a device, and compare.

    An error of the device is a fault, too. Raises `DeviceLostError` and `DeviceMemoryError`.
    """
    try:
        results = [compiled.run(given[None]) for given in expected.pictures]
        seconds = _seconds(compiled, expected.pictures[:1])
        if seconds * expected.pictures[0, 0].size < _SOON * 1e6:
            seconds = _seconds(compiled, drawing(_side(compiled.graph, _TIMED_MACS)))
    except (DeviceLostError, DeviceMemoryError):
        raise
    except EngineError as error:
        return Verdict(str(error).split(";")[0], math.inf, 0.0, math.inf)
    except Exception as error:  # of a runtime, of any kind
        return Verdict(first_line(error), math.inf, 0.0, math.inf)
    found = [
        _compared(got, want[None], compiled.reduced)
        for got, want in zip(results, expected.results, strict=True)
    ]
    fault = next((fault for fault, *_ in found if fault), "")
    errors, psnrs = [each[1] for each in found], [each[2] for each in found]
    return Verdict(fault, max(errors), min(psnrs), seconds)


def _side(graph: Graph, macs: float) -> int:
    """Return the side of an input that costs so many multiply-accumulates."""
    side = max(int(math.sqrt(macs / graph.macs_per_pixel)), 2 * graph.lost + _LEAST_SIDE)
    return graph.input_size(side)


def _seconds(compiled: Compiled, given: Batch) -> float:
    """Return the seconds per megapixel of the fastest run."""
    best, first = math.inf, time.perf_counter()
    for _ in range(_RUNS):
        began = time.perf_counter()
        compiled.run(given)
        best = min(best, time.perf_counter() - began)
        if time.perf_counter() - first > _PATIENCE:
            break
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


def hard_picture(side: int) -> Batch:
    """Return what is hard for a network, (1, 3, side, side): equal sides give equal pictures.

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


def drawing(side: int) -> Batch:
    """Return a drawing, (1, 3, side, side), 0 to 1: flat areas, dark outlines, strands, shading.

    Deep networks lose more precision on smooth lines than on the hardest blocks.
    """
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    made = np.ones((3, side, side)) * np.array([0.93, 0.87, 0.80])[:, None, None]
    made -= 0.2 * y
    shapes = (  # center, radii, color
        ((0.45, 0.42), (0.36, 0.30), (0.98, 0.80, 0.70)),
        ((0.30, 0.45), (0.09, 0.13), (0.25, 0.35, 0.75)),
        ((0.62, 0.45), (0.09, 0.13), (0.25, 0.35, 0.75)),
        ((0.31, 0.40), (0.03, 0.04), (1.00, 1.00, 1.00)),
        ((0.75, 0.85), (0.30, 0.20), (0.80, 0.20, 0.25)),
    )
    for (cx, cy), (rx, ry), color in shapes:
        distance = (np.hypot((x - cx) / rx, (y - cy) / ry) - 1) * min(rx, ry) * side
        inside = np.clip(0.5 - distance, 0, 1)
        shaded = np.array(color)[:, None, None] * (1 - 0.25 * (x - cx > 0.4 * rx))
        made += inside * (shaded - made)
        made *= 1 - 0.85 * np.clip(1.2 - np.abs(distance), 0, 1)
    for strand in range(6):
        curve = 0.1 + 0.15 * strand + 0.08 * np.sin(3 * y + strand)
        made *= 1 - 0.8 * np.clip(0.9 - np.abs(x - curve) * side, 0, 1) * (y < 0.35)
    return np.ascontiguousarray(np.clip(made, 0, 1)[None], np.float32)
