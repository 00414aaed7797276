"""Compact (SRVGGNetCompact) of Real-ESRGAN: convolutions with PReLU and one pixel shuffle.

Source: X. Wang et al., Real-ESRGAN (https://arxiv.org/abs/2107.10833). The result is a residual to
the nearest enlargement of the input.
"""

from __future__ import annotations

from collections.abc import Callable
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
    make, body = Builder(tensors, NAME), numbers(tensors, "body", NAME)
    return enlarge(make, NAME, body, stack(make, "body", body))


def numbers(tensors: Tensors, name: str, family: str) -> list[int]:
    """Return the numbers of a stack: convolutions and PReLU in turns, and a convolution.

    Raises `GraphError` if they do not count from 0, or do not end with a convolution.
    """
    found = indices(tensors, f"{name}.")
    if found != list(range(len(found))) or len(found) % 2 == 0:
        raise GraphError(f"{family}: the layers {found[:20]} of {name} do not make a network")
    return found


def stack(
    make: Builder,
    name: str,
    layers: list[int],
    after: Callable[[int, str], str] = lambda _, value: value,
    *,
    padding: int = 1,
) -> str:
    """Add convolutions and PReLU in turns, all but the last of ``layers``, and return the result.

    after: called with the index of a convolution and its activated result; returns what the next
        layer reads.
    padding: zeros around the value that a convolution reads.
    """
    value = INPUT
    for layer in layers[:-1:2]:
        value = make.conv(f"{name}.{layer}", value, padding=padding)
        slopes = make.take(f"{name}.{layer + 1}.weight", None)
        activation = g.Activation("prelu", slopes=slopes)
        value = make.add(f"{name}.{layer + 1}", g.Activate(activation), value)
        value = after(layer // 2, value)
    return value


def enlarge(make: Builder, family: str, layers: list[int], value: str) -> g.Graph:
    """Return the network that ends with the last layer of "body"; value: what that layer reads."""
    channels = make.take("body.0.weight", None, None, 3, 3).shape[1]
    last = f"body.{layers[-1]}"
    outputs = make.take(f"{last}.weight", None, None, 3, 3).shape[0]
    factor = side(outputs, channels, family)
    value = make.conv(last, value, padding=1)
    base = INPUT
    if factor > 1:
        value = make.add("shuffle", g.PixelShuffle(factor), value)
        base = make.add("base", g.Upsample(factor), INPUT)
    return make.graph(make.add("output", g.Add(), value, base), channels)
