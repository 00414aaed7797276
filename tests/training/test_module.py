"""Graphs as PyTorch modules: what is trained is what runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from waifu2x.engines import create
from waifu2x.errors import GraphError
from waifu2x.network import graph as g
from waifu2x.network.reference import evaluate
from waifu2x.training.module import FoldedConvolution, TrainedGraph
from waifu2x.training.shape import Shape

SHAPES = {
    "gated": Shape(8, 2),
    "gated with PReLU": Shape(8, 3, 2, gate=False, slopes=True),
    "gated without a join": Shape(12, 1, 1, join=False),
    "compact": Shape(10, 2, architecture="compact"),
    "adaptive": Shape(10, 2, estimator=6, architecture="adaptive"),
    "unet": Shape(12, 2, 2, outer=8, architecture="unet"),
}


def randomized(shape: Shape) -> g.Graph:
    """Return a network of ``shape`` whose last layer and biases are not zero."""
    graph, rng = shape.graph(1), np.random.default_rng(2)

    def noisy(array: g.Weights) -> g.Weights:
        return array + rng.normal(0, 0.05, array.shape).astype(np.float32)

    nodes = [
        replace(node, op=replace(node.op, weight=noisy(node.op.weight), bias=noisy(node.op.bias)))
        if isinstance(node.op, g.Conv | g.ConvTranspose)
        else node
        for node in graph.nodes
    ]
    return g.Graph(nodes, output=graph.output, inputs=graph.inputs)


def run(network: TrainedGraph, picture: np.ndarray, level: int = 0) -> np.ndarray:
    with torch.no_grad():
        made: np.ndarray = network.double()(torch.from_numpy(picture), level).numpy()
    network.float()
    return made


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(3).random((1, 3, 14, 18))


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_module_computes_what_its_network_computes(
    shape: Shape, fold: bool, picture: np.ndarray
) -> None:
    graph = randomized(shape)
    network = TrainedGraph(graph, levels=1, fold=fold, seed=4)
    made = run(network, picture)
    assert np.abs(made - made.mean()).max() > 0.1
    np.testing.assert_allclose(made, evaluate(graph, picture), atol=1e-6)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator()))
    trained = network.network(0)
    made = run(network, picture)
    assert np.abs(made - evaluate(graph, picture)).max() > 0.01
    np.testing.assert_allclose(made, evaluate(trained, picture), atol=1e-6)
    assert trained.macs_per_pixel == graph.macs_per_pixel
    assert trained.parameters == graph.parameters


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_result_begins_as_the_nearest_enlargement(shape: Shape, picture: np.ndarray) -> None:
    network = TrainedGraph(shape.graph(5), levels=1)
    wanted = picture.repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(run(network, picture), wanted)


def test_shapes_are_described() -> None:
    assert [shape.describe() for shape in SHAPES.values()] == [
        "gated with 2 blocks of 3 layers of 8 channels, gates and a join",
        "gated with 3 blocks of 2 layers of 8 channels, a join and PReLU",
        "gated with 1 block of 1 layer of 12 channels, gates",
        "compact with 2 layers of 10 channels",
        "adaptive with 2 layers of 10 channels and an estimator of 6",
        "unet with 2 blocks of 2 layers of 12 channels between layers of 8",
    ]


def test_seeds_choose_the_random_weights() -> None:
    first, again, other = (
        {node.name: node.op.weight for node in Shape(8, 1).graph(seed).nodes
         if isinstance(node.op, g.Conv)}
        for seed in (1, 1, 2)
    )  # fmt: skip
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert name == "tail" or (first[name] != other[name]).any()


def test_a_folded_convolution_equals_its_three_layers() -> None:
    rng = np.random.default_rng(1)
    op = g.Conv(rng.random((4, 4, 3, 3), np.float32), rng.random(4, np.float32), padding=1)
    layer = FoldedConvolution(op, 1, torch.Generator().manual_seed(1)).double()
    x = torch.from_numpy(rng.random((2, 4, 9, 7)))
    conv = torch.nn.functional.conv2d
    with torch.no_grad():
        np.testing.assert_allclose(layer.folded().numpy(), op.weight, atol=1e-6)
        layer.middle += 0.1
        inner = conv(conv(x, layer.before[..., None, None]), layer.middle, padding=1)
        three = conv(inner, layer.after[..., None, None])
        rest = conv(x, layer.get_buffer("start"), layer.bias[0], padding=1)
        np.testing.assert_allclose(layer(x, 0).numpy(), (three + rest).numpy(), rtol=1e-9)


def test_folding_leaves_out_layers_of_other_shapes() -> None:
    network = TrainedGraph(Shape(8, 1).graph(1), levels=1, fold=True)
    folded = [name for name, layer in network.layers.items()
              if isinstance(layer, FoldedConvolution)]  # fmt: skip
    assert folded == [f"blocks_0_layers_{layer}" for layer in range(3)]


def test_folded_weights_are_exact_in_bfloat16() -> None:
    network = TrainedGraph(randomized(Shape(8, 1)), levels=1, fold=True)
    layer = network.convolutions()[1]
    exact = layer.folded()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.folded(), exact)
    assert exact.dtype == torch.float32


def test_levels_differ_in_their_biases(picture: np.ndarray) -> None:
    network = TrainedGraph(randomized(Shape(8, 2)), levels=3)
    np.testing.assert_array_equal(run(network, picture, 0), run(network, picture, 2))
    with torch.no_grad():
        for layer in network.convolutions():
            layer.bias[1] += 0.1
    first, second, third = (network.network(level) for level in range(3))
    for one, two, three in zip(first.nodes, second.nodes, third.nodes, strict=True):
        if isinstance(one.op, g.Conv):
            assert isinstance(two.op, g.Conv)
            assert isinstance(three.op, g.Conv)
            np.testing.assert_array_equal(one.op.weight, two.op.weight)
            np.testing.assert_array_equal(one.op.bias, three.op.bias)
            np.testing.assert_allclose(two.op.bias, one.op.bias + 0.1, atol=1e-6)
    made = run(network, picture, 1)
    assert np.abs(made - run(network, picture, 0)).max() > 0.01
    np.testing.assert_allclose(made, evaluate(second, picture), atol=1e-6)


def test_slopes_may_stay(picture: np.ndarray) -> None:
    graph = randomized(Shape(8, 1, architecture="compact"))
    network = TrainedGraph(graph, levels=1, learn_slopes=False)
    assert not network.slopes
    np.testing.assert_allclose(run(network, picture), evaluate(graph, picture), atol=1e-6)
    nodes = list(graph.nodes)
    at = next(index for index, node in enumerate(nodes) if isinstance(node.op, g.Activate))
    slopes = np.linspace(-0.2, 0.4, 8).astype(np.float32)
    nodes[at] = replace(nodes[at], op=g.Activate(g.Activation("prelu", slopes=slopes)))
    other = g.Graph(nodes, output=graph.output, inputs=graph.inputs)
    network = TrainedGraph(other, levels=1, learn_slopes=False)
    np.testing.assert_allclose(run(network, picture), evaluate(other, picture), atol=1e-6)


@pytest.mark.parametrize("engine", ["native", "onnx", "torch"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_engine_runs_the_network(shape: Shape, engine: str) -> None:
    graph = randomized(shape)
    side = graph.input_size(24)
    batch = np.random.default_rng(6).random((1, 3, side, side), np.float32)
    made = create(engine, threads=1).compile(graph).run(batch)
    np.testing.assert_allclose(made, evaluate(graph, batch), atol=2e-5)


@pytest.mark.parametrize("op", [g.Affine(2.0), g.Activate(g.Activation("silu"))])
def test_other_operations_are_refused(op: g.Op) -> None:
    graph = g.Graph([g.Node("x", op, ("input",))], output="x", inputs=(g.Input("input", 3),))
    with pytest.raises(GraphError, match=r"'x': training has no (Affine|silu)"):
        TrainedGraph(graph, levels=1)(torch.zeros(1, 3, 4, 4), 0)
