from __future__ import annotations

import numpy as np
import pytest
from helpers import kernel_reference as ref
from hypothesis import given
from hypothesis import strategies as st

from waifu2x.kernels import _native


def run(output, dst, rect, isa):
    src_x, src_y, dst_x, dst_y, width, height = rect
    return _native.blend(output, src_x, src_y, dst, dst_x, dst_y, width, height, isa=isa)


def expect(output, dst, rect):
    src_x, src_y, dst_x, dst_y, width, height = rect
    part = output[:, src_y : src_y + height, src_x : src_x + width]
    dst[dst_y : dst_y + height, dst_x : dst_x + width] = ref.quantize(
        ref.interleave(part, dst.shape[2]), dst.dtype
    )
    return int(np.count_nonzero(~np.isfinite(part)))


@pytest.mark.parametrize("isa", ref.isas("blend"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", ref.CHANNELS)
@pytest.mark.parametrize("size", ref.SIZES)
@pytest.mark.parametrize("not_finite", [0.0, 0.2])
def test_matches_reference(isa, dtype, channels, size, not_finite):
    height, width = size
    rng = np.random.default_rng([*size, channels])
    output = ref.random_output(rng, (3, height + 5, width + 4), not_finite)
    before = ref.random_picture(rng, (height + 3, width + 6, channels), dtype)
    rect = (3, 1, 2, 3, width, height)
    after = before.copy()
    bad = expect(output, after, rect)
    with ref.guarded(rng, before) as dst:
        assert run(output, dst, rect, isa) == bad
        ref.assert_same_bits(np.ascontiguousarray(dst), after)


@pytest.mark.parametrize("isa", ref.isas("blend"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", ref.CHANNELS)
def test_every_level_makes_the_round_trip(isa, dtype, channels):
    top = 65535 if dtype == "float32" else np.iinfo(dtype).max
    level = np.arange(top + 1)
    values = (level.astype(np.float32) / np.float32(top)).reshape(256, -1)
    dst = np.empty((*values.shape, channels), dtype)
    assert run(np.stack([values] * 3), dst, (0, 0, 0, 0, *values.shape[::-1]), isa) == 0
    expected = values if dtype == "float32" else level.reshape(values.shape)
    for channel in range(channels):
        np.testing.assert_array_equal(dst[:, :, channel], expected)


@pytest.mark.parametrize("isa", ref.isas("blend"))
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_rounds_to_the_nearest_level(isa, dtype):
    """The error against float64 is at most half a level plus float32 rounding."""
    values = np.random.default_rng(3).random((3, 64, 1001), np.float32)
    dst = np.empty((64, 1001, 3), dtype)
    assert run(values, dst, (0, 0, 0, 0, 1001, 64), isa) == 0
    exact = values.transpose(1, 2, 0).astype(np.float64) * float(ref.full(dtype))
    assert np.abs(dst - exact).max() <= 0.5 + 2.0**-8


@pytest.mark.parametrize("isa", ref.isas("blend"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", ref.CHANNELS)
def test_not_finite_is_counted_and_written_sanely(isa, dtype, channels):
    for position in range(19):
        for value, written in ((np.nan, 0), (np.inf, ref.full(dtype)), (-np.inf, 0)):
            output = np.full((3, 1, 19), 0.5, np.float32)
            output[:, 0, position] = value
            dst = np.empty((1, 19, channels), dtype)
            assert run(output, dst, (0, 0, 0, 0, 19, 1), isa) == 3
            # Luma of three infinities is NaN: inf - inf.
            expected = written if channels == 3 else 0
            np.testing.assert_array_equal(dst[0, position], np.full(channels, expected, dtype))
            output[1:, 0, position] = 0.5
            assert run(output, dst, (0, 0, 0, 0, 19, 1), isa) == 1


@pytest.mark.parametrize("isa", ref.isas("blend"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
@given(data=st.data())
def test_any_rectangle_with_any_strides(isa, dtype, data):
    width, height = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12))
    src_x, src_y, dst_x, dst_y, right, below = (data.draw(st.integers(0, 9)) for _ in range(6))
    channels = data.draw(st.sampled_from(ref.CHANNELS))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    output = ref.random_output(rng, (3, src_y + height + below, src_x + width + right), 0.01)
    # Planes and rows may be reversed, interleaved by rows, or all share memory.
    layout = data.draw(st.sampled_from(["dense", "flipped", "rows", "repeated"]))
    if layout == "flipped":
        output = output[::-1, ::-1]
    elif layout == "rows":
        output = np.ascontiguousarray(output.transpose(1, 0, 2)).transpose(1, 0, 2)
    elif layout == "repeated":
        output = np.broadcast_to(output[:1], output.shape)
    before = ref.random_picture(
        rng, (dst_y + height + below, dst_x + width + right, channels), dtype
    )
    rect = (src_x, src_y, dst_x, dst_y, width, height)
    after = before.copy()
    bad = expect(output, after, rect)
    with ref.guarded(rng, before) as dst:
        assert run(output, dst, rect, isa) == bad
        ref.assert_same_bits(np.ascontiguousarray(dst), after)


def test_bad_rectangles_are_refused_before_writing():
    output = np.ones((3, 8, 10), np.float32)
    dst = np.zeros((12, 14, 3), np.uint8)
    huge = np.iinfo(np.int64).max
    for rect in (
        (-1, 0, 0, 0, 4, 4),
        (0, -1, 0, 0, 4, 4),
        (7, 0, 0, 0, 4, 4),
        (0, 5, 0, 0, 4, 4),
        (0, 0, 0, 0, 0, 4),
        (0, 0, 0, 0, 4, 0),
        (0, 0, 0, 0, -4, 4),
        (0, 0, 0, 0, 11, 4),
        (huge, 0, 0, 0, huge, 4),
        (0, huge, 0, 0, 4, huge),
        (1, 1, 0, 0, huge, huge),
    ):
        with pytest.raises(ValueError, match="not inside src"):
            run(output, dst, rect, None)
    for rect in (
        (0, 0, -1, 0, 4, 4),
        (0, 0, 0, -1, 4, 4),
        (0, 0, 11, 0, 4, 4),
        (0, 0, 0, 9, 4, 4),
        (0, 0, huge, huge, 4, 4),
    ):
        with pytest.raises(ValueError, match="not inside dst"):
            run(output, dst, rect, None)
    assert not dst.any()


def test_bad_arrays_are_refused():
    rect = (0, 0, 0, 0, 4, 4)
    output = np.ones((3, 8, 10), np.float32)
    dst = np.zeros((12, 14, 3), np.uint8)
    for bad in (
        output.astype(np.float64),
        output.astype(np.float16),
        output[:1],
        output[0],
        output[:, :, ::2],
        output[:, :, ::-1],
    ):
        with pytest.raises(ValueError, match="src"):
            run(bad, dst, rect, None)
    frozen = dst.copy()
    frozen.flags.writeable = False
    for bad in (frozen, dst[:, ::2], dst[:, :, :2], dst.astype(np.int8), dst.astype(">u2")):
        with pytest.raises(ValueError, match="dst"):
            run(output, bad, rect, None)
