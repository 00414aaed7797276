"""Devices of torch: their memory, copies to and from them, and translation of their errors."""

from __future__ import annotations

import gc
import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from .._machine import total_memory
from ..errors import DeviceLostError, DeviceMemoryError, EngineError
from ..picture import Samples
from . import torch_tiles
from .base import first_line
from .cuda_graphs import CudaGraphCache
from .device import TileStats
from .torch_tiles import TileKernels
from .tta import transformed

#: Share of a GPU's free memory for one run; the rest is left to pictures and workspaces.
_GPU_SHARE: Final = 0.7
_LEAST_SHARE: Final = 0.02
#: Share of the machine's memory, if the device has none of its own.
_HOST_SHARE: Final = 0.25

#: Larger blocks are not pinned, because pinned memory is lost to all other processes.
_MOST_PINNED: Final = 1 << 30

_OUT_OF_MEMORY: Final = ("out of memory", "alloc_failed", "allocation failed")
#: CUDA errors after which the device still works.
_NOT_LOST: Final = (
    *("invalid argument", "invalid configuration", "invalid device ordinal"),
    *("no kernel image", "driver version is insufficient"),
)


_DTYPES: Final = {
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.int16,
    "float32": torch.float32,
}


class Device:
    """The CPU or an Apple GPU; the base of `CudaDevice`.

    One picture at a time queues work on it; see `computing`.
    """

    #: Initial share of the memory for one run.
    SHARE = _HOST_SHARE

    def __init__(
        self, device: torch.device, dtype: torch.dtype, kernels: TileKernels | None
    ) -> None:
        """Wrap a device.

        dtype: the precision of networks, unless a run selects float32.
        kernels: gather, blend and quantize; None uses plain torch.
        """
        self.torch = device
        self.dtype = dtype
        self.kernels: TileKernels = kernels or torch_tiles
        self.lost = False
        self.jobs = 0
        self.largest_batch = 1 if device.type == "cpu" else 16
        self.graphs: CudaGraphCache | None = None
        self.lock = threading.RLock()
        self._share = self.SHARE

    @property
    def accelerated(self) -> bool:
        """Whether the device has memory of its own."""
        return self.torch.type != "cpu"

    def available(self) -> int:
        """Return the bytes that a run may take now."""
        return int(self._share * total_memory())

    def release_memory(self) -> bool:
        """Empty the allocator's cache and halve the memory budget; True for the first time."""
        gc.collect()  # a failed run's exception and the tensors of its frames may form a cycle
        first = self._share == self.SHARE
        self._share = max(self._share / 2, _LEAST_SHARE)
        if self.torch.type == "mps":
            torch.mps.empty_cache()
        return first

    @contextmanager
    def computing(self, *events: Any, window: tuple[int, int] | None = None) -> Iterator[None]:
        """Queue work for the device after ``events``; one thread at a time.

        window: height and width of the network's input, for messages.
        """
        with self.lock, torch.inference_mode(), self.translated_errors(window):
            yield

    @contextmanager
    def translated_errors(self, window: tuple[int, int] | None = None) -> Iterator[None]:
        """Raise errors of torch as `EngineError`, whose kind follows from their message."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, EngineError):
                raise
            text = first_line(error)
            if isinstance(error, MemoryError) or _is_memory(error, text):
                raise DeviceMemoryError(
                    f"not enough memory on {self.torch}: {text}; a smaller `tile=` needs less"
                ) from error
            if self.is_lost(text):
                self.lost = True
                raise DeviceLostError(
                    f"{self.torch} stopped working ({text}); start the program again to use it, "
                    "or choose `engine='native'`"
                ) from error
            if window is None:
                raise EngineError(
                    f"torch failed on {self.torch}: {text}; choose `engine='native'`"
                ) from error
            raise EngineError(
                f"torch failed on an input of {window[1]}x{window[0]} px: {text}; "
                "choose `engine='native'`"
            ) from error

    def is_lost(self, text: str) -> bool:
        """Return whether this process can no longer use the device after an error."""
        return False

    def upload(self, samples: Samples) -> tuple[torch.Tensor, tuple[Any, ...]]:
        """Copy a picture to the device; also returns events to wait for before its use."""
        with self.computing():
            array = np.ascontiguousarray(_bits(samples))
            if not array.flags.writeable:
                array = array.copy()
            return torch.from_numpy(array).to(self.torch), ()

    def constant(self, array: npt.NDArray[np.float32]) -> torch.Tensor:
        """Copy a small array to the device, within `computing`."""
        return torch.from_numpy(np.array(array, np.float32)).to(self.torch)

    def record_event(self) -> Any:
        """Return an event that follows all queued work, within `computing`; None without queues."""
        return None

    def fetch(self, tensor: torch.Tensor, ready: Any) -> npt.NDArray[Any]:
        """Wait for the event ``ready`` and copy a tensor to the host; int16 stays int16."""
        with self.computing():
            array: npt.NDArray[Any] = tensor.cpu().numpy()
            return array


class CudaDevice(Device):
    """An NVIDIA GPU.

    Networks run on one stream, one picture after the other, and reuse the same memory. Uploads and
    downloads of other pictures overlap with them on a stream each.
    """

    SHARE = _GPU_SHARE

    def __init__(
        self, device: torch.device, dtype: torch.dtype, kernels: TileKernels | None
    ) -> None:
        super().__init__(device, dtype, kernels)
        self.largest_batch = 64
        with self.translated_errors():
            streams = [torch.cuda.Stream(device) for _ in range(3)]  # type: ignore[no-untyped-call]
            self._compute, self._up, self._down = streams
        self.graphs = CudaGraphCache(device)

    def available(self) -> int:
        """Return the bytes that a run may take now, of the free and the cached memory."""
        with self.translated_errors():
            free, _ = torch.cuda.mem_get_info(self.torch)
            cached = torch.cuda.memory_reserved(self.torch)
            cached -= torch.cuda.memory_allocated(self.torch)
        return int(self._share * (free + cached))

    def release_memory(self) -> bool:
        """Empty the allocator's cache and halve the memory budget; True for the first time."""
        first = super().release_memory()
        with self.computing():
            if self.graphs is not None:
                self.graphs.close()
            torch.cuda.empty_cache()
        return first

    @contextmanager
    def computing(self, *events: Any, window: tuple[int, int] | None = None) -> Iterator[None]:
        """Queue work on the compute stream after ``events``; one thread at a time."""
        with ExitStack() as stack:
            stack.enter_context(super().computing(window=window))
            stack.enter_context(torch.cuda.device(self.torch))
            stack.enter_context(torch.cuda.stream(self._compute))
            for event in events:
                self._compute.wait_event(event)
            yield

    def is_lost(self, text: str) -> bool:
        """Return whether this process can no longer use the device after an error."""
        text = text.lower()
        return "cuda error" in text and not any(harmless in text for harmless in _NOT_LOST)

    def upload(self, samples: Samples) -> tuple[torch.Tensor, tuple[Any, ...]]:
        """Copy a picture to the device; also returns events to wait for before its use."""
        with torch.inference_mode(), self.translated_errors(), torch.cuda.device(self.torch):
            staged = _staging(_bits(samples))
            with torch.cuda.stream(self._up):
                picture = staged.to(self.torch, non_blocking=True)
                # The allocator must not reuse the memory before the compute stream is done with it.
                picture.record_stream(self._compute)
                uploaded = _event()
                uploaded.record(self._up)
            return picture, (uploaded,)

    def constant(self, array: npt.NDArray[np.float32]) -> torch.Tensor:
        """Copy a small array to the device, within `computing`."""
        return _staging(array).to(self.torch, non_blocking=True)

    def record_event(self) -> Any:
        """Return an event that follows all queued work, within `computing`."""
        event = _event()
        event.record(self._compute)
        return event

    def fetch(self, tensor: torch.Tensor, ready: Any) -> npt.NDArray[Any]:
        """Wait for the event ``ready`` and copy a tensor to the host; int16 stays int16."""
        with torch.inference_mode(), self.translated_errors(), torch.cuda.device(self.torch):
            host = _pinned(tuple(tensor.shape), tensor.dtype)
            with torch.cuda.stream(self._down):
                self._down.wait_event(ready)
                host.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._down)
                # A blocking event, because a spinning thread would take a core from encoding.
                downloaded = _event(blocking=True)
                downloaded.record(self._down)
            downloaded.synchronize()
            array: npt.NDArray[Any] = host.numpy()
            return array


class TorchSession:
    """A device reserved for one picture; see `waifu2x.engines.device.Session`."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.accelerated = device.accelerated
        self.largest_batch = device.largest_batch
        self.available, self.release_memory = device.available, device.release_memory
        self._uploads: tuple[Any, ...] = ()
        self._ready: Any = None

    @contextmanager
    def computing(self, window: tuple[int, int] | None = None) -> Iterator[None]:
        """Queue work on this session's pictures; ``window`` as in `Device.computing`."""
        uploads, self._uploads = self._uploads, ()
        with self.device.computing(*uploads, window=window):
            yield
            # Recorded now: by the time of the download other sessions have queued more work.
            self._ready = self.device.record_event()

    def fetch(self, tensor: torch.Tensor) -> npt.NDArray[Any]:
        """Wait for this session's queued work and copy a tensor to the host."""
        return self.device.fetch(tensor, self._ready)

    def upload(self, samples: Samples) -> torch.Tensor:
        """Copy a picture to the device."""
        picture, uploads = self.device.upload(samples)
        self._uploads += uploads
        return picture

    def download(self, picture: torch.Tensor) -> Samples:
        """Copy a picture from the device."""
        array = self.fetch(picture)
        return array.view(np.uint16) if array.dtype == np.int16 else array

    def empty(self, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> torch.Tensor:
        """Allocate a picture: zeros for float32, else uninitialized."""
        kind = _torch_dtype(dtype)
        with self.computing():
            allocate = torch.zeros if kind == torch.float32 else torch.empty
            return allocate(shape, dtype=kind, device=self.device.torch)

    def quantize(self, canvas: torch.Tensor, dtype: npt.DTypeLike) -> torch.Tensor:
        """Clamp and round like `waifu2x.kernels.quantize`; NaN becomes 0."""
        with self.computing():
            return self.device.kernels.quantize(canvas, _torch_dtype(dtype))

    def transformed(self, picture: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
        """Rotate counterclockwise by quarter turns, then mirror left to right."""
        if not turns and not mirrored:
            return picture
        with self.computing():
            result: torch.Tensor = transformed(torch, picture, turns, mirrored, (0, 1))
            return result.contiguous()

    def stats(self, count: int) -> torch.Tensor:
        """Allocate the statistics of ``count`` tiles; see `waifu2x.engines.torch_tiles`."""
        with self.computing():
            return torch.zeros((count, 3), dtype=torch.int32, device=self.device.torch)

    def read(self, stats: torch.Tensor) -> list[TileStats]:
        """Wait for all queued work and return the statistics."""
        counts = self.fetch(stats)
        samples = counts.view(np.float32)
        return [
            TileStats(
                int(row[torch_tiles.NONFINITE]),
                float(largest[torch_tiles.MAX_IN]),
                float(largest[torch_tiles.MAX_OUT]),
            )
            for row, largest in zip(counts, samples, strict=True)
        ]


def _event(*, blocking: bool = False) -> torch.cuda.Event:
    return torch.cuda.Event(blocking=blocking)  # type: ignore[no-untyped-call]


def _bits(samples: Samples) -> npt.NDArray[Any]:
    """View uint16 as int16, because torch has few operations for uint16."""
    return samples.view(np.int16) if samples.dtype == np.uint16 else samples


def _torch_dtype(dtype: npt.DTypeLike) -> torch.dtype:
    return _DTYPES[np.dtype(dtype).name]


def _pinned(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Allocate page-locked host memory for asynchronous copies; torch caches the blocks."""
    pin = math.prod(shape) * dtype.itemsize <= _MOST_PINNED
    return torch.empty(shape, dtype=dtype, pin_memory=pin)


def _staging(array: npt.NDArray[Any]) -> torch.Tensor:
    """Copy an array to page-locked memory."""
    staged = _pinned(array.shape, _DTYPES[array.dtype.name])
    np.copyto(staged.numpy(), array)
    return staged


def _is_memory(error: Exception, text: str) -> bool:
    known = isinstance(error, torch.cuda.OutOfMemoryError)
    return known or any(sign in text.lower() for sign in _OUT_OF_MEMORY)
