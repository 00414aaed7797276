from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers.torch_networks import Compact, Stack
from helpers.weight_files import safetensors_bytes, torch_bytes

from waifu2x.errors import GraphError, WeightsError
from waifu2x.network.adapt import enlarged, on_luma
from waifu2x.network.architectures import build
from waifu2x.network.graph import Graph
from waifu2x.network.readers.file import read_file
from waifu2x.network.reference import evaluate
from waifu2x.network.writers.onnx import to_onnx


def module(channels: int = 3) -> Compact:
    torch.manual_seed(0)
    return Compact(4, 1, 2, channels)


def graph_of(made: torch.nn.Module) -> Graph:
    return build({name: tensor.numpy() for name, tensor in made.state_dict().items()})


def same(first: Graph, second: Graph) -> None:
    assert first.out == second.out
    picture = np.random.default_rng(0).random((1, 3, 24, 24))
    np.testing.assert_allclose(evaluate(first, picture), evaluate(second, picture), atol=1e-6)


@pytest.mark.parametrize("name", ["a.pth", "b.pt", "c.ckpt", "d.safetensors", "e.x", "f.onnx", "g"])
def test_the_contents_decide_the_format(name: str, tmp_path: Path) -> None:
    state = module().state_dict()
    arrays = {key: tensor.numpy() for key, tensor in state.items()}
    data = {
        "a": torch_bytes({"params": state}),
        "b": torch_bytes(state, legacy=True),
        "c": torch_bytes({"state_dict": state}),
        "d": safetensors_bytes(arrays),
        "e": safetensors_bytes(arrays),
        "f": to_onnx(graph_of(module())).SerializeToString(),
        "g": to_onnx(graph_of(module())).SerializeToString(),
    }[name[0]]
    (tmp_path / name).write_bytes(data)
    same(read_file(tmp_path / name), graph_of(module()))


def test_external_data_lies_next_to_the_model(tmp_path: Path) -> None:
    onnx.save(
        to_onnx(graph_of(module())),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    same(read_file(tmp_path / "model.onnx"), graph_of(module()))
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(GraphError, match=r"'weights\.bin', which is refused"):
        read_file(tmp_path / "model.onnx")


def test_a_network_of_one_channel_runs_on_the_luma(tmp_path: Path) -> None:
    (tmp_path / "y.pth").write_bytes(torch_bytes(module(1).state_dict()))
    same(read_file(tmp_path / "y.pth"), on_luma(graph_of(module(1))))


@pytest.mark.parametrize(
    ("name", "factor"), [("scale2.0x_model", 2), ("noise1_model", 1), ("anime_style_scale_rgb", 2)]
)
@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_older_networks_with_scale_in_their_name_enlarge(
    suffix: str, name: str, factor: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    stack = Stack(4, 4)
    path = tmp_path / f"{name}{suffix}"
    convs = [layer for layer in stack.net if isinstance(layer, torch.nn.Conv2d)]
    if suffix == ".json":
        kind = {"class_name": "nn.SpatialConvolutionMM", "kW": 3, "kH": 3, "dW": 1, "dH": 1}
        layers = [
            {
                **kind,
                "padW": 0,
                "padH": 0,
                "nInputPlane": conv.in_channels,
                "nOutputPlane": conv.out_channels,
                "weight": conv.weight.tolist(),
                "bias": conv.bias.tolist(),
            }
            for conv in convs
        ]
        path.write_text(json.dumps(layers))
    else:
        arrays = {}
        for index, conv in enumerate(convs, 1):
            arrays[f"conv{index}/W"] = conv.weight.detach().numpy()
            arrays[f"conv{index}/b"] = conv.bias.detach().numpy()
        np.savez_compressed(path, **arrays)
    graph = graph_of(stack)
    same(read_file(path), enlarged(graph) if factor == 2 else graph)


def test_ncnn_weights_lie_next_to_their_layers(tmp_path: Path) -> None:
    param = "7767517\n2 2\nInput data 0 1 data 2=3\nInterp up 1 1 data y 0=1 1=2.0 2=2.0\n"
    (tmp_path / "m.param").write_text(param)
    with pytest.raises(WeightsError, match=r"m\.bin: No such file"):
        read_file(tmp_path / "m.param")
    (tmp_path / "m.bin").write_bytes(b"")
    assert read_file(tmp_path / "m.param").scale == 2
    (tmp_path / "m.param").write_text(param.replace("data y", "data \x1b[31my"))
    with pytest.raises(GraphError, match="control characters"):
        read_file(tmp_path / "m.param")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        read_file(tmp_path / "missing.pth")
    with pytest.raises(WeightsError, match="not a file"):
        read_file(tmp_path)
    with pytest.raises(WeightsError, match="cannot read weights"):
        read_file("a\0b")
    (tmp_path / "a\nb.pth").write_bytes(b"something")
    with pytest.raises(GraphError) as caught:
        read_file(tmp_path / "a\nb.pth")
    assert str(caught.value).startswith("a\\nb.pth: no weights file; supported are")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.pth").open("wb") as file:
        file.truncate((1 << 29) + 1)
    with pytest.raises(GraphError, match="at most 536870912 are read"):
        read_file(tmp_path / "large.pth")
