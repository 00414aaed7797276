"""Samples that are packed in bytes or integers, as in BMP, DDS and PCX."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt


def indices(rows: npt.NDArray[np.uint8], width: int, bits: int) -> npt.NDArray[np.uint8]:
    """Return values (N, width) of 1 to 8 ``bits`` in packed rows, the highest bits first."""
    if bits == 8:
        return rows[:, :width]
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    found: npt.NDArray[np.uint8] = (rows[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
    return found.reshape(len(rows), -1)[:, :width]


def integers(rows: npt.NDArray[np.uint8], width: int, bits: int) -> npt.NDArray[np.uint32]:
    """Return little-endian integers (N, width) of 8, 16, 24 or 32 ``bits`` in rows."""
    count = bits // 8
    stored = rows[:, : count * width].reshape(len(rows), width, count)
    values = np.zeros((len(rows), width), np.uint32)
    for place in range(count):
        values |= stored[:, :, place].astype(np.uint32) << np.uint32(8 * place)
    return values


def scattered(masks: Iterable[int]) -> int | None:
    """Return the first of ``masks`` whose bits are apart, or None."""
    for mask in masks:
        plain = mask // (mask & -mask) if mask else 0
        if plain & (plain + 1):
            return mask
    return None


def scaled(values: npt.NDArray[np.uint32], mask: int, dtype: type[Any]) -> npt.NDArray[Any]:
    """Return the samples under ``mask`` scaled to the full range of ``dtype``, rounded."""
    if not mask:
        return np.zeros(values.shape, dtype)
    shift = (mask & -mask).bit_length() - 1
    most, full = mask >> shift, int(np.iinfo(dtype).max)
    samples = (values & np.uint32(mask)) >> np.uint32(shift)
    if most == full:
        return samples.astype(dtype)
    wide = samples.astype(np.uint64)
    wide *= np.uint64(full)
    wide += np.uint64(most // 2)
    wide //= np.uint64(most)
    return wide.astype(dtype)
