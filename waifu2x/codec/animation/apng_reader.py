"""Animated PNG in.

Each frame is wrapped as a PNG and decoded as a still; composing is done here, because Pillow's
formula for half transparent pixels over others loses opacity.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import BinaryIO

from ..._text import AGAIN, shown
from ...errors import DecodeError
from ..container_reader import ContainerReader
from ..limits import check_pixels
from ..png_chunks import SIGNATURE, checksum_matches, chunk
from ..png_reader import UNFINISHED
from .frames import Animation, Dispose, FrameControl, Patch
from .stills import animation_of, decode_still, patch_of

_ALPHA_TYPES = (4, 6)
_DISPOSE = (Dispose.KEEP, Dispose.CLEAR, Dispose.RESTORE)

# Metadata that may follow the pixels.
_AFTER_PIXELS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")

# Metadata chunks are left out beyond this sum.
_MAX_METADATA = 1 << 25


@dataclass(slots=True)
class _Head:
    """What all frames share.

    header: the data of IHDR; palette: the chunks PLTE and tRNS; rest: the other chunks of
    metadata; plays and frames: of acTL, or None and 0 without one.
    """

    header: bytes = b""
    palette: bytes = b""
    rest: bytes = b""
    plays: int | None = None
    frames: int = 0
    transparent: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the canvas."""
        width, height = struct.unpack_from(">II", self.header)
        return width, height

    def still(self, size: tuple[int, int], pixels: bytes, *, metadata: bool = False) -> bytes:
        """Return a PNG of these compressed pixels."""
        header = chunk(b"IHDR", struct.pack(">II", *size) + self.header[8:])
        rest = self.rest if metadata else b""
        data = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
        return SIGNATURE + header + rest + self.palette + data


@dataclass(slots=True)
class _StoredFrame:
    """One frame of the file; ``control`` is None for a default image that is no frame."""

    control: FrameControl | None
    parts: list[bytes] = field(default_factory=list)


def open_apng(stream: BinaryIO, name: str, limit: int) -> Animation | None:
    """Open the animation in a PNG; None for a still picture.

    ``loop`` is as stored: the number of plays, 0 forever. A default image that is not part of the
    animation is left out.
    """
    if not _is_animated(stream, name, limit):
        return None
    reader = _ApngReader(stream, name, limit)
    controls = [frame.control for frame in reader.frames(keep=False) if frame.control is not None]
    head = reader.head
    default = next(_ApngReader(stream, name, limit).frames(keep=True))
    return animation_of(
        head.still(head.size, b"".join(default.parts), metadata=True),
        name,
        limit,
        size=head.size,
        controls=controls,
        loop=head.plays or 0,
        has_alpha=head.header[9] in _ALPHA_TYPES or head.transparent,
        patches=lambda: _patches(stream, name, limit),
        reduced=head.header[8] == 16,
        notes=() if reader.ended else (UNFINISHED,),
    )


def _is_animated(stream: BinaryIO, name: str, limit: int) -> bool:
    """Return whether the file shows more than one picture."""
    reader = _ApngReader(stream, name, limit)
    frames = 0
    for frame in reader.frames(keep=False, animated_only=True):
        frames += frame.control is not None
        if frames > 1 or (frames and reader.separate):
            return True
    return False


def _patches(stream: BinaryIO, name: str, limit: int) -> Iterator[Patch]:
    reader = _ApngReader(stream, name, limit)
    number = 0
    for frame in reader.frames(keep=True):
        control = frame.control
        if control is None:
            continue
        number += 1
        if number == 1 and control.dispose is Dispose.RESTORE:
            control = replace(control, dispose=Dispose.CLEAR)  # as the specification demands
        still = reader.head.still((control.width, control.height), b"".join(frame.parts))
        yield patch_of(decode_still(still, f"frame {number} of {name}", limit), control)


class _ApngReader(ContainerReader):
    """Reads the chunks of a PNG from its start."""

    def __init__(self, stream: BinaryIO, name: str, limit: int) -> None:
        super().__init__(stream, name, limit)
        self.head = _Head()
        self.separate = False
        self.ended = True
        self._size = (0, 0)
        self._sequence = 0

    def frames(self, *, keep: bool, animated_only: bool = False) -> Iterator[_StoredFrame]:
        """Yield every frame and the default image; with ``keep``, their compressed pixels.

        animated_only: stop at the pixels of a file that declares no animation.
        """
        self._stream.seek(len(SIGNATURE))
        current: _StoredFrame | None = None
        pixels = False
        held = 0
        while True:
            length, kind = self._next_chunk(complete=pixels and bool(held))
            if kind == b"IHDR":
                self._header(self._data(kind, length, 13))
            elif not self.head.header:
                raise DecodeError(f"{self._name} is damaged: IHDR is not its first chunk{AGAIN}")
            elif kind == b"acTL" and not pixels and length == 8:
                data, stored = self._read(8), self._read(4)
                if checksum_matches(kind, data, stored):
                    self.head.frames, self.head.plays = struct.unpack(">II", data)
                    check_pixels(*self._size, self._limit, self._name)
            elif kind == b"fcTL" and self.head.plays is not None:
                if current is not None and held:
                    yield current
                self._frame += 1
                held = 0
                current = _StoredFrame(self._control(self._data(kind, length, 26), pixels))
            elif kind in (b"IDAT", b"fdAT"):
                if kind == b"IDAT" and self.head.plays is None and animated_only:
                    return
                if kind == b"fdAT" and (current is None or not pixels):
                    raise DecodeError(
                        f"{self._name} is damaged: an fdAT chunk before any frame{AGAIN}"
                    )
                if current is None:
                    self.separate = True
                    current = _StoredFrame(None)
                pixels = True
                held += length
                self._check_amount(current.control, held)
                if kind == b"fdAT":
                    current.parts.append(self._fdat(length, keep=keep))
                elif keep:
                    current.parts.append(self._data(kind, length, length))
                else:
                    self._skip(length + 4)
            elif kind == b"IEND":
                if current is not None and held:
                    yield current
                return
            elif pixels and kind not in _AFTER_PIXELS:
                self._skip(length + 4)
            else:
                self._ancillary(kind, length)

    def _next_chunk(self, *, complete: bool) -> tuple[int, bytes]:
        """Return length and kind of the next chunk; IEND behind the last frame may be missing.

        complete: whether the current frame has pixels; `decode_still` checks that it has all.
        """
        start = self._stream.read(8)
        if len(start) < 8 and complete and self._frame == self.head.frames > 0:
            self.ended = False
            return 0, b"IEND"
        length, kind = struct.unpack(">I4s", start + self._read(8 - len(start)))
        return length, kind

    def _header(self, data: bytes) -> None:
        self.head.header = data
        self._size = struct.unpack_from(">II", data)
        if 0 in self._size:
            raise DecodeError(f"{self._name} is {self._size[0]}x{self._size[1]}; no side may be 0")

    def _ancillary(self, kind: bytes, length: int) -> None:
        if kind == b"PLTE" and length > 768:
            raise DecodeError(f"{self._name} is damaged: its PLTE is too long{AGAIN}")
        if kind == b"PLTE":
            self.head.palette += chunk(kind, self._data(kind, length, length))
        elif kind == b"tRNS" and length <= 256:
            # With its checksum: a damaged chunk is left out when a frame is decoded.
            self.head.palette += struct.pack(">I4s", length, kind) + self._read(length + 4)
            self.head.transparent = True
        elif len(self.head.rest) + length <= _MAX_METADATA:
            # With its checksum: the decoder checks it if the chunk matters.
            self.head.rest += struct.pack(">I4s", length, kind) + self._read(length + 4)
        else:
            self._skip(length + 4)

    def _control(self, data: bytes, pixels: bool) -> FrameControl:
        number, width, height, left, top, part, whole, dispose, blend = struct.unpack(
            ">IIIIIHHBB", data
        )
        self._count(number)
        inside = left + width <= self._size[0] and top + height <= self._size[1]
        if 0 in (width, height) or not inside or dispose > 2 or blend > 1:
            raise self._damaged(
                f"{width}x{height} at {left},{top} "
                f"on {self._size[0]}x{self._size[1]}, dispose {dispose}, blend {blend}"
            )
        if not pixels and not self.separate and (width, height) != self._size:
            raise DecodeError(f"frame 1 of {self._name} is not as large as the picture{AGAIN}")
        duration = Fraction(part, whole or 100)
        return FrameControl(left, top, width, height, duration, _DISPOSE[dispose], bool(blend))

    def _count(self, number: int) -> None:
        if number != self._sequence:
            raise self._damaged(f"its sequence number is {number}, not {self._sequence}")
        self._sequence += 1

    def _check_amount(self, control: FrameControl | None, held: int) -> None:
        """Refuse more compressed bytes than any compressor produces for the pixels."""
        width, height = self._size if control is None else (control.width, control.height)
        if held > 2 * height * (8 * width + 8) + (1 << 20):
            raise self._damaged(f"{held} bytes for {width}x{height} pixels")

    def _fdat(self, length: int, *, keep: bool) -> bytes:
        """Return the pixels in an fdAT chunk."""
        if length < 4:
            raise self._damaged("an empty fdAT")
        if keep:
            data = self._data(b"fdAT", length, length)
            self._count(int.from_bytes(data[:4], "big"))
            return data[4:]
        self._count(int.from_bytes(self._read(4), "big"))
        return self._skip(length)

    def _data(self, kind: bytes, length: int, expected: int) -> bytes:
        if length != expected:
            raise DecodeError(
                f"{self._name} is damaged: {length} bytes in {shown(kind.decode('latin-1'))}, "
                f"not {expected}{AGAIN}"
            )
        data = self._read(length)
        if not checksum_matches(kind, data, self._read(4)):
            where = f"frame {self._frame} of {self._name}" if self._frame else self._name
            label = shown(kind.decode("latin-1"))
            raise DecodeError(
                f"{where} is damaged: the checksum of its {label} chunk is wrong{AGAIN}"
            )
        return data
