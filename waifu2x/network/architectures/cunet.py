"""Cascaded U-Nets: waifu2x cunet (1x, 2x) of nunif, and Real-CUGAN (2x, 3x, 4x).

Sources: https://github.com/nagadomi/nunif and https://github.com/bilibili/ailab/tree/main/Real-CUGAN.
The two share their names. nunif clips the result of the first U-Net to [0, 1]; here, as in the ncnn
files of both, it is not clipped.
"""

from __future__ import annotations

from typing import Final

from .. import graph as g
from ..readers.tensors import Tensors
from ._builder import INPUT, Builder

NAME: Final = "cunet"

_SLOPE: Final = g.Activation("leaky_relu", slope=0.1)
#: Marks Real-CUGAN's Pro networks, which compute on 0.7 x + 0.15.
_PRO: Final = "pro"
#: Tensors that a file may have in addition to weights.
MARKS: Final = (_PRO,)
_PRO_SCALE: Final = 0.7
_PRO_OFFSET: Final = 0.15


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of two U-Nets."""
    return all(
        f"{layer}.weight" in tensors
        for layer in (
            "unet1.conv1.conv.0",
            "unet1.conv_bottom",
            "unet2.conv1.conv.0",
            "unet2.conv5",
        )
    )


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    names = [
        *_pair("unet1.conv1"),
        *("unet1.conv1_down", *_pair("unet1.conv2", gate=True), "unet1.conv2_up"),
        *("unet1.conv3", "unet1.conv_bottom"),
        *_pair("unet2.conv1"),
        *("unet2.conv1_down", *_pair("unet2.conv2", gate=True)),
        *("unet2.conv2_down", *_pair("unet2.conv3", gate=True), "unet2.conv3_up"),
        *(*_pair("unet2.conv4", gate=True), "unet2.conv4_up"),
        *("unet2.conv5", "unet2.conv_bottom", "conv_final"),
    ]
    return [names[:count]] if count in (len(names) - 1, len(names)) else []


def _pair(name: str, *, gate: bool = False) -> list[str]:
    parts = ("conv.0", "conv.2", *(("seblock.conv1", "seblock.conv2") if gate else ()))
    return [f"{name}.{part}" for part in parts]


def build(tensors: Tensors) -> g.Graph:
    """Build the network; the scale follows from the shapes. Raises `GraphError`."""
    make = Builder(tensors, NAME)
    inputs = make.take("unet1.conv1.conv.0.weight", None, None, 3, 3).shape[1]
    base = INPUT
    if make.has(_PRO):
        make.mark(_PRO)
        base = make.add(_PRO, g.Affine(scale=_PRO_SCALE, offset=_PRO_OFFSET), base)
    final = make.has("conv_final.weight")
    # The fast network works at half the resolution, on 12 channels.
    fast = final and inputs == 12
    value = make.add("unshuffle", g.PixelUnshuffle(2), base) if fast else base
    first = _first_unet(make, value)
    second = _second_unet(make, first)
    value = make.add("sum", g.Add(), second, make.add("unet1.crop", g.Crop(20), first))
    if final:
        value = make.conv("conv_final", value)
        value = make.add("conv_final.crop", g.Crop(1), value)
        value = make.add("shuffle", g.PixelShuffle(2), value)
        scale = 2 if fast else 4
        near = make.add("base", g.Upsample(scale), base)
        near = make.add("base.crop", g.Crop(76), near)
        value = make.add("output", g.Add(), value, near)
    if make.has(_PRO):
        scaled = g.Affine(scale=1 / _PRO_SCALE, offset=-_PRO_OFFSET / _PRO_SCALE)
        value = make.add("pro.output", scaled, value)
    return make.graph(value, 3 if fast else inputs)


def _first_unet(make: Builder, value: str) -> str:
    outer = _convs(make, "unet1.conv1", value)
    inner = _down(make, "unet1.conv1_down", outer)
    inner = _up(make, "unet1.conv2_up", _convs(make, "unet1.conv2", inner, gate=True))
    value = make.add("unet1.sum", g.Add(), make.add("unet1.conv1.crop", g.Crop(4), outer), inner)
    value = make.conv("unet1.conv3", value, activation=_SLOPE)
    bottom = "unet1.conv_bottom"
    kernel = make.take(f"{bottom}.weight", None, None, None, None).shape[2]
    match kernel:
        case 4:
            return make.transposed(bottom, value, kernel=4, stride=2, padding=3)
        case 5:
            return make.transposed(bottom, value, kernel=5, stride=3, padding=2)
        case _:
            return make.conv(bottom, value)


def _second_unet(make: Builder, value: str) -> str:
    outer = _convs(make, "unet2.conv1", value)
    middle = _convs(make, "unet2.conv2", _down(make, "unet2.conv1_down", outer), gate=True)
    inner = _convs(make, "unet2.conv3", _down(make, "unet2.conv2_down", middle), gate=True)
    inner = _up(make, "unet2.conv3_up", inner)
    crop = make.add("unet2.conv2.crop", g.Crop(4), middle)
    inner = make.add("unet2.conv3.sum", g.Add(), crop, inner)
    inner = _up(make, "unet2.conv4_up", _convs(make, "unet2.conv4", inner, gate=True))
    crop = make.add("unet2.conv1.crop", g.Crop(16), outer)
    value = make.add("unet2.sum", g.Add(), crop, inner)
    value = make.conv("unet2.conv5", value, activation=_SLOPE)
    return make.conv("unet2.conv_bottom", value)


def _down(make: Builder, name: str, value: str) -> str:
    return make.conv(name, value, kernel=2, stride=2, activation=_SLOPE)


def _up(make: Builder, name: str, value: str) -> str:
    return make.transposed(name, value, kernel=2, stride=2, activation=_SLOPE)


def _convs(make: Builder, name: str, value: str, *, gate: bool = False) -> str:
    """Add two convolutions, and a squeeze-excitation gate (https://arxiv.org/abs/1709.01507)."""
    value = make.conv(f"{name}.conv.0", value, activation=_SLOPE)
    value = make.conv(f"{name}.conv.2", value, activation=_SLOPE)
    if not gate:
        return value
    block = f"{name}.seblock"
    mean = make.add(f"{block}.mean", g.GlobalMean(), value)
    mean = make.conv(f"{block}.conv1", mean, kernel=1, activation=g.Activation("relu"))
    mean = make.conv(f"{block}.conv2", mean, kernel=1, activation=g.Activation("sigmoid"))
    return make.add(block, g.Multiply(), value, mean)
