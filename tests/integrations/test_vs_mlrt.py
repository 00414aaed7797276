"""Exported networks fit vs-mlrt, and docs/integrations.md has the right overlaps and sizes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from helpers import art
from helpers.vs_mlrt import filtered, session

from waifu2x import Upscaler
from waifu2x.network.export import Export, export_network

TEXT = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text("utf-8")
#: The page, without its line breaks.
PAGE = " ".join(TEXT.split())

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def planes() -> Array:
    rgb = np.asarray(art.anime_face(96, 100).convert("RGB"), np.float32) / np.float32(255)
    return np.ascontiguousarray(np.moveaxis(rgb, -1, 0))


@pytest.fixture(scope="module")
def upconv_7(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export_network(tmp_path_factory.mktemp("onnx") / "upconv_7.onnx", model="upconv_7")


@pytest.fixture(scope="module")
def cunet(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export_network(tmp_path_factory.mktemp("onnx") / "cunet.onnx", model="cunet")


def test_a_whole_frame_is_what_the_upscaler_returns(upconv_7: Export, planes: Array) -> None:
    """The file pads by itself, so the result has ``scale`` times the size."""
    made = filtered(upconv_7.path, planes)
    rgb = np.moveaxis(planes, 0, -1)
    like = Upscaler("upconv_7", engine="native").upscale(np.ascontiguousarray(rgb), 2)
    np.testing.assert_allclose(np.moveaxis(made.clip(0, 1), 0, -1), like, atol=1e-5)


def test_tiles_give_the_pixels_of_the_frame_with_the_overlap_of_the_page(
    upconv_7: Export, planes: Array
) -> None:
    (overlap,) = re.findall(r"core\.ort\.Model\(.*overlap=(\d+)", TEXT)
    assert int(overlap) == upconv_7.margin * upconv_7.scale
    assert f"{overlap} for upconv_7, whose margin is {upconv_7.margin}" in PAGE
    whole = filtered(upconv_7.path, planes)
    tiled = filtered(upconv_7.path, planes, overlap=int(overlap), tilesize=80)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    short = filtered(upconv_7.path, planes, overlap=upconv_7.margin, tilesize=80)
    levels = re.search(r"With 7, [^.]* differ by up to (\d+) of 255", PAGE)
    assert levels is not None
    assert 255 * np.abs(short - whole).max() == pytest.approx(int(levels[1]), abs=1)


def test_tiles_of_cunet_differ_at_any_overlap(cunet: Export, planes: Array) -> None:
    whole = filtered(cunet.path, planes)
    tiled = filtered(cunet.path, planes, overlap=cunet.margin * cunet.scale, tilesize=80)
    levels = re.search(r"by up to (\d+) of 255 with cunet in tiles of 80x80", PAGE)
    assert levels is not None
    assert 255 * np.abs(tiled - whole).max() == pytest.approx(int(levels[1]), abs=1)


def test_sides_are_multiples_of_the_alignment(cunet: Export, upconv_7: Export) -> None:
    text = re.search(r"`alignment`: (\d) for upconv_7, (\d) for cunet 2x", PAGE)
    assert text is not None
    assert (upconv_7.alignment, cunet.alignment) == (int(text[1]), int(text[2]))
    session(upconv_7.path, 33, 35)
    session(cunet.path, 34, 36)
