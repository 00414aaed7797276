"""PNG written while the picture is being computed: rows in, from top to bottom, a file out.

Strips of about 256 KiB are filtered (csrc/png/filter.cpp) and compressed on threads of their own,
without the GIL, into whole deflate blocks that refer to nothing before them, so that strips can be
joined, as pigz does. The result is one deflate stream: the same bytes for any number of threads and
any way to divide the rows. Pillow writes color profile, resolution and EXIF in front of the pixels.

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
from .deflate import LAST_BLOCK, ZLIB_HEADER, Deflate
from .png_chunks import SIGNATURE, XMP_KEYWORD, chunk, metadata_of
from .row_writer import ByteSink, RowBlock, RowWriter

_IntegerRows: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_ADLER_MODULUS = 65521

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
    mastering_display: bytes | None = None,
    content_light: bytes | None = None,
    text: tuple[tuple[str, str], ...] = (),
    **options: Any,
) -> bytes:
    """Return the chunks in front of the pixels.

    xmp, gamma, chromaticities, rendering_intent, cicp, mastering_display, content_light, text: as
        in `Metadata`. A profile excludes sRGB, which is then left out.
    options: icc_profile, exif and dpi, as for `PIL.Image.Image.save` of a PNG.

    Raises ArgumentError for a text that `holds_text` refuses, and what Pillow raises.
    """
    chunks = []
    if cicp is not None:
        chunks.append(chunk(b"cICP", bytes(cicp)))
    if mastering_display is not None:
        chunks.append(chunk(b"mDCV", mastering_display))
    if content_light is not None:
        chunks.append(chunk(b"cLLI", content_light))
    if gamma is not None:
        chunks.append(chunk(b"gAMA", _fixed(gamma)))
    if chromaticities is not None:
        chunks.append(chunk(b"cHRM", b"".join(map(_fixed, chromaticities))))
    if rendering_intent is not None and "icc_profile" not in options:
        chunks.append(chunk(b"sRGB", bytes([rendering_intent])))
    chunks.append(_pillow_chunks(**options))
    if xmp is not None:
        chunks.append(chunk(b"iTXt", XMP_KEYWORD.encode() + b"\0" * 5 + xmp))
    chunks += [_text_chunk(keyword, value) for keyword, value in text]
    return b"".join(chunks)


def holds_text(keyword: str, text: str) -> bool:
    """Return whether PNG holds ``text`` under ``keyword``: 1 to 79 Latin-1 characters, no NUL."""
    try:
        key = keyword.encode("latin-1")
        text.encode()
    except UnicodeEncodeError:
        return False
    return 1 <= len(key) <= 79 and "\0" not in keyword + text


def _text_chunk(keyword: str, text: str) -> bytes:
    """Return a text chunk of the simplest kind that holds the text."""
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
            return chunk(b"iTXt", start + b"\1\0\0\0" + zlib.compress(body))
        return chunk(b"iTXt", start + b"\0\0\0\0" + body)
    if len(body) > _LONG_TEXT:
        return chunk(b"zTXt", start + b"\0" + zlib.compress(body))
    return chunk(b"tEXt", start + body)


def _fixed(value: float) -> bytes:
    """Return a number as gAMA and cHRM store it, in units of 1/100000."""
    return struct.pack(">I", min(max(round(value * 100_000), 0), _LARGEST))


def _pillow_chunks(**options: Any) -> bytes:
    if not options:
        return b""  # saving would import the plugins of other formats
    buffer = io.BytesIO()
    with quiet():
        Image.new("L", (1, 1)).save(buffer, "PNG", **options)
    return metadata_of(buffer.getvalue())


class PngWriter(RowWriter["_EncodedStrip"]):
    """A PNG, of 8 bits for uint8 rows and of 16 for uint16; see `RowWriter`."""

    label = "PNG"
    max_side = (1 << 31) - 1
    dtypes = ("uint8", "uint16")

    def __init__(
        self,
        stream: ByteSink,
        *,
        width: int,
        height: int,
        channels: int,
        dtype: npt.DTypeLike = np.uint8,
        threads: int | None = None,
        deflate: Deflate | None = None,
        **metadata: Any,
    ) -> None:
        """Write the header.

        stream: receives the file's bytes in order, always in the calling thread; left open.
        metadata: as for `metadata_chunks`. The rest is as for `RowWriter`.

        Raises also what ``stream.write`` and `metadata_chunks` raise.
        """
        super().__init__(
            width=width,
            height=height,
            channels=channels,
            dtype=dtype,
            threads=threads,
            deflate=deflate,
        )
        self._stream = stream
        self._adler = 1
        kind = 8 * self._dtype.itemsize, _COLOR_TYPES[channels]
        header = struct.pack(">IIBBBBB", width, height, *kind, 0, 0, 0)
        stream.write(SIGNATURE + chunk(b"IHDR", header) + metadata_chunks(**metadata))

    def _encode(self, blocks: list[RowBlock], above: RowBlock | None) -> _EncodedStrip:
        rows = sum(len(block.color) for block in blocks)
        filtered = np.empty((rows, 1 + self._row_bytes), np.uint8)
        lead = ZLIB_HEADER if above is None else b""
        top = 0
        for block in blocks:
            bottom = top + len(block.color)
            _native.filter_png(
                cast("_IntegerRows", block.color),
                filtered[top:bottom],
                alpha=cast("_IntegerRows | None", block.alpha),
                above_color=None if above is None else cast("_IntegerRows", above.color),
                above_alpha=None if above is None else cast("_IntegerRows | None", above.alpha),
            )
            top, above = bottom, block.last_row()
        data = lead + self._deflate.compress(filtered.data)
        adler = self._deflate.adler32(filtered.data)
        return _EncodedStrip(chunk(b"IDAT", data), adler, filtered.nbytes)

    def _write(self, encoded: _EncodedStrip) -> None:
        self._stream.write(encoded.chunks)
        self._adler = _combine_adler32(self._adler, encoded.adler, encoded.size)

    def _end(self) -> None:
        last = LAST_BLOCK + struct.pack(">I", self._adler)
        self._stream.write(chunk(b"IDAT", last) + chunk(b"IEND", b""))


class _EncodedStrip(NamedTuple):
    """IDAT chunks, and Adler-32 and size of the data that is compressed in them."""

    chunks: bytes
    adler: int
    size: int


def _combine_adler32(first: int, second: int, size: int) -> int:
    """Return the Adler-32 of two joined byte strings; ``size`` is that of the second."""
    low, high = first & 0xFFFF, first >> 16
    joined_low = (low + (second & 0xFFFF) - 1) % _ADLER_MODULUS
    joined_high = (high + (second >> 16) + size * (low - 1)) % _ADLER_MODULUS
    return joined_high << 16 | joined_low
