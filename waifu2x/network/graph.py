"""A network as data: a directed graph of named operations with their weights.

All engines run the same graph. Scale, margin, alignment, receptive field, cost and working memory
of a network are derived from it here, never entered by hand. The geometry is exact (integers and
fractions): a graph whose branches are shifted against each other by even half a pixel raises an
error when it is built, instead of ghosting in the results.

Coordinates are continuous and measured in input pixels from the left (or top) edge of the input:
sample i of a value with ``scale`` a and ``origin`` t has its center at t + (i + 0.5) / a.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .._record import record
from ..errors import GraphError

Weights: TypeAlias = npt.NDArray[np.float32]

ActivationKind: TypeAlias = Literal["relu", "leaky_relu", "prelu", "sigmoid", "silu", "tanh"]
ResizeKind: TypeAlias = Literal["bilinear", "bicubic"]

#: Context in input pixels that networks with padding get, at most; beyond, tiles are feathered.
MAX_CONTEXT: Final = 32


@record(eq=False)
class Activation:
    """A pointwise function, with ``slope`` for leaky_relu or ``slopes`` (C,) for prelu."""

    kind: ActivationKind
    slope: float = 0.0
    slopes: Weights | None = None

    @property
    def smooth(self) -> bool:
        """Whether the function is curved: a sigmoid, SiLU or tanh."""
        return self.kind in ("sigmoid", "silu", "tanh")


def negative_slopes(activation: Activation | None, channels: int) -> Weights:
    """Return the slope of each channel for negative values, (channels,); not if smooth."""
    match activation:
        case None:
            slope = 1.0
        case Activation(kind="prelu", slopes=slopes):
            assert slopes is not None  # checked by Graph
            return np.ascontiguousarray(slopes, np.float32)
        case Activation(kind="relu"):
            slope = 0.0
        case Activation():
            slope = activation.slope
    return np.full(channels, slope, np.float32)


@record(eq=False)
class Conv:
    """2-D cross-correlation; weight (out, in, k, k), bias (out,), zero padding on every side."""

    weight: Weights
    bias: Weights
    stride: int = 1
    padding: int = 0
    activation: Activation | None = None


@record(eq=False)
class ConvTranspose:
    """Transposed 2-D convolution; weight (in, out, k, k), ``padding`` cropped on every side."""

    weight: Weights
    bias: Weights
    stride: int = 1
    padding: int = 0
    activation: Activation | None = None


@record(eq=False)
class Activate:
    """An activation as a node of its own."""

    activation: Activation


@record(eq=False)
class Add:
    """Sum of two values of the same shape and position."""


@record(eq=False)
class Multiply:
    """Product of a value with a (N, C, 1, 1) gate, or with a value of its shape and position."""


@record(eq=False)
class Affine:
    """x * scale + offset with scalars or arrays (C,)."""

    scale: float | Weights = 1.0
    offset: float | Weights = 0.0


@record(eq=False)
class Concat:
    """Concatenation along the channels."""


@record(eq=False)
class Crop:
    """Remove ``margin`` samples on every side."""

    margin: int


@record(eq=False)
class GlobalMean:
    """Mean over height and width: (N, C, H, W) to (N, C, 1, 1)."""


@record(eq=False)
class PixelShuffle:
    """(N, C * f * f, H, W) to (N, C, H * f, W * f), channel order as torch.nn.PixelShuffle."""

    factor: int


@record(eq=False)
class PixelUnshuffle:
    """(N, C, H * f, W * f) to (N, C * f * f, H, W), channel order as torch.nn.PixelUnshuffle."""

    factor: int


@record(eq=False)
class Upsample:
    """Nearest-neighbor enlargement by an integer factor."""

    factor: int


@record(eq=False)
class Resize:
    """Resampling by ``numerator / denominator`` without antialiasing.

    Pixel centers are at half coordinates, and the edge is replicated. Bicubic is the convolution of
    R. Keys (1981) with a = -0.75, as in torch and ncnn.
    """

    numerator: int
    denominator: int
    kind: ResizeKind

    @property
    def rounded_ratio(self) -> float:
        """The ratio rounded up to float32; runtimes multiply a size by it and round down."""
        ratio = self.numerator / self.denominator
        rounded = np.float32(ratio)
        if rounded < ratio:
            rounded = np.nextafter(rounded, np.float32(np.inf))
        return float(rounded)

    @property
    def support(self) -> int:
        """Distance of the farthest sample that a result depends on, in samples of the input."""
        return 1 if self.kind == "bilinear" else 2


@record(eq=False)
class ExternalModel:
    """A network that only one runtime executes, with declared or measured geometry.

    engine: the engine of the runtime. architecture: its name, or empty.
    model: for "onnx" an ONNX file, as bytes; for "torch" a `torch.nn.Module` in evaluation mode.
    channels: of the result. parameters: number of weights.
    scale: samples of the result per sample. lost: samples consumed on each side.
    multiple: input sizes, and shifts that the result follows, are multiples of this.
    reach: farthest sample that a result depends on; None if it is farther than measured.
    bytes_per_pixel: estimate of the memory of a run per sample.
    """

    engine: Literal["onnx", "torch"]
    architecture: str
    model: Any
    channels: int
    parameters: int
    scale: int
    lost: int
    multiple: int
    reach: int | None
    bytes_per_pixel: int


Op: TypeAlias = (
    Conv
    | ConvTranspose
    | Activate
    | Add
    | Multiply
    | Affine
    | Concat
    | Crop
    | GlobalMean
    | PixelShuffle
    | PixelUnshuffle
    | Upsample
    | Resize
    | ExternalModel
)


@record(eq=False)
class Node:
    """An operation; ``name`` is the name of its result, ``inputs`` are the values that it reads."""

    name: str
    op: Op
    inputs: tuple[str, ...]


@record
class Input:
    """An input of the network: the picture (N, C, H, W) or a mean (N, C, 1, 1)."""

    name: str
    channels: int
    pooled: bool = False


@record
class Value:
    """Shape and position of a value along one axis; both axes are alike.

    pooled: (N, C, 1, 1); the fields below are unused then.
    scale: samples per input pixel.
    origin: left edge of sample 0, in input pixels.
    lost: an input of n pixels gives ``scale * n - lost`` samples.
    reach: largest distance from a sample's center to an input that it depends on, in input pixels,
        paths through global means left out.
    """

    channels: int
    pooled: bool = False
    scale: Fraction = Fraction(1)
    origin: Fraction = Fraction(0)
    lost: Fraction = Fraction(0)
    reach: Fraction = Fraction(0)


@record
class Shape:
    """The geometry of a graph; see the properties of `Graph`."""

    values: Mapping[str, Value]
    modulus: int
    residue: int
    pads: bool


class Graph:
    """A network whose first input is a picture (N, C, H, W), float32, [0, 1].

    Nodes must be in topological order; nodes that the output does not depend on are dropped. Raises
    `GraphError` for unknown or repeated names, channel counts that differ, strides that divide at
    no input size, and branches that are not aligned.
    """

    def __init__(
        self, nodes: Iterable[Node], *, output: str, inputs: Sequence[Input] = (Input("input", 3),)
    ) -> None:
        self.inputs: tuple[Input, ...] = tuple(inputs)
        if not self.inputs or self.inputs[0].pooled:
            raise GraphError("the first input of a graph must be the picture, (N, C, H, W)")
        self.output = output
        self.nodes: tuple[Node, ...] = _needed(tuple(nodes), output)
        self._shape = _infer(self.inputs, self.nodes, output)

    # --- geometry -----------------------------------------------------------------------------

    @property
    def values(self) -> Mapping[str, Value]:
        """Shape and position of every value by name."""
        return self._shape.values

    @property
    def out(self) -> Value:
        """Shape and position of the output."""
        return self._shape.values[self.output]

    @property
    def channels(self) -> tuple[int, int]:
        """Number of input and output channels."""
        return self.inputs[0].channels, self.out.channels

    @property
    def scale(self) -> int:
        """Output pixels per input pixel.

        Raises `GraphError` if the scale is not a whole number.
        """
        if self.out.scale.denominator != 1:
            raise GraphError(f"the output has {self.out.scale} samples per input pixel; "
                             "a network must enlarge by a whole number")  # fmt: skip
        return int(self.out.scale)

    @property
    def lost(self) -> int:
        """Input pixels that the network consumes on each side; the output is centered.

        Raises `GraphError` if the output does not start at a whole pixel.
        """
        origin = self.out.origin
        if origin.denominator != 1:
            raise GraphError(
                f"the output starts {origin} input pixels in; it must be a whole number of pixels"
            )
        return int(origin)

    @property
    def pads(self) -> bool:
        """Whether a layer pads, so that the edge of a tile differs from the edge of the picture."""
        return self._shape.pads

    @property
    def reach(self) -> int:
        """Input pixels on each side that an output pixel depends on beyond its aligned block.

        Global means are left out, through which every pixel depends on every other.
        """
        return math.ceil(self.out.reach)

    @property
    def margin(self) -> int:
        """Context pixels on each side with which a tile equals the whole picture."""
        return max(self.lost, self.reach) if self.pads else self.lost

    @property
    def border(self) -> int:
        """Pixels by which the edge of the whole picture is replicated on each side.

        The context that the network consumes; for a network that pads, also its reach up to
        `MAX_CONTEXT`, so that its padding does not show in the result.
        """
        context = min(self.margin - self.lost, MAX_CONTEXT)
        return self.lost + -(-context // self.alignment) * self.alignment

    @property
    def alignment(self) -> int:
        """Tiles start at, and inputs grow by, multiples of this many input pixels."""
        return self._shape.modulus

    def input_size(self, minimum: int) -> int:
        """Return the smallest valid input side of at least ``minimum`` pixels."""
        shape = self._shape
        return minimum + (shape.residue - minimum) % shape.modulus

    def output_size(self, size: int) -> int:
        """Return the output side for an input side of ``size`` pixels.

        Raises `GraphError` if the network does not accept the size.
        """
        shape = self._shape
        if size % shape.modulus != shape.residue or any(
            not value.pooled and value.scale * size - value.lost < 1
            for value in shape.values.values()
        ):
            least = self.input_size(_least_size(shape.values.values()))
            raise GraphError(
                f"an input side of {size} px does not fit this network; allowed are "
                f"{least}, {least + shape.modulus}, {least + 2 * shape.modulus} and so on"
            )
        return int(self.out.scale * size - self.out.lost)

    @cached_property
    def last_use(self) -> Mapping[str, int]:
        """The index of the last node that reads each value; ``len(nodes)`` for the output."""
        uses = {name: index for index, node in enumerate(self.nodes) for name in node.inputs}
        return {**uses, self.output: len(self.nodes)}

    # --- cost ---------------------------------------------------------------------------------

    @property
    def external(self) -> ExternalModel | None:
        """The part that only one runtime executes; None if all operations are known."""
        ops = (node.op for node in self.nodes)
        return next((op for op in ops if isinstance(op, ExternalModel)), None)

    @property
    def only_engine(self) -> str | None:
        """The only engine that runs the network; None if it consists of known operations."""
        return None if self.external is None else self.external.engine

    @cached_property
    def parameters(self) -> int:
        """Number of weights."""
        total = 0
        for node in self.nodes:
            activation = getattr(node.op, "activation", None)
            if isinstance(node.op, Conv | ConvTranspose):
                total += node.op.weight.size + node.op.bias.size
            if isinstance(node.op, ExternalModel):
                total += node.op.parameters
            if activation is not None and activation.slopes is not None:
                total += activation.slopes.size
            if isinstance(node.op, Affine):
                constants = (node.op.scale, node.op.offset)
                total += sum(array.size for array in constants if isinstance(array, np.ndarray))
        return total

    @cached_property
    def macs_per_pixel(self) -> float:
        """Multiply-accumulate operations per input pixel, without edge effects."""
        total = Fraction(0)
        for node in self.nodes:
            op = node.op
            if isinstance(op, Conv) and not self.values[node.name].pooled:
                total += op.weight.size * self.values[node.name].scale ** 2
            elif isinstance(op, ConvTranspose):
                total += op.weight.size * self.values[node.inputs[0]].scale ** 2
            elif isinstance(op, ExternalModel):  # as if every weight were used at every sample
                total += op.parameters
        return float(total)

    @cached_property
    def bytes_per_pixel(self) -> float:
        """Peak bytes per input pixel in float32, with each value freed after its last use."""
        live: dict[str, Fraction] = {self.inputs[0].name: _bytes(self.values[self.inputs[0].name])}
        peak = Fraction(0)
        for index, node in enumerate(self.nodes):
            live[node.name] = _bytes(self.values[node.name])
            inside = node.op.bytes_per_pixel if isinstance(node.op, ExternalModel) else 0
            peak = max(peak, sum(live.values(), Fraction(inside)))
            live = {
                name: size for name, size in live.items() if self.last_use.get(name, -1) > index
            }
        return float(peak)

    # --- stages: global means given from outside ------------------------------------------------

    @cached_property
    def means(self) -> tuple[Node, ...]:
        """The global means, in topological order."""
        return tuple(node for node in self.nodes if isinstance(node.op, GlobalMean))

    def with_given_means(self) -> Graph:
        """Return the graph with global means as inputs, (N, C, 1, 1), in order of `means`."""
        return self._stage(self.output, self.means)

    def stage(self, index: int) -> Graph:
        """Return the graph up to the input of global mean ``index``; earlier means are inputs.

        The average of its output over the whole picture, each position counted once, is the mean
        for later stages and `with_given_means`.
        """
        return self._stage(self.means[index].inputs[0], self.means[:index])

    def _stage(self, output: str, given: Sequence[Node]) -> Graph:
        names = {node.name for node in given}
        inputs = [Input(node.name, self.values[node.name].channels, pooled=True) for node in given]
        nodes = [node for node in self.nodes if node.name not in names]
        needed = {name for node in _needed(tuple(nodes), output) for name in node.inputs}
        return Graph(
            nodes,
            output=output,
            inputs=(*self.inputs, *(value for value in inputs if value.name in needed)),
        )


#: Least values of the attributes of operations.
_LEAST: Mapping[str, int] = {
    "stride": 1,
    "factor": 1,
    "numerator": 1,
    "denominator": 1,
    "multiple": 1,
    "lost": 0,
    "padding": 0,
    "margin": 0,
}

#: Far beyond any network; larger ones in a damaged file would take long to compute with.
_MAX_CHANNELS: Final = 1 << 16
_MAX_SCALE: Final = 1 << 12

#: Stands for a reach that is not known: farther than any context.
MAX_REACH: Final = 1 << 12

#: Number of inputs of operations, if other than one; 0 stands for any number.
_ARITY: Mapping[type, int] = {Add: 2, Multiply: 2, Concat: 0}


def _needed(nodes: tuple[Node, ...], output: str) -> tuple[Node, ...]:
    """Return the nodes that ``output`` depends on, in the same order."""
    wanted = {output}
    kept: list[Node] = []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))


def _bytes(value: Value) -> Fraction:
    return Fraction(0) if value.pooled else 4 * value.channels * value.scale**2


def _least_size(values: Iterable[Value]) -> int:
    """Return the least input side that leaves every value a sample, regardless of alignment."""
    return max(math.ceil((1 + v.lost) / v.scale) for v in values if not v.pooled)


def _infer(inputs: Sequence[Input], nodes: Sequence[Node], output: str) -> Shape:
    """Infer shape and position of every value."""
    values = {i.name: Value(i.channels, i.pooled) for i in inputs}
    if len(values) != len(inputs):
        raise GraphError("two inputs of the graph have the same name")
    modulus, residue, pads = 1, 0, False
    for node in nodes:
        if node.name in values:
            raise GraphError(f"two values are named {node.name!r}")
        missing = [name for name in node.inputs if name not in values]
        if missing:
            raise GraphError(f"{node.name!r} reads {missing[0]!r}, which nothing before it makes")
        arguments = [values[name] for name in node.inputs]
        stride, offset = _stride(node.op)
        if stride > 1 and arguments and not arguments[0].pooled:
            modulus, residue = _divisible(node.name, stride, offset, arguments[0], modulus, residue)
        value, pads_here = _apply(node, arguments)
        if value.channels > _MAX_CHANNELS or not 1 / _MAX_SCALE <= value.scale <= _MAX_SCALE:
            raise GraphError(
                f"{node.name!r} has more than {_MAX_CHANNELS} channels, or samples beyond "
                f"{_MAX_SCALE} per input pixel or input pixels per sample"
            )
        # Tiles may only start at a sample boundary of every value.
        if modulus % value.scale.denominator:
            raise GraphError(f"{node.name!r} has {value.scale} samples per aligned input pixel")
        values[node.name] = value
        pads |= pads_here
    if output not in values:
        raise GraphError(f"nothing makes the output {output!r}")
    return Shape(values, modulus, residue, pads)


def _stride(op: Op) -> tuple[int, int]:
    """Return (stride, offset): the size of the input plus the offset must be a multiple."""
    match op:
        case Conv():
            return op.stride, 2 * op.padding - op.weight.shape[-1]
        case PixelUnshuffle():
            return op.factor, 0
        case ExternalModel():
            return op.multiple, 0
        case Resize() if min(op.numerator, op.denominator) > 0:
            return op.denominator // math.gcd(op.numerator, op.denominator), 0
        case _:
            return 1, 0


def _divisible(
    name: str, stride: int, offset: int, value: Value, modulus: int, residue: int
) -> tuple[int, int]:
    """Restrict the input sizes (residue modulo modulus) to multiples of a layer's stride."""
    # For an input of residue + modulus * j the stride has to divide rest + growth * j.
    growth = value.scale * modulus
    rest = value.scale * residue - value.lost + offset
    shared = math.gcd(int(growth), stride)
    if growth.denominator != 1 or rest.denominator != 1 or rest % shared:
        raise GraphError(f"no input size makes the stride of {name!r} divide evenly")
    period = stride // shared
    first = -int(rest) // shared * pow(int(growth) // shared, -1, period) % period
    return modulus * period, residue + modulus * first


def _apply(node: Node, arguments: Sequence[Value]) -> tuple[Value, bool]:
    """Return the value of a node, and whether the node pads."""
    op = node.op
    expected = _ARITY.get(type(op), 1)
    if len(arguments) != (expected or max(1, len(arguments))):
        raise GraphError(
            f"{node.name!r} ({type(op).__name__}) reads {len(arguments)} values; it takes "
            f"{expected or 'at least 1'}"
        )
    for what, least in _LEAST.items():
        if getattr(op, what, least) < least:
            raise GraphError(
                f"{node.name!r} has {what} {getattr(op, what)}; it must be at least {least}"
            )
    first = arguments[0]
    if first.pooled and isinstance(
        op, Crop | PixelShuffle | PixelUnshuffle | Upsample | Resize | ExternalModel
    ):
        raise GraphError(f"{node.name!r} ({type(op).__name__}) reads a value that is pooled")
    match op:
        case Conv() | ConvTranspose():
            return _convolve(node, op, first)
        case Activate():
            _check_activation(node, op.activation, first.channels)
            return first, False
        case Affine():
            for array in (op.scale, op.offset):
                if isinstance(array, np.ndarray) and array.shape != (first.channels,):
                    raise GraphError(
                        f"{node.name!r} has constants {array.shape} for {first.channels} channels"
                    )
            return first, False
        case Add():
            _same_place(node, arguments, same_channels=True)
            return replace(first, reach=max(a.reach for a in arguments)), False
        case Concat():
            _same_place(node, arguments, same_channels=False)
            channels = sum(a.channels for a in arguments)
            return replace(first, channels=channels, reach=max(a.reach for a in arguments)), False
        case Multiply():
            if first.pooled:
                raise GraphError(
                    f"{node.name!r} must multiply a value by a pooled gate or another value"
                )
            if not arguments[1].pooled:
                _same_place(node, arguments, same_channels=True)
                return replace(first, reach=max(a.reach for a in arguments)), False
            if first.channels != arguments[1].channels:
                raise GraphError(
                    f"{node.name!r} gates {first.channels} channels with {arguments[1].channels}"
                )
            return first, False
        case Crop():
            cut = op.margin / first.scale
            return replace(first, origin=first.origin + cut, lost=first.lost + 2 * op.margin), False
        case GlobalMean():
            if first.pooled:
                raise GraphError(f"{node.name!r} averages a value that is pooled already")
            return Value(first.channels, pooled=True), False
        case PixelShuffle() | Upsample():
            factor = op.factor
            channels = first.channels
            if isinstance(op, PixelShuffle):
                if channels % (factor * factor):
                    raise GraphError(f"{node.name!r} shuffles {channels} channels by {factor}")
                channels //= factor * factor
            return replace(
                first, channels=channels, scale=first.scale * factor, lost=first.lost * factor
            ), False
        case ExternalModel():
            reach = MAX_REACH if op.reach is None else op.reach
            return Value(
                op.channels,
                False,
                first.scale * op.scale,
                first.origin + op.lost / first.scale,
                (first.lost + 2 * op.lost) * op.scale,
                first.reach + reach / first.scale,
            ), True
        case PixelUnshuffle():
            return replace(
                first,
                channels=first.channels * op.factor**2,
                scale=first.scale / op.factor,
                lost=first.lost / op.factor,
            ), False
        case Resize():
            if op.kind not in ("bilinear", "bicubic"):
                raise GraphError(f"{node.name!r} resizes by {op.kind!r}")
            ratio = Fraction(op.numerator, op.denominator)
            return replace(
                first,
                scale=first.scale * ratio,
                lost=first.lost * ratio,
                reach=first.reach + op.support / first.scale,
            ), True


def _convolve(node: Node, op: Conv | ConvTranspose, value: Value) -> tuple[Value, bool]:
    weight = op.weight
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise GraphError(f"{node.name!r} has a weight of shape {weight.shape}; kernels are square")
    transposed = isinstance(op, ConvTranspose)
    channels_in, channels_out = weight.shape[:2] if transposed else weight.shape[1::-1]
    kernel, stride, padding = weight.shape[2], op.stride, op.padding
    if channels_in != value.channels:
        raise GraphError(
            f"{node.name!r} takes {channels_in} channels and is given {value.channels}"
        )
    if op.bias.shape != (channels_out,):
        raise GraphError(f"{node.name!r} has {channels_out} outputs and a bias {op.bias.shape}")
    if op.activation is not None:
        _check_activation(node, op.activation, channels_out)
    if value.pooled:
        if transposed or kernel != 1 or stride != 1 or padding:
            raise GraphError(f"{node.name!r} must be a plain 1x1 convolution on a pooled value")
        return replace(value, channels=channels_out), False
    half = Fraction(kernel - 1, 2)
    if transposed:
        scale = value.scale * stride
        origin = value.origin + (padding - half + Fraction(stride - 1, 2)) / scale
        lost = value.lost * stride + stride - kernel + 2 * padding
        reach = value.reach + (half + Fraction(stride - 1, 2)) / scale
        # Outputs that miss taps are sums with zeros beyond the edge, which is padding.
        pads = padding < kernel - stride
    else:
        scale = value.scale / stride
        origin = value.origin + (half - padding - Fraction(stride - 1, 2)) / value.scale
        lost = (value.lost + kernel - stride - 2 * padding) / stride
        reach = value.reach + half / value.scale
        pads = padding > 0
    return Value(channels_out, False, scale, origin, lost, reach), pads


def _check_activation(node: Node, activation: Activation, channels: int) -> None:
    if activation.kind == "prelu" and (
        activation.slopes is None or activation.slopes.shape != (channels,)
    ):
        raise GraphError(f"{node.name!r} needs {channels} PReLU slopes")


def _same_place(node: Node, arguments: Sequence[Value], *, same_channels: bool) -> None:
    """Raise `GraphError` unless the values have equal size and are aligned."""
    first = arguments[0]
    for other in arguments[1:]:
        if other != replace(first, channels=other.channels, reach=other.reach):
            raise GraphError(
                f"{node.name!r} joins values that do not lie on each other: "
                f"scale {first.scale} from {first.origin} px short of {first.lost}, and "
                f"scale {other.scale} from {other.origin} px short of {other.lost}"
            )
        if same_channels and first.channels != other.channels:
            verb = "adds" if isinstance(node.op, Add) else "multiplies"
            raise GraphError(f"{node.name!r} {verb} {first.channels} and {other.channels} channels")
