"""Runs ONNX models with operators that the graph does not have, and measures them."""

from __future__ import annotations

import io
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional as F

from waifu2x import engines
from waifu2x.engines import onnx_model
from waifu2x.engines.onnx_model import measure_onnx
from waifu2x.errors import EngineError, GraphError
from waifu2x.network.graph import Graph
from waifu2x.network.readers.onnx import parse_onnx
from waifu2x.network.reference import evaluate
from waifu2x.network.writers.onnx import to_onnx


class Model(nn.Module):
    """Convolutions around a function that the graph does not have."""

    def __init__(
        self, function: Any = F.gelu, *, scale: int = 2, padding: int = 1, layers: int = 2
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.scale = function, scale
        widths = [3, *[8] * (layers - 1), 3 * scale**2]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=padding) for a, b in pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs[:-1]:
            x = self.function(conv(x))
        return F.pixel_shuffle(self.convs[-1](x), self.scale)


class Halved(nn.Module):
    """Works at half the resolution, on even sizes only, as a stride without padding does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(3, 16, 2, 2), nn.ConvTranspose2d(16, 3, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(F.gelu(self.down(x)))


class Global(nn.Module):
    """Normalizes by the whole picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - F.softmax(x.flatten(2), 2).reshape(x.shape) + x.amax((1, 2, 3), keepdim=True) / 9


def exported(module: nn.Module, **fixed: Any) -> bytes:
    file = io.BytesIO()
    axes = fixed or {"dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (torch.rand(1, 3, 64, 64),), file, dynamo=False, opset_version=17,
            input_names=["x"], **axes,
        )  # fmt: skip
    return file.getvalue()


def run(graph: Graph, picture: np.ndarray) -> np.ndarray:
    return engines.create("onnx").compile(graph).run(picture)


@pytest.mark.parametrize(("padding", "lost"), [(1, 0), (0, 3)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_scale_margin_and_reach_are_measured(scale: int, padding: int, lost: int) -> None:
    module = Model(scale=scale, padding=padding, layers=3)
    data = exported(module)
    with pytest.raises(GraphError, match=r"'Erf'|'Gelu'"):
        parse_onnx(data)
    graph = measure_onnx(data)
    assert (graph.scale, graph.lost, graph.alignment) == (scale, lost, 1)
    assert graph.reach == 3
    assert graph.margin == 3
    assert graph.channels == (3, 3)
    assert graph.parameters >= sum(p.numel() for p in module.parameters())
    picture = np.random.default_rng(0).random((2, 3, 30, 41), np.float32)
    expected = module(torch.from_numpy(picture)).detach().numpy()
    np.testing.assert_allclose(run(graph, picture), expected, atol=1e-5)
    assert expected.shape[2:] == (graph.output_size(30), graph.output_size(41))


def test_an_alignment_is_measured() -> None:
    graph = measure_onnx(exported(Halved()))
    assert (graph.scale, graph.alignment, graph.lost) == (2, 2, 0)
    with pytest.raises(GraphError, match="does not fit"):
        graph.output_size(31)


def test_a_network_that_sees_the_whole_picture_has_no_reach() -> None:
    graph = measure_onnx(exported(Global()))
    assert graph.margin > graph.border  # tiles overlap and are blended
    assert graph.scale == 1


class Gated(nn.Module):
    """Works on even sizes, with a gate of the mean of the picture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = Halved()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * (1 + x.mean((1, 2, 3), keepdim=True))


def test_the_alignment_of_a_network_that_sees_the_whole_picture() -> None:
    graph = measure_onnx(exported(Gated()))
    assert (graph.scale, graph.alignment) == (2, 2)
    assert graph.margin > graph.border


def test_a_measured_model_agrees_with_its_graph() -> None:
    """What is measured for a model that the graph can express is what the graph derives."""
    data = exported(Model(F.relu, scale=2, layers=4))
    graph, measured = parse_onnx(data), measure_onnx(data)
    for attribute in ("scale", "lost", "alignment", "reach", "margin", "channels", "pads"):
        assert getattr(measured, attribute) == getattr(graph, attribute), attribute
    picture = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    np.testing.assert_allclose(run(measured, picture), evaluate(graph, picture), atol=1e-5)


def test_other_engines_refuse_the_model_by_name() -> None:
    graph = measure_onnx(exported(Model()))
    with pytest.raises(EngineError, match=r"engine onnx only; choose `engine='onnx'`"):
        engines.create("native").compile(graph)
    with pytest.raises(GraphError, match="runs on engine onnx alone"):
        to_onnx(graph)
    with pytest.raises(GraphError, match="engine onnx alone"):
        evaluate(graph, np.zeros((1, 3, 8, 8)))


# --- what is refused ----------------------------------------------------------------------------


def test_a_model_of_one_size() -> None:
    with pytest.raises(EngineError, match="64x64 px only; export it with dynamic"):
        measure_onnx(exported(Model(), verbose=False))


def by_hand(kind: str, *, channels: int = 3, inputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    float_ = TensorProto.FLOAT
    names = [f"x{index}" for index in range(inputs)]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, names, ["y"], **attributes)],
            "g",
            [helper.make_tensor_value_info(n, float_, [1, channels, "h", "w"]) for n in names],
            [helper.make_tensor_value_info("y", float_, None)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (by_hand("Add", inputs=2), "2 inputs and 1 outputs"),
        (by_hand("Softplus", channels=4), "with 1 or 3 channels"),
        (by_hand("Flatten", axis=2), "the result of the model has the shape"),
        (by_hand("AveragePool", kernel_shape=[2, 2], strides=[2, 2]), "enlarge by a whole number"),
        (by_hand("GlobalMaxPool"), "enlarge by a whole number"),
        (by_hand("Nothing"), "onnxruntime cannot run this model"),
    ],
)
def test_a_model_that_is_no_network_of_this_kind(model: onnx.ModelProto, expected: str) -> None:
    with pytest.raises(EngineError, match=expected) as caught:
        measure_onnx(model.SerializeToString())
    assert str(caught.value).isprintable()


def test_a_model_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "_SECONDS", 0)
    with pytest.raises(EngineError, match="small pictures take more than 0 s"):
        measure_onnx(exported(Model(layers=20)))


def test_external_data_is_refused_wherever_it_is() -> None:
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model = by_hand("Softplus")
    model.graph.initializer.append(tensor)
    constant = by_hand("Softplus")
    constant.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    nested = by_hand("Softplus")
    nested.graph.node.append(helper.make_node("Loop", [], ["l"], body=constant.graph))
    for made in (model, constant, nested):
        with pytest.raises(GraphError, match="external data, which is refused"):
            measure_onnx(made.SerializeToString())


def test_a_tensor_larger_than_the_file_is_refused() -> None:
    model = by_hand("Softplus")
    model.graph.initializer.append(TensorProto(name="t", data_type=1, dims=[1 << 40]))
    with pytest.raises(GraphError, match="larger than the file"):
        measure_onnx(model.SerializeToString())
