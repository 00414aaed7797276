from __future__ import annotations

import numpy as np
import pytest
from helpers import kernel_reference as ref

from waifu2x.kernels import _native


@pytest.mark.parametrize("isa", ref.isas("blend"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
@pytest.mark.parametrize("channels", ref.CHANNELS)
@pytest.mark.parametrize("size", ref.SIZES)
@pytest.mark.parametrize("not_finite", [0.0, 0.2])
def test_matches_reference(isa, dtype, channels, size, not_finite):
    rng = np.random.default_rng([*size, channels])
    canvas = ref.random_output(rng, (*size, channels), not_finite)
    before = ref.random_picture(rng, canvas.shape, dtype)
    with ref.guarded(rng, before) as dst, ref.guarded(rng, canvas) as src:
        bad = _native.quantize(src, dst, isa=isa)
        assert bad == np.count_nonzero(~np.isfinite(canvas))
        ref.assert_same_bits(np.ascontiguousarray(dst), ref.quantize(canvas, dtype))


@pytest.mark.parametrize("isa", ref.isas("blend"))
@pytest.mark.parametrize("dtype", ref.DTYPES)
def test_is_what_blend_does(isa, dtype):
    output = ref.random_output(np.random.default_rng(5), (3, 9, 37))
    blended = np.empty((9, 37, 3), dtype)
    quantized = np.empty((9, 37, 3), dtype)
    _native.blend(output, 0, 0, blended, 0, 0, 37, 9, isa=isa)
    _native.quantize(np.ascontiguousarray(output.transpose(1, 2, 0)), quantized, isa=isa)
    ref.assert_same_bits(quantized, blended)


def test_bad_arguments_are_refused():
    canvas = np.zeros((4, 5, 3), np.float32)
    dst = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="src has dtype"):
        _native.quantize(canvas.astype(np.float64), dst)
    for bad in (dst.astype(np.int32), dst[:, ::2], dst[:, :, 0]):
        with pytest.raises(ValueError, match="dst"):
            _native.quantize(canvas, bad)
    for bad in (dst[:3], dst[:, :4], dst[:, :, :1].copy()):
        with pytest.raises(ValueError, match="must match"):
            _native.quantize(canvas, bad)
