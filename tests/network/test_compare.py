from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import networks
from helpers.state_dicts import STATES, random_graph

from waifu2x.network import graph as g
from waifu2x.network.compare import same


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng((*shape, 3)).standard_normal(shape).astype(np.float32)


def graph(*nodes: g.Node, output: str | None = None) -> g.Graph:
    return g.Graph(nodes, output=output or nodes[-1].name, inputs=(g.Input("input", 3),))


def node(name: str, op: g.Op, *inputs: str) -> g.Node:
    return g.Node(name, op, inputs or ("input",))


def conv(**options: object) -> g.Conv:
    return g.Conv(values(3, 3, 3, 3), values(3), padding=1, **options)  # type: ignore[arg-type]


RELU, SIGMOID = g.Activation("relu"), g.Activation("sigmoid")

PAIRS = {
    "other names": (graph(node("a", conv())), graph(node("b", conv()))),
    "an activation apart": (
        graph(node("a", conv(activation=RELU))),
        graph(node("a", conv()), node("b", g.Activate(RELU), "a")),
    ),
    "a leaky ReLU of slope 0": (
        graph(node("a", g.Activate(RELU))),
        graph(node("a", g.Activate(g.Activation("leaky_relu", slope=0.0)))),
    ),
    "terms in another order": (
        graph(node("a", conv()), node("b", g.Add(), "a", "input")),
        graph(node("a", conv()), node("b", g.Add(), "input", "a")),
    ),
    "a factor apart from its offset": (
        graph(node("a", g.Affine(0.5, 0.25))),
        graph(node("a", g.Affine(0.5)), node("b", g.Affine(offset=0.25), "a")),
    ),
    "a number for each channel": (
        graph(node("a", g.Affine(0.5))),
        graph(node("a", g.Affine(np.full(3, 0.5, np.float32)))),
    ),
    "crops in sequence": (
        graph(node("a", g.Crop(3))),
        graph(node("a", g.Crop(1)), node("b", g.Crop(2), "a")),
    ),
    "operations without effect": (
        graph(node("a", conv())),
        graph(
            node("n", g.Crop(0)), node("a", conv(), "n"), node("b", g.Affine(), "a"),
            node("c", g.Upsample(1), "b"), node("d", g.PixelShuffle(1), "c"),
        ),
    ),
    "SiLU as a product": (
        graph(node("a", g.Activate(g.Activation("silu")))),
        graph(node("a", g.Activate(SIGMOID)), node("b", g.Multiply(), "a", "input")),
    ),
    "a ratio that is not reduced": (
        graph(node("a", g.Resize(1, 2, "bicubic"))),
        graph(node("a", g.Resize(2, 4, "bicubic"))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_network(name: str) -> None:
    first, second = PAIRS[name]
    assert same(first, second)
    assert same(second, first)


def changed(base: g.Graph, index: int, op: g.Op) -> g.Graph:
    nodes = list(base.nodes)
    nodes[index] = replace(nodes[index], op=op)
    return g.Graph(nodes, output=base.output, inputs=base.inputs)


def test_each_weight_counts() -> None:
    base = networks.compact()
    for index, each in enumerate(base.nodes):
        if isinstance(each.op, g.Conv):
            for name in ("weight", "bias"):
                array = getattr(each.op, name).copy()
                array.flat[-1] = np.nextafter(array.flat[-1], np.float32(9))
                assert not same(changed(base, index, replace(each.op, **{name: array})), base)
        elif isinstance(each.op, g.Activate):
            slopes = each.op.activation.slopes + np.float32(1e-3)
            other = g.Activate(replace(each.op.activation, slopes=slopes))
            assert not same(changed(base, index, other), base)
    assert same(changed(base, 0, base.nodes[0].op), base)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (g.Activate(RELU), g.Activate(SIGMOID)),
        (
            g.Activate(g.Activation("leaky_relu", slope=0.1)),
            g.Activate(g.Activation("leaky_relu", slope=0.2)),
        ),
        (g.Affine(0.5), g.Affine(0.5, 0.1)),
        (g.Affine(0.5), g.Affine(0.25)),
        (g.Crop(1), g.Crop(2)),
        (g.Upsample(2), g.Resize(2, 1, "bilinear")),
        (g.Resize(2, 1, "bicubic"), g.Resize(2, 1, "bilinear")),
        (g.Upsample(2), g.Upsample(3)),
        (conv(), replace(conv(), padding=0)),
        (g.PixelUnshuffle(2), g.PixelUnshuffle(3)),
    ],
)
def test_other_operations(first: g.Op, second: g.Op) -> None:
    assert not same(graph(node("a", first)), graph(node("a", second)))


def test_what_an_operation_reads_counts() -> None:
    """The parts of a concatenation, and of a gate, have an order."""
    parts = (node("a", conv()), node("b", g.Activate(RELU), "a"))
    joined = [graph(*parts, node("c", g.Concat(), *order)) for order in ("ab", "ba", "aa")]
    assert not any(same(joined[i], joined[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_constants_are_compared_in_five_digits_if_not_exactly() -> None:
    base, close, other = (graph(node("a", g.Affine(scale))) for scale in (255.0, 255.00002, 255.01))
    assert not same(base, close)
    assert same(base, close, exact=False)
    assert not same(base, other, exact=False)


def test_networks_differ_from_each_other() -> None:
    made = [random_graph(name) for name in STATES]
    for index, first in enumerate(made):
        assert [same(first, second) for second in made] == [i == index for i in range(len(made))]
