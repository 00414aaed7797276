"""Runs graphs in PyTorch on the CPU, NVIDIA GPUs and Apple GPUs.

Pictures stay in the memory of the device (`waifu2x.pipeline.tiled`). On a GPU networks run in half
precision unless float32 is selected.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from .._machine import nvidia_driver
from ..errors import EngineError, MissingExtraError
from ..network.graph import Graph
from .base import Concurrency, check_runs, first_line
from .device import Batch, TileBatch, Transform
from .host import RUNTIME_OVERHEAD
from .reservation import least_busy
from .tta import averaged, restored, transformed

try:
    import torch
except ImportError as error:
    raise MissingExtraError(
        "engines torch and cuda need PyTorch, which is not installed; "
        "run `pip install torch`, or choose `engine='native'`"
    ) from error

from . import cuda_fused, cuda_tiles
from .cuda_graphs import Runner
from .torch_device import CudaDevice, Device, TorchSession
from .torch_module import GraphModule, cudnn
from .torch_tiles import WindowLayout

_log = logging.getLogger(__name__)

#: Pictures per GPU at the same time: one is uploaded, one runs, one is downloaded.
_PICTURES_PER_GPU: Final = 3
#: cuDNN and other libraries count the elements of a tensor in 32 bits.
_MOST_ELEMENTS: Final = (1 << 31) - 1

_PRECISIONS: Final = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def cuda_is_there() -> bool:
    """Return whether torch was built for CUDA and finds a device."""
    return torch.cuda.is_available()


class ModuleRunner:
    """A graph as a torch module; see `waifu2x.engines.cuda_graphs.Runner`."""

    pixel = 3

    def __init__(self, graph: Graph, device: torch.device, dtype: torch.dtype) -> None:
        module = GraphModule(graph).eval()
        self.dtype = dtype
        if dtype != torch.float32:
            module.reduce(dtype)
        module = module.to(device)
        if graph.only_engine is None:  # modules of other packages may take views of their values
            # Convolutions are fastest with channels last.
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._module = module

    def __call__(self, batch: torch.Tensor, means: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run the network on (N, H, W, 3)."""
        given = [mean.to(self.dtype) for mean in means]
        picture = batch.permute(0, 3, 1, 2)
        with cudnn() if batch.is_cuda else nullcontext():
            output: torch.Tensor = self._module(picture, *given)
        return output.permute(0, 2, 3, 1)


class TorchCompiled:
    """A graph on the devices of one engine; see `waifu2x.engines.base.Compiled`."""

    def __init__(self, graph: Graph, engine: TorchEngine) -> None:
        self.graph = graph
        self._engine = engine
        self._runners: dict[tuple[torch.device, bool], Runner] = {}
        self._lock = threading.Lock()

    @property
    def reduced(self) -> bool:
        """Whether the network runs in less than float32."""
        return self._engine.dtype != torch.float32

    def bytes_per_pixel(self, session: TorchSession, *, full: bool = False) -> float:
        """Return the memory of a run per pixel of its input."""
        size = 4 if full else self._engine.dtype.itemsize
        return self.graph.bytes_per_pixel * size / 4 * RUNTIME_OVERHEAD

    @cached_property
    def _elements_per_pixel(self) -> Fraction:
        return max(
            value.channels * value.scale**2
            for value in self.graph.values.values()
            if not value.pooled
        )

    def largest_input(self) -> int:
        """Return the most pixels a run takes, regardless of memory."""
        return int(_MOST_ELEMENTS / self._elements_per_pixel)

    def run(self, batch: Batch, means: Sequence[Batch] = ()) -> Batch:
        """Run the network; see `waifu2x.engines.base.Compiled.run`."""
        _, channels, height, width = batch.shape
        with self._engine.session() as session:
            device = session.device
            runner = self._runner(device, full=False)
            with session.computing(window=(height, width)):
                if channels != self.graph.channels[0]:
                    raise RuntimeError(
                        f"it has {channels} channels instead of {self.graph.channels[0]}"
                    )
                given = torch.from_numpy(np.ascontiguousarray(batch)).to(device.torch, runner.dtype)
                picture = given.permute(0, 2, 3, 1).contiguous()
                picture = torch.nn.functional.pad(picture, (0, runner.pixel - channels))
                output = runner(picture, [device.constant(mean) for mean in means])
                output = output[..., : self.graph.out.channels].permute(0, 3, 1, 2)
                output = output.float().contiguous()
            result: Batch = session.fetch(output)
            return result

    def run_tiles(self, session: TorchSession, tiles: TileBatch) -> None:
        """Run the network over tiles; see `waifu2x.engines.base.Compiled.run_tiles`."""
        device = session.device
        runner = self._runner(device, tiles.full)
        with session.computing(tiles.window):
            batch = device.kernels.gather(
                tiles.source,
                tiles.corners,
                WindowLayout(*tiles.window, runner.pixel, runner.dtype),
                inset=tiles.inset,
                stats=tiles.stats,
            )
            if len(tiles.transforms) == 1:
                means = [device.constant(mean) for mean in tiles.transforms[0].means]
                output = self._run(device, runner, batch, means)
            else:
                output = self._averaged(device, runner, batch, tiles.transforms)
            device.kernels.blend(output.contiguous(), tiles.copies, tiles.target, tiles.stats)

    def sum_windows(
        self,
        session: TorchSession,
        source: torch.Tensor,
        corners: Sequence[tuple[int, int]],
        *,
        window: tuple[int, int],
        means: Sequence[Batch],
        full: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Sum over windows; see `waifu2x.engines.base.Compiled.sum_windows`."""
        device = session.device
        runner = self._runner(device, full)
        with session.computing(window):
            layout = WindowLayout(*window, runner.pixel, runner.dtype)
            batch = device.kernels.gather(source, corners, layout)
            given = [device.constant(mean) for mean in means]
            output = self._run(device, runner, batch, given)[..., : self.graph.out.channels]
            # Each row in float32, which is exact enough; the sum of the rows in float64.
            rows = output.sum(dim=2, dtype=torch.float32)
        sums: npt.NDArray[np.float64] = session.fetch(rows).sum((0, 1), dtype=np.float64)
        return sums

    def _run(
        self,
        device: Device,
        runner: Runner,
        batch: torch.Tensor,
        means: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        # A module of another package may synchronize, which a captured graph must not.
        if device.graphs is None or self.graph.only_engine is not None:
            return runner(batch, means)

        def has_memory() -> bool:
            pixels = batch.shape[0] * batch.shape[1] * batch.shape[2]
            needed = pixels * self.graph.bytes_per_pixel * runner.dtype.itemsize / 4
            return needed < device.available()

        return device.graphs.run(runner, batch, means, has_memory=has_memory)

    def _averaged(
        self,
        device: Device,
        runner: Runner,
        batch: torch.Tensor,
        transforms: Sequence[Transform],
    ) -> torch.Tensor:
        """Return the mean over transforms of the batch, in float32."""

        def run(transform: Transform) -> torch.Tensor:
            symmetry = transform.turns, transform.mirrored, (1, 2)
            given = transformed(torch, batch, *symmetry).contiguous()
            means = [device.constant(mean) for mean in transform.means]
            output = self._run(device, runner, given, means)[..., : self.graph.out.channels]
            result: torch.Tensor = restored(torch, output.float(), *symmetry)
            return result  # a copy: a captured graph reuses the memory of its output

        result: torch.Tensor = averaged(transforms, run)
        return result

    def _runner(self, device: Device, full: bool) -> Runner:
        full = full or not self.reduced
        with self._lock:
            runner = self._runners.get((device.torch, full))
            if runner is None:
                dtype = torch.float32 if full else device.dtype
                with device.computing():
                    runner = self._engine.make_runner(self.graph, device, dtype)
                self._runners[device.torch, full] = runner
            return runner


class TorchEngine:
    """PyTorch; see `waifu2x.engines.base.Engine`.

    In torch the thread count is a setting of the process: an engine made with ``threads`` changes
    it for all users of torch.
    """

    streams = False

    def __init__(
        self,
        *,
        threads: int | None = None,
        device: str = "cpu",
        precision: str = "auto",
        name: str = "torch",
    ) -> None:
        """Make an engine for one or more devices.

        device: name in torch, or several of one kind, each once, separated by commas: "cpu",
            "mps", "cuda:0,cuda:1".
        precision: "fp32", "fp16", "bf16", or "auto": float32 on the CPU, else float16.

        Raises `EngineError` for a device that torch cannot use.
        """
        self.name = name
        devices = [_usable(each.strip()) for each in device.split(",")]
        kind = devices[0].type
        if precision == "auto":
            precision = "fp32" if kind == "cpu" else "fp16"
        self.precision = precision
        self.dtype = _PRECISIONS[precision]
        native = cuda_tiles.load(devices[0]) if kind == "cuda" else None
        make = CudaDevice if kind == "cuda" else Device
        kernels = cuda_tiles.CudaTileKernels(native) if native is not None else None
        self._native = native
        #: The devices, in the order in which they were named.
        self.devices: list[Device] = [make(each, self.dtype, kernels) for each in devices]
        self._lock = threading.Lock()
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads() if kind == "cpu" else len(devices)
        if kind == "cuda":
            _log.debug(
                "engine %s on %s in %s, %s the CUDA kernels of this package",
                name,
                ", ".join(f"{each} ({torch.cuda.get_device_name(each)})" for each in devices),
                precision,
                "without" if native is None else "with",
            )
        self.identities = (
            {}
            if kind == "cpu"
            else {str(each): _identity(each, precision, native is not None) for each in devices}
        )
        at_once = _PICTURES_PER_GPU * len(devices) if kind == "cuda" else 1
        self.concurrency = Concurrency(at_once, at_once)

    @property
    def alive(self) -> bool:
        """Whether a usable device is left."""
        return not all(device.lost for device in self.devices)

    @property
    def accelerated(self) -> bool:
        """Whether the devices have memory of their own."""
        return self.devices[0].accelerated

    @contextmanager
    def session(self) -> Iterator[TorchSession]:
        """Reserve the least busy device for a picture. Raises `DeviceLostError` without devices."""
        with least_busy(self.devices, self._lock) as device:
            yield TorchSession(device)

    def compile(self, graph: Graph) -> TorchCompiled:
        """Compile a graph; weights are copied to a device before its first run there."""
        check_runs(graph, "torch")
        return TorchCompiled(graph, self)

    def make_runner(self, graph: Graph, device: Device, dtype: torch.dtype) -> Runner:
        """Prepare a network on a device, within its ``computing``."""
        if self._native is not None and cuda_fused.supports(device.torch, dtype):
            try:
                return cuda_fused.FusedRunner(graph, device, dtype, self._native)
            except EngineError as error:
                _log.debug("plain torch runs this network: %s", error)
        return ModuleRunner(graph, device.torch, dtype)


def _usable(name: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", 0)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise EngineError(
            f"torch cannot use device {name!r}: {first_line(error)}; choose another with "
            "`device=`, or `engine='native'`"
        ) from error
    return device


def _identity(device: torch.device, precision: str, own_kernels: bool) -> str:
    """Name all that decides what a device computes."""
    parts = [str(device.type), f"torch {torch.__version__}", precision]
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        parts += [
            f"{found.name} {found.major}.{found.minor}",
            f"driver {nvidia_driver()}",
            f"CUDA {torch.version.cuda}",
            f"cuDNN {torch.backends.cudnn.version()}",  # type: ignore[no-untyped-call]
            "own kernels" if own_kernels else "plain torch",
        ]
    return ", ".join(parts)
