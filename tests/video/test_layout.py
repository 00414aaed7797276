"""Sizes of planes, positions of chroma, and what is guessed for streams without tags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from waifu2x.errors import ArgumentError
from waifu2x.video.layout import VideoLayout, untagged


@pytest.mark.parametrize(
    ("subsampling", "chroma"),
    [
        ("444", (5, 7)),
        ("440", (3, 7)),
        ("422", (5, 4)),
        ("420", (3, 4)),
        ("411", (5, 2)),
        ("410", (2, 2)),
    ],
)
def test_chroma_planes_of_odd_sizes_are_rounded_up(
    subsampling: Any, chroma: tuple[int, int]
) -> None:
    layout = VideoLayout(7, 5, subsampling=subsampling, alpha=True)
    assert layout.shapes == ((5, 7), chroma, chroma, (5, 7))
    assert layout.frame_bytes == 2 * 35 + 2 * chroma[0] * chroma[1]


def test_mono_has_one_plane_and_more_than_eight_bits_take_two_bytes() -> None:
    layout = VideoLayout(7, 5, depth=10, subsampling="mono")
    assert layout.shapes == ((5, 7),)
    assert layout.dtype == np.uint16
    assert layout.frame_bytes == 70


@pytest.mark.parametrize(
    ("subsampling", "chroma", "offsets"),
    [
        ("420", "left", (0, 0.5)),
        ("420", "center", (0.5, 0.5)),
        ("420", "topleft", (0, 0)),
        ("420", "top", (0.5, 0)),
        ("420", "bottomleft", (0, 1)),
        ("420", "bottom", (0.5, 1)),
        ("422", "left", (0, 0)),
        ("422", "bottom", (0.5, 0)),
        ("411", "left", (0, 0)),
        ("410", "center", (1.5, 1.5)),
        ("444", "center", (0, 0)),
    ],
)
def test_the_first_chroma_sample(
    subsampling: Any, chroma: Any, offsets: tuple[float, float]
) -> None:
    assert VideoLayout(8, 8, subsampling=subsampling, chroma=chroma).offsets == offsets


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((720, 576), "bt601"), ((1024, 576), "bt601"), ((1280, 720), "bt709"), ((640, 720), "bt709")],
)
def test_the_matrix_of_a_stream_without_tags_follows_from_its_size(
    size: tuple[int, int], matrix: str
) -> None:
    layout = untagged(*size)
    assert layout.matrix == matrix
    assert not layout.full_range
    assert layout.guessed == ("matrix", "full_range", "chroma")
    assert layout.assumptions() == (
        f"not tagged, so assumed: matrix {matrix.upper().replace('BT', 'BT.')}, range limited, "
        "chroma position left"
    )


def test_what_is_tagged_is_not_guessed() -> None:
    layout = untagged(1920, 1080, matrix="bt601", full_range=True, chroma="topleft", depth=10)
    assert layout.guessed == ()
    assert (layout.matrix, layout.full_range, layout.chroma) == ("bt601", True, "topleft")
    assert layout.assumptions() == ""


def test_mono_guesses_only_a_range_and_444_no_position() -> None:
    assert untagged(64, 48, subsampling="mono").guessed == ("full_range",)
    assert untagged(64, 48, subsampling="mono").full_range
    assert untagged(64, 48, subsampling="444").guessed == ("matrix", "full_range")


def test_another_size_keeps_the_rest() -> None:
    small = untagged(640, 480)
    large = small.sized(2560, 1920)
    assert (large.width, large.height, large.matrix) == (2560, 1920, "bt601")


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"depth": 7},
        {"depth": 17},
        {"subsampling": "421"},
        {"matrix": "xyz"},
        {"chroma": "right"},
        {"matrix": "rgb"},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        VideoLayout(**{"width": 8, "height": 8, **wrong})
