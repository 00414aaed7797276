"""Colors of a result matched to its source, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import art
from helpers import kernel_reference as ref

from waifu2x import kernels
from waifu2x.errors import ArgumentError
from waifu2x.kernels import COLOR_FIX_HALO, _native
from waifu2x.picture import as_float

SIDES = [(1, 1), (1, 7), (5, 1), (2, 9), (17, 33), (23, 15)]


def drifted(source, scale, rng, noise=0.01):
    """A result with shifted colors, noise, and sharper contrast."""
    color = as_float(source).repeat(scale, 0).repeat(scale, 1)
    color = 1.2 * (color - 0.5) + 0.53 + rng.normal(0, noise, color.shape)
    return np.clip(color, 0, 1).astype(np.float32)


def blocks(rng, size, channels, dtype):
    """A picture with flat areas of several sizes, thin lines, and a gradient."""
    height, width = size
    picture = rng.random((height, width, channels)) * 0.02
    for _ in range(12):
        top, left = rng.integers(0, height), rng.integers(0, width)
        bottom, right = top + rng.integers(1, 12), left + rng.integers(1, 12)
        picture[top:bottom, left:right] = rng.random(channels)
    picture[:, width // 2 :] += np.linspace(0, 0.3, width - width // 2)[:, None]
    return ref.quantize(picture.astype(np.float32), dtype)


def fixed(source, result, scale, isa=None):
    out = np.empty_like(result)
    _native.fix_colors(source, result, out, scale, 0, isa=isa)
    return out


@pytest.mark.parametrize("isa", ref.isas("color_fix"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", ref.CHANNELS)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_matches_reference(isa, dtype, channels, scale):
    for size in SIDES:
        rng = np.random.default_rng([*size, channels, scale])
        source = blocks(rng, size, channels, dtype)
        result = drifted(source, scale, rng, 0.05)
        before = ref.random_picture(rng, result.shape, "float32")
        with (
            ref.guarded(rng, source) as src,
            ref.guarded(rng, result) as res,
            ref.guarded(rng, before) as out,
        ):
            _native.fix_colors(src, res, out, scale, 0, isa=isa)
            found = np.ascontiguousarray(out)
        np.testing.assert_allclose(found, ref.fix_colors(source, result, scale), atol=2e-6)
        ref.assert_same_bits(found, fixed(source, result, scale, "scalar"))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_rows_have_the_same_bits_in_every_window(scale):
    rng = np.random.default_rng(scale)
    source = blocks(rng, (40, 29), 3, "uint8")
    result = drifted(source, scale, rng)
    whole = fixed(source, result, scale)
    for band in (1, 3, 16):
        for start in range(0, 40, band):
            end = min(start + band, 40)
            top, bottom = max(0, start - COLOR_FIX_HALO), min(40, end + COLOR_FIX_HALO)
            out = np.empty(((end - start) * scale, *result.shape[1:]), np.float32)
            window = result[top * scale : bottom * scale]
            kernels.fix_colors(source[top:bottom], window, out, scale=scale, first=start - top)
            ref.assert_same_bits(out, np.ascontiguousarray(whole[start * scale : end * scale]))


def test_gray_is_the_same_as_three_equal_channels():
    rng = np.random.default_rng(1)
    source = blocks(rng, (30, 31), 1, "uint8")
    result = drifted(source, 2, rng)
    three = fixed(source.repeat(3, 2), result.repeat(3, 2), 2)
    ref.assert_same_bits(fixed(source, result, 2).repeat(3, 2), three)


@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 16])
def test_flat_pictures_are_exact(dtype, scale):
    rng = np.random.default_rng(scale)
    for _ in range(8):
        source = np.empty((9, 8, 3), dtype)
        source[:] = ref.random_picture(rng, (1, 1, 3), dtype)
        found = fixed(source, drifted(source, scale, rng), scale)
        np.testing.assert_array_equal(ref.quantize(found, dtype)[::scale, ::scale], source)
        assert (found == found[0, 0]).all()


def test_a_linear_gradient_stays_linear():
    """A slope that counts as flat does not become steps of source pixels."""
    row = np.linspace(0.2, 0.2 + 40 * 0.1 / 255, 40, dtype=np.float32)
    source = np.broadcast_to(row[None, :, None], (12, 40, 3)).copy()
    result = np.full((48, 160, 3), 0.3, np.float32)
    inner = fixed(source, result, 4)[:, 4:-4]
    steps = np.diff(inner, axis=1)
    assert np.abs(steps - 0.1 / 255 / 4 * 40 / 39).max() < 1e-6


def test_drawn_areas_become_exact_without_halos():
    """Areas of a drawing get their color back, and no edge gets an overshoot."""
    truth = np.asarray(art.anime_face(256, 256), np.float32) / np.float32(255)
    source = ref.quantize(truth.reshape(128, 2, 128, 2, 3).mean((1, 3)), "uint8")
    result = (truth + np.float32([0.02, -0.015, 0.01]) * (1 - truth)).astype(np.float32)
    found = fixed(source, result, 2)

    def around(pick, radius):
        padded = np.pad(as_float(source), ((radius, radius), (radius, radius), (0, 0)), "edge")
        span = range(2 * radius + 1)
        shifted = [padded[y : y + 128, x : x + 128] for y in span for x in span]
        return pick(shifted, axis=0).repeat(2, 0).repeat(2, 1)

    low, high = around(np.min, 2), around(np.max, 2)
    flat = (low == high).all(2)
    assert flat.mean() > 0.05
    assert np.abs(result - low)[flat].max() > 2 / 255
    np.testing.assert_array_equal(found[flat], low[flat])

    low, high = around(np.min, 3), around(np.max, 3)

    def overshoot(picture):
        return np.maximum(np.maximum(picture - high, low - picture), 0)

    assert (overshoot(found) <= overshoot(result) + 1e-6).all()
    assert np.mean((found - truth) ** 2) < 0.6 * np.mean((result - truth) ** 2)


def test_another_color_does_not_leak():
    """Two areas that drift in opposite directions keep their corrections apart at the edge."""
    source = np.zeros((16, 32, 3), np.uint8)
    source[:, :16], source[:, 16:] = 60, 200
    result = as_float(source).repeat(4, 0).repeat(4, 1)
    result[:, :64] += np.float32(6 / 255)
    result[:, 64:] -= np.float32(6 / 255)
    found = fixed(source, result, 4) * 255
    assert np.abs(found - source.repeat(4, 0).repeat(4, 1)).max() < 0.05


def test_bad_arguments_are_refused():
    source = np.zeros((4, 5, 3), np.uint8)
    result = np.zeros((8, 10, 3), np.float32)
    out = result.copy()
    for scale in (0, -1, 1 << 20):
        with pytest.raises(ValueError, match=r"scale is -?\d+; it must be from 1 to 32768"):
            _native.fix_colors(source, result, out, scale, 0)
    with pytest.raises(ValueError, match="result has dtype uint8; it must be float32"):
        _native.fix_colors(source, source, out, 2, 0)
    with pytest.raises(ValueError, match="source has dtype int32"):
        _native.fix_colors(source.astype(np.int32), result, out, 2, 0)
    for bad in (result[:6], result[:, :8].copy(), result[:, :, :1].copy()):
        with pytest.raises(ValueError, match="it must be 2 times source"):
            _native.fix_colors(source, bad, out, 2, 0)
    for rows, first in ((7, 0), (2, 4), (8, 1), (2, -1), (4, 1 << 62)):
        with pytest.raises(ValueError, match="it must be rows of result"):
            _native.fix_colors(source, result, np.empty((rows, 10, 3), np.float32), 2, first)
    out.flags.writeable = False
    with pytest.raises(ArgumentError, match="out is read-only"):
        kernels.fix_colors(source, result, out, scale=2)
