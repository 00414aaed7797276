"""Gather, blend and quantize by the kernels of ``csrc/cuda``, with the bytes of `torch_tiles`."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

import torch

from .base import first_line
from .device import TileCopy
from .torch_tiles import WindowLayout

_log = logging.getLogger(__name__)

_SAMPLES: Final = {torch.uint8: "uint8", torch.int16: "uint16", torch.float32: "float32"}


def load(device: torch.device) -> ModuleType | None:
    """Return the CUDA module, or None if it is not installed or does not run on the device."""
    try:
        native = importlib.import_module("waifu2x.kernels._cuda")
    except ImportError as error:
        _log.debug("the CUDA kernels are not installed: %s", error)
        return None
    try:
        CudaTileKernels(native).quantize(torch.zeros(8, device=device), torch.uint8)
        torch.cuda.synchronize(device)
    except RuntimeError as error:  # the driver or the GPU is older than the kernels support
        _log.warning(
            "the CUDA kernels of this installation do not run on %s (%s): plain torch takes over",
            device,
            first_line(error),
        )
        return None
    return native


def where(tensor: torch.Tensor) -> dict[str, int]:
    """Return the device and the current stream of a tensor."""
    if not tensor.is_cuda:  # in tests, which emulate the kernels on the CPU
        return {"device": 0, "stream": 0}
    stream = torch.cuda.current_stream(tensor.device)
    return {"device": stream.device_index, "stream": stream.cuda_stream}


def element(dtype: torch.dtype) -> str:
    """Return the name of a tensor type in the kernels."""
    return str(dtype).removeprefix("torch.")


class CudaTileKernels:
    """See `waifu2x.engines.torch_tiles.TileKernels`; tensors are contiguous, on one device."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def gather(
        self,
        source: torch.Tensor,
        corners: Sequence[tuple[int, int]],
        layout: WindowLayout,
        *,
        inset: int = 0,
        stats: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Cut windows out of a picture; see `waifu2x.engines.torch_tiles.gather`."""
        height, width, channels = source.shape
        shape = (len(corners), layout.height, layout.width, layout.pixel)
        batch = source.new_empty(shape, dtype=layout.dtype)
        self._native.gather(
            src=source.data_ptr(),
            sample=_SAMPLES[source.dtype],
            height=height,
            width=width,
            channels=channels,
            stride=source.stride(0),
            xs=[left for left, _ in corners],
            ys=[top for _, top in corners],
            dst=batch.data_ptr(),
            element=element(layout.dtype),
            window_height=layout.height,
            window_width=layout.width,
            pixel=layout.pixel,
            inset=inset,
            stats=0 if stats is None else stats.data_ptr(),
            **where(source),
        )
        return batch

    def blend(
        self,
        output: torch.Tensor,
        copies: Sequence[TileCopy],
        target: torch.Tensor,
        stats: torch.Tensor,
    ) -> None:
        """Write or add rectangles; see `waifu2x.engines.torch_tiles.blend`."""
        _, height, width, pixel = output.shape
        place = {
            "src": output.data_ptr(),
            "element": element(output.dtype),
            "src_height": height,
            "src_width": width,
            "pixel": pixel,
            "height": target.shape[0],
            "width": target.shape[1],
            "channels": target.shape[2],
            "stride": target.stride(0),
            "stats": stats.data_ptr(),
            **where(output),
        }
        if copies[0].ramps is None:
            self._native.blend(
                rects=[_rect(copy) for copy in copies],
                dst=target.data_ptr(),
                sample=_SAMPLES[target.dtype],
                **place,
            )
            return
        # In order, because tiles overlap and float sums depend on their order.
        for index, copy in enumerate(copies):
            assert copy.ramps is not None
            across, down = (torch.from_numpy(each).to(output.device) for each in copy.ramps)
            self._native.feather(
                index=index,
                rect=_rect(copy),
                canvas=target.data_ptr(),
                weights_x=across.data_ptr(),
                weights_y=down.data_ptr(),
                **place,
            )

    def quantize(self, samples: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Clamp to [0, 1] and round once; NaN becomes 0."""
        result = torch.empty_like(samples, dtype=dtype)
        self._native.quantize(
            src=samples.data_ptr(),
            dst=result.data_ptr(),
            sample=_SAMPLES[dtype],
            count=samples.numel(),
            **where(samples),
        )
        return result


def _rect(copy: TileCopy) -> tuple[int, int, int, int, int, int]:
    return copy.src_x, copy.src_y, copy.dst_x, copy.dst_y, copy.width, copy.height
