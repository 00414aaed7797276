"""A device of torch: memory, copies to it and back, and what its errors mean."""

from __future__ import annotations

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

#: Share of what is free on a GPU that one run may take: pictures and workspaces come on top.
_SHARE: Final = 0.7
_LEAST_SHARE: Final = 0.02
#: The same for memory that the processor uses as well.
_SHARED_SHARE: Final = 0.25

#: Larger blocks are not pinned: pinning takes them from everybody else on the machine.
_MOST_PINNED: Final = 1 << 30

_OUT_OF_MEMORY: Final = ("out of memory", "alloc_failed", "allocation failed")
_NOT_LOST: Final = (
    *("invalid argument", "invalid configuration", "invalid device ordinal"),
    *("no kernel image", "driver version is insufficient"),
)


class Device:
    """The processor, or one that torch drives by itself; the base of `CudaDevice`.

    One picture at a time queues work on it; see `computing`.
    """

    #: Share of what is free, or of the machine's memory, that a run is offered at first.
    SHARE = _SHARED_SHARE

    def __init__(
        self, device: torch.device, reduced: torch.dtype, steps: TileKernels | None
    ) -> None:
        """Take a device.

        reduced: the type that networks run in, except where float32 is asked for.
        steps: gather and blend; None is plain torch.
        """
        self.torch = device
        self.reduced = reduced
        self.kernels: TileKernels = steps or torch_tiles
        self.lost = False
        self.jobs = 0
        self.largest_batch = 1 if device.type == "cpu" else 16
        self.graphs: CudaGraphCache | None = None
        self.lock = threading.RLock()
        self._share = self.SHARE

    @property
    def accelerated(self) -> bool:
        """Whether it is another one than the processor."""
        return self.torch.type != "cpu"

    def available(self) -> int:
        """Bytes that a run may take now."""
        return int(self._share * total_memory())

    def release_memory(self) -> bool:
        """Give back what is kept, and offer half as much; whether that is the first time."""
        first = self._share == self.SHARE
        self._share = max(self._share / 2, _LEAST_SHARE)
        if self.torch.type == "mps":
            torch.mps.empty_cache()
        return first

    @contextmanager
    def computing(self, *events: Any) -> Iterator[None]:
        """Queue work for the device, one thread at a time, after ``events``."""
        with self.lock, torch.inference_mode(), self.failing():
            yield

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Tell by its message what an error of torch means."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, EngineError):
                raise
            text = first_line(error)
            if isinstance(error, MemoryError) or _is_memory(error, text):
                raise DeviceMemoryError(
                    f"not enough memory on {self.torch}: {text}; a smaller tile needs less"
                ) from error
            if self.is_lost(text):
                self.lost = True
                raise DeviceLostError(
                    f"{self.torch} stopped working ({text}); start again to use it, or "
                    "choose --engine native"
                ) from error
            raise EngineError(f"torch failed on {self.torch}: {text}") from error

    def is_lost(self, text: str) -> bool:
        """Whether an error means that the device is of no more use to this process."""
        return False

    def upload(self, samples: Samples) -> tuple[torch.Tensor, tuple[Any, ...]]:
        """A picture on the device, and what to wait for before it is used."""
        with self.computing():
            array = np.ascontiguousarray(_bits(samples))
            if not array.flags.writeable:
                array = array.copy()
            return torch.from_numpy(array).to(self.torch), ()

    def constant(self, array: npt.NDArray[np.float32]) -> torch.Tensor:
        """A small array on the device; within `computing`."""
        return torch.from_numpy(np.array(array, np.float32)).to(self.torch)

    def mark(self) -> Any:
        """What to wait for to see all that has been queued; within `computing`."""
        return None

    def fetch(self, tensor: torch.Tensor, made: Any) -> npt.NDArray[Any]:
        """Wait for a tensor and bring it back, int16 as it is; ``made`` is of `mark`."""
        with self.computing():
            array: npt.NDArray[Any] = tensor.cpu().numpy()
            return array


class CudaDevice(Device):
    """An NVIDIA GPU.

    Networks run on one stream, one picture after the other, so all of them can use the same memory;
    copies of other pictures run beside them on two more.
    """

    SHARE = _SHARE

    def __init__(
        self, device: torch.device, reduced: torch.dtype, steps: TileKernels | None
    ) -> None:
        super().__init__(device, reduced, steps)
        self.largest_batch = 64
        with self.failing():
            streams = [torch.cuda.Stream(device) for _ in range(3)]  # type: ignore[no-untyped-call]
            self._compute, self._up, self._down = streams
        self.graphs = CudaGraphCache(device)

    def available(self) -> int:
        """Bytes that a run may take now: what is free, and what torch holds without a use."""
        with self.failing():
            free, _ = torch.cuda.mem_get_info(self.torch)
            held = torch.cuda.memory_reserved(self.torch)
            held -= torch.cuda.memory_allocated(self.torch)
        return int(self._share * (free + held))

    def release_memory(self) -> bool:
        """Give back what is kept, and offer half as much; whether that is the first time."""
        with self.computing():
            if self.graphs is not None:
                self.graphs.clear()
            torch.cuda.empty_cache()
        return super().release_memory()

    @contextmanager
    def computing(self, *events: Any) -> Iterator[None]:
        """Queue work for the device, one thread at a time, after ``events``."""
        with ExitStack() as stack:
            stack.enter_context(super().computing())
            stack.enter_context(torch.cuda.device(self.torch))
            stack.enter_context(torch.cuda.stream(self._compute))
            for event in events:
                self._compute.wait_event(event)
            yield

    def is_lost(self, text: str) -> bool:
        """Whether an error means that the device is of no more use to this process."""
        text = text.lower()
        return "cuda error" in text and not any(harmless in text for harmless in _NOT_LOST)

    def upload(self, samples: Samples) -> tuple[torch.Tensor, tuple[Any, ...]]:
        """A picture on the device, and what to wait for before it is used."""
        with torch.inference_mode(), self.failing(), torch.cuda.device(self.torch):
            staged = _staging(_bits(samples))
            with torch.cuda.stream(self._up):
                held = staged.to(self.torch, non_blocking=True)
                # Its memory belongs to the stream it was made on; others must not be surprised.
                held.record_stream(self._compute)
                there = _event()
                there.record(self._up)
            return held, (there,)

    def constant(self, array: npt.NDArray[np.float32]) -> torch.Tensor:
        """A small array on the device; within `computing`."""
        return _staging(array).to(self.torch, non_blocking=True)

    def mark(self) -> Any:
        """What to wait for to see all that has been queued; within `computing`."""
        made = _event()
        made.record(self._compute)
        return made

    def fetch(self, tensor: torch.Tensor, made: Any) -> npt.NDArray[Any]:
        """Wait for a tensor and bring it back, int16 as it is; ``made`` is of `mark`."""
        with torch.inference_mode(), self.failing(), torch.cuda.device(self.torch):
            host = _pinned(tuple(tensor.shape), tensor.dtype)
            with torch.cuda.stream(self._down):
                self._down.wait_event(made)
                host.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._down)
                # Blocking: a thread that spins would take a core from those that encode.
                there = _event(blocking=True)
                there.record(self._down)
            there.synchronize()
            array: npt.NDArray[Any] = host.numpy()
            return array


class TorchSession:
    """One picture on one device; see `waifu2x.engines.device.Session`."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._arrivals: tuple[Any, ...] = ()
        self._made: Any = None

    @property
    def accelerated(self) -> bool:
        """Whether the device is another one than the processor."""
        return self.device.accelerated

    @property
    def largest_batch(self) -> int:
        """How many windows it pays to run at once."""
        return self.device.largest_batch

    def available(self) -> int:
        """Bytes of the device's memory that a run may take now."""
        return self.device.available()

    def release_memory(self) -> bool:
        """Give back kept memory, and offer half as much from now on."""
        return self.device.release_memory()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Queue work on this session's pictures."""
        arrivals, self._arrivals = self._arrivals, ()
        with self.device.computing(*arrivals):
            yield
            # Here, not when it is fetched: others will have queued theirs behind it by then.
            self._made = self.device.mark()

    def fetch(self, tensor: torch.Tensor) -> npt.NDArray[Any]:
        """Wait for what this session has queued, and bring a tensor of it back."""
        return self.device.fetch(tensor, self._made)

    def upload(self, samples: Samples) -> torch.Tensor:
        """Bring a picture to the device."""
        held, arrivals = self.device.upload(samples)
        self._arrivals += arrivals
        return held

    def download(self, held: torch.Tensor) -> Samples:
        """Bring a picture back."""
        array = self.fetch(held)
        return array.view(np.uint16) if array.dtype == np.int16 else array

    def empty(self, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> torch.Tensor:
        """A picture on the device: zeros if it is float32, else anything."""
        kind = _torch_dtype(dtype)
        with self.computing():
            make = torch.zeros if kind == torch.float32 else torch.empty
            return make(shape, dtype=kind, device=self.device.torch)

    def quantize(self, canvas: torch.Tensor, dtype: npt.DTypeLike) -> torch.Tensor:
        """As `waifu2x.kernels.tiles.quantize`, without the check."""
        with self.computing():
            return self.device.kernels.quantize(canvas, _torch_dtype(dtype))

    def transformed(self, held: torch.Tensor, turns: int, mirrored: bool) -> torch.Tensor:
        """The picture turned counter-clockwise and mirrored left to right."""
        if not turns and not mirrored:
            return held
        with self.computing():
            made = torch.rot90(held, turns, (0, 1))
            return (made.flip(1) if mirrored else made).contiguous()

    def stats(self, count: int) -> torch.Tensor:
        """Concurrency for what is seen of ``count`` tiles."""
        with self.computing():
            return torch.zeros((count, 3), dtype=torch.int32, device=self.device.torch)

    def read(self, stats: torch.Tensor) -> list[TileStats]:
        """What was seen, when all that has been queued is done."""
        seen = self.fetch(stats)
        floats = seen.view(np.float32)
        return [
            TileStats(
                int(row[torch_tiles.BAD]),
                float(lit[torch_tiles.BRIGHTEST_IN]),
                float(lit[torch_tiles.BRIGHTEST_OUT]),
            )
            for row, lit in zip(seen, floats, strict=True)
        ]


def _event(*, blocking: bool = False) -> torch.cuda.Event:
    return torch.cuda.Event(blocking=blocking)  # type: ignore[no-untyped-call]


def _bits(samples: Samples) -> npt.NDArray[Any]:
    """Torch has little for uint16: its bits travel as int16."""
    return samples.view(np.int16) if samples.dtype == np.uint16 else samples


def _torch_dtype(dtype: npt.DTypeLike) -> torch.dtype:
    return {"uint8": torch.uint8, "uint16": torch.int16, "float32": torch.float32}[
        np.dtype(dtype).name
    ]


def _pinned(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Host memory that a GPU copies from and to by itself; torch keeps it for the next time."""
    made = torch.empty(shape, dtype=dtype, device="meta")
    pin = made.numel() * made.element_size() <= _MOST_PINNED
    return torch.empty(shape, dtype=dtype, pin_memory=pin)


def _staging(array: npt.NDArray[Any]) -> torch.Tensor:
    kinds = {"uint8": torch.uint8, "int16": torch.int16, "float32": torch.float32}
    staged = _pinned(array.shape, kinds[array.dtype.name])
    np.copyto(staged.numpy(), array)
    return staged


def _is_memory(error: Exception, text: str) -> bool:
    known = isinstance(error, torch.cuda.OutOfMemoryError)
    return known or any(sign in text.lower() for sign in _OUT_OF_MEMORY)
