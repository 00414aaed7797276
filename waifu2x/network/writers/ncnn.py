"""Writes ncnn models: a text ``.param`` with the layers, a ``.bin`` with the weights.

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure. The input is the blob
"data" and the result the blob "output", as in the files of Real-ESRGAN; given means are "mean_1",
"mean_2" and so on, with one axis. Layers and blobs are numbered, so equal networks give equal
files, regardless of the names in their graphs.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ..._record import record
from ...errors import GraphError
from .. import graph as g
from ..readers.ncnn import FLOAT16_FLAG, FROM_SECOND_INPUT, MAGIC, MAX_RATIO
from ..rewrite import fuse_activations

INPUT: Final = "data"
OUTPUT: Final = "output"

_ADD, _MULTIPLY = 0, 2
_FLOAT32_FLAG: Final = 0
#: Interp: kinds of resampling.
_NEAREST: Final = 1
_RESIZES: Final = {"bilinear": 2, "bicubic": 3}
#: Layers of activations without parameters.
_SMOOTH: Final = {"sigmoid": "Sigmoid", "silu": "Swish", "tanh": "TanH"}

#: A parameter: an integer, a float, or an array of one of the two.
_Param: TypeAlias = int | float | list[int] | list[float]


@record
class _Layer:
    """A layer that reads values of the graph and makes one; ``weights`` go to the .bin."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    params: dict[int, _Param]
    weights: bytes = b""


def to_ncnn(graph: g.Graph, *, fp16: bool = False) -> tuple[str, bytes]:
    """Return the contents of a ``.param`` and a ``.bin`` file.

    fp16: weights of convolutions in float16; biases and constants stay float32.

    Raises `GraphError` that names an operation which ncnn does not have, or a weight beyond
    float16.
    """
    if not all(each.pooled for each in graph.inputs[1:]):
        raise GraphError("ncnn: the network has several pictures as inputs; it must have one")
    graph = fuse_activations(graph, ("relu", "leaky_relu", "sigmoid"))
    layers, output = _Writer(graph, fp16).layers()
    weights = b"".join(layer.weights for layer in layers)
    return _text(graph.inputs, input_names(graph), output, layers), weights


class _Writer:
    """Converts the nodes of one graph."""

    def __init__(self, graph: g.Graph, fp16: bool) -> None:
        self._graph, self._fp16 = graph, fp16
        self._layers: list[_Layer] = []
        #: The values that stand for operations without effect, such as a crop by 0.
        self._same: dict[str, str] = {}
        self._made = {node.name: node for node in graph.nodes}
        #: Crops that nothing has read yet. Their order differs between formats.
        self._crops: dict[str, g.Node] = {}
        readers = Counter(name for node in graph.nodes for name in node.inputs)
        #: Factors that the sum after them applies.
        self._factors = {
            name: self._made[name]
            for node in graph.nodes
            if isinstance(node.op, g.Add) and not graph.values[node.name].pooled
            for name in node.inputs
            if readers[name] == 1 and name in self._made and _is_factor(self._made[name].op)
        }

    def layers(self) -> tuple[list[_Layer], str]:
        """Return the layers and the value that is the output."""
        for node in self._graph.nodes:
            if isinstance(node.op, g.Crop):
                self._crops[node.name] = node
            elif node.name not in self._factors:
                self._emit(node)
        self._emit_crop(self._graph.output)
        if not self._layers:
            raise GraphError("ncnn: the network has no operation")
        return self._layers, self._read(self._graph.output)

    def _emit(self, node: g.Node) -> None:
        """Add the layers of a node, and of crops that it is the first to read."""
        for name in node.inputs:
            self._emit_crop(self._factors[name].inputs[0] if name in self._factors else name)
        self._node(node, tuple(self._read(name) for name in node.inputs))

    def _emit_crop(self, name: str) -> None:
        if name in self._crops:
            self._emit(self._crops.pop(name))

    def _read(self, name: str) -> str:
        return self._same.get(name, name)

    def _add(
        self,
        kind: str,
        inputs: tuple[str, ...],
        output: str,
        params: dict[int, _Param],
        weights: bytes = b"",
    ) -> None:
        self._layers.append(_Layer(kind, inputs, output, params, weights))

    def _node(self, node: g.Node, inputs: tuple[str, ...]) -> None:
        name = node.name
        match node.op:
            case g.Conv() | g.ConvTranspose():
                self._convolution(node, node.op, inputs)
            case g.Activate(activation=activation):
                self._activation(activation, inputs, name)
            case g.Add():
                self._sum(node, inputs)
            case g.Multiply() if self._graph.values[node.inputs[1]].pooled:
                self._add("Scale", inputs, name, {0: FROM_SECOND_INPUT})
            case g.Multiply():
                self._add("BinaryOp", inputs, name, {0: _MULTIPLY})
            case g.Affine():
                self._affine(node, node.op, inputs[0])
            case g.Concat():
                self._add("Concat", inputs, name, {0: 0})
            case g.Crop(margin=0) | g.PixelShuffle(factor=1) | g.PixelUnshuffle(factor=1):
                self._same[name] = inputs[0]
            case g.Upsample(factor=1):
                self._same[name] = inputs[0]
            case g.Crop(margin=margin):
                ends: dict[int, _Param] = {9: [margin] * 2, 10: [-margin] * 2, 11: [-2, -1]}
                self._add("Crop", inputs, name, ends)
            case g.GlobalMean():
                self._add("Pooling", inputs, name, {0: 1, 4: 1})
            case g.PixelShuffle(factor=factor):
                self._add("PixelShuffle", inputs, name, {0: factor})
            case g.PixelUnshuffle(factor=factor):
                self._add("Reorg", inputs, name, {0: factor})
            case g.Upsample(factor=factor):
                self._resize(node, inputs, _NEAREST, g.Resize(factor, 1, "bilinear"))
            case g.Resize(kind=kind):
                self._resize(node, inputs, _RESIZES[kind], node.op)
            case g.ExternalModel():
                raise _error(node, f"it runs on engine {node.op.engine} alone")

    def _convolution(
        self, node: g.Node, op: g.Conv | g.ConvTranspose, inputs: tuple[str, ...]
    ) -> None:
        activation = op.activation
        fused = _fused_params(activation)
        linear = node.name if fused is not None else f"{node.name}\0linear"
        weights = self._stored(node, op.weight) + _plain(op.bias)
        outputs, count = op.bias.size, op.weight.size
        if self._graph.values[node.name].pooled:
            params: dict[int, _Param] = {0: outputs, 1: 1, 2: count}
            self._add("InnerProduct", inputs, linear, params | (fused or {}), weights)
        else:
            kind = "Convolution" if isinstance(op, g.Conv) else "Deconvolution"
            params = {0: outputs, 1: op.weight.shape[2], 3: op.stride, 4: op.padding, 5: 1}
            params |= {6: count, **(fused or {})}
            self._add(kind, inputs, linear, params, weights)
        if fused is None and activation is not None:
            self._activation(activation, (linear,), node.name)

    def _stored(self, node: g.Node, weight: g.Weights) -> bytes:
        """Return weights after their storage flag, output channels first."""
        if isinstance(node.op, g.ConvTranspose):
            weight = weight.transpose(1, 0, 2, 3)
        if not self._fp16:
            return struct.pack("<I", _FLOAT32_FLAG) + _plain(weight)
        with np.errstate(over="ignore"):
            half = weight.astype("<f2")
        if not np.isfinite(half).all():
            raise _error(node, "a weight is beyond the range of float16; write float32")
        data = half.tobytes()
        return struct.pack("<I", FLOAT16_FLAG) + data + bytes(-len(data) % 4)

    def _activation(self, activation: g.Activation, inputs: tuple[str, ...], output: str) -> None:
        match activation:
            case g.Activation(kind="relu"):
                self._add("ReLU", inputs, output, {})
            case g.Activation(kind="leaky_relu", slope=slope):
                self._add("ReLU", inputs, output, {0: float(slope)})
            case g.Activation(kind="prelu", slopes=slopes):
                assert slopes is not None  # checked by Graph
                self._add("PReLU", inputs, output, {0: slopes.size}, _plain(slopes))
            case _:
                self._add(_SMOOTH[activation.kind], inputs, output, {})

    def _sum(self, node: g.Node, inputs: tuple[str, ...]) -> None:
        factors = [1.0, 1.0]
        read = list(inputs)
        for index, name in enumerate(node.inputs):
            if (factor := self._factors.get(name)) is not None:
                assert isinstance(factor.op, g.Affine)
                factors[index] = float(factor.op.scale)
                read[index] = self._read(factor.inputs[0])
        if factors == [1.0, 1.0]:
            self._add("BinaryOp", tuple(read), node.name, {0: _ADD})
        else:
            self._add("Eltwise", tuple(read), node.name, {0: 1, 1: factors})

    def _affine(self, node: g.Node, op: g.Affine, source: str) -> None:
        steps: list[tuple[int, float | g.Weights]] = []
        if isinstance(op.scale, np.ndarray) or op.scale != 1:
            steps.append((_MULTIPLY, op.scale))
        if isinstance(op.offset, np.ndarray) or op.offset != 0:
            steps.append((_ADD, op.offset))
        if not steps:
            self._same[node.name] = source
        for index, (kind, number) in enumerate(steps, 1):
            output = node.name if index == len(steps) else f"{node.name}\0scaled"
            if not isinstance(number, np.ndarray):
                self._add("BinaryOp", (source,), output, {0: kind, 1: 1, 2: float(number)})
            else:
                constant = f"{output}\0constant"
                pooled = self._graph.values[node.name].pooled
                shape: dict[int, _Param] = {0: number.size} if pooled else {0: 1, 1: 1}
                shape |= {} if pooled else {2: number.size}
                self._add("MemoryData", (), constant, shape, _plain(number))
                self._add("BinaryOp", (source, constant), output, {0: kind})
            source = output

    def _resize(self, node: g.Node, inputs: tuple[str, ...], kind: int, op: g.Resize) -> None:
        exact = Fraction(op.numerator, op.denominator)
        if max(exact.numerator, exact.denominator) > MAX_RATIO:
            raise _error(node, f"a resize by {exact}; both numbers may be up to {MAX_RATIO}")
        ratio = op.rounded_ratio
        self._add("Interp", inputs, node.name, {0: kind, 1: ratio, 2: ratio})


def _error(node: g.Node, what: str) -> GraphError:
    return GraphError(f"ncnn cannot express {node.name!r} ({type(node.op).__name__}): {what}")


def _is_factor(op: g.Op) -> bool:
    match op:
        case g.Affine(scale=float(), offset=float(offset)):
            return offset == 0
        case _:
            return False


def _fused_params(activation: g.Activation | None) -> dict[int, _Param] | None:
    """Return the parameters of a convolution with the activation; None if it has none for it."""
    match activation:
        case None:
            return {}
        case g.Activation(kind="relu"):
            return {9: 1}
        case g.Activation(kind="leaky_relu", slope=slope):
            return {9: 2, 10: [float(slope)]}
        case g.Activation(kind="sigmoid"):
            return {9: 4}
        case _:
            return None


def _plain(array: npt.NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()


def input_names(graph: g.Graph) -> list[str]:
    """Return the blobs of the inputs of a graph, in their order."""
    return [INPUT, *(f"mean_{number}" for number in range(1, len(graph.inputs)))]


def _text(
    inputs: Sequence[g.Input], names_in: Sequence[str], output: str, layers: list[_Layer]
) -> str:
    """Return the .param of layers, with a Split after each value that is read more than once."""
    counts = Counter(name for layer in layers for name in layer.inputs)
    first = [
        _Layer("Input", (), each.name, {0 if each.pooled else 2: each.channels}) for each in inputs
    ]
    given = {each.name: blob for each, blob in zip(inputs, names_in, strict=True)}
    names: dict[str, list[str]] = {}  # the blobs of each value, one for each reader
    lines: list[str] = []
    blobs = 0
    for number, layer in enumerate([*first, *layers]):
        read = [names[name].pop(0) for name in layer.inputs]
        made = {**given, output: OUTPUT}.get(layer.output, str(number))
        lines.append(_line(layer.kind, len(lines), read, [made], layer.params))
        blobs += 1
        count = counts[layer.output]
        names[layer.output] = [made]
        if count > 1:
            names[layer.output] = [f"{made}_{index}" for index in range(count)]
            lines.append(_line("Split", len(lines), [made], names[layer.output], {}))
            blobs += count
    return "\n".join([MAGIC, f"{len(lines)} {blobs}", *lines, ""])


def _line(
    kind: str, number: int, read: list[str], made: list[str], params: dict[int, _Param]
) -> str:
    name = f"{kind.lower()}_{number}"
    parts = [f"{kind:<16} {name:<20} {len(read)} {len(made)}", *read, *made]
    for key, value in params.items():
        if isinstance(value, list):
            parts.append(f"{-23300 - key}={len(value)},{','.join(map(_number, value))}")
        else:
            parts.append(f"{key}={_number(value)}")
    return " ".join(parts)


def _number(value: float) -> str:
    """Return a number of a .param; ncnn takes numbers with a point or an exponent for floats."""
    if isinstance(value, int):
        return str(value)
    with np.errstate(over="ignore"):
        number = np.float32(value)
    if not np.isfinite(number):
        raise GraphError(f"ncnn: the constant {value:g} is beyond the range of float32")
    return str(number)
