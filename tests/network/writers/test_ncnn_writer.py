"""Writes ncnn files and reads them back; ncnn itself gave the same results for these networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import networks
from helpers.state_dicts import STATES, random_graph

from waifu2x.errors import GraphError
from waifu2x.network import graph as g
from waifu2x.network.adapt import enlarged, on_luma
from waifu2x.network.compare import same
from waifu2x.network.readers.ncnn import parse_ncnn
from waifu2x.network.reference import evaluate
from waifu2x.network.writers.ncnn import input_names, to_ncnn

KINDS: tuple[g.ActivationKind, ...] = ("relu", "sigmoid", "silu", "tanh")


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng((*shape, 3)).standard_normal(shape).astype(np.float32)


def chain(*ops: Any) -> g.Graph:
    """Return nodes "v0", "v1", ... of operations, each alone or in a tuple with what it reads.

    An operation alone reads the value before.
    """
    nodes: list[g.Node] = []
    for op in ops:
        before = nodes[-1].name if nodes else "input"
        made, *inputs = op if isinstance(op, tuple) else (op,)
        nodes.append(g.Node(f"v{len(nodes)}", made, tuple(inputs) or (before,)))
    return g.Graph(nodes, output=nodes[-1].name, inputs=(g.Input("input", 4),))


def conv(inputs: int, outputs: int, kernel: int = 3, **options: object) -> g.Conv:
    return g.Conv(values(outputs, inputs, kernel, kernel), values(outputs), **options)  # type: ignore[arg-type]


def tanh() -> g.Activate:
    return g.Activate(g.Activation("tanh"))


EXTERNAL = g.ExternalModel("onnx", "", b"", 3, 1, 2, 0, 1, 1, 1)
GATE = (g.GlobalMean(), conv(4, 8, 1, activation=g.Activation("relu")))

OPERATIONS: dict[str, g.Graph] = {
    **{f"activate-{kind}": chain(g.Activate(g.Activation(kind))) for kind in KINDS},
    "activate-leaky": chain(g.Activate(g.Activation("leaky_relu", slope=0.1))),
    "activate-prelu": chain(g.Activate(g.Activation("prelu", slopes=values(4)))),
    **{f"conv-{kind}": chain(conv(4, 5, activation=g.Activation(kind))) for kind in KINDS},
    "conv-leaky": chain(conv(4, 5, 2, stride=2, activation=g.Activation("leaky_relu", slope=0.2))),
    "conv-prelu": chain(conv(4, 5, activation=g.Activation("prelu", slopes=values(5)))),
    "conv-padding": chain(conv(4, 5, padding=1)),
    "transposed": chain(g.ConvTranspose(values(4, 3, 4, 4), values(3), 2, 3)),
    "transposed-relu": chain(
        g.ConvTranspose(values(4, 3, 5, 5), values(3), 3, 2, g.Activation("relu"))
    ),
    "affine": chain(g.Affine(0.7, 0.15)),
    "affine-thirds": chain(g.Affine(1 / 3, -1 / 3)),
    "affine-channels": chain(g.Affine(values(4), values(4) + 1)),
    "affine-mixed": chain(g.Affine(255.0, values(4))),
    "affine-offset": chain(g.Affine(offset=-0.5)),
    "shuffle": chain(g.PixelShuffle(2)),
    "unshuffle": chain(g.PixelUnshuffle(2)),
    "upsample": chain(g.Upsample(3)),
    "bicubic": chain(g.Resize(3, 4, "bicubic")),
    "bilinear": chain(g.Resize(2, 3, "bilinear")),
    "crop": chain(g.Crop(2)),
    "product": chain(tanh(), (g.Multiply(), "v0", "input")),
    "sum": chain(tanh(), (g.Add(), "input", "v0")),
    "twice": chain((g.Add(), "input", "input")),
    "weighted": chain(g.Affine(0.2), (tanh(), "input"), (g.Add(), "v0", "v1")),
    "weighted-both": chain(g.Affine(0.2), (g.Affine(-1.0), "input"), (g.Add(), "v1", "v0")),
    "weighted-and-read": chain(g.Affine(0.2), (g.Add(), "v0", "input"), (g.Add(), "v1", "v0")),
    "concat": chain(tanh(), (g.Concat(), "v0", "input", "v0")),
    "gate": chain(
        *GATE, conv(8, 4, 1, activation=g.Activation("sigmoid")), (g.Multiply(), "input", "v2")
    ),
    "gate-affine": chain(
        *(g.GlobalMean(), g.Affine(values(4), values(4)), g.Affine(0.5, 0.25)),
        *(g.Activate(g.Activation("prelu", slopes=values(4))), (g.Multiply(), "input", "v3")),
    ),
    "gate-sum": chain(
        *(g.GlobalMean(), conv(4, 4, 1), (g.Add(), "v0", "v1"), (g.Concat(), "v2", "v0")),
        *(conv(8, 4, 1), (g.Multiply(), "input", "v4")),
    ),
    "nothing": chain(g.Crop(0), tanh(), g.Affine(), g.Upsample(1), g.PixelShuffle(1)),
}

NETWORKS: dict[str, Callable[[], g.Graph]] = {
    "compact": networks.compact,
    "esrgan": networks.esrgan,
    "esrgan-unshuffled": lambda: networks.esrgan(unshuffled=2),
    "span": networks.span,
    "cugan": networks.cugan,
    "shrunk": lambda: networks.shrunk(networks.compact(scale=4), 3, 4),
    **{name: lambda name=name: random_graph(name) for name in STATES},  # type: ignore[misc]
    "enlarged": lambda: enlarged(random_graph("vgg_7")),
    "luma": lambda: on_luma(random_graph("vgg_7-luma")),
}


def check(graph: g.Graph) -> g.Graph:
    """Write, read and write a network; return what was read."""
    written = to_ncnn(graph)
    read = parse_ncnn(*written)
    assert same(read, graph)
    assert to_ncnn(read) == written
    return read


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name: str) -> None:
    graph = OPERATIONS[name]
    read = check(graph)
    picture = np.random.default_rng(0).random((1, 4, 24, 36))
    expected = evaluate(graph, picture)
    np.testing.assert_allclose(evaluate(read, picture), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    graph = NETWORKS[name]()
    read = check(graph)
    assert (read.scale, read.lost, read.margin) == (graph.scale, graph.lost, graph.margin)


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision(name: str) -> None:
    graph = NETWORKS[name]()
    param, weights = to_ncnn(graph, fp16=True)
    assert param == to_ncnn(graph)[0]
    assert len(weights) < 0.75 * len(to_ncnn(graph)[1])
    read = parse_ncnn(param, weights)
    assert to_ncnn(read, fp16=True) == (param, weights)
    for before, after in zip(convolutions(graph), convolutions(read), strict=True):
        np.testing.assert_array_equal(after.weight, before.weight.astype(np.float16))
        np.testing.assert_array_equal(after.bias, before.bias)


def convolutions(graph: g.Graph) -> list[g.Conv | g.ConvTranspose]:
    return [node.op for node in graph.nodes if isinstance(node.op, g.Conv | g.ConvTranspose)]


def test_the_text_has_the_form_of_ncnn() -> None:
    activation = g.Activation("leaky_relu", slope=1.0)
    graph = chain(
        conv(4, 4, padding=1, activation=activation),
        (g.Affine(0.2), "v0"),
        (g.Add(), "v1", "input"),
        g.Upsample(2),
    )
    text, weights = to_ncnn(graph)
    assert [line.split() for line in text.splitlines()] == [
        ["7767517"],
        ["5", "6"],
        ["Input", "input_0", "0", "1", "data", "2=4"],
        ["Split", "split_1", "1", "2", "data", "data_0", "data_1"],
        [
            *("Convolution", "convolution_2", "1", "1", "data_0", "1"),
            *("0=4", "1=3", "3=1", "4=1", "5=1", "6=144", "9=2", "-23310=1,1.0"),
        ],
        ["Eltwise", "eltwise_3", "2", "1", "1", "data_1", "2", "0=1", "-23301=2,0.2,1.0"],
        ["Interp", "interp_4", "1", "1", "2", "output", "0=1", "1=2.0", "2=2.0"],
    ]
    assert len(weights) == 4 + 4 * 144 + 4 * 4
    assert weights[:4] == bytes(4)


def test_the_names_in_a_graph_do_not_matter() -> None:
    graph = networks.compact()
    names = {node.name: f"a b/{node.name} \t" for node in graph.nodes}
    nodes = [
        g.Node(names[node.name], node.op, tuple(names.get(name, name) for name in node.inputs))
        for node in graph.nodes
    ]
    renamed = g.Graph(nodes, output=names[graph.output], inputs=graph.inputs)
    assert to_ncnn(renamed) == to_ncnn(graph)


def test_activations_of_their_own_become_part_of_convolutions() -> None:
    relu = g.Activation("relu")
    apart = chain(conv(4, 5), g.Activate(relu))
    assert to_ncnn(apart) == to_ncnn(chain(conv(4, 5, activation=relu)))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (chain(g.Resize(65, 64, "bicubic")), r"'v0' \(Resize\): a resize by 65/64; .* up to 64"),
        (chain(g.Upsample(100)), r"'v0' \(Upsample\): a resize by 100"),
        (chain(g.Affine(1e39)), r"the constant 1e\+39 is beyond the range of float32"),
        (
            g.Graph([g.Node("m", EXTERNAL, ("input",))], output="m"),
            r"'m' \(ExternalModel\): it runs on engine onnx alone",
        ),
        (g.Graph([], output="input"), "the network has no operation"),
        (chain(g.Crop(0)), "the network has no operation"),
        (
            g.Graph(
                [g.Node("sum", g.Add(), ("a", "b"))],
                output="sum",
                inputs=(g.Input("a", 3), g.Input("b", 3)),
            ),
            "the network has several pictures as inputs",
        ),
    ],
)
def test_what_ncnn_cannot_express_is_named(graph: g.Graph, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        to_ncnn(graph)


def test_weights_beyond_float16_are_refused() -> None:
    big = g.Conv(np.full((4, 4, 1, 1), 1e5, np.float32), values(4))
    check(chain(big))
    with pytest.raises(GraphError, match=r"'v0' \(Conv\): a weight is beyond the range of float16"):
        to_ncnn(chain(big), fp16=True)


def test_given_means_are_inputs_with_one_axis() -> None:
    graph = networks.cugan().with_given_means()
    text, _ = to_ncnn(graph)
    names = input_names(graph)
    assert names == ["data", "mean_1", "mean_2"]
    inputs = [line.split() for line in text.splitlines() if line.startswith("Input")]
    assert [line[4] for line in inputs] == names
    assert [line[5] for line in inputs] == ["2=3", *(f"0={i.channels}" for i in graph.inputs[1:])]
