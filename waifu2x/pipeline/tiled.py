"""Runs one network over a picture in tiles, in the memory of a device or of the CPU.

As much of the picture as fits into memory runs at once: all of it, or tiles in batches. If memory
runs out, smaller batches are tried, then smaller tiles. A tile with NaN, or a black tile from a
window that is not black, has overflowed half precision and runs again in float32.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt

from .. import kernels
from .._machine import total_memory
from ..engines import DevicePicture, Session, TileBatch, TileCopy, TileStats, Transform
from ..engines.tta import DIHEDRAL
from ..errors import DeviceMemoryError
from ..network.graph import Graph
from . import squeeze_excitation, tiling
from .options import UpscalerOptions
from .squeeze_excitation import LoadedNetwork, SamplingPlan, warn_of_shortage
from .tiling import CompiledNetwork, Tile

_log = logging.getLogger(__name__)

#: Smallest side of a tile, in pixels.
_MIN_TILE: Final = 16
#: Half precision can overflow to black without NaN. A window with a sample above _VISIBLE and a
#: result below the first step of 8 bits do not show the same picture.
_VISIBLE: Final = 0.1
_BLACK: Final = 0.5 / 255

#: Memory of one network run by default; a larger tile is no faster. A network with global means, or
#: in stages, gets more for a whole picture, which then takes a single run.
_MEMORY_CAP: Final = 512 << 20
_MEMORY_CAP_FOR_WHOLE: Final = 2304 << 20


def memory_cap(memory: int | None, *, whole: bool) -> int:
    """Return the bytes of the machine's memory that one run of a network may take.

    memory: the limit chosen by the user; None is a default, at most a quarter of the machine's.
    whole: whether the network needs the whole picture at once, so that the default is larger.
    """
    if memory is not None:
        return memory
    cap = _MEMORY_CAP_FOR_WHOLE if whole else _MEMORY_CAP
    return min(cap, total_memory() // 4)


def run(
    session: Session,
    source: DevicePicture,
    network: LoadedNetwork,
    dtype: npt.DTypeLike,
    options: UpscalerOptions,
    progress: Callable[[float], object],
) -> DevicePicture:
    """Run one network over a picture on a device.

    source: (H, W, 1 or 3) from ``session.upload``.
    dtype: uint8, uint16 or float32, of the result.
    options: the size of the tiles, the memory of a run, and the symmetries to average.
    progress: receives the share done of this pass; an exception ends the work.

    Returns the result on the device. Raises `DeviceMemoryError` if the smallest tile does not fit,
    and `EngineError` if values are not finite in float32 either.
    """
    tiles = _TiledPass(session, source, network, np.dtype(dtype), options, progress)
    while True:
        try:
            return tiles.run()
        except DeviceMemoryError as error:
            reason = str(error).split(";")[0]
        # Outside the handler: a live exception keeps the memory of its frames.
        if not tiles.shrink(first=session.release_memory()):
            raise DeviceMemoryError(
                f"{reason}, even in the smallest tiles; choose a smaller scale, or --engine native"
            )


class _TiledPass:
    """One pass, and the tile and batch sizes that fit into memory."""

    def __init__(
        self,
        session: Session,
        source: DevicePicture,
        network: LoadedNetwork,
        dtype: np.dtype[np.generic],
        options: UpscalerOptions,
        progress: Callable[[float], object],
    ) -> None:
        self._session, self._source, self._network = session, source, network
        self._dtype, self._options, self._progress = dtype, options, progress
        self._height, self._width, self._channels = source.shape
        self._largest_batch = session.largest_batch
        self._available = session.available()
        self._tile = options.tile
        self._feathered = False
        self._total = self._done = 0.0

    def shrink(self, *, first: bool) -> bool:
        """Halve the tiles; False if they are the smallest already."""
        side = self._tile or max(self._width, self._height)
        step = self._network.whole.tiling.modulus
        half = -(-side // 2 // step) * step
        if half >= side or half < _MIN_TILE:
            return False
        self._tile, self._available = half, self._session.available()
        warn_of_shortage(first, f"tiles of {half} px")
        return True

    def run(self) -> DevicePicture:
        """Run the pass in tiles of the current size."""
        network, layout = self._layout()
        staged = network is not self._network.whole
        full = not network.compiled.reduced
        _log.debug(
            "%dx pass over %dx%d px in %d tiles of up to %dx%d px",
            network.tiling.scale, self._width, self._height, len(layout),
            layout.columns[0].size, layout.rows[0].size,
        )  # fmt: skip
        self._feathered = network.tiling.feather > 0 and len(layout) > 1
        tiles = list(layout)
        samplings = self._samplings() if staged else []
        self._done = 0.0
        self._total = sum(math.prod(tile.window) for tile in tiles) * network.graph.macs_per_pixel
        self._total += sum(self._network.means.cost(plan) for plan in samplings)
        transforms = self._transforms(samplings, full)
        target = self._target(layout)
        wrong = self._run_tiles(network, tiles, target, transforms, full)
        if wrong and not full:
            _log.info("%d of %d tiles run again in float32", len(wrong), len(tiles))
            # Blended tiles and global means already contain values from the failed tile.
            if self._feathered or network.graph.means or staged:
                transforms = self._transforms(samplings, True)
                target = self._target(layout)
            else:
                tiles = [tile for tile, _ in wrong]
            wrong = self._run_tiles(network, tiles, target, transforms, True)
        nonfinite = sum(stats.nonfinite for _, stats in wrong)
        kernels.require_finite(nonfinite, 3 * layout.height * layout.width, "in the result")
        return self._session.quantize(target, self._dtype) if self._feathered else target

    def _layout(self) -> tuple[CompiledNetwork, tiling.TileLayout]:
        """Choose the network and its tiles: with its global means inside, or given from outside."""
        whole = self._network.whole
        layout = self._tiles(whole)
        if not whole.graph.means:
            return whole, layout
        small = math.prod(layout.largest_window) <= squeeze_excitation.EXACT_PIXELS
        if len(layout) == 1 and (self._session.accelerated or small):
            _log.debug("global means: exact, inside the run")
            return whole, layout
        given = self._network.given
        return given, self._tiles(given)

    def _tiles(self, network: CompiledNetwork) -> tiling.TileLayout:
        each = network.compiled.bytes_per_pixel(self._session)
        most = min(self._memory(network.graph), int(each * network.compiled.largest_input()))
        tile = self._tile or tiling.choose_tile(
            network.tiling, each, most, width=self._width, height=self._height
        )
        return tiling.plan_tiles(network.tiling, width=self._width, height=self._height, tile=tile)

    def _memory(self, graph: Graph) -> int:
        if self._session.accelerated:
            return self._available
        return min(memory_cap(self._options.memory, whole=bool(graph.means)), self._available)

    def _target(self, layout: tiling.TileLayout) -> DevicePicture:
        shape = (layout.height, layout.width, self._channels)
        return self._session.empty(shape, np.float32 if self._feathered else self._dtype)

    def _symmetries(self) -> Sequence[tuple[int, bool]]:
        return DIHEDRAL if self._options.tta else DIHEDRAL[:1]

    def _samplings(self) -> list[SamplingPlan]:
        """Plan the global means of every transform of the picture."""
        window, plans = self._network.whole.window(height=self._height, width=self._width), []
        for turns, _ in self._symmetries():
            height, width = window[:: -1 if turns % 2 else 1]
            # On a device the exact means of a picture of any size are affordable.
            plans.append(
                SamplingPlan(height, width, side=self._tile or max(height, width))
                if self._session.accelerated
                else self._network.means.plan_sampling(height=height, width=width)
            )
        return plans

    def _transforms(self, samplings: Sequence[SamplingPlan], full: bool) -> list[Transform]:
        """Return the transforms to average over, each with its global means if they are given."""
        session = self._session
        symmetries = self._symmetries()
        if not samplings:
            return [Transform(*symmetry) for symmetry in symmetries]
        means = self._network.means
        batch_pixels = squeeze_excitation.BATCH_PIXELS
        if session.accelerated:
            each = means.network.bytes_per_pixel(session)
            batch_pixels = max(1, int(self._memory(means.graph) / each))
        return [
            Transform(
                *symmetry,
                means.measure(
                    session,
                    session.transformed(self._source, *symmetry),
                    plan,
                    margin=self._network.whole.tiling.margin,
                    advance=self._advance,
                    full=full,
                    batch_pixels=batch_pixels,
                ),
            )
            for symmetry, plan in zip(symmetries, samplings, strict=True)
        ]

    def _advance(self, cost: float) -> None:
        self._done += cost
        self._progress(self._done / self._total)

    def _run_tiles(
        self,
        network: CompiledNetwork,
        tiles: Sequence[Tile],
        target: DevicePicture,
        transforms: Sequence[Transform],
        full: bool,
    ) -> list[tuple[Tile, TileStats]]:
        """Run tiles, those of one size in batches; returns those that failed."""
        compiled, session = network.compiled, self._session
        batches: list[tuple[Sequence[Tile], object]] = []
        waiting = _groups(tiles, self._feathered)
        while waiting:
            group = waiting.pop(0)
            pixels = math.prod(group[0].window)
            each = pixels * compiled.bytes_per_pixel(session, full=full)
            most = min(int(self._memory(network.graph) / each), compiled.largest_input() // pixels)
            most = max(1, min(self._largest_batch, most))
            if len(group) > most:
                waiting.insert(0, group[most:])
                group = group[:most]
            stats = session.stats(len(group))
            try:
                copies = [_copy(tile, self._feathered) for tile in group]
                window, margin = group[0].window, network.tiling.margin
                batch = TileBatch(
                    self._source, target, copies, window, margin, transforms, stats, full
                )
                compiled.run_tiles(session, batch)
            except DeviceMemoryError:
                if len(group) == 1:
                    raise
            else:
                batches.append((group, stats))
                self._advance(len(group) * pixels * network.graph.macs_per_pixel)
                continue
            self._largest_batch = len(group) // 2
            warn_of_shortage(session.release_memory(), f"batches of {self._largest_batch} tiles")
            waiting.insert(0, group)
        return [
            (tile, seen)
            for group, stats in batches
            for tile, seen in zip(group, session.read(stats), strict=True)
            if _overflowed(seen, full)
        ]


def _copy(tile: Tile, feathered: bool) -> TileCopy:
    return TileCopy(
        left=tile.x.window_start,
        top=tile.y.window_start,
        src_x=tile.x.crop,
        src_y=tile.y.crop,
        dst_x=tile.x.out_start,
        dst_y=tile.y.out_start,
        width=tile.x.out_size,
        height=tile.y.out_size,
        ramps=(tiling.ramp(tile.x), tiling.ramp(tile.y)) if feathered else None,
    )


def _groups(tiles: Sequence[Tile], feathered: bool) -> list[Sequence[Tile]]:
    """Group tiles by the size of their windows; feathered tiles keep their order."""
    if feathered:
        return [list(group) for _, group in groupby(tiles, key=lambda tile: tile.window)]
    groups: dict[tuple[int, int], list[Tile]] = {}
    for tile in tiles:
        groups.setdefault(tile.window, []).append(tile)
    return list(groups.values())


def _overflowed(stats: TileStats, full: bool) -> bool:
    """Return whether half precision was not enough for a tile."""
    black = stats.max_out < _BLACK and stats.max_in > _VISIBLE
    return stats.nonfinite > 0 or (black and not full)
