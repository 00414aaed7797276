"""Planes to RGB and back: known colors, flat patches, positions of edges, bands and odd sizes."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from waifu2x.errors import ArgumentError
from waifu2x.picture import Picture
from waifu2x.video import color
from waifu2x.video.color import from_rgb, to_rgb
from waifu2x.video.layout import CHROMA_SITES, FACTORS, MATRICES, VideoLayout
from waifu2x.video.planes import VideoFrame

Array = npt.NDArray[Any]


def flat(layout: VideoLayout, rgb: tuple[float, float, float]) -> Picture:
    samples = np.empty((layout.height, layout.width, 3), np.float32)
    samples[...] = rgb
    return Picture(samples)


def random_frame(layout: VideoLayout, seed: int = 1) -> VideoFrame:
    rng = np.random.default_rng(seed)
    most = 1 << layout.depth
    return VideoFrame(tuple(rng.integers(0, most, s).astype(layout.dtype) for s in layout.shapes))


@pytest.mark.parametrize(
    ("matrix", "full", "planes", "rgb"),
    [
        # EBU Tech 3280 and ITU-R BT.709: color bars of 100% in 8 bits.
        ("bt709", False, (235, 128, 128), (1, 1, 1)),
        ("bt709", False, (16, 128, 128), (0, 0, 0)),
        ("bt709", False, (63, 102, 240), (1, 0, 0)),
        ("bt709", False, (173, 42, 26), (0, 1, 0)),
        ("bt709", False, (32, 240, 118), (0, 0, 1)),
        ("bt601", False, (81, 90, 240), (1, 0, 0)),
        ("bt601", False, (145, 54, 34), (0, 1, 0)),
        ("bt601", False, (41, 240, 110), (0, 0, 1)),
        # JFIF
        ("bt601", True, (76, 85, 255), (1, 0, 0)),
        ("bt601", True, (150, 44, 21), (0, 1, 0)),
        ("bt2020", False, (74, 97, 240), (1, 0, 0)),
        ("rgb", True, (10, 20, 30), (30 / 255, 10 / 255, 20 / 255)),
        ("ycgco", True, (64, 64, 255), (1, 0, 0)),
        ("ycgco", True, (128, 255, 128), (0, 1, 0)),
    ],
)
def test_known_colors(
    matrix: Any, full: bool, planes: tuple[int, ...], rgb: tuple[float, float, float]
) -> None:
    layout = VideoLayout(4, 4, subsampling="444", matrix=matrix, full_range=full)
    frame = VideoFrame(tuple(np.full((4, 4), value, np.uint8) for value in planes))
    np.testing.assert_allclose(to_rgb(frame, layout).color[1, 1], rgb, atol=2.5 / 255)
    back = from_rgb(flat(layout, rgb), layout)
    for plane, value in zip(back.planes, planes, strict=True):
        assert abs(int(plane[1, 1]) - value) <= 1


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_flat_patches_survive_the_round_trip(matrix: Any, full: bool, depth: int) -> None:
    layout = VideoLayout(6, 4, depth, "444", matrix=matrix, full_range=full)
    levels = (0.0, 0.25, 0.5, 0.8, 1.0)
    for rgb in product(levels, repeat=3):
        made = from_rgb(flat(layout, rgb), layout)
        again = to_rgb(made, layout)
        # The rounding of the planes costs more than one level of RGB in 8 bits.
        np.testing.assert_allclose(again.color[0, 0], rgb, atol=2.5 / (1 << depth))
        for one, two in zip(made.planes, from_rgb(again, layout).planes, strict=True):
            assert np.abs(one.astype(int) - two).max() <= (1 if depth == 8 else 2)


@pytest.mark.parametrize("subsampling", FACTORS)
@pytest.mark.parametrize("chroma", CHROMA_SITES)
def test_flat_patches_keep_their_planes_exactly(subsampling: Any, chroma: Any) -> None:
    layout = VideoLayout(13, 9, subsampling=subsampling, chroma=chroma)
    for values in [(120, 100, 150), (40, 130, 120), (200, 128, 128)]:
        pairs = zip(values, layout.shapes, strict=True)
        frame = VideoFrame(tuple(np.full(shape, value, np.uint8) for value, shape in pairs))
        made = from_rgb(to_rgb(frame, layout), layout)
        for one, two in zip(frame.planes, made.planes, strict=True):
            np.testing.assert_array_equal(one, two)


def centroid(profile: Array) -> float:
    step = np.diff(profile.astype(float))
    return float((step * (np.arange(len(step)) + 0.5)).sum() / step.sum())


@pytest.mark.parametrize("subsampling", ["420", "422", "440", "411", "410"])
@pytest.mark.parametrize("chroma", CHROMA_SITES)
@pytest.mark.parametrize("axis", [0, 1])
def test_edges_of_color_do_not_move(subsampling: Any, chroma: Any, axis: int) -> None:
    layout = VideoLayout(64, 64, subsampling=subsampling, chroma=chroma, full_range=True, depth=16)
    # An edge of equal luma, as wide as two samples of chroma: no aliasing, no clamping.
    ramp = np.clip((np.arange(64) - 22.0) / 16, 0, 1).astype(np.float32)
    red = 0.4 + 0.2 * ramp
    samples = np.stack([red, np.full_like(red, 0.5), np.full_like(red, 0.5)], -1)
    picture = np.broadcast_to(samples[:, None] if axis == 0 else samples[None], (64, 64, 3))
    made = to_rgb(from_rgb(Picture(np.ascontiguousarray(picture)), layout), layout).color
    difference = made[:, :, 0].astype(float) - made[:, :, 1]
    profile = difference.mean(1 - axis)
    assert abs(centroid(profile) - centroid(red)) < 0.02


def test_chroma_of_luma_scale_lies_at_its_position() -> None:
    """A chroma ramp across becomes a ramp of the same slope whose zero is at the sample."""
    for chroma, shift in [("left", 0.0), ("center", 0.5)]:
        layout = VideoLayout(32, 2, 16, "420", full_range=True, chroma=chroma, matrix="ycgco")
        planes = [np.full(shape, 32768, np.uint16) for shape in layout.shapes]
        planes[2][:] = 32768 + np.arange(16) * 500
        red = to_rgb(VideoFrame(tuple(planes)), layout).color[0, :, 0].astype(float)
        expected = 32768 + (np.arange(32) - shift) / 2 * 500
        np.testing.assert_allclose(red[6:-6] * 65535, expected[6:-6], atol=2)


@pytest.mark.parametrize("subsampling", [*FACTORS, "mono"])
@pytest.mark.parametrize("chroma", CHROMA_SITES)
def test_bands_change_nothing(
    subsampling: Any, chroma: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = VideoLayout(21, 37, subsampling=subsampling, chroma=chroma, alpha=True)
    frame = random_frame(layout)
    whole = to_rgb(frame, layout)
    planes = from_rgb(whole, layout).planes
    monkeypatch.setattr(color, "_BAND_SAMPLES", 90)
    banded = to_rgb(frame, layout)
    np.testing.assert_array_equal(whole.color, banded.color)
    for one, two in zip(planes, from_rgb(whole, layout).planes, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("subsampling", [*FACTORS, "mono"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 3), (3, 2), (5, 5)])
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_tiny_and_odd_sizes(subsampling: Any, size: tuple[int, int], depth: int) -> None:
    for chroma in CHROMA_SITES:
        layout = VideoLayout(*size, depth, subsampling, alpha=True, chroma=chroma)
        frame = random_frame(layout)
        picture = to_rgb(frame, layout)
        assert picture.color.shape == (*size[::-1], 1 if subsampling == "mono" else 3)
        assert 0 <= picture.color.min() <= picture.color.max() <= 1
        made = from_rgb(picture, layout, pts=7)
        made.require(layout)
        assert made.pts == 7
        np.testing.assert_array_equal(made.planes[-1], frame.planes[-1])


@pytest.mark.parametrize("depth", [8, 9, 10, 12, 14, 16])
def test_mono_and_alpha_keep_every_level(depth: int) -> None:
    levels = np.arange(1 << depth).astype(np.uint8 if depth == 8 else np.uint16)
    plane = levels.reshape(1 << depth // 2, -1)
    layout = VideoLayout(plane.shape[1], plane.shape[0], depth, "mono", alpha=True, full_range=True)
    frame = VideoFrame((plane, plane))
    made = from_rgb(to_rgb(frame, layout), layout)
    for one in made.planes:
        np.testing.assert_array_equal(one, plane)
    limited = from_rgb(to_rgb(frame, replace(layout, full_range=False)), layout).planes[0]
    assert (limited[0, 0], limited[-1, -1]) == (0, levels[-1])


def test_a_gray_result_for_a_layout_of_colors_has_neutral_chroma() -> None:
    for matrix, expected in [("bt709", 128), ("rgb", 140)]:
        layout = VideoLayout(4, 4, subsampling="444", matrix=matrix)  # type: ignore[arg-type]
        gray = Picture(np.full((4, 4, 1), (140 - 16) / 219, np.float32))
        made = from_rgb(gray, layout)
        assert [int(plane[0, 0]) for plane in made.planes] == [140, expected, expected]


def test_values_outside_of_the_range_are_clamped() -> None:
    layout = VideoLayout(4, 4, subsampling="420")
    made = from_rgb(Picture(np.full((4, 4, 3), 7.0, np.float32)), layout)
    assert [int(plane[0, 0]) for plane in made.planes] == [235, 128, 128]
    wild = VideoFrame(tuple(np.full(shape, 255, np.uint8) for shape in layout.shapes))
    assert to_rgb(wild, layout).color.max() == 1


def test_planes_of_another_layout_are_refused() -> None:
    layout = VideoLayout(4, 4)
    with pytest.raises(ArgumentError, match="they must be uint8"):
        to_rgb(random_frame(replace(layout, depth=10)), layout)
    with pytest.raises(ArgumentError, match="planes of a frame"):
        to_rgb(random_frame(replace(layout, subsampling="422")), layout)
