"""Builds graphs from the tensors of a state dict, and accounts for each tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import GraphError
from .. import graph as g
from ..readers.tensors import Tensors, quoted

INPUT = "input"
_SHOWN = 3


def listed(names: list[str]) -> str:
    """Return the first names in quotes, and how many there are more."""
    text = ", ".join(quoted(name) for name in names[:_SHOWN])
    return text + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


class Builder:
    """Collects the nodes of a network whose layers are named as in its state dict.

    A convolution "a.b" has the weight "a.b.weight" and, if there is one, the bias "a.b.bias".
    """

    def __init__(self, tensors: Tensors, family: str) -> None:
        self._tensors = tensors
        self._family = family
        self._used: set[str] = set()
        self._nodes: list[g.Node] = []

    def has(self, name: str) -> bool:
        """Return whether there is a tensor of this name."""
        return name in self._tensors

    def take(self, name: str, *shape: int | None) -> g.Weights:
        """Return a tensor as float32; None in ``shape`` allows any size.

        Raises `GraphError` if the tensor is missing, has another shape or type, or a value that is
        not finite.
        """
        array = self._tensors.get(name)
        if array is None:
            raise GraphError(f"{self._family}: the tensor {quoted(name)} is missing")
        self._used.add(name)
        if len(array.shape) != len(shape) or any(
            wanted not in (None, side) for wanted, side in zip(shape, array.shape, strict=True)
        ):
            wanted = "x".join("any" if side is None else str(side) for side in shape)
            raise GraphError(
                f"{self._family}: the tensor {quoted(name)} has the shape "
                f"{'x'.join(map(str, array.shape)) or 1} instead of {wanted}"
            )
        if not array.size:
            raise GraphError(f"{self._family}: the tensor {quoted(name)} is empty")
        if array.dtype.kind != "f":
            raise GraphError(f"{self._family}: the tensor {quoted(name)} has type {array.dtype}")
        return self.finite(name, array)

    def finite(self, name: str, array: npt.NDArray[Any]) -> g.Weights:
        """Return an array as contiguous float32. Raises `GraphError` if it is not finite."""
        with np.errstate(over="ignore"):
            made: g.Weights = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(made).all():
            raise GraphError(
                f"{self._family}: the tensor {quoted(name)} has values that are not finite"
            )
        return made

    def mark(self, name: str) -> None:
        """Count a tensor as understood, although the network does not read it."""
        self._used.add(name)

    # --- nodes --------------------------------------------------------------------------------

    def add(self, name: str, op: g.Op, *inputs: str) -> str:
        """Add a node and return its name."""
        self._nodes.append(g.Node(name, op, inputs))
        return name

    def conv(
        self,
        name: str,
        value: str,
        *,
        kernel: int | None = 3,
        padding: int = 0,
        stride: int = 1,
        activation: g.Activation | None = None,
    ) -> str:
        """Add the convolution ``name``, and return its name."""
        weight = self.take(f"{name}.weight", None, None, kernel, kernel)
        return self.add(
            name, g.Conv(weight, self._bias(name, len(weight)), stride, padding, activation), value
        )

    def transposed(
        self,
        name: str,
        value: str,
        *,
        kernel: int,
        stride: int,
        padding: int = 0,
        activation: g.Activation | None = None,
    ) -> str:
        """Add the transposed convolution ``name``, and return its name."""
        weight = self.take(f"{name}.weight", None, None, kernel, kernel)
        bias = self._bias(name, weight.shape[1])
        return self.add(name, g.ConvTranspose(weight, bias, stride, padding, activation), value)

    def _bias(self, name: str, count: int) -> g.Weights:
        if not self.has(f"{name}.bias"):
            return np.zeros(count, np.float32)
        return self.take(f"{name}.bias", count)

    def graph(self, output: str, channels: int) -> g.Graph:
        """Return the graph. Raises `GraphError` for tensors that are not part of it."""
        left = [name for name in self._tensors if name not in self._used]
        if left:
            raise GraphError(f"{self._family}: not understood: {listed(left)}")
        return g.Graph(self._nodes, output=output, inputs=(g.Input(INPUT, channels),))


def side(count: int, channels: int, family: str) -> int:
    """Return the factor of a pixel shuffle that makes ``channels`` of ``count`` channels.

    Raises `GraphError` if there is none.
    """
    factor = math.isqrt(count // channels)
    if factor < 1 or factor * factor * channels != count:
        raise GraphError(
            f"{family}: {count} channels cannot be shuffled to {channels} channels of more pixels"
        )
    return factor


def indices(tensors: Mapping[str, Any], prefix: str) -> list[int]:
    """Return the numbers after ``prefix`` in the names of tensors, in order."""
    found = set()
    for name in tensors:
        if name.startswith(prefix):
            number = name[len(prefix) :].partition(".")[0]
            if number.isascii() and number.isdecimal() and len(number) < 6:
                found.add(int(number))
    return sorted(found)


def counted(tensors: Mapping[str, Any], name: str, family: str) -> list[int]:
    """Return the numbers of the parts of ``name``. Raises `GraphError` if they are not 0, 1, ..."""
    found = indices(tensors, f"{name}.")
    if not found or found != list(range(len(found))):
        raise GraphError(f"{family}: {name} has the numbers {found[:20]}; they must count from 0")
    return found
