from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import networks

from waifu2x.errors import GraphError
from waifu2x.network import registry
from waifu2x.network.graph import (
    Activate,
    Activation,
    Add,
    Affine,
    Concat,
    Conv,
    ConvTranspose,
    Crop,
    GlobalMean,
    Graph,
    Input,
    Multiply,
    Node,
    Op,
    PixelShuffle,
    PixelUnshuffle,
    Resize,
    Upsample,
)
from waifu2x.network.reference import evaluate
from waifu2x.network.writers.onnx import INPUT, MAX_OPSET, MIN_OPSET, OUTPUT, to_onnx

OPSETS = range(13, 22)


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng((*shape, 3)).uniform(-1, 1, shape).astype(np.float32)


def picture(channels: int = 4, height: int = 11, width: int = 14, count: int = 1) -> np.ndarray:
    return values(count, channels, height, width)


def single(op: Op, *inputs: str) -> Graph:
    return Graph(
        [Node("only", op, inputs or ("input",))], output="only", inputs=(Input("input", 4),)
    )


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 0) -> Conv:
    return Conv(values(outputs, inputs, kernel, kernel), values(outputs), stride, padding)


def small(name: str = "input") -> Graph:
    """Return a network of scale 2 with every kind of operation."""
    nodes = (
        Node("a", conv(3, 4), (name,)),
        Node("down", conv(4, 8, kernel=2, stride=2), ("a",)),
        Node("mean", GlobalMean(), ("down",)),
        Node("gate", conv(8, 8, kernel=1), ("mean",)),
        Node("sigmoid", Activate(Activation("sigmoid")), ("gate",)),
        Node("gated", Multiply(), ("down", "sigmoid")),
        Node("up", ConvTranspose(values(8, 4, 2, 2), values(4), 2), ("gated",)),
        Node("skip", Crop(0), ("a",)),
        Node("both", Concat(), ("up", "skip")),
        Node("b", conv(8, 12), ("both",)),
        Node("prelu", Activate(Activation("prelu", slopes=values(12))), ("b",)),
        Node("shuffled", PixelShuffle(2), ("prelu",)),
        Node("cut", Crop(2), (name,)),
        Node("plain", Upsample(2), ("cut",)),
        Node("sum", Add(), ("shuffled", "plain")),
        Node("out", Affine(0.5, 0.25), ("sum",)),
    )
    return Graph(nodes, output="out", inputs=(Input(name, 3),))


def real(model: str, scale: int) -> Graph:
    network = registry.model(model).network(scale, 0)
    assert network is not None
    return registry.load(network)


def run(model: onnx.ModelProto, *arrays: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_inputs()]
    assert [one.name for one in session.get_outputs()] == [OUTPUT]
    (result,) = session.run(None, dict(zip(names, arrays, strict=True)))
    assert result.dtype == np.float32
    return result


def assert_equal(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5) -> None:
    assert got.shape == want.shape
    # Relative to the largest value, like the error of a sum.
    limit = tolerance * max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(got, want, rtol=0, atol=limit)


PRELU = Activation("prelu", slopes=values(4))

OPS: dict[str, Op] = {
    "conv": conv(4, 3),
    "conv padded": conv(4, 3, padding=1),
    "conv strided": conv(4, 3, kernel=3, stride=2, padding=1),
    "conv relu": Conv(values(4, 4, 3, 3), values(4), activation=Activation("relu")),
    "conv prelu": Conv(values(4, 4, 3, 3), values(4), activation=PRELU),
    "conv leaky": Conv(
        values(4, 4, 3, 3), values(4), activation=Activation("leaky_relu", slope=0.1)
    ),
    "transposed": ConvTranspose(values(4, 3, 4, 4), values(3), 2, 3),
    "transposed, taps missing": ConvTranspose(values(4, 3, 4, 4), values(3), 2, 1),
    "transposed, holes": ConvTranspose(values(4, 3, 1, 1), values(3), 2),
    "transposed sigmoid": ConvTranspose(
        values(4, 3, 2, 2), values(3), 2, activation=Activation("sigmoid")
    ),
    "conv silu": Conv(values(4, 4, 3, 3), values(4), activation=Activation("silu")),
    "silu": Activate(Activation("silu")),
    "tanh": Activate(Activation("tanh")),
    "affine by channel": Affine(values(4), values(4)),
    "unshuffled": PixelUnshuffle(2),
    "unshuffled by three": PixelUnshuffle(3),
    "bilinear": Resize(2, 1, "bilinear"),
    "bicubic": Resize(3, 1, "bicubic"),
    "bicubic, halved": Resize(1, 2, "bicubic"),
    "bicubic, two thirds": Resize(2, 3, "bicubic"),
    "bilinear, three quarters": Resize(3, 4, "bilinear"),
    "relu": Activate(Activation("relu")),
    "leaky_relu": Activate(Activation("leaky_relu", slope=0.3)),
    "leaky_relu, negative slope": Activate(Activation("leaky_relu", slope=-0.5)),
    "prelu": Activate(PRELU),
    "sigmoid": Activate(Activation("sigmoid")),
    "affine": Affine(-1.75, 0.3),
    "crop": Crop(2),
    "crop nothing": Crop(0),
    "shuffle": PixelShuffle(2),
    "shuffle by one": PixelShuffle(1),
    "upsample": Upsample(3),
}


@pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
def test_every_operation_on_an_input_that_is_not_square(op: Op) -> None:
    graph = single(op)
    height, width = graph.input_size(11), graph.input_size(15)
    batch = picture(height=height, width=width, count=2)
    assert_equal(run(to_onnx(graph), batch), evaluate(graph, batch))


@pytest.mark.parametrize("op", [Add(), Concat(), Multiply()], ids=["add", "concat", "multiply"])
def test_operations_of_two_inputs(op: Op) -> None:
    nodes = (Node("a", Affine(2.0), ("input",)), Node("b", op, ("a", "input")))
    graph = Graph(nodes, output="b", inputs=(Input("input", 4),))
    assert_equal(run(to_onnx(graph), picture()), evaluate(graph, picture()))


def test_gates_are_the_mean_of_each_picture_of_a_batch() -> None:
    nodes = (Node("mean", GlobalMean(), ("input",)), Node("out", Multiply(), ("input", "mean")))
    graph = Graph(nodes, output="out", inputs=(Input("input", 4),))
    batch = picture(count=3)
    assert_equal(run(to_onnx(graph), batch), evaluate(graph, batch))


@pytest.mark.parametrize("opset", OPSETS)
def test_opsets(opset: int) -> None:
    graph, batch = small(), picture(3, 12, 16)
    model = to_onnx(graph, opset=opset, pad_edges=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", opset)]
    # The oldest file format with the opset, because runtimes refuse newer formats.
    assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import)
    lost = graph.lost
    padded = np.pad(batch, ((0, 0), (0, 0), (lost, lost), (lost, lost)), mode="edge")
    assert_equal(run(model, batch), evaluate(graph, padded))


@pytest.mark.parametrize("opset", OPSETS)
def test_opsets_of_a_real_network(opset: int) -> None:
    graph = real("upconv_7", 2)
    batch = np.abs(picture(3, 9, 6))
    padded = np.pad(batch, ((0, 0), (0, 0), (7, 7), (7, 7)), mode="edge")
    assert_equal(run(to_onnx(graph, opset=opset, pad_edges=True), batch), evaluate(graph, padded))


@pytest.mark.parametrize("opset", [MIN_OPSET - 1, MAX_OPSET + 1, 0, -1])
def test_other_opsets_are_refused(opset: int) -> None:
    with pytest.raises(GraphError, match=f"opset {opset} is not supported; allowed are 13 to 21"):
        to_onnx(small(), opset=opset)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 8), (5, 3), (16, 9)])
def test_padded_inside_any_size_gives_scale_times_that_size(height: int, width: int) -> None:
    graph = real("upconv_7", 2)
    model = to_onnx(graph, pad_edges=True)
    batch = np.abs(picture(3, height, width))
    padded = np.pad(batch, ((0, 0), (0, 0), (7, 7), (7, 7)), mode="edge")
    got = run(model, batch)
    assert got.shape == (1, 3, 2 * height, 2 * width)
    assert_equal(got, evaluate(graph, padded))


def test_without_padding_the_network_consumes_its_margin() -> None:
    graph = small()
    batch = picture(3, 16, 22)
    assert_equal(run(to_onnx(graph), batch), evaluate(graph, batch))
    assert run(to_onnx(graph), batch).shape == (1, 3, 24, 36)


@pytest.mark.parametrize("pad_edges", [False, True])
def test_half_precision_keeps_float32_outside(pad_edges: bool) -> None:
    graph, batch = small(), picture(3, 16, 20)
    model = to_onnx(graph, fp16=True, pad_edges=pad_edges)
    float32, float16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    assert model.graph.input[0].type.tensor_type.elem_type == float32
    assert model.graph.output[0].type.tensor_type.elem_type == float32
    # All weights are float16; only the factors of Resize must stay float32, by its definition.
    stored = [one for one in model.graph.initializer if one.data_type != onnx.TensorProto.INT64]
    assert sum(one.data_type == float16 for one in stored) > 10
    assert [list(one.dims) for one in stored if one.data_type != float16] == [[4]]
    lost = graph.lost if pad_edges else 0
    padded = np.pad(batch, ((0, 0), (0, 0), (lost, lost), (lost, lost)), mode="edge")
    want = evaluate(graph, padded)
    assert_equal(run(model, batch), want, tolerance=2e-2)
    # No cast to float32 between the first and the last.
    casts = [one.op_type == "Cast" for one in model.graph.node]
    assert casts[0]
    assert casts[-1]
    assert sum(casts) == 2


def dimensions(value: onnx.ValueInfoProto) -> list[int | str]:
    return [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]


def test_sizes_are_dynamic_unless_given() -> None:
    model = to_onnx(small())
    assert dimensions(model.graph.input[0]) == ["batch", 3, "height", "width"]
    assert dimensions(model.graph.output[0]) == ["batch", 3, "height_out", "width_out"]
    for count, height, width in ((1, 14, 18), (3, 22, 14)):
        batch = picture(3, height, width, count)
        assert_equal(run(model, batch), evaluate(small(), batch))


@pytest.mark.parametrize(("pad_edges", "out"), [(False, [2, 3, 24, 36]), (True, [2, 3, 32, 44])])
def test_fixed_size_and_batch(pad_edges: bool, out: list[int]) -> None:
    model = to_onnx(small(), batch=2, size=(16, 22), pad_edges=pad_edges)
    assert dimensions(model.graph.input[0]) == [2, 3, 16, 22]
    assert dimensions(model.graph.output[0]) == out
    assert list(run(model, picture(3, 16, 22, 2)).shape) == out
    with pytest.raises(Exception, match="invalid dimensions"):
        run(model, picture(3, 16, 24, 2))


@pytest.mark.parametrize("size", [(16, 15), (15, 16), (2, 16)])
def test_a_fixed_size_that_the_network_cannot_take_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(GraphError, match="does not fit this network"):
        to_onnx(small(), size=size)


def test_metadata_is_stored() -> None:
    model = to_onnx(small(), metadata={"scale": "2", "license": "MIT"})
    assert {one.key: one.value for one in model.metadata_props} == {"scale": "2", "license": "MIT"}
    assert len(to_onnx(small()).metadata_props) == 0
    assert model.producer_name == "waifu2x"


def test_given_means_become_inputs() -> None:
    graph = small()
    batch = picture(3, 14, 18, 2)
    staged = graph.with_given_means()
    mean = evaluate(graph.stage(0), batch).mean((2, 3), keepdims=True).astype(np.float32)
    model = to_onnx(staged)
    assert [dimensions(one) for one in model.graph.input][1] == ["batch", 8, 1, 1]
    assert_equal(run(model, batch, mean), evaluate(graph, batch))
    assert np.abs(run(model, batch, mean + 1) - evaluate(graph, batch)).max() > 1e-3


@pytest.mark.parametrize("name", ["input", "data", "output", "Input1"])
def test_the_outside_names_are_fixed_whatever_the_graph_calls_its_picture(name: str) -> None:
    graph = small(name)
    model = to_onnx(graph)
    assert [one.name for one in model.graph.input] == [INPUT]
    batch = picture(3, 12, 14)
    assert_equal(run(model, batch), evaluate(graph, batch))


@pytest.mark.parametrize(
    "inner", [INPUT, OUTPUT, "input.padded", "input.pads", "b.weight", "0:data", "a.b"]
)
@pytest.mark.parametrize("fp16", [False, True])
def test_names_inside_may_be_any(inner: str, fp16: bool) -> None:
    """ncnn files may use any blob names, even "output" inside the network."""
    nodes = (
        Node(inner, conv(4, 4), ("data",)),
        Node("b", Conv(values(4, 4, 3, 3), values(4), activation=PRELU), (inner,)),
        Node("c", conv(4, 4), ("b",)),
    )
    graph = Graph(nodes, output="c", inputs=(Input("data", 4),))
    batch = picture()
    padded = np.pad(batch, ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
    want = evaluate(graph, padded)
    got = run(to_onnx(graph, pad_edges=True, fp16=fp16), batch)
    assert_equal(got, want, tolerance=0.1 if fp16 else 1e-5)


@pytest.mark.parametrize("build", [networks.compact, networks.span, networks.esrgan])
@pytest.mark.parametrize("size", [None, (14, 22)])
def test_networks_that_pad_get_a_replicated_border_inside_the_model(
    build: Callable[[], Graph], size: tuple[int, int] | None
) -> None:
    graph = build()
    scale, border = graph.scale, graph.border
    batch = np.random.default_rng(4).random((1, 3, 14, 22), np.float32)
    got = run(to_onnx(graph, pad_edges=True, size=size), batch)
    assert got.shape == (1, 3, 14 * scale, 22 * scale)
    padded = np.pad(batch, ((0, 0), (0, 0), (border, border), (border, border)), mode="edge")
    inside = slice(border * scale, -border * scale)
    assert_equal(got, evaluate(graph, padded)[:, :, inside, inside])
