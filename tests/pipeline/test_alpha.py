"""Transparency: opaque areas stay opaque up to the border, and hidden color never shows."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from helpers import art

import waifu2x
from waifu2x.pipeline import alpha as transparency


@cache
def upscaler(model: str) -> waifu2x.Upscaler:
    return waifu2x.Upscaler(model)


def picture(alpha: np.ndarray) -> np.ndarray:
    """A 16-bit RGBA picture with ``alpha``."""
    height, width = alpha.shape
    color = np.asarray(art.anime_face(width, height).convert("RGB")).astype(np.uint16) * 257
    return np.dstack([color, alpha]).astype(np.uint16)


@pytest.mark.parametrize("model", ["upconv_7", "cunet"])
@pytest.mark.parametrize(("area", "hole"), [(65535, 0), (0, 65535)], ids=["solid", "empty"])
@pytest.mark.parametrize("scale", [1.5, 2])
def test_areas_stay_what_they_are_up_to_the_border(
    model: str, area: int, hole: int, scale: float
) -> None:
    alpha = np.full((36, 40), area)
    alpha[14:22, 15:25] = hole
    result = upscaler(model).upscale(picture(alpha), scale)[..., 3]
    border = np.ones(result.shape, bool)
    border[8:-8, 8:-8] = False
    assert (result[border] == area).all()


@pytest.mark.parametrize("area", [0, 255], ids=["empty", "solid"])
def test_pixels_with_an_unlike_neighbor_keep_the_result_of_the_network(area: int) -> None:
    """A pixel is set exactly only if all eight neighbors are like it, diagonal ones included."""
    samples = np.full((7, 9), area, np.uint8)
    samples[3, 4] = 255 - area
    result = transparency.enlarged(
        samples, np.dtype(np.uint8), lambda gray: np.full((14, 18, 1), 128, np.uint8)
    )
    expected = np.full((14, 18), area)
    expected[4:10, 6:12] = 128
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("scale", [0.5, 0.25, 0.1])
def test_a_shrink_sees_nothing_of_the_hidden_color(scale: float) -> None:
    """Color under transparent pixels is filled as far as the last shrink reaches."""
    results = []
    for hidden in ((0, 255, 0), (255, 0, 255)):
        rgba = np.zeros((160, 160, 4), np.uint8)
        rgba[..., :3] = hidden
        rgba[:, :80] = (200, 40, 30, 255)
        results.append(waifu2x.upscale(rgba, scale, model="upconv_7"))
    shown = results[0][..., 3] > 0
    assert shown.any()
    assert (results[0][shown] == results[1][shown]).all()
    assert (results[0][shown][:, :3] == (200, 40, 30)).all()
