"""The fused networks of the CUDA engine, with kernels run by the emulator."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from gpu import emulated

from waifu2x.engines.cuda_fused import FusedRunner
from waifu2x.engines.torch_device import Device
from waifu2x.errors import ArgumentError, EngineError
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
    Multiply,
    Node,
    PixelShuffle,
    PixelUnshuffle,
    Resize,
    Upsample,
)
from waifu2x.network.mixing import mix_of
from waifu2x.network.reference import evaluate

SEED = 20261126


@pytest.fixture
def native() -> ModuleType:
    found = emulated.module()
    if found is None:
        pytest.skip("the emulator needs g++ on Linux")
    return found


def runner(graph: Graph, native: ModuleType, dtype: torch.dtype = torch.float16) -> FusedRunner:
    return FusedRunner(graph, Device(torch.device("cpu"), dtype, None), dtype, native)


def pictures(count: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(SEED)
    return rng.random((count, 3, height, width), np.float32).astype(np.float16).astype(np.float32)


def run(
    network: FusedRunner, batch: np.ndarray, means: list[np.ndarray] | None = None
) -> np.ndarray:
    given = torch.from_numpy(batch).permute(0, 2, 3, 1).to(network.dtype)
    given = torch.nn.functional.pad(given, (0, network.pixel - 3)).contiguous()
    with torch.inference_mode():
        made = network(given, [torch.from_numpy(mean) for mean in means or []])
    channels = network.graph.out.channels
    return made[..., :channels].permute(0, 3, 1, 2).float().numpy()


def psnr(made: np.ndarray, want: np.ndarray) -> float:
    return float(-10 * np.log10(((made.astype(np.float64) - want) ** 2).mean()))


@pytest.mark.parametrize("way", ["own", "cudnn"])
@pytest.mark.parametrize(
    ("model", "scale", "side"), [("upconv_7", 2, 20), ("cunet", 2, 38), ("cunet", 1, 60)]
)
def test_official_networks_are_those_of_float64(
    model: str, scale: int, side: int, way: str, native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIFU2X_CUDA_CONV", way)
    entry = registry.model(model).network(scale, None if scale == 2 else 1)
    assert entry is not None
    graph = registry.load(entry)
    side = graph.input_size(side)
    batch = pictures(1, side, side)
    network = runner(graph, native)
    made, want = run(network, batch), evaluate(graph, batch)
    assert made.shape == want.shape
    assert made.dtype == np.float32
    assert psnr(made, want) > 60


@pytest.mark.parametrize(("model", "side"), [("upconv_7", 20), ("cunet", 38)])
def test_a_noise_level_between_two(model: str, side: int, native: ModuleType) -> None:
    mix = mix_of(registry.model(model), 2, 1.25)
    assert mix is not None
    graph = mix.load()
    batch = pictures(2, side, side)
    assert psnr(run(runner(graph, native), batch), evaluate(graph, batch)) > 60


def test_cunet_with_given_means_and_a_stage(native: ModuleType) -> None:
    entry = registry.model("cunet").network(2, 1)
    assert entry is not None
    graph = registry.load(entry)
    side = graph.input_size(38)
    batch = pictures(1, side, side)
    stage = graph.stage(0)
    made, want = run(runner(stage, native), batch), evaluate(stage, batch)
    assert psnr(made / np.abs(want).max(), want / np.abs(want).max()) > 60
    rng = np.random.default_rng(SEED)
    given = graph.with_given_means()
    means = [rng.random((1, each.channels, 1, 1), np.float32) for each in given.inputs[1:]]
    want = evaluate(given, batch, means)
    most = np.abs(want).max()
    assert psnr(run(runner(given, native), batch, means) / most, want / most) > 60


def weights(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    made = rng.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]))
    return made.astype(np.float16).astype(np.float32)


def every_operation() -> Graph:
    """Return a graph with all operations, in orders that fuse and orders that do not."""
    prelu = Activation("prelu", slopes=np.linspace(0, 1, 8).astype(np.float32))
    return Graph(
        [
            Node("affine", Affine(0.7, 0.15), ("input",)),
            Node("a", Conv(weights(8, 3, 3, 3), weights(8)), ("affine",)),
            Node("b", Activate(prelu), ("a",)),
            Node("c", Conv(weights(8, 8, 3, 3), weights(8), padding=1), ("b",)),
            Node("sum", Add(), ("b", "c")),
            Node("relu", Activate(Activation("relu")), ("sum",)),
            Node("d", Conv(weights(20, 8, 1, 1), weights(20)), ("relu",)),
            Node("mean", GlobalMean(), ("d",)),
            Node("gate", Conv(weights(20, 20, 1, 1), weights(20), activation=Activation("sigmoid")),
                 ("mean",)),
            Node("e", Multiply(), ("d", "gate")),
            Node("both", Concat(), ("e", "relu", "d")),
            Node("f", ConvTranspose(weights(48, 5, 4, 4), weights(5), 2, 3), ("both",)),
            Node("up", Upsample(2), ("both",)),
            Node("cropped", Crop(2), ("up",)),
            Node("g", Conv(weights(5, 48, 1, 1), weights(5)), ("cropped",)),
            Node("h", Add(), ("f", "g")),
            Node("i", Conv(weights(12, 5, 1, 1), weights(12)), ("h",)),
            Node("shuffled", PixelShuffle(2), ("i",)),
            Node("out", Affine(2.0, -0.5), ("shuffled",)),
        ],
        output="out",
    )  # fmt: skip


def test_all_other_operations(native: ModuleType) -> None:
    graph = every_operation()
    batch = pictures(2, 12, 14)
    made, want = run(runner(graph, native), batch), evaluate(graph, batch)
    assert made.shape == want.shape
    np.testing.assert_allclose(made, want, rtol=0, atol=0.02 * np.abs(want).max())


def operations_at_half_resolution() -> Graph:
    """Return a graph with smooth activations, products, constants by channel and resizes."""
    means = np.array([0.25, 0.5, 0.125], np.float32)
    return Graph(
        [
            Node("centered", Affine(1.0, -means), ("input",)),
            Node("small", PixelUnshuffle(2), ("centered",)),
            Node("a", Conv(weights(20, 12, 3, 3), weights(20), padding=1), ("small",)),
            Node("silu", Activate(Activation("silu")), ("a",)),
            Node("tanh", Activate(Activation("tanh")), ("a",)),
            Node("sigmoid", Activate(Activation("sigmoid")), ("a",)),
            Node("gate", Affine(1.0, -0.5), ("sigmoid",)),
            Node("gated", Multiply(), ("silu", "gate")),
            Node("both", Concat(), ("gated", "tanh", "silu")),
            Node("b", Conv(weights(48, 60, 3, 3), weights(48), padding=1), ("both",)),
            Node("scaled", Affine(0.2), ("b",)),
            Node("shuffled", PixelShuffle(4), ("scaled",)),
            Node("bicubic", Resize(2, 1, "bicubic"), ("input",)),
            Node("total", Add(), ("shuffled", "bicubic")),
            Node("half", Resize(1, 2, "bilinear"), ("total",)),
            Node("out", Conv(weights(3, 3, 3, 3), weights(3), padding=1), ("half",)),
        ],
        output="out",
    )


@pytest.mark.parametrize("way", ["own", "cudnn"])
def test_operations_at_half_resolution(
    way: str, native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIFU2X_CUDA_CONV", way)
    graph = operations_at_half_resolution()
    batch = pictures(2, 12, 14)
    made, want = run(runner(graph, native), batch), evaluate(graph, batch)
    assert made.shape == want.shape
    np.testing.assert_allclose(made, want, rtol=0, atol=0.01 * np.abs(want).max())


def test_a_value_read_after_a_multiplication_is_not_overwritten(native: ModuleType) -> None:
    """A crop fused into a later sum reads its source; the product must not change the source."""
    nodes = [
        Node("mean", GlobalMean(), ("input",)),
        Node("first", Multiply(), ("input", "mean")),
        Node("a", Conv(weights(8, 3, 1, 1), weights(8)), ("first",)),
        Node("cropped", Crop(1), ("a",)),
        Node("gate", GlobalMean(), ("a",)),
        Node("gated", Multiply(), ("a", "gate")),
        Node("b", Conv(weights(8, 8, 3, 3), weights(8)), ("gated",)),
        Node("sum", Add(), ("b", "cropped")),
        Node("out", Conv(weights(3, 8, 1, 1), weights(3)), ("sum",)),
    ]
    graph = Graph(nodes, output="out")
    batch = pictures(1, 12, 14)
    network = runner(graph, native)
    made, want = run(network, batch), evaluate(graph, batch)
    np.testing.assert_allclose(made, want, rtol=0, atol=0.01 * np.abs(want).max())
    given = torch.from_numpy(batch).permute(0, 2, 3, 1).half()
    given = torch.nn.functional.pad(given, (0, 13)).contiguous()
    kept = given.clone()
    with torch.inference_mode():
        network(given, [])
    assert torch.equal(given, kept)


def test_a_tile_gives_the_bytes_of_the_whole(native: ModuleType) -> None:
    entry = registry.model("upconv_7").network(2, None)
    assert entry is not None
    graph = registry.load(entry)
    network = runner(graph, native)
    batch = pictures(1, 27, 36)
    whole = run(network, batch)
    part = run(network, np.ascontiguousarray(batch[:, :, 9:26, 5:21]))
    cut = whole[:, :, 18 : 18 + part.shape[2], 10 : 10 + part.shape[3]]
    assert cut.tobytes() == part.tobytes()


def test_an_unsupported_network_is_refused(native: ModuleType) -> None:
    graph = Graph(
        [
            Node(
                "a",
                Conv(weights(3, 3, 3, 3), weights(3), activation=Activation("sigmoid")),
                ("input",),
            )
        ],
        output="a",
    )
    with pytest.raises(EngineError, match="'a' ends in a sigmoid"):
        runner(graph, native)


def test_an_unknown_way_is_refused(native: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAIFU2X_CUDA_CONV", "fast")
    with pytest.raises(ArgumentError, match="WAIFU2X_CUDA_CONV is 'fast'; it must be auto, own"):
        runner(every_operation(), native)
