from __future__ import annotations

import numpy as np
import pytest
from helpers import kernel_reference as ref

from waifu2x.kernels import _native


def run(output, canvas, rect, wx, wy, isa):
    src_x, src_y, dst_x, dst_y, width, height = rect
    _native.blend_feathered(
        output, src_x, src_y, canvas, dst_x, dst_y, width, height, wx, wy, isa=isa
    )


@pytest.mark.parametrize("isa", ref.isas("feather"))
@pytest.mark.parametrize("channels", ref.CHANNELS)
@pytest.mark.parametrize("size", ref.SIZES)
@pytest.mark.parametrize("not_finite", [0.0, 0.1])
def test_accumulates_like_the_reference(isa, channels, size, not_finite):
    height, width = size
    rng = np.random.default_rng([*size, channels])
    before = rng.normal(0, 1, (height + 3, width + 6, channels)).astype(np.float32)
    wx, wy = rng.random(width, np.float32), rng.random(height, np.float32)
    wx[0] = wy[-1] = 0
    rect = (3, 1, 2, 3, width, height)
    after = before.copy()
    with ref.guarded(rng, before) as canvas:
        for _ in range(3):  # overlapping tiles
            output = ref.random_output(rng, (3, height + 5, width + 4), not_finite)
            run(output, canvas, rect, wx, wy, isa)
            part = output[:, 1 : 1 + height, 3 : 3 + width]
            with np.errstate(all="ignore"):
                weights = (wy[:, None] * wx[None, :])[:, :, None]
                after[3 : 3 + height, 2 : 2 + width] += ref.interleave(part, channels) * weights
        ref.assert_same_bits(np.ascontiguousarray(canvas), after)


def test_bad_arguments_are_refused():
    output = np.ones((3, 8, 10), np.float32)
    canvas = np.zeros((12, 14, 3), np.float32)
    rect = (0, 0, 0, 0, 4, 5)
    wx, wy = np.ones(4, np.float32), np.ones(5, np.float32)
    with pytest.raises(ValueError, match="canvas has dtype"):
        run(output, canvas.astype(np.uint8), rect, wx, wy, None)
    with pytest.raises(ValueError, match="not inside src"):
        run(output, canvas, (7, 0, 0, 0, 4, 5), wx, wy, None)
    with pytest.raises(ValueError, match="not inside canvas"):
        run(output, canvas, (0, 0, 11, 0, 4, 5), wx, wy, None)
    for bad in (wx[:3], wx.astype(np.float64), np.ones(8, np.float32)[::2], wx[None]):
        with pytest.raises(ValueError, match="wx"):
            run(output, canvas, rect, bad, wy, None)
        with pytest.raises(ValueError, match="wy"):
            run(output, canvas, rect, wx, bad, None)
    assert not canvas.any()
