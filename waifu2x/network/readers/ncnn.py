"""Reads ncnn models: a text ``.param`` with the layers, a ``.bin`` with the weights.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure; parameters of layers:
https://github.com/Tencent/ncnn/wiki/operators. Supports the layers and parameters of
super-resolution networks; any other raises an error that names it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ...errors import GraphError
from .. import graph as g

_MAGIC: Final = "7767517"
_FLOAT16_FLAG: Final = 0x01306B47
_FLOAT32_FLAGS: Final = (0, 0x0002C056)
_FROM_SECOND_INPUT: Final = -233
_ARRAY_KEY: Final = -23300
#: More than any super-resolution network has; a larger count in a damaged file is not allocated.
_MAX_CHANNELS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class _Layer:
    """A line of a .param file, and the channels of its inputs."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[int, float | list[float]]
    channels: tuple[int, ...] = ()

    def expect(self, *, reads: int | None = None, makes: int | None = None) -> None:
        """Raise `GraphError` for another number of blobs; None requires at least one."""
        for what, names, count in (("reads", self.inputs, reads), ("makes", self.outputs, makes)):
            if len(names) != (count if count is not None else max(1, len(names))):
                raise GraphError(
                    f"ncnn layer {self.name!r} ({self.kind}) {what} {len(names)} blobs; "
                    f"expected {'at least 1' if count is None else count}"
                )

    def error(self, what: str) -> GraphError:
        """Return an error that names the layer."""
        return GraphError(f"ncnn layer {self.name!r}: {what}")

    def integer(self, key: int, default: int = 0) -> int:
        value = self.number(key, default)
        if value != int(value):
            raise self.error(f"parameter {key} must be a whole number")
        return int(value)

    def number(self, key: int, default: float = 0.0) -> float:
        value = self.params.get(key, default)
        if isinstance(value, list):
            raise self.error(f"parameter {key} must be one number")
        return float(value)

    def require(self, allowed: Mapping[int, tuple[float, ...]]) -> None:
        """Raise `GraphError` for parameters or values that are not supported.

        allowed: values of each supported parameter; an empty tuple allows all.
        """
        for key, value in self.params.items():
            if key in allowed and not allowed[key]:
                continue
            if key not in allowed or isinstance(value, list) or value not in allowed[key]:
                raise GraphError(
                    f"ncnn layer {self.name!r} ({self.kind}): parameter {key}={value} "
                    "is not supported"
                )


class _Blobs:
    """The contents of a .bin file, read in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, count: int, what: str) -> bytes:
        left = len(self._data) - self._at
        if count > left:
            raise GraphError(f"the ncnn weights end early: {what} needs {count} bytes, {left} left")
        self._at += count
        return self._data[self._at - count : self._at]

    def plain(self, count: int, what: str) -> g.Weights:
        """Read ``count`` float32 values without a storage flag (biases, slopes)."""
        return np.frombuffer(self._take(4 * count, what), "<f4").astype(np.float32)

    def flagged(self, count: int, what: str) -> g.Weights:
        """Read ``count`` float16 or float32 values after their storage flag."""
        (flag,) = struct.unpack("<I", self._take(4, what))
        if flag == _FLOAT16_FLAG:
            data = self._take(-(-2 * count // 4) * 4, what)
            return np.frombuffer(data, "<f2", count).astype(np.float32)
        if flag in _FLOAT32_FLAGS:
            return self.plain(count, what)
        raise GraphError(
            f"{what} has storage flag 0x{flag:08X}; supported are float16 and float32 weights"
        )

    def bias(self, count: int, layer: _Layer, *, present: int) -> g.Weights:
        """Read ``count`` biases, or return zeros if the layer has none."""
        return self.plain(count, layer.name) if present else np.zeros(count, np.float32)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise GraphError(
                f"the ncnn weights have {len(self._data) - self._at} bytes more than the layers use"
            )


def parse_ncnn(param: str, weights: bytes) -> g.Graph:
    """Read a network from the contents of a ``.param`` and a ``.bin`` file.

    Raises `GraphError` if they do not describe a network that this package can run.
    """
    layers = _parse(param)
    blobs = _Blobs(weights)
    alias: dict[str, str] = {}  # by Split layers, which only rename
    channels: dict[str, int] = {}
    inputs: list[g.Input] = []
    nodes: list[g.Node] = []
    for layer in layers:
        reads = tuple(alias.get(name, name) for name in layer.inputs)
        for name in reads:
            if name not in channels:
                raise GraphError(f"ncnn layer {layer.name!r} reads {name!r}, which nothing makes")
        layer = replace(layer, inputs=reads, channels=tuple(channels[name] for name in reads))
        for name in layer.outputs:
            if name in channels or name in alias:
                raise GraphError(
                    f"ncnn layer {layer.name!r} makes {name!r}, which is there already"
                )
        if layer.kind == "Input":
            layer.expect(reads=0, makes=1)
            made = layer.integer(2, 3)
            if not 1 <= made <= _MAX_CHANNELS:
                raise GraphError(
                    f"the ncnn network takes {made} channels; allowed are 1 to {_MAX_CHANNELS}"
                )
            inputs.append(g.Input(layer.outputs[0], made))
            channels[layer.outputs[0]] = made
        elif layer.kind == "Split":
            layer.expect(reads=1)
            alias.update(dict.fromkeys(layer.outputs, reads[0]))
        elif layer.kind in _READERS:
            layer.expect(makes=1)
            op, made = _READERS[layer.kind](layer, blobs)
            # The second input of a crop only gives the size. Where the result is joined with it,
            # Graph checks that the crop is centered.
            nodes.append(
                g.Node(layer.outputs[0], op, reads[:1] if isinstance(op, g.Crop) else reads)
            )
            channels[layer.outputs[0]] = made
        else:
            raise GraphError(
                f"ncnn layer {layer.name!r} is of kind {layer.kind}, which is not supported; "
                f"supported are Input, Split, {', '.join(sorted(_READERS))}"
            )
    blobs.finish()
    read = {name for node in nodes for name in node.inputs}
    ends = [node.name for node in nodes if node.name not in read]
    if len(inputs) != 1 or len(ends) != 1:
        raise GraphError(
            f"the ncnn network has {len(inputs)} inputs and {len(ends)} outputs; "
            "it must have one of each"
        )
    return g.Graph(nodes, output=ends[0], inputs=inputs)


def _parse(param: str) -> list[_Layer]:
    lines = [line for line in param.splitlines() if line.strip()]
    if len(lines) < 2 or lines[0].strip() != _MAGIC:
        raise GraphError(f"not an ncnn .param file: it must begin with {_MAGIC}")
    try:
        layer_count, blob_count = (int(number) for number in lines[1].split())
        layers = [_parse_line(line) for line in lines[2:]]
    except (ValueError, OverflowError) as error:
        raise GraphError(f"the ncnn .param file is malformed: {error}") from error
    found = len(layers), sum(len(layer.outputs) for layer in layers)
    if found != (layer_count, blob_count):
        raise GraphError(
            f"the ncnn .param file declares {layer_count} layers and {blob_count} blobs; "
            f"it has {found[0]} and {found[1]}"
        )
    return layers


def _parse_line(line: str) -> _Layer:
    kind, name, ins, outs, *rest = line.split()
    n_in, n_out = int(ins), int(outs)
    if n_in < 0 or n_out < 0 or len(rest) < n_in + n_out:
        raise ValueError(f"layer {name!r} has too few blobs")
    params: dict[int, float | list[float]] = {}
    for item in rest[n_in + n_out :]:
        key, _, text = item.partition("=")
        if int(key) <= _ARRAY_KEY:
            length, *numbers = text.split(",")
            if int(length) != len(numbers):
                raise ValueError(f"layer {name!r} has an array of the wrong length")
            params[_ARRAY_KEY - int(key)] = [_number(number) for number in numbers]
        else:
            params[int(key)] = _number(text)
    return _Layer(kind, name, tuple(rest[:n_in]), tuple(rest[n_in : n_in + n_out]), params)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


#: An operation and the channels of its result.
_Read = tuple[g.Op, int]


def _activation(layer: _Layer) -> g.Activation | None:
    kind = layer.integer(9)
    slopes = layer.params.get(10, [])
    if kind == 0:
        return None
    if kind == 1:
        return g.Activation("relu")
    if kind == 2 and isinstance(slopes, list) and len(slopes) == 1:
        return g.Activation("leaky_relu", slope=slopes[0])
    if kind == 4:
        return g.Activation("sigmoid")
    raise layer.error(f"activation {kind} is not supported")


def _convolution(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({2: (1,), 5: (0, 1), 18: (0,), **dict.fromkeys((0, 1, 3, 4, 6, 9, 10), ())})
    outputs, kernel = layer.integer(0), layer.integer(1)
    count, inputs = layer.integer(6), layer.channels[0]
    if min(outputs, kernel, inputs) < 1 or count != outputs * inputs * kernel * kernel:
        raise layer.error(
            f"{count} weights do not make {outputs} x {inputs} kernels of {kernel} x {kernel}"
        )
    weight = blobs.flagged(count, layer.name).reshape(outputs, inputs, kernel, kernel)
    bias = blobs.bias(outputs, layer, present=layer.integer(5))
    stride, padding = layer.integer(3, 1), layer.integer(4)
    if stride < 1 or padding < 0:
        raise layer.error(f"stride {stride}, padding {padding}")
    activation = _activation(layer)
    if layer.kind == "Convolution":
        return g.Conv(weight, bias, stride, padding, activation), outputs
    # ncnn stores transposed kernels output first, Graph input first.
    weight = np.ascontiguousarray(weight.transpose(1, 0, 2, 3))
    return g.ConvTranspose(weight, bias, stride, padding, activation), outputs


def _inner_product(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (), 1: (0, 1), 2: (), 9: (), 10: ()})
    outputs, count, inputs = layer.integer(0), layer.integer(2), layer.channels[0]
    if outputs < 1 or count != outputs * inputs:
        raise layer.error(f"{count} weights for {inputs} -> {outputs}")
    weight = blobs.flagged(count, layer.name).reshape(outputs, inputs, 1, 1)
    bias = blobs.bias(outputs, layer, present=layer.integer(1))
    return g.Conv(weight, bias, activation=_activation(layer)), outputs


def _pooling(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (1,), 4: (1,)})
    if layer.integer(0) != 1 or layer.integer(4) != 1:
        raise layer.error("only global average pooling is supported")
    return g.GlobalMean(), layer.channels[0]


def _scale(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (_FROM_SECOND_INPUT,), 1: (0,)})
    if len(layer.inputs) != 2 or layer.integer(0) != _FROM_SECOND_INPUT:
        raise layer.error("only scaling by a second input is supported")
    return g.Multiply(), layer.channels[0]


def _crop(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (), 1: (), 2: (0,)})
    margin = layer.integer(0)
    if len(layer.inputs) != 2 or margin != layer.integer(1) or margin < 0:
        raise layer.error("only an equal crop to a second input is supported")
    return g.Crop(margin), layer.channels[0]


def _eltwise(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (1,)})
    if layer.integer(0) != 1:
        raise layer.error("only an unweighted sum is supported")
    return g.Add(), layer.channels[0]


def _binary(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (0, 2), 1: (0, 1), 2: ()})
    multiply = layer.integer(0) == 2
    if layer.integer(1):
        number = layer.number(2)
        op: g.Op = g.Affine(scale=number) if multiply else g.Affine(offset=number)
    else:
        op = g.Multiply() if multiply else g.Add()
    return op, layer.channels[0]


def _concat(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (0,)})
    return g.Concat(), sum(layer.channels)


def _relu(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: ()})
    slope = layer.number(0)
    activation = g.Activation("leaky_relu", slope=slope) if slope else g.Activation("relu")
    return g.Activate(activation), layer.channels[0]


def _prelu(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: ()})
    made = layer.channels[0]
    count = layer.integer(0)
    if count not in (1, made):
        raise layer.error(f"{count} slopes for {made} channels")
    slopes = np.broadcast_to(blobs.plain(count, layer.name), (made,)).copy()
    return g.Activate(g.Activation("prelu", slopes=slopes)), made


def _sigmoid(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({})
    return g.Activate(g.Activation("sigmoid")), layer.channels[0]


def _pixel_shuffle(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (), 1: (0,)})
    factor = layer.integer(0, 1)
    if factor < 1:
        raise layer.error(f"factor {factor}")
    return g.PixelShuffle(factor), layer.channels[0] // (factor * factor)


def _interp(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (1,), 1: (), 2: (), 3: (0,), 4: (0,)})
    factor = layer.number(1, 1.0)
    if layer.integer(0) != 1 or factor != layer.number(2, 1.0) or factor < 1 or factor % 1:
        raise layer.error("only nearest enlargement by one whole factor is supported")
    return g.Upsample(int(factor)), layer.channels[0]


_READERS: Final[Mapping[str, Callable[[_Layer, _Blobs], _Read]]] = {
    "BinaryOp": _binary,
    "Concat": _concat,
    "Convolution": _convolution,
    "Crop": _crop,
    "Deconvolution": _convolution,
    "Eltwise": _eltwise,
    "InnerProduct": _inner_product,
    "Interp": _interp,
    "PReLU": _prelu,
    "PixelShuffle": _pixel_shuffle,
    "Pooling": _pooling,
    "ReLU": _relu,
    "Scale": _scale,
    "Sigmoid": _sigmoid,
}
