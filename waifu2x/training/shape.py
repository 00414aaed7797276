"""Shapes of networks to train: the tensors of a new network, at random values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from .._text import listed, plural
from ..network import architectures
from ..network.architectures.swift import FOLD, JOINED
from ..network.graph import Graph, Weights

#: Channels of a picture.
_COLORS: Final = 3
#: Output pixels per input pixel along each side, as training shrinks patches to half.
_SCALE: Final = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """The architecture of a network and its sizes.

    width: channels of the layers inside, at least 1.
    blocks: number of blocks, at least 1; for compact, of layers.
    layers: convolutions in a block of swift, 1 to 4.
    gate, join, slopes: whether swift has gates, the 1x1 convolution of joined blocks, and PReLU.
    architecture: "swift" (see `waifu2x.network.architectures.swift`) or "compact".
    """

    width: int = 48
    blocks: int = 5
    layers: int = 3
    gate: bool = True
    join: bool = True
    slopes: bool = False
    architecture: Literal["swift", "compact"] = "swift"

    def describe(self) -> str:
        """Return the sizes in words."""
        if self.architecture == "compact":
            return f"compact with {plural(self.blocks, 'layer')} of {self.width} channels"
        layers = f"{plural(self.blocks, 'block')} of {plural(self.layers, 'layer')}"
        kinds = {"gates": self.gate, "a join": self.join, "PReLU": self.slopes}
        parts = listed([name for name, used in kinds.items() if used], "and")
        return f"swift with {layers} of {self.width} channels{f', {parts}' if parts else ''}"

    def graph(self, seed: int) -> Graph:
        """Return a network whose weights are random by ``seed``, and whose result is its input.

        The last layer is zero, so that training begins at the nearest-neighbor enlargement.
        """
        rng = np.random.default_rng(seed)
        tensors = _compact(self, rng) if self.architecture == "compact" else _swift(self, rng)
        return architectures.build(tensors)


def _swift(shape: Shape, rng: np.random.Generator) -> dict[str, Weights]:
    width = shape.width
    tensors = _conv(rng, "head", width, _COLORS * FOLD**2, 3)
    head = tensors["head.weight"]
    head -= head.mean((2, 3), keepdims=True)
    if shape.slopes:
        tensors["head.slopes.weight"] = _slopes(width)
    for block in range(shape.blocks):
        for layer in range(shape.layers):
            tensors |= _conv(rng, f"blocks.{block}.layers.{layer}", width, width, 3)
            if shape.slopes:
                tensors[f"blocks.{block}.slopes.{layer}.weight"] = _slopes(width)
        if shape.gate:
            tensors |= _conv(rng, f"blocks.{block}.gate", width, width, 1)
    if shape.join:
        tensors |= _conv(rng, "join", width, JOINED * width, 1)
    return tensors | _zeros("tail", _COLORS * (_SCALE * FOLD) ** 2, width, 3)


def _compact(shape: Shape, rng: np.random.Generator) -> dict[str, Weights]:
    width = shape.width
    tensors = _conv(rng, "body.0", width, _COLORS, 3) | {"body.1.weight": _slopes(width)}
    for layer in range(1, shape.blocks + 1):
        tensors |= _conv(rng, f"body.{2 * layer}", width, width, 3)
        tensors[f"body.{2 * layer + 1}.weight"] = _slopes(width)
    return tensors | _zeros(f"body.{2 * shape.blocks + 2}", _COLORS * _SCALE**2, width, 3)


def _conv(
    rng: np.random.Generator, name: str, outputs: int, inputs: int, kernel: int
) -> dict[str, Weights]:
    """Return the weights of a convolution by the rule of He et al. for ReLU (arXiv:1502.01852)."""
    deviation = math.sqrt(2 / (inputs * kernel * kernel))
    weight = rng.normal(0, deviation, (outputs, inputs, kernel, kernel))
    return {
        f"{name}.weight": weight.astype(np.float32),
        f"{name}.bias": np.zeros(outputs, np.float32),
    }


def _zeros(name: str, outputs: int, inputs: int, kernel: int) -> dict[str, Weights]:
    return {
        f"{name}.weight": np.zeros((outputs, inputs, kernel, kernel), np.float32),
        f"{name}.bias": np.zeros(outputs, np.float32),
    }


def _slopes(channels: int) -> Weights:
    return np.full(channels, 0.1, np.float32)
