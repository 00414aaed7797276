"""Animated PNG out: fcTL, IDAT and fdAT chunks around data compressed by `PngWriter`."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from ..png_chunks import HEADER_END, chunk, chunks_of, metadata_of
from ..png_writer import PngWriter
from .frames import Bytes
from .writer import AnimationWriter, Area, Target, area_of, still_with_metadata

_MAX_UINT16 = 65535
_MAX_CHUNK = 1 << 30


class ApngWriter(AnimationWriter):
    """Lossless; stores the changed rectangle of each frame."""

    label = "PNG"

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._before: Bytes | None = None
        self._sequence = 0
        self._counts_at = 0

    def _write(self, pixels: Bytes, duration: Fraction) -> None:
        area = Area(0, 0, self.target.width, self.target.height)
        if self._before is not None:
            # An unchanged frame is stored as one unchanged pixel.
            area = area_of(np.any(pixels != self._before, axis=2)) or Area(0, 0, 1, 1)
        still = _compressed(pixels[area.slices], self.target.has_alpha)
        if self._before is None:
            self._begin(still[:HEADER_END])
        place = area.width, area.height, area.left, area.top
        treatment = 0, 0  # dispose: keep; blend: replace
        numbers = self._next(), *place, *self._fraction(duration), *treatment
        self._chunk(b"fcTL", struct.pack(">IIIIIHHBB", *numbers))
        for data in _pixel_data(still):
            if self._before is None:
                self._chunk(b"IDAT", data)
            else:
                self._chunk(b"fdAT", struct.pack(">I", self._next()) + data)
        self._before = pixels

    def _begin(self, header: bytes) -> None:
        still, notes = still_with_metadata(self.target, "png")
        self.notes += notes
        self.target.stream.write(header)
        self._counts_at = self.target.stream.tell()
        self._chunk(b"acTL", bytes(8))
        self.target.stream.write(metadata_of(still))

    def _finish(self) -> None:
        stream = self.target.stream
        self._chunk(b"IEND", b"")
        end = stream.tell()
        stream.seek(self._counts_at)
        self._chunk(b"acTL", struct.pack(">II", self.frames, min(self.target.loop, 2**31 - 1)))
        stream.seek(end)

    def _fraction(self, duration: Fraction) -> tuple[int, int]:
        """Return ``duration`` as the two 16-bit numbers of fcTL."""
        if duration > _MAX_UINT16:
            self.notes.append(f"PNG shows a frame for {_MAX_UINT16} s at most: shortened")
            return _MAX_UINT16, 1
        if max(duration.numerator, duration.denominator) > _MAX_UINT16:
            largest = min(_MAX_UINT16, int(_MAX_UINT16 / duration)) if duration else 1
            duration = duration.limit_denominator(max(1, largest))
            self.notes.append("durations rounded to what PNG holds")
        return min(_MAX_UINT16, duration.numerator), duration.denominator

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self.target.stream.write(chunk(kind, data))


def _compressed(pixels: Bytes, has_alpha: bool) -> bytes:
    """Return a PNG of ``pixels`` (h, w, channels)."""
    buffer = io.BytesIO()
    height, width, channels = pixels.shape
    with PngWriter(buffer, width=width, height=height, channels=channels) as writer:
        if has_alpha:
            writer.write_rows(pixels[:, :, :-1], pixels[:, :, -1])
        else:
            writer.write_rows(pixels)
    return buffer.getvalue()


def _pixel_data(file: bytes) -> Iterator[bytes]:
    """Yield the compressed pixels of a PNG, in one part if possible: some readers expect it."""
    data = b"".join(body for kind, body in chunks_of(file) if kind == b"IDAT")
    for start in range(0, len(data), _MAX_CHUNK):
        yield data[start : start + _MAX_CHUNK]
