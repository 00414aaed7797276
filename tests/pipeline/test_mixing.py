"""Noise levels between two: which networks are mixed, how, and that the result lies between."""

from __future__ import annotations

import io
import itertools
import json
import logging
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers import art
from helpers.pipelines import pipeline, run
from PIL import Image

import waifu2x
from waifu2x.errors import ArgumentError
from waifu2x.network import merging, registry
from waifu2x.network.mixing import mix_of
from waifu2x.picture import Picture
from waifu2x.pipeline.auto_noise import AnyLevel, strength
from waifu2x.pipeline.evaluation import as_jpeg, box_shrunk, luma
from waifu2x.pipeline.options import PictureOptions
from waifu2x.pipeline.pipeline import Pipeline

LEVELS = (1, 1.25, 1.5, 1.75, 2)


@pytest.fixture
def uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan with models whether or not their weights are installed; none is loaded."""
    monkeypatch.setattr(registry, "require_installed", lambda model: None)


# --- which networks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "scale", "level", "lower", "upper", "share"),
    [
        ("cunet", 2, 1.5, 1, 2, 0.5),
        ("cunet", 1, 0.25, 0, 1, 0.25),
        ("upconv_7", 2, 2.9, 2, 3, 0.9),
        ("realcugan", 2, 1.75, 1, 2, 0.75),
    ],
)
def test_the_neighbors_are_mixed(
    model: str, scale: int, level: float, lower: int, upper: int, share: float
) -> None:
    mix = mix_of(registry.model(model), scale, level)
    assert mix is not None
    assert (mix.lower.noise, mix.upper.noise) == (lower, upper)
    assert (mix.lower.scale, mix.upper.scale) == (scale, scale)
    assert mix.share == pytest.approx(share)
    assert mix.macs_per_pixel == mix.lower.macs_per_pixel * (1 if mix.by_weights else 2)


@pytest.mark.parametrize(
    ("model", "scale", "level"),
    [
        *(("cunet", 1, 3.5), ("cunet", 2, 2), ("cunet", 3, 1.5), ("cunet", 2, -0.5)),
        *(("realcugan", 2, 0.5), ("realcugan", 3, 1.5), ("realcugan", 4, 2.5)),
        *(("realcugan_pro", 2, 1.5), ("realesrgan", 4, 1.5)),
    ],
)
def test_there_is_no_mix_without_both_neighbors(model: str, scale: int, level: float) -> None:
    assert mix_of(registry.model(model), scale, level) is None


@pytest.mark.usefixtures("uninstalled")
@pytest.mark.parametrize(
    ("model", "scale", "passes"),
    [
        ("cunet", 2, [(2, 1.5)]),
        ("cunet", 1, [(1, 1.5)]),
        ("cunet", 4, [(2, 1.5), (2, None)]),
        ("upconv_7", 1, [(2, 1.5)]),
        ("realcugan", 2, [(2, 1.5)]),
        # As for level 1, which only 2x has.
        ("realcugan", 3, [(2, 1.5), (2, None)]),
        ("realcugan", 6, [(2, 1.5), (3, None)]),
    ],
)
def test_the_first_pass_mixes(
    model: str, scale: int, passes: list[tuple[int, AnyLevel | None]]
) -> None:
    through = Pipeline(waifu2x.UpscalerOptions(model))
    options = PictureOptions(scale=scale, noise=1.5)
    request, choice = through.resolve(Picture(np.zeros((8, 8, 3), np.uint8)), options)
    assert list(request.passes) == passes
    assert (choice.level, choice.reason) == (1.5, "")


@pytest.mark.usefixtures("uninstalled")
@pytest.mark.parametrize(
    ("model", "noise", "message"),
    [
        (
            "realcugan",
            0.5,
            "model realcugan has no noise level 0.5; its levels are conservative, 1, 2 and 3; "
            "choose one of them, none, or another `model=`",
        ),
        (
            "realcugan_pro",
            1.5,
            "model realcugan_pro has no noise level 1.5; its levels are conservative and 3; choose "
            "one of them, none, or another `model=`",
        ),
        (
            "realesrgan",
            1.5,
            "model realesrgan removes no noise, and `noise=1.5` is given; leave it out, or choose "
            "another `model=`",
        ),
    ],
)
def test_a_level_without_neighbors_names_the_levels(model: str, noise: float, message: str) -> None:
    through = Pipeline(waifu2x.UpscalerOptions(model))
    with pytest.raises(ArgumentError) as caught:
        through.resolve(Picture(np.zeros((8, 8, 3), np.uint8)), PictureOptions(noise=noise))
    assert str(caught.value) == message


def test_levels_have_an_order() -> None:
    levels: list[AnyLevel | None] = [3, 1, None, 1.5, "conservative", 0, 0.5]
    assert sorted(levels, key=strength) == [None, "conservative", 0, 0.5, 1, 1.5, 3]


# --- how --------------------------------------------------------------------------------------


def test_the_manifest_says_how() -> None:
    model = registry.model("upconv_7")
    first, second = (
        registry.load(net) for net in (model.network(2, 1), model.network(2, 2)) if net
    )
    for pairs, expected in (
        ((), merging.average([first, second], [0.75, 0.25])),
        (((2, 1, 2),), merging.linear([first, second], [0.75, 0.25])),
    ):
        mix = mix_of(replace(model, mixed_by_weights=pairs), 2, 1.25)
        assert mix is not None
        assert str(mix) == f"levels 1 and 2, mixed by {'weights' if pairs else 'outputs'}"
        graph = mix.load()
        assert graph.macs_per_pixel == expected.macs_per_pixel
        assert len(graph.nodes) == len(expected.nodes)
    other = mix_of(replace(model, mixed_by_weights=((1, 1, 2), (2, 0, 1))), 2, 1.25)
    assert other is not None
    assert not other.by_weights


def test_the_manifest_follows_from_the_figures() -> None:
    root = Path(__file__).parents[2]
    measured = json.loads((root / "benchmarks/results/2026-11-26-mixing.json").read_text())
    for model in registry.models():
        pairs = {
            (pair["scale"], *pair["levels"]): pair["loss"] < 0.1 and pair["agreement"] >= 40
            for pair in measured["models"].get(model.name, [])
        }
        assert {pair for pair, good in pairs.items() if good} == set(model.mixed_by_weights)
        for scale in model.scales:
            numbers = [n for n in model.noise_levels(scale) if isinstance(n, int)]
            for lower, upper in itertools.pairwise(numbers):
                assert (scale, lower, upper) in pairs


def test_the_log_says_how(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        run(pipeline("upconv_7"), Picture(np.zeros((8, 8, 3), np.uint8)), noise=1.5)
        run(pipeline("upconv_7"), Picture(np.zeros((8, 8, 3), np.uint8)), noise=2)
    loaded = [line for line in caplog.messages if line.startswith("loaded")]
    assert loaded == [
        "loaded upconv_7 2x noise 1.5 on native: levels 1 and 2, mixed by outputs",
        "loaded upconv_7 2x noise 2 on native",
    ]


def test_weights_are_mixed_in_the_pipeline() -> None:
    picture = Picture(np.asarray(art.anime_face(24, 20)))
    results = []
    for pairs in ((), ((2, 1, 2),)):
        through = pipeline("upconv_7")
        through.model = replace(through.model, mixed_by_weights=pairs)
        results.append(run(through, picture, noise=1.5).color)
    assert not np.array_equal(*results)


# --- results ----------------------------------------------------------------------------------


@cache
def original() -> np.ndarray:
    """A drawing with large flat areas, in which the noise of a JPEG is all there is."""
    return np.asarray(art.manga_page(256, 256).convert("RGB"))


@cache
def results(model: str) -> dict[float, np.ndarray]:
    """The results for a JPEG of quality 60, half the size of the drawing."""
    given = as_jpeg(box_shrunk(original(), 2), 60)
    upscaler = waifu2x.Upscaler(model)
    return {level: upscaler.upscale(given, 2, noise=level) for level in LEVELS}


@pytest.mark.parametrize("model", ["cunet", "upconv_7", "upconv_7_photo"])
def test_each_pixel_lies_between_those_of_the_neighbors(model: str) -> None:
    low, high = results(model)[1].astype(int), results(model)[2].astype(int)
    for level in (1.25, 1.5, 1.75):
        pixels = results(model)[level]
        assert np.all(pixels >= np.minimum(low, high) - 1)
        assert np.all(pixels <= np.maximum(low, high) + 1)
        share = level - 1
        # Where no result is clamped, the mix is exact but for rounding.
        inside = np.all([(each > 8) & (each < 247) for each in (low, high)], axis=0)
        error = np.abs(pixels - ((1 - share) * low + share * high))[inside]
        assert error.max() <= 1.01
    means = [float(each.mean()) for each in results(model).values()]
    assert sorted(means) in (means, means[::-1])


@pytest.mark.parametrize("model", ["cunet", "upconv_7"])
def test_a_higher_level_leaves_less_noise(model: str) -> None:
    """Noise of the JPEG, where the drawing is flat: it falls from level 1 to level 2."""
    wanted = luma(original())
    flat = np.ones(wanted.shape, bool)
    for axis in (0, 1):
        for step in range(-4, 5):
            flat &= np.abs(np.roll(wanted, step, axis) - wanted) < 1
    assert flat.mean() > 0.05
    left = [float((luma(each) - wanted)[flat].std()) for each in results(model).values()]
    assert left == sorted(left, reverse=True)
    assert left[0] > 1.05 * left[-1]


def test_a_whole_number_is_that_level() -> None:
    picture = np.asarray(art.anime_face(24, 20))
    upscaler = waifu2x.Upscaler("upconv_7")
    whole = upscaler.upscale(picture, 2, noise=2)
    for two in (2.0, np.float32(2)):
        assert np.array_equal(upscaler.upscale(picture, 2, noise=two), whole)
    assert not np.array_equal(upscaler.upscale(picture, 2, noise=1.5), whole)


@pytest.mark.parametrize("model", ["cunet", "upconv_7"])
def test_threads_and_tiles_change_nothing(model: str) -> None:
    picture = Picture(np.asarray(art.anime_face(150, 110)))
    one, two = (run(pipeline(model, threads=n), picture, noise=1.5).color for n in (1, 2))
    assert np.array_equal(one, two)
    tiled = pipeline(model, threads=2)
    assert tiled.engine.streams
    tiled.engine.streams = False  # type: ignore[misc]
    assert np.array_equal(run(tiled, picture, noise=1.5).color, one)
    onnx = pipeline(model, engine="onnx")
    first, second = (run(onnx, picture, noise=1.5, tile=side).color for side in (48, 64))
    assert np.array_equal(first, second)
    assert np.abs(first.astype(int) - one).max() <= 1


@pytest.mark.parametrize("engine", ["native", "onnx", "torch"])
def test_every_engine_mixes(engine: str) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    picture = Picture(np.asarray(art.anime_face(40, 32)))
    made = {
        level: run(pipeline("cunet", engine=engine), picture, noise=level).color.astype(int)
        for level in (1, 1.5, 2)
    }
    native = run(pipeline("cunet"), picture, noise=1.5).color
    assert np.abs(made[1.5] - native).max() <= 1
    assert np.all(made[1.5] <= np.maximum(made[1], made[2]) + 1)


def test_eight_rotations_and_large_pictures_are_mixed_too() -> None:
    """Averages over rotations, and global means of a picture that is sampled."""
    picture = Picture(np.asarray(art.anime_face(48, 40)))
    turned = run(pipeline("cunet"), picture, noise=1.5, tta=True).color.astype(int)
    plain = run(pipeline("cunet"), picture, noise=1.5).color
    assert 0 < np.abs(turned - plain).max() < 40
    assert run(pipeline("cunet"), picture, noise=1.5, scale=1).color.shape == picture.color.shape


def test_the_alpha_and_the_memory_of_a_mix() -> None:
    pixels = np.asarray(art.sprite(40))
    through = pipeline("cunet")
    picture = Picture(np.ascontiguousarray(pixels[:, :, :3]), np.ascontiguousarray(pixels[:, :, 3]))
    mixed, whole = (through.request(picture, noise=level) for level in (1.5, 1))
    assert through.footprint(picture, mixed).work > through.footprint(picture, whole).work
    result = through.run(picture, mixed)
    assert result.alpha is not None
    assert np.array_equal(result.alpha, through.run(picture, whole).alpha)


# --- what is shown ----------------------------------------------------------------------------


def test_results_show_the_level(tmp_path: Path) -> None:
    art.anime_face(24, 20).save(tmp_path / "a.png")
    page = io.BytesIO()
    art.anime_face(16, 12).save(page, "PNG")
    with zipfile.ZipFile(tmp_path / "b.cbz", "w") as archive:
        archive.writestr("1.png", page.getvalue())
    upscaler = waifu2x.Upscaler("upconv_7")
    single = waifu2x.upscale_file(tmp_path / "a.png", tmp_path / "c.png", noise=1.5,
                                  upscaler=upscaler)  # fmt: skip
    assert single.noise == 1.5
    results = waifu2x.upscale_many(
        [tmp_path / "a.png", tmp_path / "b.cbz"],
        tmp_path / "out",
        noise=1.5,
        name="{stem}_{noise}{ext}",
        report=tmp_path / "report.jsonl",
        upscaler=upscaler,
    )
    assert [result.noise for result in results] == [1.5, 1.5]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_1.5.png", "b_1.5.cbz"}
    lines = (tmp_path / "report.jsonl").read_text().splitlines()
    assert [json.loads(line)["noise"] for line in lines] == [1.5, 1.5]
    with Image.open(tmp_path / "c.png") as image:
        assert image.size == (48, 40)
