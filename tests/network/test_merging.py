"""Merging networks: each method against the formula of its paper, and what counts as equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from helpers import networks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from waifu2x.errors import ArgumentError, GraphError
from waifu2x.network import merging
from waifu2x.network.graph import (
    Activate,
    Activation,
    Add,
    Affine,
    Conv,
    Crop,
    ExternalModel,
    Graph,
    Node,
)
from waifu2x.network.merging import Recipe
from waifu2x.network.reference import evaluate

#: Sizes at which float64 rounds far below the last bit of float32.
VALUES = st.floats(-4, 4, width=32).map(lambda value: 0.0 if abs(value) < 1e-3 else value)
ARRAYS = hnp.arrays(np.float32, (3, 3, 1, 1), elements=VALUES)
WEIGHTS = st.floats(0.125, 2)
DENSITIES = st.floats(0.05, 1)


def graph_of(weight: np.ndarray, name: str = "conv") -> Graph:
    """A graph of one convolution and nothing else."""
    return Graph(
        [Node(name, Conv(weight.astype(np.float32), np.zeros(3, np.float32)), ("input",))],
        output=name,
    )


def weight_of(graph: Graph) -> np.ndarray:
    (node,) = graph.nodes
    assert isinstance(node.op, Conv)
    assert node.op.weight.dtype == np.float32
    assert not node.op.bias.any()
    return node.op.weight


def tensors(graph: Graph) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for node in graph.nodes:
        for op in (node.op, getattr(node.op, "activation", None)):
            found += [
                value
                for value in (getattr(op, name, None) for name in getattr(op, "__slots__", ()))
                if isinstance(value, np.ndarray)
            ]
    assert found
    return found


def same(first: Graph, second: Graph) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))


# --- the formulas -----------------------------------------------------------------------------


@given(st.lists(st.tuples(ARRAYS, WEIGHTS), min_size=1, max_size=4))
def test_linear_is_the_weighted_mean(parents: list[tuple[np.ndarray, float]]) -> None:
    arrays, weights = zip(*parents, strict=True)
    made = weight_of(merging.linear([graph_of(array) for array in arrays], weights))
    expected = np.average(np.float64(arrays), axis=0, weights=weights)
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-6)


@given(ARRAYS, ARRAYS, WEIGHTS, WEIGHTS)
def test_slerp_goes_along_the_arc(a: np.ndarray, b: np.ndarray, w1: float, w2: float) -> None:
    made = weight_of(merging.slerp([graph_of(a), graph_of(b)], [w1, w2]))
    x, y, t = np.float64(a), np.float64(b), w2 / (w1 + w2)
    norms = np.linalg.norm(x) * np.linalg.norm(y)
    cosine = np.sum(x * y) / norms if norms else 1.0
    if abs(cosine) > 0.9995:
        expected = (1 - t) * x + t * y
    else:
        angle = np.arccos(cosine)
        expected = (np.sin((1 - t) * angle) * x + np.sin(t * angle) * y) / np.sin(angle)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


def test_slerp_keeps_the_length() -> None:
    a, b = np.zeros((2, 3, 3, 1, 1), np.float32)
    a[0, 0], b[1, 1] = 2, 2
    made = weight_of(merging.slerp([graph_of(a), graph_of(b)], [0.5, 0.5]))
    assert np.linalg.norm(made) == pytest.approx(2)
    plain = weight_of(merging.linear([graph_of(a), graph_of(b)], [0.5, 0.5]))
    assert np.linalg.norm(plain) == pytest.approx(math.sqrt(2))


@given(ARRAYS, st.lists(st.tuples(ARRAYS, st.floats(-2, 2)), min_size=1, max_size=3))
def test_task_arithmetic(base: np.ndarray, parents: list[tuple[np.ndarray, float]]) -> None:
    arrays, weights = zip(*parents, strict=True)
    made = weight_of(merging.task(graph_of(base), [graph_of(each) for each in arrays], weights))
    start = np.float64(base)
    expected = start + sum(w * (np.float64(x) - start) for x, w in parents)
    np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-6)


@given(ARRAYS, st.lists(ARRAYS, min_size=1, max_size=4), DENSITIES)
def test_ties_trims_elects_and_averages(
    base: np.ndarray, arrays: list[np.ndarray], density: float
) -> None:
    """Algorithm 1 of the paper, position by position."""
    graphs = [graph_of(each) for each in arrays]
    made = weight_of(merging.ties(graph_of(base), graphs, [1] * len(arrays), density=density))
    start = np.float64(base).ravel()
    count = math.ceil(density * start.size)
    vectors = []
    for array in arrays:
        delta = np.float64(array).ravel() - start
        top = sorted(range(start.size), key=lambda i: (-abs(delta[i]), i))[:count]
        vectors.append([delta[i] if i in top else 0.0 for i in range(start.size)])
    expected = []
    for position, column in enumerate(zip(*vectors, strict=True)):
        sign = np.sign(sum(column))
        agreeing = [value for value in column if np.sign(value) == sign and sign != 0]
        expected.append(start[position] + (np.mean(agreeing) if agreeing else 0.0))
    np.testing.assert_allclose(made.ravel(), expected, rtol=1e-5, atol=1e-5)


def test_ties_weighs_the_signs_and_the_mean() -> None:
    base = np.zeros((3, 3, 1, 1), np.float32)
    up, down = base + 1, base - 2
    graphs = [graph_of(up), graph_of(down), graph_of(up + 2)]
    made = weight_of(merging.ties(graph_of(base), graphs, [3, 1, 1], density=1))
    np.testing.assert_allclose(made, (3 * 1 + 1 * 3) / 4)  # 3 + 3 outweigh 2


@given(ARRAYS, ARRAYS, DENSITIES, st.integers(0, 1 << 40))
def test_dare_drops_and_rescales(
    base: np.ndarray, other: np.ndarray, density: float, seed: int
) -> None:
    made = weight_of(
        merging.dare(graph_of(base), [graph_of(other)], [0.5], density=density, seed=seed)
    )
    start, end = np.float64(base), np.float64(other)
    kept = start + 0.5 * (end - start) / density
    dropped = np.isclose(made, start, rtol=1e-6, atol=1e-6)
    assert np.all(dropped | np.isclose(made, kept, rtol=1e-5, atol=1e-5))


def test_dare_keeps_the_share_and_the_mean() -> None:
    base, other = np.zeros((2, 3, 3, 1, 1), np.float32)
    rng = np.random.default_rng(0)
    base = rng.standard_normal((64, 3, 15, 15)).astype(np.float32)
    other = base + rng.standard_normal(base.shape).astype(np.float32)

    def wide(weight: np.ndarray) -> Graph:
        return Graph([Node("c", Conv(weight, np.zeros(64, np.float32)), ("input",))], output="c")

    def merged(seed: int) -> np.ndarray:
        made = merging.dare(wide(base), [wide(other)], [1], density=0.25, seed=seed)
        return tensors(made)[0]

    first = merged(1)
    assert np.array_equal(first, merged(1))
    assert not np.array_equal(first, merged(2))
    assert np.mean(first != base) == pytest.approx(0.25, abs=0.01)
    assert np.mean((first - base) * (other - base)) == pytest.approx(1, abs=0.05)


def test_the_random_numbers_are_these_forever() -> None:
    drawn = merging._drawn((7, 0, 3), (2, 8), 0.5).astype(int)
    assert drawn.tolist() == DRAWN


DRAWN = [[0, 0, 0, 1, 1, 0, 0, 1], [1, 1, 1, 1, 0, 1, 0, 0]]


# --- what must hold for every method ----------------------------------------------------------

Merge = Callable[[Graph, Sequence[Graph], Sequence[float]], Graph]


def recipe(method: Any, weights: Sequence[float], **more: Any) -> Recipe:
    return Recipe(tuple(weights), method, **more)


FAMILIES = {
    "compact": networks.compact,
    "cugan": networks.cugan,
    "esrgan": networks.esrgan,
    "span": networks.span,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_equal_parents_and_weights_of_1_and_0_give_a_parent(family: str, method: str) -> None:
    a, b = FAMILIES[family](seed=1), FAMILIES[family](seed=2)
    assert not same(a, b)
    assert same(recipe(method, [0.3, 0.7]).merge([a, a]), a)
    assert same(recipe(method, [1, 0]).merge([a, b]), a)
    assert same(recipe(method, [0, 3]).merge([a, b]), b)
    between = recipe(method, [0.5, 0.5]).merge([a, b])
    assert not same(between, a)
    assert not same(between, b)
    assert [node.name for node in between.nodes] == [node.name for node in a.nodes]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["task", "ties", "dare"])
def test_methods_with_a_base(family: str, method: str) -> None:
    make = FAMILIES[family]
    base, a, b = make(seed=0), make(seed=1), make(seed=2)
    assert same(recipe(method, [1]).merge([a], base), a)
    assert same(recipe(method, [0.4]).merge([base], base), base)
    assert same(recipe(method, [1, 0]).merge([a, b], base), a)
    assert not same(recipe(method, [0.5, 0.5]).merge([a, b], base), a)


def test_the_order_of_parents_does_not_matter() -> None:
    base, a, b = (networks.compact(seed=seed) for seed in range(3))
    for method in ("task", "ties"):
        first = recipe(method, [0.25, 0.5]).merge([a, b], base)
        second = recipe(method, [0.5, 0.25]).merge([b, a], base)
        for x, y in zip(tensors(first), tensors(second), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)


# --- structure --------------------------------------------------------------------------------


def conv(name: str, source: str, *, seed: int = 0, kernel: int = 3, **options: Any) -> Node:
    weight = np.random.default_rng(seed).standard_normal((3, 3, kernel, kernel))
    return Node(name, Conv(weight.astype(np.float32), np.ones(3, np.float32), **options), (source,))


def test_names_order_and_fused_activations_do_not_matter() -> None:
    relu = Activation("prelu", slopes=np.full(3, 0.5, np.float32))
    first = Graph(
        [
            conv("a", "input", activation=relu),
            conv("b", "input"),
            Node("sum", Add(), ("a", "b")),
        ],
        output="sum",
    )
    other = Activation("prelu", slopes=np.full(3, 0.1, np.float32))
    second = Graph(
        [
            conv("2", "input", seed=2),
            conv("1", "input", seed=1),
            Node("1r", Activate(other), ("1",)),
            Node("3", Add(), ("1r", "2")),
        ],
        output="3",
    )
    merged = merging.linear([first, second], [1, 1])
    assert [node.name for node in merged.nodes] == ["a", "b", "sum"]
    op = merged.nodes[0].op
    assert isinstance(op, Conv)
    assert op.activation is not None
    np.testing.assert_allclose(op.activation.slopes, 0.3)
    rng = np.random.default_rng(0)
    seeds = [np.random.default_rng(s).standard_normal((3, 3, 3, 3)).astype("f4") for s in (0, 1)]
    np.testing.assert_allclose(op.weight, np.mean(np.float64(seeds), axis=0), rtol=1e-6)
    back = merging.linear([second, first], [1, 1])
    picture = rng.random((1, 3, 8, 8))
    np.testing.assert_allclose(evaluate(back, picture), evaluate(merged, picture), rtol=1e-6)


def test_the_terms_of_a_sum_may_be_in_any_order() -> None:
    def summed(*terms: str) -> Graph:
        nodes = [conv("a", "input", kernel=5), conv("b", "input"), Node("c", Crop(1), ("b",))]
        return Graph([*nodes, Node("sum", Add(), terms)], output="sum")

    assert same(merging.linear([summed("a", "c"), summed("c", "a")], [1, 2]), summed("a", "c"))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [conv("x", "input", kernel=5)],
            "the networks differ: 'a' is Conv weight 3x3x3x3 bias 3 stride 1 padding 0, and "
            "'x' is Conv weight 3x3x5x5 bias 3 stride 1 padding 0",
        ),
        (
            [conv("x", "input", padding=1)],
            "the networks differ: 'a' is Conv weight 3x3x3x3 bias 3 stride 1 padding 0, and "
            "'x' is Conv weight 3x3x3x3 bias 3 stride 1 padding 1",
        ),
        (
            [Node("x", Activate(Activation("relu")), ("input",))],
            "the networks differ: 'a' is Conv weight 3x3x3x3 bias 3 stride 1 padding 0, and "
            "'x' is Activate kind relu slope 0",
        ),
        (
            [conv("x", "input"), Node("y", Crop(1), ("x",))],
            "the networks differ: they have 1 and 2 operations; 'y', Crop margin 1, is in one only",
        ),
    ],
)
def test_the_first_difference_is_named(nodes: list[Node], message: str) -> None:
    first = Graph([conv("a", "input")], output="a")
    second = Graph(nodes, output=nodes[-1].name)
    with pytest.raises(GraphError) as caught:
        merging.linear([first, second], [1, 1])
    assert str(caught.value) == message


def test_wiring_counts() -> None:
    def wired(last: str) -> Graph:
        nodes = [
            conv("a", "input", padding=1),
            conv("b", "a", padding=1),
            Node("sum", Add(), ("b", last)),
        ]
        return Graph(nodes, output="sum")

    with pytest.raises(GraphError) as caught:
        merging.linear([wired("a"), wired("input")], [1, 1])
    assert str(caught.value) == "the networks differ: 'sum' and 'sum' (Add) read other values"


def test_scalars_are_part_of_the_structure() -> None:
    def scaled(scale: float) -> Graph:
        return Graph([conv("a", "input"), Node("s", Affine(scale, 0.0), ("a",))], output="s")

    assert merging.linear([scaled(0.2), scaled(float(np.float32(0.2)))], [1, 1])
    with pytest.raises(GraphError, match=r"'s' is Affine scale 0\.2 .* scale 0\.3"):
        merging.linear([scaled(0.2), scaled(0.3)], [1, 1])


def test_what_cannot_be_merged() -> None:
    whole = Graph(
        [Node("m", ExternalModel("onnx", "", b"", 3, 9, 2, 0, 1, 4, 99), ("input",))], output="m"
    )
    with pytest.raises(GraphError, match="'m' runs as a whole on engine onnx; the weights of"):
        merging.linear([whole, whole], [1, 1])
    endless = graph_of(np.full((3, 3, 1, 1), np.inf))
    with pytest.raises(GraphError, match="'conv' has weights that are not finite when merged"):
        merging.linear([endless, endless], [1, 1])
    huge = graph_of(np.full((3, 3, 1, 1), 3e38))
    with pytest.raises(GraphError, match="not finite"):
        merging.task(graph_of(np.zeros((3, 3, 1, 1))), [huge, huge], [1, 1])


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"method": "sum"},
            "method 'sum' is unknown; allowed are linear, slerp, task, ties, dare",
        ),
        ({"weights": (1, math.nan)}, "a weight is nan; weights must be finite"),
        ({"weights": (1, -1)}, "the sum of the `weights` is 0; they are divided by it"),
        ({"weights": (1e308, 1e308)}, "the sum of the `weights` is too large; divide them all"),
        (
            {"density": 0.5},
            "method linear keeps all differences, and `density=0.5` is given; leave it out, or "
            "choose ties or dare",
        ),
        (
            {"method": "ties", "density": 0.0},
            "density is 0; it must be above 0 and at most 1",
        ),
        (
            {"method": "dare", "density": math.nan},
            "density is nan; it must be above 0 and at most 1",
        ),
        (
            {"method": "ties", "seed": 1},
            "method ties draws no random numbers, and `seed=1` is given; leave it out, or "
            "choose dare",
        ),
        (
            {"method": "dare", "seed": -1},
            "seed is -1; it must be a whole number of at least 0",
        ),
    ],
)
def test_a_recipe_checks_itself(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Recipe(**{"weights": (0.5, 0.5), **values})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("method", "count", "base", "message"),
    [
        ("linear", 1, False, "method linear merges at least 2 networks, and 1 are given"),
        ("slerp", 3, False, "method slerp merges 2 networks, and 3 are given"),
        ("linear", 3, False, "there are 3 networks and 2 `weights`; give one for each"),
        ("ties", 2, False, "method ties adds differences from a base; give `base=`"),
        (
            "linear",
            2,
            True,
            "method linear has no base, and `base` is given; leave it out, or choose task, ties "
            "or dare",
        ),
    ],
)
def test_a_recipe_fits_its_networks(method: Any, count: int, base: bool, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Recipe((0.5, 0.5), method).check_networks(count, base=base)
    assert str(caught.value) == message


def test_sums_of_task_arithmetic_may_be_zero() -> None:
    base, a, b = (networks.compact(seed=seed) for seed in range(3))
    assert recipe("task", [1, -1]).merge([a, b], base)


# --- by results -------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "share"), [*zip(FAMILIES, (0, 0.3, 0.5, 0.9), strict=True)])
def test_the_average_of_results(family: str, share: float) -> None:
    a, b = FAMILIES[family](seed=1), FAMILIES[family](seed=2)
    both = merging.average([a, b], [1 - share, share])
    picture = np.random.default_rng(0).random((1, 3, a.input_size(30), a.input_size(30)))
    expected = (1 - share) * evaluate(a, picture) + share * evaluate(b, picture)
    np.testing.assert_allclose(evaluate(both, picture), expected, rtol=1e-9, atol=1e-12)
    assert both.macs_per_pixel == a.macs_per_pixel + b.macs_per_pixel
    assert (both.scale, both.lost, both.alignment, both.reach) == (
        *(a.scale, a.lost, a.alignment, a.reach),
    )
    assert len(both.means) == 2 * len(a.means)


def test_an_average_needs_results_that_lie_on_each_other() -> None:
    a = Graph([conv("a", "input")], output="a")
    b = Graph([conv("a", "input", kernel=5)], output="a")
    with pytest.raises(GraphError, match="joins values that do not lie on each other"):
        merging.average([a, b], [0.5, 0.5])
    with pytest.raises(ArgumentError, match="2 networks and 1 `weights`"):
        merging.average([a, a], [0.5])
