"""U-Net: residual blocks at half the resolution, between layers at the input's resolution.

Two 3x3 convolutions at full resolution keep single pixels. A 2x2 convolution of stride 2 halves the
resolution, where a layer costs a quarter of its weights per input pixel and reaches twice as far.
A transposed convolution goes back, and the sum with the value before the halving passes a last
layer and a pixel shuffle. The network adds its result to the nearest-neighbor enlargement of the
input. Activations are leaky ReLUs of slope 0.1.

Sources: O. Ronneberger et al. (https://arxiv.org/abs/1505.04597); pixel shuffle, W. Shi et al.
(https://arxiv.org/abs/1609.05158).
"""

from __future__ import annotations

from typing import Final

from ...errors import GraphError
from .. import graph as g
from ..readers.tensors import Tensors
from ._builder import INPUT, Builder, counted, side

NAME: Final = "U-Net"
MARKS: Final = ()

#: Factor between the two resolutions.
HALVING: Final = 2
#: Layers outside the blocks: head, before, down, up, after, tail.
_OUTSIDE: Final = 6
#: More layers than a block of any network of this kind has, for `layers`.
_MOST_PER_BLOCK: Final = 4
_ACTIVATION: Final = g.Activation("leaky_relu", slope=0.1)


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of a network of this kind."""
    return all(f"{name}.weight" in tensors for name in ("head", "down", "blocks.0.0", "up", "tail"))


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    found = []
    for per_block in range(1, _MOST_PER_BLOCK + 1):
        blocks, rest = divmod(count - _OUTSIDE, per_block)
        if blocks > 0 and not rest:
            inside = [f"blocks.{at}.{layer}" for at in range(blocks) for layer in range(per_block)]
            found.append(["head", "before", "down", *inside, "up", "after", "tail"])
    return found


def build(tensors: Tensors) -> g.Graph:
    """Build the network; its sizes follow from the shapes. Raises `GraphError`."""
    make = Builder(tensors, NAME)
    channels = make.take("head.weight", None, None, 3, 3).shape[1]
    value = _layer(make, "before", _layer(make, "head", INPUT))
    outer = value
    value = make.conv("down", value, kernel=HALVING, stride=HALVING)
    value = make.add("down.activated", g.Activate(_ACTIVATION), value)
    blocks = counted(tensors, "blocks", NAME)
    per_block = counted(tensors, "blocks.0", NAME)
    if len(per_block) > _MOST_PER_BLOCK:
        raise GraphError(
            f"{NAME}: a block has {len(per_block)} layers; allowed are 1 to {_MOST_PER_BLOCK}"
        )
    for block in blocks:
        features = value
        for layer in per_block:
            features = _layer(make, f"blocks.{block}.{layer}", features)
        value = make.add(f"blocks.{block}", g.Add(), features, value)
    value = make.transposed("up", value, kernel=HALVING, stride=HALVING)
    value = make.add("up.activated", g.Activate(_ACTIVATION), value)
    value = _layer(make, "after", make.add("sum", g.Add(), value, outer))
    outputs = make.take("tail.weight", None, None, 3, 3).shape[0]
    factor = side(outputs, channels, NAME)
    if factor < 2:
        raise GraphError(f"{NAME}: the tail does not enlarge")
    value = make.add("shuffled", g.PixelShuffle(factor), make.conv("tail", value, padding=1))
    base = make.add("base", g.Upsample(factor), INPUT)
    return make.graph(make.add("output", g.Add(), value, base), channels)


def _layer(make: Builder, name: str, value: str) -> str:
    """Add a 3x3 convolution and its activation, and return the result."""
    value = make.conv(name, value, padding=1)
    return make.add(f"{name}.activated", g.Activate(_ACTIVATION), value)
