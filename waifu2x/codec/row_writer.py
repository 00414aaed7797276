"""Rows in, from top to bottom; strips of rows encoded on threads; their bytes out, in order.

The base of the PNG and TIFF writers: each strip is filtered and compressed on a thread of its own,
and the calling thread writes the results one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from .._machine import processors
from ..errors import ArgumentError
from ..picture import Samples
from .deflate import ZLIB, Deflate, igzip

#: Bytes of samples in a strip. From 64 KiB on, igzip compresses strips as tightly as the whole;
#: below, handing over a strip costs more than compressing it.
STRIP_BYTES = 1 << 18

# Strips submitted and not yet written; `write_rows` waits for more. Strips refer to the caller's
# rows and copy nothing, so this bounds how far the file lags behind.
_MAX_PENDING = 64

_MAX_THREADS = 8

_T = TypeVar("_T")
_Self = TypeVar("_Self")


class ByteSink(Protocol):
    """Where the bytes of a file go."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``."""


class RowBlock(NamedTuple):
    """Rows that arrived together: color (n, W, C) and alpha (n, W) or None."""

    color: Samples
    alpha: Samples | None

    def rows(self, top: int, bottom: int) -> RowBlock:
        """Return rows ``top`` up to ``bottom``."""
        alpha = None if self.alpha is None else self.alpha[top:bottom]
        return RowBlock(self.color[top:bottom], alpha)

    def last_row(self) -> RowBlock:
        """Return the last row alone."""
        return self.rows(len(self.color) - 1, len(self.color))


class RowCounter:
    """Checks the shape and the number of rows of a picture that arrives from top to bottom."""

    def __init__(self, label: str, *, width: int, height: int, channels: int) -> None:
        """label: the format, for messages. channels: alpha included."""
        self._label = label
        self._width, self._height, self._channels = width, height, channels
        self.received = 0

    def add(self, color: Samples, alpha: Samples | None) -> RowBlock:
        """Check and count rows; raises ArgumentError for another shape or too many rows."""
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
        received = self.received + len(color)
        if received > self._height:
            raise ArgumentError(
                f"{received} rows were written to a {self._label} of {self._height}"
            )
        self.received = received
        return RowBlock(color, alpha)

    @property
    def complete(self) -> bool:
        """Whether every row has arrived."""
        return self.received == self._height

    def require_complete(self) -> None:
        """Raise ArgumentError if rows are missing."""
        if not self.complete:
            raise ArgumentError(
                f"{self.received} of {self._height} rows were written to a {self._label}"
            )


class RowWriter(ABC, Generic[_T]):
    """A file of known size that receives its rows from top to bottom.

    As a context manager it is closed at the end, or aborted if an exception leaves the block.
    One thread at a time may call it.
    """

    #: The format, for messages.
    label: str
    max_side: int
    dtypes: tuple[str, ...]

    def __init__(
        self,
        *,
        width: int,
        height: int,
        channels: int,
        dtype: npt.DTypeLike = np.uint8,
        threads: int | None = None,
        deflate: Deflate | None = None,
    ) -> None:
        """Start to receive rows.

        width, height: in pixels, 1 to ``max_side``.
        channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA; alpha straight.
        dtype: of the samples, one of ``dtypes``.
        threads: how many encode strips; None is one for each processor, at most 8.
        deflate: the compressor; None is `igzip` if it is installed, else `ZLIB`.

        Raises ArgumentError for other arguments.
        """
        for name, value in (("width", width), ("height", height)):
            if not 1 <= value <= self.max_side:
                raise ArgumentError(
                    f"{name} is {value}; {self.label} holds 1 to {self.max_side} pixels"
                )
        if channels not in (1, 2, 3, 4):
            raise ArgumentError(f"channels is {channels}; {self.label} is written with 1 to 4")
        self._dtype = np.dtype(dtype)
        if self._dtype.name not in self.dtypes:
            allowed = " or ".join(self.dtypes)
            raise ArgumentError(f"dtype is {self._dtype}; {self.label} is written with {allowed}")
        if threads is not None and threads < 1:
            raise ArgumentError(f"threads is {threads}; it must be 1 or more")
        self._counter = RowCounter(self.label, width=width, height=height, channels=channels)
        self._given = deflate
        self._row_bytes = width * channels * self._dtype.itemsize
        self._strip_rows = min(height, max(1, STRIP_BYTES // self._row_bytes))
        self._blocks: list[RowBlock] = []
        self._block_rows = 0
        self._above: RowBlock | None = None
        self._pending: deque[Future[_T]] = deque()
        self._open, self._complete = True, False
        # A single strip has nothing to overlap with and is not worth a thread.
        self._pool: ThreadPoolExecutor | None = None
        if height > self._strip_rows:
            self._pool = ThreadPoolExecutor(
                min(threads or processors(), _MAX_THREADS),
                thread_name_prefix=f"waifu2x-{self.label.lower()}",
            )

    @cached_property
    def _deflate(self) -> Deflate:
        """The compressor; the first strip imports it, while a network computes the next rows."""
        return self._given or igzip() or ZLIB

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write_rows(self, color: Samples, alpha: Samples | None = None) -> None:
        """Queue the next rows; returns before they are encoded, unless the queue is full.

        color: (n, width, C) or (n, width), any number of rows, 0 included.
        alpha: (n, width) of the same dtype, then C is one less than the channels; or None.

        The arrays must not change until `close` or `abort` has returned: rows are read when their
        strip is encoded. Fastest if the samples of each row are contiguous; rows may lie apart.

        Raises ArgumentError for another shape or dtype, for more rows than the picture has, and
        after `abort`; and what the stream or a compressor has raised since the last call.
        """
        if not self._open:
            raise ArgumentError(f"the {self.label} is closed; no rows can follow")
        for name, array in (("color", color), ("alpha", alpha)):
            if array is not None and array.dtype != self._dtype:
                raise ArgumentError(f"{name} has dtype {array.dtype}; it must be {self._dtype}")
        block = self._counter.add(color, alpha)
        block = RowBlock(_dense(block.color), None if alpha is None else _dense(alpha))
        top, rows = 0, len(block.color)
        while top < rows:
            bottom = min(rows, top + self._strip_rows - self._block_rows)
            self._blocks.append(block.rows(top, bottom))
            self._block_rows += bottom - top
            top = bottom
            if self._block_rows == self._strip_rows or (top == rows and self._counter.complete):
                self._submit()
        while self._pending and self._pending[0].done():
            self._write_first()

    def close(self) -> None:
        """Finish the file; afterward no thread reads the rows. May be called twice.

        Raises ArgumentError if rows are missing or a call has failed before, EncodeError if the
        format cannot hold the file, and what the stream or a compressor raises. The stream then
        holds an incomplete file.
        """
        if self._complete:
            return
        if not self._open:
            raise ArgumentError(f"the {self.label} was given up and cannot be finished")
        try:
            self._counter.require_complete()
            while self._pending:
                self._write_first()
            self._end()
            self._complete = True
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what is not written; when this returns, no thread reads the rows."""
        self._open = False
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
        self._blocks.clear()
        self._above = None

    @abstractmethod
    def _encode(self, blocks: list[RowBlock], above: RowBlock | None) -> _T:
        """Encode a strip, on any thread; ``above`` is the row before it, None at the top."""

    @abstractmethod
    def _write(self, encoded: _T) -> None:
        """Write an encoded strip, in order and in the calling thread."""

    @abstractmethod
    def _end(self) -> None:
        """Write what follows the pixels."""

    def _submit(self) -> None:
        """Encode the collected rows as one strip."""
        while len(self._pending) >= _MAX_PENDING:
            self._write_first()
        blocks, self._blocks, self._block_rows = self._blocks, [], 0
        if self._pool is not None:
            self._pending.append(self._pool.submit(self._encode, blocks, self._above))
        else:
            future: Future[_T] = Future()
            try:
                future.set_result(self._encode(blocks, self._above))
            except BaseException as error:
                future.set_exception(error)
            self._pending.append(future)
        self._above = blocks[-1].last_row()

    def _write_first(self) -> None:
        """Write the oldest strip once it is encoded; aborts on failure."""
        try:
            self._write(self._pending.popleft().result())
        except BaseException:
            self.abort()
            raise


def _dense(array: Samples) -> Samples:
    """Return ``array`` if the samples of each row are contiguous and aligned, else a copy."""
    rows = array[0] if len(array) else array
    return array if rows.flags.c_contiguous and array.flags.aligned else array.copy()
