"""Converts a graph to an ONNX model.

Operators: https://onnx.ai/onnx/operators/. The model computes ``output`` from ``input``, both
(N, C, H, W) float32, RGB in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...errors import GraphError
from .. import graph as g

#: Pad with edge values and Resize with 3 inputs need opset 11, PRelu with broadcasting 13.
MIN_OPSET: Final = 13
MAX_OPSET: Final = 21
DEFAULT_OPSET: Final = 17

INPUT: Final = "input"
OUTPUT: Final = "output"


class _Writer:
    """Collects the ONNX nodes and initializers of one graph."""

    def __init__(self, graph: g.Graph, dtype: npt.DTypeLike, opset: int) -> None:
        self.graph = graph
        self.dtype = np.dtype(dtype)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weights(self, name: str, array: npt.NDArray[Any]) -> str:
        return self.constant(name, array.astype(self.dtype))

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def activate(self, activation: g.Activation, value: str, output: str) -> None:
        if activation.kind == "relu":
            self.add("Relu", [value], output)
        elif activation.kind == "leaky_relu":
            self.add("LeakyRelu", [value], output, alpha=activation.slope)
        elif activation.kind == "sigmoid":
            self.add("Sigmoid", [value], output)
        elif activation.kind == "silu":
            gate = self.add("Sigmoid", [value], f"{output}.sigmoid")
            self.add("Mul", [value, gate], output)
        elif activation.kind == "tanh":
            self.add("Tanh", [value], output)
        else:
            assert activation.slopes is not None  # checked by Graph
            slopes = self.weights(f"{output}.slopes", activation.slopes.reshape(-1, 1, 1))
            self.add("PRelu", [value, slopes], output)

    def convolve(self, name: str, op: g.Conv | g.ConvTranspose, value: str) -> None:
        weight = self.weights(f"{name}.weight", op.weight)
        bias = self.weights(f"{name}.bias", op.bias)
        kernel = op.weight.shape[2]
        linear = name if op.activation is None else f"{name}.linear"
        self.add(
            type(op).__name__,
            [value, weight, bias],
            linear,
            kernel_shape=[kernel, kernel],
            strides=[op.stride, op.stride],
            pads=[op.padding] * 4,
        )
        if op.activation is not None:
            self.activate(op.activation, linear, name)

    def crop(self, name: str, margin: int, value: str) -> None:
        # A negative end counts from the end of the axis, so the size stays dynamic.
        starts = self.constant(f"{name}.starts", np.array([margin, margin], np.int64))
        ends = self.constant(
            f"{name}.ends",
            np.array([-margin, -margin] if margin else [np.iinfo(np.int64).max] * 2, np.int64),
        )
        axes = self.constant(f"{name}.axes", np.array([2, 3], np.int64))
        self.add("Slice", [value, starts, ends, axes], name)

    def factor(self, name: str, value: float | g.Weights) -> str:
        """Add a scalar, or an array (C,) that is broadcast over height and width."""
        array = np.asarray(value)
        return self.weights(name, array.reshape(-1, 1, 1) if array.ndim else array)

    def resize(self, name: str, value: str, scale: float, **attributes: Any) -> None:
        scales = self.constant(f"{name}.scales", np.array([1.0, 1.0, scale, scale], np.float32))
        self.add("Resize", [value, "", scales], name, **attributes)

    def unshuffle(self, name: str, value: str, channels: int, factor: int) -> None:
        # SpaceToDepth has another order of channels; a strided convolution copies exactly.
        taps = np.eye(factor * factor).reshape(-1, 1, factor, factor)
        weight = self.weights(f"{name}.weight", np.tile(taps, (channels, 1, 1, 1)))
        side = [factor, factor]
        self.add("Conv", [value, weight], name, kernel_shape=side, strides=side, group=channels)

    def write(self, names: dict[str, str], output: str) -> None:
        """Add the graph's nodes; ``names`` maps its inputs to their names in the model."""
        if self.graph.output in names:  # the output is an input
            self.add("Identity", [names[self.graph.output]], output)
        names.setdefault(self.graph.output, output)
        for index, node in enumerate(self.graph.nodes):
            # Numbered, so that names of the graph cannot equal names added here.
            name = names.setdefault(node.name, f"{index}:{node.name}")
            inputs = [names[value] for value in node.inputs]
            match node.op:
                case g.Conv() | g.ConvTranspose():
                    self.convolve(name, node.op, inputs[0])
                case g.Activate():
                    self.activate(node.op.activation, inputs[0], name)
                case g.Add():
                    self.add("Add", inputs, name)
                case g.Multiply():
                    self.add("Mul", inputs, name)
                case g.Affine():
                    scale = self.factor(f"{name}.scale", node.op.scale)
                    offset = self.factor(f"{name}.offset", node.op.offset)
                    scaled = self.add("Mul", [inputs[0], scale], f"{name}.scaled")
                    self.add("Add", [scaled, offset], name)
                case g.Concat():
                    self.add("Concat", inputs, name, axis=1)
                case g.Crop():
                    self.crop(name, node.op.margin, inputs[0])
                case g.GlobalMean():
                    self.add("GlobalAveragePool", inputs, name)
                case g.PixelShuffle():
                    self.add("DepthToSpace", inputs, name, blocksize=node.op.factor, mode="CRD")
                case g.PixelUnshuffle():
                    channels = self.graph.values[node.inputs[0]].channels
                    self.unshuffle(name, inputs[0], channels, node.op.factor)
                case g.ExternalModel():
                    raise GraphError(
                        f"the network runs on engine {node.op.engine} alone, and has no graph"
                    )
                case g.Upsample():
                    self.resize(
                        name,
                        inputs[0],
                        node.op.factor,
                        mode="nearest",
                        coordinate_transformation_mode="asymmetric",
                        nearest_mode="floor",
                    )
                case g.Resize():
                    self.resize(
                        name,
                        inputs[0],
                        node.op.rounded_ratio,
                        mode="linear" if node.op.kind == "bilinear" else "cubic",
                        coordinate_transformation_mode="half_pixel",
                        cubic_coeff_a=-0.75,
                    )


def to_onnx(
    graph: g.Graph,
    *,
    opset: int = DEFAULT_OPSET,
    pad_edges: bool = False,
    fp16: bool = False,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Convert ``graph`` to an ONNX model and check it by `onnx.checker`.

    graph: the network; its given means become the inputs ``mean_0``, ``mean_1`` and so on.
    opset: 13 to 21.
    pad_edges: replicate ``graph.border`` pixels of the picture's edge inside the model, and crop
        the result; the output is then exactly ``scale`` times as large as the input.
    fp16: weights and arithmetic in float16; picture and output stay float32.
    batch: fixed batch size; None for a dynamic one.
    size: fixed (height, width); None for a dynamic size.
    metadata: string pairs stored in the model.

    Raises `GraphError` for an opset out of range or a size that the network does not accept.
    """
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise GraphError(f"opset {opset} is not supported; allowed are {MIN_OPSET} to {MAX_OPSET}")
    padding = graph.border if pad_edges else 0
    surplus = (padding - graph.lost) * graph.scale if pad_edges else 0
    shape_out: list[str | int] = ["height_out", "width_out"]
    if size is not None:
        shape_out = [graph.output_size(side + 2 * padding) - 2 * surplus for side in size]
    writer = _Writer(graph, np.float16 if fp16 else np.float32, opset)
    picture = graph.inputs[0]
    value = INPUT
    if fp16:
        value = writer.add("Cast", [value], "input.fp16", to=TensorProto.FLOAT16)
    if padding:
        pads = np.array([0, 0, padding, padding] * 2, np.int64)
        value = writer.add(
            "Pad", [value, writer.constant("input.pads", pads)], "input.padded", mode="edge"
        )
    end = "output.fp16" if fp16 else OUTPUT
    means = {given.name: f"mean_{index}" for index, given in enumerate(graph.inputs[1:])}
    if surplus:
        writer.write({picture.name: value, **means}, f"{end}.bordered")
        writer.crop(end, surplus, f"{end}.bordered")
    else:
        writer.write({picture.name: value, **means}, end)
    if fp16:
        writer.add("Cast", [end], OUTPUT, to=TensorProto.FLOAT)
    height, width = size if size is not None else ("height", "width")
    count: str | int = batch if batch is not None else "batch"
    inputs = [
        helper.make_tensor_value_info(
            INPUT, TensorProto.FLOAT, [count, picture.channels, height, width]
        )
    ]
    mean_type = TensorProto.FLOAT16 if fp16 else TensorProto.FLOAT
    inputs += [
        helper.make_tensor_value_info(means[given.name], mean_type, [count, given.channels, 1, 1])
        for given in graph.inputs[1:]
    ]
    output = helper.make_tensor_value_info(
        OUTPUT, TensorProto.FLOAT, [count, graph.out.channels, *shape_out]
    )
    model = helper.make_model(
        helper.make_graph(writer.nodes, "waifu2x", inputs, [output], writer.initializers),
        producer_name="waifu2x",
        opset_imports=[helper.make_opsetid("", opset)],
    )
    # The oldest file format that the opset allows, for older runtimes.
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model
