"""The exact resize after the networks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waifu2x.errors import ArgumentError
from waifu2x.pipeline.resize import shrink


def lanczos(source, target):
    """The (target, source) matrix of an antialiased Lanczos resize, in float64."""
    scale = source / target
    support = 3 * max(scale, 1)
    center = (np.arange(target)[:, None] + 0.5) * scale
    position = np.arange(source)[None] + 0.5
    x = (position - center) / max(scale, 1)
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    inside = np.abs(position - center) < support
    weights = np.where(inside, weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(13, 9), (26, 18), (7, 30), (1, 1), (40, 5), (13, 17), (25, 9)])
@pytest.mark.parametrize("channels", [None, 1, 2, 3])
def test_against_the_plain_sum(size, channels):
    shape = (17, 25) if channels is None else (17, 25, channels)
    color = np.random.default_rng(2).random(shape, np.float32)
    width, height = size
    result = shrink(color, width=width, height=height)
    assert result.shape == (height, width, *shape[2:])
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    rows, columns = lanczos(17, height), lanczos(25, width)
    expected = np.einsum("yh,hw...,xw->yx...", rows, color.astype(np.float64), columns)
    np.testing.assert_allclose(result, expected, atol=2e-6)


@given(
    st.tuples(*[st.integers(1, 40)] * 4),
    st.floats(-0.5, 1.5, width=32),
)
def test_flat_stays_flat(sizes, value):
    height, width, new_height, new_width = sizes
    color = np.full((height, width, 3), value, np.float32)
    result = shrink(color, width=new_width, height=new_height)
    assert result.shape == (new_height, new_width, 3)
    np.testing.assert_allclose(result, value, atol=1e-6)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_mirrored_in_mirrored_out(height, width, new_height, new_width):
    color = np.random.default_rng(height * 31 + width).random((height, width), np.float32)
    result = shrink(color, width=new_width, height=new_height)
    mirrored = shrink(color[::-1, ::-1], width=new_width, height=new_height)
    np.testing.assert_allclose(mirrored[::-1, ::-1], result, atol=2e-6)


def test_the_same_size_is_a_copy():
    color = np.random.default_rng(0).random((5, 6, 3), np.float32)
    result = shrink(color, width=6, height=5)
    np.testing.assert_array_equal(result, color)
    assert not np.shares_memory(result, color)


def test_the_result_can_be_written_and_the_input_is_not():
    color = np.random.default_rng(0).random((5, 6), np.float32)
    color.flags.writeable = False
    result = shrink(color, width=3, height=2)
    result += 1
    assert not np.shares_memory(result, color)


def test_any_strides():
    color = np.random.default_rng(0).random((3, 12, 10), np.float32)
    planar = color.transpose(1, 2, 0)[::-1, ::2]
    expected = shrink(np.ascontiguousarray(planar), width=3, height=7)
    np.testing.assert_array_equal(shrink(planar, width=3, height=7), expected)


def test_overshoot_is_not_clamped():
    edge = np.zeros((8, 40), np.float32)
    edge[:, 20:] = 1
    result = shrink(edge, width=27, height=8)
    assert result.max() > 1.02
    assert result.min() < -0.02


def test_fine_stripes_become_gray():
    # Without the wider filter for shrinking, stripes of one pixel alias to large bars.
    stripes = np.tile(np.float32([0, 1]), (64, 64))
    inner = shrink(stripes, width=60, height=30)[5:-5, 5:-5]
    assert np.abs(inner.mean() - 0.5) < 0.01
    quarter = shrink(stripes, width=32, height=16)
    assert np.abs(quarter[3:-3, 4:-4] - 0.5).max() < 0.02


def test_numpy_integers_as_sizes():
    color = np.zeros((4, 4), np.float32)
    assert shrink(color, width=np.int64(2), height=np.int32(3)).shape == (3, 2)


@pytest.mark.parametrize(
    ("color", "words"),
    [
        (np.zeros((4, 4), np.uint8), "color is uint8; it must be a float32 array"),
        (np.zeros((4, 4)), "color is float64"),
        ([[1.0]], "color is list"),
        (np.zeros(4, np.float32), "color has shape"),
        (np.zeros((4, 4, 3, 1), np.float32), "color has shape"),
        (np.zeros((0, 4), np.float32), "none of them 0"),
    ],
)
def test_what_is_no_color(color, words):
    with pytest.raises(ArgumentError, match=words):
        shrink(color, width=2, height=2)


@pytest.mark.parametrize("value", [0, -3, 2.0, "2", None, True])
def test_what_is_no_size(value):
    with pytest.raises(ArgumentError, match=r"width is .* 1 or more"):
        shrink(np.zeros((4, 4), np.float32), width=value, height=2)
    with pytest.raises(ArgumentError, match="height is"):
        shrink(np.zeros((4, 4), np.float32), width=2, height=value)
