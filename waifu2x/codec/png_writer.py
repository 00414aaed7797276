"""PNG written while the picture is still being made: rows in, from top to bottom, a file out.

Rows are gathered into pieces of about 256 KiB. Each piece is filtered (csrc/png/filter.cpp) and
compressed on a thread of its own, without the GIL, into whole deflate blocks that refer to nothing
before them, so that pieces can be joined: the way pigz does it. One deflate stream comes out, the
same bytes for any number of threads and however the rows were handed over. Of what stands in front
of the pixels, color profile, resolution and EXIF are written by Pillow.

Chunk layouts: PNG (Third Edition), https://www.w3.org/TR/png-3/.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ArgumentError
from ..kernels import _native
from ._pillow import quiet
from .deflate import LAST_BLOCK, ZLIB, ZLIB_HEADER, Deflate, igzip
from .row_writer import PIECE, ByteSink, Pieces, RowWriter, Segment

_Rows: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_ADLER_MODULUS = 65521

_XMP_KEYWORD = "XML:com.adobe.xmp"
# Texts longer than this are compressed, as the specification recommends.
_LONG_TEXT = 1024
_LARGEST = (1 << 31) - 1


def metadata_chunks(
    *,
    xmp: bytes | None = None,
    gamma: float | None = None,
    chromaticities: tuple[float, ...] | None = None,
    rendering_intent: int | None = None,
    cicp: tuple[int, int, int, int] | None = None,
    text: tuple[tuple[str, str], ...] = (),
    **options: Any,
) -> bytes:
    """The chunks that stand in front of the pixels, whole.

    xmp, gamma, chromaticities, rendering_intent, cicp, text: as in `Metadata`. sRGB is left out
        beside a profile, as the two exclude each other.
    options: icc_profile, exif and dpi, as `PIL.Image.Image.save` takes them for PNG.

    Raises ArgumentError for a text that `holds_text` refuses, and whatever Pillow raises.
    """
    chunks = []
    if cicp is not None:
        chunks.append(_chunk(b"cICP", bytes(cicp)))
    if gamma is not None:
        chunks.append(_chunk(b"gAMA", _fixed(gamma)))
    if chromaticities is not None:
        chunks.append(_chunk(b"cHRM", b"".join(map(_fixed, chromaticities))))
    if rendering_intent is not None and "icc_profile" not in options:
        chunks.append(_chunk(b"sRGB", bytes([rendering_intent])))
    chunks.append(_pillow_chunks(**options))
    if xmp is not None:
        chunks.append(_chunk(b"iTXt", _XMP_KEYWORD.encode() + b"\0" * 5 + xmp))
    chunks += [_text_chunk(keyword, value) for keyword, value in text]
    return b"".join(chunks)


def holds_text(keyword: str, text: str) -> bool:
    """Whether PNG can hold ``text`` under ``keyword``: 1 to 79 Latin-1 characters, no NUL."""
    try:
        key = keyword.encode("latin-1")
        text.encode()
    except UnicodeEncodeError:
        return False
    return 1 <= len(key) <= 79 and "\0" not in keyword + text


def _text_chunk(keyword: str, text: str) -> bytes:
    """A text chunk, of the plainest kind that holds it."""
    if not holds_text(keyword, text):
        raise ArgumentError(
            f"keyword is {keyword!r}; PNG holds 1 to 79 Latin-1 characters, and text without NUL"
        )
    start = keyword.encode("latin-1") + b"\0"
    try:
        body = text.encode("latin-1")
    except UnicodeEncodeError:
        body = text.encode()
        if len(body) > _LONG_TEXT:
            return _chunk(b"iTXt", start + b"\1\0\0\0" + zlib.compress(body))
        return _chunk(b"iTXt", start + b"\0\0\0\0" + body)
    if len(body) > _LONG_TEXT:
        return _chunk(b"zTXt", start + b"\0" + zlib.compress(body))
    return _chunk(b"tEXt", start + body)


def _fixed(value: float) -> bytes:
    """A number as gAMA and cHRM store it, in units of 1/100000."""
    return struct.pack(">I", min(max(round(value * 100_000), 0), _LARGEST))


def _pillow_chunks(**options: Any) -> bytes:
    buffer = io.BytesIO()
    with quiet():
        Image.new("L", (1, 1)).save(buffer, "PNG", **options)
    data = buffer.getvalue()
    start = end = len(_SIGNATURE) + 25  # behind IHDR
    while data[end + 4 : end + 8] != b"IDAT":
        end += 12 + int.from_bytes(data[end : end + 4], "big")
    return data[start:end]


class PngWriter(RowWriter["_Piece"]):
    """A PNG, of 8 bits for uint8 rows and of 16 for uint16; see `RowWriter`."""

    label = "PNG"

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
        if channels not in _COLOR_TYPES:
            raise ArgumentError(f"channels is {channels}; PNG holds 1 to 4")
        if depth not in (8, 16):
            raise ArgumentError(f"depth is {depth}; it must be 8 or 16")
        self._stream = stream
        self._row_bytes = width * channels * depth // 8
        self._deflate = deflate or igzip() or ZLIB
        self._adler = 1
        self._pieces: Pieces[_Piece] = Pieces(
            self.label,
            width=width,
            height=height,
            channels=channels,
            dtype=np.dtype(np.uint8 if depth == 8 else np.uint16),
            rows=max(1, PIECE // self._row_bytes),
            work=self._piece,
            take=self._write_piece,
            threads=threads,
        )
        header = struct.pack(">IIBBBBB", width, height, depth, _COLOR_TYPES[channels], 0, 0, 0)
        stream.write(_SIGNATURE + _chunk(b"IHDR", header) + chunks)

    def _end(self) -> None:
        last = LAST_BLOCK + struct.pack(">I", self._adler)
        self._stream.write(_chunk(b"IDAT", last) + _chunk(b"IEND", b""))

    def _piece(self, segments: list[Segment], above: Segment | None) -> _Piece:
        """Filter and compress rows; ``above`` is the row before them, None at the top."""
        rows = sum(len(each.color) for each in segments)
        filtered = np.empty((rows, 1 + self._row_bytes), np.uint8)
        lead = ZLIB_HEADER if above is None else b""
        top = 0
        for segment in segments:
            bottom = top + len(segment.color)
            _native.filter_png(
                cast("_Rows", segment.color),
                filtered[top:bottom],
                alpha=cast("_Rows | None", segment.alpha),
                above_color=None if above is None else cast("_Rows", above.color),
                above_alpha=None if above is None else cast("_Rows | None", above.alpha),
            )
            top, above = bottom, segment.last_row()
        data = lead + self._deflate.compress(filtered.data)
        return _Piece(_chunk(b"IDAT", data), self._deflate.adler32(filtered.data), filtered.nbytes)

    def _write_piece(self, piece: _Piece) -> None:
        self._stream.write(piece.chunks)
        self._adler = _joined_adler(self._adler, piece.adler, piece.size)


class _Piece(NamedTuple):
    """Part of the file: whole IDAT chunks, and checksum and size of what is compressed in them."""

    chunks: bytes
    adler: int
    size: int


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
