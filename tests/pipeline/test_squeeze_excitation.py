"""One set of gates per picture: results do not depend on the tiles."""

from __future__ import annotations

import logging
import threading
from functools import cache

import numpy as np
import pytest
from helpers import art
from helpers.pipelines import pipeline, run

from waifu2x import engines
from waifu2x.codec import from_array, from_image
from waifu2x.errors import CancelledError
from waifu2x.network import registry
from waifu2x.network.graph import Graph
from waifu2x.picture import Picture
from waifu2x.pipeline import squeeze_excitation
from waifu2x.pipeline.pipeline import Pipeline

ENGINES = ("native", "onnx", "torch")


@cache
def upscaler(engine: str) -> Pipeline:
    return pipeline("cunet", engine=engine)


@cache
def network(scale: int, noise: int | None) -> Graph:
    entry = registry.model("cunet").network(scale, noise)
    assert entry is not None
    return registry.load(entry)


@cache
def staged(scale: int, noise: int | None) -> squeeze_excitation.GlobalMeans:
    return squeeze_excitation.GlobalMeans(network(scale, noise), engines.create("native"))


def scene(name: str, width: int, height: int) -> Picture:
    """A manga page, a painted scene and flat cel art."""
    if name == "painted":
        image = art.anime_face(width, height).convert("RGB")
        noise = np.random.default_rng(3).normal(0, 6, (height, width, 3))
        ramp = np.linspace(-60, 60, width)[None, :, None]
        array = np.clip(np.asarray(image, float) + noise + ramp, 0, 255).astype(np.uint8)
        return from_array(array)
    return from_image({"manga": art.manga_page, "cel": art.anime_face}[name](width, height))


def largest_difference(a: Picture, b: Picture) -> int:
    return int(np.abs(a.color.astype(int) - b.color.astype(int)).max())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["manga", "painted", "cel"])
def test_cunet_has_no_seams(engine: str, name: str) -> None:
    picture = scene(name, 132, 120)
    core = upscaler(engine)
    whole = run(core, picture, scale=2)
    for tile in (64, 128, 256):
        tiled = run(core, picture, scale=2, tile=tile)
        assert largest_difference(whole, tiled) <= 1, tile


def test_tiles_with_gates_of_their_own_would_have_seams() -> None:
    """Check of the check above: tiles with their own means have visible seams."""
    picture = scene("manga", 150, 138)
    whole = run(upscaler("native"), picture, scale=2).color.astype(int)
    left = Picture(np.ascontiguousarray(picture.color[:, :96]))
    alone = run(upscaler("native"), left, scale=2).color.astype(int)
    assert np.abs(alone[:, :128] - whole[:, :128]).max() > 4


@pytest.mark.parametrize("tta", [False, True])
def test_denoising_has_no_seams(tta: bool) -> None:
    picture = scene("cel", 101, 66)
    runs = [
        run(upscaler("native"), picture, scale=1, noise=1, tile=tile, tta=tta) for tile in (0, 48)
    ]
    assert largest_difference(*runs) <= 1


@pytest.mark.parametrize("engine", ["native", "onnx"])
def test_tta_has_no_seams(engine: str) -> None:
    picture = scene("manga", 90, 70)
    runs = [run(upscaler(engine), picture, scale=2, tile=tile, tta=True) for tile in (0, 40)]
    assert largest_difference(*runs) <= 1


def test_little_memory_changes_nothing() -> None:
    picture = scene("cel", 120, 100)
    runs = [
        run(upscaler("native"), picture, scale=2, run_memory=memory) for memory in (None, 8 << 20)
    ]
    assert largest_difference(*runs) <= 1


def test_engines_agree_on_given_means() -> None:
    picture = scene("manga", 90, 70)
    results = [run(upscaler(engine), picture, scale=2, tile=32) for engine in ENGINES]
    assert largest_difference(results[0], results[1]) <= 1
    assert largest_difference(results[0], results[2]) <= 1


@pytest.mark.parametrize(("scale", "noise"), [(2, None), (1, 1)])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (300, 20), (21, 290), (280, 270)])
def test_exact_means_are_those_of_the_whole_picture(
    scale: int, noise: int | None, width: int, height: int
) -> None:
    """Compare with the reference: every stage runs on the whole input, averaged in NumPy."""
    graph, own = network(scale, noise), staged(scale, noise)
    source = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    margin = graph.margin
    size = [graph.input_size(side + 2 * margin) for side in (height, width)]
    plan = own.plan_sampling(height=size[0], width=size[1])
    assert plan.exact
    assert plan.share == 1
    with engines.create("native").session() as session:
        found = own.measure(session, source, plan, margin=margin, advance=lambda cost: None)
    padded = np.pad(
        source,
        ((margin, size[0] - height - margin), (margin, size[1] - width - margin), (0, 0)),
        mode="edge",
    )
    batch = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    engine = engines.create("native")
    truth: list[engines.Batch] = []
    names = [node.name for node in graph.means]
    for index in range(len(names)):
        stage = engine.compile(graph.stage(index))
        given = [truth[names.index(value.name)] for value in stage.graph.inputs[1:]]
        truth.append(stage.run(batch, given).mean((2, 3), np.float64, keepdims=True))
        truth[-1] = truth[-1].astype(np.float32)
    given_names = [value.name for value in own.network.graph.inputs[1:]]
    for name, mean in zip(given_names, found, strict=True):
        np.testing.assert_allclose(mean, truth[names.index(name)], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("width", "height"), [(601, 601), (2084, 2084), (38, 400_000), (9000, 58)])
def test_a_sample_is_bounded_and_spread_evenly(width: int, height: int) -> None:
    own = staged(2, None)
    width, height = (own.graph.input_size(side) for side in (width, height))
    plan = own.plan_sampling(width=width, height=height)
    assert not plan.exact
    whole = own.graph.macs_per_pixel * width * height
    assert own.cost(plan) <= 0.25 * whole
    assert own.cost(plan) <= own.graph.macs_per_pixel * squeeze_excitation.SAMPLE_COST
    seen = np.zeros((height, width), bool)
    for window in plan.sample:
        part = seen[window.top : window.top + window.height, window.left :][:, : window.width]
        assert part.shape == (window.height, window.width), "inside the picture"
        assert not part.any(), "no position twice"
        part[:] = True
        assert window.top % own.graph.alignment == window.left % own.graph.alignment == 0
    # Samples cover both halves of the picture about equally.
    for half in (seen[: height // 2], seen[:, : width // 2]):
        assert 0.3 < half.sum() / seen.sum() < 0.7


def test_a_four_megapixel_picture_costs_at_most_an_eighth_more() -> None:
    for own in (staged(2, None), staged(1, 1)):
        side = own.graph.input_size(2048 + 2 * own.graph.margin)
        plan = own.plan_sampling(width=side, height=side)
        assert own.cost(plan) <= 0.125 * own.graph.macs_per_pixel * side * side


def test_a_sample_finds_about_the_means_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = scene("cel", 256, 256)
    exact = run(upscaler("native"), picture, scale=2)
    monkeypatch.setattr(squeeze_excitation, "EXACT_PIXELS", 1)
    sampled = run(upscaler("native"), picture, scale=2)
    again = run(upscaler("native"), picture, scale=2, tile=100)
    assert largest_difference(sampled, again) == 0
    difference = np.abs(sampled.color.astype(int) - exact.color.astype(int))
    assert difference.max() > 0
    assert difference.mean() < 1


def test_it_says_where_the_gates_come_from(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    picture = scene("cel", 80, 70)
    with caplog.at_level(logging.DEBUG, "waifu2x"):
        run(upscaler("native"), picture, scale=2)
        assert "global means: exact, inside the run" in caplog.text
        run(upscaler("onnx"), picture, scale=2, tile=32)
        assert "global means: exact, over all of " in caplog.text
        monkeypatch.setattr(squeeze_excitation, "EXACT_PIXELS", 1)
        run(upscaler("onnx"), picture, scale=2, tile=32)
    assert "global means: from a sample of " in caplog.text


def test_progress_and_cancelling_cover_the_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squeeze_excitation, "EXACT_PIXELS", 1)
    shares: list[float] = []
    picture = scene("cel", 200, 150)
    run(upscaler("native"), picture, scale=2, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert shares[0] < 0.25


@pytest.mark.parametrize("engine", ["native", "onnx"])
def test_cancelling_stops_the_means(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first batch of the first stage runs."""
    monkeypatch.setattr(squeeze_excitation, "EXACT_PIXELS", 1)
    through = pipeline("cunet", engine=engine)
    cancel = threading.Event()
    calls: list[float] = []

    def progress(share: float) -> None:
        calls.append(share)
        cancel.set()

    with pytest.raises(CancelledError):
        run(through, scene("cel", 200, 150), tile=64, progress=progress, cancel=cancel)
    assert len(calls) == 1
    assert calls[0] < 0.2
