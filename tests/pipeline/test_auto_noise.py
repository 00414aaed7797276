"""The noise level of a JPEG, for models that do not have every level."""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers.families import needs
from PIL import Image

import waifu2x
from waifu2x.errors import ArgumentError
from waifu2x.network import registry
from waifu2x.picture import Picture, Source
from waifu2x.pipeline.auto_noise import Level, choose_noise, is_level
from waifu2x.pipeline.options import PictureOptions
from waifu2x.pipeline.pipeline import Pipeline

FEW: tuple[Level, ...] = ("conservative", 3)
CUGAN: tuple[Level, ...] = ("conservative", 1, 2, 3)


@pytest.mark.parametrize(
    ("quality", "levels", "expected"),
    [
        (96, CUGAN, None),
        (90, CUGAN, "conservative"),  # counts as level 0
        (70, CUGAN, 1),
        (50, CUGAN, 2),
        (20, CUGAN, 3),
        (90, FEW, "conservative"),
        (70, FEW, "conservative"),
        (50, FEW, 3),
        (20, FEW, 3),
        (90, registry.LEVELS, 0),
        (90, (1, 3), 1),
        (50, (1, 3), 1),  # of two as near, the lower
        (20, (0,), 0),
    ],
)
def test_the_nearest_level_is_chosen(
    quality: int, levels: tuple[Level, ...], expected: Level | None
) -> None:
    assert choose_noise(Source("JPEG", True, quality), levels) == (
        expected,
        f"JPEG quality {quality}",
    )


def test_a_model_without_levels_removes_nothing() -> None:
    assert choose_noise(Source("JPEG", True, 50), ()) == (
        None,
        "JPEG quality 50; the model removes no noise",
    )
    assert choose_noise(Source("JPEG", True, 99), ()) == (None, "JPEG quality 99")


@pytest.mark.parametrize("value", ["auto", "none", "1", True, 1.0, 4, -1, None, np.int64(1), [1]])
def test_what_is_no_level(value: object) -> None:
    assert not is_level(value)


def picture(quality: int) -> Picture:
    return Picture(np.zeros((8, 8, 3), np.uint8), source=Source("JPEG", True, quality))


@pytest.fixture
def uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan with models whether or not their weights are installed; none is loaded."""
    monkeypatch.setattr(registry, "require_installed", lambda model: None)


@pytest.mark.usefixtures("uninstalled")
@pytest.mark.parametrize(
    ("model", "scale", "quality", "passes"),
    [
        ("cunet", 2, 90, [(2, 0)]),
        ("cunet", 1, 50, [(1, 2)]),
        ("cunet", 4, 50, [(2, 2), (2, None)]),
        ("upconv_7", 1, 50, [(2, 2)]),
        ("realcugan", 2, 70, [(2, 1)]),
        ("realcugan", 1, 70, [(2, 1)]),
        # The level never changes the scales.
        ("realcugan", 3, 70, [(3, "conservative")]),
        ("realcugan", 4, 50, [(4, 3)]),
        ("realcugan", 6, 50, [(2, 2), (3, None)]),
        ("realcugan_pro", 3, 90, [(3, "conservative")]),
        ("realesrgan", 2, 50, [(4, None)]),
        ("realesrgan", 1, 50, []),
    ],
)
def test_auto_picks_among_the_levels_at_the_scale(
    model: str, scale: int, quality: int, passes: list[tuple[int, Level | None]]
) -> None:
    pipeline = Pipeline(waifu2x.UpscalerOptions(model))
    request, choice = pipeline.resolve(picture(quality), PictureOptions(scale=scale, noise="auto"))
    assert list(request.passes) == passes
    assert choice.level == (passes[0][1] if passes else None)
    assert choice.reason.startswith(f"JPEG quality {quality}")


@pytest.mark.usefixtures("uninstalled")
@pytest.mark.parametrize(
    ("model", "noise", "message"),
    [
        (
            "realesrgan",
            2,
            "model realesrgan removes no noise, and `noise=2` is given; leave it out, or choose "
            "another `model=`",
        ),
        (
            "realcugan_pro",
            1,
            "model realcugan_pro has no noise level 1; its levels are conservative and 3; choose "
            "one of them, none, or another `model=`",
        ),
        (
            "cunet",
            "conservative",
            "model cunet has no noise level 'conservative'; its levels are 0, 1, 2 and 3; choose "
            "one of them, none, or another `model=`",
        ),
    ],
)
def test_a_level_that_the_model_lacks(model: str, noise: Level, message: str) -> None:
    pipeline = Pipeline(waifu2x.UpscalerOptions(model))
    with pytest.raises(ArgumentError) as caught:
        pipeline.resolve(picture(90), PictureOptions(noise=noise))
    assert str(caught.value) == message


@needs("realcugan")
def test_a_level_by_its_name() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 14, 3), np.uint8)
    upscaler = waifu2x.Upscaler("realcugan")
    results = {
        noise: upscaler.upscale(pixels, 2, noise=noise) for noise in (None, "conservative", 1)
    }
    assert all(result.shape == (24, 28, 3) for result in results.values())
    assert len({result.tobytes() for result in results.values()}) == 3
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=90)
    chosen = np.asarray(upscaler.upscale(data.getvalue(), 2))
    given = np.asarray(upscaler.upscale(data.getvalue(), 2, noise="conservative"))
    np.testing.assert_array_equal(chosen, given)
