"""What a file claims of its size, checked before a reader allocates for it.

Pillow checks the size in most headers itself; these are the places where it would allocate first,
or where a small file asks for much work. Each check takes a seekable stream and leaves its
position anywhere.
"""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

from ..errors import DecodeError, LimitError
from .high_depth import jpeg2000_components
from .png_reader import SIGNATURE

#: The environment variable that changes the limit.
MAX_PIXELS_VARIABLE = "WAIFU2X_MAX_PIXELS"

HOW_TO_RAISE = f"raise the limit with {MAX_PIXELS_VARIABLE} or max_pixels"

JPEG2000_SIGNATURES = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")
_ICO_SIGNATURE = b"\0\0\1\0"

# libjpeg decodes each scan over the whole picture. Encoders write about ten, and the standard's
# own limit for sensible progressions is below this; a bomb has thousands.
_MOST_SCANS = 100

# A tile of JPEG 2000 costs the decoder some 6 KB before anything is decoded.
_MOST_TILES = 4096
_PIXELS_A_TILE = 256


def check_pixels(width: int, height: int, limit: int, name: str) -> None:
    """Raise LimitError where ``width`` x ``height`` is more than ``limit`` pixels."""
    if width * height > limit:
        raise LimitError(
            f"{name} is {width}x{height}, {width * height} pixels, and the limit is {limit}; "
            + HOW_TO_RAISE
        )


def most_bytes(limit: int) -> int:
    """More bytes than any sensible file of ``limit`` pixels: 4 float samples each, and 64 MiB."""
    return 16 * limit + (1 << 26)


def check_bytes(stream: BinaryIO, limit: int, name: str) -> None:
    """Raise LimitError where a file that is read into memory as a whole is too large for that."""
    size = stream.seek(0, io.SEEK_END)
    if size > most_bytes(limit):
        raise LimitError(
            f"{name} has {size} bytes, more than a picture of {limit} pixels needs; " + HOW_TO_RAISE
        )


def check_claims(stream: BinaryIO, head: bytes, limit: int, name: str) -> bool | None:
    """All checks for a file that begins with ``head`` and is to be opened by Pillow.

    PNG, TIFF and JPEG XL have readers of their own for that. Returns whether the pixels are lossy,
    where that is found on the way.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return check_webp(stream, head, limit, name)
    if head.startswith(b"\xff\xd8\xff"):
        check_jpeg(stream, name)
    elif head.startswith(b"GIF8"):
        check_gif(stream, limit, name)
    elif head.startswith(_ICO_SIGNATURE):
        check_ico(stream, limit, name)
    elif head.startswith(b"8BPS"):
        check_psd(head, limit, name)
    elif head.startswith(JPEG2000_SIGNATURES):
        check_jpeg2000(stream, limit, name)
    elif head[4:8] == b"ftyp":
        check_bytes(stream, limit, name)
    return None


def check_webp(stream: BinaryIO, head: bytes, limit: int, name: str) -> bool | None:
    """Check the canvas and the length of a WebP. Returns whether its pixels are lossy, if known.

    VP8 is lossy, VP8L lossless, and the first one decides.
    """
    size = _webp_size(head)
    if size is not None:
        check_pixels(*size, limit, name)
    check_bytes(stream, limit, name)
    length = stream.seek(0, io.SEEK_END)
    end = 8 + int.from_bytes(head[4:8], "little")
    if end > length:
        raise DecodeError(f"{name} is truncated: the file ends before the picture does")
    position = 12
    while position + 8 <= end:
        stream.seek(position)
        kind, size_of_chunk = struct.unpack("<4sI", stream.read(8))
        if kind in (b"VP8 ", b"VP8L"):
            return bool(kind == b"VP8 ")
        position += 8 + size_of_chunk + (size_of_chunk & 1)
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """The size in a WebP header, or None where there is none to be found."""
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

    Blocks are walked as Pillow walks them, with its leniency, so that both see the same image.
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


def check_ico(stream: BinaryIO, limit: int, name: str) -> None:
    """Check the pictures inside an icon, whose sizes its directory does not tell."""
    stream.seek(4)
    entries = stream.read(2)
    table = stream.read(16 * int.from_bytes(entries, "little"))
    for _, offset in struct.iter_unpack("<12sI", table[: len(table) // 16 * 16]):
        stream.seek(offset)
        start = stream.read(24)
        if len(start) < 24:
            continue  # Pillow refuses it if this is the one to be shown
        if start.startswith(SIGNATURE):
            width, height = struct.unpack_from(">II", start, 16)
        else:
            width, height = (abs(side) for side in struct.unpack_from("<ii", start, 4))
            height //= 2  # the mask is counted in
        check_pixels(width, height, limit, name)


def check_psd(head: bytes, limit: int, name: str) -> None:
    """Check a Photoshop file's version, depth and size. Layout: Adobe's file format specification.

    Raises DecodeError for the kinds that we do not read, in their own words.
    """
    if len(head) < 26:
        return
    version, _, _, height, width, bits, _ = struct.unpack_from(">H6sHIIHH", head, 4)
    if version == 2:
        raise DecodeError(
            f"{name} is a large Photoshop document (PSB), which is not supported; save it as PNG"
        )
    if bits > 8:
        raise DecodeError(
            f"{name} is a Photoshop file of {bits} bits per channel, which is not supported; "
            "save it as 16-bit PNG or TIFF"
        )
    check_pixels(width, height, limit, name)


def check_jpeg2000(stream: BinaryIO, limit: int, name: str) -> None:
    """Check how many tiles a JPEG 2000 file is cut into, each of which costs memory."""
    check_bytes(stream, limit, name)
    found = jpeg2000_components(stream)
    if found is None:
        return
    if found.tiles > max(_MOST_TILES, found.pixels // _PIXELS_A_TILE):
        raise DecodeError(
            f"{name} cannot be decoded: it is cut into {found.tiles} tiles, too many for its size"
        )


# A marker within or after the data of a scan: not a stuffed 0, a restart or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9


def check_jpeg(stream: BinaryIO, name: str) -> None:
    """Raise DecodeError for a JPEG of more scans than the 100 that we allow.

    Markers are walked to the end of the first picture; a JPEG with one scan for everything is left
    alone after its header, since libjpeg stops there too.
    """
    position, components, scans = 2, 0, 0
    while True:
        stream.seek(position)
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return  # damaged, and Pillow says how
        if head[1] == 0xFF:  # fill
            position += 1
            continue
        if head[1] == _END:
            return
        length = int.from_bytes(head[2:], "big")
        if head[1] in _FRAMES:
            frame = stream.read(6)
            progressive = head[1] in (0xC2, 0xC6, 0xCA, 0xCE)
            components = 255 if progressive or len(frame) < 6 else frame[5]
        position += 2 + length
        if head[1] != _SCAN:
            continue
        scans += 1
        if scans == 1 and stream.read(1) == bytes([components]):
            return
        if scans > _MOST_SCANS:
            raise DecodeError(
                f"{name} cannot be decoded: it is a JPEG of more than {_MOST_SCANS} scans, "
                "which no encoder writes"
            )
        after = _next_marker(stream, position)
        if after is None:
            return
        position = after


def _next_marker(stream: BinaryIO, position: int) -> int | None:
    """Where the first marker at or after ``position`` is; None where there is none."""
    stream.seek(position)
    kept = b""
    while True:
        block = stream.read(1 << 16)
        found = _MARKER.search(kept + block)
        if found:
            return position - len(kept) + found.start()
        if not block:
            return None
        position += len(block)
        kept = block[-1:]
