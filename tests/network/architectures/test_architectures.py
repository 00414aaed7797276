"""Compares graphs built from state dicts with torch modules, both in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from helpers import torch_networks as networks
from helpers.weight_files import safetensors_bytes, torch_bytes
from torch import nn

from waifu2x.errors import GraphError
from waifu2x.network.architectures import architecture_of, build, state_dict
from waifu2x.network.graph import Graph
from waifu2x.network.readers.pytorch import parse_pytorch
from waifu2x.network.readers.safetensors import parse_safetensors
from waifu2x.network.reference import evaluate
from waifu2x.network.writers.safetensors import to_safetensors

State = Mapping[str, Any]


FAMILIES = {
    "adaptive": lambda: networks.Adaptive(4, 2),
    "esrgan": lambda: networks.RRDBNet(4, 1, 2, 1),
    "compact": lambda: networks.Compact(4, 2, 2),
    "span": lambda: networks.Span(4, 2),
    "gated": lambda: networks.Gated(4, 2, slopes=True),
    "unet": lambda: networks.UNet(4, 6, 2, 3),
    "cunet": lambda: networks.CUNet(2),
    "cugan": lambda: networks.Cugan4x(),
    "stack": lambda: networks.Stack(4, 4, 4),
}


def arrays(state: State) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in state.items()}


def check(module: nn.Module, graph: Graph, size: int = 20) -> None:
    """Compare with the module in float64; the weights are the float32 ones of the file."""
    rng = np.random.default_rng(5)
    size = graph.input_size(max(size, 2 * graph.lost + 6))
    picture = rng.random((1, graph.channels[0], size, size))
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(picture)).numpy()
    module.float()
    made = evaluate(graph, picture)
    assert made.shape == expected.shape == (1, graph.channels[1], *[graph.output_size(size)] * 2)
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def changed(
    state: dict[str, np.ndarray], change: Mapping[str, tuple[int, ...] | None]
) -> dict[str, np.ndarray]:
    """Return a state dict without the layers in ``change``; those with a shape become zeros."""
    made = dict(state)
    for name, shape in change.items():
        for kind in ("weight", "bias"):
            made.pop(f"{name}.{kind}", None)
        if shape:
            made[f"{name}.weight"] = np.zeros(shape, np.float32)
            made[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return made


def seeded(make: Any) -> nn.Module:
    torch.manual_seed(3)
    module = make()
    module.eval()
    return module


@pytest.mark.parametrize("names", ["state_dict", "first_names", "middle_names"])
@pytest.mark.parametrize("doublings", [0, 1, 2, 3])
def test_esrgan(names: str, doublings: int) -> None:
    module = seeded(lambda: networks.RRDBNet(nf=6, nb=2, gc=3, doublings=doublings))
    graph = build(arrays(getattr(module, names)()))
    assert graph.scale == 2**doublings
    assert graph.lost == 0
    check(module, graph)


@pytest.mark.parametrize(("nf", "nb", "gc"), [(4, 1, 2), (8, 3, 5)])
def test_esrgan_of_other_sizes(nf: int, nb: int, gc: int) -> None:
    module = seeded(lambda: networks.RRDBNet(nf, nb, gc, 1))
    check(module, build(arrays(module.state_dict())))


@pytest.mark.parametrize("names", ["state_dict", "first_names"])
@pytest.mark.parametrize(("shuffle", "scale"), [(2, 2), (4, 1)])
def test_esrgan_with_pixel_unshuffle(shuffle: int, scale: int, names: str) -> None:
    module = seeded(lambda: networks.RRDBNet(6, 1, 3, 2, shuffle))
    graph = build(arrays(getattr(module, names)()))
    assert graph.scale == scale
    assert graph.channels == (3, 3)
    assert graph.alignment == shuffle
    check(module, graph)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_compact(scale: int, channels: int) -> None:
    module = seeded(lambda: networks.Compact(5, 3, scale, channels))
    graph = build(arrays(module.state_dict()))
    assert graph.scale == scale
    check(module, graph)


@pytest.mark.parametrize(("scale", "normalize"), [(1, True), (2, False), (4, True)])
def test_span_is_folded(scale: int, normalize: bool) -> None:
    module = seeded(lambda: networks.Span(5, scale, normalize))
    module.double()
    module.fold()
    state = {name: tensor.float() for name, tensor in module.state_dict().items()}
    # The folded weights of a file are those of another moment of the training.
    state = {name: t + 1 if "eval_conv" in name else t for name, t in state.items()}
    state |= {} if normalize else {"no_norm": torch.zeros(1)}
    module.load_state_dict({k: v for k, v in state.items() if k != "no_norm"})
    module.double()
    module.fold()
    graph = build(arrays(state))
    assert graph.scale == scale
    picture = np.random.default_rng(0).random((1, 3, 12, 12))
    expected = module(torch.from_numpy(picture)).detach().numpy()
    np.testing.assert_allclose(
        evaluate(graph, picture), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


def test_span_that_was_folded_before() -> None:
    module = seeded(lambda: networks.Span(5, 2))
    module.fold()
    state = arrays(module.state_dict())
    kept = {n: t for n, t in state.items() if ".sk." not in n and ".conv." not in n}
    check(module, build(kept))


@pytest.mark.parametrize(
    ("blocks", "layers", "options"),
    [
        (1, 1, {}),
        (5, 3, {}),
        (2, 4, {"gate": False}),
        (3, 2, {"join": False, "slopes": True}),
        (2, 2, {"gate": False, "join": False, "scale": 4}),
        (2, 1, {"slopes": True, "scale": 3, "channels": 1}),
    ],
)
def test_gated(blocks: int, layers: int, options: dict[str, Any]) -> None:
    module = seeded(lambda: networks.Gated(6, blocks, layers, **options))
    graph = build(arrays(module.state_dict()))
    assert (graph.scale, graph.lost) == (options.get("scale", 2), 0)
    check(module, graph)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.layers.1": None}, r"blocks\.0\.layers has the numbers \[0, 2\]"),
        ({"blocks.1.layers.2": None}, "'blocks.1.layers.2.weight' is missing"),
        ({"blocks.1.layers.3": (6, 6, 3, 3)}, r"not understood: 'blocks\.1\.layers\.3\.weight'"),
        ({"blocks.1.gate": None}, "'blocks.1.gate.weight' is missing"),
        ({"blocks.3.layers.0": (6, 6, 3, 3)}, r"blocks has the numbers \[0, 1, 3\]"),
        ({f"blocks.0.layers.{k}": (6, 6, 3, 3) for k in (3, 4)}, "a block has 5 layers"),
        ({"head": (6, 10, 3, 3)}, "the head has 10 inputs; allowed are multiples of 4"),
        ({"tail": (27, 6, 3, 3)}, "the tail enlarges 3 times; it must be 4, 6, 8"),
        ({"tail": (12, 6, 3, 3)}, "the tail enlarges 2 times; it must be 4, 6, 8"),
        ({"tail": (47, 6, 3, 3)}, "47 channels cannot be shuffled to 3 channels"),
    ],
)
def test_other_networks_are_not_gated(change: dict[str, Any], message: str) -> None:
    state = arrays(seeded(lambda: networks.Gated(6, 2)).state_dict())
    with pytest.raises(GraphError, match=message):
        build(changed(state, change))


@pytest.mark.parametrize(
    ("blocks", "layers", "options"),
    [(1, 1, {}), (3, 2, {}), (2, 4, {"scale": 4}), (1, 2, {"scale": 3, "channels": 1})],
)
def test_unet(blocks: int, layers: int, options: dict[str, Any]) -> None:
    module = seeded(lambda: networks.UNet(4, 6, blocks, layers, **options))
    graph = build(arrays(module.state_dict()))
    assert (graph.scale, graph.lost, graph.alignment) == (options.get("scale", 2), 0, 2)
    check(module, graph)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.1": None}, r"blocks\.0 has the numbers \[0, 2\]"),
        ({"blocks.1.2": None}, "'blocks.1.2.weight' is missing"),
        ({"blocks.1.3": (6, 6, 3, 3)}, r"not understood: 'blocks\.1\.3\.weight'"),
        ({"blocks.3.0": (6, 6, 3, 3)}, r"blocks has the numbers \[0, 1, 3\]"),
        ({f"blocks.0.{k}": (6, 6, 3, 3) for k in (3, 4)}, "a block has 5 layers"),
        ({"after": None}, "'after.weight' is missing"),
        ({"down": (6, 4, 3, 3)}, "the tensor 'down.weight' has the shape 6x4x3x3"),
        ({"tail": (3, 4, 3, 3)}, "the tail does not enlarge"),
        ({"tail": (11, 4, 3, 3)}, "11 channels cannot be shuffled to 3 channels"),
    ],
)
def test_other_networks_are_no_unets(change: dict[str, Any], message: str) -> None:
    state = arrays(seeded(lambda: networks.UNet(4, 6, 2, 3)).state_dict())
    with pytest.raises(GraphError, match=message):
        build(changed(state, change))


@pytest.mark.parametrize(
    ("layers", "inner", "options"),
    [(1, 1, {}), (3, 6, {}), (2, 4, {"scale": 4}), (1, 2, {"scale": 3, "channels": 1})],
)
def test_adaptive(layers: int, inner: int, options: dict[str, Any]) -> None:
    module = seeded(lambda: networks.Adaptive(6, layers, inner, **options))
    graph = build(arrays(module.state_dict()))
    assert (graph.scale, graph.lost, graph.alignment) == (options.get("scale", 2), 0, 1)
    assert [node.name for node in graph.means] == ["evidence"]
    check(module, graph)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator.1": None}, r"the layers \[0, 2, 3, 4\] of estimator do not make a network"),
        ({"estimator.4": None}, r"the layers \[0, 1, 2, 3\] of estimator do not make a network"),
        ({"estimator.4": (4, 3, 3, 3)}, "'estimator.4.weight' has the shape 4x3x3x3"),
        ({"code": (5, 4, 3, 3)}, "'code.weight' has the shape 5x4x3x3"),
        ({"gates.1": None}, "'gates.1.weight' is missing"),
        ({"gates.3": (4, 5, 1, 1)}, "not understood: 'gates.3.weight'"),
        ({"gates.1": (3, 5, 1, 1)}, "gates 4 channels with 3"),
        ({"body.6": (11, 4, 3, 3)}, "11 channels cannot be shuffled to 3 channels"),
    ],
)
def test_other_networks_are_not_adaptive(change: dict[str, Any], message: str) -> None:
    state = arrays(seeded(lambda: networks.Adaptive(4, 2)).state_dict())
    with pytest.raises(GraphError, match=message):
        build(changed(state, change))


@pytest.mark.parametrize("pro", [False, True])
@pytest.mark.parametrize(
    ("make", "scale", "lost", "alignment"),
    [
        (lambda pro: networks.CUNet(1, pro=pro), 1, 28, 4),
        (lambda pro: networks.CUNet(2, pro=pro), 2, 18, 2),
        (lambda pro: networks.CUNet(3, pro=pro), 3, 14, 4),
        (lambda pro: networks.Cugan4x(pro=pro), 4, 19, 2),
    ],
)
def test_cunet_and_real_cugan(make: Any, scale: int, lost: int, alignment: int, pro: bool) -> None:
    module = seeded(lambda: make(pro))
    state = {**module.state_dict(), **({"pro": torch.zeros(1)} if pro else {})}
    graph = build(arrays(state))
    assert (graph.scale, graph.lost, graph.alignment) == (scale, lost, alignment)
    check(module, graph)


def test_the_pro_mark_may_be_any_value() -> None:
    module = seeded(lambda: networks.CUNet(2, pro=True))
    check(module, build(parse_pytorch(torch_bytes({**module.state_dict(), "pro": True}))))
    check(module, build(parse_pytorch(torch_bytes({**module.state_dict(), "pro": ""}))))


def test_the_fast_network_of_real_cugan() -> None:
    module = seeded(lambda: networks.Cugan4x(fast=True))
    graph = build(arrays(module.state_dict()))
    assert (graph.scale, graph.lost, graph.channels) == (2, 38, (3, 3))
    check(module, graph)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_vgg_7_and_upconv_7(transposed: bool, channels: int) -> None:
    widths = (4, 5, 6, 7, 8, 9)
    module = seeded(lambda: networks.Stack(*widths, transposed=transposed, channels=channels))
    graph = build(arrays(module.state_dict()))
    assert (graph.scale, graph.lost) == ((2, 7) if transposed else (1, 7))
    check(module, graph)


@pytest.mark.parametrize("layout", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_of_a_file_gives_the_same_weights(family: str, layout: str) -> None:
    state = seeded(FAMILIES[family]).state_dict()
    if layout == "safetensors":
        tensors = parse_safetensors(safetensors_bytes(arrays(state)))
    else:
        tensors = parse_pytorch(torch_bytes({"params": state}, legacy=layout == "legacy"))
    for read, node in zip(build(tensors).nodes, build(arrays(state)).nodes, strict=True):
        assert (read.name, read.inputs) == (node.name, node.inputs)
        for attribute in ("weight", "bias"):
            if hasattr(node.op, attribute):
                np.testing.assert_array_equal(
                    getattr(read.op, attribute), getattr(node.op, attribute)
                )


# --- back to a state dict -----------------------------------------------------------------------


WRITTEN = {
    **FAMILIES,
    "esrgan-unshuffle": lambda: networks.RRDBNet(4, 1, 2, 2, shuffle=2),
    "compact-1x": lambda: networks.Compact(4, 2, 1),
    "gated-gates": lambda: networks.Gated(4, 1, join=False),
    "gated-join": lambda: networks.Gated(4, 3, 2, gate=False),
    "adaptive-deep": lambda: networks.Adaptive(4, 5, 7, scale=4),
    "unet-4x": lambda: networks.UNet(4, 6, 3, 1, scale=4),
    "cunet-1x": lambda: networks.CUNet(1),
    "cugan-3x-pro": lambda: networks.CUNet(3, pro=True),
    "cugan-fast": lambda: networks.Cugan4x(fast=True),
    "upconv": lambda: networks.Stack(4, 4, 4, transposed=True),
}


@pytest.mark.parametrize("family", WRITTEN)
def test_a_graph_is_written_as_its_state_dict(family: str) -> None:
    state = arrays(seeded(WRITTEN[family]).state_dict())
    if "pro" in family:
        state["pro"] = np.zeros(1, np.float32)
    graph = build(state)
    written = state_dict(graph)
    assert set(written) <= set(state)
    for name in set(written) & set(state):
        if "eval_conv" not in name:
            np.testing.assert_array_equal(written[name], state[name])
    data = to_safetensors(written, metadata={"family": family})
    again = build(parse_safetensors(data))
    assert [node.name for node in again.nodes] == [node.name for node in graph.nodes]
    assert to_safetensors(state_dict(again), metadata={"family": family}) == data


def test_older_names_are_written_as_the_latest() -> None:
    module = seeded(lambda: networks.RRDBNet(4, 1, 2, 1))
    written = state_dict(build(arrays(module.first_names())))
    assert written.keys() == module.state_dict().keys()


def test_span_without_a_mean_stays_so() -> None:
    state = arrays(seeded(lambda: networks.Span(4, 2)).state_dict())
    graph = build({**state, "no_norm": np.zeros(1, np.float32)})
    assert "no_norm" in state_dict(graph)
    assert "no_norm" not in state_dict(build(state))


def test_other_graphs_have_no_state_dict() -> None:
    with pytest.raises(GraphError, match="the architecture is unknown"):
        state_dict(Graph([], output="input"))
    graph = build(arrays(seeded(FAMILIES["compact"]).state_dict()))
    renamed = [node for node in graph.nodes if node.name != "output"]
    with pytest.raises(GraphError, match="but other operations"):
        state_dict(Graph(renamed, output="shuffle"))


# --- what is refused ----------------------------------------------------------------------------


@pytest.fixture(params=FAMILIES)
def state(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return arrays(seeded(FAMILIES[request.param]).state_dict())


def refused(tensors: Mapping[str, np.ndarray]) -> str:
    with pytest.raises(GraphError) as caught:
        build(tensors)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_tensor_too_many_is_named(state: dict[str, np.ndarray]) -> None:
    extra = {f"extra.{i}\n": np.zeros(1, np.float32) for i in range(5)}
    text = refused({**state, **extra})
    assert "not understood: 'extra.0\\n', 'extra.1\\n', 'extra.2\\n' and 2 more" in text


def test_every_missing_weight_is_noticed(state: dict[str, np.ndarray]) -> None:
    for name in state:
        if name.endswith(".weight") and "eval_conv" not in name:
            refused({key: array for key, array in state.items() if key != name})


def test_every_wrong_shape_is_noticed(state: dict[str, np.ndarray]) -> None:
    for name, array in state.items():
        if "eval_conv" not in name:
            refused({**state, name: np.concatenate([array, array])})
            refused({**state, name: array[None]})
            refused({**state, name: array[:0]})


def test_values_that_are_not_finite_are_noticed(state: dict[str, np.ndarray]) -> None:
    for name, array in state.items():
        if "eval_conv" not in name:
            for value in (np.nan, np.inf, 1e300):
                wrong = array.astype(np.float64)
                wrong.flat[-1] = value
                assert "not finite" in refused({**state, name: wrong})


def test_weights_of_other_types(state: dict[str, np.ndarray]) -> None:
    as_float16 = {name: array.astype(np.float16) for name, array in state.items()}
    as_float64 = {name: array.astype(np.float64) for name, array in state.items()}
    assert build(as_float16).parameters == build(as_float64).parameters == build(state).parameters
    name = next(name for name in state if "eval_conv" not in name)
    assert "int8" in refused({**state, name: state[name].astype(np.int8)})


def test_an_unknown_architecture_names_the_first_tensors() -> None:
    known = "known are ESRGAN, Adaptive, Compact, SPAN, Gated, U-Net"
    found = refused({"a": np.zeros(1), "b": np.zeros(1)})
    assert f"not understood: 'a', 'b'; {known}" in found
    assert "no tensors" in refused({})


def test_every_family_is_detected_as_itself() -> None:
    names = {
        family: architecture_of(arrays(seeded(make).state_dict())).NAME
        for family, make in FAMILIES.items()
    }
    assert names == {
        "adaptive": "Adaptive",
        "esrgan": "ESRGAN",
        "compact": "Compact",
        "span": "SPAN",
        "gated": "Gated",
        "unet": "U-Net",
        "cunet": "cunet",
        "cugan": "cunet",
        "stack": "vgg_7 or upconv_7",
    }
