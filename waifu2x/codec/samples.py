"""Sample types (uint8, uint16, float32) and plain arrays."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .. import kernels
from ..errors import ArgumentError
from ..picture import SAMPLE_DTYPES, Picture, Samples, as_float, sample_max

#: Allows for the overshoot of a sharpening filter; beyond it, a float picture has other units.
FLOAT_SLACK = 0.5

_T = TypeVar("_T", bound=np.generic)

#: Color (H, W, 1 or 3) and alpha (H, W) or None.
Planes: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any] | None]


def check_floats(samples: npt.NDArray[np.float32], what: str) -> None:
    """Raise ArgumentError unless ``samples`` are finite and near [0, 1].

    "Near" is [-0.5, 1.5]: overshoot passes unchanged, but 0..255 or HDR values would silently
    become a white picture.
    """
    low, high = float(samples.min()), float(samples.max())  # propagates NaN and infinity
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ArgumentError(f"{what} holds NaN or infinity; its samples must be finite")
    if low < -FLOAT_SLACK or high > 1 + FLOAT_SLACK:
        raise ArgumentError(
            f"{what} has float samples from {low:g} to {high:g}; they must be in [0, 1], "
            "so divide by the value that means white"
        )


def checked_float32(samples: npt.NDArray[Any], what: str) -> npt.NDArray[np.float32]:
    """Return floats of any width as float32; raises what `check_floats` raises."""
    # Ignore overflow and signaling NaN, which become infinity and NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        converted = samples.astype(np.float32, copy=False)
    check_floats(converted, what)
    return converted


@cache
def _uint16_to_uint8() -> npt.NDArray[np.uint8]:
    """Return floor(v * 255 / 65535 + 0.5) for every uint16 v."""
    value = np.arange(65536, dtype=np.uint32)
    return ((value * 255 + 32767) // 65535).astype(np.uint8)


def convert_samples(samples: Samples, dtype: npt.DTypeLike) -> Samples:
    """Return ``samples`` as ``dtype`` (uint8, uint16 or float32), in an array of the same shape.

    Full scale stays full scale: 255, 65535 and 1.0 mean the same. Fewer levels are reached by
    clamping, then floor(v * max + 0.5), with no dither; floats in float32, by `kernels.quantize`.
    Returns ``samples`` itself if it has that dtype. Raises ArgumentError for another dtype, and if
    NaN would become an integer.
    """
    target = np.dtype(dtype)
    if target not in SAMPLE_DTYPES:
        raise ArgumentError(f"dtype {target} is not one of uint8, uint16 and float32")
    if samples.dtype == target:
        return samples
    if target == np.float32:
        return as_float(samples)
    if samples.dtype == np.uint16:
        return _uint16_to_uint8()[samples]
    if samples.dtype == np.uint8:
        return cast("Samples", samples.astype(np.uint16) * np.uint16(257))
    if samples.size == 0:
        return cast("Samples", samples.astype(target))
    low, high = samples.min(), samples.max()
    if np.isnan(low):
        raise ArgumentError("samples hold NaN; they must be finite to become integers")
    if not np.isfinite(low) or not np.isfinite(high):
        samples = cast("Samples", np.clip(samples, 0, 1))
    rows = cast("npt.NDArray[np.float32]", samples.reshape(len(samples), -1))
    return kernels.quantize(rows, target).reshape(samples.shape)


def from_array(array: npt.NDArray[Any]) -> Picture:
    """Return a picture of ``array``, which is never changed.

    array: (H, W) or (H, W, 1) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGB and
    alpha (straight, not premultiplied); uint8, uint16, or float32 in [0, 1]. Any strides and byte
    order will do. A contiguous array without alpha is not copied, so the picture then changes
    with the array.

    Raises ArgumentError for another type or shape, and for floats that are not finite or lie
    outside [-0.5, 1.5] (0..255 in float32 is a mistake). Overshoot of [0, 1] is kept until the
    samples are quantized.
    """
    if not isinstance(array, np.ndarray):
        raise ArgumentError(f"array is a {type(array).__name__}; it must be a numpy.ndarray")
    array = np.asarray(array)  # Masked arrays and matrices are plain arrays from here on.
    native = array.dtype.newbyteorder("=")
    if native not in SAMPLE_DTYPES:
        hint = {
            "f": "; use .astype(numpy.float32)",
            "b": "; use .astype(numpy.uint8) * 255",
        }.get(native.kind, "")
        raise ArgumentError(
            f"array has dtype {array.dtype}; it must be uint8, uint16 or float32{hint}"
        )
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 2, 3, 4)):
        hint = "; the channels come last" if array.ndim == 3 and shape[0] in (1, 2, 3, 4) else ""
        raise ArgumentError(
            f"array has shape {shape}; it must be (height, width) or (height, width, 1..4){hint}"
        )
    if array.size == 0:
        raise ArgumentError(f"array has shape {shape}; no side may be 0")
    array = array.astype(native, copy=False)
    if native == np.float32:
        check_floats(array, "array")
    if array.ndim == 2:
        return Picture(np.ascontiguousarray(array)[:, :, None])
    color, alpha = split_planes(array)
    return Picture(np.ascontiguousarray(color), alpha)


def interleave(color: npt.NDArray[_T], alpha: npt.NDArray[_T] | None) -> npt.NDArray[_T]:
    """Return color (H, W, C) and alpha (H, W) as one (H, W, C + 1); without alpha, ``color``."""
    if alpha is None:
        return color
    height, width, channels = color.shape
    array = np.empty((height, width, channels + 1), color.dtype)
    array[:, :, :channels] = color
    array[:, :, channels] = alpha
    return array


def split_planes(pixels: npt.NDArray[Any]) -> Planes:
    """Return color and alpha of (H, W, 1..4) pixels, each contiguous."""
    colors = 3 if pixels.shape[2] >= 3 else 1
    if pixels.shape[2] == colors:
        return pixels, None
    return np.ascontiguousarray(pixels[:, :, :colors]), np.ascontiguousarray(pixels[:, :, -1])


def to_array(picture: Picture, like: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the pixels of ``picture`` in the layout of ``like``: dtype, dimensions and channels.

    ``like`` is the array that `from_array` received; its height and width do not matter. Samples
    of another dtype are converted by `convert_samples`. Without alpha the result may share the
    memory of ``picture``.

    Raises ArgumentError if ``like`` has other channels than ``picture``.
    """
    channels = picture.color.shape[2] + (picture.alpha is not None)
    wanted = 1 if like.ndim == 2 else like.shape[2] if like.ndim == 3 else 0
    if channels != wanted:
        raise ArgumentError(
            f"picture has {channels} channels, and an array of shape {like.shape} cannot hold them"
        )
    native = like.dtype.newbyteorder("=")
    color = convert_samples(picture.color, native)
    alpha = None if picture.alpha is None else convert_samples(picture.alpha, native)
    array: npt.NDArray[Any] = interleave(cast("npt.NDArray[Any]", color), alpha)
    if like.ndim == 2:
        array = array[:, :, 0]
    return array.astype(like.dtype, copy=False)


def valid_dpi(dpi: object) -> tuple[float, float] | None:
    """Return a pair of resolutions as floats, or None if it is no pair or out of range."""
    try:
        x, y = (float(value) for value in cast("tuple[Any, Any]", dpi))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    # JPEG holds at most 65535.
    return (x, y) if all(math.isfinite(v) and 0 < v <= 65535 for v in (x, y)) else None


def unpremultiplied(color: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return premultiplied color (H, W, C) divided by its alpha (H, W); 0 where alpha is 0."""
    divisor = alpha[:, :, None]
    if color.dtype.kind == "f":
        quotient = np.zeros_like(color)
        # A tiny alpha overflows to infinity, which is clipped; callers refuse NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            np.divide(color, divisor, out=quotient, where=divisor > 0)
        clipped: npt.NDArray[Any] = np.clip(quotient, -FLOAT_SLACK, 1 + FLOAT_SLACK)
        return clipped
    full = sample_max(color.dtype)
    wide = divisor.astype(np.uint32)
    quotient = (color.astype(np.uint32) * full + wide // 2) // np.maximum(wide, 1)
    return np.where(wide == 0, 0, np.minimum(quotient, full)).astype(color.dtype)
