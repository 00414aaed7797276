"""resnet10 and upresnet10 of waifu2x-chainer: residual blocks without padding.

Source: https://github.com/tsurumeso/waifu2x-chainer. In upresnet10 the blocks have
squeeze-excitation gates ("fc1", "fc2"), and the last layer is a transposed convolution.
"""

from __future__ import annotations

from typing import Final

from .. import graph as g
from ..readers.tensors import Tensors
from ._builder import INPUT, Builder, indices

NAME: Final = "resnet10"
MARKS: Final = ()

_SLOPE: Final = g.Activation("leaky_relu", slope=0.1)


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of a residual network of waifu2x-chainer."""
    return all(f"{layer}.weight" in tensors for layer in ("conv_pre", "res1.conv1", "conv_post"))


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    made = []
    for parts in (("conv1", "conv2"), ("conv1", "conv2", "fc1", "fc2")):
        blocks, rest = divmod(count - 3, len(parts))
        if blocks > 0 and not rest:
            inner = [f"res{block}.{part}" for block in range(1, blocks + 1) for part in parts]
            made.append(["conv_pre", *inner, "conv_bridge", "conv_post"])
    return made


def build(tensors: Tensors) -> g.Graph:
    """Build the network; blocks, gates and scale follow from the names. Raises `GraphError`."""
    make = Builder(tensors, NAME)
    channels = make.take("conv_pre.weight", None, None, 3, 3).shape[1]
    first = value = make.conv("conv_pre", INPUT, activation=_SLOPE)
    blocks = indices(tensors, "res")
    for block in blocks:
        value = _block(make, f"res{block}", value)
    value = make.conv("conv_bridge", value, activation=_SLOPE)
    crop = make.add("bridge.crop", g.Crop(2 * len(blocks) + 1), first)
    value = make.add("bridge", g.Add(), value, crop)
    if make.take("conv_post.weight", None, None, None, None).shape[2] == 4:
        value = make.transposed("conv_post", value, kernel=4, stride=2, padding=3)
    else:
        value = make.conv("conv_post", value)
    return make.graph(value, channels)


def _block(make: Builder, name: str, value: str) -> str:
    crop = make.add(f"{name}.crop", g.Crop(2), value)
    value = make.conv(f"{name}.conv1", value, activation=_SLOPE)
    value = make.conv(f"{name}.conv2", value, activation=_SLOPE)
    if make.has(f"{name}.fc1.weight"):
        mean = make.add(f"{name}.mean", g.GlobalMean(), value)
        mean = make.conv(f"{name}.fc1", mean, kernel=1, activation=g.Activation("relu"))
        mean = make.conv(f"{name}.fc2", mean, kernel=1, activation=g.Activation("sigmoid"))
        value = make.add(f"{name}.gate", g.Multiply(), value, mean)
    return make.add(name, g.Add(), value, crop)
