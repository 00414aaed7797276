"""Networks pass through all formats with the same weights, in memory and in files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import networks
from helpers.families import needs
from helpers.state_dicts import STATES, random_graph, random_state
from helpers.weight_files import safetensors_bytes, torch_bytes

from waifu2x.errors import (
    ArgumentError,
    EncodeError,
    EngineError,
    GraphError,
    OutputExistsError,
    WeightsError,
)
from waifu2x.network import export, registry
from waifu2x.network import graph as g
from waifu2x.network.adapt import enlarged, on_luma
from waifu2x.network.architectures import state_dict
from waifu2x.network.compare import same
from waifu2x.network.export import convert_network, export_network, write_network
from waifu2x.network.readers.file import read_file, read_metadata, read_safetensors
from waifu2x.network.readers.ncnn import parse_ncnn
from waifu2x.network.readers.onnx import parse_onnx
from waifu2x.network.readers.safetensors import parse_metadata, parse_safetensors
from waifu2x.network.writers.ncnn import to_ncnn
from waifu2x.network.writers.onnx import to_onnx
from waifu2x.network.writers.safetensors import to_safetensors

EVERY = [
    pytest.param(
        model.name,
        network.scale,
        network.noise,
        id=f"{model.name}-{network.scale}x-{network.noise}",
        marks=needs(model.name),
    )
    for model in registry.models()
    for network in model.networks
]

ADAPTED = {
    "enlarged": lambda: enlarged(random_graph("vgg_7")),
    "enlarged-even": lambda: enlarged(random_graph("resnet10")),
    "luma": lambda: on_luma(random_graph("vgg_7-luma")),
    "enlarged-luma": lambda: enlarged(on_luma(random_graph("vgg_7-luma"))),
}

#: Networks of every architecture, and those around them.
GRAPHS = {
    **{
        name: lambda name=name: random_graph(name)  # type: ignore[misc]
        for name in STATES
        if name != "vgg_7-luma"  # read as one for RGB, see ADAPTED
    },
    **ADAPTED,
}


def weights_of(graph: g.Graph) -> list[bytes]:
    arrays = []
    for node in graph.nodes:
        match node.op:
            case g.Conv() | g.ConvTranspose():
                arrays += [node.op.weight, node.op.bias]
            case g.Activate(activation=g.Activation(slopes=slopes)) if slopes is not None:
                arrays.append(slopes)
    return [array.tobytes() for array in arrays]


# --- every network ------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "scale", "noise"), EVERY)
def test_every_network_makes_the_round_trip(model: str, scale: int, noise: int | None) -> None:
    network = registry.model(model).network(scale, noise)
    assert network is not None
    graph = registry.load(network)
    first = parse_ncnn(*to_ncnn(graph))
    second = read_safetensors(to_safetensors(state_dict(first)))
    third = parse_onnx(to_onnx(second, pad_edges=True, batch=1).SerializeToString())
    last = parse_ncnn(*to_ncnn(third))
    for made in (first, second, third, last):
        assert same(made, graph)
        assert weights_of(made) == weights_of(graph)
        assert (made.scale, made.margin, made.border, made.alignment) == (
            graph.scale, graph.margin, graph.border, graph.alignment
        )  # fmt: skip
    assert to_ncnn(last) == to_ncnn(second)


@pytest.mark.parametrize("name", GRAPHS)
def test_files_make_the_round_trip(tmp_path: Path, name: str) -> None:
    graph = GRAPHS[name]()
    steps = ["a.param", "b.safetensors", "c.onnx", "d.param", "e.onnx", "f.safetensors", "g.param"]
    write_network(graph, tmp_path / steps[0])
    for source, target in pairwise(steps):
        made = convert_network(tmp_path / source, tmp_path / target)
        assert (made.scale, made.margin, made.alignment) == (
            graph.scale, graph.margin, graph.alignment
        )  # fmt: skip
        assert (made.error == 0) == (not target.endswith(".onnx"))
    for step in steps:
        assert same(read_file(tmp_path / step), graph, exact=False)
        assert weights_of(read_file(tmp_path / step)) == weights_of(graph)
    for first, second in (("d.param", "g.param"), ("d.bin", "g.bin")):
        assert (tmp_path / first).read_bytes() == (tmp_path / second).read_bytes()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".param"])
def test_half_precision_in_each_format(tmp_path: Path, name: str, suffix: str) -> None:
    graph = GRAPHS[name]()
    full, half = tmp_path / f"full{suffix}", tmp_path / f"half{suffix}"
    write_network(graph, full)
    made = write_network(graph, half, fp16=True)
    assert made.psnr >= export.FLOAT16_PSNR
    assert made.error > 0
    again = read_file(half)
    assert not same(again, graph)
    assert again.margin == graph.margin
    weights = next(
        node.op.weight
        for node in again.nodes
        if isinstance(node.op, g.Conv) and node.op.weight.shape[2] > 1
    )
    np.testing.assert_array_equal(weights, weights.astype(np.float16))


def test_a_file_of_pytorch_is_converted(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(
        torch_bytes({"params_ema": {name: torch.from_numpy(array) for name, array in
                                    random_state("compact").items()}})
    )  # fmt: skip
    convert_network(tmp_path / "a.pth", tmp_path / "b.safetensors")
    written = parse_safetensors((tmp_path / "b.safetensors").read_bytes())
    state = random_state("compact")
    assert list(written) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(written[name], array)
    found = parse_metadata((tmp_path / "b.safetensors").read_bytes())
    assert found == {"source": "a.pth"}
    convert_network(tmp_path / "b.safetensors", tmp_path / "c.onnx", opset=18, size=(24, 32))
    model = onnx.load(tmp_path / "c.onnx")
    assert [entry.version for entry in model.opset_import] == [18]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["source"] == "a.pth"  # where the network comes from
    assert metadata["scale"] == "4"
    sides = [side.dim_value for side in model.graph.output[0].type.tensor_type.shape.dim]
    assert sides == [1, 3, 96, 128]
    assert same(read_file(tmp_path / "c.onnx"), random_graph("compact"))


def test_json_of_the_first_waifu2x_is_converted(tmp_path: Path) -> None:
    """A network that sharpens an enlarged picture keeps the enlargement, in each format."""
    state = random_state("vgg_7-luma")
    layers = [
        {
            "class_name": "nn.SpatialConvolutionMM",
            **dict.fromkeys(("kW", "kH"), 3),
            **dict.fromkeys(("dW", "dH"), 1),
            **dict.fromkeys(("padW", "padH"), 0),
            "nInputPlane": state[f"net.{2 * index}.weight"].shape[1],
            "nOutputPlane": state[f"net.{2 * index}.weight"].shape[0],
            "weight": state[f"net.{2 * index}.weight"].tolist(),
            "bias": state[f"net.{2 * index}.bias"].tolist(),
        }
        for index in range(len(state) // 2)
    ]
    (tmp_path / "scale2.0x_model.json").write_text(json.dumps(layers))
    for name in ("a.safetensors", "a.onnx", "a.param"):
        made = convert_network(tmp_path / "scale2.0x_model.json", tmp_path / name)
        assert made.scale == 2
        assert same(read_file(tmp_path / name), ADAPTED["enlarged-luma"]())


def test_an_exported_model_has_its_license_in_safetensors(tmp_path: Path) -> None:
    made = export_network(tmp_path / "a.safetensors", model="upconv_7", noise=1)
    assert (made.error, made.scale, made.margin) == (0, 2, 7)
    found = parse_metadata((tmp_path / "a.safetensors").read_bytes())
    assert found == {
        "model": "upconv_7",
        "noise": "1",
        "license": "MIT",
        "source": registry.model("upconv_7").source,
    }


def test_a_conversion_keeps_the_license(tmp_path: Path) -> None:
    export_network(tmp_path / "a.onnx", model="upconv_7", noise=1)
    convert_network(tmp_path / "a.onnx", tmp_path / "b.safetensors")
    export_network(tmp_path / "c.safetensors", model="upconv_7", noise=1)
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()
    convert_network(tmp_path / "c.safetensors", tmp_path / "d.onnx")
    assert read_metadata(tmp_path / "d.onnx") == read_metadata(tmp_path / "a.onnx")
    assert read_metadata(tmp_path / "d.onnx")["license"] == "MIT"
    convert_network(tmp_path / "d.onnx", tmp_path / "e.param")
    assert read_metadata(tmp_path / "e.param") == {}


@pytest.mark.parametrize("name", ["a.param", "a.safetensors", "a.onnx"])
def test_a_file_is_exported_at_its_scale(tmp_path: Path, name: str) -> None:
    graph = random_graph("compact")
    write_network(graph, tmp_path / name)
    made = export_network(tmp_path / "b.onnx", model=str(tmp_path / name))
    assert made.scale == 4
    assert same(read_file(tmp_path / "b.onnx"), graph)
    metadata = read_metadata(tmp_path / "b.onnx")
    assert (metadata["model"], metadata["source"]) == ("a", name)
    with pytest.raises(OutputExistsError, match="is the input itself"):
        export_network(tmp_path / name, model=str(tmp_path / name), overwrite=True)


# --- what cannot be written ---------------------------------------------------------------------


def test_an_unknown_architecture_is_not_written_as_safetensors(tmp_path: Path) -> None:
    graph = networks.span()
    with pytest.raises(GraphError, match=r"only ONNX \(.onnx\) and ncnn \(.param\)"):
        write_network(graph, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
    write_network(graph, tmp_path / "a.param")
    convert_network(tmp_path / "a.param", tmp_path / "a.onnx")
    assert same(read_file(tmp_path / "a.onnx"), graph)


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".param"])
def test_a_model_of_onnx_operators_is_refused(tmp_path: Path, suffix: str) -> None:
    op = g.ExternalModel("onnx", "", b"", 3, 1, 2, 0, 1, 1, 1)
    graph = g.Graph([g.Node("m", op, ("input",))], output="m")
    with pytest.raises(GraphError):
        write_network(graph, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a", "a.bin", "a.pth", "a.param.txt"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match=r"must end in \.onnx, \.safetensors or \.param"):
        write_network(random_graph("compact"), tmp_path / name)
    with pytest.raises(ArgumentError, match=r"must end in \.onnx, \.safetensors or \.param"):
        convert_network(tmp_path / "gone.pth", tmp_path / name)


@pytest.mark.parametrize("suffix", [".safetensors", ".param"])
def test_options_of_onnx_are_refused_elsewhere(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ArgumentError, match="opset is 17, and only ONNX has one"):
        write_network(random_graph("compact"), tmp_path / f"a{suffix}", opset=17)
    with pytest.raises(ArgumentError, match="`size` is 8x9, and only ONNX can fix it"):
        write_network(random_graph("compact"), tmp_path / f"a{suffix}", size=(8, 9))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.pth: No such file"):
        convert_network(tmp_path / "gone.pth", tmp_path / "a.onnx")


@pytest.mark.parametrize("suffix", [".safetensors", ".param"])
@pytest.mark.parametrize("fp16", [False, True])
def test_a_file_that_reads_back_differently_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, fp16: bool
) -> None:
    graph = random_graph("compact")
    other = random_graph("compact-1x")
    monkeypatch.setattr(export, "parse_ncnn", lambda *_: other)
    monkeypatch.setattr(export, "read_safetensors", lambda *_: other)
    with pytest.raises(EngineError, match=f"the {suffix} file holds another network when it is"):
        write_network(graph, tmp_path / f"a{suffix}", fp16=fp16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".onnx", ".param"])
def test_half_precision_that_is_too_inaccurate_never_appears(tmp_path: Path, suffix: str) -> None:
    """The weight 2000.7 is 2001 in float16, which makes the difference to 2000 wrong."""
    weight = np.float32(2000.7) * np.eye(3, dtype=np.float32)[:, :, None, None]
    nodes = [
        g.Node("large", g.Conv(weight, np.zeros(3, np.float32)), ("input",)),
        g.Node("other", g.Affine(-2000.0), ("input",)),
        g.Node("sum", g.Add(), ("large", "other")),
    ]
    graph = g.Graph(nodes, output="sum")
    with pytest.raises(EngineError, match=r"\(60 dB\), and was not written; leave out `fp16=True`"):
        write_network(graph, tmp_path / f"a{suffix}", fp16=True)
    assert not list(tmp_path.iterdir())


def test_a_network_that_overflows_never_appears(tmp_path: Path) -> None:
    state = random_state("vgg_7")
    for name, value in state.items():
        if value.ndim == 4:
            state[name] = np.full_like(value, 1e30)
    (tmp_path / "in.safetensors").write_bytes(safetensors_bytes(state))
    with pytest.raises(EngineError, match="values that are not finite for a test picture"):
        convert_network(tmp_path / "in.safetensors", tmp_path / "out.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


def test_a_network_that_amplifies_rounding_is_written_in_float32(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = []
    for index in range(8):
        weight = rng.standard_normal((3, 3, 3, 3)).astype(np.float32) * 2
        op = g.Conv(weight, np.zeros(3, np.float32), padding=1, activation=g.Activation("tanh"))
        nodes.append(g.Node(f"v{index}", op, (f"v{index - 1}" if index else "input",)))
    made = write_network(g.Graph(nodes, output="v7"), tmp_path / "a.onnx")
    assert made.error > export.FLOAT32_TOLERANCE


# --- two files of one network -------------------------------------------------------------------


@pytest.mark.parametrize("existing", ["a.param", "a.bin"])
def test_neither_file_of_ncnn_is_replaced_by_itself(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match=f"{existing} exists already"):
        write_network(random_graph("compact"), tmp_path / "a.param")
    assert [entry.name for entry in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_bytes() == b"precious"
    write_network(random_graph("compact"), tmp_path / "a.param", overwrite=True)
    assert same(read_file(tmp_path / "a.param"), random_graph("compact"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.bin", "a.param"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("failing", [1, 2])
def test_both_files_of_ncnn_are_written_or_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, overwrite: bool
) -> None:
    path = tmp_path / "a.param"
    if overwrite:
        write_network(random_graph("compact-1x"), path)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    renames = 0

    def fail(rename: Callable[..., None], number: int) -> Callable[..., None]:
        def wrapped(*args: object) -> None:
            nonlocal renames
            renames += 1
            if renames == failing:
                raise OSError(number, os.strerror(number))
            rename(*args)

        return wrapped

    if overwrite:
        monkeypatch.setattr(Path, "replace", fail(Path.replace, errno.ENOSPC))
    else:  # another process has made the file meanwhile
        monkeypatch.setattr(os, "link", fail(os.link, errno.EEXIST))
    with pytest.raises(EncodeError, match=r"No space left on device|has appeared meanwhile"):
        write_network(random_graph("compact"), path, overwrite=overwrite)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["a.param", "a.bin"])
def test_the_input_is_never_replaced(tmp_path: Path, name: str) -> None:
    write_network(random_graph("compact"), tmp_path / "a.param")
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    (tmp_path / "link.onnx").symlink_to(tmp_path / name)
    for target in ("a.param", "link.onnx"):
        with pytest.raises(OutputExistsError, match="is the input itself, which is never replaced"):
            convert_network(tmp_path / "a.param", tmp_path / target, overwrite=True)
    (tmp_path / "link.onnx").unlink()
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_the_enlargement_in_the_metadata_is_checked(tmp_path: Path) -> None:
    for text in ("0", "5", "two", "2.0", ""):
        data = safetensors_bytes(random_state("vgg_7"), metadata={"enlarged": text})
        (tmp_path / "a.safetensors").write_bytes(data)
        with pytest.raises(GraphError, match=r"enlarged is '.*'; it must be 1 to 4"):
            read_file(tmp_path / "a.safetensors")
    data = safetensors_bytes(random_state("vgg_7"), metadata={"enlarged": "3", "format": "pt"})
    assert read_safetensors(data).scale == 3
