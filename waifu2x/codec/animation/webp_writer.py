"""Animated WebP out: ANMF chunks around frames that Pillow compresses.

The container is written here, because libwebp's animation encoder merges equal frames.
"""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import numpy as np

from ...errors import EncodeError
from .._pillow import quiet
from ..formats import webp_options
from ..image import image_over
from .frames import Bytes
from .webp_reader import (
    ALPHA,
    ANIMATION,
    METADATA_FLAGS,
    chunk,
    chunks_of,
    extended_header,
    pixel_chunks,
    uint24,
)
from .writer import AnimationWriter, Area, DurationRounder, Target, area_of, still_with_metadata

_MAX_DURATION = (1 << 24) - 1
_MAX_PLAYS = 65535
_MAX_BYTES = (1 << 32) - 10
_KEEP, _REPLACE = 0, 2


class WebpWriter(AnimationWriter):
    """Lossless or lossy; stores the changed rectangle of each frame."""

    label = "WebP"
    holds_gray = False

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._rounder = DurationRounder(1000, _MAX_DURATION)
        self._before: Bytes | None = None
        self._start = 0
        self._last = b""

    def _write(self, pixels: Bytes, duration: Fraction) -> None:
        area: Area | None = Area(0, 0, self.target.width, self.target.height)
        if self._before is None:
            self._begin()
        else:
            area = area_of(np.any(pixels != self._before, axis=2))
        if area is None:  # an unchanged frame is stored as a transparent pixel
            area, flags = Area(0, 0, 1, 1), _KEEP
            data = self._compressed(np.zeros((1, 1, 4), np.uint8), None)
        else:
            # Offsets are stored in units of 2.
            area, flags = area._replace(left=area.left & ~1, top=area.top & ~1), _REPLACE
            data = self._compressed(pixels[area.slices], self.target.quality)
        place = area.left // 2, area.top // 2, area.width - 1, area.height - 1
        header = b"".join(map(uint24, (*place, self._rounder.units(duration))))
        self._chunk(b"ANMF", header + bytes([flags]) + data)
        self._before = pixels

    def _compressed(self, pixels: Bytes, quality: int | None) -> bytes:
        """Return the chunks of pixels of a still WebP."""
        buffer = io.BytesIO()
        image = image_over(pixels, None)
        with quiet():
            image.save(buffer, "WEBP", **webp_options(image.mode, quality))
        return pixel_chunks(buffer.getvalue(), 12)

    def _begin(self) -> None:
        target = self.target
        still, notes = still_with_metadata(target, "webp")
        self.notes += notes
        around = dict(chunks_of(still, 12))
        # Transparent pixels stand for unchanged frames, so frames may have alpha.
        flags = ANIMATION | ALPHA
        flags |= sum(flag for kind, flag in METADATA_FLAGS.items() if kind in around)
        self._start = target.stream.tell()
        target.stream.write(
            b"RIFF\0\0\0\0WEBP" + extended_header(flags, target.width, target.height)
        )
        if b"ICCP" in around:
            self._chunk(b"ICCP", around[b"ICCP"])
        if target.loop > _MAX_PLAYS:
            self.notes.append(f"WebP is played {_MAX_PLAYS} times at most: loop count reduced")
        self._chunk(b"ANIM", bytes(4) + struct.pack("<H", min(target.loop, _MAX_PLAYS)))
        self._last = b"".join(chunk(k, around[k]) for k in (b"EXIF", b"XMP ") if k in around)

    def _finish(self) -> None:
        stream = self.target.stream
        stream.write(self._last)
        end = stream.tell()
        stream.seek(self._start + 4)
        stream.write(struct.pack("<I", end - self._start - 8))
        stream.seek(end)
        self.notes += self._rounder.notes(
            "WebP counts time in 1/1000 s", "WebP shows a frame for 16777 s"
        )

    def _chunk(self, kind: bytes, data: bytes) -> None:
        stream = self.target.stream
        if stream.tell() - self._start + len(data) + len(self._last) + 8 > _MAX_BYTES:
            raise EncodeError(
                f"the animation is longer than the 4 GiB of WebP at frame {self.frames}; use PNG"
            )
        stream.write(chunk(kind, data))
