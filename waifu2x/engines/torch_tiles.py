"""Gather, blend and quantize in plain torch, with the bytes of `waifu2x.kernels` on any device.

Pictures are (H, W, 1 or 3) tensors of uint8, int16 (the bits of uint16, for which torch has few
operations) or float32. Input and output of a network are (N, H, W, C).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import torch

from .._record import record
from .device import TileCopy

#: Columns of the statistics, (N, 3) int32: the number of samples that are not finite, and the bits
#: of the largest samples of window and result as float32. Bits of positive floats order like them.
NONFINITE: Final = 0
MAX_IN: Final = 1
MAX_OUT: Final = 2


@record
class WindowLayout:
    """Size of a window in pixels, channels per pixel (those past the third are 0), and dtype."""

    height: int
    width: int
    pixel: int
    dtype: torch.dtype


class TileKernels(Protocol):
    """The functions of this module, or kernels with equal bytes."""

    def gather(
        self,
        source: torch.Tensor,
        corners: Sequence[tuple[int, int]],
        layout: WindowLayout,
        *,
        inset: int = 0,
        stats: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `gather`."""

    def blend(
        self,
        output: torch.Tensor,
        copies: Sequence[TileCopy],
        target: torch.Tensor,
        stats: torch.Tensor,
    ) -> None:
        """See `blend`."""

    def quantize(self, samples: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """See `quantize`."""


_LUMA_RED: Final = 0.299
_LUMA_BLUE: Final = 0.114


def gather(
    source: torch.Tensor,
    corners: Sequence[tuple[int, int]],
    layout: WindowLayout,
    *,
    inset: int = 0,
    stats: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cut windows out of a picture and normalize them to [0, 1]; see `waifu2x.kernels.gather`.

    corners: (left, top) of each window.
    stats: receives the largest sample at least ``inset`` pixels from the edge.

    Returns (N, height, width, pixel) of the layout's dtype.
    """
    height, width = layout.height, layout.width
    batch = source.new_zeros((len(corners), height, width, layout.pixel), dtype=layout.dtype)
    for index, (left, top) in enumerate(corners):
        rows = _clamped(top, height, source.shape[0], source.device)
        columns = _clamped(left, width, source.shape[1], source.device)
        samples = _normalized(source[rows][:, columns])
        batch[index, :, :, :3] = samples
        if stats is not None:
            inner = samples[inset : height - inset, inset : width - inset]
            if inner.numel():
                _record_max(stats[index], MAX_IN, inner)
    return batch


def blend(
    output: torch.Tensor, copies: Sequence[TileCopy], target: torch.Tensor, stats: torch.Tensor
) -> None:
    """Write rectangles of a network's output into a picture; see `waifu2x.kernels.blend`.

    output: (N, H, W, 3 or more); channels past the third are ignored.
    target: written in place; float32 if the copies have ramps, and then added to.
    """
    for index, copy in enumerate(copies):
        rows = slice(copy.src_y, copy.src_y + copy.height)
        columns = slice(copy.src_x, copy.src_x + copy.width)
        samples = output[index, rows, columns, :3].float()
        stats[index, NONFINITE] += (~torch.isfinite(samples)).sum(dtype=torch.int32)
        _record_max(stats[index], MAX_OUT, _clamp(samples))
        if target.shape[2] == 1:
            samples = _luma(samples)
        into = target[copy.dst_y : copy.dst_y + copy.height, copy.dst_x : copy.dst_x + copy.width]
        if copy.ramps is None:
            into.copy_(quantize(samples, target.dtype))
        else:
            across, down = (torch.from_numpy(each).to(target.device) for each in copy.ramps)
            into += samples * (down[:, None, None] * across[:, None])


def quantize(samples: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Clamp to [0, 1] and round once; NaN becomes 0."""
    samples = _clamp(samples)
    if dtype == torch.float32:
        return samples
    # Product and sum are rounded separately, as in all other kernels.
    scaled = (samples * (255.0 if dtype == torch.uint8 else 65535.0)) + 0.5
    return scaled.to(torch.int32).to(dtype)


def _clamped(start: int, size: int, limit: int, device: torch.device) -> torch.Tensor:
    # Beyond the edge all positions read the same sample; clamping first avoids overflow.
    start = min(max(start, -size), limit)
    return torch.arange(start, start + size, device=device).clamp_(0, limit - 1)


def _normalized(samples: torch.Tensor) -> torch.Tensor:
    if samples.dtype == torch.float32:
        return samples
    most = 255.0 if samples.dtype == torch.uint8 else 65535.0
    if samples.dtype == torch.int16:
        samples = samples.to(torch.int32) & 0xFFFF
    # Divide by a tensor: on a GPU torch multiplies by the reciprocal of a scalar, rounding twice.
    return samples.float() / torch.full((1,), most, device=samples.device)


def _luma(samples: torch.Tensor) -> torch.Tensor:
    red, green, blue = samples[..., :1], samples[..., 1:2], samples[..., 2:3]
    return green + (_LUMA_RED * (red - green) + _LUMA_BLUE * (blue - green))


def _clamp(samples: torch.Tensor) -> torch.Tensor:
    """Clamp to [0, 1]; unlike in torch.clamp, NaN and -0 become +0."""
    zero, one = samples.new_zeros(()), samples.new_ones(())
    samples = torch.where(samples > 0, samples, zero)
    return torch.where(samples < 1, samples, one)


def _record_max(row: torch.Tensor, column: int, samples: torch.Tensor) -> None:
    """Raise a column of one tile's statistics to the largest finite sample."""
    finite = torch.where(torch.isfinite(samples), samples, samples.new_zeros(()))
    largest = finite.amax().clamp_(min=0).reshape(1).view(torch.int32)
    row[column : column + 1] = torch.maximum(row[column : column + 1], largest)
