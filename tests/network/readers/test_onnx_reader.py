"""Compares graphs read from ONNX files with onnxruntime, on files of torch and by hand."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import torch_networks as networks
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from waifu2x.errors import GraphError
from waifu2x.network import graph as g
from waifu2x.network.readers import _protobuf
from waifu2x.network.readers.onnx import parse_onnx
from waifu2x.network.reference import evaluate
from waifu2x.network.writers.onnx import to_onnx


def in_onnxruntime(data: bytes, picture: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    dtype = np.float16 if "16" in given.type else np.float32
    (made,) = session.run(None, {given.name: picture.astype(dtype)})
    return np.asarray(made, np.float64)


def check(data: bytes, size: int = 20, atol: float = 2e-5) -> g.Graph:
    graph = parse_onnx(data)
    size = graph.input_size(max(size, 2 * int(graph.out.origin) + 6))
    picture = np.random.default_rng(0).random((1, graph.channels[0], size, size))
    expected = in_onnxruntime(data, picture).clip(0, 1)
    made = evaluate(graph, picture.astype(np.float32)).clip(0, 1)
    np.testing.assert_allclose(made, expected, atol=atol)
    return graph


def exported(module: nn.Module, channels: int = 3, size: int = 48, opset: int = 17) -> bytes:
    """Return the model that torch exports, with dynamic height and width."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.rand(1, channels, size, size),),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}},
        )
    return file.getvalue()


class Convs(nn.Module):
    """Calls a function between two convolutions."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], back: int = 4) -> None:
        super().__init__()
        self.function = function
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(back, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.function(self.first(x)))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(4)
    return make()


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize(
    ("make", "scale"),
    [
        (lambda: networks.RRDBNet(4, 1, 2, 0), 1),
        (lambda: networks.Compact(4, 2, 2), 2),
        (lambda: networks.Compact(4, 2, 1), 1),
        (lambda: networks.Stack(4, 5, 6), 1),
        (lambda: networks.Stack(4, 5, 6, transposed=True), 2),
        (lambda: networks.CUNet(1), 1),
        (lambda: networks.CUNet(2), 2),
        (lambda: networks.CUNet(3, pro=True), 3),
    ],
)
def test_networks_that_torch_exports(make: Any, scale: int, opset: int) -> None:
    module = seeded(make)
    # Exported as Resize, not as the gather of repeat_interleave.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "repeat_interleave", _nearest)
        data = exported(module, size=80, opset=opset)
    assert check(data).scale == scale


def _nearest(x: torch.Tensor, factor: int, axis: int) -> torch.Tensor:
    """Enlarge along both axes at once, at the call for the second."""
    return F.interpolate(x, scale_factor=factor, mode="nearest") if axis == 3 else x


@pytest.mark.parametrize("doublings", [1, 2])
def test_esrgan_that_torch_exports(doublings: int) -> None:
    module = seeded(lambda: networks.RRDBNet(4, 1, 2, doublings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "repeat_interleave", _nearest)
        data = exported(module)
    assert check(data).scale == 2**doublings


def test_span_that_torch_exports() -> None:
    module = seeded(lambda: networks.Span(4, 2))
    module.fold()
    assert check(exported(module)).scale == 2


@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        lambda x: F.leaky_relu(x, 0.3),
        torch.sigmoid,
        torch.tanh,
        F.silu,
        lambda x: x * 2 - 1,
        lambda x: 1 - x,
        lambda x: x / 3 + torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1, 1),
        lambda x: x * torch.sigmoid(x),
        lambda x: x - torch.relu(x),
        lambda x: x * x.mean((2, 3), keepdim=True),
        lambda x: x.mean((2, 3), keepdim=True) * x,
        lambda x: x * torch.sigmoid(F.adaptive_avg_pool2d(x, 1)),
        lambda x: F.pad(x, (-2, -2, -2, -2)),
        lambda x: x[:, :, 2:-2, 2:-2],
        lambda x: F.pad(x, (1, 1, 1, 1)),
        lambda x: F.interpolate(x, scale_factor=3, mode="nearest"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        lambda x: (x + 1) + (x - 1)[:, :, 0:] + x,
    ],
)
def test_operators_that_torch_exports(function: Any) -> None:
    check(exported(seeded(lambda: Convs(function))))


def test_joins_and_shuffles_that_torch_exports() -> None:
    check(exported(seeded(lambda: Convs(lambda x: torch.cat([x, x * 2, F.relu(x)], 1), 12))))
    check(exported(seeded(lambda: Convs(lambda x: F.pixel_shuffle(x, 2), 1))))
    check(exported(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4)))))
    check(exported(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU()))))


def test_a_clip_at_the_end_is_dropped_and_elsewhere_refused() -> None:
    check(exported(seeded(lambda: networks_clip(True))))
    with pytest.raises(GraphError, match="clipped value; only the output"):
        parse_onnx(exported(seeded(lambda: networks_clip(False))))


def networks_clip(last: bool) -> nn.Module:
    class Clip(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.clamp(x, 0, 1)

    convs: list[nn.Module] = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 3)]
    return nn.Sequential(*([*convs, Clip()] if last else [convs[0], Clip(), convs[1]]))


# --- models of this package ---------------------------------------------------------------------

RNG = np.random.default_rng(9)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.3, shape).astype(np.float32)


def conv(outputs: int, inputs: int, kernel: int = 3, **options: Any) -> g.Conv:
    return g.Conv(random(outputs, inputs, kernel, kernel), random(outputs), **options)


def chain(*ops: g.Op) -> g.Graph:
    names = ["input", *(f"value{index}" for index in range(len(ops)))]
    nodes = [g.Node(names[i + 1], op, (names[i],)) for i, op in enumerate(ops)]
    return g.Graph(nodes, output=names[-1])


GRAPHS = {
    "stride": lambda: chain(conv(4, 3), conv(4, 4, 2, stride=2), conv(4, 4, padding=1)),
    "transposed": lambda: chain(g.ConvTranspose(random(3, 4, 5, 5), random(4), 3, 2)),
    "activations": lambda: chain(
        *(
            g.Activate(g.Activation(kind, slope=0.3, slopes=random(3) if kind == "prelu" else None))
            for kind in ("relu", "leaky_relu", "prelu", "sigmoid", "silu", "tanh")
        )
    ),
    "affine": lambda: chain(g.Affine(0.5, -1.0), g.Affine(random(3), random(3))),
    "shuffles": lambda: chain(g.PixelUnshuffle(2), conv(12, 12), g.PixelShuffle(2), g.Crop(2)),
    "resizes": lambda: chain(
        g.Upsample(3),
        g.Resize(2, 3, "bilinear"),
        g.Resize(3, 2, "bicubic"),
        g.Resize(2, 3, "bicubic"),
    ),
}


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_model_of_this_package_is_read_as_the_same_network(name: str, opset: int) -> None:
    graph = GRAPHS[name]()
    data = to_onnx(graph, opset=opset).SerializeToString()
    read = check(data, size=24)
    assert read.out == graph.out
    for attribute in ("pads", "alignment", "channels"):
        assert getattr(read, attribute) == getattr(graph, attribute)
    picture = np.random.default_rng(0).random((1, 3, 24, 24))
    np.testing.assert_allclose(evaluate(read, picture), evaluate(graph, picture), atol=1e-6)


#: Those that enlarge by a whole number from a whole pixel.
EXPORTED = {
    name: graph
    for name, graph in [(name, make()) for name, make in GRAPHS.items()]
    if graph.out.origin.denominator == graph.out.scale.denominator == 1
} | {
    # Crops a pixel to begin at a whole pixel, which stays.
    "odd": chain(g.Upsample(2), conv(3, 3), g.Crop(1))
}


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_model_is_read_without_its_edge(name: str, fp16: bool) -> None:
    """The edge and the crop are dropped, and the network is what it was."""
    graph = EXPORTED[name]
    model = to_onnx(graph, pad_edges=True, fp16=fp16, batch=1)
    read = parse_onnx(model.SerializeToString())
    assert read.out.scale == graph.out.scale
    assert (read.lost, read.border) <= (graph.lost, graph.border)
    if not isinstance(graph.nodes[-1].op, g.Crop) or name == "odd":
        assert (read.out, read.border) == (graph.out, graph.border)
    side = graph.input_size(24) + 2 * graph.border
    picture = np.random.default_rng(0).random((1, 3, side, side))
    cut = (graph.lost - read.lost) * graph.scale
    inside = (..., slice(cut, -cut or None), slice(cut, -cut or None))
    np.testing.assert_allclose(
        evaluate(read, picture)[inside], evaluate(graph, picture), atol=0.05 if fp16 else 1e-6
    )


def test_constants_come_back_as_they_were() -> None:
    """The same operations with the same numbers, so that the model is written with equal bytes."""
    graph = chain(
        conv(4, 3),
        g.Activate(g.Activation("leaky_relu", slope=0.1)),
        g.Affine(scale=0.2),
        conv(4, 4, padding=1),
        g.Affine(offset=-0.5),
        g.Affine(scale=1 / 3, offset=random(4)),
        g.Affine(scale=random(4), offset=0.7),
        conv(3, 4, 1),
    )
    read = parse_onnx(to_onnx(graph).SerializeToString())
    assert [type(node.op) for node in read.nodes] == [type(node.op) for node in graph.nodes]
    assert read.nodes[1].op.activation.slope == 0.1
    assert read.nodes[2].op.scale == 0.2
    again = parse_onnx(to_onnx(read).SerializeToString())
    for first, second in zip(read.nodes, again.nodes, strict=True):
        if isinstance(first.op, g.Affine):
            np.testing.assert_array_equal(first.op.scale, second.op.scale)
            np.testing.assert_array_equal(first.op.offset, second.op.offset)


def test_a_factor_that_others_read_stays() -> None:
    nodes = [
        node("Mul", "x", "a", output="b"),
        node("Add", "b", "c", output="d"),
        node("Mul", "b", "d"),
    ]
    nodes[2].name = "last"
    check(bytes_of(nodes, {"a": np.float32([3]), "c": np.float32([-0.25])}))


@pytest.mark.parametrize(("kind", "number"), [("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1)])
def test_operations_that_change_nothing(kind: str, number: float) -> None:
    graph = check(bytes_of([node(kind, "x", "a", output="z"), node("Relu", "z")],
                           {"a": np.float32([number])}))  # fmt: skip
    assert len(graph.nodes) == 1


def test_a_model_in_float16_is_read() -> None:
    check(to_onnx(GRAPHS["shuffles"](), fp16=True).SerializeToString(), atol=5e-3)


# --- models by hand -----------------------------------------------------------------------------


def model(
    nodes: Sequence[onnx.NodeProto],
    tensors: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    channels: int | str = 3,
    output: str = "y",
    more: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    float_, sides = TensorProto.FLOAT, [1, channels, "h", "w"]
    weights = [numpy_helper.from_array(array, name) for name, array in (tensors or {}).items()]
    return helper.make_model(
        helper.make_graph(
            list(nodes),
            "g",
            [helper.make_tensor_value_info("x", float_, sides)],
            [helper.make_tensor_value_info(output, float_, [1, "c", "p", "q"])],
            [*weights, *more],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


def bytes_of(*args: Any, **options: Any) -> bytes:
    return model(*args, **options).SerializeToString()


def node(kind: str, *inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [output], name=f"the_{kind}", **attributes)


@pytest.mark.parametrize("mode", ["CRD", "DCR"])
def test_depth_to_space(mode: str) -> None:
    nodes = [
        node("Conv", "x", "w", output="c"),
        node("DepthToSpace", "c", blocksize=2, mode=mode),
    ]
    check(bytes_of(nodes, {"w": random(8, 3, 1, 1)}))


def test_space_to_depth() -> None:
    check(bytes_of([node("SpaceToDepth", "x", blocksize=2)]))


@pytest.mark.parametrize(
    ("where", "rounding", "scale"),
    [
        ("asymmetric", "floor", 3),
        ("asymmetric", "round_prefer_floor", 2),
        ("half_pixel", "round_prefer_floor", 4),
        ("half_pixel", "round_prefer_ceil", 3),
        ("pytorch_half_pixel", "round_prefer_floor", 2),
    ],
)
def test_nearest_enlargements(where: str, rounding: str, scale: int) -> None:
    resize = node(
        "Resize", "x", "", "s", coordinate_transformation_mode=where, nearest_mode=rounding
    )
    check(bytes_of([resize], {"s": np.array([1, 1, scale, scale], np.float32)}))


def test_operators_of_older_sets() -> None:
    check(bytes_of([node("Upsample", "x", "s")], {"s": SCALES}, opset=9))
    nodes = [
        node("Slice", "x", output="b", starts=[1, 1], ends=[-1, -1], axes=[2, 3]),
        node("Pad", "b", output="c", pads=[0, 0, -1, -1, 0, 0, -1, -1]),
        node("Clip", "c", min=0.0, max=1.0),
    ]
    check(bytes_of(nodes, opset=9))


SCALES = np.array([1, 1, 2, 2], np.float32)


def test_numbers_that_are_stored_one_by_one() -> None:
    """Protobuf lists instead of raw bytes, for every type that holds weights."""
    for kind in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
        weight = helper.make_tensor("w", kind, [2, 3, 1, 1], [0.5, -1, 2, 0.25, 3, -0.125])
        assert not weight.raw_data
        graph = parse_onnx(bytes_of([node("Conv", "x", "w")], more=[weight]))
        op = graph.nodes[0].op
        np.testing.assert_array_equal(op.weight.ravel(), [0.5, -1, 2, 0.25, 3, -0.125])


def test_an_initializer_may_be_an_input_as_well() -> None:
    made = model([node("Conv", "x", "w")], {"w": random(3, 3, 1, 1)})
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3, 1, 1]))
    check(made.SerializeToString())


# --- external data ------------------------------------------------------------------------------


def external(location: str, offset: int | str = 0, size: int = 36) -> bytes:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 3, 1, 1])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(size))):
        weight.external_data.add(key=key, value=value)
    return bytes_of([node("Conv", "x", "w")], more=[weight])


def test_external_data_in_the_folder_of_the_model(tmp_path: Path) -> None:
    weight = random(3, 3, 1, 1)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "w.bin").write_bytes(b"....." + weight.tobytes())
    graph = parse_onnx(external("below/w.bin", 5), tmp_path)
    np.testing.assert_array_equal(graph.nodes[0].op.weight, weight)
    with pytest.raises(GraphError, match="ends outside"):
        parse_onnx(external("below/w.bin", 6), tmp_path)


def test_external_data_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(36))
    (folder / "link.bin").symlink_to(outside)
    (folder / "sub").symlink_to(tmp_path)
    (folder / "w.bin").write_bytes(bytes(36))
    parse_onnx(external("w.bin"), folder)
    for location in (
        "../outside.bin", str(outside), "link.bin", "sub/outside.bin", "missing.bin", "", ".",
        "C:\\w.bin", "C:w.bin", "\\\\server\\w.bin", "..\\outside.bin", "w.bin\0", "/etc/passwd",
    ):  # fmt: skip
        with pytest.raises(GraphError, match="which is refused") as caught:
            parse_onnx(external(location), folder)
        assert str(caught.value).isprintable()
    for offset in ("-1", "x", "9" * 20):
        with pytest.raises(GraphError, match="which is refused"):
            parse_onnx(external("w.bin", offset), folder)
    with pytest.raises(GraphError, match="which is refused"):
        parse_onnx(external("w.bin"))


# --- what is refused ----------------------------------------------------------------------------

W = {"w": random(3, 3, 3, 3)}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes_of([node("Softmax", "x")]), "'the_Softmax' is 'Softmax', which the graph does not"),
        (bytes_of([node("Conv", "x", "w", domain="evil")], W), "of the domain 'evil'"),
        (bytes_of([node("Conv", "x", "w", group=3)], W), "groups"),
        (bytes_of([node("Conv", "x", "w", dilations=[2, 2])], W), "dilations [2, 2]"),
        (bytes_of([node("Conv", "x", "w", pads=[1, 0, 1, 0])], W), "pads [1, 0, 1, 0]"),
        (bytes_of([node("Conv", "x", "w", strides=[1, 2])], W), "strides [1, 2]"),
        (bytes_of([node("Conv", "x", "w", strides=[1 << 40] * 2)], W), "stride 1099511627776"),
        (bytes_of([node("Conv", "x", "w", auto_pad="SAME_UPPER")], W), "automatic padding"),
        (bytes_of([node("Conv", "x", "v")], W), "'v' must be a constant"),
        (bytes_of([node("Conv", "x", "w")], {"w": random(3, 3, 3)}), "kernels must be square"),
        (bytes_of([node("Conv", "x", "w")], {"w": random(3, 4, 3, 3)}), "takes 4 channels"),
        (bytes_of([node("Conv", "x", "w")], {"w": np.full((3, 3, 1, 1), np.nan, np.float32)}),
         "not finite"),
        (bytes_of([node("Conv", "x", "w")], {"w": np.ones((3, 3, 1, 1), np.int64)}), "be floats"),
        (bytes_of([node("Conv", "w", "w")], W), "reads 'w', which is a constant"),
        (bytes_of([node("Relu", "z")]), "reads 'z', which nothing before it makes"),
        (bytes_of([node("Relu", "z"), node("Relu", "y", output="z")]), "nothing before it makes"),
        (bytes_of([node("Relu", "x"), node("Relu", "x")]), "'y' is there already"),
        (bytes_of([node("Relu", "x", output="x")]), "'x' is there already"),
        (bytes_of([node("Relu", "x", output="z")]), "nothing makes the output 'y'"),
        (bytes_of([node("Pad", "x", "p", mode="reflect")], {"p": np.array([0, 0, 1, 1] * 2)}),
         "padding by 'reflect'"),
        (bytes_of([node("Pad", "x", "p", mode="edge")], {"p": np.array([0, 0, 1, 1] * 2)}),
         "replicated by 1 px, and the result is not cropped"),
        (bytes_of([node("Pad", "x", "p", mode="edge")], {"p": np.array([0, 0, 1, 2] * 2)}),
         "the padding [0, 0, 1, 2, 0, 0, 1, 2]"),
        (bytes_of([node("Relu", "x", output="z"), node("Pad", "z", "p", mode="edge")],
                  {"p": np.array([0, 0, 1, 1] * 2)}), "only the edge of the picture"),
        (bytes_of([node("Pad", "x", "p", mode="edge", output="z"), node("Add", "x", "z")],
                  {"p": np.array([0, 0, 1, 1] * 2)}), "with its edge replicated, and without"),
        (bytes_of([node("Pad", "x", "p", "v")],
                  {"p": np.array([0, 0, 1, 1] * 2), "v": np.ones(1, np.float32)}), "than 0"),
        (bytes_of([node("Pad", "x", "p")], {"p": np.array([0, 0, 1, 1, 0, 0, 1, 2])}),
         "the padding [0, 0, 1, 1, 0, 0, 1, 2]"),
        (bytes_of([node("Pad", "x", "p", output="z"), node("Relu", "z")],
                  {"p": np.array([0, 0, 1, 1] * 2)}), "reads a padded value"),
        (bytes_of([node("Slice", "x", "s", "e", "a")],
                  {"s": np.array([1]), "e": np.array([-1]), "a": np.array([2])}), "cropped by 1"),
        (bytes_of([node("Slice", "x", "s", "e", "a")],
                  {"s": np.array([1]), "e": np.array([-2]), "a": np.array([2])}), "a centered"),
        (bytes_of([node("Slice", "x", "s", "e", "a", "t")],
                  {k: np.array([v]) for k, v in zip("seat", (0, -1, 2, 2), strict=True)}), "step"),
        (bytes_of([node("Resize", "x", "", "s", mode="linear",
                        coordinate_transformation_mode="align_corners")], {"s": SCALES}),
         "'align_corners'"),
        (bytes_of([node("Resize", "x", "", "", "n")], {"n": np.array([1, 3, 64, 64])}),
         "constant scales"),
        (bytes_of([node("Resize", "x", "", "s")], {"s": np.array([1, 1, 1e30, 1e30], np.float32)}),
         "are not supported"),
        (bytes_of([node("Resize", "x", "", "s")], {"s": np.array([1, 1, np.nan, 2], np.float32)}),
         "are not supported"),
        (bytes_of([node("SpaceToDepth", "x", blocksize=1 << 40)]), "blocks of"),
        (bytes_of([node("SpaceToDepth", "x", blocksize=16)], channels=60000), "15360000 channels"),
        (bytes_of([node("DepthToSpace", "x", blocksize=2)]), "3 channels in blocks of 2"),
        (bytes_of([node("Clip", "x", "a", "b")],
                  {"a": np.zeros((), np.float32), "b": np.array(6, np.float32)}), "not to 0.0"),
        (bytes_of([node("Concat", "x", "x", axis=2)]), "only channels"),
        (bytes_of([node("Cast", "x", to=7)]), "the type 7"),
        (bytes_of([node("ReduceMean", "x", axes=[2])]), "height and width"),
        (bytes_of([node("Add", "x", "c")], {"c": random(1, 3, 4, 4)}), "a constant of the shape"),
        (bytes_of([node("Div", "c", "x")], {"c": np.float32([2])}), "the division"),
        (bytes_of([node("Div", "x", "c")], {"c": np.float32([0])}), "other than 0"),
        (bytes_of([node("Reshape", "x", "c")], {"c": np.array([1, -1])}), "only constants"),
        (bytes_of([node("ConstantOfShape", "c")], {"c": np.array([1 << 40])}), "too large"),
        (bytes_of([node("Reshape", "x", "c")], {"c": random(100, 100)}), "only constants"),
        (bytes_of([node("Reshape", "a", "c")], {"a": random(3), "c": np.array([2, 2])}),
         "cannot be computed"),
        (bytes_of([node("Relu", "x")], channels="c"), "with a fixed C"),
        (bytes_of([node("Relu", "x")], channels=1 << 40), "with a fixed C"),
        (bytes_of([node("Loop", "x", body=model([node("Relu", "x")]).graph)]), "'Loop'"),
    ],
)  # fmt: skip
def test_a_model_that_the_graph_cannot_express(data: bytes, expected: str) -> None:
    with pytest.raises(GraphError) as caught:
        parse_onnx(data)
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()


def test_two_inputs_outputs_and_tensors_of_one_name() -> None:
    made = model([node("Relu", "x")])
    made.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1, 3, 8, 8]))
    with pytest.raises(GraphError, match="2 inputs"):
        parse_onnx(made.SerializeToString())
    made = model([node("Relu", "x")])
    made.graph.output.append(made.graph.output[0])
    with pytest.raises(GraphError, match="2 outputs"):
        parse_onnx(made.SerializeToString())
    made = model([node("Conv", "x", "w")], W)
    made.graph.initializer.append(made.graph.initializer[0])
    with pytest.raises(GraphError, match="two tensors are named 'w'"):
        parse_onnx(made.SerializeToString())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"dims": [1 << 39] * 8}, "needs"),
        ({"dims": [1 << 40]}, "no valid shape"),
        ({"dims": [3, 3, 3, 4]}, "needs 432 bytes and has 324"),
        ({"dims": [-1]}, "no valid shape"),
        ({"dims": [1] * 9}, "no valid shape"),
        ({"data_type": 8}, "type 8"),
        ({"data_type": 77}, "type 77"),
        ({"raw_data": b""}, "needs 324 bytes and has 0"),
    ],
)
def test_a_tensor_that_lies_about_its_size(change: dict[str, Any], expected: str) -> None:
    made = model([node("Conv", "x", "w")], W)
    tensor = made.graph.initializer[0]
    for name, value in change.items():
        if name == "dims":
            del tensor.dims[:]
            tensor.dims.extend(value)
        else:
            setattr(tensor, name, value)
    with pytest.raises(GraphError, match=expected):
        parse_onnx(made.SerializeToString())


def test_tensors_that_many_operators_share() -> None:
    """A small file must not make large copies, or long checks, of the same weights."""
    tensors = {"w": random(200, 200, 3, 3).astype(np.float16)}
    nodes = [node("Conv", "x", "w", output=f"y{index}") for index in range(500)]
    with pytest.raises(GraphError, match="far more weights"):
        parse_onnx(bytes_of(nodes, tensors, channels=200))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "no graph"),
        (b"\x08", "no end"),
        (b"\x08" + b"\xff" * 20, "no end"),
        (b"\x3a\x7f", "outside its message"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "outside its message"),
        (b"\x3b", "wire type 3"),
        (b"\x38\x01", "field 7 is a number"),
        (b"\x3a\x00", "operator set is missing"),
        (b"\x3a\x00\x42\x02\x10\x06", "operator set is 6"),
        (b"\x3a\x00\x42\x02\x10\x11", "0 inputs"),
        (b"\x3a\x02\x5a\x00\x42\x02\x10\x11", "with a fixed C"),
    ],
)
def test_a_damaged_encoding(data: bytes, expected: str) -> None:
    with pytest.raises(GraphError) as caught:
        parse_onnx(data)
    assert expected in str(caught.value)


def test_too_many_fields() -> None:
    with pytest.raises(GraphError, match=f"more than {_protobuf.MAX_FIELDS} fields"):
        parse_onnx(b"\x08\x00" * (_protobuf.MAX_FIELDS + 1))


def test_a_truncated_model() -> None:
    data = to_onnx(GRAPHS["shuffles"]()).SerializeToString()
    for end in range(0, len(data), 5):
        with pytest.raises(GraphError):
            parse_onnx(data[: len(data) - 1 - end])
