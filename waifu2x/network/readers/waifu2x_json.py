"""Reads the JSON weights of the first waifu2x: vgg_7 and upconv_7 as lists of numbers.

Format: export_model.lua of https://github.com/nagadomi/waifu2x, a list of layers.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from ..._text import reason
from ...errors import GraphError
from ..architectures import sequential
from ..graph import Graph
from .tensors import MAX_TENSORS, quoted

#: Most bytes of a file; upconv_7 has 11 MB.
_MAX_BYTES: Final = 12 << 20
#: Most characters that begin values larger than a number; they bound the memory of the parsed file.
_MOST: Final = {b"[": 1 << 19, b"{": 1 << 10, b'"': 1 << 14}

_PLAIN: Final = ("nn.SpatialConvolutionMM", "nn.SpatialConvolution", "cudnn.SpatialConvolution")
_TRANSPOSED: Final = ("nn.SpatialFullConvolution", "cudnn.SpatialFullConvolution")


def parse_waifu2x_json(data: bytes) -> Graph:
    """Read a network; it has one channel (luma) or three (RGB).

    vgg_7 has the scale 1: for denoising, or to sharpen a picture that was enlarged before.

    Raises `GraphError` for a malformed file, and for layers of other networks.
    """
    if len(data) > _MAX_BYTES:
        raise GraphError(f"waifu2x JSON: {len(data)} bytes; at most {_MAX_BYTES} are read")
    for mark, most in _MOST.items():
        if data.count(mark) > most:
            raise GraphError(f"waifu2x JSON: more than {most} of {mark.decode()}")
    try:
        layers = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise GraphError(f"waifu2x JSON: malformed: {reason(error)}") from error
    if not isinstance(layers, list) or not 2 <= len(layers) <= MAX_TENSORS:
        raise GraphError("waifu2x JSON: the file is no list of layers")
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for index, layer in enumerate(layers):
        name = f"net.{2 * index}"
        weight, bias = _layer(index, layer, last=index == len(layers) - 1)
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
    return sequential.build(tensors)


def _layer(
    index: int, layer: object, *, last: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return weight and bias of a layer, of the declared shapes."""
    where = f"waifu2x JSON: layer {index}"
    if not isinstance(layer, dict) or not isinstance(layer.get("class_name"), str):
        raise GraphError(f"{where} has no class_name")
    kind = layer["class_name"]
    transposed = kind in _TRANSPOSED
    if kind not in _PLAIN and not (transposed and last):
        raise GraphError(f"{where} is a {quoted(kind)}, which is not supported")
    expected = {"kW": 4, "kH": 4, "dW": 2, "dH": 2, "padW": 3, "padH": 3} if transposed else {
        "kW": 3, "kH": 3, "dW": 1, "dH": 1, "padW": 0, "padH": 0
    }  # fmt: skip
    for key, value in expected.items():
        if layer.get(key) != value:
            raise GraphError(f"{where}: {key} must be {value}")
    inputs, outputs = layer.get("nInputPlane"), layer.get("nOutputPlane")
    if type(inputs) is not int or type(outputs) is not int:
        raise GraphError(f"{where} has no numbers of planes")
    kernel = (expected["kH"], expected["kW"])
    shape = (inputs, outputs, *kernel) if transposed else (outputs, inputs, *kernel)
    return (
        _numbers(f"{where}: weight", layer.get("weight"), shape),
        _numbers(f"{where}: bias", layer.get("bias"), (outputs,)),
    )


def _numbers(where: str, value: object, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    try:
        with np.errstate(over="ignore"):  # infinity is refused later
            array = np.array(value, np.float32)
    except (ValueError, TypeError, OverflowError):
        raise GraphError(f"{where} is no array of numbers") from None
    if array.shape != shape:
        raise GraphError(f"{where} has the shape {array.shape} instead of {shape}")
    return array
