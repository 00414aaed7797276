"""Defines the protocol of devices: pictures in their memory, windows gathered, tiles written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .._record import record
from ..picture import Samples

#: (N, C, H, W).
Batch: TypeAlias = npt.NDArray[np.float32]

#: A picture in the memory of a device, (H, W, 1 or 3).
DevicePicture: TypeAlias = Any


@record
class TileCopy:
    """The window of a tile, and the rectangle of the network's output to copy; in pixels.

    left, top: corner of the window in the source; outside the picture its edge is replicated.
    src_x, src_y: corner of the rectangle in the output. dst_x, dst_y: its corner in the target.
    width, height: of the rectangle.
    ramps: weights across and down for adding the rectangle to a canvas; None to overwrite.
    """

    left: int
    top: int
    src_x: int
    src_y: int
    dst_x: int
    dst_y: int
    width: int
    height: int
    ramps: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None


@record
class Transform:
    """A rotation and reflection of the picture, and the global means of the transformed picture.

    turns: quarter turns counterclockwise, before the reflection.
    """

    turns: int = 0
    mirrored: bool = False
    means: tuple[Batch, ...] = ()


@record
class TileStats:
    """Statistics of one tile.

    nonfinite: number of samples of the network's output that are not finite.
    max_in, max_out: largest samples of window and result, in [0, 1].
    """

    nonfinite: int = 0
    max_in: float = 0.0
    max_out: float = 0.0


@record
class TileBatch:
    """Tiles of one size that run together.

    source, target: pictures of one session. If the copies have ramps, ``target`` is float32 and the
        tiles are added to it.
    window: height and width of the network's input.
    inset: margin of a window in pixels, which the statistics leave out.
    transforms: one, or the transforms whose results are averaged.
    stats: from ``session.stats``, one entry per copy.
    full: run in float32, regardless of the engine's precision.
    """

    source: DevicePicture
    target: DevicePicture
    copies: Sequence[TileCopy]
    window: tuple[int, int]
    inset: int
    transforms: Sequence[Transform]
    stats: Any
    full: bool = False

    @property
    def corners(self) -> list[tuple[int, int]]:
        """(left, top) of each window."""
        return [(copy.left, copy.top) for copy in self.copies]


class Session(Protocol):
    """A device reserved for one picture.

    Every method raises `DeviceMemoryError` if memory runs out, `DeviceLostError` if the device
    stopped working, and `EngineError` for any other failure. Work is queued in order; only
    ``download`` and ``read`` wait for the queue.
    """

    @property
    def accelerated(self) -> bool:
        """Whether the device has memory of its own."""

    @property
    def largest_batch(self) -> int:
        """The number of windows per batch beyond which throughput no longer rises."""

    def available(self) -> int:
        """Return the bytes of device memory that a run may take now."""

    def release_memory(self) -> bool:
        """Empty the allocator's cache and halve the memory budget; True for the first time."""

    def upload(self, samples: Samples) -> DevicePicture:
        """Copy a picture to the device."""

    def download(self, picture: DevicePicture) -> Samples:
        """Copy a picture from the device."""

    def empty(self, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> DevicePicture:
        """Allocate a picture (H, W, 1 or 3): zeros for float32, else uninitialized."""

    def quantize(self, canvas: DevicePicture, dtype: npt.DTypeLike) -> DevicePicture:
        """Clamp and round like `waifu2x.kernels.quantize`."""

    def transformed(self, picture: DevicePicture, turns: int, mirrored: bool) -> DevicePicture:
        """Rotate counterclockwise by quarter turns, then mirror left to right."""

    def stats(self, count: int) -> Any:
        """Allocate the statistics of ``count`` tiles."""

    def read(self, stats: Any) -> list[TileStats]:
        """Wait for all queued work and return the statistics."""
