"""Gather and blend by CUDA kernels of this package (``csrc/cuda``), the bytes of `torch_steps`."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

import torch

from .base import Cut

_log = logging.getLogger(__name__)

_SAMPLES: Final = {torch.uint8: "uint8", torch.int16: "uint16", torch.float32: "float32"}
_ELEMENTS: Final = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


def load(device: torch.device) -> ModuleType | None:
    """The kernels, or None where this installation has none or they do not run on the device."""
    try:
        native = importlib.import_module("waifu2x._cuda")
    except ImportError as error:
        _log.debug("without CUDA kernels of our own: %s", error)
        return None
    try:
        CudaSteps(native).quantise(torch.zeros(8, device=device), torch.uint8)
        torch.cuda.synchronize(device)
    except RuntimeError as error:  # a driver or a GPU that is older than what they were built for
        _log.warning(
            "the CUDA kernels of this installation do not run on %s (%s): going on in plain torch",
            device,
            str(error).splitlines()[0],
        )
        return None
    return native


def where(tensor: torch.Tensor) -> dict[str, int]:
    """The device and the stream of work on a tensor."""
    if not tensor.is_cuda:  # the emulator of the tests
        return {"device": 0, "stream": 0}
    stream = torch.cuda.current_stream(tensor.device)
    return {"device": stream.device_index, "stream": stream.cuda_stream}


def element(dtype: torch.dtype) -> str:
    """What the kernels call a type of tensors."""
    return _ELEMENTS[dtype]


class CudaSteps:
    """See `waifu2x.engines.torch_steps` for each; tensors are on one device and dense."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def gather(
        self,
        source: torch.Tensor,
        corners: Sequence[tuple[int, int]],
        *,
        window: tuple[int, int],
        pixel: int,
        dtype: torch.dtype,
        inset: int,
        marks: torch.Tensor | None,
    ) -> torch.Tensor:
        """Cut windows out of a picture, normalised: (N, height, width, pixel)."""
        height, width, channels = source.shape
        batch = source.new_empty((len(corners), *window, pixel), dtype=dtype)
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
            element=element(dtype),
            window_height=window[0],
            window_width=window[1],
            pixel=pixel,
            inset=inset,
            seen=0 if marks is None else marks.data_ptr(),
            **where(source),
        )
        return batch

    def blend(
        self, output: torch.Tensor, cuts: Sequence[Cut], target: torch.Tensor, marks: torch.Tensor
    ) -> None:
        """Write rectangles of a network's output into a picture, or add them to a canvas."""
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
            "seen": marks.data_ptr(),
            **where(output),
        }
        if cuts[0].ramps is None:
            self._native.blend(
                rects=[_rect(cut) for cut in cuts],
                dst=target.data_ptr(),
                sample=_SAMPLES[target.dtype],
                **place,
            )
            return
        # One after the other, in their order: where they overlap, the order of a sum counts.
        for index, cut in enumerate(cuts):
            assert cut.ramps is not None
            across, down = (torch.from_numpy(each).to(output.device) for each in cut.ramps)
            self._native.feather(
                index=index,
                rect=_rect(cut),
                canvas=target.data_ptr(),
                weights_x=across.data_ptr(),
                weights_y=down.data_ptr(),
                **place,
            )

    def quantise(self, samples: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
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


def _rect(cut: Cut) -> tuple[int, int, int, int, int, int]:
    return cut.src_x, cut.src_y, cut.dst_x, cut.dst_y, cut.width, cut.height
