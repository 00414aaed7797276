"""Decides which tiles of a frame must be computed, and which keep an earlier result.

Each tile keeps the source window that gave its result: the tile, and all samples around it that the
networks read. A tile is reused if its window is equal to the kept one, or differs by no more than
the noise of a codec. The window of a reused tile is not replaced, so that errors never add up.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .._record import record
from ..network.registry import AnyLevel, Model
from ..pipeline.pipeline import Locality
from .layout import VideoLayout
from .planes import Plane, VideoFrame

#: Side of a tile in luma samples; with a wide margin, the double.
_TILE: Final = 64
_WIDE_MARGIN: Final = 32
#: Side in samples of the result of the blocks whose differences are averaged.
BLOCK: Final = 8

#: Largest mean difference between a reused and a computed result in any block, in levels of 255.
MOST_DIFFERENT: Final = 2.0
#: Largest mean difference in a block of the source of the same extent, and largest difference of a
#: sample, of windows that count as equal. The networks below return at most 2.8 times the mean
#: difference (benchmarks/results/README.md).
_MEAN_NOISE: Final = 0.7
_MAX_NOISE: Final = 6.0
#: Models whose results follow small differences of the source steadily. Networks trained against a
#: discriminator may redraw a line because of a single level: up to ten times the mean difference.
_STEADY_MODELS: Final = frozenset(
    {"cunet", "fine", "realesrgan_animevideo", "swift", "upconv_7", "upconv_7_photo"}
)
#: Passes of other models that are as steady, because strong denoising removes such differences:
#: the model, with the scale and the noise level.
_STEADY_PASSES: Final = frozenset({("realcugan", 2, 3)})

#: Results of exactly repeated frames that are kept, and their bytes.
_KEPT_FRAMES: Final = 8
_KEPT_BYTES: Final = 256 << 20

#: A frame with reused tiles of unequal sources is checked, then every so many of them; a whole
#: frame is checked less often than a tile.
_CHECK_EVERY: Final = {True: 48, False: 8}
#: Frames after which the outcome of a check counts, as frames overlap.
CHECK_DELAY: Final = 8

#: Share of a frame that is computed as a whole, because many rectangles are no faster.
_MOST_PARTIAL: Final = 0.8


def is_steady(model: Model, passes: Sequence[tuple[int, AnyLevel | None]]) -> bool:
    """Whether results of ``passes`` follow small differences of the source steadily.

    A model file of the user has not been measured, also if it has the name of another model.
    """
    packages = {file.package for network in model.networks for file in network.files}
    if not packages or "" in packages:
        return False
    return model.name in _STEADY_MODELS or _STEADY_PASSES.issuperset(
        (model.name, scale, noise) for scale, noise in passes
    )


@record
class Rect:
    """A rectangle of tiles, and of source pixels; half-open."""

    left: int
    top: int
    right: int
    bottom: int

    def grown(self, margin: int, width: int, height: int) -> Rect:
        """Return the rectangle with a margin, as far as a frame has it."""
        return Rect(
            max(0, self.left - margin),
            max(0, self.top - margin),
            min(width, self.right + margin),
            min(height, self.bottom + margin),
        )

    @property
    def pixels(self) -> int:
        """The number of pixels."""
        return (self.right - self.left) * (self.bottom - self.top)


@record
class Decision:
    """What to do with a frame.

    rects: the rectangles to compute, in source pixels; a frame without any is a repeat.
    whole: whether the only rectangle is the whole frame, without an earlier result.
    recall: the key of an earlier frame whose result is repeated, or None.
    keep: the key under which to keep the result. forget: the keys that are no longer needed.
    computed, tiles: numbers of tiles.
    check: the rectangle to compute for a comparison with its reused result, or None.
    """

    rects: tuple[Rect, ...] = ()
    whole: bool = False
    recall: bytes | None = None
    keep: bytes | None = None
    forget: tuple[bytes, ...] = ()
    computed: int = 0
    tiles: int = 1
    check: Rect | None = None


class Reuse:
    """Compares the frames of a stream, in order, with the sources of earlier results.

    Decisions depend only on the frames and on the outcomes of checks.
    """

    def __init__(
        self,
        layout: VideoLayout,
        locality: Locality | None,
        *,
        exact: bool,
        scale: float,
        result_bytes: int,
    ) -> None:
        """Choose the grid.

        locality: what the networks read around a pixel; None computes frames as a whole.
        exact: reuse a tile only if all samples of its window are equal.
        scale: enlargement. result_bytes: bytes of the result of a frame.
        """
        self._block = min(BLOCK, max(1, int(BLOCK / scale)))
        self._layout = layout
        self._exact = exact
        across, down = layout.factors
        if layout.alpha or locality is None:
            self._tile_width, self._tile_height = layout.width, layout.height
            self.margin = 0
        else:
            # Interpolation of chroma reads two samples more; the average of chroma, a pixel.
            margin = locality.margin + 2 * max(across, down) + 1
            unit = math.lcm(locality.alignment, BLOCK)
            self.margin = _multiple(margin, unit)
            side = _multiple(_TILE if self.margin <= _WIDE_MARGIN else 2 * _TILE, unit)
            self._tile_width, self._tile_height = side, side
        self._columns = -(-layout.width // self._tile_width)
        self._rows = -(-layout.height // self._tile_height)
        self.whole_only = self._columns * self._rows == 1
        self._most_kept = min(_KEPT_FRAMES, _KEPT_BYTES // max(1, result_bytes))
        self._windows: list[npt.NDArray[Any]] = []
        self._own = False  # whether the windows may be written
        self._kept: OrderedDict[bytes, None] = OrderedDict()
        self._gray: bool | None = None
        self._strictness = 0
        self._noisy = 0

    def tighten(self) -> None:
        """Halve the noise that counts as equal, after a check that failed; at last allow none."""
        self._strictness += 1

    @property
    def tiles(self) -> int:
        """The number of tiles of a frame."""
        return self._columns * self._rows

    def decide(self, frame: VideoFrame, *, gray: bool = False) -> Decision:
        """Decide about the next frame.

        gray: whether the frame runs as gray; its results are of no use for others.
        """
        key = _digest(frame) + bytes([gray])
        if key in self._kept:
            self._kept.move_to_end(key)
            return Decision(recall=key, tiles=self.tiles)
        kept = self._keep(key)
        windows = [self._windows_of(plane, index) for index, plane in enumerate(frame.planes)]
        if not self._windows or gray is not self._gray:
            self._windows, self._gray, self._own = windows, gray, False
            return self._all(*kept)
        changed, noise = self._compare(windows)
        if changed.all():
            self._windows, self._own = windows, False
            return self._all(*kept)
        if not changed.any():
            check = self._choose_check(noise)
            return Decision((), False, None, *kept, 0, self.tiles, check)
        tile_rects = self._rectangles(changed)
        rects = tuple(self._pixels(rect) for rect in tile_rects)
        layout = self._layout
        cost = sum(rect.grown(self.margin, layout.width, layout.height).pixels for rect in rects)
        if cost > _MOST_PARTIAL * layout.width * layout.height:
            self._windows, self._own = windows, False
            return self._all(*kept)
        if not self._own:
            self._windows, self._own = [window.copy() for window in self._windows], True
        for rect in tile_rects:
            part = np.s_[rect.top : rect.bottom, rect.left : rect.right]
            for mine, new in zip(self._windows, windows, strict=True):
                mine[part] = new[part]
            noise[part] = 0
        computed = sum(rect.pixels for rect in tile_rects)
        check = self._choose_check(noise)
        return Decision(rects, False, None, *kept, computed, self.tiles, check)

    def _all(self, keep: bytes | None, forget: tuple[bytes, ...]) -> Decision:
        whole = Rect(0, 0, self._layout.width, self._layout.height)
        return Decision((whole,), True, None, keep, forget, self.tiles, self.tiles)

    def _keep(self, key: bytes) -> tuple[bytes | None, tuple[bytes, ...]]:
        """Return the key to keep the result under, and the keys to forget."""
        if self._most_kept < 1:
            return None, ()
        self._kept[key] = None
        forget = []
        while len(self._kept) > self._most_kept:
            forget.append(self._kept.popitem(last=False)[0])
        return key, tuple(forget)

    def _pixels(self, rect: Rect) -> Rect:
        width, height = self._tile_width, self._tile_height
        return Rect(
            rect.left * width,
            rect.top * height,
            min(rect.right * width, self._layout.width),
            min(rect.bottom * height, self._layout.height),
        )

    # --- comparison -----------------------------------------------------------------------------

    def _plane_factors(self, index: int) -> tuple[int, int]:
        return self._layout.factors if index in (1, 2) and not self._layout.mono else (1, 1)

    def _windows_of(self, plane: Plane, index: int) -> npt.NDArray[Any]:
        """Return the windows of all tiles, (rows, columns, height, width), as a view."""
        if self.whole_only:
            return plane[None, None]
        across, down = self._plane_factors(index)
        width, height = self._tile_width // across, self._tile_height // down
        x, y = self.margin // across, self.margin // down
        pads = (
            (y, self._rows * height - plane.shape[0] + y),
            (x, self._columns * width - plane.shape[1] + x),
        )
        # Outside the frame nothing differs: networks see its edge repeated there.
        padded = np.pad(plane, pads)
        size = (height + 2 * y, width + 2 * x)
        views = np.lib.stride_tricks.sliding_window_view(padded, size)
        return views[::height, ::width]

    def _compare(
        self, windows: Sequence[npt.NDArray[Any]]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Compare windows with the kept ones.

        Returns whether each tile has changed, and how much of the allowed noise it has: 0 if its
        window is equal.
        """
        changed = np.zeros((self._rows, self._columns), bool)
        noise = np.zeros((self._rows, self._columns))
        share = 0.0 if self._exact or self._strictness > 2 else 0.5**self._strictness
        level = 1 << (self._layout.depth - 8)
        for index, (mine, new) in enumerate(zip(self._windows, windows, strict=True)):
            across, down = self._plane_factors(index)
            block = (max(1, self._block // down), max(1, self._block // across))
            for row in range(self._rows):
                for column in range(self._columns):
                    if changed[row, column]:
                        continue
                    one, two = mine[row, column], new[row, column]
                    if not share:
                        changed[row, column] = not np.array_equal(one, two)
                        continue
                    difference = np.maximum(one, two)
                    difference -= np.minimum(one, two)
                    most = int(difference.max())
                    if not most:
                        continue
                    found = most / (_MAX_NOISE * level * share)
                    if found <= 1:
                        mean = _largest_block(difference, block)
                        found = max(found, mean / (_MEAN_NOISE * level * share))
                    changed[row, column] = found > 1
                    noise[row, column] = max(noise[row, column], found)
        return changed, noise

    def _choose_check(self, noise: npt.NDArray[np.float64]) -> Rect | None:
        """Return the tile with the most noise, in pixels, if a check is due.

        noise: of the reused tiles, 0 for others.
        """
        if not noise.any():
            return None
        due = self._noisy % _CHECK_EVERY[self.whole_only] == 0
        self._noisy += 1
        if not due:
            return None
        row, column = np.unravel_index(int(noise.argmax()), noise.shape)
        return self._pixels(Rect(int(column), int(row), int(column) + 1, int(row) + 1))

    def _rectangles(self, changed: npt.NDArray[np.bool_]) -> list[Rect]:
        """Cover the changed tiles with disjoint rectangles, few and small."""
        rects: list[Rect] = []
        for row in range(self._rows):
            edges = np.flatnonzero(np.diff(changed[row], prepend=False, append=False))
            for left, right in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                above = next(
                    (r for r in rects if (r.left, r.right, r.bottom) == (left, right, row)), None
                )
                if above is not None:
                    rects.remove(above)
                    rects.append(Rect(left, above.top, right, row + 1))
                else:
                    rects.append(Rect(left, row, right, row + 1))
        return self._merged(rects)

    def _merged(self, rects: list[Rect]) -> list[Rect]:
        """Join rectangles if their common one costs less, or overlaps others."""

        def cost(rect: Rect) -> int:
            layout = self._layout
            return self._pixels(rect).grown(self.margin, layout.width, layout.height).pixels

        merged = True
        while merged and len(rects) > 1:
            merged = False
            best: tuple[int, Rect, list[Rect]] | None = None
            for position, one in enumerate(rects):
                for two in rects[position + 1 :]:
                    joined = Rect(
                        min(one.left, two.left),
                        min(one.top, two.top),
                        max(one.right, two.right),
                        max(one.bottom, two.bottom),
                    )
                    inside = [rect for rect in rects if _overlap(rect, joined)]
                    gain = sum(cost(rect) for rect in inside) - cost(joined)
                    within = all(
                        joined.left <= r.left
                        and r.right <= joined.right
                        and joined.top <= r.top
                        and r.bottom <= joined.bottom
                        for r in inside
                    )
                    if within and gain >= 0 and (best is None or gain > best[0]):
                        best = gain, joined, inside
            if best is not None:
                rects = [rect for rect in rects if rect not in best[2]] + [best[1]]
                merged = True
        return sorted(rects, key=lambda rect: (rect.top, rect.left))


def _overlap(one: Rect, two: Rect) -> bool:
    return (
        one.left < two.right
        and two.left < one.right
        and one.top < two.bottom
        and two.top < one.bottom
    )


def _largest_block(difference: npt.NDArray[Any], block: tuple[int, int]) -> float:
    """Return the largest mean of (height, width) blocks; those at the ends may be smaller."""
    sums = np.add.reduceat(difference, np.arange(0, difference.shape[0], block[0]), 0, np.uint32)
    sums = np.add.reduceat(sums, np.arange(0, difference.shape[1], block[1]), 1)
    return float(sums.max()) / (block[0] * block[1])


def largest_difference(one: Sequence[Plane], two: Sequence[Plane], depth: int) -> float:
    """Return the largest mean difference in any 8x8 block of two frames, in levels of 255."""
    worst = 0.0
    for first, second in zip(one, two, strict=True):
        difference = np.abs(first.astype(np.int32) - second)
        sums = np.pad(difference.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        height, width = (min(BLOCK, side) for side in difference.shape)
        blocks = (
            sums[height:, width:]
            - sums[:-height, width:]
            - sums[height:, :-width]
            + sums[:-height, :-width]
        )
        worst = max(worst, float(blocks.max()) / (height * width))
    return worst / (1 << (depth - 8))


def _digest(frame: VideoFrame) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    for plane in frame.planes:
        state.update(np.ascontiguousarray(plane).data.cast("B"))
    return state.digest()


def _multiple(number: int, unit: int) -> int:
    return -(-number // unit) * unit
