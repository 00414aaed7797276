from __future__ import annotations

import numpy as np
import pytest

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
    PixelShuffle,
)
from waifu2x.network.reference import evaluate
from waifu2x.network.rewrite import Ref, Step, fold_scales, fuse, shuffle_transposed


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def transposed(
    kernel: int, stride: int, padding: int, activation: Activation | None = None
) -> ConvTranspose:
    return ConvTranspose(
        weights(2, 3, kernel, kernel), weights(3), stride, padding, activation=activation
    )


def enlarging(op: ConvTranspose) -> Graph:
    """Return a graph of the transposed convolution between two layers, to test its links, too."""
    nodes = (
        Node("first", Conv(weights(2, 1, 3, 3), weights(2)), ("input",)),
        Node("up", op, ("first",)),
        Node("last", Conv(weights(1, 3, 1, 1), weights(1)), ("up",)),
    )
    return Graph(nodes, output="last", inputs=(Input("input", 1),))


def kinds(graph: Graph) -> list[str]:
    return [type(node.op).__name__ for node in graph.nodes]


def assert_same_function(made: Graph, graph: Graph, *, atol: float = 1e-12) -> None:
    """Compare the geometry, and float64 results on a picture that is not square."""
    out, other = made.out, graph.out
    assert (out.scale, out.origin, out.lost, out.channels) == (
        other.scale,
        other.origin,
        other.lost,
        other.channels,
    )
    assert made.alignment == graph.alignment
    assert made.inputs == graph.inputs
    batch = np.random.default_rng(0).standard_normal((2, graph.channels[0], 13, 11))
    np.testing.assert_allclose(evaluate(made, batch), evaluate(graph, batch), rtol=0, atol=atol)


EXACT = [
    (stride * taps, stride, stride * taps - stride + crop)
    for stride in (1, 2, 3, 4)
    for taps in (1, 2, 3)
    for crop in (0, 1, 2)
]


@pytest.mark.parametrize(("kernel", "stride", "padding"), EXACT)
def test_a_transposed_convolution_becomes_a_convolution_and_a_shuffle(
    kernel: int, stride: int, padding: int
) -> None:
    graph = enlarging(transposed(kernel, stride, padding))
    made = shuffle_transposed(graph)
    crop = ["Crop"] if padding > kernel - stride else []
    assert kinds(made) == ["Conv", "Conv", "PixelShuffle", *crop, "Conv"]
    assert made.macs_per_pixel == graph.macs_per_pixel
    assert not made.pads
    assert_same_function(made, graph)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        (4, 2, 1),  # outputs at the edge miss taps
        (4, 2, 0),
        (2, 1, 0),
        (3, 2, 1),  # taps that the stride does not divide
        (3, 2, 2),
        (5, 3, 4),
        (1, 2, 0),  # kernel below the stride: holes
    ],
)
def test_what_misses_taps_stays_as_it_is(kernel: int, stride: int, padding: int) -> None:
    graph = enlarging(transposed(kernel, stride, padding))
    made = shuffle_transposed(graph)
    assert [node.op for node in made.nodes] == [node.op for node in graph.nodes]
    assert_same_function(made, graph)


@pytest.mark.parametrize(
    ("taps", "least", "rewritten"), [(1, 1, True), (1, 2, False), (2, 2, True), (2, 3, False)]
)
def test_fewer_taps_than_asked_for_stay_as_they_are(taps: int, least: int, rewritten: bool) -> None:
    graph = enlarging(transposed(2 * taps, 2, 2 * taps - 2))
    made = shuffle_transposed(graph, least_taps=least)
    assert ("PixelShuffle" in kinds(made)) == rewritten
    assert ("ConvTranspose" in kinds(made)) == (not rewritten)
    assert_same_function(made, graph)


@pytest.mark.parametrize(
    "activation",
    [
        Activation("relu"),
        Activation("leaky_relu", slope=0.1),
        Activation("sigmoid"),
        # Slopes are per channel: before the shuffle they would apply to the wrong channels.
        Activation("prelu", slopes=np.array([-0.5, 0.25, 0.75], np.float32)),
    ],
    ids=lambda activation: activation.kind,
)
@pytest.mark.parametrize("padding", [2, 3])
def test_the_activation_follows_the_shuffle(activation: Activation, padding: int) -> None:
    graph = enlarging(transposed(4, 2, padding, activation))
    made = shuffle_transposed(graph)
    assert "Activate" in kinds(made)
    assert_same_function(made, graph)


def test_a_transposed_convolution_at_the_end_keeps_its_name() -> None:
    graph = Graph(
        [Node("up", ConvTranspose(weights(1, 1, 4, 4), weights(1), 2, 3), ("input",))],
        output="up",
        inputs=(Input("input", 1),),
    )
    made = shuffle_transposed(graph)
    assert made.output == "up"
    assert_same_function(made, graph)


def test_a_result_read_twice_and_one_after_another() -> None:
    nodes = (
        Node("up", ConvTranspose(weights(1, 2, 2, 2), weights(2), 2), ("input",)),
        Node("again", ConvTranspose(weights(2, 2, 2, 2), weights(2), 2), ("up",)),
        Node("down", Conv(weights(2, 2, 2, 2), weights(2), 2), ("again",)),
        Node("sum", Add(), ("up", "down")),
    )
    graph = Graph(nodes, output="sum", inputs=(Input("input", 1),))
    made = shuffle_transposed(graph)
    assert kinds(made) == ["Conv", "PixelShuffle", "Conv", "PixelShuffle", "Conv", "Add"]
    assert_same_function(made, graph)
    assert [node.op for node in shuffle_transposed(made).nodes] == [node.op for node in made.nodes]


@pytest.mark.parametrize(("model", "scale"), [("upconv_7", 2), ("cunet", 2), ("cunet", 1)])
def test_real_networks(model: str, scale: int) -> None:
    entry = registry.model(model).network(scale, 0)
    assert entry is not None
    graph = registry.load(entry)
    made = shuffle_transposed(graph)
    assert made.scale == graph.scale
    assert (made.lost, made.margin, made.alignment) == (graph.lost, graph.margin, graph.alignment)
    assert (made.input_size(0), len(made.means)) == (graph.input_size(0), len(graph.means))
    size = graph.input_size(2 * graph.lost + 3)
    picture = np.random.default_rng(1).random((1, 3, size, size))
    np.testing.assert_allclose(
        evaluate(made, picture), evaluate(graph, picture), rtol=0, atol=1e-12
    )


def test_other_operations_are_kept() -> None:
    nodes = (
        Node("a", Conv(weights(4, 1, 3, 3), weights(4)), ("input",)),
        Node("b", PixelShuffle(2), ("a",)),
        Node("c", Crop(1), ("b",)),
    )
    graph = Graph(nodes, output="c", inputs=(Input("input", 1),))
    assert shuffle_transposed(graph).nodes == graph.nodes


# --- fusing ---------------------------------------------------------------------------------------

RELU = Activation("relu")
NATIVE = {"crops": True, "gates": True}
CUDA = {"shuffles": True}


def unfused(steps: list[Step], output: Ref, graph: Graph) -> Graph:
    """Return the graph that the steps compute, in their order."""
    nodes: list[Node] = []

    def add(name: str, op: object, *inputs: str) -> str:
        nodes.append(Node(name, op, inputs))  # type: ignore[arg-type]
        return name

    def read(ref: Ref) -> str:
        return add(f"read {len(nodes)}", Crop(ref.crop), ref.name) if ref.crop else ref.name

    for step in steps:
        inputs = [read(ref) for ref in step.inputs]
        op = step.node.op
        fused: list[tuple[object, list[str]]] = []
        if isinstance(op, Conv | ConvTranspose):
            if step.shuffle > 1:
                fused.append((PixelShuffle(step.shuffle), []))
            if step.crop:
                fused.append((Crop(step.crop), []))
            if step.activation is not None and op.activation is None:
                fused.append((Activate(step.activation), []))
            if step.factor is not None:
                fused.append((Multiply(), [read(step.factor)]))
            if step.addend is not None:
                fused.append((Add(), [read(step.addend)]))
        for index, (after, others) in enumerate([(op, inputs[1:]), *fused]):
            last = index == len(fused)
            name = step.name if last else f"{step.name} {index}"
            inputs = [add(name, after, inputs[0], *others)]
    return Graph(nodes, output=read(output), inputs=graph.inputs)


def conv(inputs: int, outputs: int, kernel: int = 1, **options: int) -> Conv:
    return Conv(weights(outputs, inputs, kernel, kernel), weights(outputs), **options)


def residual() -> Graph:
    """Return a graph with skip connections before and after the values they are added to."""
    prelu = Activation("prelu", slopes=np.array([-0.5, 0.25, 0.75], np.float32))
    nodes = (
        Node("a", conv(1, 3, 3), ("input",)),
        Node("relu", Activate(prelu), ("a",)),
        Node("b", conv(3, 3, 3), ("relu",)),
        Node("cut", Crop(1), ("relu",)),
        Node("sum", Add(), ("b", "cut")),
        Node("mean", GlobalMean(), ("sum",)),
        Node("gate", conv(3, 3), ("mean",)),
        Node("sigmoid", Activate(Activation("sigmoid")), ("gate",)),
        Node("gated", Multiply(), ("sum", "sigmoid")),
        Node("late", conv(3, 3), ("gated",)),
        Node("early", conv(3, 3), ("gated",)),
        Node("both", Add(), ("late", "early")),
        Node("c", conv(3, 12, 3), ("both",)),
        Node("shuffled", PixelShuffle(2), ("c",)),
        Node("middle", Crop(3), ("shuffled",)),
        Node("leaky", Activate(Activation("leaky_relu", slope=0.1)), ("middle",)),
        Node("up", ConvTranspose(weights(3, 3, 2, 2), weights(3), 2), ("both",)),
        Node("once", Crop(2), ("up",)),
        Node("twice", Crop(3), ("once",)),
        Node("total", Add(), ("twice", "leaky")),
        Node("joined", Concat(), ("total", "twice")),
        Node("out", Crop(1), ("joined",)),
    )
    return Graph(nodes, output="out", inputs=(Input("input", 1),))


@pytest.mark.parametrize("options", [NATIVE, CUDA, {}], ids=["native", "cuda", "none"])
def test_fused_steps_compute_the_graph(options: dict[str, bool]) -> None:
    graph = residual()
    steps, output = fuse(graph, **options)
    assert_same_function(unfused(steps, output, graph), graph)
    if not options.get("crops"):
        assert output.crop == 0
        assert not any(ref.crop for step in steps for ref in step.inputs)


@pytest.mark.parametrize("options", [NATIVE, CUDA], ids=["native", "cuda"])
@pytest.mark.parametrize(("model", "scale"), [("upconv_7", 2), ("cunet", 2), ("cunet", 1)])
def test_real_networks_are_fused_to_their_convolutions(
    model: str, scale: int, options: dict[str, bool]
) -> None:
    entry = registry.model(model).network(scale, 0)
    assert entry is not None
    graph = registry.load(entry)
    if options.get("shuffles"):
        graph = shuffle_transposed(graph)
    steps, output = fuse(graph, **options)
    alone = (Conv, ConvTranspose, GlobalMean, Multiply, Activate)
    for step in steps:
        assert isinstance(step.node.op, alone)
        assert not isinstance(step.node.op, Activate) or graph.values[step.name].pooled
    size = graph.input_size(2 * graph.lost + 3)
    picture = np.random.default_rng(1).random((1, 3, size, size))
    np.testing.assert_allclose(
        evaluate(unfused(steps, output, graph), picture), evaluate(graph, picture), atol=1e-12
    )


def names(graph: Graph, options: dict[str, bool]) -> list[str]:
    return [step.name for step in fuse(graph, **options)[0]]


def chain(*ops: object, output: int = -1) -> Graph:
    made = [f"{index}" for index in range(len(ops))]
    nodes = [
        Node(name, op, (source,))  # type: ignore[arg-type]
        for name, op, source in zip(made, ops, ["input", *made], strict=False)
    ]
    return Graph(nodes, output=made[output], inputs=(Input("input", 1),))


@pytest.mark.parametrize(
    ("ops", "native", "cuda"),
    [
        ([conv(1, 4), PixelShuffle(2), Crop(1), Activate(RELU)], ["0", "1", "3"], ["3"]),
        ([conv(1, 4), Activate(RELU), PixelShuffle(2)], ["1", "2"], ["1", "2"]),
        ([conv(1, 4), Activate(RELU), Activate(RELU)], ["1", "2"], ["1", "2"]),
        ([conv(1, 4), Activate(Activation("sigmoid"))], ["1"], ["0", "1"]),
        ([conv(1, 4), Activate(Activation("tanh")), Activate(RELU)], ["1", "2"], ["0", "1", "2"]),
        ([conv(1, 4), Crop(1)], ["0"], ["0", "1"]),
        ([Crop(1), Crop(2), conv(1, 1)], ["2"], ["1", "2"]),
        ([conv(1, 16), PixelShuffle(2), PixelShuffle(2)], ["0", "1", "2"], ["1", "2"]),
    ],
)
def test_what_is_fused(ops: list[object], native: list[str], cuda: list[str]) -> None:
    assert names(chain(*ops), NATIVE) == native
    assert names(chain(*ops), CUDA) == cuda


@pytest.mark.parametrize("first", ["a", "gate"])
def test_a_gate_is_part_of_the_later_convolution(first: str) -> None:
    both = [
        Node("a", conv(1, 1, 3, padding=1), ("input",)),
        Node("gate", conv(1, 1), ("input",)),
    ]
    nodes = (
        *(both if first == "a" else reversed(both)),
        Node("tanh", Activate(Activation("tanh")), ("gate",)),
        Node("product", Multiply(), ("tanh", "a")),
        Node("sum", Add(), ("input", "product")),
        Node("out", Multiply(), ("sum", "sum")),
    )
    graph = Graph(nodes, output="out", inputs=(Input("input", 1),))
    steps, output = fuse(graph, **NATIVE)
    names = ["a", "sum", "out"] if first == "a" else ["tanh", "sum", "out"]
    assert [step.name for step in steps] == names
    assert_same_function(unfused(steps, output, graph), graph)
    steps, output = fuse(graph, **CUDA)
    assert all(step.factor is None for step in steps)
    assert_same_function(unfused(steps, output, graph), graph)


def test_a_value_read_twice_stays_a_step() -> None:
    nodes = (
        Node("a", conv(1, 1), ("input",)),
        Node("b", Activate(RELU), ("a",)),
        Node("twice", Add(), ("b", "b")),
        Node("sum", Add(), ("twice", "a")),
    )
    graph = Graph(nodes, output="sum", inputs=(Input("input", 1),))
    assert names(graph, NATIVE) == ["a", "b", "twice", "sum"]


def test_the_last_of_two_convolutions_carries_their_sum() -> None:
    nodes = (
        Node("a", conv(1, 1, 3), ("input",)),
        Node("b", conv(1, 1), ("input",)),
        Node("cut", Crop(1), ("b",)),
        Node("sum", Add(), ("a", "cut")),
    )
    steps, output = fuse(Graph(nodes, output="sum", inputs=(Input("input", 1),)), **CUDA)
    # "b" is computed after "a", so the sum and the crop are separate steps.
    assert [step.name for step in steps] == ["a", "b", "cut", "sum"]
    steps, output = fuse(
        Graph((nodes[1], nodes[0], *nodes[2:]), output="sum", inputs=(Input("input", 1),)), **CUDA
    )
    assert [step.name for step in steps] == ["b", "sum"]
    assert steps[1].addend == Ref("b", 1)
    assert output == Ref("sum")


# --- scales folded into convolutions --------------------------------------------------------------


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_scale_after_a_convolution_becomes_part_of_it(transpose: bool, by_channel: bool) -> None:
    first = transposed(3, 1, 1) if transpose else conv(2, 3, 3)
    affine = Affine(weights(3), weights(3)) if by_channel else Affine(0.2, 0.5)
    nodes = (
        Node("first", conv(1, 2), ("input",)),
        Node("conv", first, ("first",)),
        Node("scaled", affine, ("conv",)),
        Node("again", Affine(scale=-1.0), ("scaled",)),
        Node("cut", Crop(0), ("again",)),
    )
    graph = Graph(nodes, output="cut", inputs=(Input("input", 1),))
    made = fold_scales(graph)
    assert [node.name for node in made.nodes] == ["first", "again", "cut"]
    # The product of a weight and the scale is rounded to float32.
    assert_same_function(made, graph, atol=1e-5)


def test_only_scales_after_a_convolution_of_one_reader_are_folded() -> None:
    nodes = (
        Node("before", Affine(2.0, 1.0), ("input",)),
        Node("a", conv(1, 1), ("before",)),
        Node("read twice", Affine(2.0, 1.0), ("a",)),
        Node("b", Conv(weights(1, 1, 1, 1), weights(1), activation=RELU), ("a",)),
        Node("activated", Affine(2.0, 1.0), ("b",)),
        Node("sum", Add(), ("read twice", "activated")),
        Node("of a sum", Affine(0.5), ("sum",)),
    )
    graph = Graph(nodes, output="of a sum", inputs=(Input("input", 1),))
    made = fold_scales(graph)
    assert [node.name for node in made.nodes] == [node.name for node in nodes]
    output = fold_scales(Graph(nodes[:3], output="a", inputs=(Input("input", 1),)))
    assert output.output == "a"
