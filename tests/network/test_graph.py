from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from waifu2x.errors import GraphError
from waifu2x.network import registry
from waifu2x.network.graph import (
    MAX_CONTEXT,
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
    Op,
    PixelShuffle,
    PixelUnshuffle,
    Resize,
    Upsample,
)
from waifu2x.network.reference import evaluate

ONE = (Input("input", 1),)


def weights(*shape: int) -> np.ndarray:
    """Return positive weights, so that no dependency cancels."""
    return np.random.default_rng(shape).uniform(0.5, 1.5, shape).astype(np.float32)


def conv(
    inputs: int = 1, outputs: int = 1, kernel: int = 3, stride: int = 1, padding: int = 0
) -> Conv:
    return Conv(weights(outputs, inputs, kernel, kernel), weights(outputs), stride, padding)


def transposed(
    inputs: int = 1, outputs: int = 1, kernel: int = 4, stride: int = 2, padding: int = 0
) -> ConvTranspose:
    return ConvTranspose(
        weights(inputs, outputs, kernel, kernel), weights(outputs), stride, padding
    )


def chain(*ops: Op) -> Graph:
    """Return a graph of one channel with the operations in sequence."""
    nodes = [
        Node(f"n{index}", op, (f"n{index - 1}" if index else "input",))
        for index, op in enumerate(ops)
    ]
    return Graph(nodes, output=nodes[-1].name, inputs=ONE)


def graph(*nodes: Node, output: str | None = None) -> Graph:
    return Graph(nodes, output=output or nodes[-1].name, inputs=ONE)


def small_unet() -> Graph:
    """Return a U-Net with a cropped skip connection."""
    return graph(
        Node("a", conv(), ("input",)),
        Node("down", conv(kernel=2, stride=2), ("a",)),
        Node("b", conv(), ("down",)),
        Node("up", transposed(kernel=2), ("b",)),
        Node("skip", Crop(2), ("a",)),
        Node("sum", Add(), ("up", "skip")),
        Node("c", conv(), ("sum",)),
    )


def gated() -> Graph:
    """Return two gates with a crop between them; the second mean depends on the first."""
    nodes = (
        Node("a", conv(1, 4), ("input",)),
        Node("mean1", GlobalMean(), ("a",)),
        Node("squeeze1", conv(4, 2, kernel=1), ("mean1",)),
        Node("gate1", conv(2, 4, kernel=1), ("squeeze1",)),
        Node("sigmoid1", Activate(Activation("sigmoid")), ("gate1",)),
        Node("b", Multiply(), ("a", "sigmoid1")),
        Node("c", conv(4, 4), ("b",)),
        Node("mean2", GlobalMean(), ("c",)),
        Node("gate2", conv(4, 4, kernel=1), ("mean2",)),
        Node("sigmoid2", Activate(Activation("sigmoid")), ("gate2",)),
        Node("d", Multiply(), ("c", "sigmoid2")),
        Node("cropped", Crop(1), ("b",)),
        Node("e", Add(), ("d", "cropped")),
        Node("f", conv(4, 1), ("e",)),
    )
    return graph(*nodes)


# --- the networks of the registry -------------------------------------------------------------


def load(model: str, scale: int) -> Graph:
    network = registry.model(model).network(scale, 0)
    assert network is not None
    return registry.load(network)


@pytest.mark.parametrize(
    ("model", "scale", "margin", "modulus", "macs", "parameters", "means"),
    [
        ("upconv_7", 2, 7, 1, 551_856, 552_483, 0),
        ("upconv_7_photo", 2, 7, 1, 551_856, 552_483, 0),
        ("cunet", 2, 18, 2, 770_016, 1_284_598, 4),
        ("cunet", 1, 28, 4, 269_376, 1_283_254, 4),
    ],
)
def test_known_networks(
    model: str, scale: int, margin: int, modulus: int, macs: int, parameters: int, means: int
) -> None:
    network = load(model, scale)
    assert network.scale == scale
    assert (network.lost, network.margin, network.pads) == (margin, margin, False)
    assert network.alignment == modulus
    assert network.input_size(0) % modulus == 0
    assert network.channels == (3, 3)
    assert network.macs_per_pixel == macs
    assert network.parameters == parameters
    assert len(network.means) == means


def test_upconv_7_takes_any_size_of_at_least_15() -> None:
    network = load("upconv_7", 2)
    for size in range(15, 40):
        assert network.output_size(size) == 2 * (size - 14)
    with pytest.raises(GraphError, match=r"14 px does not fit.*15, 16, 17"):
        network.output_size(14)


@pytest.mark.parametrize(("scale", "modulus"), [(2, 2), (1, 4)])
def test_cunet_refuses_sizes_off_its_grid_and_names_the_least(scale: int, modulus: int) -> None:
    network = load("cunet", scale)
    taken = [size for size in range(1, 120) if _fits(network, size)]
    for size in taken:
        assert network.output_size(size) == scale * (size - 2 * network.lost) >= 1
    assert taken == list(range(taken[0], 120, modulus))
    with pytest.raises(
        GraphError, match=f"{taken[0] + 1} px .* allowed are {taken[0]}, {taken[1]}, {taken[2]}"
    ):
        network.output_size(taken[0] + 1)
    with pytest.raises(GraphError, match=f"allowed are {taken[0]},"):
        network.output_size(taken[0] - modulus)


@pytest.mark.parametrize(("model", "scale"), [("upconv_7", 2), ("cunet", 2), ("cunet", 1)])
def test_smallest_input_really_runs_and_has_the_size_said(model: str, scale: int) -> None:
    network = load(model, scale)
    least = next(n for n in range(1, 200) if _fits(network, n))
    out = evaluate(network, np.zeros((1, 3, least, least)))
    assert out.shape == (1, 3, network.output_size(least), network.output_size(least))


def _fits(network: Graph, size: int) -> bool:
    try:
        network.output_size(size)
    except GraphError:
        return False
    return True


# --- geometry against brute force ---------------------------------------------------------------

CENTERED: dict[str, Callable[[], Graph]] = {
    "valid": lambda: chain(conv()),
    "padded": lambda: chain(conv(padding=1)),
    "padded twice": lambda: chain(conv(padding=1), conv(kernel=5, padding=2)),
    "partly padded": lambda: chain(conv(kernel=5, padding=1)),
    "down and up": lambda: chain(conv(kernel=2, stride=2), transposed(kernel=2)),
    "down and up, odd sizes": lambda: chain(
        conv(kernel=3, stride=2), transposed(kernel=3, padding=1)
    ),
    "down and up, padded": lambda: chain(
        conv(kernel=4, stride=2, padding=1), transposed(kernel=4, padding=1)
    ),
    "down by three, one off": lambda: chain(
        conv(kernel=4), conv(kernel=4, stride=3), transposed(kernel=5, stride=3, padding=2)
    ),
    "upconv": lambda: chain(conv(), transposed(kernel=4, padding=3)),
    "transposed, taps missing": lambda: chain(transposed(kernel=4, padding=1)),
    "transposed by three": lambda: chain(transposed(kernel=3, stride=3)),
    "shuffled": lambda: chain(conv(1, 4, padding=1), PixelShuffle(2)),
    "upsampled": lambda: chain(conv(padding=1), Upsample(3), conv(padding=1)),
    "down by four, shuffled": lambda: chain(
        conv(kernel=4, stride=4), conv(1, 16, padding=1), PixelShuffle(4)
    ),
    "cropped": lambda: chain(Upsample(2), conv(), Crop(1)),
    "unet": small_unet,
    "unshuffled": lambda: chain(
        PixelUnshuffle(2), conv(4, 4, padding=1), PixelShuffle(2), Upsample(2)
    ),
    "unshuffled by four": lambda: chain(
        conv(kernel=5, padding=2), PixelUnshuffle(4), conv(16, 16, padding=1), PixelShuffle(4)
    ),
    "halved": lambda: chain(Upsample(4), Resize(1, 2, "bicubic")),
    "three quarters": lambda: chain(conv(padding=1), Upsample(4), Resize(3, 4, "bicubic")),
    "two thirds": lambda: chain(conv(), Upsample(3), Resize(2, 3, "bilinear"), conv(padding=1)),
    "bilinear": lambda: chain(conv(padding=1), Resize(2, 1, "bilinear")),
    "product": lambda: graph(
        Node("a", conv(padding=1), ("input",)),
        Node("b", conv(kernel=5, padding=2), ("a",)),
        Node("c", Multiply(), ("a", "b")),
    ),
}


def sizes_of(network: Graph, least: int, count: int) -> list[int]:
    first = network.input_size(least)
    return [first + index * network.alignment for index in range(count)]


def dependencies(network: Graph, size: int) -> np.ndarray:
    """(size, output size), whether an output row depends on an input row."""
    impulses = np.zeros((size, 1, size, size))
    impulses[np.arange(size), 0, np.arange(size)] = 1
    changed = evaluate(network, impulses) - evaluate(network, np.zeros((1, 1, size, size)))
    depends: np.ndarray = (changed != 0).any(axis=(1, 3))
    return depends


@pytest.mark.parametrize("build", CENTERED.values(), ids=CENTERED.keys())
def test_output_sizes_are_those_of_the_reference(build: Callable[[], Graph]) -> None:
    network = build()
    for size in sizes_of(network, 20, 4):
        out = evaluate(network, np.zeros((1, 1, size, size)))
        assert out.shape[2:] == (network.output_size(size),) * 2
        assert network.output_size(size) == network.scale * (size - 2 * network.lost)


@pytest.mark.parametrize("build", CENTERED.values(), ids=CENTERED.keys())
def test_outputs_depend_on_input_within_reach_and_around_their_place(
    build: Callable[[], Graph],
) -> None:
    network = build()
    (size,) = sizes_of(network, 40, 1)
    depends = dependencies(network, size)
    scale, lost = network.scale, network.lost
    inside = range(16 * scale, 16 * scale + network.alignment * scale)
    off_center = Fraction(0)
    for out in inside:
        read = np.flatnonzero(depends[:, out])
        # A strided layer reads whole blocks of its grid, so the edge of the block is compared.
        first = (lost + out // scale) // network.alignment * network.alignment
        assert first - read.min() <= network.reach
        assert read.max() - (first + network.alignment - 1) <= network.reach
        middle = Fraction(int(read.min() + read.max()) + 1, 2)
        off_center += middle - (lost + (out + Fraction(1, 2)) / scale)
    # Averaged over one period, outputs are centered in the inputs that they depend on.
    assert off_center == 0


@pytest.mark.parametrize("build", CENTERED.values(), ids=CENTERED.keys())
def test_an_aligned_window_with_its_margin_equals_the_whole(build: Callable[[], Graph]) -> None:
    network = build()
    scale, lost, margin = network.scale, network.lost, network.margin
    # Multiples of the alignment, like planned windows.
    margin = lost + -(-(margin - lost) // network.alignment) * network.alignment
    (size,) = sizes_of(network, 60, 1)
    picture = np.random.default_rng(1).random((1, 1, size, size))
    whole = evaluate(network, picture)
    owned = 2 * network.alignment
    for start in range(0, 3 * network.alignment, network.alignment):
        first = start + 2 * network.alignment
        window = network.input_size(owned + 2 * margin)
        part = evaluate(network, picture[:, :, first : first + window, first : first + window])
        crop = (margin - lost) * scale
        got = part[:, :, crop:, crop:][:, :, : owned * scale, : owned * scale]
        at = first * scale + crop
        want = whole[:, :, at : at + owned * scale, at : at + owned * scale]
        assert got.shape == (1, 1, owned * scale, owned * scale)
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(
    ("build", "pads", "lost", "reach", "margin"),
    [
        ("valid", False, 1, 1, 1),
        ("padded", True, 0, 1, 1),
        ("padded twice", True, 0, 3, 3),
        ("partly padded", True, 1, 2, 2),
        ("upconv", False, 2, 2, 2),
        ("transposed, taps missing", True, 0, 1, 1),
        ("shuffled", True, 0, 1, 1),
        ("upsampled", True, 0, 2, 2),
    ],
)
def test_margins_are_no_larger_than_needed(
    build: str, pads: bool, lost: int, reach: int, margin: int
) -> None:
    network = CENTERED[build]()
    assert (network.pads, network.lost, network.reach, network.margin) == (
        pads,
        lost,
        reach,
        margin,
    )
    # Some output depends on an input at the distance ``reach``.
    (size,) = sizes_of(network, 24, 1)
    depends = dependencies(network, size)
    scale = network.scale
    farthest = max(
        abs(int(row) - (lost + out // scale))
        for out in range(8 * scale, 10 * scale)
        for row in np.flatnonzero(depends[:, out])
    )
    assert farthest == reach


@pytest.mark.parametrize(
    ("ops", "modulus", "residue"),
    [
        ((conv(),), 1, 0),
        ((conv(kernel=2, stride=2),), 2, 0),
        ((conv(kernel=3, stride=2),), 2, 1),
        ((conv(kernel=3, stride=2, padding=1),), 2, 1),
        ((conv(kernel=4, stride=2, padding=1),), 2, 0),
        ((conv(), conv(kernel=2, stride=2)), 2, 0),
        ((conv(kernel=2), conv(kernel=2, stride=2)), 2, 1),
        ((conv(kernel=4), conv(kernel=4, stride=3)), 3, 1),
        ((conv(kernel=2, stride=2), conv(), conv(kernel=2, stride=2)), 4, 0),
        ((conv(kernel=3, stride=2), conv(kernel=3, stride=2)), 4, 3),
        ((Upsample(2), conv(kernel=2, stride=2)), 1, 0),
        ((Upsample(2), conv(kernel=4, stride=4)), 2, 0),
        ((Upsample(4), conv(kernel=2, stride=6)), 3, 2),
        ((Upsample(3), conv(kernel=2, stride=2)), 2, 0),
    ],
)
def test_alignment_is_the_class_of_sizes_that_strides_divide(
    ops: tuple[Op, ...], modulus: int, residue: int
) -> None:
    network = chain(*ops)
    assert network.alignment == modulus
    for minimum in range(30, 30 + 2 * modulus):
        size = network.input_size(minimum)
        assert minimum <= size < minimum + modulus
        assert size % modulus == residue
    for size in range(30, 30 + 2 * modulus):
        assert _fits(network, size) == (size % modulus == residue)
        if _fits(network, size):
            out = evaluate(network, np.zeros((1, 1, size, size)))
            assert out.shape[2] == network.output_size(size)


def test_place_and_channels_of_every_kind_of_value() -> None:
    network = graph(
        Node("a", conv(1, 4), ("input",)),
        Node("prelu", Activate(Activation("prelu", slopes=weights(4))), ("a",)),
        Node("affine", Affine(2.0, 1.0), ("prelu",)),
        Node("both", Concat(), ("affine", "a")),
        Node("shuffled", PixelShuffle(2), ("both",)),
        Node("cropped", Crop(3), ("shuffled",)),
        Node("mean", GlobalMean(), ("cropped",)),
        Node("gate", conv(2, 2, kernel=1), ("mean",)),
        Node("out", Multiply(), ("cropped", "gate")),
    )
    values = network.values
    assert values["prelu"] == values["affine"] == values["a"]
    assert values["both"].channels == 8
    assert (values["shuffled"].channels, values["shuffled"].scale) == (2, 2)
    assert (values["cropped"].origin, values["cropped"].lost) == (Fraction(5, 2), 10)
    assert values["gate"].pooled
    assert values["gate"].channels == 2
    assert values["out"] == values["cropped"]


def test_nodes_that_the_output_does_not_need_are_dropped() -> None:
    network = graph(
        Node("a", conv(), ("input",)), Node("unused", conv(7, 1), ("input",)), output="a"
    )
    assert [node.name for node in network.nodes] == ["a"]


# --- cost ---------------------------------------------------------------------------------------


def test_multiplications_are_counted_where_they_happen() -> None:
    network = graph(
        Node("a", conv(1, 4), ("input",)),  # 4 * 9 at full size
        Node("down", conv(4, 8, kernel=2, stride=2), ("a",)),  # 8 * 4 * 4 at a quarter
        Node("up", transposed(8, 2, kernel=2), ("down",)),  # 8 * 2 * 4, from a quarter
        Node("mean", GlobalMean(), ("up",)),
        Node("gate", conv(2, 2, kernel=1), ("mean",)),  # once per picture: no cost per pixel
        Node("out", Multiply(), ("up", "gate")),
    )
    assert network.macs_per_pixel == 4 * 9 + 8 * 4 * 4 / 4 + 8 * 2 * 4 / 4
    assert network.parameters == (36 + 4) + (128 + 8) + (64 + 2) + (4 + 2)


def test_memory_is_the_peak_of_what_lives_at_once() -> None:
    straight = chain(conv(1, 8), conv(8, 4), conv(4, 16))
    assert straight.bytes_per_pixel == 4 * (4 + 16)
    skip = graph(
        Node("a", conv(1, 8, padding=1), ("input",)),
        Node("b", conv(8, 4, padding=1), ("a",)),
        Node("c", conv(4, 8, padding=1), ("b",)),
        Node("sum", Add(), ("c", "a")),
    )
    assert skip.bytes_per_pixel == 4 * (8 + 8 + 8)
    grown = chain(conv(1, 4, padding=1), Upsample(2), conv(4, 1, padding=1))
    assert grown.bytes_per_pixel == 4 * (4 * 4 + 1 * 4)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("crop", "fits"), [(0, False), (1, False), (2, True), (3, False)])
def test_a_skip_whose_crop_is_off_is_refused(crop: int, fits: bool) -> None:
    nodes = [
        Node("a", conv(), ("input",)),
        Node("b", conv(kernel=5), ("a",)),
        Node("skip", Crop(crop), ("a",)),
        Node("sum", Add(), ("b", "skip")),
    ]
    if fits:
        assert graph(*nodes).lost == 3
    else:
        with pytest.raises(GraphError, match="'sum' joins values that do not lie on each other"):
            graph(*nodes)


@pytest.mark.parametrize("join", [Add(), Concat()], ids=["add", "concat"])
def test_a_branch_half_a_pixel_off_is_refused(join: Op) -> None:
    nodes = (Node("a", conv(kernel=2), ("input",)), Node("join", join, ("a", "input")))
    with pytest.raises(GraphError, match=r"'join' joins values .* from 1/2 px short of 1, and"):
        graph(*nodes)


def test_branches_of_different_scale_are_refused() -> None:
    with pytest.raises(GraphError, match="'join' joins values that do not lie on each other"):
        graph(Node("a", Upsample(2), ("input",)), Node("join", Add(), ("a", "input")))


SLOPES = weights(3)

REFUSED: dict[str, tuple[tuple[Node, ...], str]] = {
    "channels of a convolution": (
        (Node("a", conv(2, 1), ("input",)),),
        "'a' takes 2 channels and is given 1",
    ),
    "channels of a transposed convolution": (
        (Node("a", transposed(2, 1), ("input",)),),
        "'a' takes 2 channels and is given 1",
    ),
    "stride": (
        (Node("a", Conv(weights(1, 1, 3, 3), weights(1), stride=0), ("input",)),),
        "'a' has stride 0; it must be at least 1",
    ),
    "padding": (
        (Node("a", Conv(weights(1, 1, 3, 3), weights(1), padding=-1), ("input",)),),
        "'a' has padding -1; it must be at least 0",
    ),
    "margin": ((Node("a", Crop(-1), ("input",)),), "'a' has margin -1"),
    "factor": ((Node("a", Upsample(0), ("input",)),), "'a' has factor 0"),
    "bias": (
        (Node("a", Conv(weights(2, 1, 3, 3), weights(3)), ("input",)),),
        r"'a' has 2 outputs and a bias \(3,\)",
    ),
    "kernel that is not square": (
        (Node("a", Conv(weights(1, 1, 3, 2), weights(1)), ("input",)),),
        "'a' has a weight of shape",
    ),
    "weight without kernel": (
        (Node("a", Conv(weights(1, 1), weights(1)), ("input",)),),
        "'a' has a weight of shape",
    ),
    "sum of different channels": (
        (Node("a", conv(1, 2, padding=1), ("input",)), Node("b", Add(), ("a", "input"))),
        "'b' adds 2 and 1 channels",
    ),
    "unknown name": (
        (Node("a", conv(), ("nowhere",)),),
        "'a' reads 'nowhere', which nothing before it makes",
    ),
    "name made later": (
        (Node("a", conv(), ("b",)), Node("b", conv(), ("input",)), Node("c", Add(), ("a", "b"))),
        "'a' reads 'b', which nothing before it makes",
    ),
    "no inputs": ((Node("a", conv(), ()),), "'a' .*reads 0 values"),
    "name used twice": (
        (Node("a", conv(), ("input",)), Node("a", conv(), ("input",))),
        "two values are named 'a'",
    ),
    "name of the input": ((Node("input", conv(), ("input",)),), "two values are named 'input'"),
    "shuffle of a wrong number of channels": (
        (Node("a", conv(1, 6), ("input",)), Node("b", PixelShuffle(2), ("a",))),
        "'b' shuffles 6 channels by 2",
    ),
    "PReLU with too few slopes": (
        (
            Node("a", conv(1, 4), ("input",)),
            Node("b", Activate(Activation("prelu", slopes=SLOPES)), ("a",)),
        ),
        "'b' needs 4 PReLU slopes",
    ),
    "PReLU without slopes inside a convolution": (
        (
            Node(
                "a",
                Conv(weights(2, 1, 3, 3), weights(2), activation=Activation("prelu")),
                ("input",),
            ),
        ),
        "'a' needs 2 PReLU slopes",
    ),
    "stride that never divides": (
        (Node("a", Upsample(2), ("input",)), Node("b", conv(kernel=3, stride=2), ("a",))),
        "no input size makes the stride of 'b' divide evenly",
    ),
    "mean of a mean": (
        (Node("a", GlobalMean(), ("input",)), Node("b", GlobalMean(), ("a",))),
        "'b' averages a value that is pooled already",
    ),
    "3x3 on a mean": (
        (Node("a", GlobalMean(), ("input",)), Node("b", conv(), ("a",))),
        "'b' must be a plain 1x1 convolution on a pooled value",
    ),
    "padded 1x1 on a mean": (
        (Node("a", GlobalMean(), ("input",)), Node("b", conv(kernel=1, padding=1), ("a",))),
        "'b' must be a plain 1x1 convolution on a pooled value",
    ),
    "strided 1x1 on a mean": (
        (Node("a", GlobalMean(), ("input",)), Node("b", conv(kernel=1, stride=2), ("a",))),
        "'b' must be a plain 1x1 convolution on a pooled value",
    ),
    "transposed on a mean": (
        (
            Node("a", GlobalMean(), ("input",)),
            Node("b", transposed(kernel=1, stride=1), ("a",)),
        ),
        "'b' must be a plain 1x1 convolution on a pooled value",
    ),
    "product of values of different size": (
        (Node("a", conv(), ("input",)), Node("b", Multiply(), ("input", "a"))),
        "'b' joins values that do not lie on each other",
    ),
    "product of different channels": (
        (Node("a", conv(1, 2, padding=1), ("input",)), Node("b", Multiply(), ("a", "input"))),
        "'b' multiplies 2 and 1 channels",
    ),
    "constants of other channels": (
        (Node("a", Affine(1.0, SLOPES), ("input",)),),
        r"'a' has constants \(\d+,\) for 1 channels",
    ),
    "denominator": ((Node("a", Resize(1, 0, "bicubic"), ("input",)),), "'a' has denominator 0"),
    "numerator": ((Node("a", Resize(0, 1, "bicubic"), ("input",)),), "'a' has numerator 0"),
    "kind of a resize": (
        (Node("a", Resize(2, 1, "lanczos"), ("input",)),),  # type: ignore[arg-type]
        "'a' resizes by 'lanczos'",
    ),
    "unshuffle of odd sizes": (
        (
            Node("a", Upsample(2), ("input",)),
            Node("b", conv(), ("a",)),
            Node("c", conv(kernel=2), ("b",)),
            Node("d", PixelUnshuffle(2), ("c",)),
        ),
        "no input size makes the stride of 'd' divide evenly",
    ),
    "resized mean": (
        (
            Node("a", GlobalMean(), ("input",)),
            Node("b", Resize(2, 1, "bilinear"), ("a",)),
            Node("c", Multiply(), ("input", "b")),
        ),
        "'b'",
    ),
    "gate of a gate": (
        (Node("a", GlobalMean(), ("input",)), Node("b", Multiply(), ("a", "a"))),
        "'b' must multiply a value by a pooled gate",
    ),
    "gate of other channels": (
        (
            Node("a", GlobalMean(), ("input",)),
            Node("gate", conv(1, 2, kernel=1), ("a",)),
            Node("b", Multiply(), ("input", "gate")),
        ),
        "'b' gates 1 channels with 2",
    ),
    "sum of a value and a mean": (
        (Node("a", GlobalMean(), ("input",)), Node("b", Add(), ("input", "a"))),
        "'b'",
    ),
    "crop of a mean": (
        (
            Node("a", GlobalMean(), ("input",)),
            Node("b", Crop(1), ("a",)),
            Node("c", Multiply(), ("input", "b")),
        ),
        "'b'",
    ),
    "upsampled mean": (
        (
            Node("a", GlobalMean(), ("input",)),
            Node("b", Upsample(2), ("a",)),
            Node("c", Multiply(), ("input", "b")),
        ),
        "'b'",
    ),
    "shuffled mean": (
        (
            Node("a", GlobalMean(), ("input",)),
            Node("wide", conv(1, 4, kernel=1), ("a",)),
            Node("b", PixelShuffle(2), ("wide",)),
            Node("c", Multiply(), ("input", "b")),
        ),
        "'b'",
    ),
}


@pytest.mark.parametrize(("nodes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_inconsistent_graphs_are_refused(nodes: tuple[Node, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        graph(*nodes)


@pytest.mark.parametrize(
    ("op", "count"),
    [
        (Add(), 1),
        (Add(), 3),
        (Multiply(), 1),
        (Multiply(), 3),
        (conv(padding=1), 2),
        (transposed(), 2),
        (Activate(Activation("relu")), 2),
        (Affine(), 2),
        (Crop(1), 2),
        (GlobalMean(), 2),
        (PixelShuffle(1), 2),
        (Upsample(2), 2),
        (PixelUnshuffle(1), 2),
        (Resize(2, 1, "bilinear"), 2),
    ],
)
def test_a_wrong_number_of_inputs_is_refused(op: Op, count: int) -> None:
    with pytest.raises(GraphError, match="'a'"):
        graph(Node("a", op, ("input",) * count))


def test_inputs_are_checked() -> None:
    node = Node("a", conv(), ("input",))
    with pytest.raises(GraphError, match="first input of a graph must be the picture"):
        Graph([node], output="a", inputs=())
    with pytest.raises(GraphError, match="first input of a graph must be the picture"):
        Graph([node], output="a", inputs=(Input("input", 1, pooled=True),))
    with pytest.raises(GraphError, match="two inputs of the graph have the same name"):
        Graph([node], output="a", inputs=(Input("input", 1), Input("input", 1, pooled=True)))
    with pytest.raises(GraphError, match="nothing makes the output 'b'"):
        Graph([node], output="b", inputs=ONE)


@pytest.mark.parametrize(
    "ops",
    [
        (conv(kernel=2),),  # half a pixel off
        (conv(kernel=4, padding=1),),
        (transposed(kernel=4, padding=2),),  # starts half an input pixel in
        (Upsample(2), Crop(1)),
        (conv(kernel=3, stride=2), transposed(kernel=4)),
    ],
)
def test_an_output_off_the_grid_of_the_input_is_refused(ops: tuple[Op, ...]) -> None:
    network = chain(*ops)
    with pytest.raises(GraphError, match="must be a whole number of pixels"):
        _ = network.lost


def test_an_output_that_is_smaller_than_the_input_is_refused() -> None:
    network = chain(conv(kernel=2, stride=2))
    with pytest.raises(GraphError, match="1/2 samples per input pixel"):
        _ = network.scale


def test_the_border_is_what_padding_needs_up_to_a_limit() -> None:
    assert chain(conv()).border == 1
    assert chain(conv(), conv(padding=1)).border == 2
    assert chain(*[conv(padding=1)] * 100).border == MAX_CONTEXT
    unshuffled = chain(PixelUnshuffle(4), conv(16, 16, padding=1), PixelShuffle(4))
    assert (unshuffled.alignment, unshuffled.border) == (4, 4)


def test_constants_count_as_parameters() -> None:
    assert chain(Affine(weights(1), weights(1))).parameters == 2
    assert chain(Affine(0.5, 0.5)).parameters == 0


# --- stages -------------------------------------------------------------------------------------


def staged_means(network: Graph, picture: np.ndarray) -> list[np.ndarray]:
    """Compute the global means of a network, stage by stage."""
    means: dict[str, np.ndarray] = {}
    for index, node in enumerate(network.means):
        stage = network.stage(index)
        given = [means[value.name] for value in stage.inputs[1:]]
        assert all(value.pooled for value in stage.inputs[1:])
        assert not stage.means
        means[node.name] = evaluate(stage, picture, given).mean(axis=(2, 3), keepdims=True)
    whole = network.with_given_means()
    assert [value.name for value in whole.inputs[1:]] == list(means)
    return list(means.values())


def test_staged_means_give_the_direct_result() -> None:
    network = gated()
    picture = np.random.default_rng(2).random((2, 1, 19, 23))
    direct = evaluate(network, picture)
    means = staged_means(network, picture)
    whole = network.with_given_means()
    assert not whole.means
    np.testing.assert_allclose(evaluate(whole, picture, means), direct, rtol=1e-13)
    # Different means change the result.
    assert np.abs(evaluate(whole, picture, [mean - 9 for mean in means]) - direct).max() > 1e-3


@pytest.mark.parametrize("scale", [1, 2])
def test_staged_means_of_cunet_give_the_direct_result(scale: int) -> None:
    network = load("cunet", scale)
    size = network.input_size(2 * network.lost + 4)
    picture = np.random.default_rng(3).random((1, 3, size, size))
    means = staged_means(network, picture)
    got = evaluate(network.with_given_means(), picture, means)
    np.testing.assert_allclose(got, evaluate(network, picture), rtol=0, atol=1e-12)


def test_given_means_keep_the_geometry() -> None:
    network = load("cunet", 2)
    whole = network.with_given_means()
    assert (whole.scale, whole.lost, whole.margin, whole.alignment) == (2, 18, 18, 2)
    # No layer between a mean and its gate is computed twice.
    assert whole.macs_per_pixel == network.macs_per_pixel
    assert math.isclose(whole.bytes_per_pixel, network.bytes_per_pixel)
