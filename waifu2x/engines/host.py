"""Tiles in the memory of the CPU, cut and written by the kernels of this package.

The base of engines whose runtime takes NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .. import kernels
from .._machine import total_memory
from ..network.graph import Graph
from ..picture import Samples
from .base import Concurrency
from .device import Batch, Session, TileBatch, TileCopy, TileStats, Transform
from .tta import averaged, restored, transformed

#: Memory of a runtime relative to the live values of the graph; onnxruntime was measured at 1.8.
RUNTIME_OVERHEAD: Final = 2.0
#: The runtimes set no limit of their own.
_UNLIMITED: Final = 1 << 62


class HostSession:
    """The CPU, for one picture; see `waifu2x.engines.device.Session`."""

    accelerated = False

    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self.largest_batch = engine.largest_batch
        self._source: Samples | None = None
        self._transformed: dict[tuple[int, bool], Samples] = {}

    def available(self) -> int:
        """Return the bytes that a run may take."""
        return int(self._engine.memory_share * total_memory())

    def release_memory(self) -> bool:
        """Halve the memory budget; True for the first time."""
        first = self._engine.memory_share == 1.0
        self._engine.memory_share /= 2
        return first

    def upload(self, samples: Samples) -> Samples:
        """Return the picture itself, or a copy if the kernels cannot read its layout."""
        return kernels.readable(samples)

    def download(self, picture: Samples) -> Samples:
        """Return the picture itself."""
        return picture

    def empty(self, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> Samples:
        """Allocate a picture: zeros for float32, else uninitialized."""
        array: Samples = np.zeros(shape, dtype) if dtype == np.float32 else np.empty(shape, dtype)
        return array

    def quantize(self, canvas: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> Samples:
        """Clamp and round; raises `EngineError` for values that are not finite."""
        return kernels.quantize(canvas, dtype)

    def transformed(self, picture: Samples, turns: int, mirrored: bool) -> Samples:
        """Return the transformed picture; those of the last picture are kept."""
        if picture is not self._source:
            self._source, self._transformed = picture, {}
        key = turns, mirrored
        if key not in self._transformed:
            view = transformed(np, picture, turns, mirrored, (0, 1))
            self._transformed[key] = np.ascontiguousarray(view)
        return self._transformed[key]

    def stats(self, count: int) -> int:
        """Return ``count``: the kernels raise for samples that are not finite."""
        return count

    def read(self, stats: int) -> list[TileStats]:
        """Return empty statistics."""
        return [TileStats()] * stats


class HostEngine:
    """The part of `waifu2x.engines.base.Engine` that engines on the CPU share."""

    streams = False
    accelerated = False
    alive = True
    precision = "fp32"
    identities: Mapping[str, str] = MappingProxyType({})
    concurrency = Concurrency()
    largest_batch = 1
    #: Share of the machine's memory that a run may take; halved when memory runs out.
    memory_share = 1.0

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Return the CPU."""
        yield HostSession(self)


class HostCompiled:
    """The part of `waifu2x.engines.base.Compiled` that follows from ``run``."""

    graph: Graph
    reduced = False

    def run(self, batch: Batch, means: Sequence[Batch] = ()) -> Batch:
        """Run the network; see `waifu2x.engines.base.Compiled.run`."""
        raise NotImplementedError

    def bytes_per_pixel(self, session: Session, *, full: bool = False) -> float:
        """Return the memory of a run per pixel of its input."""
        return self.graph.bytes_per_pixel * RUNTIME_OVERHEAD

    def largest_input(self) -> int:
        """Return the most pixels a run takes."""
        return _UNLIMITED

    def run_tiles(self, session: Session, tiles: TileBatch) -> None:
        """Run the network over tiles; see `waifu2x.engines.base.Compiled.run_tiles`."""
        batch = gathered(tiles.source, tiles.corners, tiles.window)

        def run(transform: Transform) -> Batch:
            symmetry = transform.turns, transform.mirrored, (2, 3)
            given = np.ascontiguousarray(transformed(np, batch, *symmetry))
            result: Batch = restored(np, self.run(given, transform.means), *symmetry)
            return result

        if len(tiles.transforms) == 1:
            output = self.run(batch, tiles.transforms[0].means)
        else:
            output = np.ascontiguousarray(averaged(tiles.transforms, run))
        for result, copy in zip(output, tiles.copies, strict=True):
            write_tile(result, copy, tiles.target)

    def sum_windows(
        self,
        session: Session,
        source: Any,
        corners: Sequence[tuple[int, int]],
        *,
        window: tuple[int, int],
        means: Sequence[Batch],
        full: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Sum over windows; see `waifu2x.engines.base.Compiled.sum_windows`."""
        output = self.run(gathered(source, corners, window), means)
        sums: npt.NDArray[np.float64] = output.sum((0, 2, 3), dtype=np.float64)
        return sums


def write_tile(result: npt.NDArray[np.float32], copy: TileCopy, target: Any) -> None:
    """Write or add one tile (3, H, W). Raises `EngineError` for values that are not finite."""
    place = {"src_x": copy.src_x, "src_y": copy.src_y, "dst_x": copy.dst_x, "dst_y": copy.dst_y}
    if copy.ramps is None:
        kernels.blend(result, target, width=copy.width, height=copy.height, **place)
    else:
        across, down = copy.ramps
        kernels.blend_feathered(result, target, weights_x=across, weights_y=down, **place)


def gathered(
    source: Samples, corners: Sequence[tuple[int, int]], window: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Cut windows of one size: (N, 3, H, W)."""
    lefts, tops = zip(*corners, strict=True)
    return kernels.gather(source, lefts, tops, height=window[0], width=window[1])
