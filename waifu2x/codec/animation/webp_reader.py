"""Animated WebP in.

Each frame is wrapped as a WebP and decoded as a still, so that memory does not grow with the file
and a damaged frame can be named; libwebp's own decoder of animations reads or refuses the file as a
whole.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

from ..._record import record
from ..._text import AGAIN
from ...errors import DecodeError
from ..container_reader import ContainerReader
from ..limits import check_pixels
from ..webp_container import WRONG_LENGTHS, unannounced
from .frames import Animation, Dispose, FrameControl, Patch
from .stills import animation_of, decode_still, patch_of

ANIMATION, XMP, EXIF, ALPHA, ICC = 0x02, 0x04, 0x08, 0x10, 0x20

#: Chunks of metadata and their flags in VP8X.
METADATA_FLAGS = {b"ICCP": ICC, b"EXIF": EXIF, b"XMP ": XMP}

#: Chunks of pixels.
PIXEL_CHUNKS = (b"ALPH", b"VP8 ", b"VP8L")

_MAX_METADATA = 1 << 25


@record
class _StoredFrame:
    """One ANMF chunk: its control, and its chunks of pixels."""

    control: FrameControl
    pixels: bytes

    def still(self, metadata: dict[bytes, bytes]) -> bytes:
        """Return the frame as a WebP file."""
        flags = sum(METADATA_FLAGS[kind] for kind in metadata)
        # VP8L pixels tell whether they have alpha; setting the flag does no harm.
        flags |= ALPHA if self.pixels[:4] in (b"ALPH", b"VP8L") else 0
        around = {kind: chunk(kind, metadata[kind]) for kind in metadata}
        body = (
            b"WEBP"
            + extended_header(flags, self.control.width, self.control.height)
            + around.get(b"ICCP", b"")
            + self.pixels
            + around.get(b"EXIF", b"")
            + around.get(b"XMP ", b"")
        )
        return chunk(b"RIFF", body)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk with its padding."""
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def extended_header(flags: int, width: int, height: int) -> bytes:
    """Return the chunk VP8X."""
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + uint24(width - 1) + uint24(height - 1))


def uint24(number: int) -> bytes:
    """Return ``number`` as 3 bytes."""
    return number.to_bytes(3, "little")


def chunks_of(data: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and data of the chunks in ``data`` from ``start``, including a truncated one."""
    while start + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, start)
        yield kind, data[start + 8 : start + 8 + length]
        start += 8 + length + (length & 1)


def pixel_chunks(data: bytes, start: int = 0) -> bytes:
    """Return the chunks of pixels in ``data`` from ``start``."""
    return b"".join(
        chunk(kind, body) for kind, body in chunks_of(data, start) if kind in PIXEL_CHUNKS
    )


def open_webp(stream: BinaryIO, name: str, limit: int) -> Animation | None:
    """Open the animation in a WebP of at least two frames, else return None.

    ``loop`` is as stored: the number of plays, 0 forever. The background color is ignored, as in
    browsers.
    """
    reader = _WebpReader(stream, name, limit)
    controls = [frame.control for frame in reader.frames(keep=False)]
    if len(controls) < 2:
        return None
    return animation_of(
        next(_WebpReader(stream, name, limit).frames(keep=True)).still(reader.metadata),
        f"frame 1 of {name}",
        limit,
        size=reader.size,
        controls=controls,
        loop=reader.plays,
        has_alpha=bool(reader.flags & ALPHA),
        patches=lambda: _patches(stream, name, limit),
        notes=tuple(reader.notes),
    )


def _patches(stream: BinaryIO, name: str, limit: int) -> Iterator[Patch]:
    for number, frame in enumerate(_WebpReader(stream, name, limit).frames(keep=True), 1):
        label, control = f"frame {number} of {name}", frame.control
        picture = decode_still(frame.still({}), label, limit)
        if (picture.width, picture.height) != (control.width, control.height):
            raise DecodeError(
                f"{label} is damaged: its pixels are of another size than the frame{AGAIN}"
            )
        yield patch_of(picture, control)


class _WebpReader(ContainerReader):
    """Reads the chunks of a WebP from its start."""

    def __init__(self, stream: BinaryIO, name: str, limit: int) -> None:
        super().__init__(stream, name, limit)
        self.flags = 0
        self.size = 0, 0
        self.plays = 0
        self.metadata: dict[bytes, bytes] = {}
        self.notes: dict[str, None] = {}

    def frames(self, *, keep: bool) -> Iterator[_StoredFrame]:
        """Yield every frame, with its pixels if ``keep``; none of a still."""
        self._stream.seek(4)
        end = 8 + int.from_bytes(self._read(4), "little")
        size = self._stream.seek(0, io.SEEK_END)
        position = 12
        while position + 8 <= (end if self._frame else size):
            if position + 8 > end:  # a length that excludes all frames means nothing
                end = size
                self.notes[WRONG_LENGTHS] = None
            self._stream.seek(position)
            kind, length = struct.unpack("<4sI", self._read(8))
            if position == 12:
                if kind != b"VP8X":
                    return
                self._header(self._read(10))
                if not self.flags & ANIMATION:
                    return
            elif kind == b"ANIM":
                self.plays = struct.unpack("<IH", self._read(6))[1]
            elif kind == b"ANMF":
                self._frame += 1
                yield self._stored_frame(length, keep=keep)
            elif kind in METADATA_FLAGS and not self.flags & METADATA_FLAGS[kind]:
                self.notes[unannounced(kind)] = None
            elif kind in METADATA_FLAGS and length <= _MAX_METADATA:
                self.metadata.setdefault(kind, self._read(length))
            position += 8 + length + (length & 1)
        if size < end:
            self._stream.seek(size)
            self._read(1)  # raises the error

    def _header(self, data: bytes) -> None:
        self.flags = data[0]
        self.size = _number(data, 4) + 1, _number(data, 7) + 1
        if self.flags & ANIMATION:
            check_pixels(*self.size, self._limit, self._name)

    def _stored_frame(self, length: int, *, keep: bool) -> _StoredFrame:
        if length < 16:
            raise self._damaged(f"{length} bytes are too few")
        header = self._read(16)
        left, top = 2 * _number(header, 0), 2 * _number(header, 3)
        width, height = _number(header, 6) + 1, _number(header, 9) + 1
        if left + width > self.size[0] or top + height > self.size[1]:
            raise self._damaged(
                f"{width}x{height} at {left},{top} on {self.size[0]}x{self.size[1]}"
            )
        # Frames may hold unknown chunks, but no compressor produces this much for the pixels.
        if length > 8 * width * height + (1 << 20):
            raise self._damaged(f"{length} bytes for {width}x{height} pixels")
        pixels = self._read(length - 16) if keep else self._skip(length - 16)
        duration = Fraction(_number(header, 12), 1000)
        dispose = Dispose.CLEAR if header[15] & 1 else Dispose.KEEP
        blend = not header[15] & 2
        control = FrameControl(left, top, width, height, duration, dispose, blend)
        return _StoredFrame(control, pixel_chunks(pixels))


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 3], "little")
