"""Gated: gated blocks of 3x3 convolutions at half the resolution of the input.

A pixel unshuffle by 2 quarters the number of
samples, so each layer costs a quarter of its weights per input pixel, and each layer but the 1x1
convolutions is a 3x3 convolution of equal width, which Winograd's algorithm suits best. A block is
a sequence of convolutions with PReLU or ReLU; its features, multiplied by the hyperbolic tangent of
a 1x1 convolution of the same features, are added to its input. The results of the head and of the
first, middle and last blocks are joined by a 1x1 convolution. The network adds its result to the
nearest-neighbor enlargement of the input.

Sources: pixel unshuffle and pixel shuffle, W. Shi et al. (https://arxiv.org/abs/1609.05158); gates
from the features themselves, C. Wan et al. (https://arxiv.org/abs/2311.12770).
"""

from __future__ import annotations

import itertools
from typing import Final

from ...errors import GraphError
from .. import graph as g
from ..readers.tensors import Tensors
from ._builder import INPUT, Builder, counted, side

NAME: Final = "Gated"
MARKS: Final = ()

#: Factor of the pixel unshuffle.
FOLD: Final = 2
#: Number of values that the 1x1 convolution joins.
JOINED: Final = 4
#: More layers than any network of this kind has, for `layers`.
_MOST_PER_BLOCK: Final = 4


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of a Gated network."""
    return all(
        f"{name}.weight" in tensors for name in ("head", "blocks.0.layers.0", "tail")
    )  # fmt: skip


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    found = []
    options = itertools.product((True, False), repeat=3)
    for (gate, join, slopes), per_block in itertools.product(
        options, range(1, _MOST_PER_BLOCK + 1)
    ):
        block = per_block * (1 + slopes) + gate
        blocks, rest = divmod(count - 2 - slopes - join, block)
        if blocks > 0 and not rest:
            found.append(_names(blocks, per_block, gate=gate, join=join, slopes=slopes))
    return found


def _names(blocks: int, per_block: int, *, gate: bool, join: bool, slopes: bool) -> list[str]:
    names = ["head", "head.slopes"] if slopes else ["head"]
    for block in range(blocks):
        for layer in range(per_block):
            names.append(f"blocks.{block}.layers.{layer}")
            if slopes:
                names.append(f"blocks.{block}.slopes.{layer}")
        if gate:
            names.append(f"blocks.{block}.gate")
    return [*names, *(["join"] if join else []), "tail"]


def build(tensors: Tensors) -> g.Graph:
    """Build the network; its sizes follow from the shapes. Raises `GraphError`."""
    make = Builder(tensors, NAME)
    folded = make.take("head.weight", None, None, 3, 3).shape[1]
    channels, rest = divmod(folded, FOLD * FOLD)
    if rest or not channels:
        raise GraphError(f"{NAME}: the head has {folded} inputs; allowed are multiples of 4")
    value = make.add("unshuffled", g.PixelUnshuffle(FOLD), INPUT)
    value = make.conv("head", value, padding=1)
    slopes = any(".slopes." in name for name in tensors)
    gate = any(name.endswith(".gate.weight") for name in tensors)
    results = [_activated(make, "head.slopes", value, slopes=slopes)]
    blocks = counted(tensors, "blocks", NAME)
    per_block = len(counted(tensors, "blocks.0.layers", NAME))
    if per_block > _MOST_PER_BLOCK:
        raise GraphError(
            f"{NAME}: a block has {per_block} layers; allowed are 1 to {_MOST_PER_BLOCK}"
        )
    for block in blocks:
        name = f"blocks.{block}"
        results.append(_block(make, name, results[-1], layers=per_block, slopes=slopes, gate=gate))
    value = results[-1]
    if make.has("join.weight"):
        kept = [results[at] for at in (0, 1, len(results) // 2, -1)]
        value = make.add("joined", g.Concat(), *kept)
        value = make.conv("join", value, kernel=1)
    outputs = make.take("tail.weight", None, None, 3, 3).shape[0]
    factor = side(outputs, channels, NAME)
    if factor % FOLD or factor == FOLD:
        raise GraphError(
            f"{NAME}: the tail enlarges {factor} times; it must be 4, 6, 8 or a larger even number"
        )
    value = make.conv("tail", value, padding=1)
    value = make.add("shuffled", g.PixelShuffle(factor), value)
    base = make.add("base", g.Upsample(factor // FOLD), INPUT)
    return make.graph(make.add("output", g.Add(), value, base), channels)


def _block(make: Builder, name: str, value: str, *, layers: int, slopes: bool, gate: bool) -> str:
    """Add a block and return its result."""
    features = value
    for layer in range(layers):
        features = make.conv(f"{name}.layers.{layer}", features, padding=1)
        features = _activated(make, f"{name}.slopes.{layer}", features, slopes=slopes)
    if gate:
        opened = make.conv(f"{name}.gate", features, kernel=1)
        opened = make.add(f"{name}.tanh", g.Activate(g.Activation("tanh")), opened)
        features = make.add(f"{name}.gated", g.Multiply(), features, opened)
    return make.add(name, g.Add(), features, value)


def _activated(make: Builder, name: str, value: str, *, slopes: bool) -> str:
    """Add a PReLU with the slopes ``name``, or a ReLU."""
    if slopes:
        activation = g.Activation("prelu", slopes=make.take(f"{name}.weight", None))
    else:
        activation = g.Activation("relu")
    return make.add(f"{value}.activated", g.Activate(activation), value)
