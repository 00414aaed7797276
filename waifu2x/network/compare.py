"""Compares networks by what they compute, regardless of the names of values and layers."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np

from . import graph as g

#: Digits of constants that are compared if the comparison is not exact.
_DIGITS = 5


def same(first: g.Graph, second: g.Graph, *, exact: bool = True) -> bool:
    """Return whether two networks have the same operations, weights and geometry.

    An activation may be part of a convolution or follow it, factors and offsets in sequence count
    as their product, and the terms of a sum may be in any order.

    exact: whether factors and offsets are equal in float32; otherwise in five digits. Weights must
        be equal in any case.
    """
    return (first.channels, first.out.scale, first.out.origin, first.alignment) == (
        second.channels, second.out.scale, second.out.origin, second.alignment
    ) and _digest(first, exact) == _digest(second, exact)  # fmt: skip


def digest(graph: g.Graph) -> str:
    """Return a name for what a network computes: equal names for networks that are the `same`."""
    return _digest(graph, exact=True).hex()


def _digest(graph: g.Graph, exact: bool) -> bytes:
    made = _Digests(graph, exact)
    for node in graph.nodes:
        made.add(node)
    return made.keys[graph.output]


class _Digests:
    """The digest of each value; equal digests mean equal computations."""

    def __init__(self, graph: g.Graph, exact: bool) -> None:
        self._graph, self._exact = graph, exact
        self.keys = {
            value.name: _hash("input", index, value.channels, value.pooled)
            for index, value in enumerate(graph.inputs)
        }
        #: Factors and offsets, (C,) float64, with the value that they apply to.
        self._affine: dict[str, tuple[str, Any, Any]] = {}
        self._crops: dict[str, tuple[str, int]] = {}
        #: The values of which a value is the sigmoid.
        self._sigmoids: dict[str, str] = {}

    def add(self, node: g.Node) -> None:
        """Compute the digest of the result of a node."""
        inputs = [self.keys[name] for name in node.inputs]
        match node.op:
            case g.Conv() | g.ConvTranspose():
                op = node.op
                kind = type(op).__name__
                key = _hash(kind, op.stride, op.padding, op.weight, op.bias, *inputs)
                if op.activation is not None:
                    key = _activated(op.activation, key)
            case g.Activate(activation=activation):
                key = _activated(activation, inputs[0])
                if activation.kind == "sigmoid":
                    self._sigmoids[node.name] = node.inputs[0]
            case g.Add():
                key = _hash("Add", *sorted(inputs))
            case g.Multiply():
                first, second = node.inputs
                if self._sigmoids.get(second) == first:
                    key = _activated(g.Activation("silu"), inputs[0])
                elif self._sigmoids.get(first) == second:
                    key = _activated(g.Activation("silu"), inputs[1])
                else:
                    pooled = self._graph.values[second].pooled
                    key = _hash("Multiply", *(inputs if pooled else sorted(inputs)))
            case g.Affine():
                key = self._scaled(node, node.op)
            case g.Crop(margin=margin):
                source, before = self._crops.get(node.inputs[0], (node.inputs[0], 0))
                self._crops[node.name] = source, before + margin
                key = self.keys[source]
                if before + margin:
                    key = _hash("Crop", before + margin, key)
            case g.PixelShuffle(factor=1) | g.PixelUnshuffle(factor=1) | g.Upsample(factor=1):
                key = inputs[0]
            case g.PixelShuffle() | g.PixelUnshuffle() | g.Upsample():
                key = _hash(type(node.op).__name__, node.op.factor, *inputs)
            case g.Resize():
                ratio = Fraction(node.op.numerator, node.op.denominator)
                key = _hash("Resize", ratio, node.op.kind, *inputs)
            case g.ExternalModel():
                model = node.op.model
                key = _hash(
                    "ExternalModel", model if isinstance(model, bytes) else id(model), *inputs
                )
            case g.GlobalMean() | g.Concat():
                key = _hash(type(node.op).__name__, *inputs)
        self.keys[node.name] = key

    def _scaled(self, node: g.Node, op: g.Affine) -> bytes:
        channels = self._graph.values[node.name].channels
        scale, offset = (
            np.broadcast_to(np.asarray(number, np.float64), channels)
            for number in (op.scale, op.offset)
        )
        source = node.inputs[0]
        if source in self._affine:
            source, factor, shift = self._affine[source]
            scale, offset = factor * scale, shift * scale + offset
        self._affine[node.name] = source, scale, offset
        if np.all(scale == 1) and not np.any(offset):
            return self.keys[source]
        return _hash("Affine", self._number(scale), self._number(offset), self.keys[source])

    def _number(self, array: Any) -> Any:
        if self._exact:
            return array.astype(np.float32)
        return [f"{number:.{_DIGITS}g}" for number in array]


def _activated(activation: g.Activation, key: bytes) -> bytes:
    kind, slope = activation.kind, np.float32(activation.slope)
    if kind in ("relu", "leaky_relu"):
        return _hash("relu", slope if kind == "leaky_relu" else np.float32(0), key)
    return _hash(kind, activation.slopes, key)


def _hash(*parts: Any) -> bytes:
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            # Zeros of both signs are equal.
            array = np.ascontiguousarray(part, np.float32) + np.float32(0)
            made.update(f"{array.shape}".encode())
            made.update(array.tobytes())
        elif isinstance(part, bytes):
            made.update(part)
        else:
            made.update(f"{part!r};".encode())
    return made.digest()
