"""Gather and blend on tensors, in plain torch: the bytes of `waifu2x.kernels.tiles` on any device.

Pictures are (H, W, 1 or 3) tensors of uint8, int16 (the bits of uint16, which torch has little for)
or float32. What a network sees and returns is (N, H, W, C), channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import torch

from .device import TileCopy

#: What is seen of a tile, by column of the stats, int32: samples that are not finite, and the bits
#: of the largest samples of window and result as float32, which compare like the floats.
BAD: Final = 0
BRIGHTEST_IN: Final = 1
BRIGHTEST_OUT: Final = 2


class TileKernels(Protocol):
    """Gather and blend: this module, or kernels."""

    def gather(
        self,
        source: torch.Tensor,
        corners: Sequence[tuple[int, int]],
        *,
        window: tuple[int, int],
        pixel: int,
        dtype: torch.dtype,
        inset: int,
        stats: torch.Tensor | None,
    ) -> torch.Tensor:
        """See `gather`."""
        ...

    def blend(
        self,
        output: torch.Tensor,
        copies: Sequence[TileCopy],
        target: torch.Tensor,
        stats: torch.Tensor,
    ) -> None:
        """See `blend`."""
        ...

    def quantize(self, samples: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """See `quantize`."""
        ...


_LUMA_RED: Final = 0.299
_LUMA_BLUE: Final = 0.114


def gather(
    source: torch.Tensor,
    corners: Sequence[tuple[int, int]],
    *,
    window: tuple[int, int],
    pixel: int,
    dtype: torch.dtype,
    inset: int,
    stats: torch.Tensor | None,
) -> torch.Tensor:
    """TileCopy windows out of a picture, normalized; see `waifu2x.kernels.tiles.gather`.

    corners: left and top of each window. window: height and width.
    pixel: channels per pixel of the result; those past the third are 0.
    stats: (N, 3) int32; the brightest sample, ``inset`` pixels from the edge, is noted there.

    Returns (N, height, width, pixel) of ``dtype``.
    """
    height, width = window
    batch = source.new_zeros((len(corners), height, width, pixel), dtype=dtype)
    for index, (left, top) in enumerate(corners):
        rows = _clamped(top, height, source.shape[0], source.device)
        columns = _clamped(left, width, source.shape[1], source.device)
        samples = _normalized(source[rows][:, columns])
        batch[index, :, :, :3] = samples
        if stats is not None:
            inner = samples[inset : height - inset, inset : width - inset]
            if inner.numel():
                _note(stats[index], BRIGHTEST_IN, inner)
    return batch


def blend(
    output: torch.Tensor, copies: Sequence[TileCopy], target: torch.Tensor, stats: torch.Tensor
) -> None:
    """Write rectangles of a network's output into a picture; see `waifu2x.kernels.tiles.blend`.

    output: (N, H, W, 3 or more), of which the first three channels count.
    target: written in place; where copies have ramps, float32, to which weighted samples are added.
    """
    for index, cut in enumerate(copies):
        rows, columns = slice(cut.src_y, cut.src_y + cut.height), slice(
            cut.src_x, cut.src_x + cut.width
        )  # fmt: skip
        samples = output[index, rows, columns, :3].float()
        stats[index, BAD] += (~torch.isfinite(samples)).sum(dtype=torch.int32)
        _note(stats[index], BRIGHTEST_OUT, _clamp(samples))
        if target.shape[2] == 1:
            samples = _luma(samples)
        into = target[cut.dst_y : cut.dst_y + cut.height, cut.dst_x : cut.dst_x + cut.width]
        if cut.ramps is None:
            into.copy_(quantize(samples, target.dtype))
        else:
            across, down = (torch.from_numpy(each).to(target.device) for each in cut.ramps)
            into += samples * (down[:, None, None] * across[:, None])


def quantize(samples: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Clamp to [0, 1] and round once; NaN becomes 0."""
    samples = _clamp(samples)
    if dtype == torch.float32:
        return samples
    # Two roundings, as everywhere: none of these is fused.
    scaled = (samples * (255.0 if dtype == torch.uint8 else 65535.0)) + 0.5
    return scaled.to(torch.int32).to(dtype)


def _clamped(start: int, size: int, limit: int, device: torch.device) -> torch.Tensor:
    # Further out looks the same, and from here on nothing overflows.
    start = min(max(start, -size), limit)
    return torch.arange(start, start + size, device=device).clamp_(0, limit - 1)


def _normalized(samples: torch.Tensor) -> torch.Tensor:
    if samples.dtype == torch.float32:
        return samples
    most = 255.0 if samples.dtype == torch.uint8 else 65535.0
    if samples.dtype == torch.int16:
        samples = samples.to(torch.int32) & 0xFFFF
    # By a tensor: torch multiplies by the reciprocal of a number on a GPU, which rounds twice.
    return samples.float() / torch.full((1,), most, device=samples.device)


def _luma(samples: torch.Tensor) -> torch.Tensor:
    red, green, blue = samples[..., :1], samples[..., 1:2], samples[..., 2:3]
    return green + (_LUMA_RED * (red - green) + _LUMA_BLUE * (blue - green))


def _clamp(samples: torch.Tensor) -> torch.Tensor:
    """NaN and -0 become +0, which clamp leaves as they are."""
    zero, one = samples.new_zeros(()), samples.new_ones(())
    samples = torch.where(samples > 0, samples, zero)
    return torch.where(samples < 1, samples, one)


def _note(mark: torch.Tensor, column: int, samples: torch.Tensor) -> None:
    finite = torch.where(torch.isfinite(samples), samples, samples.new_zeros(()))
    brightest = finite.amax().clamp_(min=0).reshape(1).view(torch.int32)
    mark[column : column + 1] = torch.maximum(mark[column : column + 1], brightest)
