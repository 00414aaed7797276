"""Compact (SRVGGNetCompact) of Real-ESRGAN: convolutions with PReLU and one pixel shuffle.

Source: X. Wang et al., Real-ESRGAN (https://arxiv.org/abs/2107.10833). The result is a residual to
the nearest enlargement of the input.
"""

from __future__ import annotations

from typing import Final

from ...errors import GraphError
from .. import graph as g
from ..readers.tensors import Tensors
from ._builder import INPUT, Builder, indices, side

NAME: Final = "Compact"
MARKS: Final = ()


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of a stack of convolutions with PReLU."""
    first, slopes = tensors.get("body.0.weight"), tensors.get("body.1.weight")
    return first is not None and first.ndim == 4 and slopes is not None and slopes.ndim == 1


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    return [[f"body.{layer}" for layer in range(count)]] if count % 2 and count > 1 else []


def build(tensors: Tensors) -> g.Graph:
    """Build the network; width, layers and scale follow from the shapes. Raises `GraphError`."""
    make = Builder(tensors, NAME)
    found = indices(tensors, "body.")
    if found != list(range(len(found))) or len(found) % 2 == 0:
        raise GraphError(f"{NAME}: the layers {found[:20]} do not make a network")
    channels = make.take("body.0.weight", None, None, 3, 3).shape[1]
    value = INPUT
    for layer in found[:-1:2]:
        value = make.conv(f"body.{layer}", value, padding=1)
        slopes = make.take(f"body.{layer + 1}.weight", None)
        activation = g.Activation("prelu", slopes=slopes)
        value = make.add(f"body.{layer + 1}", g.Activate(activation), value)
    last = f"body.{found[-1]}"
    outputs = make.take(f"{last}.weight", None, None, 3, 3).shape[0]
    factor = side(outputs, channels, NAME)
    value = make.conv(last, value, padding=1)
    base = INPUT
    if factor > 1:
        value = make.add("shuffle", g.PixelShuffle(factor), value)
        base = make.add("base", g.Upsample(factor), INPUT)
    return make.graph(make.add("output", g.Add(), value, base), channels)
