"""SPAN: blocks whose own features are their gate.

Source: C. Wan et al., Swift Parameter-free Attention Network for Efficient Super-Resolution
(https://arxiv.org/abs/2311.12770). In training, a convolution has three layers and a skip
connection in parallel; they are folded into one 3x3 convolution, as for inference there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from .. import graph as g
from ..readers.tensors import Tensors
from ._builder import INPUT, Builder, side

NAME: Final = "SPAN"

_BLOCKS: Final = 6
#: How many times as many channels the inner layers of the training have.
_GAIN: Final = 2
#: The files do not hold these constants of the training.
_MEAN: Final = (0.4488, 0.4371, 0.4040)
_RANGE: Final = 255.0
_NO_MEAN: Final = "no_norm"
#: Tensors that a file may have in addition to weights.
MARKS: Final = (_NO_MEAN,)
_SILU: Final = g.Activation("silu")


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of a SPAN network."""
    return all(f"{layer}.weight" in tensors for layer in ("conv_cat", "upsampler.0")) and any(
        f"block_1.c1_r.{part}.weight" in tensors for part in ("sk", "eval_conv")
    )


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    blocks = [
        f"block_{number}.c{part}_r.eval_conv"
        for number in range(1, _BLOCKS + 1)
        for part in (1, 2, 3)
    ]
    names = ["conv_1.eval_conv", *blocks, "conv_2.eval_conv", "conv_cat", "upsampler.0"]
    return [names] if len(names) == count else []


def build(tensors: Tensors) -> g.Graph:
    """Build the network; width and scale follow from the shapes. Raises `GraphError`."""
    make = Builder(tensors, NAME)
    part = "sk" if make.has("conv_1.sk.weight") else "eval_conv"
    channels = make.take(f"conv_1.{part}.weight", None, None, None, None).shape[1]
    value = INPUT
    if make.has(_NO_MEAN):
        make.mark(_NO_MEAN)
    elif channels == len(_MEAN):
        offset = np.array([-_RANGE * mean for mean in _MEAN], np.float32)
        value = make.add("normalized", g.Affine(scale=_RANGE, offset=offset), value)
    first = value = _conv(make, "conv_1", value)
    kept = []
    inner = ""
    for number in range(1, _BLOCKS + 1):
        value, inner = _block(make, f"block_{number}", value)
        kept.append(value)
    value = _conv(make, "conv_2", value)
    value = make.add("cat", g.Concat(), first, value, kept[0], inner)
    value = make.conv("conv_cat", value, kernel=1)
    outputs = make.take("upsampler.0.weight", None, None, 3, 3).shape[0]
    factor = side(outputs, channels, NAME)
    value = make.conv("upsampler.0", value, padding=1)
    if factor > 1:
        value = make.add("upsampler.1", g.PixelShuffle(factor), value)
    return make.graph(value, channels)


def completed(tensors: Mapping[str, g.Weights]) -> dict[str, g.Weights]:
    """Return a folded state dict with layers of the training that fold to the same convolutions.

    Other programs fold these layers when they load a file, and refuse files without them. The layer
    of 3x3 has the weights; the layers of 1x1 around it copy, and the skip connection is zero.
    """
    made: dict[str, g.Weights] = {}
    for name, array in tensors.items():
        layer = name.removesuffix(".eval_conv.weight")
        if layer != name:
            made |= _unfolded(layer, array, tensors[f"{layer}.eval_conv.bias"])
        made[name] = array
    return made


def _unfolded(name: str, weight: g.Weights, bias: g.Weights) -> dict[str, g.Weights]:
    outputs, inputs = weight.shape[:2]
    wide_out, wide_in = _GAIN * outputs, _GAIN * inputs
    middle = np.zeros((wide_out, wide_in, 3, 3), np.float32)
    middle[:outputs, :inputs] = weight
    middle_bias = np.zeros(wide_out, np.float32)
    middle_bias[:outputs] = bias
    return {
        f"{name}.sk.weight": np.zeros((outputs, inputs, 1, 1), np.float32),
        f"{name}.sk.bias": np.zeros(outputs, np.float32),
        f"{name}.conv.0.weight": np.eye(wide_in, inputs, dtype=np.float32)[:, :, None, None],
        f"{name}.conv.0.bias": np.zeros(wide_in, np.float32),
        f"{name}.conv.1.weight": middle,
        f"{name}.conv.1.bias": middle_bias,
        f"{name}.conv.2.weight": np.eye(outputs, wide_out, dtype=np.float32)[:, :, None, None],
        f"{name}.conv.2.bias": np.zeros(outputs, np.float32),
    }


def _block(make: Builder, name: str, value: str) -> tuple[str, str]:
    """Add a block; return its result and the result of its first convolution."""
    first = make.add(f"{name}.act1", g.Activate(_SILU), _conv(make, f"{name}.c1_r", value))
    second = make.add(f"{name}.act2", g.Activate(_SILU), _conv(make, f"{name}.c2_r", first))
    third = _conv(make, f"{name}.c3_r", second)
    gate = make.add(f"{name}.sigmoid", g.Activate(g.Activation("sigmoid")), third)
    gate = make.add(f"{name}.gate", g.Affine(offset=-0.5), gate)
    summed = make.add(f"{name}.sum", g.Add(), third, value)
    return make.add(name, g.Multiply(), summed, gate), first


def _conv(make: Builder, name: str, value: str) -> str:
    """Add a 3x3 convolution, folded from the layers of the training if they are in the file."""
    if make.has(f"{name}.sk.weight"):
        for kind in ("weight", "bias"):
            make.mark(f"{name}.eval_conv.{kind}")
        weight, bias = _folded(make, name)
    else:
        weight = make.take(f"{name}.eval_conv.weight", None, None, 3, 3)
        bias = make.take(f"{name}.eval_conv.bias", len(weight))
    return make.add(f"{name}.eval_conv", g.Conv(weight, bias, padding=1), value)


def _folded(make: Builder, name: str) -> tuple[g.Weights, g.Weights]:
    """Return weight and bias of 1x1, 3x3 and 1x1 in sequence, plus a 1x1 in parallel."""

    def layer(part: str, *shape: int | None) -> tuple[npt.NDArray[np.float64], ...]:
        weight = make.take(f"{name}.{part}.weight", *shape)
        bias = make.take(f"{name}.{part}.bias", len(weight))
        return weight.astype(np.float64), bias.astype(np.float64)

    skip, skip_bias = layer("sk", None, None, 1, 1)
    outputs, inputs = skip.shape[:2]
    before, before_bias = layer("conv.0", None, inputs, 1, 1)
    middle, middle_bias = layer("conv.1", None, len(before), 3, 3)
    after, after_bias = layer("conv.2", outputs, len(middle), 1, 1)
    weight = np.einsum(
        "om,mbij,bc->ocij",
        after[:, :, 0, 0],
        middle,
        before[:, :, 0, 0],
        optimize=True,
    )
    weight[:, :, 1, 1] += skip[:, :, 0, 0]
    inner = np.einsum("mbij,b->m", middle, before_bias) + middle_bias
    bias = after[:, :, 0, 0] @ inner + after_bias + skip_bias
    return make.finite(f"{name}.conv", weight), make.finite(f"{name}.conv", bias)
