"""PNG written while the picture is still being made: rows in, from top to bottom, a file out.

Rows are gathered into pieces of about 256 KiB. Each piece is filtered (csrc/png_filter.cpp) and
compressed on a thread of its own, without the GIL, into whole deflate blocks that refer to nothing
before them, so that pieces can be joined: the way pigz does it. One deflate stream comes out, the
same bytes for any number of threads and however the rows were handed over. What stands in front of
the pixels (colour profile, resolution, EXIF) is written by Pillow.

Compression is ISA-L's igzip (package ``isal``): an eighth of the time of zlib at level 4, for files
7% larger than Pillow's at that level. Where it is not installed, Python's zlib takes its place.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from .. import _native
from ..errors import ArgumentError
from ._pillow import quiet

_Rows: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}

# Bytes of samples in a piece. From 64 KiB on, igzip packs pieces as tightly as the whole; below, a
# piece costs more to hand over than to compress.
_PIECE = 1 << 18

# Pieces handed over and not yet written; `write_rows` waits beyond. They hold on to rows of the
# caller, not to copies, so what this bounds is how far the file lags behind.
_MAX_PENDING = 64

_MAX_THREADS = 8

# zlib's window of 32 KiB, fastest level: what a reader is told of the stream.
_ZLIB_HEADER = b"\x78\x01"
# An empty last block: every piece ends between blocks and on a whole byte.
_LAST_BLOCK = b"\x03\x00"
_ADLER_MODULUS = 65521

# Measured on 15 drawings doubled to 1024x1024, filtered, ms per Mpx and size against Pillow's level
# 4: zlib 1 takes 16 for +13%, 2 takes 18 for +10%, 3 and 4 take 26 for +7% and +4%.
_ZLIB_LEVEL = 4
# igzip: 1 takes 3.3 for +7%; 2 and 3 are no smaller, 0 takes as long for +27%.
_IGZIP_LEVEL = 1


class ByteSink(Protocol):
    """Where the bytes of a file go."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``."""


class Deflate(NamedTuple):
    """A compressor.

    compress: to raw deflate blocks, none of them the last, ending on a whole byte
        (Z_SYNC_FLUSH), that refer to nothing before them.
    adler32: the checksum of zlib.
    Both are called from several threads at once and should release the GIL.
    """

    compress: Callable[[memoryview], bytes]
    adler32: Callable[[memoryview], int]


def _zlib_compress(data: memoryview) -> bytes:
    compressor = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


ZLIB = Deflate(_zlib_compress, zlib.adler32)


@cache
def igzip() -> Deflate | None:
    """The compressor of ISA-L, or None where ``isal`` is not installed."""
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this machine
        return None

    def compress(data: memoryview) -> bytes:
        compressor = isal_zlib.compressobj(_IGZIP_LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
        return compressor.compress(data) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)

    return Deflate(compress, isal_zlib.adler32)


def metadata_chunks(**options: Any) -> bytes:
    """The chunks that Pillow writes in front of the pixels, whole, for these options of its own.

    options: icc_profile, exif and dpi, as `PIL.Image.Image.save` takes them for PNG.

    Raises whatever Pillow raises.
    """
    buffer = io.BytesIO()
    with quiet():
        Image.new("L", (1, 1)).save(buffer, "PNG", **options)
    data = buffer.getvalue()
    start = end = len(_SIGNATURE) + 25  # behind IHDR
    while data[end + 4 : end + 8] != b"IDAT":
        end += 12 + int.from_bytes(data[end : end + 4], "big")
    return data[start:end]


class PngWriter:
    """A PNG of known size that takes its rows from top to bottom, some at a time.

    As a context manager it is closed at the end, or aborted where an exception leaves the block.
    One thread at a time may call it.
    """

    def __init__(
        self,
        stream: ByteSink,
        *,
        width: int,
        height: int,
        channels: int,
        depth: int = 8,
        chunks: bytes = b"",
        threads: int | None = None,
        deflate: Deflate | None = None,
    ) -> None:
        """Write the header.

        stream: takes the file's bytes in order, always in the calling thread; left open.
        width, height: 1 to 2^31 - 1.
        channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
        depth: bits per sample, 8 or 16.
        chunks: what goes in front of the pixels, from `metadata_chunks`.
        threads: how many compress; None is one for each processor, at most 8.
        deflate: the compressor; None is `igzip` where there is one, else `ZLIB`.

        Raises ArgumentError for an argument outside of this, and what ``stream.write`` raises.
        """
        for name, value in (("width", width), ("height", height)):
            if not 1 <= value < 1 << 31:
                raise ArgumentError(f"{name} is {value}; PNG holds 1 to {(1 << 31) - 1} pixels")
        if channels not in _COLOUR_TYPES:
            raise ArgumentError(f"channels is {channels}; PNG holds 1 to 4")
        if depth not in (8, 16):
            raise ArgumentError(f"depth is {depth}; it must be 8 or 16")
        if threads is not None and threads < 1:
            raise ArgumentError(f"threads is {threads}; it must be 1 or more")
        self._stream = stream
        self._width, self._height, self._channels = width, height, channels
        self._dtype = np.dtype(np.uint8 if depth == 8 else np.uint16)
        self._row_bytes = width * channels * depth // 8
        self._piece_rows = max(1, _PIECE // self._row_bytes)
        self._deflate = deflate or igzip() or ZLIB
        self._received = 0
        self._gathered: list[_Segment] = []
        self._gathered_rows = 0
        self._last: _Segment | None = None  # of the piece before
        self._pending: deque[Future[_Piece]] = deque()
        self._adler = 1
        self._open = True
        self._whole = False
        header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPES[channels], 0, 0, 0)
        stream.write(_SIGNATURE + _chunk(b"IHDR", header) + chunks)
        # Threads start with the first pieces, so a small picture starts but one.
        self._pool = ThreadPoolExecutor(
            min(threads or _processors(), _MAX_THREADS), thread_name_prefix="waifu2x-png"
        )

    def __enter__(self) -> PngWriter:
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

    def write_rows(self, colour: _Rows, alpha: _Rows | None = None) -> None:
        """Take the next rows; returns before they are compressed, unless the queue is full.

        colour: (n, width, C) or (n, width), n any number of rows, 0 included; uint8 for depth 8,
            uint16 for depth 16.
        alpha: (n, width) of the same dtype, then C is one less than the channels; or None.

        The arrays must stay as they are until `close` or `abort` has returned: rows are read when
        their turn comes. Fastest where the samples of a row are contiguous; rows may lie apart.

        Raises ArgumentError for arrays of another shape or dtype, more rows than the picture has,
        and a writer that is closed; and whatever the stream or a compressor has raised since.
        """
        if not self._open:
            raise ArgumentError("the PNG is closed; no rows can follow")
        segment = self._checked(colour, alpha)
        rows = len(segment.colour)
        if rows > self._height - self._received:
            raise ArgumentError(
                f"{self._received + rows} rows were written to a PNG of {self._height}"
            )
        top = 0
        while top < rows:
            bottom = min(rows, top + self._piece_rows - self._gathered_rows)
            self._gathered.append(segment.cut(top, bottom))
            self._gathered_rows += bottom - top
            self._received += bottom - top
            top = bottom
            if self._gathered_rows == self._piece_rows or self._received == self._height:
                self._submit()
        while self._pending and self._pending[0].done():
            self._write_first()

    def close(self) -> None:
        """Finish the file; afterwards no thread reads the rows any more. Once is enough.

        Raises ArgumentError where rows are missing or something has failed before, and whatever the
        stream or a compressor raises. What the stream holds then is no PNG.
        """
        if self._whole:
            return
        if not self._open:
            raise ArgumentError("the PNG was given up and cannot be finished")
        try:
            if self._received < self._height:
                raise ArgumentError(
                    f"{self._received} of {self._height} rows were written to a PNG"
                )
            while self._pending:
                self._write_first()
            last = _LAST_BLOCK + struct.pack(">I", self._adler)
            self._stream.write(_chunk(b"IDAT", last) + _chunk(b"IEND", b""))
            self._whole = True
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what is not yet written; when this returns, no thread reads the rows any more."""
        self._open = False
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
        self._gathered.clear()
        self._last = None

    def _checked(self, colour: _Rows, alpha: _Rows | None) -> _Segment:
        if colour.ndim == 2:
            colour = colour[:, :, None]
        colours = self._channels - (alpha is not None)
        if colour.ndim != 3 or colour.shape[1:] != (self._width, colours):
            raise ArgumentError(
                f"colour has shape {colour.shape}; it must be (rows, {self._width}, {colours})"
            )
        if alpha is not None and alpha.shape != colour.shape[:2]:
            raise ArgumentError(
                f"alpha has shape {alpha.shape}; it must be {colour.shape[:2]} like colour"
            )
        for name, array in (("colour", colour), ("alpha", alpha)):
            if array is not None and array.dtype != self._dtype:
                raise ArgumentError(f"{name} has dtype {array.dtype}; it must be {self._dtype}")
        return _Segment(_dense(colour), None if alpha is None else _dense(alpha))

    def _submit(self) -> None:
        """Hand the gathered rows over as a piece."""
        while len(self._pending) >= _MAX_PENDING:
            self._write_first()
        segments, self._gathered, self._gathered_rows = self._gathered, [], 0
        first = self._last is None
        self._pending.append(
            self._pool.submit(
                _piece,
                segments,
                self._last,
                self._row_bytes,
                self._deflate,
                _ZLIB_HEADER if first else b"",
            )
        )
        self._last = segments[-1].last_row()

    def _write_first(self) -> None:
        """Write the oldest piece, when it is done; gives up where that fails."""
        try:
            piece = self._pending.popleft().result()
            self._stream.write(piece.chunks)
        except BaseException:
            self.abort()
            raise
        self._adler = _joined_adler(self._adler, piece.adler, piece.size)


class _Segment(NamedTuple):
    """Rows that came together: colour (n, W, C) and alpha (n, W) or None."""

    colour: _Rows
    alpha: _Rows | None

    def cut(self, top: int, bottom: int) -> _Segment:
        alpha = None if self.alpha is None else self.alpha[top:bottom]
        return _Segment(self.colour[top:bottom], alpha)

    def last_row(self) -> _Segment:
        return self.cut(len(self.colour) - 1, len(self.colour))


class _Piece(NamedTuple):
    """Part of the file: whole IDAT chunks, and checksum and size of what is compressed in them."""

    chunks: bytes
    adler: int
    size: int


def _piece(
    segments: list[_Segment],
    above: _Segment | None,
    row_bytes: int,
    deflate: Deflate,
    lead: bytes,
) -> _Piece:
    """Filter and compress rows; ``above`` is the row before them, ``lead`` goes in front."""
    filtered = np.empty((sum(len(each.colour) for each in segments), 1 + row_bytes), np.uint8)
    top = 0
    for segment in segments:
        bottom = top + len(segment.colour)
        _native.filter_png(
            segment.colour,
            filtered[top:bottom],
            alpha=segment.alpha,
            above_colour=None if above is None else above.colour,
            above_alpha=None if above is None else above.alpha,
        )
        top, above = bottom, segment.last_row()
    data = lead + deflate.compress(filtered.data)
    return _Piece(_chunk(b"IDAT", data), deflate.adler32(filtered.data), filtered.nbytes)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join(
        (
            struct.pack(">I", len(data)),
            kind,
            data,
            struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))),
        )
    )


def _joined_adler(first: int, second: int, size: int) -> int:
    """The Adler-32 of two texts joined, from theirs and the size of the second."""
    low, high = first & 0xFFFF, first >> 16
    joined_low = (low + (second & 0xFFFF) - 1) % _ADLER_MODULUS
    joined_high = (high + (second >> 16) + size * (low - 1)) % _ADLER_MODULUS
    return joined_high << 16 | joined_low


def _dense(array: _Rows) -> _Rows:
    """``array`` itself where the samples of each row are contiguous and aligned, else a copy."""
    rows = array[0] if len(array) else array
    return array if rows.flags.c_contiguous and array.flags.aligned else array.copy()


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))  # what a container or taskset leaves us
    except AttributeError:
        return os.cpu_count() or 1
