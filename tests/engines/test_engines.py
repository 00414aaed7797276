from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import torch

from waifu2x import engines
from waifu2x.engines import Compiled
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
    Input,
    Multiply,
    Node,
    PixelShuffle,
    PixelUnshuffle,
    Resize,
    Upsample,
)
from waifu2x.network.reference import evaluate
from waifu2x.pipeline.tiling import TilingConstraints, plan_tiles

ENGINES = ("native", "onnx", "torch")

#: (model, scale, height, width); sizes are valid for the network, and odd if it accepts any.
FAMILIES = [
    ("upconv_7", 2, 31, 45),
    ("upconv_7", 2, 15, 16),
    ("upconv_7_photo", 2, 23, 37),
    ("cunet", 2, 54, 58),
    ("cunet", 1, 72, 76),
]


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """Restore torch's thread count, which engines set for the whole process.

    Tests use one thread: on a busy machine small runs would wait for the second thread.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def load(model: str, scale: int) -> Graph:
    network = registry.model(model).network(scale, 0)
    assert network is not None
    return registry.load(network)


@cache
def compiled(engine: str, model: str, scale: int) -> Compiled:
    return engines.create(engine, threads=1).compile(load(model, scale))


@cache
def picture(height: int, width: int, count: int = 1) -> np.ndarray:
    """Return flat areas, an edge and noise: (count, 3, height, width) in [0, 1]."""
    made = np.random.default_rng((height, width)).random((count, 3, height, width), np.float32)
    made[:, :, : height // 3] = 1
    made[:, :, height // 2 :, : width // 2] = 0
    return made


# --- against the reference ----------------------------------------------------------------------


@cache
def expected(model: str, scale: int, height: int, width: int) -> np.ndarray:
    return evaluate(load(model, scale), picture(height, width))


@pytest.mark.parametrize(("model", "scale", "height", "width"), FAMILIES)
@pytest.mark.parametrize("engine", ENGINES)
def test_real_networks_agree_with_float64(
    engine: str, model: str, scale: int, height: int, width: int
) -> None:
    got = compiled(engine, model, scale).run(picture(height, width))
    want = expected(model, scale, height, width)
    assert got.shape == want.shape
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng((*shape, 5)).uniform(-1, 1, shape).astype(np.float32)


def every_operation() -> Graph:
    """Return a graph with all operations and activations and a PReLU after a shuffle."""

    def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> Conv:
        weight = weights(outputs, inputs, kernel, kernel)
        return Conv(weight, weights(outputs), stride, padding)

    slopes = Activation("prelu", slopes=weights(4))
    nodes = (
        Node("a.1", conv(3, 4, 3, padding=1), ("input",)),
        Node("prelu", Activate(slopes), ("a.1",)),
        Node("down", conv(4, 8, 2, stride=2), ("prelu",)),
        Node("mean", GlobalMean(), ("down",)),
        Node("gate", conv(8, 8, 1), ("mean",)),
        Node("sigmoid", Activate(Activation("sigmoid")), ("gate",)),
        Node("gated", Multiply(), ("down", "sigmoid")),
        Node("up", ConvTranspose(weights(8, 4, 4, 4), weights(4), 2, 3, slopes), ("gated",)),
        Node("skip", Crop(2), ("prelu",)),
        Node("sum", Add(), ("up", "skip")),
        Node("relu", Activate(Activation("relu")), ("sum",)),
        Node("leaky", Activate(Activation("leaky_relu", slope=0.2)), ("sum",)),
        Node("both", Concat(), ("relu", "leaky")),
        Node("missing", ConvTranspose(weights(8, 4, 4, 4), weights(4), 2, 1), ("both",)),
        Node("b", conv(4, 12, 3, padding=1), ("missing",)),
        Node("shuffled", PixelShuffle(2), ("b",)),
        Node("plain", Upsample(4), ("cut",)),
        Node("total", Add(), ("shuffled", "plain")),
        Node("out", Affine(0.5, -0.25), ("total",)),
    )
    cut = Node("cut", Crop(2), ("input",))
    return Graph((cut, *nodes), output="out", inputs=(Input("input", 3),))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_operation_agrees_with_float64(engine: str) -> None:
    graph = every_operation()
    batch = picture(18, 26, 2)
    got = engines.create(engine).compile(graph).run(batch)
    want = evaluate(graph, batch)
    assert got.shape == want.shape == (2, 3, 56, 88)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def operations_at_half_resolution() -> Graph:
    """Return a graph with smooth activations, gates of the same size, constants and resizes."""

    def conv(inputs: int, outputs: int, activation: Activation | None = None) -> Conv:
        weight = weights(outputs, inputs, 3, 3) / 10
        return Conv(weight, weights(outputs), padding=1, activation=activation)

    nodes = (
        Node("small", PixelUnshuffle(2), ("input",)),
        Node("centered", Affine(1.0, weights(12)), ("small",)),
        Node("a", conv(12, 20, Activation("silu")), ("centered",)),
        Node("b", conv(20, 20, Activation("tanh")), ("a",)),
        Node("c", conv(20, 20), ("b",)),
        Node("silu", Activate(Activation("silu")), ("c",)),
        Node("tanh", Activate(Activation("tanh")), ("c",)),
        Node("sigmoid", Activate(Activation("sigmoid")), ("c",)),
        Node("gate", Affine(1.0, -0.5), ("sigmoid",)),
        Node("gated", Multiply(), ("silu", "gate")),
        Node("weighted", Affine(weights(20), weights(20)), ("gated",)),
        Node("residual", Add(), ("tanh", "weighted")),
        Node("joined", Concat(), ("residual", "a", "silu", "small")),
        Node("d", conv(72, 48), ("joined",)),
        Node("shuffled", PixelShuffle(4), ("d",)),
        Node("bicubic", Resize(2, 1, "bicubic"), ("input",)),
        Node("total", Add(), ("shuffled", "bicubic")),
        Node("less", Resize(3, 4, "bicubic"), ("total",)),
        Node("out", Resize(2, 3, "bilinear"), ("less",)),
    )
    return Graph(nodes, output="out", inputs=(Input("input", 3),))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_operation_at_half_resolution_agrees_with_float64(engine: str) -> None:
    graph = operations_at_half_resolution()
    assert (graph.scale, graph.alignment) == (1, 2)
    batch = picture(18, 42, 2)
    got = engines.create(engine).compile(graph).run(batch)
    want = evaluate(graph, batch)
    assert got.shape == want.shape == (2, 3, 18, 42)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_compiled_graph_is_the_graph_given(engine: str) -> None:
    graph = every_operation()
    op = graph.nodes[1].op
    assert isinstance(op, Conv)
    copy = op.weight.copy()
    made = engines.create(engine).compile(graph)
    assert made.graph is graph
    made.run(picture(18, 26))
    np.testing.assert_array_equal(op.weight, copy)


# --- bit for bit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("model", "scale", "height", "width"), FAMILIES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_of_two_is_two_runs_of_one(
    engine: str, model: str, scale: int, height: int, width: int, threads: int
) -> None:
    one, other = picture(height, width), picture(height, width)[:, ::-1, ::-1].copy()
    network = engines.create(engine, threads=threads).compile(load(model, scale))
    both = network.run(np.concatenate([one, other]))
    np.testing.assert_array_equal(both[:1], network.run(one))
    np.testing.assert_array_equal(both[1:], network.run(other))
    assert not np.array_equal(both[0], both[1])


@pytest.mark.parametrize(("height", "width"), [(15, 15), (31, 45), (100, 17), (97, 120)])
@pytest.mark.parametrize("engine", ENGINES)
def test_thread_counts_give_equal_bytes(engine: str, height: int, width: int) -> None:
    graph, batch = load("upconv_7", 2), picture(height, width)
    results = []
    for threads in (1, 2):
        made = engines.create(engine, threads=threads)
        results.append(made.compile(graph).run(batch))
    np.testing.assert_array_equal(*results)


def tiled(network: Compiled, source: np.ndarray, tile: int) -> np.ndarray:
    """Run a network on a (1, 3, H, W) picture in tiles; 0 runs the picture whole."""
    graph = network.graph
    shape = TilingConstraints(scale=graph.scale, lost=graph.lost, margin=graph.margin)
    height, width = source.shape[2:]
    plan = plan_tiles(shape, width=width, height=height, tile=tile)
    margin = graph.margin
    padded = np.pad(source, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="edge")
    result = np.full((1, 3, plan.height, plan.width), np.nan, np.float32)
    for one in plan:
        x, y = one.x, one.y
        top, left = y.window_start + margin, x.window_start + margin
        window = padded[:, :, top : top + y.window_size, left : left + x.window_size]
        made = network.run(np.ascontiguousarray(window))
        assert made.shape[2:] == (y.out_size, x.out_size)
        result[
            :, :, y.out_start : y.out_start + y.out_size, x.out_start : x.out_start + x.out_size
        ] = made
    return result


@pytest.mark.parametrize(
    ("height", "width", "tiles"),
    [
        (17, 13, (1, 2, 3, 5, 16)),
        (1, 40, (1, 7, 32)),
        (40, 1, (1, 9)),
        (97, 70, (13, 32, 50, 64)),
        (150, 200, (37, 100, 128)),
    ],
)
@pytest.mark.parametrize("model", ["upconv_7", "upconv_7_photo"])
@pytest.mark.parametrize("engine", ["onnx", "torch"])  # native: see test_native.py
def test_tiled_equals_untiled_bit_for_bit(
    engine: str, model: str, height: int, width: int, tiles: tuple[int, ...]
) -> None:
    network = compiled(engine, model, 2)
    source = picture(height, width)
    whole = tiled(network, source, 0)
    for tile in tiles:
        np.testing.assert_array_equal(
            tiled(network, source, tile), whole, err_msg=f"tiles of {tile} px"
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_one_network_runs_in_several_threads_at_once(engine: str) -> None:
    network = engines.create(engine, threads=1).compile(load("upconv_7", 2))
    batches = [picture(20 + index, 33 - index) for index in range(6)] * 3
    alone = [network.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(network.run, batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_does_not_change_its_input_and_repeats(engine: str) -> None:
    network = compiled(engine, "upconv_7", 2)
    batch = picture(21, 25).copy()
    first = network.run(batch)
    kept = first.copy()
    np.testing.assert_array_equal(batch, picture(21, 25))
    batch[:] = 0
    second = network.run(batch)
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(network.run(picture(21, 25)), first)


@pytest.mark.parametrize("engine", ENGINES)
def test_read_only_and_overlapping_inputs_are_taken(engine: str) -> None:
    network = compiled(engine, "upconv_7", 2)
    view = np.broadcast_to(picture(21, 25), (2, 3, 21, 25))
    assert not view.flags.writeable
    np.testing.assert_array_equal(network.run(view)[1:], network.run(picture(21, 25)))


# --- given means ----------------------------------------------------------------------------------


def staged(engine: str, graph: Graph, batch: np.ndarray) -> np.ndarray:
    """Compute each mean in a stage, then run the network with given means."""
    made = engines.create(engine)
    means: dict[str, np.ndarray] = {}
    for index, node in enumerate(graph.means):
        stage = made.compile(graph.stage(index))
        given = [means[value.name] for value in stage.graph.inputs[1:]]
        values = stage.run(batch, given)
        means[node.name] = values.mean((2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    whole = made.compile(graph.with_given_means())
    return whole.run(batch, [means[value.name] for value in whole.graph.inputs[1:]])


@pytest.mark.parametrize("engine", ENGINES)
def test_given_means_give_the_direct_result(engine: str) -> None:
    got = staged(engine, load("cunet", 2), picture(54, 58))
    np.testing.assert_allclose(got, expected("cunet", 2, 54, 58), rtol=0, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_mean_serves_a_whole_batch(engine: str) -> None:
    graph = every_operation()
    whole = engines.create(engine).compile(graph.with_given_means())
    batch = picture(18, 26, 2)
    mean = weights(1, 8, 1, 1)
    want = evaluate(graph.with_given_means(), batch, [mean])
    np.testing.assert_allclose(whole.run(batch, [mean]), want, rtol=1e-5, atol=1e-4)
    each = np.concatenate([mean, mean + 1])
    want = evaluate(graph.with_given_means(), batch, [each])
    np.testing.assert_allclose(whole.run(batch, [each]), want, rtol=1e-5, atol=1e-4)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "made"),
    [("auto", "native"), ("native", "native"), ("onnx", "onnx"), ("torch", "torch")],
)
def test_create_makes_the_engine_named(name: str, made: str) -> None:
    assert engines.create(name).name == made
    assert set(engines.ENGINES) == {*ENGINES, "cuda", "vulkan"}


@pytest.mark.parametrize(
    ("name", "meant"), [("", ""), ("xyz", ""), ("Torch", "torch"), ("cuda:0", "cuda")]
)
def test_an_unknown_engine_is_refused(name: str, meant: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        engines.create(name)
    guess = f" (did you mean {meant}?)" if meant else ""
    assert str(caught.value) == (
        f"engine {name!r} is unknown{guess}; allowed are auto, native, onnx, torch, cuda, vulkan"
    )


@pytest.mark.parametrize("threads", [0, -1])
@pytest.mark.parametrize("name", ["auto", *ENGINES])
def test_less_than_one_thread_is_refused(name: str, threads: int) -> None:
    with pytest.raises(ArgumentError, match=f"threads is {threads}; it must be a whole number"):
        engines.create(name, threads=threads)


@pytest.mark.parametrize("name", ["native", "onnx"])
def test_a_device_or_half_precision_needs_another_engine(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"device is 'vulkan:0', and engine {name} runs on cpu"):
        engines.create(name, device="vulkan:0")
    with pytest.raises(ArgumentError, match=f"precision is 'fp16', and engine {name} runs in fp32"):
        engines.create(name, precision="fp16")
    assert engines.create(name, device="cpu", precision="fp32").name == name


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ArgumentError, match="precision 'half' is unknown; allowed are auto, fp32"):
        engines.create("torch", precision="half")


def test_auto_goes_by_the_device() -> None:
    assert engines.create(device="cpu").name == "native"
    with pytest.raises(EngineError, match="torch cannot use device 'mps'"):
        engines.create(device="mps")


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_engine_cuda_takes_cuda_devices(device: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        engines.create("cuda", device=device)
    assert str(caught.value) == (
        f"device is {device!r}, and engine cuda runs on cuda; "
        f"choose `engine={'native' if device == 'cpu' else 'torch'!r}`"
    )


@pytest.mark.parametrize("device", ["0", "gpu", "cuda:", "cuda:x", "cuda0", "", "cuda:0;cuda:1"])
@pytest.mark.parametrize("name", ["auto", *ENGINES])
def test_devices_there_are_none_of(name: str, device: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        engines.create(name, device=device)
    assert str(caught.value) == (
        f"device is {device!r}; it must be cpu, a GPU such as cuda:0 or vulkan:0, several such as "
        "cuda:0,cuda:1, mps, xpu, or for engine onnx directml, coreml, openvino or webgpu"
    )


@pytest.mark.parametrize("name", ENGINES)
def test_more_threads_than_the_system_starts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waifu2x.engines.creation.thread_limit", lambda: 3)
    with pytest.raises(EngineError) as caught:
        engines.create(name, threads=4)
    assert str(caught.value) == (
        "threads is 4, and this system starts at most 3; give fewer with `threads=`"
    )
    monkeypatch.setattr("waifu2x.engines.creation.thread_limit", lambda: None)
    assert engines.create("native", threads=4).threads == 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(("name", "device"), [("cuda", None), ("auto", "cuda:1"), ("cuda", "cuda")])
def test_without_a_gpu_the_processor_takes_over_with_one_line(
    name: str, device: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert engines.create(name, device=device).name == "native"
    assert [record.message for record in caplog.records] == [
        "torch finds no CUDA device: using engine native on the CPU"
    ]


@pytest.mark.parametrize("device", ["cpu,cpu", "cpu,mps", "cuda,cuda:0", "cuda:1, cuda:1"])
def test_several_devices_are_of_one_kind_each_once(device: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        engines.create("torch", device=device)
    assert str(caught.value) == (
        f"device is {device!r}; several must be of one kind, each once, as in cuda:0,cuda:1"
    )


@pytest.mark.parametrize("device", ["cuda:99", "cuda:0,cuda:99", "mps"])
def test_a_device_that_torch_cannot_use_is_no_wrong_argument(device: str) -> None:
    with pytest.raises(EngineError, match="torch cannot use device '") as caught:
        engines.create("torch", device=device)
    assert str(caught.value).endswith("; choose another with `device=`, or `engine='native'`")


@pytest.mark.parametrize(
    "shape",
    [(1, 4, 20, 20), (1, 1, 20, 20), (1, 3, 3, 20), (1, 3, 20, 3), (1, 3, 1, 1)],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_failure_of_the_runtime_is_an_engine_error(engine: str, shape: tuple[int, ...]) -> None:
    """Wrong channels and windows smaller than a kernel represent failures of a runtime."""
    network = compiled(engine, "upconv_7", 2)
    with pytest.raises(EngineError):
        network.run(np.zeros(shape, np.float32))
    # The network still works afterward.
    np.testing.assert_allclose(
        network.run(picture(15, 16)), expected("upconv_7", 2, 15, 16), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    ("engine", "named", "advice"),
    [
        ("native", "the native engine", ""),
        ("onnx", "onnxruntime", "; choose `engine='native'`"),
        ("torch", "torch", "; choose `engine='native'`"),
    ],
)
def test_an_engine_error_says_the_size_and_what_to_do(engine: str, named: str, advice: str) -> None:
    with pytest.raises(EngineError) as caught:
        compiled(engine, "upconv_7", 2).run(np.zeros((1, 4, 22, 33), np.float32))
    message = str(caught.value)
    assert message.startswith(f"{named} failed on an input of 33x22 px: ")
    assert message.endswith(advice)
    assert "memory" not in message
    assert "\n" not in message


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_torch_the_error_names_the_command_that_installs_it() -> None:
    script = """
import sys
from importlib.abc import MetaPathFinder

class NoTorch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch())
from waifu2x import engines, errors

for _ in range(2):  # the second time too, not a half-imported module
    try:
        engines.create("torch")
    except errors.MissingExtraError as error:
        assert isinstance(error, (errors.EngineError, ImportError))
        print(error)
print(engines.create().name)
"""
    said = (
        "engines torch and cuda need PyTorch, which is not installed; "
        "run `pip install torch`, or choose `engine='native'`"
    )
    assert python(script).splitlines() == [said, said, "native"]


@pytest.mark.parametrize(("engine", "loaded"), [("auto", "False False"), ("onnx", "True False")])
def test_an_engine_loads_its_own_runtime_only(engine: str, loaded: str) -> None:
    script = (
        "import sys\n"
        "from waifu2x import engines\n"
        "assert 'onnxruntime' not in sys.modules\n"
        f"engines.create({engine!r})\n"
        "print('onnxruntime' in sys.modules, 'torch' in sys.modules)\n"
    )
    assert python(script) == loaded
