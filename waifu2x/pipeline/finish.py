"""Finishes the result of the networks: colors matched to the source, and a share of Lanczos.

Both steps work on float32 rows, in bands of source rows that only the picture decides. So a result
has the same bytes whether its rows arrive as a stream, in tiles or as a whole.
"""

from __future__ import annotations

import math
import mmap
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .. import kernels
from ..kernels import COLOR_FIX_HALO
from ..picture import Picture, Samples, as_float
from .progress import Progress
from .request import Request
from .resize import enlarge_rows, shrink
from .streamed import RowsCallback

#: Source rows that are finished together.
BAND: Final = 16
#: Source rows whose result is in memory as it streams, those of the engine included; measured with
#: two threads.
_ROWS_HELD: Final = 128


class Rows:
    """Float32 samples whose rows can be freed from the top while those below are written."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._row = 4 * math.prod(shape[1:])
        self._freed = 0  # bytes
        self._memory: mmap.mmap | None = None
        self.samples: npt.NDArray[np.float32]
        if sys.platform == "linux":
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._memory = mmap.mmap(-1, self._row * shape[0], flags=flags)
            self.samples = np.frombuffer(self._memory, np.float32).reshape(shape)
        else:
            self.samples = np.empty(shape, np.float32)

    def free(self, rows: int) -> None:
        """Return the memory of the first rows to the system, if it can take a part of an array."""
        if self._memory is None or sys.platform != "linux":
            return
        end = rows * self._row // mmap.PAGESIZE * mmap.PAGESIZE
        if end > self._freed:
            self._memory.madvise(mmap.MADV_DONTNEED, self._freed, end - self._freed)
            self._freed = end


def rows_held(source: Picture, height: int) -> int:
    """Return how many rows of a result in float32 are in memory at once as it streams.

    height: of the result.
    """
    if sys.platform != "linux":
        return height
    return min(height, _ROWS_HELD * height // source.height)


class Finish:
    """The steps after the last network for one picture of samples."""

    def __init__(
        self,
        source: Samples,
        request: Request,
        dtype: np.dtype[Any],
        progress: Progress,
        rows: RowsCallback | None,
    ) -> None:
        """Prepare the steps of ``request``.

        source: (H, W, C) samples as the first network receives them.
        dtype: of the result.
        rows: receives the finished rows; None if a shrink follows.
        """
        self._source, self._request, self._dtype = source, request, dtype
        self._progress, self._rows = progress, rows
        self._scale = math.prod(scale for scale, _ in request.passes)
        self._done = 0  # source rows
        self._target: Samples | None = None
        self._rows_of_result: Rows | None = None

    def allocate(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Samples:
        """Return an array for the float32 result of a network that streams."""
        if self._request.resize:
            return np.empty(shape, np.float32)
        self._rows_of_result = Rows(shape)
        return self._rows_of_result.samples

    def advance(self, result: Samples, ready: int) -> None:
        """Finish and hand over the rows that depend on the first ``ready`` rows of ``result``.

        result: (H', W', C) float32 from the last network; not changed.
        """
        if self._request.resize:
            return
        if self._target is None:
            self._target = np.empty(result.shape, self._dtype)
        scale, height = self._scale, len(self._source)
        while self._done < height:
            start, end = self._done, min(self._done + BAND, height)
            if min(end + COLOR_FIX_HALO, height) * scale > ready:
                return
            self._progress.check()
            rows = slice(start * scale, end * scale)
            finished = self._fixed(result, start, end)
            if self._request.strength < 1:
                plain = enlarge_rows(self._source, scale=scale, start=start, end=end)
                finished = self._mixed(finished, plain)
            self._target[rows] = kernels.quantize(finished, self._dtype)
            if self._rows is not None:
                self._rows(self._target[rows], None)
            self._done = end
            if self._rows_of_result is not None:
                self._rows_of_result.free((end - COLOR_FIX_HALO) * scale)

    def complete(self, result: Samples) -> Samples:
        """Finish all rows and reach the requested size; may change ``result``."""
        request = self._request
        if not request.resize:
            self.advance(result, len(result))
            assert self._target is not None
            return self._target
        if request.color_fix:
            self._fix_in_place(result)
        size = {"width": request.width, "height": request.height}
        finished = shrink(as_float(result), **size)
        if request.strength < 1:
            self._progress.check()
            finished = self._mixed(finished, shrink(as_float(self._source), **size))
        return kernels.quantize(finished, self._dtype)

    def _fixed(self, result: Samples, start: int, end: int) -> npt.NDArray[np.float32]:
        """Return the rows of the source rows ``start`` to ``end`` with their colors matched."""
        scale = self._scale
        if not self._request.color_fix:
            return as_float(result[start * scale : end * scale])
        top, bottom = max(0, start - COLOR_FIX_HALO), end + COLOR_FIX_HALO
        window = as_float(result[top * scale : bottom * scale])
        fixed = np.empty(((end - start) * scale, *result.shape[1:]), np.float32)
        kernels.fix_colors(self._source[top:bottom], window, fixed, scale=scale, first=start - top)
        return fixed

    def _fix_in_place(self, result: Samples) -> None:
        """Match the colors of ``result``; the rows above a band are kept as they were."""
        scale, height, before = self._scale, len(self._source), as_float(result[:0])
        for start in range(0, height, BAND):
            end = min(start + BAND, height)
            self._progress.check()
            below = as_float(result[start * scale : (end + COLOR_FIX_HALO) * scale])
            window = np.concatenate([before, below])
            first = len(before) // scale
            kernels.fix_colors(
                self._source[start - first : end + COLOR_FIX_HALO],
                window,
                result[start * scale : end * scale],  # type: ignore[arg-type]
                scale=scale,
                first=first,
            )
            kept = min(end, COLOR_FIX_HALO)
            last = (first + end - start) * scale
            before = window[last - kept * scale : last]

    def _mixed(
        self, finished: npt.NDArray[np.float32], plain: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Mix rows with their plain enlargement, both as they would be written; a new array."""
        np.clip(plain, 0, 1, out=plain)
        mixed = np.clip(finished, 0, 1)
        mixed -= plain
        mixed *= np.float32(self._request.strength)
        mixed += plain
        return mixed
