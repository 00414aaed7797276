"""ESRGAN and Real-ESRGAN: residual-in-residual dense blocks (RRDB).

Sources: X. Wang et al., ESRGAN (https://arxiv.org/abs/1809.00219) and Real-ESRGAN
(https://arxiv.org/abs/2107.10833). Three generations of names are read: "model.1.sub.0.RDB1...",
"RRDB_trunk.0.RDB1..." and "body.0.rdb1...". The layers of the graph have the last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...errors import GraphError
from .. import graph as g
from ..readers.tensors import Tensors
from ._builder import INPUT, Builder, indices, side

NAME: Final = "ESRGAN"
MARKS: Final = ()

_SLOPE: Final = g.Activation("leaky_relu", slope=0.2)
_RESIDUAL_SCALE: Final = 0.2
_OLD_DENSE: Final = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(weight|bias)")
_MIDDLE_DENSE: Final = re.compile(r"RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)\.(weight|bias)")
_MIDDLE: Final = {
    "trunk_conv": "conv_body",
    "HRconv": "conv_hr",
    **{f"upconv{number}": f"conv_up{number}" for number in range(10)},
}


def detect(tensors: Tensors) -> bool:
    """Return whether the names are those of an RRDB network."""
    return any(
        f"{first}.weight" in tensors and f"{dense}.weight" in tensors
        for first, dense in (
            ("conv_first", "body.0.rdb1.conv1"),
            ("conv_first", "RRDB_trunk.0.RDB1.conv1"),
            ("model.0", "model.1.sub.0.RDB1.conv1.0"),
        )
    )


def layers(count: int) -> list[list[str]]:
    """Return the names of ``count`` layers with weights, in order, for each possible network."""
    blocks, doublings = divmod(count - 4, 15)
    if blocks < 1:
        return []
    dense = [
        f"body.{block}.rdb{number}.conv{layer}"
        for block in range(blocks)
        for number in (1, 2, 3)
        for layer in (1, 2, 3, 4, 5)
    ]
    ups = [f"conv_up{number}" for number in range(1, doublings + 1)]
    return [["conv_first", *dense, "conv_body", *ups, "conv_hr", "conv_last"]]


def build(tensors: Tensors) -> g.Graph:
    """Build the network; width, blocks, scale and pixel unshuffle follow from the shapes.

    Raises `GraphError`.
    """
    tensors = _renamed(tensors)
    make = Builder(tensors, NAME)
    inputs = make.take("conv_first.weight", None, None, 3, 3).shape[1]
    outputs = make.take("conv_last.weight", None, None, 3, 3).shape[0]
    value = INPUT
    channels = inputs
    if inputs in (4 * outputs, 16 * outputs):
        factor = side(inputs, outputs, NAME)
        channels = outputs
        value = make.add("unshuffle", g.PixelUnshuffle(factor), value)
    first = value = make.conv("conv_first", value, padding=1)
    for block in indices(tensors, "body."):
        value = _block(make, f"body.{block}", value)
    body = make.conv("conv_body", value, padding=1)
    value = make.add("body", g.Add(), body, first)
    for number in indices(tensors, "conv_up"):
        value = make.add(f"up{number}", g.Upsample(2), value)
        value = make.conv(f"conv_up{number}", value, padding=1, activation=_SLOPE)
    value = make.conv("conv_hr", value, padding=1, activation=_SLOPE)
    return make.graph(make.conv("conv_last", value, padding=1), channels)


def _block(make: Builder, name: str, value: str) -> str:
    """Add three dense blocks with a residual around them."""
    inner = value
    for number in (1, 2, 3):
        inner = _dense(make, f"{name}.rdb{number}", inner)
    return _residual(make, name, inner, value)


def _dense(make: Builder, name: str, value: str) -> str:
    """Add five convolutions, each of which reads the input and all results before."""
    read = [value]
    for number in (1, 2, 3, 4):
        joined = _joined(make, f"{name}.concat{number}", read)
        read.append(make.conv(f"{name}.conv{number}", joined, padding=1, activation=_SLOPE))
    last = make.conv(f"{name}.conv5", _joined(make, f"{name}.concat5", read), padding=1)
    return _residual(make, name, last, value)


def _joined(make: Builder, name: str, values: list[str]) -> str:
    return make.add(name, g.Concat(), *values) if len(values) > 1 else values[0]


def _residual(make: Builder, name: str, value: str, shortcut: str) -> str:
    scaled = make.add(f"{name}.scaled", g.Affine(scale=_RESIDUAL_SCALE), value)
    return make.add(name, g.Add(), scaled, shortcut)


def _renamed(tensors: Tensors) -> Tensors:
    """Return the tensors under the names of Real-ESRGAN."""
    if "model.0.weight" in tensors:
        return _from_sequence(tensors)
    return _with_names(tensors, _MIDDLE_DENSE, _MIDDLE)


def _from_sequence(tensors: Tensors) -> Tensors:
    """Rename the tensors of the first generation, which numbers the modules of a sequence.

    0 is the first convolution, 1 the body; for each doubling follow an upsampling, a convolution
    and an activation; then a convolution, an activation and the last convolution.
    """
    blocks = indices(tensors, "model.1.sub.")
    modules = [number for number in indices(tensors, "model.") if number != 1]
    doublings = len(modules) - 3
    if doublings < 0 or modules != [
        0, *(3 * n for n in range(1, doublings + 1)), 3 * doublings + 2, 3 * doublings + 4
    ]:  # fmt: skip
        raise GraphError(f"{NAME}: the modules {modules[:20]} do not make a network")
    layers = {
        "model.0": "conv_first",
        f"model.1.sub.{blocks[-1]}": "conv_body",
        **{f"model.{3 * n}": f"conv_up{n}" for n in range(1, doublings + 1)},
        f"model.{modules[-2]}": "conv_hr",
        f"model.{modules[-1]}": "conv_last",
    }
    return _with_names(tensors, _OLD_DENSE, layers)


def _with_names(tensors: Tensors, dense: re.Pattern[str], layers: Mapping[str, str]) -> Tensors:
    """Rename the convolutions of dense blocks, which ``dense`` matches, and the ``layers``."""
    renamed = {}
    for name, array in tensors.items():
        layer, _, kind = name.rpartition(".")
        if found := dense.fullmatch(name):
            name = "body.{}.rdb{}.conv{}.{}".format(*found.groups())
        elif layer in layers:
            name = f"{layers[layer]}.{kind}"
        renamed[name] = array
    if len(renamed) != len(tensors):
        raise GraphError(f"{NAME}: names of two generations in one file")
    return renamed
