"""Shapes of networks to train: the tensors of a new network, at random values."""

from __future__ import annotations

import itertools
import math
from typing import Final, Literal

import numpy as np

from .._record import record
from .._text import listed, plural
from ..errors import ArgumentError
from ..network import architectures
from ..network.architectures.gated import FOLD, JOINED
from ..network.architectures.unet import HALVING
from ..network.graph import Graph, Weights
from .degradation import FAMILIES

#: Channels of a picture.
_COLORS: Final = 3
#: Output pixels per input pixel along each side, as training shrinks patches to half.
_SCALE: Final = 2
#: Layers of the estimator of adaptive, before the one that gives the evidence. Each takes a pixel
#: off each side.
ESTIMATOR_LAYERS: Final = 6
#: Factor of the mean evidence for a family over a picture, most pixels of which have none.
EVIDENCE_GAIN: Final = 20.0
#: Which kinds of evidence each number of the code compares: of the families, each with all others;
#: a compressed picture with an uncompressed one; and pairs of families.
_COMPARED: Final = (
    *((first, *(k for k in range(len(FAMILIES)) if k != first)) for first in range(len(FAMILIES))),
    (len(FAMILIES) + 1, len(FAMILIES)),
    (0, 1),
    (1, 2),
    (0, 2),
)


@record
class Shape:
    """The architecture of a network and its sizes.

    width: channels of the layers inside, at least 1; for gated, a multiple of 4.
    blocks: number of blocks, at least 1; for compact, of layers.
    layers: convolutions in a block of gated or unet, 1 to 4.
    gate, join, slopes: whether gated has gates, the 1x1 convolution of joined blocks, and PReLU.
    outer: channels of the layers of unet at full resolution, at least 1.
    architecture: "gated", "unet" (see `waifu2x.network.architectures.gated` and ``unet``),
        "compact", or "adaptive", a Compact network with gates (see ``adaptive``).
    estimator: channels of the layers of the estimator of adaptive, at least 1.
    """

    width: int = 48
    blocks: int = 5
    layers: int = 3
    gate: bool = True
    join: bool = True
    slopes: bool = False
    outer: int = 48
    estimator: int = 24
    architecture: Literal["gated", "compact", "unet", "adaptive"] = "gated"

    def __post_init__(self) -> None:
        """Check the width. Raises `ArgumentError`."""
        if self.architecture == "gated" and self.width % FOLD**2:
            raise ArgumentError(
                f"network.width is {self.width}; for gated, it must be a multiple of {FOLD**2}"
            )

    def describe(self) -> str:
        """Return the sizes in words."""
        if self.architecture == "compact":
            return f"compact with {plural(self.blocks, 'layer')} of {self.width} channels"
        if self.architecture == "adaptive":
            return (
                f"adaptive with {plural(self.blocks, 'layer')} of {self.width} channels and an "
                f"estimator of {self.estimator}"
            )
        if self.architecture == "unet":
            return (
                f"unet with {plural(self.blocks, 'block')} of {plural(self.layers, 'layer')} of "
                f"{self.width} channels between layers of {self.outer}"
            )
        layers = f"{plural(self.blocks, 'block')} of {plural(self.layers, 'layer')}"
        kinds = {"gates": self.gate, "a join": self.join, "PReLU": self.slopes}
        parts = listed([name for name, used in kinds.items() if used], "and")
        return f"gated with {layers} of {self.width} channels{f', {parts}' if parts else ''}"

    def graph(self, seed: int) -> Graph:
        """Return a network whose weights are random by ``seed``, and whose result is its input.

        The last layer is zero, so that training begins at the nearest-neighbor enlargement.
        """
        rng = np.random.default_rng(seed)
        make = {"compact": _compact, "gated": _gated, "unet": _unet, "adaptive": _adaptive}
        return architectures.build(make[self.architecture](self, rng))


def _gated(shape: Shape, rng: np.random.Generator) -> dict[str, Weights]:
    """Return a network that begins as one at full resolution with a quarter of the channels.

    Each channel stands for one of the four phases of the pixel unshuffle. At random values, the
    network would first have to learn that the phases are neighbors, which takes most of a short
    training. Begun like this, a shift of the picture by a pixel shifts the result.
    """
    narrow = shape.width // FOLD**2
    tensors = _lifted(_conv(rng, "head", narrow, _COLORS, 3))
    if shape.slopes:
        tensors["head.slopes.weight"] = _slopes(shape.width)
    for block in range(shape.blocks):
        for layer in range(shape.layers):
            name = f"blocks.{block}.layers.{layer}"
            tensors |= _lifted(_conv(rng, name, narrow, narrow, 3))
            if shape.slopes:
                tensors[f"blocks.{block}.slopes.{layer}.weight"] = _slopes(shape.width)
        if shape.gate:
            tensors |= _lifted(_conv(rng, f"blocks.{block}.gate", narrow, narrow, 1))
    if shape.join:
        tensors |= _lifted(_conv(rng, "join", narrow, JOINED * narrow, 1))
    return tensors | _zeros("tail", _COLORS * (_SCALE * FOLD) ** 2, shape.width, 3)


def _lifted(tensors: dict[str, Weights]) -> dict[str, Weights]:
    """Return the convolution of unshuffled values that equals a convolution before the unshuffle.

    Channel c of the value becomes the channels 4 c to 4 c + 3, as in `PixelUnshuffle`.
    """
    made: dict[str, Weights] = {}
    for name, array in tensors.items():
        if array.ndim == 1:
            made[name] = np.repeat(array, FOLD**2)
            continue
        outputs, inputs, kernel, _ = array.shape
        lifted = np.zeros((outputs, FOLD, FOLD, inputs, FOLD, FOLD, kernel, kernel), np.float32)
        half = kernel // 2
        taps = itertools.product(range(FOLD), range(FOLD), range(kernel), range(kernel))
        for row, column, down, right in taps:
            (y, from_row), (x, from_column) = (
                divmod(at + tap - half, FOLD) for at, tap in ((row, down), (column, right))
            )
            lifted[:, row, column, :, from_row, from_column, y + half, x + half] = array[
                :, :, down, right
            ]
        made[name] = lifted.reshape(outputs * FOLD**2, inputs * FOLD**2, kernel, kernel)
    return made


def _compact(shape: Shape, rng: np.random.Generator) -> dict[str, Weights]:
    width = shape.width
    tensors = _conv(rng, "body.0", width, _COLORS, 3) | {"body.1.weight": _slopes(width)}
    for layer in range(1, shape.blocks + 1):
        tensors |= _conv(rng, f"body.{2 * layer}", width, width, 3)
        tensors[f"body.{2 * layer + 1}.weight"] = _slopes(width)
    return tensors | _zeros(f"body.{2 * shape.blocks + 2}", _COLORS * _SCALE**2, width, 3)


def _adaptive(shape: Shape, rng: np.random.Generator) -> dict[str, Weights]:
    """Return a network whose gates are a half for all pictures, which the layers undo."""
    tensors = doubled(_compact(shape, rng))
    inputs = _COLORS
    for layer in range(ESTIMATOR_LAYERS):
        tensors |= _conv(rng, f"estimator.{2 * layer}", shape.estimator, inputs, 3)
        tensors[f"estimator.{2 * layer + 1}.weight"] = _slopes(shape.estimator)
        inputs = shape.estimator
    kinds = len(FAMILIES) + 2
    tensors |= _zeros(f"estimator.{2 * ESTIMATOR_LAYERS}", kinds, inputs, 1)
    tensors |= _zeros("code", len(_COMPARED), kinds, 1)
    for row, (one, *others) in zip(tensors["code.weight"], _COMPARED, strict=True):
        row[one] = EVIDENCE_GAIN
        row[others] = -EVIDENCE_GAIN / len(others)
    for layer in range(shape.blocks + 1):
        tensors |= _zeros(f"gates.{layer}", shape.width, len(_COMPARED), 1)
    return tensors


def doubled(body: dict[str, Weights]) -> dict[str, Weights]:
    """Return the tensors of Compact with twice the results of all layers but the last."""
    last = max(int(name.split(".")[1]) for name in body)
    made = {}
    for name, array in body.items():
        number = int(name.split(".")[1])
        made[name] = 2 * array if number % 2 == 0 and number < last else array
    return made


def _unet(shape: Shape, rng: np.random.Generator) -> dict[str, Weights]:
    """Return a network that begins with the layers at full resolution only: ``up`` is zero."""
    outer, width = shape.outer, shape.width
    tensors = _conv(rng, "head", outer, _COLORS, 3) | _conv(rng, "before", outer, outer, 3)
    tensors |= _conv(rng, "down", width, outer, HALVING)
    for block, layer in itertools.product(range(shape.blocks), range(shape.layers)):
        tensors |= _conv(rng, f"blocks.{block}.{layer}", width, width, 3)
    tensors |= _zeros("up", width, outer, HALVING)
    tensors["up.bias"] = np.zeros(outer, np.float32)
    tensors |= _conv(rng, "after", outer, outer, 3)
    return tensors | _zeros("tail", _COLORS * _SCALE**2, outer, 3)


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
