"""Networks for several noise levels in one state dict.

A tensor "noise_2.NAME" takes the place of NAME in the network for noise level 2, and "noise.NAME"
in those for all levels; all other tensors are shared. NAME itself is of the network that only
enlarges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from ...errors import GraphError
from ..graph import Weights
from .tensors import Tensors

_LEVELS: Final = range(4)
#: Stands for all noise levels.
_ALL: Final = "all"


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
    if level is None:
        return parts[None]  # type: ignore[return-value]
    return {**parts[None], **parts.get(_ALL, {}), **parts[level]}  # type: ignore[dict-item]


def joined(networks: Mapping[int | None, Mapping[str, Weights]]) -> dict[str, Weights]:
    """Return one state dict of the networks for several noise levels, None among them.

    The networks have tensors of the same names and shapes; equal tensors are stored once.
    """
    plain = networks[None]
    leveled = {level: tensors for level, tensors in networks.items() if level is not None}
    made = dict(plain)
    for name, array in plain.items():
        others = [tensors[name] for tensors in leveled.values()]
        if len(others) > 1 and all(np.array_equal(each, others[0]) for each in others):
            if not np.array_equal(others[0], array):
                made[f"noise.{name}"] = others[0]
            continue
        for level, tensors in leveled.items():
            if not np.array_equal(tensors[name], array):
                made[f"noise_{level}.{name}"] = tensors[name]
    for level, tensors in leveled.items():
        if not any(_split(name)[0] == level for name in made):
            # One tensor of its own names the level.
            name, array = next(iter(tensors.items()))
            made[f"noise_{level}.{name}"] = array
    return made


def _split(name: str) -> tuple[object, str]:
    if name.startswith("noise."):
        return _ALL, name.removeprefix("noise.")
    for level in _LEVELS:
        prefix = f"noise_{level}."
        if name.startswith(prefix):
            return level, name.removeprefix(prefix)
    return None, name
