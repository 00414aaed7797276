"""One network over a picture that lies in the memory of a device.

As much of the picture goes through at once as the device has memory for: all of it, or else tiles
in batches. Where memory turns out too small, fewer tiles at a time are tried, then smaller ones.
Every tile is looked at: one that comes out with NaN, or black where there was light, has overflowed
in half precision and is done again in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .. import engines
from ..engines import Cut, Held, Mark, OnDevice, Session, Turn
from ..errors import DeviceMemoryError
from ..kernels import tiles
from . import squeeze_excitation, tiling
from .layout import SYMMETRIES, Loaded, ramp

_log = logging.getLogger(__name__)

#: Called with the share of a pass that is done; what it raises ends the work.
Reach = Callable[[float], object]

#: Tiles are not made smaller than this many pixels a side.
_LEAST_TILE: Final = 16
#: Half precision that overflows without NaN comes out black. A window with a sample above _LIT, and
#: a result below the first step of 8 bits, are not the same picture.
_LIT: Final = 0.1
_BLACK: Final = 0.5 / 255


@dataclass(frozen=True, slots=True)
class Network:
    """A network for pictures on a device.

    whole: with its means inside, if it has any. staged: makes its stages, where means are to be
    taken first.
    """

    whole: Loaded
    staged: Callable[[], squeeze_excitation.Gates]


@dataclass(frozen=True, slots=True)
class How:
    """tile: side in pixels, 0 for automatic. tta: average over eight turns.

    memory: bytes that a run may take; None for all that the device can give.
    """

    tile: int
    memory: int | None
    tta: bool


def run_pass(
    session: Session,
    source: Held,
    network: Network,
    dtype: npt.DTypeLike,
    how: How,
    reach: Reach,
) -> Held:
    """Run one network over a picture on a device.

    source: (H, W, 1 or 3) as ``session.upload`` gives it.
    dtype: uint8, uint16 or float32, of the result.

    Returns the result on the device. Raises `DeviceMemoryError` where the smallest tile is too
    large, `EngineError` if values are not finite in float32 either, and what ``reach`` raises.
    """
    run = _Pass(session, source, network, np.dtype(dtype), how, reach)
    while True:
        try:
            return run.attempt()
        except DeviceMemoryError as error:
            reason = str(error).split(";")[0]
        # Only now: an error that is being handled keeps all that its frames hold.
        if not run.shrink(warn=session.forget()):
            raise DeviceMemoryError(
                f"{reason}, even in the smallest tiles; choose a smaller scale, or --engine native"
            )


class _Pass:
    """One pass, and what has been learned of the memory."""

    def __init__(
        self,
        session: Session,
        source: Held,
        network: Network,
        dtype: np.dtype[np.generic],
        how: How,
        reach: Reach,
    ) -> None:
        self._session, self._source, self._network = session, source, network
        self._dtype, self._how, self._reach = dtype, how, reach
        self._height, self._width, self._channels = source.shape
        self._largest_batch = session.largest_batch
        self._memory = self._affordable()
        self._tile = how.tile or self._fitting()

    def _affordable(self) -> int:
        available = self._session.available()
        return available if self._how.memory is None else min(self._how.memory, available)

    def _fitting(self) -> int:
        """The side of the largest tile that fits, or 0 for all of the picture."""
        whole, compiled = self._network.whole, _on_device(self._network.whole.compiled)
        each = compiled.bytes_per_pixel(self._session)
        most = min(self._memory, int(each * compiled.largest_input()))
        return tiling.choose_tile(whole.network, each, most, width=self._width, height=self._height)

    def shrink(self, warn: bool) -> bool:
        """Choose smaller tiles, and say so; False where there are none."""
        side = self._tile or max(self._width, self._height)
        step = self._network.whole.network.modulus
        half = -(-side // 2 // step) * step
        if half >= side or half < _LEAST_TILE:
            return False
        self._tile, self._memory = half, self._affordable()
        _say(warn, f"going on in tiles of {half} px")
        return True

    def attempt(self) -> Held:
        """Do it in tiles of the size that is set."""
        whole = self._network.whole
        layout = tiling.plan_tiles(
            whole.network, width=self._width, height=self._height, tile=self._tile
        )
        _log.debug(
            "%dx pass over %dx%d px in %d tiles of up to %dx%d px, on the device",
            whole.network.scale, self._width, self._height, len(layout),
            layout.columns[0].size, layout.rows[0].size,
        )  # fmt: skip
        feathered = whole.network.feather > 0 and len(layout) > 1
        pieces = [_piece(tile, feathered) for tile in layout]
        full = not _on_device(whole.compiled).reduced
        loaded, turns = self._turns(layout, full)
        target = self._target(layout, feathered)
        wrong = self._run(loaded, pieces, target, turns, full)
        if wrong and not full:
            _log.info("%d of %d tiles done again in float32", len(wrong), len(pieces))
            if feathered or whole.graph.means:  # others have taken in something of a wrong one
                loaded, turns = self._turns(layout, True)
                target = self._target(layout, feathered)
            else:
                pieces = [piece for piece, _ in wrong]
            wrong = self._run(loaded, pieces, target, turns, True)
        bad = sum(mark.bad for _, mark in wrong)
        tiles.require_finite(bad, 3 * layout.height * layout.width, "in the result")
        return self._session.quantize(target, self._dtype) if feathered else target

    def _target(self, layout: tiling.Plan, feathered: bool) -> Held:
        shape = (layout.height, layout.width, self._channels)
        return self._session.empty(shape, np.float32 if feathered else self._dtype)

    def _turns(self, layout: tiling.Plan, full: bool) -> tuple[Loaded, Sequence[Turn]]:
        """The network for the tiles, and the means that they are given."""
        whole = self._network.whole
        symmetries = SYMMETRIES if self._how.tta else SYMMETRIES[:1]
        small = np.prod(layout.largest_window) <= squeeze_excitation.EXACT_PIXELS
        accelerated = self._session.accelerated
        if not whole.graph.means or (len(layout) == 1 and (accelerated or small)):
            return whole, [Turn(*symmetry) for symmetry in symmetries]
        staged = self._network.staged()
        turns = []
        for turned, mirrored in symmetries:
            means = self._means(staged, turned, mirrored, full)
            turns.append(Turn(turned, mirrored, means))
        return Loaded(staged.network, whole.network), turns

    def _means(
        self, staged: squeeze_excitation.Gates, turned: int, mirrored: bool, full: bool
    ) -> tuple[engines.Batch, ...]:
        session, margin = self._session, self._network.whole.network.margin
        source = session.turned(self._source, turned, mirrored)
        height, width, _ = source.shape
        window = self._network.whole.window(width=width, height=height)
        # On a device the exact means of any picture are affordable.
        survey = (
            squeeze_excitation.Survey(*window, side=self._tile or max(window))
            if session.accelerated
            else staged.survey(height=window[0], width=window[1])
        )

        def total(
            stage: engines.Compiled,
            given: Sequence[engines.Batch],
            group: Sequence[squeeze_excitation.Window],
        ) -> npt.NDArray[np.float64]:
            corners = [(window.left - margin, window.top - margin) for window in group]
            try:
                return _on_device(stage).sum_windows(
                    session, source, corners,
                    window=(group[0].height, group[0].width), means=given, full=full,
                )  # fmt: skip
            except DeviceMemoryError:
                if len(group) == 1:
                    raise
            half = len(group) // 2
            _say(session.forget(), f"going on with {half} tiles at a time")
            return total(stage, given, group[:half]) + total(stage, given, group[half:])

        batch_pixels = squeeze_excitation.BATCH_PIXELS
        if session.accelerated:
            each = _on_device(staged.network).bytes_per_pixel(session)
            batch_pixels = max(1, int(self._memory / each))
        return staged.collect(
            survey, total, advance=lambda _: self._reach(0.0), batch_pixels=batch_pixels
        )

    def _run(
        self,
        loaded: Loaded,
        pieces: Sequence[_Piece],
        target: Held,
        turns: Sequence[Turn],
        full: bool,
    ) -> list[tuple[_Piece, Mark]]:
        """Run tiles, those of one size in batches; returns those that came out wrong."""
        compiled, session = _on_device(loaded.compiled), self._session
        batches: list[tuple[Sequence[_Piece], object]] = []
        waiting = _runs(pieces)
        done = 0
        while waiting:
            group = waiting.pop(0)
            most = self._batch(compiled, group[0].window, full)
            if len(group) > most:
                waiting.insert(0, group[most:])
                group = group[:most]
            marks = session.marks(len(group))
            try:
                compiled.run_tiles(
                    session, self._source, target, [piece.cut for piece in group],
                    window=group[0].window, inset=loaded.network.margin, turns=turns,
                    marks=marks, full=full,
                )  # fmt: skip
                batches.append((group, marks))
                done += len(group)
                self._reach(done / len(pieces))
                continue
            except DeviceMemoryError:
                if len(group) == 1:
                    raise
            self._largest_batch = len(group) // 2
            _say(session.forget(), f"going on with {self._largest_batch} tiles at a time")
            waiting.insert(0, group)
        return [
            (piece, mark)
            for group, marks in batches
            for piece, mark in zip(group, session.read(marks), strict=True)
            if _is_wrong(mark, full)
        ]

    def _batch(self, compiled: OnDevice, window: tuple[int, int], full: bool) -> int:
        """How many windows of that size to run at once."""
        pixels = window[0] * window[1]
        each = pixels * compiled.bytes_per_pixel(self._session, full=full)
        most = min(int(self._memory / each), compiled.largest_input() // pixels)
        return max(1, min(self._largest_batch, most))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A tile, and the size of its window: height and width."""

    cut: Cut
    window: tuple[int, int]


def _runs(pieces: Sequence[_Piece]) -> list[Sequence[_Piece]]:
    """Pieces in groups of one size: those that are added to a canvas in their order."""
    groups: dict[object, list[_Piece]] = {}
    before: _Piece | None = None
    for index, piece in enumerate(pieces):
        if piece.cut.ramps is None:
            groups.setdefault(piece.window, []).append(piece)
        elif before is not None and before.window == piece.window:
            next(reversed(groups.values())).append(piece)
        else:
            groups[index] = [piece]
        before = piece
    return list(groups.values())


def _say(warn: bool, what: str) -> None:
    """One warning for a device; it is asked for less from then on."""
    level = logging.WARNING if warn else logging.INFO
    _log.log(level, "not enough memory on the device: %s", what)


def _on_device(compiled: engines.Compiled) -> OnDevice:
    assert isinstance(compiled, OnDevice)
    return compiled


def _piece(tile: tiling.Tile, feathered: bool) -> _Piece:
    cut = Cut(
        left=tile.x.window_start,
        top=tile.y.window_start,
        src_x=tile.x.crop,
        src_y=tile.y.crop,
        dst_x=tile.x.out_start,
        dst_y=tile.y.out_start,
        width=tile.x.out_size,
        height=tile.y.out_size,
        ramps=(ramp(tile.x), ramp(tile.y)) if feathered else None,
    )
    return _Piece(cut, tile.window)


def _is_wrong(mark: Mark, full: bool) -> bool:
    """Whether a tile shows that half precision was not enough for it."""
    black = mark.brightest_out < _BLACK and mark.brightest_in > _LIT
    return mark.bad > 0 or (black and not full)
