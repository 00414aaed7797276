from __future__ import annotations

import numpy as np
import pytest
from helpers import kernel_reference as ref
from hypothesis import given
from hypothesis import strategies as st

from waifu2x.kernels import _native

I64 = np.iinfo(np.int64)


def run(picture, xs, ys, height, width, isa):
    out = np.full((len(xs), 3, height, width), np.nan, np.float32)
    _native.gather(picture, np.array(xs, np.int64), np.array(ys, np.int64), out, isa=isa)
    return out


@pytest.mark.parametrize("isa", ref.isas("gather"))
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", ref.CHANNELS)
def test_every_integer_is_the_correctly_rounded_quotient(isa, dtype, channels):
    values = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    picture = np.repeat(values, channels).reshape(256, -1, channels)
    out = run(picture, [0], [0], *picture.shape[:2], isa)
    expected = (values.astype(np.float64) / np.iinfo(dtype).max).astype(np.float32)
    for plane in out[0]:
        ref.assert_same_bits(plane.ravel(), expected)
    ref.assert_same_bits(expected, values.astype(np.float32) / ref.full(dtype))


@pytest.mark.parametrize("isa", ref.isas("gather"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", ref.CHANNELS)
@pytest.mark.parametrize("size", ref.SIZES)
def test_matches_reference(isa, dtype, channels, size):
    rng = np.random.default_rng([*size, channels])
    picture = ref.random_picture(rng, (*size, channels), dtype)
    height, width = (int(n) for n in rng.integers(1, 40, 2))
    # Inside, across each edge, and completely outside on each side.
    xs = rng.integers(-2 * width, size[1] + 2 * width, 12)
    ys = rng.integers(-2 * height, size[0] + 2 * height, 12)
    with ref.guarded(rng, picture) as strided:
        out = run(strided, xs, ys, height, width, isa)
    ref.assert_same_bits(out, ref.gather(picture, xs, ys, height, width))


@pytest.mark.parametrize("isa", ref.isas("gather"))
def test_coordinates_as_far_out_as_integers_go(isa):
    picture = ref.random_picture(np.random.default_rng(1), (4, 5, 3), "uint8")
    xs, ys = [I64.min, I64.max, 0, I64.min], [I64.min, 0, I64.max, I64.max]
    out = run(picture, xs, ys, 9, 11, isa)
    corners = picture.astype(np.float32) / np.float32(255)
    for window, corner in zip(out[[0, 3]], corners[[0, 3], 0], strict=True):
        np.testing.assert_array_equal(window, np.broadcast_to(corner[:, None, None], (3, 9, 11)))
    ref.assert_same_bits(out, ref.gather(picture, xs, ys, 9, 11))


@pytest.mark.parametrize("isa", ref.isas("gather"))
@pytest.mark.parametrize("channels", ref.CHANNELS)
def test_float_passes_bit_for_bit(isa, channels):
    values = np.concatenate([ref.SPECIAL, ref.NOT_FINITE])
    picture = np.ascontiguousarray(np.resize(values, (5, 27, channels)))
    out = run(picture, [0], [0], 5, 27, isa)
    expected = np.ascontiguousarray(np.broadcast_to(picture, (5, 27, 3)).transpose(2, 0, 1))
    assert out[0].tobytes() == expected.tobytes()  # NaN included


@pytest.mark.parametrize("isa", ref.isas("gather"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
def test_writes_only_its_windows(isa, dtype):
    rng = np.random.default_rng(2)
    picture = ref.random_picture(rng, (20, 30, 3), dtype)
    buffer = np.full(7 + 2 * 3 * 6 * 13 + 7, 7, np.float32)
    out = buffer[7:-7].reshape(2, 3, 6, 13)
    _native.gather(picture, np.array([-3, 25]), np.array([18, -2]), out, isa=isa)
    ref.assert_same_bits(out, ref.gather(picture, [-3, 25], [18, -2], 6, 13))
    assert (buffer[:7] == 7).all()
    assert (buffer[-7:] == 7).all()


@pytest.mark.parametrize("isa", ref.isas("gather"))
@given(data=st.data())
def test_any_window_of_any_picture(isa, data):
    side = st.integers(1, 40)
    height, width, tall, wide = (data.draw(side) for _ in range(4))
    near = st.integers(-60, 100)
    xs = data.draw(st.lists(near, max_size=3))
    ys = [data.draw(near) for _ in xs]
    dtype = data.draw(st.sampled_from(ref.DTYPES))
    channels = data.draw(st.sampled_from(ref.CHANNELS))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    picture = ref.random_picture(rng, (tall, wide, channels), dtype)
    # Rows may be reversed, or all share memory.
    step = data.draw(st.sampled_from([1, -1, 2, 0]))
    picture = picture[::step] if step else np.broadcast_to(picture[:1], picture.shape)
    out = run(picture, xs, ys, height, width, isa)
    ref.assert_same_bits(out, ref.gather(picture, xs, ys, height, width))


def test_bad_arguments_are_refused():
    picture = np.zeros((6, 8, 3), np.uint8)
    at = np.zeros(2, np.int64)
    out = np.zeros((2, 3, 4, 4), np.float32)
    misaligned = np.zeros(6 * 8 * 3 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(6, 8, 3)
    for bad in (
        np.zeros((6, 8, 3), np.float64),
        np.zeros((6, 8, 3), ">u2"),
        np.zeros((6, 8), np.uint8),
        np.zeros((6, 8, 2), np.uint8),
        np.zeros((6, 8, 4), np.uint8)[:, :, :3],
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((6, 0, 3), np.uint8),
        np.zeros((6, 16, 3), np.uint8)[:, ::2],
        picture[:, ::-1],
        picture[:, :, ::-1],
        misaligned,
    ):
        with pytest.raises(ValueError, match="src"):
            _native.gather(bad, at, at, out)
    for bad in (at[:1], at.astype(np.int32), at.reshape(1, 2), np.zeros(4, np.int64)[::2]):
        with pytest.raises(ValueError, match="xs"):
            _native.gather(picture, bad, at, out)
        with pytest.raises(ValueError, match="ys"):
            _native.gather(picture, at, bad, out)
    frozen = out.copy()
    frozen.flags.writeable = False
    for bad in (
        out.astype(np.float64),
        np.zeros((2, 1, 4, 4), np.float32),
        np.zeros((2, 3, 0, 4), np.float32),
        np.zeros((2, 3, 4, 8), np.float32)[..., ::2],
        out[0],
        frozen,
    ):
        with pytest.raises(ValueError, match="dst"):
            _native.gather(picture, at, at, bad)
    with pytest.raises(TypeError):
        _native.gather([[[1, 2, 3]]], at, at, out)
