"""Reads ONNX models whose operators the graph has; nothing but weights is read from other files.

Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; operators:
https://onnx.ai/onnx/operators/. The file is split by a protobuf reader of this package, because
general ones make millions of objects of a small hostile file.

Constants are folded as far as shapes and paddings need. A clip to [0, 1] at the end is dropped,
because results are always clipped. A crop per axis becomes one crop, a padding with zeros the
padding of the convolution after it. A replicated edge around the whole network, as in exported
files, is dropped together with the crop at the end: the edge of a picture is replicated anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..._record import record
from ...errors import GraphError
from .. import graph as g
from ..rewrite import joined
from . import _protobuf as pb
from . import tensors as t

Array = npt.NDArray[Any]

_FLOAT: Final = 1
_FLOAT16: Final = 10
_BFLOAT16: Final = 16
_DTYPES: Final[Mapping[int, str]] = {
    _FLOAT: "<f4",
    2: "u1",
    3: "i1",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    _FLOAT16: "<f2",
    11: "<f8",
    _BFLOAT16: "<u2",
}
_FLOATS: Final = (_FLOAT, _FLOAT16, 11, _BFLOAT16)

_DOMAINS: Final = ("", "ai.onnx")
#: The first one with the broadcasting of numpy.
_OLDEST_OPSET: Final = 7
_FUNCTIONS: Final = 25
_GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE = range(5)
#: The fields that hold tensors, by the kind of message.
_PARTS: Final[Mapping[int, Mapping[int, int]]] = {
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
_MAX_NODES: Final = 10_000
#: Of a model that another program runs, in which an operation takes more of them.
_MAX_OTHER_NODES: Final = 30_000
#: Operators that repeat a graph; the number of repetitions has no limit.
_LOOPS: Final = ("Loop", "Scan")
#: Most elements of a constant that is computed from others: shapes and paddings.
_MAX_FOLDED: Final = 1 << 12
#: More channels than any super-resolution network has.
_MAX_CHANNELS: Final = 1 << 16
_FAR: Final = 1 << 30
#: Bytes of weights that a model may have without storing them.
_FREE_BYTES: Final = 1 << 25
_LARGEST_FACTOR: Final = 16
_LARGEST_EDGE: Final = 1 << 12


def parse_onnx(data: bytes, folder: Path | None = None) -> g.Graph:
    """Read a model with one input (N, C, H, W) and one output.

    folder: where the model lies; external data may lie in it or below. None refuses external data.

    Raises `GraphError` for a damaged file, and for an operator that the graph does not have, by
    name.
    """
    t.check_file_size(len(data))
    return _Model(data, folder).graph()


def parse_metadata(data: bytes) -> dict[str, str]:
    """Read the metadata of a model. Raises `GraphError` for a damaged file."""
    reader = pb.Reader()
    entries = pb.messages(reader.fields(memoryview(data)), 14)
    fields = [reader.fields(entry) for entry in entries]
    return {pb.text(entry, 1): pb.text(entry, 2) for entry in fields}


def check_contained(data: bytes) -> int:
    """Return the number of weights of a model, which must all be in the file itself.

    For models that are run by another program. Raises `GraphError` for a damaged file, external
    data, functions, loops, too many operators, and sizes of tensors beyond the file.
    """
    t.check_file_size(len(data))
    reader = pb.Reader()
    model = reader.fields(memoryview(data))
    if model.get(_FUNCTIONS):
        raise GraphError("ONNX: functions in a model are not supported")
    total = operators = 0
    loops: list[str] = []
    waiting = [(_GRAPH, message) for message in pb.messages(model, 7)]
    while waiting:
        kind, message = waiting.pop()
        fields = reader.fields(message)
        if kind == _TENSOR:
            if pb.integer(fields, 14) == 1 or fields.get(13):
                raise GraphError("ONNX: external data, which is refused for such a model")
            size = math.prod(reader.integers(fields, 1))
            if not 0 <= size <= max(4096, 8 * len(data)):
                raise GraphError("ONNX: a tensor is larger than the file")
            total += size
        elif kind == _NODE:
            operators += 1
            loops += [name for name in _LOOPS if name == pb.text(fields, 4)]
        waiting += [
            (inner, part)
            for number, inner in _PARTS[kind].items()
            for part in pb.messages(fields, number)
        ]
    if loops:
        raise GraphError(f"ONNX: operator {loops[0]}, which is refused: it may have no end")
    if operators > _MAX_OTHER_NODES:
        raise GraphError(f"ONNX: {operators} operators; at most {_MAX_OTHER_NODES} are run")
    return total


@record
class _Node:
    """An operator with its attributes, each as the fields of its message."""

    kind: str
    name: str
    inputs: list[str]
    output: str
    attributes: Mapping[str, pb.Fields]

    def error(self, what: str) -> GraphError:
        return GraphError(f"ONNX operator {t.quoted(self.name)} ({self.kind}): {what}")

    def integer(self, name: str, default: int) -> int:
        return pb.integer(self.attributes.get(name, {}), 3, default)

    def real(self, name: str, default: float) -> float:
        return _shortest(pb.real(self.attributes[name], 2)) if name in self.attributes else default

    def string(self, name: str, default: str) -> str:
        return pb.text(self.attributes[name], 4) if name in self.attributes else default


@record
class _Value:
    """A value of the graph, read without ``crop`` samples above and below, left and right.

    padding: zeros around the value, which only a convolution can read.
    clipped: whether the value is clipped to [0, 1], which only the output may be.
    """

    name: str
    channels: int
    pooled: bool = False
    crop: tuple[int, int] = (0, 0)
    padding: int = 0
    clipped: bool = False


@dataclass(slots=True)
class _Model:
    """The state of a conversion."""

    data: bytes
    folder: Path | None
    nodes: list[g.Node] = field(default_factory=list)
    values: dict[str, _Value] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    reader: pb.Reader = field(default_factory=pb.Reader)
    crops: dict[tuple[str, int], str] = field(default_factory=dict)
    picture: _Value | None = None
    edge: int = 0
    external_bytes: int = 0
    spent: int = 0

    def graph(self) -> g.Graph:
        model = self.reader.fields(memoryview(self.data))
        body = pb.message(model, 7)
        if body is None:
            raise GraphError("ONNX: there is no graph in the file")
        sets = [self.reader.fields(entry) for entry in pb.messages(model, 8)]
        versions = [pb.integer(entry, 2) for entry in sets if pb.text(entry, 1) in _DOMAINS]
        if len(versions) != 1 or versions[0] < _OLDEST_OPSET:
            raise GraphError(
                f"ONNX: the operator set is {versions[0] if versions else 'missing'}; "
                f"{_OLDEST_OPSET} or later is required"
            )
        fields = self.reader.fields(body)
        if fields.get(15):
            raise GraphError("ONNX: sparse weights are not supported")
        weights = pb.messages(fields, 5)
        t.check_count(len(weights))
        for message in weights:
            self._weights(message)
        picture = self._picture(pb.messages(fields, 11))
        operators = pb.messages(fields, 1)
        if len(operators) > _MAX_NODES:
            raise GraphError(f"ONNX: {len(operators)} operators; at most {_MAX_NODES} are read")
        for message in operators:
            self._operator(self._node(message))
        outputs = [pb.text(self.reader.fields(made), 1) for made in pb.messages(fields, 12)]
        if len(outputs) != 1:
            raise GraphError(f"ONNX: the model has {len(outputs)} outputs; it must have one")
        if outputs[0] not in self.values:
            raise GraphError(f"ONNX: nothing makes the output {t.quoted(outputs[0])}")
        made = replace(self.values[outputs[0]], clipped=False)
        if self.edge:
            return self._without_edge(made, picture)
        return self._ended(made, picture)

    def _ended(self, made: _Value, picture: g.Input) -> g.Graph:
        """Return the graph that ends in a value."""
        result = self._plain(made, "the output")
        return g.Graph(joined(self.nodes, result), output=result, inputs=(picture,))

    def _without_edge(self, made: _Value, picture: g.Input) -> g.Graph:
        """Return the graph without the replicated edge and the crop of the result by as much.

        Of a crop, as much stays as the result needs to begin at a whole pixel.
        """
        padded = g.Input(f"{picture.name}:padded", picture.channels)
        if any(picture.name in node.inputs for node in self.nodes):
            raise GraphError("ONNX: the picture is read with its edge replicated, and without")
        if self._ended(made, padded).lost != self.edge:
            raise GraphError(
                f"ONNX: the edge of the picture is replicated by {self.edge} px, and the result "
                "is not cropped to the size of the picture"
            )
        for crop in range(made.crop[0] + 1):
            graph = self._ended(replace(made, crop=(crop, crop)), padded)
            if graph.out.origin.denominator == 1:
                return graph
        raise AssertionError("the whole crop makes a whole number of pixels")

    # --- parts of the file --------------------------------------------------------------------

    def _weights(self, message: memoryview) -> None:
        fields = self.reader.fields(message)
        name = pb.text(fields, 8)
        if name in self.constants:
            raise GraphError(f"ONNX: two tensors are named {t.quoted(name)}")
        self.constants[name] = self._tensor(fields, name)

    def _picture(self, messages: list[memoryview]) -> g.Input:
        """Return the only input that is not a tensor of the file."""
        found = [self.reader.fields(message) for message in messages]
        found = [fields for fields in found if pb.text(fields, 1) not in self.constants]
        if len(found) != 1:
            raise GraphError(f"ONNX: the model has {len(found)} inputs; it must have one")
        name = pb.text(found[0], 1)
        kind = self._inner(self._inner(found[0], 2), 1)
        sides = [self.reader.fields(side) for side in pb.messages(self._inner(kind, 2), 1)]
        channels = pb.integer(sides[1], 1) if len(sides) == 4 else 0
        if pb.integer(kind, 1) not in _FLOATS or not 1 <= channels <= _MAX_CHANNELS:
            raise GraphError(
                f"ONNX: the input {t.quoted(name)} must be floats (N, C, H, W) with a fixed C"
            )
        self.picture = self.values[name] = _Value(name, channels)
        return g.Input(name, channels)

    def _inner(self, fields: pb.Fields, number: int) -> pb.Fields:
        message = pb.message(fields, number)
        return {} if message is None else self.reader.fields(message)

    def _node(self, message: memoryview) -> _Node:
        fields = self.reader.fields(message)
        kind, domain = pb.text(fields, 4), pb.text(fields, 7)
        outputs = pb.texts(fields, 2)
        name = pb.text(fields, 3) or (outputs[0] if outputs else kind)
        if domain not in _DOMAINS:
            raise GraphError(
                f"ONNX operator {t.quoted(name)} is {t.quoted(kind)} of the domain "
                f"{t.quoted(domain)}, which is not supported"
            )
        if kind not in _OPERATORS:
            raise GraphError(
                f"ONNX operator {t.quoted(name)} is {t.quoted(kind)}, which the graph does not have"
            )
        if len([output for output in outputs if output]) != 1:
            raise GraphError(f"ONNX operator {t.quoted(name)} has {len(outputs)} outputs")
        attributes = [self.reader.fields(attribute) for attribute in pb.messages(fields, 5)]
        return _Node(
            kind,
            name,
            pb.texts(fields, 1),
            outputs[0],
            {pb.text(attribute, 1): attribute for attribute in attributes},
        )

    def _tensor(self, fields: pb.Fields, name: str) -> Array:
        """Return a tensor of the file, as a view if its type allows."""
        where = f"ONNX tensor {t.quoted(name)}"
        shape = self.reader.integers(fields, 1)
        kind = pb.integer(fields, 2)
        if kind not in _DTYPES:
            raise GraphError(f"{where} has the type {kind}, which is not supported")
        if len(shape) > t.MAX_RANK or any(not 0 <= side < 1 << 40 for side in shape):
            raise GraphError(f"{where} has no valid shape")
        dtype = np.dtype(_DTYPES[kind])
        size = math.prod(shape)
        raw: memoryview | bytes | None = pb.message(fields, 9)
        if pb.integer(fields, 14) == 1:
            raw = self._external(where, fields, size * dtype.itemsize)
        if raw is not None:
            if len(raw) != size * dtype.itemsize:
                raise GraphError(f"{where} needs {size * dtype.itemsize} bytes and has {len(raw)}")
            array = np.frombuffer(raw, dtype)
        elif kind in (_FLOAT, 11):
            array = pb.reals(fields, 4 if kind == _FLOAT else 10, dtype.str)
        else:
            numbers = self.reader.integers(fields, 7 if kind == 7 else 5)
            low, high = (0, 0xFFFF) if kind == _FLOAT16 else _range(dtype)
            if any(not low <= number <= high for number in numbers):
                raise GraphError(f"{where} has numbers beyond its type")
            array = np.array(numbers, "<u2" if kind == _FLOAT16 else dtype).view(dtype)
        if array.size != size:
            raise GraphError(f"{where} needs {size} numbers and has {array.size}")
        array = array.reshape(shape)
        return t.widened(array) if kind == _BFLOAT16 else array

    def _external(self, where: str, fields: pb.Fields, size: int) -> bytes:
        """Read external data of ``size`` bytes, from a file in the folder of the model."""
        entries = [self.reader.fields(entry) for entry in pb.messages(fields, 13)]
        given = {pb.text(entry, 1): pb.text(entry, 2) for entry in entries}
        location, start = given.get("location", ""), given.get("offset", "0")
        error = GraphError(
            f"{where} has external data at {t.quoted(location)}, which is refused: "
            "it must be a file in the folder of the model"
        )
        parts = PureWindowsPath(location).parts
        if (
            self.folder is None
            or not parts
            or "\0" in location
            or ".." in parts
            or PureWindowsPath(location).anchor
            or PurePosixPath(location).is_absolute()
            or not (start.isascii() and start.isdecimal() and len(start) < 16)
        ):
            raise error
        self.external_bytes += size
        t.check_file_size(self.external_bytes)
        try:
            folder = self.folder.resolve(strict=True)
            path = folder.joinpath(*parts).resolve(strict=True)
            if not path.is_relative_to(folder) or not path.is_file():
                raise error
            if int(start) + size > path.stat().st_size:
                raise GraphError(f"{where} ends outside {t.quoted(location)}")
            with path.open("rb") as file:
                file.seek(int(start))
                return file.read(size)
        except (OSError, RuntimeError):
            raise error from None

    def spend(self, size: int) -> None:
        """Count the bytes of weights that operators read, which may share their tensors.

        Raises `GraphError` if they exceed the file too far.
        """
        self.spent += size
        if self.spent > _FREE_BYTES + 4 * (len(self.data) + self.external_bytes):
            raise GraphError("ONNX: the operators read far more weights than the file has")

    # --- values -------------------------------------------------------------------------------

    def value(self, node: _Node, index: int = 0) -> _Value:
        """Return an input that is a value of the graph."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if name not in self.values:
            what = "is a constant" if name in self.constants else "nothing before it makes"
            raise node.error(f"reads {t.quoted(name)}, which {what}")
        return self.values[name]

    def read(self, node: _Node, index: int = 0) -> str:
        """Return the name of an input in the graph, with its crop as a node."""
        return self._plain(self.value(node, index), t.quoted(node.name))

    def _plain(self, value: _Value, reader: str) -> str:
        if value.clipped:
            raise GraphError(
                f"ONNX: {reader} reads a clipped value; only the output may be clipped"
            )
        if value.padding:
            raise GraphError(f"ONNX: {reader} reads a padded value; only convolutions can")
        margin = value.crop[0]
        if value.crop != (margin, margin):
            raise GraphError(
                f"ONNX: {reader} reads a value that is cropped by {value.crop[0]} and "
                f"{value.crop[1]}; both axes must be alike"
            )
        if not margin:
            return value.name
        key = (value.name, margin)
        if key not in self.crops:
            self.crops[key] = f"{value.name}:crop{margin}"
            self.nodes.append(g.Node(self.crops[key], g.Crop(margin), (value.name,)))
        return self.crops[key]

    def constant(self, node: _Node, index: int) -> Array | None:
        """Return an input that is a constant, None if it is absent."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.constants:
            raise node.error(f"the input {t.quoted(name)} must be a constant")
        return self.constants[name]

    def integers(self, node: _Node, index: int, attribute: str = "") -> list[int] | None:
        """Return integers from an attribute (older operator sets) or a constant input."""
        if attribute and attribute in node.attributes:
            return self.reader.integers(node.attributes[attribute], 8)
        array = self.constant(node, index)
        if array is None:
            return None
        if array.dtype.kind not in "iu" or array.size > _MAX_FOLDED:
            raise node.error(f"the input {t.quoted(node.inputs[index])} must be a few integers")
        return [int(number) for number in array.ravel()]

    def add(self, node: _Node, op: g.Op, inputs: Sequence[str], like: _Value) -> None:
        """Add a node for the result of an operator; ``like`` gives channels and pooling."""
        self.nodes.append(g.Node(node.output, op, tuple(inputs)))
        self.define(node, _Value(node.output, like.channels, like.pooled))

    def helper(self, node: _Node, suffix: str, op: g.Op, name: str) -> str:
        """Add a node in front of the result of an operator, and return its name."""
        self.nodes.append(g.Node(f"{node.output}:{suffix}", op, (name,)))
        return f"{node.output}:{suffix}"

    def define(self, node: _Node, value: _Value | Array) -> None:
        if node.output in self.values or node.output in self.constants:
            raise node.error(f"the value {t.quoted(node.output)} is there already")
        if isinstance(value, _Value):
            self.values[node.output] = value
        else:
            self.constants[node.output] = value

    def _operator(self, node: _Node) -> None:
        fold = _FOLDS.get(node.kind)
        given = [name for name in node.inputs if name]
        if fold and given and all(name in self.constants for name in given):
            arrays = [self.constants[name] for name in given]
            # The only large constants that pass are weights with another name or type.
            if node.kind not in ("Identity", "Cast") and any(
                array.size > _MAX_FOLDED for array in arrays
            ):
                raise node.error("a constant is too large to be computed")
            self.spend(sum(array.nbytes for array in arrays))
            try:
                with np.errstate(all="ignore"):
                    made = fold(self, node, arrays)
            except (ValueError, IndexError, TypeError, OverflowError, MemoryError):
                raise node.error("a constant cannot be computed") from None
            self.define(node, made)
        else:
            _OPERATORS[node.kind](self, node)

    def tensor_attribute(self, node: _Node, name: str) -> Array:
        """Return a tensor among the attributes."""
        message = pb.message(node.attributes[name], 5)
        if message is None:
            raise node.error(f"the attribute {name} is no tensor")
        return self._tensor(self.reader.fields(message), node.name)


def _shortest(number: float) -> float:
    """Return the shortest decimal number that is the same float32, such as 0.1."""
    return float(str(np.float32(number)))


def _range(dtype: np.dtype[Any]) -> tuple[int, int]:
    if dtype.kind == "b":
        return 0, 1
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _weights(model: _Model, node: _Node, array: Array | None, what: str) -> g.Weights:
    """Return weights as finite, contiguous float32."""
    if array is None or array.dtype.kind != "f":
        raise node.error(f"{what} must be floats in the file")
    model.spend(4 * array.size)
    with np.errstate(over="ignore"):
        made: g.Weights = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(made).all():
        raise node.error(f"{what} has values that are not finite")
    return made


def _per_channel(model: _Model, node: _Node, array: Array, channels: int) -> float | g.Weights:
    """Return a constant that is broadcast over the pixels as a number or as (channels,)."""
    made = _weights(model, node, array, "the constant")
    if made.size == 1:
        return _shortest(float(made.reshape(())))
    if made.ndim < 3 or made.size != channels or made.shape[-3:] != (channels, 1, 1):
        raise node.error(
            f"a constant of the shape {made.shape} for {channels} channels is not supported"
        )
    return made.reshape(channels)


# --- operators ----------------------------------------------------------------------------------


def _conv(model: _Model, node: _Node) -> None:
    value = model.value(node)
    weight = _weights(model, node, model.constant(node, 1), "the weight")
    transposed = node.kind == "ConvTranspose"
    if weight.ndim != 4 or not weight.size or weight.shape[2] != weight.shape[3]:
        raise node.error(f"the weight has the shape {weight.shape}; kernels must be square")
    groups = node.integer("group", 1)
    if groups != 1 and (transposed or not _unshuffles(weight, groups)):
        raise node.error(f"{groups} groups are not supported")
    if node.string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise node.error("automatic padding is not supported")
    integers = {
        name: model.reader.integers(node.attributes.get(name, {}), 8)
        for name in ("dilations", "strides", "pads", "output_padding", "kernel_shape")
    }
    stride = (integers["strides"] or [1])[0]
    padding = (integers["pads"] or [0])[0]
    kernel = weight.shape[2]
    expected = {
        "dilations": [1, 1],
        "strides": [stride] * 2,
        "pads": [padding] * 4,
        "output_padding": [0, 0],
        "kernel_shape": [kernel] * 2,
    }
    for name, numbers in expected.items():
        if integers[name] and integers[name] != numbers:
            raise node.error(f"{name} {integers[name][:4]} are not supported")
    if "output_shape" in node.attributes:
        raise node.error("output_shape is not supported")
    outputs = weight.shape[1 if transposed else 0]
    given = model.constant(node, 2)
    bias = (
        np.zeros(outputs, np.float32) if given is None else _weights(model, node, given, "the bias")
    )
    if not transposed:
        padding += value.padding
        value = replace(value, padding=0)
    if not (1 <= stride <= kernel + _LARGEST_FACTOR and 0 <= padding < _FAR):
        raise node.error(f"stride {stride} and padding {padding} are not supported")
    op: g.Op = (g.ConvTranspose if transposed else g.Conv)(weight, bias, stride, padding)
    if groups > 1:
        if groups != value.channels or stride != kernel or padding or bias.any():
            raise node.error(f"{groups} groups are not supported")
        op = g.PixelUnshuffle(kernel)
    name = model._plain(value, t.quoted(node.name))
    model.add(node, op, [name], replace(value, channels=outputs))


def _unshuffles(weight: g.Weights, groups: int) -> bool:
    """Return whether each output of a grouped convolution is one input pixel, in order."""
    taps = weight.shape[2] ** 2
    return (
        weight.shape[:2] == (groups * taps, 1)
        and weight.size <= _MAX_FOLDED * taps
        and bool((weight.reshape(groups, taps, taps) == np.eye(taps)).all())
    )


def _activation(model: _Model, node: _Node) -> None:
    value = model.value(node)
    match node.kind:
        case "Relu":
            activation = g.Activation("relu")
        case "LeakyRelu":
            activation = g.Activation("leaky_relu", slope=node.real("alpha", 0.01))
        case "PRelu":
            slopes = model.constant(node, 1)
            if slopes is None:
                raise node.error("there are no slopes")
            made = _per_channel(model, node, slopes, value.channels)
            model.spend(4 * value.channels)
            activation = g.Activation(
                "prelu", slopes=np.broadcast_to(np.float32(made), (value.channels,)).copy()
            )
        case "Sigmoid":
            activation = g.Activation("sigmoid")
        case _:
            activation = g.Activation("tanh")
    model.add(node, g.Activate(activation), [model.read(node)], value)


def _arithmetic(model: _Model, node: _Node) -> None:
    if len(node.inputs) != 2:
        raise node.error(f"{len(node.inputs)} inputs")
    names = node.inputs
    if all(name in model.values for name in names):
        _two_values(model, node)
        return
    at = 0 if names[0] in model.values else 1
    value = model.value(node, at)
    array = model.constant(node, 1 - at)
    if array is None:
        raise node.error("an input is missing")
    number = _per_channel(model, node, array, value.channels)
    neutral = 0.0 if node.kind in ("Add", "Sub") else 1.0
    if isinstance(number, float) and number == neutral and (at == 0 or node.kind in ("Add", "Mul")):
        model.define(node, value)
        return
    match node.kind, at:
        case "Add", _:
            op = g.Affine(offset=number)
        case "Sub", 0:
            op = g.Affine(offset=-number)
        case "Sub", _:
            op = g.Affine(scale=-1.0, offset=number)
        case "Mul", _:
            op = g.Affine(scale=number)
        case _:
            if at or not np.all(number):
                raise node.error("only the division by constants other than 0 is supported")
            op = g.Affine(scale=1 / number if isinstance(number, float) else np.float32(1) / number)
    model.add(node, op, [model.read(node, at)], value)


def _two_values(model: _Model, node: _Node) -> None:
    first, second = model.value(node, 0), model.value(node, 1)
    reads = [model.read(node, 0), model.read(node, 1)]
    match node.kind:
        case "Add":
            model.add(node, g.Add(), reads, first)
        case "Sub":
            reads[1] = model.helper(node, "negative", g.Affine(scale=-1.0), reads[1])
            model.add(node, g.Add(), reads, first)
        case "Mul":
            if first.pooled and not second.pooled:  # the gate comes second
                first, reads = second, reads[::-1]
            model.add(node, g.Multiply(), reads, first)
        case _:
            raise node.error("the division of two values is not supported")


def _sum(model: _Model, node: _Node) -> None:
    if len(node.inputs) < 2:
        raise node.error(f"{len(node.inputs)} inputs")
    total = model.read(node)
    for index in range(1, len(node.inputs) - 1):
        name = f"{node.output}:sum{index}"
        model.nodes.append(g.Node(name, g.Add(), (total, model.read(node, index))))
        total = name
    model.add(node, g.Add(), [total, model.read(node, len(node.inputs) - 1)], model.value(node))


def _concat(model: _Model, node: _Node) -> None:
    if node.integer("axis", 1) not in (1, -3):
        raise node.error("only channels are joined")
    values = [model.value(node, index) for index in range(len(node.inputs))]
    if not values:
        raise node.error("no inputs")
    reads = [model.read(node, index) for index in range(len(node.inputs))]
    channels = sum(value.channels for value in values)
    model.add(node, g.Concat(), reads, replace(values[0], channels=channels))


def _depth_to_space(model: _Model, node: _Node) -> None:
    value, factor = model.value(node), node.integer("blocksize", 0)
    if not 1 <= factor <= _LARGEST_FACTOR or value.channels % factor**2:
        raise node.error(f"{value.channels} channels in blocks of {factor}")
    channels = value.channels // factor**2
    name = model.read(node)
    match node.string("mode", "DCR"):
        case "CRD":
            pass
        case "DCR":
            order = np.arange(value.channels).reshape(factor**2, channels).T.ravel()
            name = model.helper(node, "order", _permutation(model, order), name)
        case mode:
            raise node.error(f"the mode {t.quoted(mode)} is not supported")
    model.add(node, g.PixelShuffle(factor), [name], replace(value, channels=channels))


def _space_to_depth(model: _Model, node: _Node) -> None:
    value, factor = model.value(node), node.integer("blocksize", 0)
    if not 1 <= factor <= _LARGEST_FACTOR:
        raise node.error(f"blocks of {factor}")
    channels = value.channels * factor**2
    if channels > _MAX_FOLDED:
        raise node.error(f"{channels} channels")
    name = model.helper(node, "unshuffled", g.PixelUnshuffle(factor), model.read(node))
    order = np.arange(channels).reshape(value.channels, factor**2).T.ravel()
    model.add(node, _permutation(model, order), [name], replace(value, channels=channels))


def _permutation(model: _Model, order: npt.NDArray[np.int_]) -> g.Conv:
    """Return a 1x1 convolution whose output channel i is the input channel ``order[i]``."""
    model.spend(4 * order.size**2)
    weight = np.zeros((order.size, order.size, 1, 1), np.float32)
    weight[np.arange(order.size), order] = 1
    return g.Conv(weight, np.zeros(order.size, np.float32))


def _resize(model: _Model, node: _Node) -> None:
    """Resize (scales are the third input) and the older Upsample (scales are the second)."""
    value = model.value(node)
    older = node.kind == "Upsample"
    scales = model.constant(node, 1 if older else 2)
    if scales is None and not older and len(node.inputs) == 2:  # operator set 10
        scales = model.constant(node, 1)
    if scales is None or scales.size != 4 or scales.dtype.kind != "f":
        raise node.error("constant scales of four axes are required")
    numbers = [float(number) for number in scales.ravel()]
    if numbers[:2] != [1, 1] or numbers[2] != numbers[3] or not 0 < numbers[2] <= _LARGEST_FACTOR:
        raise node.error(f"the scales {numbers} are not supported")
    ratio = Fraction(numbers[2]).limit_denominator(_LARGEST_FACTOR)
    if abs(float(ratio) - numbers[2]) > 1e-6:
        raise node.error(f"the scale {numbers[2]} is not supported")
    mode = node.string("mode", "nearest")
    where = node.string("coordinate_transformation_mode", "asymmetric" if older else "half_pixel")
    op: g.Op
    if mode == "nearest":
        rounding = node.string("nearest_mode", "floor" if older else "round_prefer_floor")
        plain = where == "asymmetric" and (
            rounding == "floor" or (rounding == "round_prefer_floor" and ratio == 2)
        )
        centered = where in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")
        if ratio.denominator != 1 or not (plain or centered):
            raise node.error(f"nearest by {ratio}, {t.quoted(where)}, is not supported")
        op = g.Upsample(int(ratio))
    elif (
        mode in ("linear", "cubic")
        and where in ("half_pixel", "pytorch_half_pixel")
        and not node.integer("antialias", 0)
        and not node.integer("exclude_outside", 0)
        and (mode == "linear" or abs(node.real("cubic_coeff_a", -0.75) + 0.75) < 1e-6)
    ):
        kind: g.ResizeKind = "bilinear" if mode == "linear" else "bicubic"
        op = g.Resize(ratio.numerator, ratio.denominator, kind)
    else:
        raise node.error(f"the mode {t.quoted(mode)}, {t.quoted(where)}, is not supported")
    model.add(node, op, [model.read(node)], value)


def _pad(model: _Model, node: _Node) -> None:
    value = model.value(node)
    pads = model.integers(node, 1, "pads")
    if node.string("mode", "constant") == "edge":
        _pad_edge(model, node, value, pads)
        return
    if node.string("mode", "constant") != "constant":
        raise node.error(f"padding by {t.quoted(node.string('mode', ''))} is not supported")
    fill = model.constant(node, 2)
    if (fill is not None and fill.size and np.any(fill)) or node.real("value", 0.0):
        raise node.error("padding with other values than 0 is not supported")
    axes = model.integers(node, 3)
    if axes is not None and pads is not None and [a % 4 for a in axes] == [2, 3]:
        pads = [0, 0, *pads[:2], 0, 0, *pads[2:]]
    amount = pads[2] if pads is not None and len(pads) == 8 else _FAR
    if pads != [0, 0, amount, amount] * 2 or abs(amount) >= _FAR:
        raise node.error(f"the padding {pads and pads[:8]} is not supported")
    if amount < 0:
        if value.padding:
            raise node.error("a padded value is cropped")
        crop = (value.crop[0] - amount, value.crop[1] - amount)
        model.define(node, replace(value, crop=crop))
    elif amount:
        name = model.read(node)
        model.define(node, _Value(name, value.channels, value.pooled, padding=amount))
    else:
        model.define(node, value)


def _pad_edge(model: _Model, node: _Node, value: _Value, pads: list[int] | None) -> None:
    amount = pads[2] if pads is not None and len(pads) == 8 else 0
    if value != model.picture or model.edge or not 0 < amount <= _LARGEST_EDGE:
        raise node.error("only the edge of the picture may be replicated, once")
    if pads != [0, 0, amount, amount] * 2:
        raise node.error(f"the padding {pads} is not supported")
    model.edge = amount
    model.define(node, replace(value, name=f"{value.name}:padded"))


def _slice(model: _Model, node: _Node) -> None:
    value = model.value(node)
    starts, ends = model.integers(node, 1, "starts"), model.integers(node, 2, "ends")
    if starts is None or ends is None:
        raise node.error("starts and ends are required")
    axes = model.integers(node, 3, "axes") or list(range(len(starts)))
    steps = model.integers(node, 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) <= 4:
        raise node.error("starts, ends, axes and steps differ in number")
    crop = list(value.crop)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step != 1:
            raise node.error(f"the step {step} is not supported")
        if start == 0 and end >= _FAR:
            continue
        if axis % 4 < 2 or not 0 <= start < _FAR or end != -start or value.padding:
            raise node.error(f"the range {start} to {end} of axis {axis} is not a centered crop")
        crop[axis % 4 - 2] += start
    model.define(node, replace(value, crop=(crop[0], crop[1])))


def _mean(model: _Model, node: _Node) -> None:
    value = model.value(node)
    if node.kind == "ReduceMean":
        axes = model.integers(node, 1, "axes")
        if axes is None or sorted(a % 4 for a in axes) != [2, 3] or not node.integer("keepdims", 1):
            raise node.error("only means over height and width are supported")
    model.add(node, g.GlobalMean(), [model.read(node)], replace(value, pooled=True))


def _clip(model: _Model, node: _Node) -> None:
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        array = model.constant(node, index)
        if array is not None and array.size != 1:
            raise node.error(f"{name} must be one number")
        bounds.append(node.real(name, math.nan) if array is None else float(array.reshape(())))
    if bounds != [0, 1]:
        raise node.error(f"only a clip to 0 and 1 is supported, not to {bounds[0]} and {bounds[1]}")
    model.define(node, replace(model.value(node), clipped=True))


def _same(model: _Model, node: _Node) -> None:
    if node.kind == "Cast" and node.integer("to", 0) not in _FLOATS:
        raise node.error(f"the type {node.integer('to', 0)} is not supported")
    model.define(node, model.value(node))


def _constant(model: _Model, node: _Node) -> None:
    if "value" in node.attributes:
        model.define(node, model.tensor_attribute(node, "value"))
    elif "value_float" in node.attributes:
        model.define(node, np.array(node.real("value_float", 0.0), np.float32))
    elif "value_int" in node.attributes:
        model.define(node, np.array(node.integer("value_int", 0), np.int64))
    elif "value_ints" in node.attributes:
        numbers = model.reader.integers(node.attributes["value_ints"], 8)
        model.define(node, np.array(numbers, np.int64))
    elif "value_floats" in node.attributes:
        model.define(node, pb.reals(node.attributes["value_floats"], 7, "<f4"))
    else:
        raise node.error("the kind of constant is not supported")


def _only_constants(model: _Model, node: _Node) -> None:
    raise node.error("only constants are supported")


# --- constants computed from constants ------------------------------------------------------------


def _fold_cast(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    kind = node.integer("to", 0)
    if kind not in _DTYPES:
        raise node.error(f"the type {kind} is not supported")
    return arrays[0].astype("<f4" if kind == _BFLOAT16 else _DTYPES[kind], copy=False)


def _fold_reshape(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    return arrays[0].reshape([int(side) for side in arrays[1]])


def _fold_transpose(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    order = model.reader.integers(node.attributes.get("perm", {}), 8)
    return arrays[0].transpose(order or None)


def _fold_concat(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    made = np.concatenate(arrays, node.integer("axis", 0))
    return _small(node, made.size, lambda: made)


def _fold_slice(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    starts, ends = model.integers(node, 1, "starts"), model.integers(node, 2, "ends")
    axes = model.integers(node, 3, "axes") or list(range(len(starts or [])))
    steps = model.integers(node, 4) or [1] * len(axes)
    index = [slice(None)] * arrays[0].ndim
    for start, end, axis, step in zip(starts or [], ends or [], axes, steps, strict=True):
        # Before the first element, in ONNX, is any end below the negative size.
        index[axis] = slice(start, None if step < 0 and end < -arrays[0].shape[axis] else end, step)
    return arrays[0][tuple(index)]


def _fold_unsqueeze(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    axes = model.integers(node, 1, "axes") or []
    if len(axes) > t.MAX_RANK:
        raise node.error("too many axes")
    return np.expand_dims(arrays[0], tuple(axes))


def _fold_squeeze(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    axes = model.integers(node, 1, "axes")
    return np.squeeze(arrays[0], None if axes is None else tuple(axes))


def _fold_gather(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    shape = arrays[0].size * max(1, arrays[1].size)
    return _small(node, shape, lambda: np.take(arrays[0], arrays[1], node.integer("axis", 0)))


def _fold_filled(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    shape = [int(side) for side in arrays[0].ravel()]
    value = np.zeros(1, np.float32)
    if "value" in node.attributes:
        value = model.tensor_attribute(node, "value").ravel()
    if len(shape) > t.MAX_RANK or any(side < 0 for side in shape) or value.size != 1:
        raise node.error("no valid shape")
    return _small(node, math.prod(shape), lambda: np.full(shape, value[0]))


def _fold_arithmetic(model: _Model, node: _Node, arrays: list[Array]) -> Array:
    functions: Mapping[str, Callable[[Array, Array], Array]] = {
        "Add": np.add,
        "Sub": np.subtract,
        "Mul": np.multiply,
        "Div": np.divide if arrays[0].dtype.kind == "f" else np.floor_divide,
    }
    size = math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    return _small(node, size, lambda: np.asarray(functions[node.kind](*arrays)))


def _small(node: _Node, size: int, compute: Callable[[], Array]) -> Array:
    if size > _MAX_FOLDED:
        raise node.error("a constant is too large to be computed")
    return compute()


_FOLDS: Final[Mapping[str, Callable[[_Model, _Node, list[Array]], Array]]] = {
    "Identity": lambda model, node, arrays: arrays[0],
    "Cast": _fold_cast,
    "Reshape": _fold_reshape,
    "Transpose": _fold_transpose,
    "Concat": _fold_concat,
    "Slice": _fold_slice,
    "Unsqueeze": _fold_unsqueeze,
    "Squeeze": _fold_squeeze,
    "Gather": _fold_gather,
    "ConstantOfShape": _fold_filled,
    "Add": _fold_arithmetic,
    "Sub": _fold_arithmetic,
    "Mul": _fold_arithmetic,
    "Div": _fold_arithmetic,
}

_OPERATORS: Final[Mapping[str, Callable[[_Model, _Node], None]]] = {
    "Add": _arithmetic,
    "Cast": _same,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _only_constants,
    "Conv": _conv,
    "ConvTranspose": _conv,
    "DepthToSpace": _depth_to_space,
    "Div": _arithmetic,
    "Gather": _only_constants,
    "GlobalAveragePool": _mean,
    "Identity": _same,
    "LeakyRelu": _activation,
    "Mul": _arithmetic,
    "PRelu": _activation,
    "Pad": _pad,
    "ReduceMean": _mean,
    "Relu": _activation,
    "Reshape": _only_constants,
    "Resize": _resize,
    "Sigmoid": _activation,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Squeeze": _only_constants,
    "Sub": _arithmetic,
    "Sum": _sum,
    "Tanh": _activation,
    "Transpose": _only_constants,
    "Unsqueeze": _only_constants,
    "Upsample": _resize,
}
