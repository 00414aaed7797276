"""Animated PNG in.

Each frame is made a PNG of its own and decoded as any still; composing is done here, because Pillow
lays half transparent pixels over others by a formula that loses opacity.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import BinaryIO

from ..._text import shown
from ...errors import DecodeError
from ...picture import Picture
from ..image import image_over
from ..limits import check_pixels
from ..png_reader import SIGNATURE
from .frames import Animation, Dispose, Frame, Patch, compose
from .stills import as_bytes, decode_still, read_exactly, turn, turned_by

_GRAY_TYPES = (0, 4)
_ALPHA_TYPES = (4, 6)
_DISPOSE = (Dispose.KEEP, Dispose.CLEAR, Dispose.RESTORE)

# What stands before the pixels besides the palette is left out beyond this, all together.
_MOST_METADATA = 1 << 25


@dataclass(frozen=True, slots=True)
class _Control:
    """A frame control chunk."""

    width: int
    height: int
    left: int
    top: int
    duration: Fraction
    dispose: Dispose
    over: bool


@dataclass(slots=True)
class _Head:
    """Everything that all frames share.

    header: the data of IHDR; palette: the chunks PLTE and tRNS, whole; rest: the other chunks in
    front of the pixels, whole; plays: of acTL, or None where there is none.
    """

    header: bytes = b""
    palette: bytes = b""
    rest: bytes = b""
    plays: int | None = None
    transparent: bool = False

    def still(self, width: int, height: int, pixels: bytes, *, metadata: bool = False) -> bytes:
        """A PNG of these compressed pixels."""
        header = struct.pack(">II", width, height) + self.header[8:]
        rest = self.rest if metadata else b""
        return b"".join(
            (
                SIGNATURE,
                chunk(b"IHDR", header),
                rest,
                self.palette,
                chunk(b"IDAT", pixels),
                chunk(b"IEND", b""),
            )
        )


@dataclass(slots=True)
class _Stored:
    """One frame of the file; ``control`` is None for a default image that is no frame."""

    control: _Control | None
    parts: list[bytes] = field(default_factory=list)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A whole chunk."""
    check = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def open_apng(stream: BinaryIO, name: str, limit: int) -> Animation | None:
    """The animation in a PNG, None where that is a still picture.

    ``loop`` is what the file has: how often the animation is played, 0 forever. A default image
    that is not part of the animation is left out.
    """
    if not _is_animated(stream, name, limit):
        return None
    walk = _Walk(stream, name, limit)
    frames, cleared, first = 0, False, None
    for stored in walk.stored(keep=False):
        first = first or stored.control
        if stored.control is not None:
            frames += 1
            cleared |= stored.control.dispose is Dispose.CLEAR
    head = walk.head
    width, height = struct.unpack_from(">II", head.header)
    assert first is not None
    still = _first_still(stream, name, limit)
    whole = (first.left, first.top, first.width, first.height) == (0, 0, width, height)
    kind = head.header[9]
    gray = kind in _GRAY_TYPES
    picture = decode_still(still, name, limit)
    exif = turned_by(still, name)
    source = replace(picture.source, reduced=picture.source.reduced or head.header[8] == 16)
    upright = (height, width) if exif and picture.width == height != width else (width, height)

    def play() -> Iterator[Frame]:
        patches = _patches(stream, name, limit, gray)
        for color, alpha, duration in compose(width, height, 1 if gray else 3, patches):
            frame = Picture(color, alpha, picture.metadata, source)
            if exif is not None:
                frame = turn(frame, image_over(color, alpha), exif)
            yield Frame(frame, duration)

    return Animation(
        width=upright[0],
        height=upright[1],
        frames=frames,
        loop=head.plays or 0,
        metadata=picture.metadata,
        source=source,
        gray=gray,
        has_alpha=kind in _ALPHA_TYPES or head.transparent or cleared or not whole,
        play=play,
    )


def _is_animated(stream: BinaryIO, name: str, limit: int) -> bool:
    """Whether there is more to see than one picture."""
    walk = _Walk(stream, name, limit)
    frames = 0
    for stored in walk.stored(keep=False, animated_only=True):
        frames += stored.control is not None
        if frames > 1 or (frames and walk.separate):
            return True
    return False


def _first_still(stream: BinaryIO, name: str, limit: int) -> bytes:
    """The default image as a PNG with all metadata."""
    walk = _Walk(stream, name, limit)
    stored = next(walk.stored(keep=True))
    width, height = struct.unpack_from(">II", walk.head.header)
    return walk.head.still(width, height, b"".join(stored.parts), metadata=True)


def _patches(stream: BinaryIO, name: str, limit: int, gray: bool) -> Iterator[Patch]:
    walk = _Walk(stream, name, limit)
    number = 0
    for stored in walk.stored(keep=True):
        control = stored.control
        if control is None:
            continue
        number += 1
        still = walk.head.still(control.width, control.height, b"".join(stored.parts))
        picture = decode_still(still, f"frame {number} of {name}", limit)
        yield Patch(
            color=as_bytes(picture.color),
            alpha=None if picture.alpha is None else as_bytes(picture.alpha),
            left=control.left,
            top=control.top,
            duration=control.duration,
            # Before the first frame there is nothing to restore: the specification clears.
            dispose=Dispose.CLEAR
            if number == 1 and control.dispose is Dispose.RESTORE
            else control.dispose,
            over=control.over,
        )


class _Walk:
    """The chunks of a PNG from its start."""

    def __init__(self, stream: BinaryIO, name: str, limit: int) -> None:
        self.head = _Head()
        self.separate = False
        self._stream = stream
        self._name = name
        self._limit = limit
        self._frame = 0
        self._size = (0, 0)
        self._sequence = 0

    def stored(self, *, keep: bool, animated_only: bool = False) -> Iterator[_Stored]:
        """Every frame with its compressed pixels, only with ``keep``, and the default image.

        animated_only: stop at the pixels of a file that declares no animation.
        """
        self._stream.seek(len(SIGNATURE))
        current: _Stored | None = None
        pixels = False
        held = 0
        while True:
            kind, length = self._start()
            if kind == b"IHDR":
                self._header(self._data(kind, length, 13))
            elif not self.head.header:
                raise DecodeError(f"{self._name} is damaged: IHDR is not its first chunk")
            elif kind == b"acTL" and not pixels:
                self.head.plays = struct.unpack(">II", self._data(kind, length, 8))[1]
                check_pixels(*self._size, self._limit, self._name)
            elif kind == b"fcTL" and self.head.plays is not None:
                if current is not None and pixels:
                    yield current
                self._frame += 1
                held = 0
                current = _Stored(self._control(self._data(kind, length, 26), pixels))
            elif kind in (b"IDAT", b"fdAT"):
                if kind == b"IDAT" and self.head.plays is None and animated_only:
                    return
                if kind == b"fdAT" and (current is None or not pixels):
                    raise DecodeError(f"{self._name} is damaged: an fdAT chunk before any frame")
                if current is None:
                    self.separate = True
                    current = _Stored(None)
                pixels = True
                held += length
                self._check_amount(current.control, held)
                if kind == b"fdAT":
                    current.parts.append(self._later(length, keep=keep))
                elif keep:
                    current.parts.append(self._data(kind, length, length))
                else:
                    self._skip(length)
            elif kind == b"IEND":
                self._skip(length)
                if current is not None and pixels:
                    yield current
                return
            elif pixels:
                self._skip(length)
            else:
                self._ancillary(kind, length)

    def _header(self, data: bytes) -> None:
        self.head.header = data
        self._size = struct.unpack_from(">II", data)
        if 0 in self._size:
            raise DecodeError(f"{self._name} is {self._size[0]}x{self._size[1]}; no side may be 0")

    def _ancillary(self, kind: bytes, length: int) -> None:
        known = kind in (b"PLTE", b"tRNS")
        if known and length > 768:
            raise DecodeError(f"{self._name} is damaged: its {shown(kind.decode())} is too long")
        if known:
            self.head.palette += chunk(kind, self._data(kind, length, length))
            self.head.transparent |= kind == b"tRNS"
        elif len(self.head.rest) + length <= _MOST_METADATA:
            # With its checksum as it is: the decoder knows which chunks may be wrong.
            self.head.rest += struct.pack(">I4s", length, kind) + self._read(length + 4)
        else:
            self._skip(length)

    def _control(self, data: bytes, pixels: bool) -> _Control:
        number, width, height, left, top, part, whole, dispose, blend = struct.unpack(
            ">IIIIIHHBB", data
        )
        self._count(number)
        inside = left + width <= self._size[0] and top + height <= self._size[1]
        if 0 in (width, height) or not inside or dispose > 2 or blend > 1:
            raise DecodeError(
                f"frame {self._frame} of {self._name} is damaged: {width}x{height} at {left},{top} "
                f"on {self._size[0]}x{self._size[1]}, dispose {dispose}, blend {blend}"
            )
        if not pixels and not self.separate and (width, height) != self._size:
            raise DecodeError(f"frame 1 of {self._name} is not as large as the picture")
        return _Control(
            width=width,
            height=height,
            left=left,
            top=top,
            duration=Fraction(part, whole or 100),
            dispose=_DISPOSE[dispose],
            over=bool(blend),
        )

    def _count(self, number: int) -> None:
        if number != self._sequence:
            raise DecodeError(
                f"frame {self._frame} of {self._name} is damaged: chunk {number} of the animation "
                f"stands where {self._sequence} should"
            )
        self._sequence += 1

    def _check_amount(self, control: _Control | None, held: int) -> None:
        """Refuse more compressed bytes than any compressor makes of so many pixels."""
        width, height = self._size if control is None else (control.width, control.height)
        if held > 2 * height * (8 * width + 8) + (1 << 20):
            raise DecodeError(
                f"frame {self._frame} of {self._name} is damaged: {held} bytes for "
                f"{width}x{height} pixels"
            )

    def _later(self, length: int, *, keep: bool) -> bytes:
        """The pixels in an fdAT chunk."""
        if length < 4:
            raise DecodeError(f"frame {self._frame} of {self._name} is damaged: an empty fdAT")
        if keep:
            data = self._data(b"fdAT", length, length)
            self._count(int.from_bytes(data[:4], "big"))
            return data[4:]
        self._count(int.from_bytes(self._read(4), "big"))
        self._skip(length - 4)
        return b""

    def _start(self) -> tuple[bytes, int]:
        length, kind = struct.unpack(">I4s", self._read(8))
        return kind, length

    def _data(self, kind: bytes, length: int, expected: int) -> bytes:
        if length != expected:
            raise DecodeError(
                f"{self._name} is damaged: {length} bytes in {shown(kind.decode('latin-1'))}, "
                f"not {expected}"
            )
        data = self._read(length)
        if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(self._read(4), "big"):
            where = f"frame {self._frame} of {self._name}" if self._frame else self._name
            label = shown(kind.decode("latin-1"))
            raise DecodeError(f"{where} is damaged: the checksum of its {label} chunk is wrong")
        return data

    def _skip(self, length: int) -> None:
        """Skip the rest of a chunk; the last byte is read, since seeking passes the end."""
        self._stream.seek(length + 3, io.SEEK_CUR)
        self._read(1)

    def _read(self, count: int) -> bytes:
        try:
            return read_exactly(self._stream, count)
        except EOFError:
            where = f"in frame {self._frame}" if self._frame else "before the first frame"
            raise DecodeError(f"{self._name} is truncated: the file ends {where}") from None
