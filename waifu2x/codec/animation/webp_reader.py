"""Animated WebP in.

Each frame is made a WebP of its own and decoded as any still, so that memory does not grow with the
file and a damaged frame can be named; libwebp's own decoder of animations takes or refuses the file
as a whole.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

from ...errors import DecodeError
from ...picture import Picture
from ..image import image_over
from ..limits import check_pixels
from .frames import Animation, Dispose, Frame, Patch, compose
from .stills import as_bytes, decode_still, read_exactly, turn, turned_by

ANIMATION, XMP, EXIF, ALPHA, ICC = 0x02, 0x04, 0x08, 0x10, 0x20

_METADATA = {b"ICCP": ICC, b"EXIF": EXIF, b"XMP ": XMP}
_MOST_METADATA = 1 << 25


@dataclass(frozen=True, slots=True)
class _Stored:
    """One ANMF chunk: its header's values, and its chunks with the pixels."""

    left: int
    top: int
    width: int
    height: int
    duration: int
    dispose: Dispose
    over: bool
    pixels: bytes


@dataclass(slots=True)
class _Head:
    flags: int = 0
    size: tuple[int, int] = (0, 0)
    plays: int = 0
    metadata: dict[bytes, bytes] = field(default_factory=dict)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A whole chunk with its padding."""
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def extended_header(flags: int, width: int, height: int) -> bytes:
    """The chunk VP8X."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)


def chunks_of(data: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of the chunks in ``data`` from ``start``; what is cut off at the end too."""
    while start + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, start)
        yield kind, data[start + 8 : start + 8 + length]
        start += 8 + length + (length & 1)


def open_webp(stream: BinaryIO, name: str, limit: int) -> Animation | None:
    """The animation in a WebP of at least two frames, else None.

    ``loop`` is what the file has: how often the animation is played, 0 forever. Its background
    color is left out, as browsers leave it out.
    """
    walk = _Walk(stream, name, limit)
    first: _Stored | None = None
    frames, cleared = 0, False
    for stored in walk.stored(keep=False):
        first = first or stored
        frames += 1
        cleared |= stored.dispose is Dispose.CLEAR
    head = walk.head
    if frames < 2 or first is None:
        return None
    width, height = head.size
    still = _first_still(stream, name, limit)
    picture = decode_still(still, f"frame 1 of {name}", limit)
    exif = turned_by(still, name)
    turned = exif is not None and (first.width, first.height) != (picture.width, picture.height)
    whole = (first.left, first.top, first.width, first.height) == (0, 0, width, height)

    def play() -> Iterator[Frame]:
        for color, alpha, duration in compose(width, height, 3, _patches(stream, name, limit)):
            frame = Picture(color, alpha, picture.metadata, picture.source)
            if exif is not None:
                frame = turn(frame, image_over(color, alpha), exif)
            yield Frame(frame, duration)

    return Animation(
        width=height if turned else width,
        height=width if turned else height,
        frames=frames,
        loop=head.plays,
        metadata=picture.metadata,
        source=picture.source,
        gray=False,
        has_alpha=bool(head.flags & ALPHA) or cleared or not whole,
        play=play,
    )


def _first_still(stream: BinaryIO, name: str, limit: int) -> bytes:
    """The first frame as a WebP with all metadata."""
    for _ in (walk := _Walk(stream, name, limit)).stored(keep=False):
        pass  # EXIF and XMP stand behind the frames
    stored = next(_Walk(stream, name, limit).stored(keep=True))
    return _still(stored, walk.head.metadata)


def _still(stored: _Stored, metadata: dict[bytes, bytes]) -> bytes:
    kinds = [kind for kind, _ in chunks_of(stored.pixels, 0)]
    flags = sum(_METADATA[kind] for kind in metadata)
    # Of VP8L the pixels say themselves whether they have alpha; saying so here does no harm.
    flags |= ALPHA if kinds and kinds[0] in (b"ALPH", b"VP8L") else 0
    body = b"WEBP" + extended_header(flags, stored.width, stored.height)
    if b"ICCP" in metadata:
        body += chunk(b"ICCP", metadata[b"ICCP"])
    body += stored.pixels
    for kind in (b"EXIF", b"XMP "):
        if kind in metadata:
            body += chunk(kind, metadata[kind])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _patches(stream: BinaryIO, name: str, limit: int) -> Iterator[Patch]:
    for number, stored in enumerate(_Walk(stream, name, limit).stored(keep=True), 1):
        label = f"frame {number} of {name}"
        picture = decode_still(_still(stored, {}), label, limit)
        if (picture.width, picture.height) != (stored.width, stored.height):
            raise DecodeError(f"{label} is damaged: its pixels are of another size than the frame")
        yield Patch(
            color=as_bytes(picture.color),
            alpha=None if picture.alpha is None else as_bytes(picture.alpha),
            left=stored.left,
            top=stored.top,
            duration=Fraction(stored.duration, 1000),
            dispose=stored.dispose,
            over=stored.over,
        )


class _Walk:
    """The chunks of a WebP from its start."""

    def __init__(self, stream: BinaryIO, name: str, limit: int) -> None:
        self.head = _Head()
        self._stream = stream
        self._name = name
        self._limit = limit
        self._frame = 0

    def stored(self, *, keep: bool) -> Iterator[_Stored]:
        """Every frame, with its pixels only with ``keep``; none in a file that is a still."""
        self._stream.seek(4)
        end = 8 + int.from_bytes(self._read(4), "little")
        position = 12
        while position + 8 <= end:
            self._stream.seek(position)
            kind, length = struct.unpack("<4sI", self._read(8))
            if position == 12:
                if kind != b"VP8X":
                    return
                self._header(self._read(10))
                if not self.head.flags & ANIMATION:
                    return
            elif kind == b"ANIM":
                self.head.plays = struct.unpack("<IH", self._read(6))[1]
            elif kind == b"ANMF":
                self._frame += 1
                yield self._stored(length, keep=keep)
            elif kind in _METADATA and length <= _MOST_METADATA:
                self.head.metadata.setdefault(kind, self._read(length))
            position += 8 + length + (length & 1)
        if self._stream.seek(0, io.SEEK_END) < end:
            self._stream.seek(0, io.SEEK_END)
            self._read(1)

    def _header(self, data: bytes) -> None:
        self.head.flags = data[0]
        self.head.size = _number(data, 4) + 1, _number(data, 7) + 1
        if self.head.flags & ANIMATION:
            check_pixels(*self.head.size, self._limit, self._name)

    def _stored(self, length: int, *, keep: bool) -> _Stored:
        label = f"frame {self._frame} of {self._name}"
        if length < 16:
            raise DecodeError(f"{label} is damaged: {length} bytes are too few")
        header = self._read(16)
        left, top = 2 * _number(header, 0), 2 * _number(header, 3)
        width, height = _number(header, 6) + 1, _number(header, 9) + 1
        if left + width > self.head.size[0] or top + height > self.head.size[1]:
            raise DecodeError(
                f"{label} is damaged: {width}x{height} at {left},{top} "
                f"on {self.head.size[0]}x{self.head.size[1]}"
            )
        # A frame may hold chunks nobody knows, but no compressor makes that much of its pixels.
        if length > 8 * width * height + (1 << 20):
            raise DecodeError(f"{label} is damaged: {length} bytes for {width}x{height} pixels")
        pixels = b""
        if keep:
            pixels = self._read(length - 16)
        else:
            self._stream.seek(length - 17, io.SEEK_CUR)
            self._read(1)
        known = [
            chunk(kind, data)
            for kind, data in chunks_of(pixels, 0)
            if kind in (b"ALPH", b"VP8 ", b"VP8L")
        ]
        return _Stored(
            left=left,
            top=top,
            width=width,
            height=height,
            duration=_number(header, 12),
            dispose=Dispose.CLEAR if header[15] & 1 else Dispose.KEEP,
            over=not header[15] & 2,
            pixels=b"".join(known),
        )

    def _read(self, count: int) -> bytes:
        try:
            return read_exactly(self._stream, count)
        except EOFError:
            where = f"in frame {self._frame}" if self._frame else "before the first frame"
            raise DecodeError(f"{self._name} is truncated: the file ends {where}") from None


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 3], "little")
