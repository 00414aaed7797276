from __future__ import annotations

import numpy as np
import pytest

from waifu2x.errors import ArgumentError, EngineError
from waifu2x.kernels import tiles

DTYPES = ("uint8", "uint16", "float32")


def picture(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "u":
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return rng.random(shape, np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_gather_then_blend_is_the_picture_again(dtype, channels):
    source = picture((37, 53, channels), dtype)
    xs, ys = [0, 20, 40, 0, 20, 40], [0, 0, 0, 20, 20, 20]
    batch = tiles.gather(source, np.array(xs) - 3, np.array(ys) - 3, width=26, height=26)
    assert batch.shape == (6, 3, 26, 26)
    assert batch.dtype == np.float32
    result = np.empty_like(source)
    for window, x, y in zip(batch, xs, ys, strict=True):
        tiles.blend(
            window,
            result,
            src_x=3,
            src_y=3,
            dst_x=x,
            dst_y=y,
            width=min(20, 53 - x),
            height=min(20, 37 - y),
        )
    np.testing.assert_array_equal(result, source)


def test_gather_fills_and_returns_out():
    source = picture((9, 9, 3), "uint8")
    out = np.empty((1, 3, 4, 5), np.float32)
    assert tiles.gather(source, [2], [3], width=5, height=4, out=out) is out
    expected = source[3:7, 2:7].transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(out[0], expected)


def test_gather_of_nothing():
    source = picture((9, 9, 3), "uint8")
    assert tiles.gather(source, [], [], width=5, height=4).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sources_of_any_layout(dtype):
    dense = picture((12, 10, 3), dtype)
    expected = tiles.gather(dense, [-2, 3], [1, 4], width=8, height=7)
    for source in (
        np.asfortranarray(dense),
        np.ascontiguousarray(dense[:, ::-1])[:, ::-1],
        np.ascontiguousarray(dense[:, :, ::-1])[:, :, ::-1],
        np.repeat(dense, 2, axis=1)[:, ::2],
        dense.astype(dense.dtype.newbyteorder()),
        np.frombuffer(b"\0" + dense.tobytes(), np.uint8)[1:].view(dtype).reshape(dense.shape),
    ):
        batch = tiles.gather(source, [-2, 3], [1, 4], width=8, height=7)
        np.testing.assert_array_equal(batch, expected)


def test_two_dimensions_are_one_channel():
    alpha = picture((12, 10), "uint16")
    batch = tiles.gather(alpha, [0], [0], width=10, height=12)
    np.testing.assert_array_equal(
        batch, tiles.gather(alpha[..., None], [0], [0], width=10, height=12)
    )
    rect = {"src_x": 0, "src_y": 0, "dst_x": 0, "dst_y": 0}
    result = np.zeros_like(alpha)
    tiles.blend(batch[0], result, **rect, width=10, height=12)
    np.testing.assert_array_equal(result, alpha)
    canvas = np.zeros(alpha.shape, np.float32)
    weights = {"weights_x": np.ones(10, np.float32), "weights_y": np.ones(12, np.float32)}
    tiles.blend_feathered(batch[0], canvas, **rect, **weights)
    np.testing.assert_array_equal(tiles.quantize(canvas, np.uint16), alpha)
    np.testing.assert_array_equal(tiles.bleed(alpha, alpha, 0), alpha)


@pytest.mark.parametrize("dtype", DTYPES)
def test_feathered_tiles_that_overlap_join(dtype):
    source = picture((8, 30, 3), dtype)
    batch = tiles.gather(source, [0, 10], [0, 0], width=20, height=8)
    ramp = np.arange(1, 11, dtype=np.float32) / 11
    weights = np.concatenate([np.ones(10, np.float32), ramp[::-1]])
    down = np.ones(8, np.float32)
    canvas = np.zeros(source.shape, np.float32)
    for tile, x, across in ((batch[0], 0, weights), (batch[1], 10, weights[::-1])):
        tiles.blend_feathered(
            tile, canvas, src_x=0, src_y=0, dst_x=x, dst_y=0, weights_x=across, weights_y=down
        )
    result = tiles.quantize(canvas, dtype)
    assert result.dtype == dtype
    if dtype == "float32":
        np.testing.assert_allclose(result, source, atol=1e-6)
    else:
        np.testing.assert_array_equal(result, source)


def test_values_not_finite_raise_and_say_what_to_do():
    output = np.full((3, 4, 5), 0.5, np.float32)
    output[1, 2, 3] = np.inf
    target = np.zeros((8, 8, 3), np.uint8)
    rect = {"src_x": 0, "src_y": 0, "dst_x": 2, "dst_y": 1}
    with pytest.raises(
        EngineError, match=r"not finite \(1 of 60 samples in the tile at \(2, 1\)\)"
    ):
        tiles.blend(output, target, **rect, width=5, height=4)
    # Samples outside the rectangle are ignored.
    tiles.blend(output, target, **rect, width=3, height=4)
    canvas = np.zeros((8, 8, 3), np.float32)
    weights = {"weights_x": np.ones(5, np.float32), "weights_y": np.ones(4, np.float32)}
    tiles.blend_feathered(output, canvas, **rect, **weights)
    with pytest.raises(EngineError, match="choose `precision='fp32'`"):
        tiles.quantize(canvas, np.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bleed_leaves_its_input_and_what_has_color(dtype):
    color = picture((10, 12, 3), dtype)
    alpha = np.zeros((10, 12), dtype)
    alpha[4:6, 4:7] = 1
    before = color.copy()
    result = tiles.bleed(color, alpha, 2)
    np.testing.assert_array_equal(color, before)
    touched = (result != before).any(axis=2)
    assert not touched[4:6, 4:7].any()
    assert touched[2:8, 2:9].sum() == 42 - 6
    assert touched.sum() == 42 - 6


@pytest.mark.parametrize("value", [0, 255])
def test_bleed_of_flat_alpha_changes_nothing(value):
    color = picture((10, 12, 3), "uint8")
    result = tiles.bleed(color, np.full((10, 12), value, np.uint8), 7)
    np.testing.assert_array_equal(result, color)
    assert not np.shares_memory(result, color)


def test_bad_arguments():
    source = picture((9, 9, 3), "uint8")
    rect = {"src_x": 0, "src_y": 0, "dst_x": 0, "dst_y": 0, "width": 4, "height": 4}
    output = np.zeros((3, 4, 4), np.float32)
    calls = [
        lambda: tiles.gather(source.astype(np.float64), [0], [0], width=4, height=4),
        lambda: tiles.gather(source[:, :, :2], [0], [0], width=4, height=4),
        lambda: tiles.gather(source[:0], [0], [0], width=4, height=4),
        lambda: tiles.gather(source, [0], [0, 1], width=4, height=4),
        lambda: tiles.gather(source, [0.5], [0], width=4, height=4),
        lambda: tiles.gather(source, np.array([2**63], np.uint64), [0], width=4, height=4),
        lambda: tiles.gather(source, [[0]], [0], width=4, height=4),
        lambda: tiles.gather(source, [0], [0], width=0, height=4),
        lambda: tiles.gather(source, [0], [0], width=4, height=-1),
        lambda: tiles.gather(source, [0], [0], width=4, height=4, out=output),
        lambda: tiles.blend(output, source, **{**rect, "dst_x": 6}),
        lambda: tiles.blend(output, source, **{**rect, "width": 5}),
        lambda: tiles.blend(output[:2], source, **rect),
        lambda: tiles.blend(output, np.asfortranarray(source), **rect),
        lambda: tiles.quantize(np.zeros((4, 4, 3), np.float32), np.int16),
        lambda: tiles.quantize(np.zeros(4, np.float32), np.uint8),
        lambda: tiles.bleed(source, source[:, :, 0], -1),
        lambda: tiles.bleed(source, source, 1),
        lambda: tiles.bleed(source, source[:5, :, 0], 1),
    ]
    for call in calls:
        with pytest.raises(ArgumentError):
            call()


def test_isa_is_the_last_of_isas():
    assert tiles.isa() == tiles.isas()[-1]
    assert tiles.isas()[0] == "scalar"
