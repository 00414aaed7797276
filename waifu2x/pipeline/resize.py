"""Resizes a result to the exact target size, once and in float."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ArgumentError
from ..picture import Samples, as_float

#: Lanczos reaches three pixels of the coarser grid.
LANCZOS_RADIUS = 3


def shrink(color: npt.NDArray[np.float32], *, width: int, height: int) -> npt.NDArray[np.float32]:
    """Resize ``color`` to width x height by antialiased Lanczos (3 lobes).

    color: float32 (H, W, C) or (H, W), any strides; not changed. Returns a new contiguous float32
    array (height, width, C) or (height, width). Sides may also grow, and may be 1.

    Does not clamp: Lanczos overshoots at hard edges by about a tenth of the step, so the result may
    leave [0, 1]. The caller clamps when it quantizes.

    Raises ArgumentError for another dtype or shape, and for a size below 1.
    """
    if not isinstance(color, np.ndarray) or color.dtype != np.float32:
        found = getattr(color, "dtype", type(color).__name__)
        raise ArgumentError(f"color is {found}; it must be a float32 array")
    if color.ndim not in (2, 3) or color.size == 0:
        raise ArgumentError(
            f"color has shape {color.shape}; it must be (height, width) or "
            "(height, width, channels), none of them 0"
        )
    for name, value in (("width", width), ("height", height)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ArgumentError(f"{name} is {value!r}; it must be a whole number, 1 or more")
    size = (int(width), int(height))
    if color.shape[:2] == (height, width):
        return np.array(color, order="C")
    if color.ndim == 2:
        return np.array(_resized(color, size), dtype=np.float32)
    result = np.empty((height, width, color.shape[2]), np.float32)
    for channel in range(color.shape[2]):
        result[:, :, channel] = _resized(color[:, :, channel], size)
    return result


def enlarge_rows(source: Samples, *, scale: int, start: int, end: int) -> npt.NDArray[np.float32]:
    """Return the rows ``start`` to ``end`` of ``source``, enlarged by Lanczos in float32.

    source: (H, W, C) samples. Returns a new array ((end - start) * scale, W * scale, C), which may
    leave [0, 1] as in `shrink`. It equals those rows of the enlarged picture, except for the last
    bit, which Pillow rounds in another way.
    """
    if scale == 1:
        return np.array(as_float(source[start:end]), order="C")
    width, channels = source.shape[1:]
    top = max(0, start - LANCZOS_RADIUS - 1)
    rows = as_float(source[top : end + LANCZOS_RADIUS + 1])
    size = (width * scale, (end - start) * scale)
    result = np.empty((*size[::-1], channels), np.float32)
    for channel in range(channels):
        box = (0, start - top, width, end - top)
        result[:, :, channel] = _resized(rows[:, :, channel], size, box)
    return result


def _resized(
    plane: npt.NDArray[np.float32],
    size: tuple[int, int],
    box: tuple[int, int, int, int] | None = None,
) -> npt.NDArray[Any]:
    # fromarray shares the memory of a contiguous plane; a channel of RGB is copied once.
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box))
