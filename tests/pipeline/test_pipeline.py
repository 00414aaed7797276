"""The pipeline: passes, tiles, alpha, gray, TTA, limits, cancellation, several threads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from helpers import art, networks
from helpers.pipelines import pipeline, run

from waifu2x import engines
from waifu2x.errors import ArgumentError, CancelledError, EngineError, LimitError
from waifu2x.network import registry
from waifu2x.network.graph import Conv, Graph, Node, Upsample
from waifu2x.network.reference import evaluate
from waifu2x.picture import Metadata, Picture, Source
from waifu2x.pipeline.options import UpscalerOptions
from waifu2x.pipeline.pipeline import Pipeline

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def upconv() -> Pipeline:
    return pipeline("upconv_7")


@pytest.fixture(scope="module")
def cunet() -> Pipeline:
    return pipeline("cunet")


def face(width: int, height: int) -> Pixels:
    return np.asarray(art.anime_face(width, height))


def quantized(values: npt.NDArray[np.floating]) -> Pixels:
    """A second implementation of the rounding rule: clamp, then floor(v * 255 + 0.5)."""
    return np.floor(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def direct(model: str, scale: int, noise: int | None, color: Pixels) -> npt.NDArray[np.float64]:
    """Run the network on the whole picture in float64: pad, run, crop; (H, W, 3)."""
    network = registry.model(model).network(scale, noise)
    assert network is not None
    graph = registry.load(network)
    height, width = color.shape[:2]
    below, right = (
        graph.input_size(side + 2 * graph.lost) - side - graph.lost for side in (height, width)
    )
    padded = np.pad(color / 255.0, ((graph.lost, below), (graph.lost, right), (0, 0)), mode="edge")
    result = evaluate(graph, padded.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)
    return result[: height * scale, : width * scale]


@pytest.mark.parametrize(
    ("model", "scale", "noise"),
    [("upconv_7", 2, None), ("upconv_7_photo", 2, 3), ("cunet", 2, 1), ("cunet", 1, 0)],
)
@pytest.mark.parametrize("size", [(1, 1), (37, 23)])
def test_equals_the_network_run_directly(
    model: str, scale: int, noise: int | None, size: tuple[int, int]
) -> None:
    color = face(*size)
    result = run(pipeline(model), Picture(color), scale=scale, noise=noise)
    expected = quantized(direct(model, scale, noise, color))
    assert np.abs(result.color.astype(int) - expected.astype(int)).max() <= 1


def test_long_thin_picture_equals_the_network_run_directly(upconv: Pipeline) -> None:
    color = face(500, 3)
    expected = quantized(direct("upconv_7", 2, None, color))
    result = run(upconv, Picture(color), tile=64)
    assert np.abs(result.color.astype(int) - expected.astype(int)).max() <= 1


# Sums of ncnn depend on the size of the tile: tests/engines/test_vulkan.py.
@pytest.mark.parametrize("engine", [each for each in engines.ENGINES if each != "vulkan"])
@pytest.mark.parametrize("tile", [1, 7, 16, 33, 64])
def test_tiled_equals_untiled_byte_for_byte(engine: str, tile: int) -> None:
    color = face(53, 41) if tile > 1 else face(9, 5)
    upscaler = pipeline("upconv_7", engine=engine)
    whole = run(upscaler, Picture(color), run_memory=1 << 40)
    tiled = run(upscaler, Picture(color), tile=tile)
    np.testing.assert_array_equal(tiled.color, whole.color)


def test_small_memory_gives_the_same_bytes(upconv: Pipeline) -> None:
    picture = Picture(face(120, 90))
    whole = run(upconv, picture, run_memory=1 << 40)
    little = run(upconv, picture, run_memory=4 << 20)
    np.testing.assert_array_equal(little.color, whole.color)


def test_repeated_passes_round_once_and_denoise_once(upconv: Pipeline) -> None:
    """4x runs the noise network, then the plain network on the float output."""
    color = face(24, 20)
    first = run(upconv, Picture((color / np.float32(255)).astype(np.float32)), noise=2)
    second = run(upconv, Picture(first.color))
    result = run(upconv, Picture(color), scale=4, noise=2)
    np.testing.assert_array_equal(result.color, quantized(second.color))
    twice = run(upconv, Picture(first.color), noise=2)
    assert (result.color != quantized(twice.color)).any()


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ({"scale": 8}, (80, 48)),
        ({"scale": 1.5}, (15, 9)),
        ({"scale": 3}, (30, 18)),
        ({"scale": 0.5}, (5, 3)),
        ({"width": 17}, (17, 10)),
        ({"height": 12}, (20, 12)),
        ({"width": 7, "height": 31}, (7, 31)),
        ({"scale": 1}, (10, 6)),
    ],
)
def test_result_has_the_size_asked_for(
    upconv: Pipeline, wanted: dict[str, float], size: tuple[int, int]
) -> None:
    result = run(upconv, Picture(face(10, 6)), noise=1, **wanted)  # type: ignore[arg-type]
    assert (result.width, result.height) == size


def test_denoising_alone_keeps_the_picture_in_place(upconv: Pipeline) -> None:
    """upconv_7 has no 1x network, so it doubles and shrinks; the picture must not shift."""
    color = face(64, 64)
    result = run(upconv, Picture(color), scale=1, noise=1).color.astype(float)

    def difference(dy: int, dx: int) -> float:
        moved = np.roll(result, (dy, dx), (0, 1))
        return float(np.abs(moved[2:-2, 2:-2] - color[2:-2, 2:-2]).mean())

    shifts = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    shifts.remove((0, 0))
    assert difference(0, 0) < 0.5 * min(difference(*shift) for shift in shifts)


def test_nothing_to_do_returns_the_picture(upconv: Pipeline) -> None:
    picture = Picture(face(5, 4))
    assert run(upconv, picture, scale=1) is picture


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_sample_types_agree(upconv: Pipeline, dtype: type) -> None:
    color = face(20, 18)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    scaled = (color.astype(np.float64) / 255 * top).astype(dtype)
    result = run(upconv, Picture(scaled))
    assert result.color.dtype == dtype
    expected = run(upconv, Picture(color)).color
    np.testing.assert_allclose(result.color / top, expected / 255, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("model", ["upconv_7", "cunet"])
def test_gray_stays_gray_and_close_to_its_rgb_twin(model: str) -> None:
    gray = np.asarray(art.manga_page(60, 80))[:, :, None]
    upscaler = pipeline(model)
    result = run(upscaler, Picture(gray)).color
    assert result.shape == (160, 120, 1)
    twin = run(upscaler, Picture(np.repeat(gray, 3, axis=2))).color.astype(float)
    difference = np.abs(result[:, :, 0] - twin @ [0.299, 0.587, 0.114])
    # Luma is computed before clamping; without clamping only rounding differs.
    unclamped = ((twin > 0) & (twin < 255)).all(axis=2)
    assert unclamped.any()
    assert difference[unclamped].max() <= 1.01
    assert difference.mean() < 0.5


def test_metadata_and_source_travel_along(upconv: Pipeline) -> None:
    metadata = Metadata(icc=b"profile", dpi=(300.0, 300.0))
    source = Source(format="PNG", lossy=False)
    result = run(upconv, Picture(face(4, 4), metadata=metadata, source=source))
    assert (result.metadata, result.source) == (metadata, source)


# --- alpha ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 1.5, 2, 4])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_flat_alpha_stays_flat(upconv: Pipeline, scale: float, level: int) -> None:
    alpha = np.full((9, 7), level, np.uint8)
    result = run(upconv, Picture(face(7, 9), alpha), scale=scale, noise=0)
    assert result.alpha is not None
    assert result.alpha.shape == (result.height, result.width)
    assert (result.alpha == level).all()


def test_color_under_transparency_does_not_show(upconv: Pipeline) -> None:
    """Different colors under transparent pixels do not change opaque pixels."""
    results = [run(upconv, _sprite(junk=junk), scale=4) for junk in ((255, 0, 255), (0, 0, 0))]
    first, second = results
    assert first.alpha is not None
    np.testing.assert_array_equal(first.alpha, second.alpha)  # type: ignore[arg-type]
    seen = first.alpha > 0
    assert seen.any()
    np.testing.assert_array_equal(first.color[seen], second.color[seen])


def test_solid_and_empty_alpha_stay_exact(upconv: Pipeline) -> None:
    """Away from the edge, alpha is exactly 255 inside the sprite and exactly 0 outside."""
    picture = _sprite()
    result = run(upconv, picture)
    assert picture.alpha is not None
    assert result.alpha is not None
    source = picture.alpha.repeat(2, 0).repeat(2, 1)
    for level in (0, 255):
        core = np.pad(source == level, 3, constant_values=True)
        core = np.lib.stride_tricks.sliding_window_view(core, (7, 7)).all(axis=(2, 3))
        assert core.any()
        assert (result.alpha[core] == level).all()


def test_denoising_leaves_alpha_alone(cunet: Pipeline, upconv: Pipeline) -> None:
    picture = _sprite()
    for upscaler in (cunet, upconv):
        result = run(upscaler, picture, scale=1, noise=3)
        np.testing.assert_array_equal(result.alpha, picture.alpha)  # type: ignore[arg-type]


def test_denoising_takes_alpha_that_may_not_be_written(upconv: Pipeline) -> None:
    picture = _sprite()
    assert picture.alpha is not None
    picture.alpha.flags.writeable = False
    result = run(upconv, picture, scale=1, noise=1)
    np.testing.assert_array_equal(result.alpha, picture.alpha)  # type: ignore[arg-type]


def test_gray_with_alpha_one_pixel_wide(upconv: Pipeline) -> None:
    color = np.arange(12, dtype=np.uint8).reshape(12, 1, 1) * 20
    alpha = np.array([0, 0, 90, 255, 255, 255, 10, 0, 0, 0, 255, 0], np.uint8).reshape(12, 1)
    result = run(upconv, Picture(color, alpha))
    assert result.color.shape == (24, 2, 1)
    assert result.alpha is not None
    assert result.alpha.shape == (24, 2)


def _sprite(junk: tuple[int, int, int] = (255, 0, 255)) -> Picture:
    rgba = np.asarray(art.sprite(48, junk=junk))
    return Picture(rgba[:, :, :3].copy(), rgba[:, :, 3].copy())


# --- TTA -----------------------------------------------------------------------------------------


def test_tta_is_the_mean_over_the_eight_symmetries(upconv: Pipeline) -> None:
    color = (face(14, 11) / np.float32(255)).astype(np.float32)
    total = np.zeros((22, 28, 3))
    for turns in range(4):
        for mirrored in (False, True):
            rotated = np.rot90(color, turns)
            rotated = rotated[:, ::-1] if mirrored else rotated
            result = run(upconv, Picture(np.ascontiguousarray(rotated))).color
            result = result[:, ::-1] if mirrored else result
            total += np.rot90(result, -turns)
    result = run(upconv, Picture(color), tta=True).color
    # This test clamps each result before the mean; the pipeline clamps only the mean.
    inside = (total / 8 > 0.01) & (total / 8 < 0.99)
    np.testing.assert_allclose(result[inside], (total / 8)[inside], atol=0.01)
    assert np.abs(result - total / 8).mean() < 1e-3


def test_tta_commutes_with_turning(upconv: Pipeline) -> None:
    color = face(14, 11)
    straight = run(upconv, Picture(color), tta=True).color
    rotated = run(upconv, Picture(np.ascontiguousarray(np.rot90(color))), tta=True).color
    # The eight results are added in another order, so rounding may differ by a level.
    assert np.abs(np.rot90(rotated, -1).astype(int) - straight.astype(int)).max() <= 1


def test_tta_is_tile_independent(upconv: Pipeline) -> None:
    picture = Picture(face(40, 30))
    whole = run(upconv, picture, tta=True)
    tiled = run(upconv, picture, tta=True, tile=13)
    np.testing.assert_array_equal(whole.color, tiled.color)


# --- networks with internal padding ---


def _padding_graph(layers: int) -> Graph:
    """``layers`` smoothing 3x3 convolutions with zero padding, then nearest-neighbor doubling."""
    weight = np.zeros((3, 3, 3, 3), np.float32)
    weight[np.arange(3), np.arange(3)] = 1 / 9
    bias = np.zeros(3, np.float32)
    nodes = [
        Node(f"conv{i}", Conv(weight, bias, padding=1), (f"conv{i - 1}" if i else "input",))
        for i in range(layers)
    ]
    nodes.append(Node("up", Upsample(2), (f"conv{layers - 1}",)))
    return Graph(nodes, output="up")


@pytest.mark.parametrize("engine", ["native", "onnx", "torch"])
def test_a_shallow_padding_network_is_tiled_exactly(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    graph = _padding_graph(4)
    for node in graph.nodes[:4]:
        assert isinstance(node.op, Conv)
        # Opposite corners let every result depend on pixels at the full reach.
        node.op.weight[:] = 0
        for channel in range(3):
            node.op.weight[channel, channel, [0, 2], [0, 2]] = 0.5
    monkeypatch.setattr(registry, "load", lambda entry: graph)
    upscaler = pipeline("upconv_7", engine=engine)
    picture = Picture(face(70, 50))
    whole = run(upscaler, picture, run_memory=1 << 40).color.astype(int)
    tiled = run(upscaler, picture, tile=16).color.astype(int)
    assert np.abs(whole - tiled).max() <= 1  # onnxruntime blocks padded layers by tile size


def test_a_deep_padding_network_is_feathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 60 padded layers no margin is exact; seams must fade without steps."""
    monkeypatch.setattr(registry, "load", lambda entry: _padding_graph(60))
    upscaler = pipeline("upconv_7", engine="onnx")
    color = np.full((160, 160, 3), 255, np.uint8)
    result = run(upscaler, Picture(color), tile=80).color.astype(int)
    steps = np.abs(np.diff(result[:, 60:260], axis=1))
    # In a flat area, zero padding darkens tile borders; a hard seam would be a step.
    assert result[160, 160].max() > 200
    assert steps.max() <= 4


PADDING: dict[str, Callable[[], Graph]] = {
    "compact": networks.compact,
    "esrgan": lambda: networks.esrgan(unshuffled=2),
    "span": networks.span,
}


@pytest.mark.parametrize("build", PADDING.values(), ids=PADDING.keys())
@pytest.mark.parametrize("engine", engines.ENGINES)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_networks_that_pad_leave_no_rim_on_a_flat_picture(
    monkeypatch: pytest.MonkeyPatch, level: int, engine: str, build: Callable[[], Graph]
) -> None:
    monkeypatch.setattr(registry, "load", lambda entry: build())
    color = np.full((36, 48, 3), level, np.uint8)
    result = run(pipeline("upconv_7", engine=engine), Picture(color), tile=24).color.astype(int)
    period = 4
    across, down = np.arange(96) % period, np.arange(72) % period
    middle = result[36 : 36 + period, 48 : 48 + period]
    assert np.abs(result - middle[down][:, across]).max() <= 1


@pytest.mark.parametrize("build", PADDING.values(), ids=PADDING.keys())
def test_a_network_that_pads_streams_if_its_stages_fit_in_memory(
    monkeypatch: pytest.MonkeyPatch, build: Callable[[], Graph], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "load", lambda entry: build())
    upscaler = pipeline("upconv_7")
    picture = Picture(face(80, 70))
    with caplog.at_level(logging.DEBUG):
        whole = run(upscaler, picture).color.astype(int)
    assert "in one stream" in caplog.text
    stored = build().reach > 32
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        little = run(upscaler, picture, run_memory=1 << 20).color.astype(int)
    assert ("in one stream" in caplog.text) == (not stored)
    assert np.abs(little - whole).max() <= (12 if stored else 0)


# --- limits, failures, progress ---


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_impossible_scales_are_refused(upconv: Pipeline, scale: float) -> None:
    with pytest.raises(ArgumentError) as caught:
        run(upconv, Picture(face(4, 4)), scale=scale)
    expected = f"scale is {scale:g}; it must be a number above 0, for example 2, 1.5 or 0.5"
    assert str(caught.value) == expected


def test_unknown_noise_is_refused(upconv: Pipeline) -> None:
    with pytest.raises(
        ArgumentError, match="model upconv_7 has no noise level 4; its levels are 0, 1, 2 and 3"
    ):
        run(upconv, Picture(face(4, 4)), noise=4)


def test_a_result_past_the_limit_is_refused_before_any_work(upconv: Pipeline) -> None:
    called: list[float] = []
    with pytest.raises(LimitError, match=r"10x10 px would become 80x80 px.*raise `max_pixels=`"):
        run(
            upconv,
            Picture(face(10, 10)),
            scale=8,
            max_pixels=1599,
            progress=called.append,
        )
    assert not called
    run(upconv, Picture(face(10, 10)), scale=8, max_pixels=1600)


def test_a_stage_on_the_way_past_the_limit_is_refused(upconv: Pipeline) -> None:
    with pytest.raises(LimitError, match="on the way"):
        run(upconv, Picture(face(10, 10)), scale=5, max_pixels=1000)


@pytest.mark.parametrize("bad", [{"tile": -1}, {"run_memory": 0}, {"max_pixels": 0}])
def test_bad_settings_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        UpscalerOptions(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_progress_rises_to_one(engine: str) -> None:
    shares: list[float] = []
    picture = _sprite()
    upscaler = pipeline("upconv_7", engine=engine)
    run(upscaler, picture, scale=4, tile=20, progress=shares.append)
    assert len(shares) >= 4  # two for color, two for alpha; more with tiles
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_cancel_stops_before_the_next_tile(engine: str) -> None:
    cancel = threading.Event()
    shares: list[float] = []

    def progress(share: float) -> None:
        shares.append(share)
        if len(shares) == 2:
            cancel.set()

    with pytest.raises(CancelledError):
        run(
            pipeline("upconv_7", engine=engine),
            Picture(face(64, 64)),
            tile=16,
            progress=progress,
            cancel=cancel,
        )
    assert len(shares) == 2


def test_cancel_stops_the_native_engine_within_a_picture() -> None:
    cancel = threading.Event()
    shares: list[float] = []

    def progress(share: float) -> None:
        shares.append(share)
        cancel.set()

    picture = Picture(np.zeros((1200, 1600, 3), np.uint8))
    with pytest.raises(CancelledError):
        run(pipeline("upconv_7", threads=1), picture, progress=progress, cancel=cancel)
    assert len(shares) == 1
    assert shares[0] < 1


def test_values_that_are_not_finite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.full((3, 3, 1, 1), np.nan, np.float32)
    graph = Graph(
        [
            Node("conv", Conv(weight, np.zeros(3, np.float32)), ("input",)),
            Node("up", Upsample(2), ("conv",)),
        ],
        output="up",
    )
    monkeypatch.setattr(registry, "load", lambda entry: graph)
    with pytest.raises(EngineError, match="not finite"):
        run(pipeline("upconv_7"), Picture(face(4, 4)))


def test_several_threads_share_one_upscaler() -> None:
    upscaler = pipeline("upconv_7", threads=1)
    pictures = [Picture(face(20 + i, 31 - i)) for i in range(6)]
    results: dict[int, Picture] = {}

    def work(index: int) -> None:
        results[index] = run(upscaler, pictures[index], tile=16)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(len(pictures)))
    for index, picture in enumerate(pictures):
        alone = run(pipeline("upconv_7", threads=1), picture, tile=16)
        np.testing.assert_array_equal(results[index].color, alone.color)


def test_rows_that_are_ready_are_final() -> None:
    seen: list[Pixels] = []
    shares: list[float] = []
    done = [0.0]
    picture = Picture(np.tile(face(64, 64), (18, 20, 1)))
    result = run(
        pipeline("upconv_7", threads=1),
        picture,
        rows=lambda color, alpha: (seen.append(color.copy()), shares.append(done[-1])),
        progress=done.append,
    )
    # About half a second of work, with rows passed on twenty times a second.
    assert len(seen) > 1
    assert shares[0] < 1
    np.testing.assert_array_equal(np.concatenate(seen), result.color)


@pytest.mark.parametrize("scale", [1.5, 2])
def test_rows_are_ready_only_where_they_are_final(upconv: Pipeline, scale: float) -> None:
    """Shrinking or alpha follows the network, so no row is final before the end."""
    seen: list[tuple[Pixels, Pixels | None]] = []
    done = [0.0]

    def take(color: Pixels, alpha: Pixels | None) -> None:
        assert done[-1] == 1.0
        seen.append((color, alpha))

    picture = _sprite() if scale == 2 else Picture(face(30, 20))
    result = run(upconv, picture, scale=scale, rows=take, progress=done.append)
    ((color, alpha),) = seen
    assert color is result.color
    assert alpha is result.alpha
