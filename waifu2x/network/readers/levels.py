"""Networks for several noise levels in one state dict.

A tensor "noise_2.NAME" takes the place of NAME in the network for noise level 2; all other tensors
are shared. Without such tensors, NAME is of the network that only enlarges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from ...errors import GraphError
from ..graph import Weights
from .tensors import Tensors

_LEVELS: Final = range(4)


def at_level(tensors: Tensors, level: object) -> Tensors:
    """Return the tensors of the network for a noise level; None is for enlarging only.

    Raises `GraphError` if the state dict has no network for this level.
    """
    parts: dict[object, dict[str, object]] = {None: {}}
    for name, array in tensors.items():
        number, rest = _split(name)
        parts.setdefault(number, {})[rest] = array
    if level not in parts:
        raise GraphError(f"the state dict has no network for noise level {level}")
    return {**parts[None], **(parts[level] if level is not None else {})}  # type: ignore[dict-item]


def joined(networks: Mapping[int | None, Mapping[str, Weights]]) -> dict[str, Weights]:
    """Return one state dict of the networks for several noise levels, None among them.

    The networks have tensors of the same names and shapes; equal tensors are stored once.
    """
    plain = networks[None]
    made = dict(plain)
    for level, tensors in networks.items():
        if level is None:
            continue
        for name, array in tensors.items():
            if not np.array_equal(array, plain[name]):
                made[f"noise_{level}.{name}"] = array
    return made


def _split(name: str) -> tuple[int | None, str]:
    for level in _LEVELS:
        prefix = f"noise_{level}."
        if name.startswith(prefix):
            return level, name.removeprefix(prefix)
    return None, name
