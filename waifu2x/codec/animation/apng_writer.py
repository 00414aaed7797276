"""Animated PNG out: fcTL, IDAT and fdAT around what `PngWriter` compresses."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from ..png_reader import SIGNATURE
from ..png_writer import PngWriter
from .apng_reader import chunk
from .frames import Bytes
from .writer import AnimationWriter, Area, Target, area_of, still_with_metadata

_HEADER_END = len(SIGNATURE) + 25  # behind IHDR
_MOST = 65535
_MOST_CHUNK = 1 << 30


class ApngWriter(AnimationWriter):
    """Lossless, exact in every pixel; of each frame the rectangle that changed is stored."""

    label = "PNG"

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._before: Bytes | None = None
        self._sequence = 0
        self._counts_at = 0

    def _write(self, pixels: Bytes, duration: Fraction) -> None:
        area = Area((0, 0, self.target.width, self.target.height))
        if self._before is not None:
            # Nothing new is a frame all the same: one pixel as it was.
            area = area_of(np.any(pixels != self._before, axis=2)) or Area((0, 0, 1, 1))
        whole = _compressed(pixels[area.slices], self.target.has_alpha)
        if self._before is None:
            self._begin(whole[:_HEADER_END])
        part, unit = self._fraction(duration)
        self._chunk(
            b"fcTL",
            struct.pack(
                ">IIIIIHHBB",
                self._next(),
                area.width,
                area.height,
                area[0],
                area[1],
                part,
                unit,
                0,  # left as it is
                0,  # replaces what is there
            ),
        )
        for data in _pixel_chunks(whole):
            if self._before is None:
                self._chunk(b"IDAT", data)
            else:
                self._chunk(b"fdAT", struct.pack(">I", self._next()) + data)
        self._before = pixels

    def _begin(self, header: bytes) -> None:
        still, notes = still_with_metadata(self.target, "png")
        self.notes += notes
        end = next(position for position, kind, _ in _chunks(still) if kind == b"IDAT")
        self.target.stream.write(header)
        self._counts_at = self.target.stream.tell()
        self._chunk(b"acTL", bytes(8))
        self.target.stream.write(still[_HEADER_END:end])

    def _finish(self) -> None:
        stream = self.target.stream
        self._chunk(b"IEND", b"")
        end = stream.tell()
        stream.seek(self._counts_at)
        self._chunk(b"acTL", struct.pack(">II", self.frames, min(self.target.loop, 2**31 - 1)))
        stream.seek(end)

    def _fraction(self, duration: Fraction) -> tuple[int, int]:
        """``duration`` as the two 16-bit numbers of fcTL."""
        if duration > _MOST:
            self.notes.append(f"PNG shows a frame for {_MOST} s at most: shortened")
            return _MOST, 1
        if max(duration.numerator, duration.denominator) > _MOST:
            most = min(_MOST, int(_MOST / duration)) if duration else 1
            duration = duration.limit_denominator(max(1, most))
            self.notes.append("durations rounded to what PNG holds")
        return min(_MOST, duration.numerator), duration.denominator

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self.target.stream.write(chunk(kind, data))


def _compressed(pixels: Bytes, has_alpha: bool) -> bytes:
    """A PNG of ``pixels`` (h, w, channels)."""
    buffer = io.BytesIO()
    height, width, channels = pixels.shape
    with PngWriter(buffer, width=width, height=height, channels=channels) as writer:
        if has_alpha:
            writer.write_rows(pixels[:, :, :-1], pixels[:, :, -1])
        else:
            writer.write_rows(pixels)
    return buffer.getvalue()


def _chunks(file: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Position, kind and length of every chunk of a PNG."""
    position = len(SIGNATURE)
    while position < len(file):
        length, kind = struct.unpack_from(">I4s", file, position)
        yield position, kind, length
        position += 12 + length


def _pixel_chunks(file: bytes) -> Iterator[bytes]:
    """The compressed pixels of a PNG, in one piece where that fits: some readers expect it."""
    data = b"".join(
        file[position + 8 : position + 8 + length]
        for position, kind, length in _chunks(file)
        if kind == b"IDAT"
    )
    for start in range(0, len(data), _MOST_CHUNK):
        yield data[start : start + _MOST_CHUNK]
