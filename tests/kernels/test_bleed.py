from __future__ import annotations

import numpy as np
import pytest
from helpers import kernel_reference as ref
from hypothesis import given
from hypothesis import strategies as st

from waifu2x.kernels import _native


@pytest.mark.parametrize("isa", ref.isas("bleed"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", ref.CHANNELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (13, 1), (2, 2), (17, 33), (3, 50)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_matches_reference(isa, dtype, channels, size, share):
    rng = np.random.default_rng([*size, channels])
    color = ref.random_picture(rng, (*size, channels), dtype)
    alpha = ref.random_picture(rng, size, dtype)
    alpha[rng.random(size) >= share] = 0
    for iterations in (0, 1, 2, 5, 100):
        with ref.guarded(rng, color) as dst, ref.guarded(rng, alpha) as mask:
            _native.bleed(dst, mask, iterations, isa=isa)
            ref.assert_same_bits(
                np.ascontiguousarray(dst), ref.bleed(color, alpha, min(iterations, 60))
            )


@given(data=st.data())
def test_any_mask(data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    dtype = data.draw(st.sampled_from(ref.DTYPES))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    color = ref.random_picture(rng, (height, width, 3), dtype)
    alpha = (rng.random((height, width)) < data.draw(st.floats(0, 1))).astype(dtype)
    iterations = data.draw(st.integers(0, 14))
    actual = color.copy()
    _native.bleed(actual, alpha, iterations)
    ref.assert_same_bits(actual, ref.bleed(color, alpha, iterations))


def test_half_rounds_up_at_the_top_of_the_range():
    for dtype in ("uint8", "uint16"):
        top = np.iinfo(dtype).max
        color = np.array([[[top], [0], [top - 1]]], dtype)
        _native.bleed(color, np.array([[1, 0, 1]], dtype), 1)
        assert color[0, 1, 0] == top


def test_alpha_that_is_not_above_zero_has_no_color():
    alpha = np.array([[1, -1, np.nan, -0.0, 1e-45]], np.float32)
    color = np.arange(5, dtype=np.float32).reshape(1, 5, 1)
    _native.bleed(color, alpha, 9)
    assert color.ravel().tolist() == [0, 0, 2, 4, 4]


def test_more_iterations_than_pixels_end():
    color = np.zeros((8, 8, 3), np.uint8)
    color[0, 0] = 9
    alpha = np.zeros((8, 8), np.uint8)
    alpha[0, 0] = 1
    _native.bleed(color, alpha, np.iinfo(np.int64).max)
    assert (color == 9).all()


def test_bad_arguments_are_refused():
    color = np.zeros((4, 5, 3), np.uint8)
    alpha = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="iterations is -1"):
        _native.bleed(color, alpha, -1)
    with pytest.raises(ValueError, match="color"):
        _native.bleed(color[:, ::2], alpha, 1)
    for bad in (alpha.astype(np.uint16), alpha[:, :4], alpha[:3], alpha[:, :, None], alpha[0]):
        with pytest.raises(ValueError, match="alpha"):
            _native.bleed(color, bad, 1)
    with pytest.raises(ValueError, match="alpha"):
        _native.bleed(color, np.zeros((4, 10), np.uint8)[:, ::2], 1)
