"""Rows in, from top to bottom; pieces of them worked on by threads; what comes of it out, in order.

The part that writers of rows share (PNG, TIFF): a piece is filtered and compressed on a thread of
its own, and the calling thread writes the pieces down one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from .._machine import processors
from ..errors import ArgumentError
from ..picture import Samples

#: Bytes of samples in a piece. From 64 KiB on, igzip packs pieces as tightly as the whole; below, a
#: piece costs more to hand over than to compress.
PIECE = 1 << 18

# Pieces handed over and not yet written; `write_rows` waits beyond. They hold on to rows of the
# caller, not to copies, so what this bounds is how far the file lags behind.
_MAX_PENDING = 64

_MAX_THREADS = 8

_T = TypeVar("_T")
_Self = TypeVar("_Self")


class ByteSink(Protocol):
    """Where the bytes of a file go."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``."""


class Segment(NamedTuple):
    """Rows that came together: color (n, W, C) and alpha (n, W) or None, each row dense."""

    color: Samples
    alpha: Samples | None

    def cut(self, top: int, bottom: int) -> Segment:
        """Rows ``top`` up to ``bottom``."""
        alpha = None if self.alpha is None else self.alpha[top:bottom]
        return Segment(self.color[top:bottom], alpha)

    def last_row(self) -> Segment:
        """The last row alone."""
        return self.cut(len(self.color) - 1, len(self.color))


class Pieces(Generic[_T]):
    """Gathers rows into pieces, has threads work on them, and hands the results on in order.

    One thread at a time may call it.
    """

    def __init__(
        self,
        label: str,
        *,
        width: int,
        height: int,
        channels: int,
        dtype: np.dtype[Any],
        rows: int,
        work: Callable[[list[Segment], Segment | None], _T],
        take: Callable[[_T], object],
        threads: int | None = None,
    ) -> None:
        """Take rows from now on.

        label: the format, for messages.
        width, height, channels, dtype: of the picture, alpha counted as a channel.
        rows: in a piece; the last one may have fewer.
        work: called with the rows of a piece and the row above it (None for the first piece); on
            several threads at once if there are several pieces.
        take: called with what ``work`` returned, piece by piece, always in the calling thread.
        threads: how many work; None is one for each processor, at most 8.

        Raises ArgumentError for less than one thread.
        """
        if threads is not None and threads < 1:
            raise ArgumentError(f"threads is {threads}; it must be 1 or more")
        self._label = label
        self._width, self._height, self._channels = width, height, channels
        self._dtype = dtype
        self._rows = rows
        self._work, self._take = work, take
        self._received = 0
        self._gathered: list[Segment] = []
        self._gathered_rows = 0
        self._last: Segment | None = None  # of the piece before
        self._pending: deque[Future[_T]] = deque()
        self._open = True
        # A single piece has nothing to run beside, and is not worth a thread.
        self._pool: ThreadPoolExecutor | None = None
        if height > rows:
            self._pool = ThreadPoolExecutor(
                min(threads or processors(), _MAX_THREADS),
                thread_name_prefix=f"waifu2x-{label.lower()}",
            )

    @property
    def open(self) -> bool:
        """Whether nothing has failed and `abort` has not been called."""
        return self._open

    def write_rows(self, color: Samples, alpha: Samples | None = None) -> None:
        """Take the next rows; returns before they are worked on, unless the queue is full.

        color: (n, width, C) or (n, width), n any number of rows, 0 included.
        alpha: (n, width) of the same dtype, then C is one less than the channels; or None.

        The arrays must stay as they are until `finish` or `abort` has returned: rows are read when
        their turn comes. Fastest where the samples of a row are contiguous; rows may lie apart.

        Raises ArgumentError for arrays of another shape or dtype, more rows than the picture has,
        and after `abort`; and whatever ``take`` or ``work`` has raised since.
        """
        if not self._open:
            raise ArgumentError(f"the {self._label} is closed; no rows can follow")
        segment = self._checked(color, alpha)
        rows = len(segment.color)
        if rows > self._height - self._received:
            raise ArgumentError(
                f"{self._received + rows} rows were written to a {self._label} of {self._height}"
            )
        top = 0
        while top < rows:
            bottom = min(rows, top + self._rows - self._gathered_rows)
            self._gathered.append(segment.cut(top, bottom))
            self._gathered_rows += bottom - top
            self._received += bottom - top
            top = bottom
            if self._gathered_rows == self._rows or self._received == self._height:
                self._submit()
        while self._pending and self._pending[0].done():
            self._take_first()

    def finish(self) -> None:
        """Hand on what is left. Raises ArgumentError where rows are missing."""
        if self._received < self._height:
            raise ArgumentError(
                f"{self._received} of {self._height} rows were written to a {self._label}"
            )
        while self._pending:
            self._take_first()

    def abort(self) -> None:
        """Drop what is not yet handed on; when this returns, no thread reads the rows any more."""
        self._open = False
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
        self._gathered.clear()
        self._last = None

    def _checked(self, color: Samples, alpha: Samples | None) -> Segment:
        if color.ndim == 2:
            color = color[:, :, None]
        colors = self._channels - (alpha is not None)
        if color.ndim != 3 or color.shape[1:] != (self._width, colors):
            raise ArgumentError(
                f"color has shape {color.shape}; it must be (rows, {self._width}, {colors})"
            )
        if alpha is not None and alpha.shape != color.shape[:2]:
            raise ArgumentError(
                f"alpha has shape {alpha.shape}; it must be {color.shape[:2]} like color"
            )
        for name, array in (("color", color), ("alpha", alpha)):
            if array is not None and array.dtype != self._dtype:
                raise ArgumentError(f"{name} has dtype {array.dtype}; it must be {self._dtype}")
        return Segment(_dense(color), None if alpha is None else _dense(alpha))

    def _submit(self) -> None:
        """Hand the gathered rows over as a piece."""
        while len(self._pending) >= _MAX_PENDING:
            self._take_first()
        segments, self._gathered, self._gathered_rows = self._gathered, [], 0
        if self._pool is None:
            self._pending.append(_done(self._work, segments, self._last))
        else:
            self._pending.append(self._pool.submit(self._work, segments, self._last))
        self._last = segments[-1].last_row()

    def _take_first(self) -> None:
        """Hand on the oldest piece, when it is done; gives up where that fails."""
        try:
            self._take(self._pending.popleft().result())
        except BaseException:
            self.abort()
            raise


class RowWriter(ABC, Generic[_T]):
    """A file of known size that takes its rows from top to bottom, some at a time.

    As a context manager it is closed at the end, or aborted where an exception leaves the block.
    One thread at a time may call it.
    """

    #: The format, for messages.
    label: str
    _pieces: Pieces[_T]
    _whole = False

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write_rows(self, color: Samples, alpha: Samples | None = None) -> None:
        """Take the next rows; see `Pieces.write_rows`.

        Raises also what the stream or a compressor has raised since.
        """
        self._pieces.write_rows(color, alpha)

    def close(self) -> None:
        """Finish the file; afterwards no thread reads the rows any more. Once is enough.

        Raises ArgumentError where rows are missing or something has failed before, EncodeError
        where the format cannot hold the file, and whatever the stream or a compressor raises. What
        the stream holds then is not whole.
        """
        if self._whole:
            return
        if not self._pieces.open:
            raise ArgumentError(f"the {self.label} was given up and cannot be finished")
        try:
            self._pieces.finish()
            self._end()
            self._whole = True
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what is not yet written; when this returns, no thread reads the rows any more."""
        self._pieces.abort()

    @abstractmethod
    def _end(self) -> None:
        """Write what stands behind the pixels."""


def _done(work: Callable[..., _T], *given: Any) -> Future[_T]:
    """A future of what has been worked on right here."""
    future: Future[_T] = Future()
    try:
        future.set_result(work(*given))
    except BaseException as error:
        future.set_exception(error)
    return future


def _dense(array: Samples) -> Samples:
    """``array`` itself where the samples of each row are contiguous and aligned, else a copy."""
    rows = array[0] if len(array) else array
    return array if rows.flags.c_contiguous and array.flags.aligned else array.copy()
