"""Transparency: the color under transparent pixels, and solid areas that stay solid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..picture import Samples, sample_max


def is_flat(alpha: Samples) -> bool:
    """Return whether all samples are equal."""
    return bool((alpha == alpha[0, 0]).all())


def enlarged(
    alpha: Samples, dtype: np.dtype[Any], enlarge: Callable[[Samples], Samples]
) -> Samples:
    """Enlarge alpha (H, W) as a gray picture, and keep solid and empty areas exact.

    Networks sometimes return 254 for flat white, which would make a solid sprite faintly
    transparent. If a pixel and its eight neighbors are all solid or all empty, the result is set
    to exactly that.

    enlarge: takes (H, W, 1) and returns (H', W', 1) of ``dtype``.
    """
    solid = _interior(alpha == sample_max(alpha.dtype))
    empty = _interior(alpha == 0)
    result = enlarge(alpha[:, :, None])[:, :, 0]
    height, width = result.shape
    rows = np.arange(height) * alpha.shape[0] // height
    columns = np.arange(width) * alpha.shape[1] // width
    result[solid[rows][:, columns]] = sample_max(dtype)
    result[empty[rows][:, columns]] = 0
    return result


def _interior(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return where a pixel and its eight neighbors are set; outside the picture counts as set."""
    padded = np.pad(mask, 1, constant_values=True)
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    inner: npt.NDArray[np.bool_] = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return inner
