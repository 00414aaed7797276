"""Reads ncnn models: a text ``.param`` with the layers, a ``.bin`` with the weights.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure; parameters of layers:
https://github.com/Tencent/ncnn/wiki/operators. Supports the layers and parameters of
super-resolution networks; any other raises an error that names it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from fractions import Fraction
from typing import Final, TypeAlias

import numpy as np

from ..._record import record
from ...errors import GraphError
from .. import graph as g
from ..rewrite import joined

MAGIC: Final = "7767517"
FLOAT16_FLAG: Final = 0x01306B47
_FLOAT32_FLAGS: Final = (0, 0x0002C056)
FROM_SECOND_INPUT: Final = -233
_ARRAY_KEY: Final = -23300
#: More than any super-resolution network has; a larger count in a damaged file is not allocated.
_MAX_CHANNELS: Final = 1 << 16


@record
class _Layer:
    """A line of a .param file, and what is known of its inputs.

    channels: of each input. pooled: whether each input is (C, 1, 1).
    constants: inputs of MemoryData layers, (C,) each.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[int, float | list[float]]
    channels: tuple[int, ...] = ()
    pooled: tuple[bool, ...] = ()
    constants: Mapping[str, g.Weights] = field(default_factory=dict)

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

    def array(self, key: int) -> list[float]:
        value = self.params.get(key)
        if not isinstance(value, list):
            raise self.error(f"parameter {key} must be an array")
        return value

    def node(self, op: g.Op, *inputs: str) -> g.Node:
        """Return a node for the result of the layer; ``inputs`` if other than the layer's."""
        return g.Node(self.outputs[0], op, inputs or self.inputs)

    def inner(self, op: g.Op, source: str, suffix: str) -> g.Node:
        """Return a node on the way to the result; no blob has a space in its name."""
        return g.Node(f"{self.outputs[0]} {suffix}", op, (source,))

    def require_arrays(self, *keys: int) -> None:
        """Raise `GraphError` for parameters other than these arrays."""
        self.require(dict.fromkeys(keys, ()))

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
        if flag == FLOAT16_FLAG:
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
    pooled: set[str] = set()
    constants: dict[str, g.Weights] = {}
    inputs: list[g.Input] = []
    nodes: list[g.Node] = []
    for layer in layers:
        reads = tuple(alias.get(name, name) for name in layer.inputs)
        for name in reads:
            if name not in channels:
                raise GraphError(f"ncnn layer {layer.name!r} reads {name!r}, which nothing makes")
        layer = replace(
            layer,
            inputs=reads,
            channels=tuple(channels[name] for name in reads),
            pooled=tuple(name in pooled for name in reads),
            constants={name: constants[name] for name in reads if name in constants},
        )
        if layer.constants and layer.kind not in ("BinaryOp", "Split"):
            raise layer.error(f"{layer.kind} of a constant is not supported")
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
        elif layer.kind == "MemoryData":
            layer.expect(reads=0, makes=1)
            constant = _constant(layer, blobs)
            constants[layer.outputs[0]] = constant
            channels[layer.outputs[0]] = constant.size
        elif layer.kind in _READERS:
            layer.expect(makes=1)
            made_nodes, made = _READERS[layer.kind](layer, blobs)
            if not 1 <= made <= _MAX_CHANNELS:
                raise layer.error(f"{made} channels; allowed are 1 to {_MAX_CHANNELS}")
            nodes += made_nodes
            channels[layer.outputs[0]] = made
            if layer.kind == "Pooling" or (layer.pooled and all(layer.pooled)):
                pooled.add(layer.outputs[0])
        else:
            raise GraphError(
                f"ncnn layer {layer.name!r} is of kind {layer.kind}, which is not supported; "
                f"supported are Input, Split, {', '.join(sorted([*_READERS, 'MemoryData']))}"
            )
    blobs.finish()
    read = {name for node in nodes for name in node.inputs}
    ends = [node.name for node in nodes if node.name not in read]
    if len(inputs) != 1 or len(ends) != 1:
        raise GraphError(
            f"the ncnn network has {len(inputs)} inputs and {len(ends)} outputs; "
            "it must have one of each"
        )
    graph = g.Graph(joined(nodes, ends[0]), output=ends[0], inputs=inputs)
    return _with_residual(graph) if _lacks_residual(graph) else graph


def _lacks_residual(graph: g.Graph) -> bool:
    """Return whether a graph is a 4x Real-CUGAN as the ncnn program expects it.

    That program adds the enlarged input after the network. The file ends in a crop and a pixel
    shuffle by two; no other network with global means does.
    """
    made = {node.name: node for node in graph.nodes}
    last = made.get(graph.output)
    if last is None or not isinstance(last.op, g.PixelShuffle) or not graph.means:
        return False
    cropped = made.get(last.inputs[0])
    return cropped is not None and isinstance(cropped.op, g.Crop) and graph.out.scale == 4


def _with_residual(graph: g.Graph) -> g.Graph:
    """Add the nearest-neighbor enlargement of the input."""
    source, output = graph.inputs[0].name, graph.output
    residual = [
        g.Node(f"{output} nearest", g.Upsample(graph.scale), (source,)),
        g.Node(f"{output} crop", g.Crop(graph.lost * graph.scale), (f"{output} nearest",)),
        g.Node(f"{output} sum", g.Add(), (output, f"{output} crop")),
    ]
    return g.Graph([*graph.nodes, *residual], output=f"{output} sum", inputs=graph.inputs)


def _parse(param: str) -> list[_Layer]:
    lines = [line for line in param.splitlines() if line.strip()]
    if len(lines) < 2 or lines[0].strip() != MAGIC:
        raise GraphError(f"not an ncnn .param file: it must begin with {MAGIC}")
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


#: The nodes of a layer, the last of which makes its result, and the channels of the result.
_Read: TypeAlias = tuple[list[g.Node], int]


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
        return [layer.node(g.Conv(weight, bias, stride, padding, activation))], outputs
    # ncnn stores transposed kernels output first, Graph input first.
    weight = np.ascontiguousarray(weight.transpose(1, 0, 2, 3))
    return [layer.node(g.ConvTranspose(weight, bias, stride, padding, activation))], outputs


def _inner_product(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (), 1: (0, 1), 2: (), 9: (), 10: ()})
    outputs, count, inputs = layer.integer(0), layer.integer(2), layer.channels[0]
    if outputs < 1 or count != outputs * inputs:
        raise layer.error(f"{count} weights for {inputs} -> {outputs}")
    weight = blobs.flagged(count, layer.name).reshape(outputs, inputs, 1, 1)
    bias = blobs.bias(outputs, layer, present=layer.integer(1))
    return [layer.node(g.Conv(weight, bias, activation=_activation(layer)))], outputs


def _pooling(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (1,), 4: (1,)})
    if layer.integer(0) != 1 or layer.integer(4) != 1:
        raise layer.error("only global average pooling is supported")
    return [layer.node(g.GlobalMean())], layer.channels[0]


def _scale(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (FROM_SECOND_INPUT,), 1: (0,)})
    if len(layer.inputs) != 2 or layer.integer(0) != FROM_SECOND_INPUT:
        raise layer.error("only scaling by a second input is supported")
    return [layer.node(g.Multiply())], layer.channels[0]


def _crop(layer: _Layer, blobs: _Blobs) -> _Read:
    if len(layer.inputs) == 2:
        # The second input only gives the size. If the result is joined with it, Graph checks that
        # the crop is centered.
        layer.require({0: (), 1: (), 2: (0,)})
        margin = layer.integer(0)
        if margin != layer.integer(1) or margin < 0:
            raise layer.error("only an equal crop to a second input is supported")
    else:
        layer.require_arrays(9, 10, 11)
        starts, ends, axes = layer.array(9), layer.array(10), layer.array(11)
        margin = int(starts[0]) if starts else -1
        if (
            margin < 0
            or starts != [margin, margin]
            or ends != [-margin, -margin]
            or axes not in ([-2, -1], [1, 2])
        ):
            raise layer.error(
                f"a crop from {starts} to {ends} along axes {axes} is not supported; it must be "
                "equal on all four sides"
            )
    return [layer.node(g.Crop(margin), layer.inputs[0])], layer.channels[0]


def _eltwise(layer: _Layer, blobs: _Blobs) -> _Read:
    factors = layer.params.get(1, [])
    layer.require({0: (0, 1), 1: ()})
    count = len(layer.inputs)
    if not isinstance(factors, list) or len(factors) not in (0, count) or count < 2:
        raise layer.error(f"{factors} are not the factors of {count} blobs")
    if not layer.integer(0):
        if factors:
            raise layer.error("a weighted product is not supported")
        return _chain(layer, g.Multiply(), list(layer.inputs), []), layer.channels[0]
    nodes: list[g.Node] = []
    terms = list(layer.inputs)
    for index, factor in enumerate(factors):
        if factor != 1:
            nodes.append(layer.inner(g.Affine(scale=factor), terms[index], f"{index}"))
            terms[index] = nodes[-1].name
    return _chain(layer, g.Add(), terms, nodes), layer.channels[0]


def _chain(layer: _Layer, op: g.Op, terms: list[str], nodes: list[g.Node]) -> list[g.Node]:
    """Join two or more values by an operation of two inputs."""
    total = terms[0]
    for index, term in enumerate(terms[1:-1], 1):
        nodes.append(g.Node(f"{layer.outputs[0]} sum{index}", op, (total, term)))
        total = nodes[-1].name
    return [*nodes, layer.node(op, total, terms[-1])]


_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE, _SUBTRACT_FROM = 0, 1, 2, 3, 7


def _binary(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE, _SUBTRACT_FROM), 1: (0, 1), 2: ()})
    kind = layer.integer(0)
    if layer.integer(1):
        layer.expect(reads=1)
        if layer.constants:
            raise layer.error("an operation on constants alone is not supported")
        op = _by_constant(layer, kind, layer.number(2))
        return [layer.node(op)], layer.channels[0]
    layer.expect(reads=2)
    first, second = layer.inputs
    if layer.constants:
        if all(name in layer.constants for name in layer.inputs):
            raise layer.error("an operation on constants alone is not supported")
        ((name, constant),) = layer.constants.items()
        value = 1 if name == first else 0
        made = layer.channels[value]
        if constant.size not in (1, made):
            raise layer.error(f"{constant.size} constants for {made} channels")
        if value and kind in (_SUBTRACT, _SUBTRACT_FROM):
            kind = _SUBTRACT_FROM if kind == _SUBTRACT else _SUBTRACT
        elif value and kind == _DIVIDE:
            raise layer.error("division of a constant is not supported")
        number = float(constant[0]) if constant.size == 1 else constant
        return [layer.node(_by_constant(layer, kind, number), layer.inputs[value])], made
    if kind == _DIVIDE:
        raise layer.error("division of two values is not supported")
    if kind == _MULTIPLY:
        # A gate comes second in a graph.
        gated = layer.pooled[0] and not layer.pooled[1]
        order = (second, first) if gated else (first, second)
        return [layer.node(g.Multiply(), *order)], layer.channels[0]
    if kind == _ADD:
        return [layer.node(g.Add())], layer.channels[0]
    if kind == _SUBTRACT_FROM:
        first, second = second, first
    negative = layer.inner(g.Affine(scale=-1.0), second, "negative")
    return [negative, layer.node(g.Add(), first, negative.name)], layer.channels[0]


def _by_constant(layer: _Layer, kind: int, number: float | g.Weights) -> g.Affine:
    if kind == _ADD:
        return g.Affine(offset=number)
    if kind == _SUBTRACT:
        return g.Affine(offset=-number)
    if kind == _MULTIPLY:
        return g.Affine(scale=number)
    if kind == _SUBTRACT_FROM:
        return g.Affine(scale=-1.0, offset=number)
    if not np.all(number):
        raise layer.error("division by zero")
    return g.Affine(scale=np.float32(1) / number if isinstance(number, np.ndarray) else 1 / number)


def _constant(layer: _Layer, blobs: _Blobs) -> g.Weights:
    """Read a constant per channel, or one for all channels."""
    layer.require({0: (), 1: (), 2: (), 11: (0,), 21: (0, 1)})
    sides = [layer.integer(key) for key in (0, 1, 2)]
    count = max(sides)
    if sides not in ([1, 1, count], [count, 0, 0]) or not 1 <= count <= _MAX_CHANNELS:
        raise layer.error(f"a constant of shape {sides} is not supported; it must be [1, 1, C]")
    read = blobs.plain if layer.integer(21, 1) else blobs.flagged
    return read(count, layer.name)


def _concat(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (0, -3)})
    return [layer.node(g.Concat())], sum(layer.channels)


def _relu(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: ()})
    slope = layer.number(0)
    activation = g.Activation("leaky_relu", slope=slope) if slope else g.Activation("relu")
    return [layer.node(g.Activate(activation))], layer.channels[0]


def _prelu(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: ()})
    made = layer.channels[0]
    count = layer.integer(0)
    if count not in (1, made):
        raise layer.error(f"{count} slopes for {made} channels")
    # One slope for all channels takes no memory, however many channels a damaged file claims.
    slopes = np.broadcast_to(blobs.plain(count, layer.name), (made,))
    return [layer.node(g.Activate(g.Activation("prelu", slopes=slopes)))], made


#: Activations without parameters.
_SMOOTH: Final[Mapping[str, g.ActivationKind]] = {
    "Sigmoid": "sigmoid",
    "Swish": "silu",
    "TanH": "tanh",
}


def _smooth(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({})
    return [layer.node(g.Activate(g.Activation(_SMOOTH[layer.kind])))], layer.channels[0]


def _pixel_shuffle(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({0: (), 1: (0,)})
    factor = layer.integer(0, 1)
    if factor < 1:
        raise layer.error(f"factor {factor}")
    if layer.kind == "Reorg":
        return [layer.node(g.PixelUnshuffle(factor))], layer.channels[0] * factor * factor
    return [layer.node(g.PixelShuffle(factor))], layer.channels[0] // (factor * factor)


_NEAREST, _BILINEAR, _BICUBIC = 1, 2, 3
#: Largest numerator and denominator of a factor of enlargement.
MAX_RATIO: Final = 64


def _interp(layer: _Layer, blobs: _Blobs) -> _Read:
    layer.require({
        0: (_NEAREST, _BILINEAR, _BICUBIC), 1: (), 2: (), 3: (0,), 4: (0,), 5: (0,), 6: (0,),
    })  # fmt: skip
    kind, factor = layer.integer(0), layer.number(1, 1.0)
    ratio = Fraction(factor).limit_denominator(MAX_RATIO)
    if (
        factor != layer.number(2, 1.0)
        or not 1 / MAX_RATIO <= factor <= MAX_RATIO
        or abs(float(ratio) / factor - 1) > 1e-6
    ):
        raise layer.error(
            f"a resize by {factor:g} and {layer.number(2, 1.0):g} is not supported; both must be "
            f"the same fraction of numbers up to {MAX_RATIO}"
        )
    if kind != _NEAREST:
        name: g.ResizeKind = "bilinear" if kind == _BILINEAR else "bicubic"
        return [layer.node(g.Resize(ratio.numerator, ratio.denominator, name))], layer.channels[0]
    if ratio.denominator != 1:
        raise layer.error("only nearest enlargement by one whole factor is supported")
    return [layer.node(g.Upsample(ratio.numerator))], layer.channels[0]


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
    "Reorg": _pixel_shuffle,
    "Scale": _scale,
    **dict.fromkeys(_SMOOTH, _smooth),
}
