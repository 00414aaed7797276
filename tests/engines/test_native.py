"""Tests of the native engine; test_engines.py has the tests that all engines share."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from waifu2x.engines import OnRows
from waifu2x.engines.native import NativeCompiled, NativeEngine
from waifu2x.errors import ArgumentError, CancelledError, EngineError, GraphError
from waifu2x.kernels import _native, tiles
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
    Op,
    PixelShuffle,
    Upsample,
)
from waifu2x.network.reference import evaluate

ISAS = _native.isas()
THREADS = (1, 2, 3, 5)
#: Timeout of child processes in seconds; normal runs take 1 or 2 seconds.
TIME_LIMIT = 300
#: Relative to the largest value: about the float32 error of a few Winograd layers.
TOLERANCE = 2e-5

Array = np.ndarray[Any, np.dtype[Any]]


@cache
def engine(threads: int = 1, isa: str | None = None) -> NativeEngine:
    return NativeEngine(threads=threads, isa=isa)


def samples(*shape: int, seed: int = 0) -> Array:
    """Return numbers in [0, 1), like the samples of a picture."""
    return np.random.default_rng((*shape, seed)).random(shape, np.float32)


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((*shape, seed, 1)).uniform(-1, 1, shape).astype(np.float32)


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    padding: int = 0,
    activation: Activation | None = None,
    seed: int = 0,
) -> Conv:
    """Return a convolution that roughly keeps the magnitude of values."""
    weight = numbers(outputs, inputs, kernel, kernel, seed=seed)
    weight *= np.float32((3 / (inputs * kernel * kernel)) ** 0.5)
    return Conv(weight, numbers(outputs, seed=seed), stride, padding, activation)


def transposed(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    padding: int = 0,
    activation: Activation | None = None,
    seed: int = 0,
) -> ConvTranspose:
    weight = numbers(inputs, outputs, kernel, kernel, seed=seed)
    weight *= np.float32((3 / (inputs * max(1, kernel // stride) ** 2)) ** 0.5)
    return ConvTranspose(weight, numbers(outputs, seed=seed), stride, padding, activation)


def activation(kind: str, channels: int, seed: int = 0) -> Activation:
    if kind == "prelu":
        return Activation("prelu", slopes=numbers(channels, seed=seed))
    if kind == "leaky_relu":
        return Activation("leaky_relu", slope=0.1)
    return Activation("relu" if kind == "relu" else "sigmoid")


ACTIVATIONS = ("relu", "leaky_relu", "prelu", "sigmoid")


@dataclass
class Net:
    """Builds a graph line by line; the last line is the output."""

    channels: int = 3
    nodes: list[Node] = field(default_factory=list)

    def add(self, op: Op, *inputs: str) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(Node(name, op, inputs or (self.last,)))
        return name

    @property
    def last(self) -> str:
        return self.nodes[-1].name if self.nodes else "input"

    def graph(self) -> Graph:
        return Graph(self.nodes, output=self.last, inputs=(Input("input", self.channels),))


def chain(*ops: Op, channels: int = 3) -> Graph:
    net = Net(channels)
    for op in ops:
        net.add(op)
    return net.graph()


def close(got: Array, want: Array, what: str = "", tolerance: float = TOLERANCE) -> None:
    assert got.shape == want.shape, what
    limit = tolerance * max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(got, want, rtol=0, atol=limit, err_msg=what)


def check(
    graph: Graph,
    height: int,
    width: int,
    *,
    isas: Sequence[str] = ISAS,
    threads: Sequence[int] = THREADS,
    tolerance: float = TOLERANCE,
) -> None:
    """Check against float64 at every instruction set, and equal bytes for all thread counts."""
    batch = samples(1, graph.channels[0], height, width) * 2 - 1
    want = evaluate(graph, batch)
    for isa in isas:
        first: Array | None = None
        for count in threads:
            got = engine(count, isa).compile(graph).run(batch)
            if first is None:
                first = got
                close(got, want, isa, tolerance)
            np.testing.assert_array_equal(got, first, err_msg=f"{isa}, {count} threads")


# --- operations -----------------------------------------------------------------------------------

#: Channels on both sides of every block of 16 and of Winograd's limits (8, 32 and 128), and
#: the channels of real networks.
CHANNELS = (1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 70)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_convolutions_of_any_kernel_stride_and_padding_agree_with_float64(kernel: int) -> None:
    pairs = itertools.cycle(zip(CHANNELS, CHANNELS[4:] + CHANNELS[:4], strict=True))
    for stride, padding in itertools.product((1, 2, 3), (0, 1, 2)):
        inputs, outputs = next(pairs)
        graph = chain(conv(inputs, outputs, kernel, stride, padding), channels=inputs)
        height, width = graph.input_size(23 + padding), graph.input_size(38 + stride)
        check(graph, height, width, threads=(1, 3))


@pytest.mark.parametrize("inputs", [*CHANNELS, 129, 144])
def test_convolutions_of_any_channels_agree_with_float64(inputs: int) -> None:
    for outputs, padding in ((1, 0), (16, 1), (33, 2)):
        check(chain(conv(inputs, outputs, 3, 1, padding), channels=inputs), 19, 28, threads=(1, 2))


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 9), (9, 1), (2, 3), (5, 7), (6, 6), (13, 4), (7, 100)]
)
@pytest.mark.parametrize("channels", [3, 16, 40])
def test_values_of_a_few_samples_agree_with_float64(channels: int, height: int, width: int) -> None:
    """Inputs are narrower than a Winograd tile and have fewer rows than there are threads."""
    graph = chain(
        conv(channels, 40, 3, 1, 1), conv(40, 17, 3, 1, 2), conv(17, 3, 2), channels=channels
    )
    check(graph, height, width)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_transposed_convolutions_agree_with_float64(stride: int) -> None:
    """Also with kernels that the stride does not divide and paddings that omit taps."""
    sizes = itertools.cycle([(3, 3), (17, 32), (40, 3), (8, 16), (33, 5)])
    for kernel, padding in itertools.product(range(1, 7), range(4)):
        inputs, outputs = next(sizes)
        graph = chain(transposed(inputs, outputs, kernel, stride, padding), channels=inputs)
        try:
            graph.output_size(9), graph.output_size(14)
        except GraphError:
            continue  # the result would be empty
        check(graph, 9, 14, threads=(1, 3))


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("channels", [3, 16, 33])
def test_activations_agree_with_float64_wherever_they_stand(channels: int, kind: str) -> None:
    own = activation(kind, channels)
    alone = chain(Activate(own), channels=channels)
    carried = chain(conv(3, channels, 3, 1, 1, own), conv(channels, 3, 1))
    folded = chain(conv(3, channels, 3, 1, 1), Activate(own), conv(channels, 3, 1))
    behind = chain(transposed(3, channels, 4, 2, 1, own), Activate(own), conv(channels, 3, 3))
    twice = chain(conv(3, channels, 2, 1, 1, own), Activate(activation("leaky_relu", channels)))
    for graph in (alone, carried, folded, behind, twice):
        check(graph, 20, 21, threads=(1, 2))


def added(first: Op, cut: int, *, swapped: bool, also_read: bool, act: str | None) -> Graph:
    """Return an operation and a crop of its input that is added to its result."""
    net = Net()
    source = net.add(conv(3, 16, 3, 1, 1))
    made = net.add(first, source)
    if act is not None:
        made = net.add(Activate(activation(act, 16)), made)
    other = net.add(Crop(cut), source) if cut else source
    net.add(Add(), *((other, made) if swapped else (made, other)))
    if also_read:
        net.add(Concat(), net.last, made)
    return net.graph()


@pytest.mark.parametrize("act", [None, "prelu", "sigmoid"])
@pytest.mark.parametrize("also_read", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_sums_agree_with_float64_folded_or_not(
    swapped: bool, also_read: bool, act: str | None
) -> None:
    operations: list[tuple[Op, int]] = [
        (conv(16, 16, 3, 1, 1), 0),
        (conv(16, 16, 3), 1),
        (conv(16, 16, 5), 2),
        (conv(16, 16, 1), 0),
        (transposed(16, 16, 3, 1, 2), 1),
        (Affine(0.5, 0.25), 0),
    ]
    for op, cut in operations:
        graph = added(op, cut, swapped=swapped, also_read=also_read, act=act)
        check(graph, 22, 19, threads=(1, 3))


@pytest.mark.parametrize("outputs", [3, 32])
def test_what_is_added_to_a_transposed_convolution_agrees_with_float64(outputs: int) -> None:
    for swapped, cut in itertools.product((False, True), (0, 3)):
        net = Net()
        low = net.add(conv(3, 16, 3, 1, 1))
        high = net.add(Upsample(2), net.add(conv(16, outputs, 1), low))
        if cut:
            high = net.add(Crop(cut), high)
        up = net.add(transposed(16, outputs, 4, 2, 1 + cut), low)
        net.add(Add(), *((high, up) if swapped else (up, high)))
        check(net.graph(), 14, 17, threads=(1, 2))


def test_a_value_added_to_itself_agrees_with_float64() -> None:
    net = Net()
    made = net.add(conv(3, 17, 3))
    net.add(Add(), made, made)
    check(net.graph(), 12, 15)


def test_cuts_of_cuts_and_sums_of_cuts_agree_with_float64() -> None:
    net = Net()
    first = net.add(conv(3, 20, 3, 1, 2))
    once = net.add(Crop(1), first)
    twice = net.add(Crop(2), once)
    third = net.add(Crop(3), first)
    net.add(Add(), twice, third)
    made = net.add(conv(20, 20, 3, 1, 1))
    net.add(Add(), net.add(Crop(1), made), net.add(Crop(4), first))
    net.add(Crop(2))
    check(net.graph(), 25, 31)


@pytest.mark.parametrize(
    "op",
    [
        conv(12, 3, 3, 1, 1),
        conv(12, 16, 5, 1, 2),
        conv(12, 3, 2, 2, 1),
        transposed(12, 3, 4, 2, 1),
        transposed(12, 16, 4, 2, 1),
        transposed(12, 3, 3, 1, 0),
    ],
    ids=["3x3", "5x5", "strided", "few transposed", "transposed", "transposed by one"],
)
def test_padding_of_a_cut_value_reads_zeros_and_not_what_was_cut(op: Op) -> None:
    for source in (Activate(activation("leaky_relu", 12)), conv(12, 12, 3)):
        check(chain(source, Crop(2), op, channels=12), 16, 18, threads=(1, 3))
    early = Net(12)
    made = early.add(Crop(1), early.add(conv(12, 12, 3)))
    early.add(op, gates(early, made, 12))
    check(early.graph(), 16, 18, threads=(1, 3))


@pytest.mark.parametrize("parts", [(1, 2), (3, 5, 9), (15, 1, 16, 17), (7, 33, 8)])
def test_joined_channels_of_any_number_agree_with_float64(parts: tuple[int, ...]) -> None:
    net = Net()
    made = [net.add(conv(3, channels, 3, seed=channels), "input") for channels in parts]
    net.add(Concat(), *made, net.add(Crop(1), "input"), made[0])
    net.add(conv(sum(parts) + 3 + parts[0], 18, 3, 1, 1))
    check(net.graph(), 21, 26, threads=(1, 3))


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_shuffles_and_enlargements_agree_with_float64(factor: int) -> None:
    for channels in (1, 3, 18):
        net = Net()
        low = net.add(conv(3, channels * factor**2, 3))
        shuffled = net.add(PixelShuffle(factor))
        plain = net.add(Upsample(factor), net.add(conv(3, channels, 3), "input"))
        net.add(Add(), shuffled, plain)
        net.add(Crop(1))
        net.add(PixelShuffle(1))
        net.add(Upsample(2), net.add(Crop(1)))
        assert low == "n0"
        check(net.graph(), 11, 13, threads=(1, 2))


def test_networks_without_a_convolution_agree_with_float64() -> None:
    check(chain(Affine(-2.0, 0.5)), 9, 11)
    check(chain(Crop(2)), 9, 11)
    check(chain(Upsample(3), Crop(1), Upsample(2), Crop(1)), 9, 11)
    check(Graph((), output="input"), 9, 11)
    mean = Node("mean", GlobalMean(), ("input",))
    gated = Node("gated", Multiply(), ("input", "mean"))
    check(Graph((mean, gated), output="gated"), 9, 11)


def gates(net: Net, source: str, channels: int, kind: str = "sigmoid", seed: int = 0) -> str:
    """Append a squeeze-and-excitation block."""
    mean = net.add(GlobalMean(), source)
    few = net.add(conv(channels, 5, 1, activation=activation("relu", 5), seed=seed), mean)
    gate = net.add(conv(5, channels, 1, seed=seed), few)
    return net.add(Multiply(), source, net.add(Activate(activation(kind, channels)), gate))


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_gates_agree_with_float64_through_several_stages(stages: int) -> None:
    net = Net()
    value = net.add(conv(3, 24, 3))
    for stage in range(stages):
        gated = gates(net, value, 24, ACTIVATIONS[stage], seed=stage)
        cut = net.add(Crop(2), value)  # from the previous stage
        made = net.add(conv(24, 24, 3, seed=stage), gated)
        made = net.add(conv(24, 24, 3, seed=stage), made)
        value = net.add(Add(), made, cut)
    net.add(conv(24, 3, 3))
    check(net.graph(), 33, 40)


def test_a_gate_of_other_operations_agrees_with_float64() -> None:
    """Several means, of a cropped value and of the input; one gate multiplies two values."""
    net = Net()
    made = net.add(conv(3, 18, 3))
    cut = net.add(Crop(3), made)
    mean = net.add(GlobalMean(), cut)
    gate = net.add(Affine(-0.5, 0.75), mean)
    gate = net.add(Activate(activation("prelu", 18)), gate)
    first = net.add(Multiply(), made, gate)
    tint = net.add(GlobalMean(), "input")
    wide = net.add(
        Multiply(), net.add(conv(3, 18, 3, 1, 1), "input"), net.add(conv(3, 18, 1), tint)
    )
    second = net.add(Multiply(), net.add(Crop(1), wide), gate)
    net.add(Concat(), first, second)
    net.add(conv(36, 3, 3))
    check(net.graph(), 24, 18)


def test_the_mean_of_a_gated_value_goes_back_to_an_earlier_stage() -> None:
    """The last stage reads a value of the first as the addend of a convolution."""
    net = Net()
    early = net.add(conv(3, 32, 3, 1, 1))
    late = gates(net, gates(net, early, 32), 32, seed=1)
    net.add(conv(32, 32, 3, 1, 1), early)
    net.add(Add(), late, net.last)
    net.add(Activate(activation("leaky_relu", 32)))
    net.add(conv(32, 3, 3, 1, 1))
    for height, width in ((3, 3), (20, 29), (35, 6)):
        check(net.graph(), height, width)


def in_a_child(call: str) -> None:
    """Run a check of this file in a child: an access out of range may end the process."""
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}import test_native\ntest_native.{call}"],
        capture_output=True, text=True, timeout=TIME_LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-2000:]}"


def check_wide_padding(kernel: int, channels: int) -> None:
    padding = 5 if kernel == 3 else kernel // 2
    net = Net()
    source = net.add(conv(3, channels, 1), "input")
    other = net.add(conv(3, channels, 1, 1, padding - kernel // 2), "input")
    mean = net.add(GlobalMean(), source)
    gated = net.add(Multiply(), other, mean)
    net.add(Add(), gated, net.add(conv(channels, channels, kernel, 1, padding), source))
    graph = net.graph()
    for size in (20, 23):
        check(graph, size, size, isas=ISAS[-1:], threads=(1, 2))


@pytest.mark.parametrize(("kernel", "channels"), [(3, 3), (11, 3), (19, 3), (25, 3), (3, 32)])
def test_wide_padding_of_a_value_kept_from_an_earlier_stage_reads_zeros(
    kernel: int, channels: int
) -> None:
    in_a_child(f"check_wide_padding({kernel}, {channels})")


def check_padding_beyond(kernel: int, padding: int, channels: int) -> None:
    graph = chain(conv(channels, 3, kernel, 1, padding), channels=channels)
    for height, width in ((20, 20), (1, 1), (20, 1), (1, 20)):
        check(graph, height, width)


@pytest.mark.parametrize(("kernel", "padding"), [(1, 1), (1, 2), (1, 18), (2, 20), (3, 17)])
@pytest.mark.parametrize("channels", [3, 16])
def test_padding_that_a_kernel_does_not_reach_across_reads_zeros(
    channels: int, kernel: int, padding: int
) -> None:
    """Whole regions of the result depend on padding alone."""
    in_a_child(f"check_padding_beyond({kernel}, {padding}, {channels})")


# --- random networks ------------------------------------------------------------------------------


class Random:
    """Builds a random graph; only aligned values are joined."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.net = Net(self.pick((3, 3, 3, 1, 16, 33)))
        self.values = ["input"]

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def value(self, name: str) -> Any:
        graph = Graph(self.net.nodes, output=name, inputs=(Input("input", self.net.channels),))
        return graph.out

    def keep(self, op: Op, *inputs: str) -> str:
        name = self.net.add(op, *inputs)
        self.values.append(name)
        return name

    def channels(self) -> int:
        return int(self.pick((1, 3, 5, 8, 15, 16, 17, 24, 32, 33, 48, 70)))

    def maybe(self, channels: int) -> Activation | None:
        kind = self.pick((None, None, *ACTIVATIONS))
        return None if kind is None else activation(kind, channels, self.seed)

    def step(self) -> None:
        source = self.pick(self.values[-3:])
        shape = self.value(source)
        seed = len(self.net.nodes)
        outputs = self.channels()
        match self.pick(("conv", "conv", "conv", "up", "act", "join", "join", "gate", "rest")):
            case "conv":
                kernel = self.pick((1, 2, 3, 3, 3, 4, 5))
                stride = self.pick((1, 1, 1, 2, 3)) if shape.scale >= 1 else 1
                padding = self.pick((0, 1, min(2, kernel)))
                act = self.maybe(outputs)
                self.keep(conv(shape.channels, outputs, kernel, stride, padding, act, seed), source)
            case "up" if shape.scale <= 1:
                stride, outputs = self.pick((1, 2, 3)), self.pick((3, 16, 20, 32))
                kernel = self.pick(range(1, 2 * stride + 2))
                padding = self.pick(range((kernel + 1) // 2 + 1))
                act = self.maybe(outputs)
                self.keep(
                    transposed(shape.channels, outputs, kernel, stride, padding, act, seed), source
                )
            case "act":
                kind = self.pick(ACTIVATIONS)
                self.keep(Activate(activation(kind, shape.channels, seed)), source)
            case "gate":
                gated = gates(self.net, source, shape.channels, self.pick(ACTIVATIONS), seed)
                self.values.append(gated)
            case "join":
                self.join(source, shape, seed)
            case _:
                self.rest(source, shape)

    def rest(self, source: str, shape: Any) -> None:
        factor = self.pick((2, 3))
        if shape.channels % factor**2 == 0 and shape.scale <= 2:
            self.keep(PixelShuffle(factor), source)
        elif shape.scale < 1:
            self.keep(Upsample(factor), source)
        elif self.rng.random() < 0.5:
            self.keep(Affine(self.pick((-1.5, 0.5)), self.pick((0.0, 0.25))), source)
        else:
            self.keep(Crop(1), source)

    def join(self, source: str, shape: Any, seed: int) -> None:
        """Join a value with a larger one that is cropped to the same position."""
        for other in self.values:
            outer = self.value(other)
            shift = (shape.origin - outer.origin) * shape.scale
            if (
                other == source
                or outer.scale != shape.scale
                or shift < 0
                or shift.denominator != 1
                or shape.lost - outer.lost != 2 * shift
            ):
                continue
            if shift:
                other = self.net.add(Crop(int(shift)), other)
            pair = (source, other) if self.rng.random() < 0.5 else (other, source)
            if outer.channels == shape.channels:
                self.keep(Add(), *pair)
            elif self.rng.random() < 0.5:
                self.keep(Concat(), *pair)
            else:
                made = self.net.add(conv(outer.channels, shape.channels, 1, seed=seed), other)
                self.keep(Add(), *((source, made) if pair[0] == source else (made, source)))
            return
        self.keep(Activate(activation("leaky_relu", shape.channels)), source)

    def build(self) -> Graph:
        while len(self.values) < 9:
            nodes, values = list(self.net.nodes), list(self.values)
            try:
                self.step()
                self.net.graph()
            except GraphError:  # no size is divisible by the stride
                self.net.nodes, self.values = nodes, values
        if self.rng.random() < 0.6:
            self.net.add(conv(self.value(self.net.last).channels, 3, 3, 1, 1))
        return self.net.graph()

    def size(self, graph: Graph, least: int) -> int:
        for size in range(least, least + 400):
            if graph.input_size(size) == size:
                try:
                    if graph.output_size(size) > 300:
                        break
                except GraphError:
                    continue
                return size
        pytest.skip("too large or too small a result")


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_agree_with_float64(seed: int) -> None:
    random = Random(seed)
    graph = random.build()
    height = random.size(graph, int(random.rng.integers(1, 50)))
    width = random.size(graph, int(random.rng.integers(1, 50)))
    check(graph, height, width, isas=(ISAS[seed % len(ISAS)],), tolerance=5e-5)


# --- typical architectures ------------------------------------------------------------------------


def unet(gated: bool) -> Graph:
    leaky = activation("leaky_relu", 1)
    net = Net()
    net.add(conv(3, 32, 3, activation=leaky))
    first = net.add(conv(32, 64, 3, activation=leaky))
    net.add(conv(64, 64, 2, 2, activation=leaky))
    net.add(conv(64, 128, 3, activation=leaky, seed=1))
    second = net.add(conv(128, 64, 3, activation=leaky))
    if gated:
        second = gates(net, second, 64)
    net.add(conv(64, 64, 2, 2, activation=leaky, seed=2))
    net.add(conv(64, 64, 3, activation=leaky, seed=3))
    deep = net.last if not gated else gates(net, net.last, 64, seed=4)
    up = net.add(transposed(64, 64, 2, 2, activation=leaky), deep)
    net.add(Add(), net.add(Crop(2), second), up)
    net.add(conv(64, 64, 3, activation=leaky, seed=5))
    up = net.add(transposed(64, 64, 2, 2, activation=leaky, seed=6))
    net.add(Add(), up, net.add(Crop(10), first))
    net.add(conv(64, 64, 3, activation=leaky, seed=7))
    net.add(transposed(64, 3, 4, 2, 3))
    return net.graph()


def rrdb(growth: int = 16, width: int = 32) -> Graph:
    leaky = activation("leaky_relu", 1)
    net = Net()
    trunk = block = net.add(conv(3, width, 3, 1, 1))
    for round_ in range(2):
        parts = [block]
        for index in range(4):
            joined = net.add(Concat(), *parts) if index else parts[0]
            seed = 10 * round_ + index
            dense = conv(width + index * growth, growth, 3, 1, 1, leaky, seed)
            parts.append(net.add(dense, joined))
        net.add(conv(width + 4 * growth, width, 3, 1, 1, seed=round_), net.add(Concat(), *parts))
        block = net.add(Add(), net.add(Affine(0.2)), block)
    net.add(Add(), net.add(conv(width, width, 3, 1, 1), block), trunk)
    net.add(conv(width, width, 3, 1, 1, leaky), net.add(Upsample(2)))
    net.add(conv(width, 3, 3, 1, 1))
    return net.graph()


def compact(layers: int = 3) -> Graph:
    """Like the compact networks of Real-ESRGAN: constant size up to a final pixel shuffle."""
    net = Net()
    net.add(conv(3, 64, 3, 1, 1))
    for layer in range(layers):
        net.add(Activate(activation("prelu", 64, layer)))
        net.add(conv(64, 64, 3, 1, 1, seed=layer))
    net.add(Activate(activation("prelu", 64, layers)))
    made = net.add(PixelShuffle(4), net.add(conv(64, 48, 3, 1, 1)))
    net.add(Add(), made, net.add(Upsample(4), "input"))
    return net.graph()


NETWORKS: dict[str, tuple[Callable[[], Graph], int, int]] = {
    "unet": (lambda: unet(gated=False), 44, 68),
    "gated unet": (lambda: unet(gated=True), 60, 48),
    "rrdb": (rrdb, 26, 41),
    "compact": (compact, 33, 22),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_known_kinds_agree_with_float64(name: str) -> None:
    make, height, width = NETWORKS[name]
    check(make(), height, width)


# --- pictures -------------------------------------------------------------------------------------


@cache
def doubler() -> Graph:
    """A 2x network for any size, with Winograd and direct convolutions; loses 5 px a side."""
    leaky = activation("leaky_relu", 1)
    return chain(
        conv(3, 16, 3, activation=leaky),
        conv(16, 33, 3, activation=leaky),
        conv(33, 8, 3, activation=leaky),
        transposed(8, 3, 4, 2, 3 + 2 * 1),
        Affine(0.3, 0.5),
    )


MARGIN = doubler().lost
DTYPES = ("uint8", "uint16", "float32")


def picture(height: int, width: int, channels: int, dtype: str) -> Array:
    made = samples(height, width, channels, seed=7)
    if dtype == "float32":
        return made
    return (made * np.iinfo(dtype).max).astype(dtype)


def window_of(source: Array, extra: int = 0) -> Array:
    """Return the network's input for a whole picture."""
    height, width = source.shape[0] + 2 * MARGIN + extra, source.shape[1] + 2 * MARGIN + extra
    return tiles.gather(source, [-MARGIN], [-MARGIN], height=height, width=width)


def run_whole(
    network: NativeCompiled, source: Array, target: Array, on_rows: OnRows | None = None
) -> int:
    return network.run_picture(
        source,
        target,
        window=(source.shape[0] + 2 * MARGIN, source.shape[1] + 2 * MARGIN),
        start=-MARGIN,
        crop=0,
        on_rows=on_rows,
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 23), (19, 1), (27, 34)])
def test_a_picture_is_gathered_run_and_blended(
    height: int, width: int, dtype: str, channels: int
) -> None:
    source = picture(height, width, channels, dtype)
    batch = window_of(source)
    want = engine().compile(doubler()).run(batch)
    close(want, evaluate(doubler(), batch))
    for out_dtype, out_channels, threads in itertools.product(DTYPES, (1, 3), (1, 3)):
        expected: Array = np.empty((2 * height, 2 * width, out_channels), out_dtype)
        tiles.blend(
            want[0], expected, src_x=0, src_y=0, dst_x=0, dst_y=0, width=2 * width,
            height=2 * height,
        )  # fmt: skip
        target = np.empty_like(expected)
        assert run_whole(engine(threads).compile(doubler()), source, target) == 0
        np.testing.assert_array_equal(target, expected)


def test_a_picture_may_be_a_view_of_another() -> None:
    """Strides may be negative; memory between the rows of the target stays untouched."""
    network = engine(2).compile(doubler())
    base = picture(40, 50, 3, "uint8")
    frame = np.full((90, 70, 3), 77, np.uint8)
    for source in (base[3:21, 5:30], base[::-1][2:20, :25], base[::2][:18, 9:34]):
        frame[:] = 77
        target = frame[10:46, 12:62]
        run_whole(network, source, target)
        plain: Array = np.empty((36, 50, 3), np.uint8)
        run_whole(network, source.copy(), plain)
        np.testing.assert_array_equal(target, plain)
        frame[10:46, 12:62] = 77
        assert (frame == 77).all()


def test_a_cut_of_the_result_may_be_the_target() -> None:
    network = engine(2).compile(doubler())
    source = picture(17, 22, 3, "float32")
    whole = network.run(window_of(source, 6))
    target: Array = np.empty((20, 31, 3), np.float32)
    bad = network.run_picture(
        source, target, window=(23 + 2 * MARGIN, 28 + 2 * MARGIN), start=-MARGIN, crop=4
    )
    assert bad == 0
    np.testing.assert_array_equal(target, np.clip(whole[0, :, 4:24, 4:35].transpose(1, 2, 0), 0, 1))


@pytest.mark.parametrize("name", ["doubler", *NETWORKS])
def test_any_part_is_the_same_bytes_as_in_the_whole(name: str) -> None:
    """Winograd tiles lie on a grid of the whole picture, so parts do not change rounding."""
    if name == "doubler":
        graph, height, width = doubler(), 37, 45
    else:
        make, height, width = NETWORKS[name]
        graph = make()
    source = picture(height - 4, width - 4, 3, "uint8")
    batch = tiles.gather(source, [-2], [-2], height=height, width=width)
    rng = np.random.default_rng(3)
    whole = engine().compile(graph).run(batch)
    full_height, full_width = whole.shape[2:]
    for index in range(12):
        network = engine(THREADS[index % 4]).compile(graph)
        top, left = int(rng.integers(full_height)), int(rng.integers(full_width))
        bottom, right = int(rng.integers(top, full_height)), int(rng.integers(left, full_width))
        rows, columns = (top, bottom + 1), (left, right + 1)
        if index == 0:
            rows, columns = (0, full_height), (full_width - 1, full_width)
        part = network.run_part(
            source, window=(height, width), start=-2, rows=rows, columns=columns
        )
        assert part.flags.c_contiguous
        np.testing.assert_array_equal(
            part,
            whole[:, :, rows[0] : rows[1], columns[0] : columns[1]],
            err_msg=f"{rows} {columns}",
        )


def check_parts_of_padding() -> None:
    graph = chain(conv(3, 3, 1, 1, 2), conv(3, 3, 1, 1, 3))
    source = picture(12, 12, 3, "float32")
    want = evaluate(graph, tiles.gather(source, [0], [0], height=12, width=12))
    edges = ((0, 1), (1, 3), (8, 9), (18, 20), (21, 22))
    for rows, columns in itertools.product(edges, edges):
        got = (
            engine()
            .compile(graph)
            .run_part(source, window=(12, 12), start=0, rows=rows, columns=columns)
        )
        close(got, want[:, :, rows[0] : rows[1], columns[0] : columns[1]])


def test_parts_that_see_nothing_of_the_input_are_what_padding_gives() -> None:
    in_a_child("check_parts_of_padding()")


def test_samples_that_are_not_finite_are_counted() -> None:
    """In a 1x1 convolution each non-finite sample of the source affects its own pixel only."""
    weight = np.ones((3, 3, 1, 1), np.float32)
    graph = chain(Conv(weight, np.zeros(3, np.float32)))
    source = picture(20, 30, 3, "float32")
    source[0, 0, 0] = source[0, 0, 1] = np.nan
    source[19, 29, 2] = np.inf
    source[7, 3:9, 1] = -np.inf
    for threads, channels in itertools.product((1, 3), (1, 3)):
        target: Array = np.empty((20, 30, channels), np.uint8)
        network = engine(threads).compile(graph)
        assert network.run_picture(source, target, window=(20, 30), start=0, crop=0) == 3 * 8
    everywhere = chain(Conv(weight * np.inf, np.zeros(3, np.float32)))
    target = np.empty((20, 30, 3), np.uint8)
    network = engine(2).compile(everywhere)
    assert network.run_picture(source, target, window=(20, 30), start=0, crop=0) == 3 * 600


def test_given_means_reach_a_picture_and_a_part() -> None:
    graph = unet(gated=True).with_given_means()
    network = engine(2).compile(graph)
    source = picture(44, 48, 3, "uint16")
    batch = tiles.gather(source, [0], [0], height=44, width=48)
    means = [samples(1, given.channels, 1, 1) for given in graph.inputs[1:]]
    whole = network.run(batch, means)
    close(whole, evaluate(graph, batch, means))
    target: Array = np.empty((*whole.shape[2:], 3), np.float32)
    network.run_picture(source, target, window=(44, 48), start=0, crop=0, means=means)
    np.testing.assert_array_equal(target, np.clip(whole[0].transpose(1, 2, 0), 0, 1))
    part = network.run_part(
        source, window=(44, 48), start=0, rows=(1, 9), columns=(4, 11), means=means
    )
    np.testing.assert_array_equal(part, whole[:, :, 1:9, 4:11])


# --- progress and cancellation --------------------------------------------------------------------


@cache
def slow() -> tuple[NativeCompiled, Array]:
    """A network and a picture large enough for several calls of ``on_rows``."""
    return engine(2, "scalar").compile(doubler()), picture(4000, 300, 3, "uint8")


def target_for(source: Array) -> Array:
    return np.zeros((2 * source.shape[0], 2 * source.shape[1], 3), np.uint8)


def test_progress_and_finished_rows_rise() -> None:
    network, source = slow()
    target = target_for(source)
    seen: list[tuple[float, int]] = []
    ready: Array = np.zeros_like(target)

    def on_rows(share: float, rows: int) -> bool:
        assert threading.current_thread() is threading.main_thread()
        seen.append((share, rows))
        ready[:rows] = target[:rows]
        return False

    for _ in range(5):  # other programs may keep the calling thread from running
        seen.clear()
        run_whole(network, source, target, on_rows)
        if len(seen) >= 3:
            break
    assert len(seen) >= 3
    shares, rows = zip(*seen, strict=True)
    assert 0 <= shares[0] <= shares[-1] <= 1 + 1e-9
    assert sorted(shares) == list(shares)
    assert sorted(rows) == list(rows)
    assert 0 < rows[-1] <= target.shape[0]
    np.testing.assert_array_equal(ready[: rows[-1]], target[: rows[-1]])


def test_progress_of_a_network_without_convolutions() -> None:
    seen: list[float] = []

    def on_rows(share: float, rows: int) -> bool:
        seen.append(share)
        return False

    source = picture(1500, 1500, 3, "float32")
    target: Array = np.empty((3000, 3000, 3), np.uint8)
    network = engine(1, "scalar").compile(chain(Upsample(2), Activate(activation("sigmoid", 3))))
    network.run_picture(source, target, window=(1500, 1500), start=0, crop=0, on_rows=on_rows)
    assert seen
    assert all(0 <= share <= 1 + 1e-9 for share in seen)


def test_a_callback_that_returns_true_stops_the_run() -> None:
    network, source = slow()
    target = target_for(source)
    calls: list[float] = []

    def stop(share: float, rows: int) -> bool:
        calls.append(share)
        return True

    with pytest.raises(CancelledError, match="cancelled; nothing was written"):
        run_whole(network, source, target, stop)
    assert len(calls) == 1
    assert not target[-1].any()  # the rest was not computed
    after = target_for(source)
    assert run_whole(network, source, after) == 0
    assert after[-1].any()


def test_exceptions_of_a_callback_reach_the_caller() -> None:
    network, source = slow()
    target = target_for(source)
    raised = RuntimeError("from the callback")

    def fail(share: float, rows: int) -> bool:
        raise raised

    with pytest.raises(RuntimeError) as caught:
        run_whole(network, source, target, fail)
    assert caught.value is raised
    assert not target[-1].any()
    small = picture(9, 9, 3, "uint8")
    assert run_whole(network, small, target_for(small)) == 0


def test_a_callback_may_run_networks() -> None:
    network, source = slow()
    batch = samples(1, 3, 20, 24)
    alone = network.run(batch)
    inner: list[Array] = []

    def on_rows(share: float, rows: int) -> bool:
        inner.append(network.run(batch))
        return False

    target, plain = target_for(source), target_for(source)
    run_whole(network, source, target, on_rows)
    run_whole(network, source, plain)
    np.testing.assert_array_equal(target, plain)
    assert inner
    for result in inner:
        np.testing.assert_array_equal(result, alone)


# --- threads and processes ------------------------------------------------------------------------


def test_networks_of_one_engine_run_in_several_threads_at_once() -> None:
    shared = NativeEngine(threads=3)
    work: list[tuple[NativeCompiled, Array]] = []
    for index, graph in enumerate((doubler(), unet(gated=True), compact(1), doubler())):
        network = shared.compile(graph)
        for size in ((44, 48), (48, 44), (60, 64)):
            work.append((network, samples(1, 3, *size, seed=index)))
    alone = [network.run(batch) for network, batch in work]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: one[0].run(one[1]), work * 2))
    for got, want in zip(together, alone * 2, strict=True):
        np.testing.assert_array_equal(got, want)


def test_an_idle_engine_takes_no_time() -> None:
    network = engine(3).compile(doubler())
    network.run(samples(1, 3, 60, 60))
    time.sleep(0.02)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


PREAMBLE = """
import os, signal, sys, threading, time
import numpy as np
from waifu2x.engines.native import NativeEngine
from waifu2x.errors import EngineError
from waifu2x.network.graph import *

def conv(inputs, outputs, seed=1):
    rng = np.random.default_rng(seed)
    weight = rng.uniform(-0.1, 0.1, (outputs, inputs, 3, 3)).astype(np.float32)
    return Conv(weight, np.zeros(outputs, np.float32), 1, 1)

def network(threads=2, isa=None, wide=32, mean=True):
    gated = (Node("mean", GlobalMean(), ("a",)), Node("gated", Multiply(), ("a", "mean")))
    nodes = [
        Node("a", conv(3, wide), ("input",)),
        *(gated if mean else (Node("gated", Affine(0.5), ("a",)),)),
        Node("b", conv(wide, wide), ("a",)),
        Node("both", Add(), ("gated", "b")),
        Node("c", conv(wide, 3), ("both",)),
    ]
    return NativeEngine(threads=threads, isa=isa).compile(Graph(nodes, output="c"))

def run(network, size, on_rows=None):
    source = np.ones((size, size, 3), np.uint8)
    target = np.empty((size, size, 3), np.uint8)
    network.run_picture(source, target, window=(size, size), start=0, crop=0, on_rows=on_rows)

x = np.random.default_rng(0).random((1, 3, 50, 70), np.float32)
"""


def python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script], capture_output=True, text=True,
        timeout=TIME_LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@forks
def test_a_forked_child_runs_networks_of_its_parent() -> None:
    said = python("""
made = network()
want = made.run(x)
for round in range(3):
    child = os.fork()
    if child == 0:
        equal = all(np.array_equal(made.run(x), want) for _ in range(3))
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if np.array_equal(made.run(x), want) else 1)
        status = os.waitpid(grandchild, 0)[1]
        sys.exit(0 if equal and status == 0 else 1)  # through the whole shutdown
    print(os.waitpid(child, 0)[1], flush=True)  # or the next child would print it, too
    assert np.array_equal(made.run(x), want)
""")
    assert said.split() == ["0", "0", "0"]


@forks
def test_a_child_forked_amid_a_run_runs_networks() -> None:
    said = python("""
made = network()
want = made.run(x)
done = threading.Event()
def busy():
    while not done.is_set():
        made.run(x)
        run(made, 150)
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
for round in range(15):
    time.sleep(0.007)
    child = os.fork()
    if child == 0:
        signal.alarm(100)
        os._exit(0 if np.array_equal(made.run(x), want) else 1)
    print(os.waitpid(child, 0)[1])
done.set()
for thread in threads:
    thread.join()
assert np.array_equal(made.run(x), want)
""")
    assert said.split() == ["0"] * 15


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_ctrl_c_ends_a_run_soon() -> None:
    script = """
made = network(isa="scalar", wide=256, mean=False)  # takes the better part of an hour
made.run(x)
try:
    print("ready", flush=True)
    run(made, 6000)
except KeyboardInterrupt:
    print("stopped", np.array_equal(made.run(x), made.run(x)), flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + script],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=TIME_LIMIT)
        assert said == "stopped True\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_the_interpreter_ends_while_an_engine_is_idle() -> None:
    assert python("made = network()\nmade.run(x)\nprint('end')\n") == "end\n"


def test_the_interpreter_ends_while_a_daemon_thread_runs_a_network() -> None:
    said = python("""
class Last:  # taken down with the modules: the interpreter ends later than the next callback
    def __del__(self, sleep=time.sleep):
        sleep(0.2)
sys.modules["last"] = Last()
made = network(isa="scalar", wide=64)
def busy():
    while True:
        run(made, 600)
threading.Thread(target=busy, daemon=True).start()
time.sleep(0.2)
print("end", flush=True)
""")
    assert said == "end\n"


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory use is read from /proc"
)


@needs_proc
def test_threads_that_cannot_be_started_are_an_engine_error() -> None:
    said = python("""
import resource
made = network(threads=4000)
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    made.run(x)
except EngineError as error:
    print("refused")
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(network().run(x).shape)
""")
    assert said == "refused\n(1, 3, 50, 70)\n"


@needs_proc
def test_memory_that_is_not_there_is_an_engine_error() -> None:
    said = python("""
import resource
made = network()
want = made.run(x)
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (300 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
source = np.ones((9, 9, 3), np.uint8)
for window in ((3000, 3000), (1 << 20, 1 << 20), (1 << 26, 1 << 26)):
    try:
        made.run_part(source, window=window, start=0, rows=(0, 2), columns=(0, 2))
    except EngineError as error:
        print(error)
print(np.array_equal(made.run(x), want))
""")
    assert said.splitlines() == [
        f"the native engine has not enough memory for an input of {side}x{side} px; "
        "a smaller `tile=` needs less"
        for side in (3000, 1 << 20, 1 << 26)
    ] + ["True"]


@needs_proc
def test_memory_follows_the_width_of_a_picture_and_not_its_height() -> None:
    """Rows stream through ring buffers. Both pictures are allocated before the measurement."""
    script = """
from waifu2x.network import registry
graph = registry.load(registry.model("upconv_7").network(2, 0))
made = NativeEngine(threads=1).compile(graph)
height = int(sys.argv[1])
source = np.ones((height, 256, 3), np.uint8)
target = np.ones((2 * height, 512, 3), np.uint8)
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line)
before = peak()
made.run_picture(source, target, window=(height + 14, 270), start=-7, crop=0)
print(peak() - before)
"""
    extra = []
    for height in ("1024", "8192"):
        done = subprocess.run(
            [sys.executable, "-c", PREAMBLE + script, height], capture_output=True, text=True,
            timeout=TIME_LIMIT, check=True,
        )  # fmt: skip
        extra.append(int(done.stdout))
    # A complete intermediate value of the taller picture would take 256 MiB more.
    assert extra[1] < extra[0] + (16 << 10), f"{extra} KiB"


# --- errors ---------------------------------------------------------------------------------------

vector = np.zeros(3, np.float32)
kernel = np.zeros((3, 3, 3, 3), np.float32)
HOW: dict[str, Any] = {"stride": 1, "padding": 0, "addend": None}
Program = _native.Program


def finished_first(program: _native.Program) -> int:
    program.finish((0, 0))
    return program.smooth((0, 0), "sigmoid")


POOL = _native.Pool(1)


def batch_of(size: int) -> Array:
    return np.zeros((1, 3, size, size), np.float32)


BUILDING: list[tuple[str, Callable[[_native.Program], object]]] = [
    ("a network reads at least one channel", lambda p: Program(0)),
    ("a network reads at least one channel", lambda p: Program(-4)),
    ("isa is 'mmx'; usable here: ", lambda p: Program(3, isa="mmx")),
    ("no such value", lambda p: p.affine((1, 0), vector, vector)),
    ("no such value", lambda p: p.affine((-1, 0), vector, vector)),
    ("no such value", lambda p: p.affine((0, -1), vector, vector)),
    ("no such value", lambda p: p.smooth((1, 0), "sigmoid")),
    ("no such value", lambda p: p.smooth((1, 0), "silu")),
    ("no such value", lambda p: p.smooth((1, 0), "tanh")),
    ("no such value", lambda p: p.product((1, 0), (0, 0))),
    ("no such value", lambda p: p.unshuffle((1, 0), 2)),
    ("no such value", lambda p: p.resize((1, 0), 2, 1, 2)),
    ("no such value", lambda p: p.add((0, 0), (1, 0))),
    ("no such value", lambda p: p.add((1, 0), (0, 0))),
    ("no such value", lambda p: p.concat([(0, 0), (1, 0)])),
    ("no such value", lambda p: p.upsample((1, 0), 2)),
    ("no such value", lambda p: p.shuffle((1, 0), 2)),
    ("no such value", lambda p: p.mean((1, 0))),
    ("no such value", lambda p: p.multiply((1, 0), p.pooled_input(3))),
    ("no such value", lambda p: p.finish((1, 0))),
    ("no such value", lambda p: p.conv((1, 0), kernel, vector, vector, **HOW)),
    ("no such value", lambda p: p.conv((0, 0), kernel, vector, vector, **HOW | {"addend": (1, 0)})),
    (
        "the convolution does not fit its input",
        lambda p: p.conv((0, 0), kernel[:, :2].copy(), vector, vector, **HOW),
    ),
    (
        "the convolution does not fit its input",
        lambda p: p.conv((0, 0), kernel, vector, vector, **HOW | {"stride": 0}),
    ),
    (
        "the convolution does not fit its input",
        lambda p: p.conv((0, 0), kernel, vector, vector, **HOW | {"padding": -1}),
    ),
    (
        "the convolution does not fit its input",
        lambda p: p.conv((0, 0), kernel[:, :, :0, :0].copy(), vector, vector, **HOW),
    ),
    (
        "the convolution does not fit its input",
        lambda p: p.conv((0, 0), kernel[:0].copy(), vector[:0], vector[:0], **HOW),
    ),
    (
        "weight has shape (3, 3, 3, 2); it must be (out, in, k, k)",
        lambda p: p.conv((0, 0), kernel[..., :2].copy(), vector, vector, **HOW),
    ),
    (
        "weight has shape (3,); it must be (out, in, k, k)",
        lambda p: p.conv((0, 0), vector, vector, vector, **HOW),
    ),
    (
        "bias has shape (2,); it must be (3,)",
        lambda p: p.conv((0, 0), kernel, vector[:2], vector, **HOW),
    ),
    (
        "slope has shape (3, 1); it must be (3,)",
        lambda p: p.conv((0, 0), kernel, vector, vector[:, None].copy(), **HOW),
    ),
    *(
        (
            "the shuffle does not fit the convolution",
            lambda p, wrong=wrong: p.conv((0, 0), kernel, vector, vector, **HOW | wrong),
        )
        for wrong in (
            {"shuffle": 2}, {"shuffle": -1}, {"shuffle": 1, "stride": 2}, {"crop": 1}, {"trim": 1},
            {"shuffle": 1, "crop": -1}, {"shuffle": 1, "trim": -1},
        )
    ),
    ("channels differ", lambda p: p.product((0, 0), (p.concat([(0, 0), (0, 0)]), 0))),
    (
        "there must be one scale and offset per channel",
        lambda p: p.affine((0, 0), vector[:2], vector[:2]),
    ),
    ("offset has shape (2,); it must be (3,)", lambda p: p.affine((0, 0), vector, vector[:2])),
    ("nothing to convolve", lambda p: p.conv([], kernel, vector, vector, **HOW)),
    (
        "the channels do not fill their blocks",
        lambda p: p.conv([(0, 0), (0, 0)], kernel, vector, vector, **HOW),
    ),
    ("the factor must be at least 1, and not thousands", lambda p: p.unshuffle((0, 0), 0)),
    ("the factor must be at least 1, and not thousands", lambda p: p.resize((0, 0), 0, 1, 2)),
    ("the factor must be at least 1, and not thousands", lambda p: p.resize((0, 0), 1, 9999, 2)),
    ("the support must be 1 or 2", lambda p: p.resize((0, 0), 2, 1, 3)),
    ("there must be one slope per channel", lambda p: p.activate((0, 0), vector[:2])),
    ("channels differ", lambda p: p.add((0, 0), (p.concat([(0, 0), (0, 0)]), 0))),
    ("nothing to join", lambda p: p.concat([])),
    ("the factor must be at least 1, and not thousands", lambda p: p.upsample((0, 0), 0)),
    ("the channels do not shuffle by this factor", lambda p: p.shuffle((0, 0), 2)),
    ("the channels do not shuffle by this factor", lambda p: p.shuffle((0, 0), 0)),
    ("the gate does not fit its value", lambda p: p.multiply((0, 0), 0)),
    ("the gate does not fit its value", lambda p: p.multiply((0, 0), -1)),
    ("the gate does not fit its value", lambda p: p.multiply((0, 0), p.pooled_input(4))),
    (
        "the pooled convolution does not fit its input",
        lambda p: p.pooled_conv(p.pooled_input(3), kernel, vector, vector, False),
    ),
    (
        "the pooled convolution does not fit its input",
        lambda p: p.pooled_conv(7, kernel[:, :, :1, :1].copy(), vector, vector, False),
    ),
    ("the program is finished", finished_first),
    ("the program is not finished", lambda p: p.run(POOL, batch_of(4), [])),
]  # fmt: skip


@pytest.mark.parametrize(("message", "call"), BUILDING)
def test_what_a_program_cannot_be_built_of_is_refused(
    message: str, call: Callable[[_native.Program], object]
) -> None:
    program = Program(3)
    with pytest.raises(ValueError, match=r"\S") as caught:
        call(program)
    said = str(caught.value)
    assert said == message or (message.endswith(": ") and said.startswith(message))
    if "finished" in message:
        return
    program.finish(
        (program.affine((0, 0), vector + 2, vector + 1), 0)
    )  # the program is still usable
    for givens in ((), (3,), (4,)):  # means that the call created before its refusal
        means = [np.zeros((1, channels, 1, 1), np.float32) for channels in givens]
        with contextlib.suppress(ValueError):
            made = program.run(POOL, batch_of(4), means)
            np.testing.assert_array_equal(made, np.ones_like(made))
            return
    raise AssertionError("the program does not run any more")


@pytest.mark.parametrize(
    "call",
    ["p.activate((10**8, 0), np.zeros(3, np.float32))", "p.shuffle((0, 0), 65536)"],
)
def test_numbers_far_out_are_refused_and_do_not_crash(call: str) -> None:
    said = python(f"""
from waifu2x.kernels import _native
p = _native.Program(3)
try:
    {call}
except ValueError:
    print("refused")
""")
    assert said == "refused\n"


def test_programs_refuse_values_that_do_not_lie_on_each_other() -> None:
    """Graph checks alignment; without the check, a program would read out of range."""
    said = python("""
from waifu2x.kernels import _native
p = _native.Program(3)
try:
    small = p.smooth((0, 9), "sigmoid")
    p.finish((p.add((0, 0), (small, 0)), 0))
    p.run(_native.Pool(1), x, [])
except ValueError:
    print("refused")
""")
    assert said == "refused\n"


def part(network: NativeCompiled, **changes: Any) -> object:
    how: dict[str, Any] = {"window": (30, 30), "start": 0, "rows": (0, 4), "columns": (0, 4)}
    return network.run_part(picture(9, 9, 3, "uint8"), **how | changes)


def into(network: NativeCompiled, source: Array, target: Array, **changes: Any) -> object:
    how: dict[str, Any] = {"window": (30, 30), "start": 0, "crop": 0}
    return network.run_picture(source, target, **how | changes)


OUT = 2 * (30 - 2 * MARGIN)
GOOD = picture(9, 9, 3, "uint8")
RUNNING: list[tuple[str, Callable[[NativeCompiled], object]]] = [
    (
        "batch has shape (1, 1, 30, 30); it must be (N, 3, height, width)",
        lambda n: n.run(np.zeros((1, 1, 30, 30), np.float32)),
    ),
    (
        "the width is 67108865 px; a side may have 1 to 67108864",
        lambda n: part(n, window=(30, 2**26 + 1)),
    ),
    ("too many means for this network", lambda n: n.run(batch_of(30), [vector])),
    (
        f"a rectangle of 4 x 5 at (0, {OUT - 4}) is empty or not inside the output, "
        f"which is {OUT} x {OUT}",
        lambda n: part(n, rows=(OUT - 4, OUT + 1)),
    ),
    (
        f"a rectangle of 0 x 4 at (3, 0) is empty or not inside the output, which is {OUT} x {OUT}",
        lambda n: part(n, columns=(3, 3)),
    ),
    (
        f"a rectangle of 4 x 4 at (-1, 0) is empty or not inside the output, "
        f"which is {OUT} x {OUT}",
        lambda n: part(n, columns=(-1, 3)),
    ),
    (
        f"a rectangle of {OUT + 1} x 2 at (0, 0) is empty or not inside the output, "
        f"which is {OUT} x {OUT}",
        lambda n: into(n, GOOD, np.empty((2, OUT + 1, 3), np.uint8)),
    ),
    (
        f"a rectangle of 4 x 4 at ({OUT - 3}, {OUT - 3}) is empty or not inside the output, "
        f"which is {OUT} x {OUT}",
        lambda n: into(n, GOOD, np.empty((4, 4, 3), np.uint8), crop=OUT - 3),
    ),
    (
        "src has dtype float64; it must be uint8, uint16 or float32 in this machine's byte order",
        lambda n: into(n, GOOD.astype(float), GOOD.copy()),
    ),
    (
        "dst has dtype int16; it must be uint8, uint16 or float32 in this machine's byte order",
        lambda n: into(n, GOOD, GOOD.astype(np.int16)),
    ),
    (
        "src has shape (9, 9, 2); it must be (height, width, 1 or 3), none of them 0",
        lambda n: into(n, GOOD[:, :, :2].copy(), GOOD.copy()),
    ),
    (
        "dst has shape (0, 9, 3); it must be (height, width, 1 or 3), none of them 0",
        lambda n: into(n, GOOD, GOOD[:0].copy()),
    ),
    (
        "src of shape (5, 5, 3) is not contiguous from axis 1 on; pass a contiguous copy of it",
        lambda n: into(n, GOOD[:5, ::2], GOOD.copy()),
    ),
    (
        "dst is read-only; it must be writeable",
        lambda n: into(n, GOOD, np.broadcast_to(GOOD[:1], GOOD.shape)),
    ),
]


@pytest.mark.parametrize(("message", "call"), RUNNING)
def test_what_cannot_be_run_is_an_engine_error(
    message: str, call: Callable[[NativeCompiled], object]
) -> None:
    network = engine(2).compile(doubler())
    with pytest.raises(EngineError) as caught:
        call(network)
    said = str(caught.value)
    assert said.startswith("the native engine failed on an input of ")
    assert said.endswith(f" px: {message}")
    assert "\n" not in said
    assert network.run(batch_of(30)).shape == (1, 3, OUT, OUT)


def test_threads_that_do_not_start_are_an_engine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def run(self, *_: object) -> None:
            raise RuntimeError("the system started only 3 of 9 threads; give fewer with `threads=`")

    network = engine(2).compile(doubler())
    monkeypatch.setattr(network, "_program", Full())
    with pytest.raises(EngineError) as caught:
        network.run(batch_of(30))
    assert str(caught.value) == (
        "the native engine failed: the system started only 3 of 9 threads; "
        "give fewer with `threads=`"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set as on Linux")
def test_threads_of_the_pool_that_do_not_start() -> None:
    said = python("""
import resource
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.RLIM_INFINITY))
try:
    NativeEngine(threads=20000).compile(network().graph).run(x)
except EngineError as error:
    print(error)
""")
    assert re.fullmatch(
        r"the native engine failed: the system started only \d+ of 20000 threads; "
        r"give fewer with `threads=`\n",
        said,
    )


@pytest.mark.parametrize("size", [(0, 30), (30, 0), (30, 2), (-1, 30)])
def test_a_size_that_does_not_fit_is_an_engine_error(size: tuple[int, int]) -> None:
    network = engine(2).compile(doubler())
    wrong = next(side for side in size if side != 30)
    with pytest.raises(EngineError, match=f"an input side of {wrong} px does not fit this network"):
        part(network, window=size)
    with pytest.raises(EngineError, match=r"the batch has shape \(3, 30, 30\)"):
        network.run(np.zeros((3, 30, 30), np.float32))


def test_only_networks_of_three_channels_run_over_a_picture() -> None:
    said = "only a network from 3 channels to 3 runs over a picture"
    for graph in (chain(conv(1, 3), channels=1), chain(conv(3, 4))):
        network = engine().compile(graph)
        with pytest.raises(EngineError, match=said):
            part(network)
        with pytest.raises(EngineError, match=said):
            into(network, GOOD, GOOD.copy())


@pytest.mark.parametrize(
    ("means", "message"),
    [
        ([], "too few means for this network"),
        ([(1, 4, 1, 1)] * 3, "too many means for this network"),
        ([(1, 4, 1, 1), (1, 3, 1, 1)], "(1, 3, 1, 1); it must be (1 or 2, 4, 1, 1)"),
        ([(3, 4, 1, 1), (1, 4, 1, 1)], "(3, 4, 1, 1); it must be (1 or 2, 4, 1, 1)"),
        ([(4,), (1, 4, 1, 1)], "a mean has shape (4,); it must be (1 or 2, 4, 1, 1)"),
    ],
)  # fmt: skip
def test_means_that_do_not_fit_are_an_engine_error(
    means: list[tuple[int, ...]], message: str
) -> None:
    net = Net()
    net.add(conv(3, 4))
    for seed in range(2):
        net.add(Multiply(), net.last, net.add(GlobalMean(), net.last))
        net.add(conv(4, 4, seed=seed))
    network = engine().compile(net.graph().with_given_means())
    batch = np.zeros((2, 3, 30, 30), np.float32)
    with pytest.raises(EngineError) as caught:
        network.run(batch, [np.zeros(shape, np.float32) for shape in means])
    assert message in str(caught.value)
    good = np.zeros((2, 4, 1, 1), np.float32)
    assert network.run(batch, [good, good[:1]]).shape == (2, 4, 24, 24)


def test_pooled_values_joined_or_given_out_are_refused_at_compiling() -> None:
    net = Net()
    mean = net.add(GlobalMean(), "input")
    two = net.add(Add(), mean, net.add(Affine(2.0), mean))
    net.add(Multiply(), "input", two)
    with pytest.raises(EngineError) as caught:
        engine().compile(net.graph())
    assert str(caught.value) == (
        f"the native engine does not run {two!r} (Add) on pooled values; choose `engine='onnx'`"
    )


def test_a_network_whose_result_is_a_mean_is_refused_at_compiling() -> None:
    with pytest.raises(EngineError):
        engine().compile(chain(GlobalMean()))


def test_weights_need_not_be_contiguous() -> None:
    weight = numbers(3, 3, 3, 6)[..., ::2]
    graph = chain(Conv(weight, numbers(6)[::2]), Affine(1.0))
    check(graph, 9, 9, isas=ISAS[-1:], threads=(1,))


def test_a_batch_of_three_dimensions_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match=r"batch has shape \(3, 30, 30\)"):
        engine().compile(doubler()).run(np.zeros((3, 30, 30), np.float32))


def test_a_size_that_a_network_does_not_take_is_an_engine_error() -> None:
    """Branches would not be aligned; the other engines fail, too."""
    net = Net()
    net.add(conv(3, 8, 2, 2))
    net.add(Add(), "input", net.add(transposed(8, 3, 2, 2)))
    with pytest.raises(EngineError):
        engine().compile(net.graph()).run(samples(1, 3, 21, 21))


def test_a_mean_over_nothing_is_an_engine_error() -> None:
    net = Net()
    net.add(Multiply(), "input", net.add(GlobalMean(), net.add(Crop(4), "input")))
    for size in (7, 8):
        with pytest.raises(EngineError, match="does not fit this network"):
            engine().compile(net.graph()).run(samples(1, 3, size, size))


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ArgumentError) as caught:
        NativeEngine(isa="mmx")
    assert str(caught.value) == f"isa is 'mmx'; usable here are {', '.join(ISAS)}"
