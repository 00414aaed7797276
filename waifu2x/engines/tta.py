"""Test-time augmentation: results averaged over the eight symmetries of the square.

Works on NumPy arrays and torch tensors alike, as both name the operations the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from .device import Transform

#: The dihedral group of the square: quarter turns counterclockwise, then an optional reflection.
DIHEDRAL: Final = tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True))


def transformed(xp: Any, x: Any, turns: int, mirrored: bool, axes: tuple[int, int]) -> Any:
    """Rotate ``x`` in the plane of ``axes`` (height, width), then mirror its width.

    xp: numpy or torch, whichever ``x`` belongs to. Returns a view if it can.
    """
    rotated = xp.rot90(x, turns, axes)
    return xp.flip(rotated, (axes[1],)) if mirrored else rotated


def restored(xp: Any, x: Any, turns: int, mirrored: bool, axes: tuple[int, int]) -> Any:
    """Undo `transformed`."""
    return xp.rot90(xp.flip(x, (axes[1],)) if mirrored else x, -turns, axes)


def averaged(transforms: Sequence[Transform], run: Callable[[Transform], Any]) -> Any:
    """Return the mean of ``run`` over ``transforms``, summed in their order in float32.

    run: returns the restored result of one transform; the first one is overwritten.
    """
    total: Any = None
    for transform in transforms:
        result = run(transform)
        if total is None:
            total = result
        else:
            total += result
    total *= 1 / len(transforms)
    return total
