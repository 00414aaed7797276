"""What the networks of our own keep, whatever a training rewards: sprites, dither, flat colors."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from waifu2x import Upscaler

OWN = ("fine", "swift")
NOISES = (None, 0, 1, 2, 3)


@pytest.fixture(scope="module", params=OWN)
def upscaler(request: pytest.FixtureRequest) -> Upscaler:
    return Upscaler(request.param, engine="native")


def pixel_art(seed: int, side: int) -> np.ndarray:
    """Return random squares of ``side`` pixels in six random colors, 96x96 px."""
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (6, 3), dtype=np.uint8)
    squares = palette[rng.integers(0, 6, (96 // side, 96 // side))]
    return np.ascontiguousarray(squares.repeat(side, 0).repeat(side, 1))


def overshoot(picture: np.ndarray, result: np.ndarray) -> int:
    """Return how far a result leaves the range of the colors around it, in levels of 255."""
    plain = Image.fromarray(picture.repeat(2, 0).repeat(2, 1))
    low = np.asarray(plain.filter(ImageFilter.MinFilter(9)), int)
    high = np.asarray(plain.filter(ImageFilter.MaxFilter(9)), int)
    return int(np.maximum(low - result, result - high).max())


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("side", [3, 4, 6])
def test_pixel_art_has_no_spots(upscaler: Upscaler, side: int, noise: int | None) -> None:
    worst = []
    for seed in range(6):
        picture = pixel_art(seed, side)
        result = np.asarray(upscaler.upscale(picture, 2, noise=noise))
        worst.append(overshoot(picture, result))
    # upconv_7 and cunet leave it by at most 35; before pixel art was part of the training, 147.
    assert max(worst) < 64, worst


def test_dither_stays_dither(upscaler: Upscaler) -> None:
    ramp = np.tile(np.linspace(0, 255, 128), (128, 1)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(ramp).convert("1").convert("RGB"))
    assert overshoot(picture, np.asarray(upscaler.upscale(picture, 2, noise=None))) < 32


@pytest.mark.parametrize("noise", NOISES)
def test_flat_colors_stay(upscaler: Upscaler, noise: int | None) -> None:
    for color in [
        (0, 0, 0),
        (255, 255, 255),
        (255, 0, 0),
        (0, 0, 255),
        (250, 236, 221),
        (9, 99, 9),
    ]:
        picture = np.full((24, 20, 3), color, np.uint8)
        result = np.asarray(upscaler.upscale(picture, 2, noise=noise), int)
        assert np.abs(result - np.array(color)).max() <= 1
