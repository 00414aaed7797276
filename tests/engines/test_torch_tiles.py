"""Gather and blend in torch and by the CUDA kernels give the bytes of waifu2x.kernels.tiles."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest
import torch
from gpu import emulated

from waifu2x.engines import TileCopy, torch_tiles
from waifu2x.engines.cuda_tiles import CudaTileKernels
from waifu2x.engines.torch_tiles import TileKernels, WindowLayout
from waifu2x.errors import EngineError
from waifu2x.kernels import tiles
from waifu2x.picture import Samples

SEED = 20261125
DTYPES = (np.uint8, np.uint16, np.float32)


@pytest.fixture(params=["torch", "kernels"])
def kernels(request: pytest.FixtureRequest) -> TileKernels:
    if request.param == "torch":
        return torch_tiles
    native = emulated.module()
    if native is None:
        pytest.skip("the emulator needs g++ on Linux")
    return CudaTileKernels(native)


def samples(rng: np.random.Generator, dtype: type, *shape: int) -> Samples:
    if dtype is np.float32:
        made: Samples = rng.uniform(-0.2, 1.2, shape).astype(np.float32)
        return made
    return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def tensor(array: Samples) -> torch.Tensor:
    return torch.from_numpy(array.view(np.int16) if array.dtype == np.uint16 else array)


def back(made: torch.Tensor) -> Samples:
    array = made.numpy()
    return array.view(np.uint16) if array.dtype == np.int16 else array


@pytest.mark.parametrize(("dtype", "channels"), list(product(DTYPES, (1, 3))))
def test_gather_equals_that_of_the_cpu(kernels: TileKernels, dtype: type, channels: int) -> None:
    rng = np.random.default_rng(SEED)
    source = samples(rng, dtype, 13, 17, channels)
    corners = [(0, 0), (-5, 3), (9, -40), (1 << 40, 2), (-(1 << 40), 5), (4, 6)]
    stats = torch.zeros((len(corners), 3), dtype=torch.int32)
    made = kernels.gather(
        tensor(source), corners, WindowLayout(7, 11, 8, torch.float32), inset=2, stats=stats
    )
    want = tiles.gather(
        source, [x for x, _ in corners], [y for _, y in corners], width=11, height=7
    )
    assert made.shape == (6, 7, 11, 8)
    assert made[..., :3].numpy().tobytes() == want.transpose(0, 2, 3, 1).tobytes()
    assert not made[..., 3:].any()
    brightest = want[:, :, 2:-2, 2:-2].max((1, 2, 3)).clip(min=0)
    assert stats[:, 1].numpy().view(np.float32).tolist() == brightest.tolist()
    assert not stats[:, [0, 2]].any()


def test_every_sample_of_8_and_16_bits_is_rounded_right(kernels: TileKernels) -> None:
    for dtype in (np.uint8, np.uint16):
        every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(1, -1, 1)
        made = kernels.gather(
            tensor(every), [(0, 0)], WindowLayout(*every.shape[:2], 3, torch.float32),
        )  # fmt: skip
        want = (every.astype(np.float64) / np.iinfo(dtype).max).astype(np.float32)
        assert made[0, :, :, :1].numpy().tobytes() == want.tobytes()
        half = kernels.gather(
            tensor(every), [(0, 0)], WindowLayout(*every.shape[:2], 3, torch.float16),
        )  # fmt: skip
        assert half[0, :, :, :1].numpy().tobytes() == want.astype(np.float16).tobytes()


@pytest.mark.parametrize(("dtype", "channels"), list(product(DTYPES, (1, 3))))
def test_blend_equals_that_of_the_cpu(kernels: TileKernels, dtype: type, channels: int) -> None:
    rng = np.random.default_rng(SEED)
    output = samples(rng, np.float32, 2, 9, 12, 4)
    output[0, 2, 3, 1], output[0, 4, 4, 0], output[1, 1, 2, 2] = np.nan, np.inf, -0.0
    want = samples(rng, dtype, 20, 30, channels)
    target = tensor(want.copy())
    copies = [TileCopy(0, 0, 1, 2, 3, 4, 10, 6), TileCopy(0, 0, 0, 0, 15, 11, 12, 9)]
    stats = torch.zeros((2, 3), dtype=torch.int32)
    kernels.blend(torch.from_numpy(output), copies, target, stats)
    for planes, copy in zip(output, copies, strict=True):
        broken = not np.isfinite(planes).all()
        failure = pytest.raises(EngineError, match=r"2 of 180 samples") if broken else nullcontext()
        with failure:
            tiles.blend(
                np.ascontiguousarray(planes[..., :3].transpose(2, 0, 1)), want,
                src_x=copy.src_x, src_y=copy.src_y, dst_x=copy.dst_x, dst_y=copy.dst_y,
                width=copy.width, height=copy.height,
            )  # fmt: skip
    assert back(target).tobytes() == want.tobytes()
    assert stats[:, 0].tolist() == [2, 0]
    assert stats[0, 2:].numpy().view(np.float32)[0] == 1.0


@pytest.mark.parametrize(("dtype", "channels"), list(product(DTYPES, (1, 3))))
def test_feathering_equals_that_of_the_cpu(
    kernels: TileKernels, dtype: type, channels: int
) -> None:
    rng = np.random.default_rng(SEED)
    output = samples(rng, np.float32, 2, 9, 12, 3)
    ramps = rng.random(10, np.float32), rng.random(6, np.float32)
    copies = [TileCopy(0, 0, 1, 2, x, 4, 10, 6, ramps) for x in (3, 8)]
    want = np.zeros((20, 30, channels), np.float32)
    canvas = torch.zeros((20, 30, channels))
    kernels.blend(torch.from_numpy(output), copies, canvas, torch.zeros((2, 3), dtype=torch.int32))
    for planes, copy in zip(output, copies, strict=True):
        tiles.blend_feathered(
            np.ascontiguousarray(planes.transpose(2, 0, 1)), want,
            src_x=1, src_y=2, dst_x=copy.dst_x, dst_y=4, weights_x=ramps[0], weights_y=ramps[1],
        )  # fmt: skip
    assert canvas.numpy().tobytes() == want.tobytes()
    kind = {np.uint8: torch.uint8, np.uint16: torch.int16, np.float32: torch.float32}[dtype]
    assert back(kernels.quantize(canvas, kind)).tobytes() == tiles.quantize(want, dtype).tobytes()
