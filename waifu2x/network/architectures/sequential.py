"""The first waifu2x networks, vgg_7 and upconv_7: a sequence of convolutions, as in nunif.

Source: https://github.com/nagadomi/nunif. Layers "net.0", "net.2", ... are convolutions with leaky
ReLU between them; in upconv_7 the last is a transposed one with stride 2.
"""

from __future__ import annotations

from typing import Final

from ...errors import GraphError
from .. import graph as g
from ..readers.tensors import Tensors
from ._builder import INPUT, Builder, indices

NAME: Final = "vgg_7 or upconv_7"
MARKS: Final = ()

_SLOPE: Final = g.Activation("leaky_relu", slope=0.1)


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of a numbered sequence of convolutions."""
    return "net.0.weight" in tensors and "net.2.weight" in tensors


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    return [[f"net.{2 * layer}" for layer in range(count)]] if count > 1 else []


def build(tensors: Tensors) -> g.Graph:
    """Build the network. Raises `GraphError`."""
    found = indices(tensors, "net.")
    if found != list(range(0, 2 * len(found), 2)):
        raise GraphError(f"{NAME}: the layers {found[:20]} do not make a network")
    return stacked(tensors, [f"net.{layer}" for layer in found])


def stacked(tensors: Tensors, names: list[str]) -> g.Graph:
    """Build a sequence of convolutions with leaky ReLU (slope 0.1) between them.

    A last layer with a kernel of 4x4 is a transposed convolution of stride 2 that crops 3 pixels.
    Raises `GraphError`.
    """
    make = Builder(tensors, NAME)
    channels = make.take(f"{names[0]}.weight", None, None, 3, 3).shape[1]
    value = INPUT
    for layer in names[:-1]:
        value = make.conv(layer, value, activation=_SLOPE)
    if make.take(f"{names[-1]}.weight", None, None, None, None).shape[2] == 4:
        value = make.transposed(names[-1], value, kernel=4, stride=2, padding=3)
    else:
        value = make.conv(names[-1], value)
    return make.graph(value, channels)
