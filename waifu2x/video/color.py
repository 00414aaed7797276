"""Planes of a frame to gamma-encoded RGB and back, in float32.

The matrices and ranges are those of ITU-T H.273. Chroma is enlarged by Catmull-Rom interpolation at
the positions of its samples, and reduced by the average over the area of a sample. Both work on
bands of rows that stay in the CPU's cache; every band gives the same samples as the whole frame.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from .._record import record
from ..picture import Picture
from .layout import VideoLayout
from .planes import Plane, VideoFrame

_Float: TypeAlias = npt.NDArray[np.float32]

#: Luma samples that are converted at once.
_BAND_SAMPLES: Final = 1 << 16
#: Chroma samples that interpolation reads outside the frame, on each side.
_PAD: Final = 2

#: Weights of red and blue in luma.
_LUMA: Final[dict[str, tuple[float, float]]] = {
    "bt709": (0.2126, 0.0722),
    "bt601": (0.299, 0.114),
    "bt2020": (0.2627, 0.0593),
    "smpte240m": (0.212, 0.087),
    "fcc": (0.30, 0.11),
}


@record
class _Conversion:
    """The numbers of a conversion for one matrix, range and depth.

    to_planes: 3x3, RGB in [0, 1] to luma in [0, 1] and two of chroma in [-0.5, 0.5].
    to_rgb: its inverse.
    scales, zeros: a plane is ``scale * value + zero``. The last pair is alpha's.
    """

    to_planes: tuple[tuple[float, ...], ...]
    to_rgb: tuple[tuple[float, ...], ...]
    scales: tuple[float, float, float, float]
    zeros: tuple[float, float, float, float]
    largest: int


@lru_cache(maxsize=8)
def _conversion(matrix: str, full_range: bool, depth: int) -> _Conversion:
    largest = (1 << depth) - 1
    unit = 1 << (depth - 8)
    luma, chroma, black = (
        (largest, largest, 0) if full_range else (219 * unit, 224 * unit, 16 * unit)
    )
    middle = 1 << (depth - 1)
    if matrix == "rgb":
        forward = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float64)
        chroma, middle = luma, black
    elif matrix == "ycgco":
        forward = np.array([[1, 2, 1], [-1, 2, -1], [2, 0, -2]], np.float64) / 4
    else:
        red, blue = _LUMA[matrix]
        weights = np.array([red, 1 - red - blue, blue])
        forward = np.stack(
            [
                weights,
                (np.array([0, 0, 1]) - weights) / (2 * (1 - blue)),
                (np.array([1, 0, 0]) - weights) / (2 * (1 - red)),
            ]
        )
    inverse = np.linalg.inv(forward)
    inverse[np.abs(inverse) < 1e-12] = 0
    return _Conversion(
        tuple(map(tuple, forward.tolist())),
        tuple(map(tuple, inverse.tolist())),
        (luma, chroma, chroma, largest),
        (black, middle, middle, 0),
        largest,
    )


# --- planes to RGB ------------------------------------------------------------------------------


def to_rgb(frame: VideoFrame, layout: VideoLayout) -> Picture:
    """Convert the planes of a frame to a picture.

    Returns float32 in [0, 1], gamma-encoded as in the source: color (H, W, 3), or (H, W, 1) for
    mono, and alpha (H, W) if the layout has it. Values outside [0, 1] are clamped. Raises
    `ArgumentError` for planes that do not match ``layout``.
    """
    frame.require(layout)
    numbers = _conversion(layout.matrix, layout.full_range, layout.depth)
    height, width = layout.height, layout.width
    color: _Float = np.empty((height, width, 1 if layout.mono else 3), np.float32)
    chroma = [] if layout.mono else [_padded(plane, layout) for plane in frame.planes[1:3]]
    rows = _band_rows(layout)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        luma = _normalized(frame.planes[0][top:bottom], numbers, 0)
        target = color[top:bottom]
        if layout.mono:
            np.clip(luma, 0, 1, out=target[:, :, 0])
            continue
        both = [
            _enlarged(plane, layout, top, bottom, numbers, index)
            for index, plane in enumerate(chroma, 1)
        ]
        _mixed(numbers.to_rgb, [luma, *both], target)
        np.clip(target, 0, 1, out=target)
    alpha = _normalized(frame.planes[-1], numbers, 3) if layout.alpha else None
    if alpha is not None:
        np.clip(alpha, 0, 1, out=alpha)
    return Picture(color, alpha)


def _band_rows(layout: VideoLayout) -> int:
    """Return the luma rows of a band: whole rows of chroma."""
    unit = layout.factors[1]
    return max(1, _BAND_SAMPLES // layout.width // unit) * unit


def _normalized(plane: Plane, numbers: _Conversion, index: int) -> _Float:
    values = plane.astype(np.float32)
    if numbers.zeros[index]:
        values -= np.float32(numbers.zeros[index])
    # Division: multiplying by the inverse would not give exactly 1.0 for white.
    values /= np.float32(numbers.scales[index])
    return values


def _mixed(matrix: tuple[tuple[float, ...], ...], planes: list[_Float], target: _Float) -> None:
    """Write the product of a 3x3 matrix and three planes to the channels of (n, W, 3)."""
    total, part = np.empty_like(planes[0]), np.empty_like(planes[0])
    for channel, weights in enumerate(matrix):
        terms = [(weight, plane) for weight, plane in zip(weights, planes, strict=True) if weight]
        sums: _Float | None = None
        for weight, plane in terms:
            if weight == 1:
                product = plane
            else:
                product = np.multiply(
                    plane, np.float32(weight), out=part if sums is total else total
                )
            sums = product if sums is None else np.add(sums, product, out=total)
        target[:, :, channel] = sums if sums is not None else 0


def _padded(plane: Plane, layout: VideoLayout) -> Plane:
    """Return a plane with its edges repeated in the directions of interpolation."""
    across, down = layout.factors
    if (across, down) == (1, 1):
        return plane
    pads = ((_PAD if down > 1 else 0,) * 2, (_PAD if across > 1 else 0,) * 2)
    return cast("Plane", np.pad(plane, pads, "edge"))


def _enlarged(
    padded: Plane, layout: VideoLayout, top: int, bottom: int, numbers: _Conversion, index: int
) -> _Float:
    """Return rows ``top`` to ``bottom`` of a chroma plane at the size of luma, normalized.

    padded: from `_padded`.
    """
    (across, down), (x, y) = layout.factors, layout.offsets
    first, last = top // down, -(-bottom // down)
    band = _normalized(padded[first : last + (2 * _PAD if down > 1 else 0)], numbers, index)
    if down > 1:
        band = _interpolated(band, down, y)[: bottom - top]
    if across > 1:
        band = _interpolated(band.T, across, x).T[:, : layout.width]
    return band


def _interpolated(padded: _Float, factor: int, offset: float) -> _Float:
    """Enlarge the first axis ``factor`` times; ``offset`` is the position of its first sample.

    padded: with `_PAD` more samples at both ends.
    """
    samples = len(padded) - 2 * _PAD
    # Rows of the result are contiguous if those of the source are.
    order: Any = "F" if padded.flags.f_contiguous else "C"
    result: _Float = np.empty((samples * factor, padded.shape[1]), np.float32, order)
    part = np.empty((samples, padded.shape[1]), np.float32, order)
    for phase in range(factor):
        place = (phase - offset) / factor
        base = math.floor(place)
        target = result[phase::factor]
        taps = [
            (weight, padded[_PAD + base + tap - 1 :][:samples])
            for tap, weight in enumerate(_catmull_rom(place - base))
            if weight
        ]
        if len(taps) == 1:
            target[...] = taps[0][1]
            continue
        sums = np.multiply(taps[0][1], np.float32(taps[0][0]))
        for weight, source in taps[1:]:
            np.multiply(source, np.float32(weight), out=part)
            sums += part
        target[...] = sums
    return result


def _catmull_rom(t: float) -> tuple[float, float, float, float]:
    """Weights of four neighbors for a point ``t`` between the second and the third (Keys, 1981)."""
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


# --- RGB to planes ------------------------------------------------------------------------------


def from_rgb(picture: Picture, layout: VideoLayout, *, pts: int | None = None) -> VideoFrame:
    """Convert a picture to planes.

    picture: float32 (H, W, 3), or (H, W, 1) for gray, of the size of ``layout``; values outside
        [0, 1] are clamped. A picture without alpha is opaque.

    Samples are rounded once, half up, to the range of the depth.
    """
    numbers = _conversion(layout.matrix, layout.full_range, layout.depth)
    color = cast("_Float", picture.color)
    height, dtype = layout.height, layout.dtype
    assert color.shape[:2] == (height, layout.width)
    assert color.dtype == np.float32
    planes: list[npt.NDArray[Any]] = [np.empty(shape, dtype) for shape in layout.shapes]
    if layout.alpha:
        if picture.alpha is None:
            planes[-1].fill(numbers.largest)
        else:
            alpha = np.clip(cast("_Float", picture.alpha), 0, 1)
            _store(alpha, planes[-1], numbers, 3)
    rows, (_, down) = _band_rows(layout), layout.factors
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        if color.shape[2] == 1:
            _store(np.clip(color[top:bottom, :, 0], 0, 1), planes[0][top:bottom], numbers, 0)
            continue
        # The average over a sample may read rows above and below the band.
        above = min(top, down // 2)
        band = np.clip(color[top - above : bottom + down // 2], 0, 1)
        inner = band[above : above + bottom - top]
        luma = _combined(numbers.to_planes[0], inner)
        _store(luma, planes[0][top:bottom], numbers, 0)
        if layout.mono:
            continue
        small = _reduced(band, layout, above, bottom - top)
        first = top // down
        for index in (1, 2):
            values = _combined(numbers.to_planes[index], small)
            _store(values, planes[index][first : first + len(values)], numbers, index)
    if color.shape[2] == 1 and not layout.mono:
        for index in (1, 2):
            if layout.matrix == "rgb":
                planes[index][...] = planes[0]
            else:
                planes[index].fill(int(numbers.zeros[index]))
    return VideoFrame(tuple(planes), pts)


def _combined(weights: tuple[float, ...], color: _Float) -> _Float:
    """Return the weighted sum of the channels of (n, W, 3)."""
    sums: _Float | None = None
    part: _Float | None = None
    for channel, weight in enumerate(weights):
        if not weight:
            continue
        if sums is None:
            sums = np.multiply(color[:, :, channel], np.float32(weight))
            continue
        part = np.multiply(color[:, :, channel], np.float32(weight), out=part)
        sums += part
    assert sums is not None
    return sums


def _store(values: _Float, plane: npt.NDArray[Any], numbers: _Conversion, index: int) -> None:
    """Scale, round and clamp values into a plane; ``values`` is overwritten."""
    values *= np.float32(numbers.scales[index])
    values += np.float32(numbers.zeros[index] + 0.5)
    if index in (1, 2):
        # Full-range chroma of a pure color may reach 256 of 255.
        np.clip(values, 0, numbers.largest, out=values)
    np.copyto(plane, values, casting="unsafe")


def _reduced(band: _Float, layout: VideoLayout, above: int, rows: int) -> _Float:
    """Return the average of RGB over the area of each chroma sample.

    band: (n, W, 3) of which ``rows`` rows after the first ``above`` belong to the samples.
    """
    (across, down), (x, y) = layout.factors, layout.offsets
    if down > 1:
        band = _averaged(band, down, y, above, rows)
    if across > 1:
        wide = _averaged(band.transpose(1, 0, 2), across, x, 0, band.shape[1])
        band = wide.transpose(1, 0, 2)
    return band


def _averaged(samples: _Float, factor: int, offset: float, before: int, size: int) -> _Float:
    """Average the first axis over ``factor`` samples around each position of chroma.

    samples: with ``before`` samples in front of the ``size`` ones that count, and perhaps more
        behind them. Beyond its ends the edge is repeated.
    """
    count = -(-size // factor)
    low = offset - factor / 2 + 0.5
    first = math.floor(low)
    share = low - first
    taps = [1 - share, *[1.0] * (factor - 1), *([share] if share else [])]
    last = before + (count - 1) * factor + first + len(taps) - 1
    if before + first < 0 or last >= len(samples):
        pads = (max(0, -(before + first)), max(0, last - len(samples) + 1))
        samples = np.concatenate(
            [samples[:1]] * pads[0] + [samples] + [samples[-1:]] * pads[1], axis=0
        )
        before += pads[0]
    result: _Float | None = None
    for tap, weight in enumerate(taps):
        start = before + first + tap
        source = samples[start : start + (count - 1) * factor + 1 : factor]
        term = source if weight == 1 else source * np.float32(weight)
        result = np.add(result, term) if result is not None else term
    assert result is not None
    return np.multiply(result, np.float32(1 / factor))
