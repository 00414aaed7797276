"""The native engine on architectures of the field: deep, padded, gated and joined networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from helpers.networks import Builder, compact, cugan, esrgan, gated, shrunk, span
from helpers.state_dicts import random_graph

from waifu2x.engines.native import NativeEngine
from waifu2x.kernels import _native
from waifu2x.network.graph import (
    Activate,
    Activation,
    ActivationKind,
    Add,
    Affine,
    Concat,
    Crop,
    Graph,
    Multiply,
    PixelShuffle,
    PixelUnshuffle,
    Resize,
    Upsample,
)
from waifu2x.network.reference import evaluate
from waifu2x.pipeline.tiling import CompiledNetwork, tiling_of

ISAS = tuple(_native.isas())

NETWORKS: dict[str, Callable[[], Graph]] = {
    "compact": compact,
    "compact, halved": lambda: shrunk(compact(scale=4), 1, 2),
    "compact, three quarters": lambda: shrunk(compact(scale=4), 3, 4),
    "esrgan": esrgan,
    "esrgan of odd channels": lambda: esrgan(features=20, growth=12),
    "esrgan at half resolution": lambda: esrgan(unshuffled=2, features=16, growth=16),
    "span": span,
    "span of odd channels": lambda: span(features=20),
    "cugan": cugan,
    "gated": lambda: gated(features=48),
    "gated of odd channels": lambda: gated(features=20, residual=True),
    "gated by the input": lambda: gated(gate="input", residual=True, joined=False),
    "gated, full resolution": lambda: gated(unshuffled=1, convolutions=1, scale=3),
    "adaptive": lambda: random_graph("adaptive"),
    "unet": lambda: random_graph("unet"),
    "half resolution, no gates": lambda: gated(gate="none", convolutions=2, blocks=6),
}


@cache
def engine(threads: int, isa: str | None = None) -> NativeEngine:
    return NativeEngine(threads=threads, isa=isa)


def samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).random(shape, np.float32)


def check(graph: Graph, height: int, width: int, tolerance: float = 2e-5) -> None:
    """Check against float64, and equal bytes for all thread counts, at every instruction set."""
    batch = samples(1, 3, graph.input_size(height), graph.input_size(width))
    want = evaluate(graph, batch)
    limit = tolerance * max(1.0, float(np.abs(want).max()))
    for isa in ISAS:
        first = engine(1, isa).compile(graph).run(batch)
        np.testing.assert_allclose(first, want, rtol=0, atol=limit, err_msg=isa)
        again = engine(3, isa).compile(graph).run(batch)
        np.testing.assert_array_equal(again, first, err_msg=isa)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
def test_architectures_agree_with_float64_for_any_threads(build: Callable[[], Graph]) -> None:
    check(build(), 29, 37)


@pytest.mark.parametrize(
    "build",
    [
        esrgan,
        span,
        lambda: shrunk(compact(scale=4), 3, 4),
        gated,
        lambda: random_graph("unet"),
        lambda: random_graph("adaptive"),
    ],
)
def test_regions_of_a_large_picture_join_without_a_trace(build: Callable[[], Graph]) -> None:
    """Columns wider than a region and more rows than a step; each thread count splits otherwise."""
    graph = build()
    batch = samples(1, 3, 28, 1100)
    whole = engine(1).compile(graph).run(batch)
    for threads in (2, 5):
        np.testing.assert_array_equal(engine(threads).compile(graph).run(batch), whole)


def test_given_gates_agree_with_float64_for_any_threads() -> None:
    """Gates that are given are part of the convolutions, in Winograd tiles or not."""
    for name in ("adaptive", "adaptive-wide"):
        graph = random_graph(name).with_given_means()
        batch = samples(1, 3, 29, 37)
        means = [samples(1, given.channels, 1, 1) for given in graph.inputs[1:]]
        expected = evaluate(graph, batch, means)
        for isa in ISAS:
            for threads in (1, 3):
                made = engine(threads, isa).compile(graph).run(batch, means)
                np.testing.assert_allclose(made, expected, atol=1e-4 * np.abs(expected).max())
        other = engine(1).compile(graph).run(batch, [1 - each for each in means])
        assert np.abs(other - expected).max() > 1e-3


SMOOTH = ("sigmoid", "silu", "tanh")


@pytest.mark.parametrize(("kernel", "crop"), [(1, 0), (3, 0), (3, 1), (5, 1)])
@pytest.mark.parametrize("kind", [None, "relu", *SMOOTH])
def test_products_and_sums_after_a_convolution_agree_with_float64(
    kind: ActivationKind | None, kernel: int, crop: int
) -> None:
    """The product and the sum are part of the convolution, of either algorithm."""
    for sums in (False, True):
        net = Builder()
        first, second = net.conv(3, 20), net.conv(3, 20, "input")
        if crop:
            second = net.add(Crop(crop))
        net.conv(20, 20, first, kernel=kernel, padding=kernel // 2 - crop)
        if kind is not None:
            net.add(Activate(Activation(kind)))
        net.add(Multiply(), net.last, second)
        if sums:
            net.add(Add(), net.add(Crop(crop), first) if crop else first, net.last)
        check(net.graph(), 19, 61)


@pytest.mark.parametrize(("factor", "enlarged"), [(2, 2), (4, 2), (4, 1), (6, 3)])
@pytest.mark.parametrize("channels", [3, 17])
def test_shuffled_values_plus_an_enlarged_one(channels: int, factor: int, enlarged: int) -> None:
    """The sum is part of the shuffle if the channels fit a block."""
    net = Builder()
    base, ratio = net.conv(3, channels), factor // enlarged
    net.conv(3, 8, "input", kernel=ratio, stride=ratio, padding=0)
    net.conv(8, channels * factor * factor)
    shuffled = net.add(PixelShuffle(factor))
    net.add(Add(), net.add(Upsample(enlarged), base), shuffled)
    check(net.graph(), 21, 37)
    net.add(Add(), net.last, shuffled)  # another reader
    check(net.graph(), 21, 37)


@pytest.mark.parametrize("kind", SMOOTH)
def test_smooth_functions_are_accurate_to_a_few_units_in_the_last_place(kind: str) -> None:
    net = Builder()
    net.add(Activate(Activation(kind)))  # type: ignore[arg-type]
    graph = net.graph()
    around = np.linspace(-20, 20, 3 * 64 * 64).astype(np.float32)
    tiny = np.geomspace(1e-30, 1, 3 * 64 * 64).astype(np.float32)
    for values in (around, tiny, -tiny):
        batch = values.reshape(1, 3, 64, 64)
        want = evaluate(graph, batch)
        for isa in ISAS:
            got = engine(1, isa).compile(graph).run(batch)
            np.testing.assert_allclose(got, want, rtol=5e-7, atol=2e-9, err_msg=isa)


@pytest.mark.parametrize("kind", SMOOTH)
def test_smooth_functions_keep_what_is_not_finite_and_reach_their_limits(kind: str) -> None:
    net = Builder()
    net.add(Activate(Activation(kind)))  # type: ignore[arg-type]
    batch = np.zeros((1, 3, 4, 4), np.float32)
    batch[0, 0, 0] = np.nan, 1e30, -1e30, 200.0
    limits = {"sigmoid": (1.0, 0.0, 1.0), "silu": (1e30, 0.0, 200.0), "tanh": (1.0, -1.0, 1.0)}
    for isa in ISAS:
        got = engine(1, isa).compile(net.graph()).run(batch)[0, 0, 0]
        assert np.isnan(got[0])
        np.testing.assert_allclose(got[1:], np.float32(limits[kind]), rtol=1e-6, atol=2e-8)


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("up", "down"), [(2, 1), (3, 1), (1, 2), (3, 4), (4, 6), (5, 3)])
@pytest.mark.parametrize("crop", [0, 2])
def test_resizes_of_cropped_values_replicate_the_edge(
    crop: int, up: int, down: int, kind: str
) -> None:
    net = Builder()
    net.conv(3, 20)
    if crop:
        net.add(Crop(crop))
    net.add(Resize(up, down, kind))  # type: ignore[arg-type]
    check(net.graph(), 19, 70)


@pytest.mark.parametrize("crops", [(0, 0, 0), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("last", [16, 5])
def test_convolutions_read_joined_values_in_place(
    last: int, kernel: int, crops: tuple[int, int, int]
) -> None:
    net = Builder()
    most = max(crops)
    joined = []
    for channels, crop in zip((32, 16, last), crops, strict=True):
        padding = 1 - (most - crop)
        net.conv(3, channels, "input", padding=padding + most)
        joined.append(net.add(Crop(2 * most - (most - crop))) if most else net.last)
    net.add(Concat(), *joined)
    net.conv(48 + last, 24, kernel=kernel, activation=Activation("relu"))
    check(net.graph(), 22, 35)


def test_joined_values_that_others_read_as_well() -> None:
    net = Builder()
    a, b = net.conv(3, 16), net.conv(3, 16, "input")
    joined = net.add(Concat(), a, b)
    outer = net.add(Concat(), joined, net.conv(3, 16, "input"))
    made = net.conv(48, 32, outer)
    net.add(Add(), made, joined)
    net.add(Concat(), net.last, joined)
    check(net.graph(), 18, 21)
    net = Builder()
    net.add(Concat(), net.conv(3, 16), "input")
    check(net.graph(), 18, 21)  # the network ends in joined values


def test_products_and_constants_by_channel() -> None:
    net = Builder()
    a = net.conv(3, 20)
    scaled = net.add(Affine(net.numbers(20), net.numbers(20)))
    net.add(Multiply(), net.add(Crop(1), a), net.add(Crop(1), scaled))
    check(net.graph(), 18, 21)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("crop", [0, 1])
def test_pixel_unshuffle(factor: int, crop: int) -> None:
    net = Builder()
    net.conv(3, 20)
    if crop:
        net.add(Crop(crop))
    net.add(PixelUnshuffle(factor))
    net.conv(20 * factor * factor, 8)
    check(net.graph(), 20, 31)


# --- the edge of the picture ----------------------------------------------------------------------


def streamed(graph: Graph, picture: np.ndarray, threads: int = 2) -> np.ndarray:
    """Stream a picture as the pipeline does, into float32."""
    network = CompiledNetwork(engine(threads).compile(graph), tiling_of(graph))
    tiling, scale = network.tiling, graph.scale
    height, width, channels = picture.shape
    target = np.empty((height * scale, width * scale, channels), np.float32)
    compiled = engine(threads).compile(graph)
    compiled.run_picture(
        picture,
        target,
        window=network.window(width=width, height=height),
        start=-tiling.margin,
        crop=(tiling.margin - tiling.lost) * scale,
    )
    return target


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_flat_picture_stays_flat_to_its_border(build: Callable[[], Graph], level: int) -> None:
    """Every cell of the result equals the cell in the middle, at the border as well."""
    graph = build()
    side, scale = 12 * graph.alignment, graph.scale
    result = streamed(graph, np.full((side, side, 3), level, np.uint8))
    cells = result.reshape(side, scale, side, scale, 3).swapaxes(1, 2)
    period = graph.alignment
    middle = cells[side // 2 : side // 2 + period, side // 2 : side // 2 + period]
    tiles = np.tile(middle, (side // period, side // period, 1, 1, 1))
    tolerance = 1e-5 if graph.margin == graph.border else 0.5 / 255
    np.testing.assert_allclose(cells, tiles, rtol=0, atol=tolerance)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_picture_is_streamed_as_its_bordered_batch_is_run(build: Callable[[], Graph]) -> None:
    graph = build()
    picture = samples(23, 45, 3)
    border, scale = graph.border, graph.scale
    height, width = (graph.input_size(side + 2 * border) for side in (23, 45))
    padded = np.pad(
        picture,
        ((border, height - 23 - border), (border, width - 45 - border), (0, 0)),
        mode="edge",
    )
    batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None])
    want = engine(1).compile(graph).run(batch)[0].transpose(1, 2, 0)
    first = (border - graph.lost) * scale
    want = want[first : first + 23 * scale, first : first + 45 * scale]
    for threads in (1, 3):
        got = streamed(graph, picture, threads)
        np.testing.assert_array_equal(got, np.clip(want, 0, 1))


def test_the_stages_of_a_deep_network_store_few_values() -> None:
    """The first convolution, the input of a stage and its result, in blocks of 16 channels."""
    graph = esrgan(blocks=8, features=64, growth=32)
    assert engine(1).compile(graph).stored_per_pixel == 3 * 64 * 4
    assert engine(1).compile(compact()).stored_per_pixel == 0


def test_parts_of_a_deep_network_equal_the_whole() -> None:
    graph = esrgan()
    compiled = engine(2).compile(graph)
    picture = samples(40, 50, 3)
    whole = compiled.run(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    for rows, columns in itertools.product([(0, 40), (100, 160)], [(0, 200), (33, 77)]):
        part = compiled.run_part(picture, window=(40, 50), start=0, rows=rows, columns=columns)
        np.testing.assert_array_equal(part, whole[:, :, slice(*rows), slice(*columns)])
