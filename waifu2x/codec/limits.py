"""Checks of sizes declared in headers, before a reader allocates memory.

Pillow checks the size in most headers itself; these checks cover the formats for which it allocates
first, or for which a small file takes much work. Each takes a seekable stream and moves it.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from ..errors import DecodeError, LimitError
from .sniff import HEAD_BYTES, sniff

#: The environment variable that changes the limit.
MAX_PIXELS_VARIABLE = "WAIFU2X_MAX_PIXELS"

HOW_TO_RAISE = "raise the limit with `max_pixels=`"


# A tile of JPEG 2000 costs the decoder some 6 KB before anything is decoded.
_MAX_TILES = 4096
_PIXELS_PER_TILE = 256


def check_pixels(width: int, height: int, limit: int, name: str) -> None:
    """Raise LimitError if ``width`` x ``height`` is more than ``limit`` pixels."""
    if width * height > limit:
        raise LimitError(
            f"{name} is {width}x{height}, {width * height} pixels, and the limit is {limit}; "
            + HOW_TO_RAISE
        )


def max_bytes(limit: int) -> int:
    """Return a bound of the file size of ``limit`` pixels: 4 floats each, and 64 MiB."""
    return 16 * limit + (1 << 26)


def check_bytes(stream: BinaryIO, limit: int, name: str) -> None:
    """Raise LimitError if a file is too large to be read into memory as a whole."""
    size = stream.seek(0, io.SEEK_END)
    if size > max_bytes(limit):
        raise LimitError(
            f"{name} has {size} bytes, more than a picture of {limit} pixels needs; " + HOW_TO_RAISE
        )


def check_header(stream: BinaryIO, head: bytes, limit: int, name: str) -> bool | None:
    """Run the checks for a file that begins with ``head`` and that Pillow will open.

    PNG, TIFF, PSD, JPEG, JPEG 2000, JPEG XL and AVIF are checked by their own readers. Returns
    whether the pixels are lossy, if the header tells.
    """
    kind = sniff(head).name
    if kind == "webp":
        return check_webp(stream, limit, name)
    if kind == "gif":
        check_gif(stream, limit, name)
    elif kind in ("heic", "video"):
        check_bytes(stream, limit, name)
    return None


def check_webp(stream: BinaryIO, limit: int, name: str) -> bool | None:
    """Check the canvas of a WebP and the size of the file; return whether it is lossy, if known.

    VP8 is lossy, VP8L lossless; the first of them counts.
    """
    stream.seek(0)
    size = webp_size(stream.read(HEAD_BYTES))
    if size is not None:
        check_pixels(*size, limit, name)
    check_bytes(stream, limit, name)
    end = stream.seek(0, io.SEEK_END)
    position = 12
    while position + 8 <= end:
        stream.seek(position)
        kind, size_of_chunk = struct.unpack("<4sI", stream.read(8))
        if kind in (b"VP8 ", b"VP8L"):
            return bool(kind == b"VP8 ")
        position += 8 + size_of_chunk + (size_of_chunk & 1)
    return None


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Return the size in a WebP header, or None if it is missing."""
    chunk, data = head[12:16], head[20:]
    if len(data) < 10:
        return None
    if chunk == b"VP8X":
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 6)
    return width & 0x3FFF, height & 0x3FFF


def check_gif(stream: BinaryIO, limit: int, name: str) -> None:
    """Check the canvas of a GIF, and its first image, for which Pillow enlarges the canvas.

    Skips blocks as leniently as Pillow does, so that both find the same image.
    """
    stream.seek(0)
    head = stream.read(13)
    if len(head) < 13:
        return
    width, height, flags = struct.unpack_from("<HHB", head, 6)
    check_pixels(width, height, limit, name)
    if flags & 0x80:
        stream.seek(3 << (flags & 7) + 1, io.SEEK_CUR)
    while kind := stream.read(1):
        if kind == b"!":
            _skip_gif_extension(stream)
        elif kind == b",":
            place = stream.read(8)
            if len(place) == 8:
                left, top, columns, rows = struct.unpack("<HHHH", place)
                check_pixels(max(width, left + columns), max(height, top + rows), limit, name)
            return
        elif kind == b";":
            return


def _skip_gif_extension(stream: BinaryIO) -> None:
    label = stream.read(1)
    block = _gif_block(stream)
    if label == b"\xff" and block.startswith(b"NETSCAPE2.0"):
        _gif_block(stream)
    if label == b"\xfe" and not block:
        return
    while _gif_block(stream):
        pass


def _gif_block(stream: BinaryIO) -> bytes:
    size = stream.read(1)
    return stream.read(size[0]) if size else b""


def check_jpeg2000(stream: BinaryIO, limit: int, name: str) -> None:
    """Check the number of tiles of a JPEG 2000 file, each of which costs memory."""
    from .jpeg2000_header import read_codestream  # loaded when needed

    check_bytes(stream, limit, name)
    found = read_codestream(stream)
    if found is None:
        return
    if found.tiles > max(_MAX_TILES, found.pixels // _PIXELS_PER_TILE):
        raise DecodeError(
            f"{name} cannot be decoded: it has {found.tiles} tiles, too many for its size; "
            "save it as PNG"
        )
