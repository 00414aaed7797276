"""Runs graphs on GPUs of any maker, through ncnn and Vulkan.

Pictures stay in the memory of the machine, and tiles go through the device: a few at once, so that
one is prepared or written while another is computed. Half precision is storage alone: ncnn adds in
float32.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import ncnn
import numpy as np
import numpy.typing as npt

from ..errors import DeviceLostError, DeviceMemoryError, EngineError
from ..network.graph import Graph
from ..network.writers import ncnn as writer
from ..picture import Samples
from .base import Concurrency, check_runs
from .device import Batch, TileBatch, TileCopy, TileStats, Transform
from .host import HostSession, gathered, write_tile
from .reservation import least_busy
from .tta import averaged, restored, transformed
from .vulkan_devices import VulkanGpu, chosen

_log = logging.getLogger(__name__)

#: Tiles that a device works on at once. Each records, uploads, computes and downloads by itself.
_IN_FLIGHT: Final = 2
#: Pictures per device at once: one is decoded or encoded while the other is computed.
_PICTURES: Final = 2
#: Share of the budget of the device's memory that all tiles in flight take.
_SHARE: Final = 0.8
#: Memory of a run relative to the live values of the graph, measured at 2.0 to 3.9: Winograd
#: transforms, padded copies, and blocks that the allocator keeps.
_OVERHEAD: Final = 4.0
#: Multiply-accumulates of a run, at most. Drivers reset a device that works on one command for two
#: seconds. Tiles of 200 px of Real-ESRGAN, which its own Vulkan program takes, need as much.
_MOST_MACS: Final = 7e11
#: What ncnn returns if memory cannot be allocated.
_OUT_OF_MEMORY: Final = -100


class _Device:
    """A device and its tiles in flight."""

    def __init__(self, gpu: VulkanGpu) -> None:
        self.gpu = gpu
        self.lost = False
        self.jobs = 0
        self.memory_share = _SHARE
        self.pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix=f"waifu2x-vulkan-{gpu.index}")

    def available(self) -> int:
        """Return the bytes for one of the tiles in flight."""
        budget = int(self.gpu.handle().get_heap_budget()) << 20
        return int(budget * self.memory_share / _IN_FLIGHT)

    def __str__(self) -> str:
        return f"vulkan:{self.gpu.index} ({self.gpu.name})"


class _Net:
    """A graph as a network of ncnn, on one device in one precision; safe for several threads."""

    def __init__(self, graph: Graph, device: _Device, *, half: bool) -> None:
        text, self._weights = writer.to_ncnn(graph)
        self._inputs = writer.input_names(graph)
        self._device = device
        self._net = ncnn.Net()
        options = self._net.opt
        options.use_vulkan_compute = True
        options.use_fp16_storage = options.use_fp16_packed = half
        options.use_fp16_arithmetic = False
        options.use_bf16_storage = options.use_bf16_packed = False
        self._net.set_vulkan_device(device.gpu.index)
        if self._net.load_param_mem(text):
            raise EngineError("ncnn cannot read this network; choose `engine='native'`")
        # ncnn reads the weights where they are, so they live as long as the network. The call
        # reports no failure; a run does.
        self._net.load_model_mem(self._weights)

    def __call__(self, window: npt.NDArray[np.float32], means: Sequence[Batch]) -> Any:
        """Run the network on one window, (C, H, W)."""
        extractor = self._net.create_extractor()
        for name, array in zip(
            self._inputs, (window, *(m.reshape(-1) for m in means)), strict=True
        ):
            # ncnn aligns the planes of its arrays, so those of NumPy are copied.
            given = ncnn.Mat(*array.shape[::-1])
            np.asarray(given)[...] = array
            extractor.input(name, given)
        code, result = extractor.extract(writer.OUTPUT)
        if code:
            self._fail(code, window.shape)
        return np.array(result)

    def _fail(self, code: int, shape: tuple[int, ...]) -> None:
        if code == _OUT_OF_MEMORY:
            raise DeviceMemoryError(
                f"{self._device} has not enough memory for an input of {shape[2]}x{shape[1]} px; "
                "a smaller `tile=` needs less"
            )
        self._device.lost = True
        raise DeviceLostError(f"{self._device} failed with code {code}; choose `engine='native'`")


@dataclass(slots=True)
class _Pending:
    """A tile on its way: the result to come, and where it goes."""

    result: Future[npt.NDArray[np.float32]]
    copy: TileCopy
    target: Samples
    stats: list[TileStats]
    place: int
    brightest: float


class VulkanSession(HostSession):
    """A device, for one picture; see `waifu2x.engines.device.Session`."""

    accelerated = True
    largest_batch = 8

    def __init__(self, device: _Device) -> None:
        self.device = device
        self._source: Samples | None = None
        self._transformed: dict[tuple[int, bool], Samples] = {}
        self._pending: deque[_Pending] = deque()

    def available(self) -> int:
        """Return the bytes of device memory that a run may take."""
        return self.device.available()

    def release_memory(self) -> bool:
        """Halve the memory budget; True for the first time."""
        first = self.device.memory_share == _SHARE
        self.device.memory_share /= 2
        return first

    def download(self, picture: Samples) -> Samples:
        """Wait for the tiles and return the picture."""
        self.wait()
        return picture

    def quantize(self, canvas: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> Samples:
        """Wait for the tiles, clamp and round."""
        self.wait()
        return super().quantize(canvas, dtype)

    def stats(self, count: int) -> list[TileStats]:  # type: ignore[override]
        """Allocate the statistics of ``count`` tiles."""
        return [TileStats()] * count

    def read(self, stats: list[TileStats]) -> list[TileStats]:  # type: ignore[override]
        """Wait for the tiles and return their statistics."""
        self.wait()
        return stats

    def put(self, tile: _Pending) -> None:
        """Note a tile; waits for the oldest while many are on their way."""
        self._pending.append(tile)
        self.wait(2 * _IN_FLIGHT)

    def wait(self, left: int = 0) -> None:
        """Write tiles in their order until ``left`` are on their way."""
        while len(self._pending) > left:
            tile = self._pending.popleft()
            try:
                _write(tile, tile.result.result())
            except BaseException:
                self.discard()
                raise

    def discard(self) -> None:
        """Give up the tiles that are on their way."""
        for tile in self._pending:
            tile.result.cancel()
        for tile in self._pending:
            if not tile.result.cancelled():
                tile.result.exception()
        self._pending.clear()


def _write(tile: _Pending, result: npt.NDArray[np.float32]) -> None:
    nonfinite = result.size - int(np.isfinite(result).sum())
    brightest = 0.0 if nonfinite else float(result.max())
    tile.stats[tile.place] = TileStats(nonfinite, tile.brightest, brightest)
    if not nonfinite:
        write_tile(result, tile.copy, tile.target)


class VulkanCompiled:
    """A graph on the devices of one engine; see `waifu2x.engines.base.Compiled`."""

    def __init__(self, graph: Graph, engine: VulkanEngine) -> None:
        self.graph = graph
        self._engine = engine
        self._nets: dict[tuple[int, bool], _Net] = {}
        self._lock = threading.Lock()

    @property
    def reduced(self) -> bool:
        """Whether the network runs in less than float32."""
        return self._engine.precision != "fp32"

    def bytes_per_pixel(self, session: VulkanSession, *, full: bool = False) -> float:
        """Return the memory of a run per pixel of its input."""
        size = 2 if self.reduced and not full else 4
        return self.graph.bytes_per_pixel * size / 4 * _OVERHEAD

    def largest_input(self) -> int:
        """Return the most pixels a run takes."""
        return max(1, int(_MOST_MACS / self.graph.macs_per_pixel))

    def run(self, batch: Batch, means: Sequence[Batch] = ()) -> Batch:
        """Run the network; see `waifu2x.engines.base.Compiled.run`."""
        with self._engine.session() as session:
            net = self._net(session.device, full=False)
            return _run_all(session.device, net, batch, means)

    def run_tiles(self, session: VulkanSession, tiles: TileBatch) -> None:
        """Run the network over tiles; see `waifu2x.engines.base.Compiled.run_tiles`."""
        device = session.device
        net = self._net(device, full=tiles.full)
        windows = gathered(tiles.source, tiles.corners, tiles.window)
        for place, (window, copy) in enumerate(zip(windows, tiles.copies, strict=True)):
            inside = slice(tiles.inset, -tiles.inset or None)
            result = device.pool.submit(_averaged, net, window, tiles.transforms)
            session.put(
                _Pending(
                    result, copy, tiles.target, tiles.stats, place,
                    float(window[:, inside, inside].max(initial=0)),
                )
            )  # fmt: skip

    def sum_windows(
        self,
        session: VulkanSession,
        source: Any,
        corners: Sequence[tuple[int, int]],
        *,
        window: tuple[int, int],
        means: Sequence[Batch],
        full: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Sum over windows; see `waifu2x.engines.base.Compiled.sum_windows`."""
        net = self._net(session.device, full=full)
        output = _run_all(session.device, net, gathered(source, corners, window), means)
        sums: npt.NDArray[np.float64] = output.sum((0, 2, 3), dtype=np.float64)
        return sums

    def _net(self, device: _Device, *, full: bool) -> _Net:
        half = self.reduced and not full
        with self._lock:
            key = device.gpu.index, half
            if key not in self._nets:
                self._nets[key] = _Net(self.graph, device, half=half)
            return self._nets[key]


def _run_all(device: _Device, net: _Net, batch: Batch, means: Sequence[Batch]) -> Batch:
    """Run a network on (N, C, H, W), each picture by itself."""

    def run(index: int) -> npt.NDArray[np.float32]:
        result: npt.NDArray[np.float32] = net(
            batch[index], [mean[index if len(mean) > 1 else 0] for mean in means]
        )
        return result

    return np.stack(list(device.pool.map(run, range(len(batch)))))


def _averaged(
    net: _Net, window: npt.NDArray[np.float32], transforms: Sequence[Transform]
) -> npt.NDArray[np.float32]:
    """Return the mean over transforms of one window."""

    def run(transform: Transform) -> npt.NDArray[np.float32]:
        symmetry = transform.turns, transform.mirrored, (1, 2)
        given = transformed(np, window, *symmetry)
        result: npt.NDArray[np.float32] = restored(np, net(given, transform.means), *symmetry)
        return result

    if len(transforms) == 1:
        return run(transforms[0])
    result: npt.NDArray[np.float32] = np.ascontiguousarray(averaged(transforms, run))
    return result


class VulkanEngine:
    """ncnn on Vulkan; see `waifu2x.engines.base.Engine`."""

    name = "vulkan"
    streams = False
    accelerated = True

    def __init__(self, numbers: Sequence[int | None] = (None,), *, precision: str = "auto") -> None:
        """Make an engine for the devices with these numbers; None stands for the fastest kind.

        precision: "fp32", "fp16", or "auto": float16.

        Raises `EngineError` for a device that is not there.
        """
        self.devices = [_Device(gpu) for gpu in chosen(list(numbers))]
        self.precision = "fp32" if precision == "fp32" else "fp16"
        self.identities = {
            f"vulkan:{each.gpu.index}": (
                f"{each.gpu.name}, driver {each.gpu.driver}, ncnn {ncnn.__version__}, "
                f"{self.precision}"
            )
            for each in self.devices
        }
        self.threads = len(self.devices)
        at_once = _PICTURES * len(self.devices)
        self.concurrency = Concurrency(at_once, at_once)
        self._lock = threading.Lock()
        _log.debug(
            "engine vulkan on %s in %s", ", ".join(map(str, self.devices)),
            self.precision,
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether a usable device is left."""
        return not all(device.lost for device in self.devices)

    @contextmanager
    def session(self) -> Iterator[VulkanSession]:
        """Reserve the least busy device for a picture. Raises `DeviceLostError` without devices."""
        with least_busy(self.devices, self._lock) as device:
            session = VulkanSession(device)
            try:
                yield session
            finally:
                session.discard()

    def compile(self, graph: Graph) -> VulkanCompiled:
        """Compile a graph; shaders are compiled before its first run on a device."""
        check_runs(graph, "vulkan")
        return VulkanCompiled(graph, self)
