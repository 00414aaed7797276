"""Gathers windows of a picture for a network, and blends the network's output into a picture.

The typed face of the native tile kernels (``csrc/``). Results are exact: the same bytes on every
CPU. A picture is (H, W, C) with C = 1 (gray) or 3 (RGB), or (H, W) for one channel, of uint8,
uint16 or float32; full scale is 255, 65535 or 1.0. Networks take and return float32 planes,
(3, height, width), nominally in [0, 1].

Sources are copied if the kernels cannot read their layout (pixels not contiguous, swapped bytes).
Destinations are written in place: their pixels must be contiguous, and only the stride between rows
is free, as in any rectangle of a contiguous array.

The environment variable ``WAIFU2X_CPU`` caps the instruction set: scalar, avx2 or avx512 on
x86-64, scalar or neon on AArch64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, EngineError
from ..picture import Samples
from . import _native

__all__ = [
    "COLOR_FIX_HALO",
    "bleed",
    "blend",
    "blend_feathered",
    "compiler",
    "fix_colors",
    "gather",
    "isa",
    "isas",
    "quantize",
    "readable",
    "require_finite",
]

Float = npt.NDArray[np.float32]
_AnyArray = npt.NDArray[Any]
_A = TypeVar("_A", bound=_AnyArray)


def compiler() -> str:
    """Return the name and the version of the compiler that built the kernels."""
    return _native.compiler


def isa() -> str:
    """Return the instruction set in use: "scalar", "avx2", "avx512" or "neon".

    Raises ArgumentError if ``WAIFU2X_CPU`` is set to something else.
    """
    with _argument_errors():
        return _native.isa()


def isas() -> tuple[str, ...]:
    """Return the usable instruction sets, lowest first; the last one is in use.

    The CPU has them and ``WAIFU2X_CPU`` allows them; "scalar" is always included. Raises
    ArgumentError if ``WAIFU2X_CPU`` names no instruction set of this architecture.
    """
    with _argument_errors():
        return _native.isas()


def gather(
    color: Samples,
    xs: npt.ArrayLike,
    ys: npt.ArrayLike,
    *,
    width: int,
    height: int,
    out: Float | None = None,
) -> Float:
    """Gather a batch of windows of a picture and normalize them.

    color: (H, W, C) or (H, W), uint8, uint16 or float32, no side 0. Integers become the float32
        nearest to v / 255 or v / 65535; float32 passes as it is. One channel fills all three.
    xs, ys: N integers each, the top left of every window. A window may leave the picture, even
        wholly; the edge of the picture is replicated.
    width, height: of each window in pixels, at least 1.
    out: (N, 3, height, width) float32, C-contiguous, not overlapping color: a buffer to reuse.

    Returns (N, 3, height, width) float32, C-contiguous: ``out`` if it was given.
    Raises ArgumentError for any other shape, dtype, size or layout.
    """
    left, top = _coordinates(xs, "xs"), _coordinates(ys, "ys")
    if width < 1 or height < 1:
        raise ArgumentError(f"windows are {width} x {height} pixels; they must be at least 1 x 1")
    shape = (left.size, 3, height, width)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape:
        raise ArgumentError(f"out has shape {out.shape}; these windows need {shape}")
    with _argument_errors():
        _native.gather(readable(_with_channels(color), 1), left, top, out)
    return out


def blend(
    output: Float,
    picture: Samples,
    *,
    src_x: int,
    src_y: int,
    dst_x: int,
    dst_y: int,
    width: int,
    height: int,
) -> None:
    """Write a rectangle of one network output into a picture: clamp, then quantize once.

    output: (3, h, w) float32; the rectangle's top left in it is (src_x, src_y).
    picture: (H, W, C) or (H, W), uint8, uint16 or float32, written in place; the rectangle's top
        left in it is (dst_x, dst_y). Integers are floor(v * max + 0.5) in float32; float32 is only
        clamped to [0, 1]. One channel gets the BT.601 luma of the unclamped samples, which for
        three equal samples is that sample.
    width, height: of the rectangle, at least 1; it must lie inside both.

    Nothing outside the rectangle is touched. ``output`` and ``picture`` must not overlap.
    Raises ArgumentError for any other shape, dtype, layout or rectangle, before
    writing, and EngineError if a sample in the rectangle is NaN or infinite, after writing: NaN as
    0, infinities clamped.
    """
    with _argument_errors():
        bad = _native.blend(
            readable(output, 2),
            src_x,
            src_y,
            _with_channels(picture),
            dst_x,
            dst_y,
            width,
            height,
        )
    require_finite(bad, 3 * width * height, f"in the tile at ({dst_x}, {dst_y})")


def blend_feathered(
    output: Float,
    canvas: Float,
    *,
    src_x: int,
    src_y: int,
    dst_x: int,
    dst_y: int,
    weights_x: Float,
    weights_y: Float,
) -> None:
    """Add a weighted rectangle of one network output to a canvas, where tiles overlap.

    ``canvas[y, x] += output[:, y, x] * (weights_y[y] * weights_x[x])`` over a rectangle as wide as
    ``weights_x`` and as high as ``weights_y``. Start from zeros, let the weights that meet on a
    pixel sum to 1, and finish with :func:`quantize`.

    output: (3, h, w) float32; the rectangle's top left in it is (src_x, src_y).
    canvas: (H, W, C) or (H, W) float32, written in place; the rectangle's top left in it is
        (dst_x, dst_y). One channel gets the luma, as in :func:`blend`. Nothing is clamped.
    weights_x, weights_y: one-dimensional float32, at least one each.

    Samples that are not finite stay so in the canvas, and :func:`quantize` reports them.
    ``canvas`` must overlap none of the others.
    Raises ArgumentError for any other shape, dtype, layout or rectangle.
    """
    with _argument_errors():
        _native.blend_feathered(
            readable(output, 2),
            src_x,
            src_y,
            _with_channels(canvas),
            dst_x,
            dst_y,
            np.size(weights_x),
            np.size(weights_y),
            readable(weights_x, 0),
            readable(weights_y, 0),
        )


def quantize(canvas: Float, dtype: npt.DTypeLike) -> Samples:
    """Clamp and quantize a canvas, exactly as :func:`blend` does for a tile.

    canvas: (H, W, C) or (H, W) float32, no side 0.
    dtype: uint8, uint16 or float32.

    Returns a new array of that dtype and of the canvas's shape.
    Raises ArgumentError for any other shape or dtype, and EngineError if the canvas
    holds NaN or infinity.
    """
    result: Samples = np.empty(canvas.shape, dtype)
    with _argument_errors():
        bad = _native.quantize(readable(_with_channels(canvas), 1), _with_channels(result))
    require_finite(bad, canvas.size, "on the canvas")
    return result


#: Source rows above and below a row on which the result of `fix_colors` depends.
COLOR_FIX_HALO: Final = 5


def fix_colors(source: Samples, result: Float, out: Float, *, scale: int, first: int = 0) -> None:
    """Match the low frequencies of rows of a result to its source (csrc/color_fix.h).

    Where the source is flat, the result becomes exactly the color of the source. At edges, the
    result stays inside the range of the 3x3 source pixels around, as far as it was.

    source: (H, W, C) or (H, W), uint8, uint16 or float32: a window of rows of the picture, with
        `COLOR_FIX_HALO` rows above and below the rows of ``out``, or fewer at the picture's edge.
    result: (H * scale, W * scale, C) float32, for the same rows.
    out: (n * scale, W * scale, C) float32, written in place: the rows of ``result`` for the source
        rows ``first`` to ``first + n``. It must not overlap ``result``.

    A row has the same bytes in every window. Raises ArgumentError for any other shape, dtype,
    layout or rectangle.
    """
    with _argument_errors():
        _native.fix_colors(
            readable(_with_channels(source), 1),
            readable(_with_channels(result), 1),
            _with_channels(out),
            scale,
            first,
        )


def bleed(color: Samples, alpha: Samples, iterations: int) -> Samples:
    """Spread color outward under transparent pixels, so that a network sees no false edge.

    At first the pixels with alpha > 0 have color. Each iteration gives every pixel without color
    the mean of its colored neighbors, diagonal ones included; integers round half up. The cost is
    proportional to the pixels that change, not to iterations times the picture.

    color: (H, W, C) or (H, W), uint8, uint16 or float32, no side 0; it is not modified.
    alpha: (H, W), same dtype as color.
    iterations: 0 or more; each reaches one pixel further. Other pixels keep their value, so a
        fully transparent or fully opaque picture does not change.

    Returns a new array of color's shape and dtype.
    Raises ArgumentError for any other shape, dtype or number.
    """
    result: _AnyArray = np.array(color, order="C", dtype=color.dtype.newbyteorder("="))
    with _argument_errors():
        _native.bleed(_with_channels(result), readable(alpha, 1), iterations)
    return result


@contextmanager
def _argument_errors() -> Iterator[None]:
    """Turn the ValueError of the native module, whose message is fit for users, into ours."""
    try:
        yield
    except ValueError as error:
        raise ArgumentError(str(error)) from None


def _with_channels(array: _A) -> _A:
    """Return a view with a channel axis."""
    return array[:, :, np.newaxis] if array.ndim == 2 else array  # type: ignore[return-value]


def readable(array: _A, dense_from: int = 1) -> _A:
    """Return the array, or a copy if the kernels cannot read its layout.

    The kernels need aligned samples in native byte order, dense from axis ``dense_from`` on.
    """
    dense = (
        array.ndim > dense_from and array.size > 0 and array[(0,) * dense_from].flags.c_contiguous
    )
    if dense and array.flags.aligned and array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="), order="C")  # type: ignore[return-value]


def _coordinates(values: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.can_cast(array.dtype, np.int64)):
        raise ArgumentError(
            f"{name} is {array.dtype} of shape {array.shape}; it must be one row of integers"
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def require_finite(bad: int, total: int, where: str) -> None:
    """Raise `EngineError` if ``bad`` of ``total`` samples were not finite."""
    if bad:
        raise EngineError(
            f"the network returned values that are not finite ({bad} of {total} samples {where}); "
            "half precision can overflow, so choose `precision='fp32'`; if that fails too, the "
            "weights are damaged, so install or download them again"
        )
