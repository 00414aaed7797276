"""Animated GIF out.

Unchanged pixels are not written again, so they cannot flicker when the palette changes. GIF makes a
pixel transparent only by clearing the rectangle of the previous frame, so a frame is written when
the next one is known.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._pillow import quiet
from .frames import Bytes
from .palette import best_palette, nearest, packed, squared_error, unpacked
from .writer import AnimationWriter, Area, DurationRounder, Target, area_of

_MAX_DELAY = 65535
_MAX_PLAYS = 65536
_KEEP, _CLEAR = 1, 2

# Change of a pixel, in levels, up to which it is not written again if a frame has too many colors
# to be exact. The palette changes colors by more.
_TOLERANCE = 2

# A palette is reused while the squared error is below this factor and offset of the error for its
# own frame: changes of the palette make moving parts flicker.
_FACTOR, _SLACK = 1.25, 1.0

_Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class _PendingFrame:
    """A frame that waits to be written.

    clear: the transparent index, or None if every index is a color.
    erased: its area is cleared after it was shown.
    """

    area: Area
    indices: Bytes
    palette: Bytes
    clear: int | None
    delay: int
    erased: bool = False


class GifWriter(AnimationWriter):
    """At most 256 new colors per frame; exact if a frame has no more."""

    label = "GIF"
    holds_gray = False
    holds_icc = False

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._rounder = DurationRounder(100, _MAX_DELAY)
        size = (target.height, target.width)
        # The color shown, and the exact color when a pixel was last written.
        self._shown = np.zeros(size, np.uint32)
        self._exact = np.zeros(size, np.uint32)
        self._solid: _Mask = np.zeros(size, np.bool_)
        self._waiting: _PendingFrame | None = None
        self._global: Bytes | None = None
        #: A palette and the squared error for its own frame.
        self._quantized: tuple[Bytes, float] | None = None
        self._reduced = 0
        self._inexact = False  # of the current frame
        self._half = False
        self._short = False

    def _write(self, pixels: Bytes, duration: Fraction) -> None:
        color, solid = packed(pixels[:, :, :3]), np.ones(pixels.shape[:2], np.bool_)
        if self.target.has_alpha:
            alpha = pixels[:, :, 3]
            solid = alpha >= 128
            self._half |= bool(((alpha > 0) & (alpha < 255)).any())
        delay = self._rounder.units(duration)
        self._short |= 0 < delay < 2
        self._inexact = False
        exact = _few_colors(color[solid], self._max_colors)
        new = self._new(color, solid, exact=exact)
        # An unchanged pixel that is written again keeps the color shown.
        wanted = np.where(new | ~self._solid, color, self._shown)
        written = new | self._redrawn(solid)
        area = area_of(written) or Area(0, 0, 1, 1)
        chosen = written[area.slices]
        if exact and not _few_colors(wanted[area.slices][chosen], 255):
            chosen[...] = True  # 256 new colors leave no index for unchanged pixels
        seen, held = self._indexed(wanted[area.slices], chosen, area, delay)
        if self._waiting is not None:
            self._write_frame(self._waiting)
        self._waiting = held
        self._shown[area.slices][chosen] = seen
        self._exact[new] = color[new]
        self._solid = solid
        self._reduced += self._inexact

    @property
    def _max_colors(self) -> int:
        """Colors of a frame; transparency takes one index."""
        return 255 if self.target.has_alpha else 256

    def _new(self, color: npt.NDArray[np.uint32], solid: _Mask, *, exact: bool) -> _Mask:
        """Return the mask of pixels whose shown color is not close enough."""
        if exact:
            differs = color != self._shown
        else:
            differs = color != self._exact
            now = unpacked(color[differs]).astype(np.int16)
            change = np.abs(now - unpacked(self._exact[differs])).max(axis=1)
            differs[differs] = change > _TOLERANCE
            self._inexact |= bool((change <= _TOLERANCE).any())
        new: _Mask = solid & (differs | ~self._solid)
        return new

    def _redrawn(self, solid: _Mask) -> _Mask:
        """Return the mask of pixels to draw again because the previous frame is cleared."""
        gone = area_of(self._solid & ~solid)
        nothing: _Mask = np.zeros_like(solid)
        held = self._waiting
        if gone is None or held is None:
            return nothing
        assert held.clear is not None
        area = held.area.union(gone)
        grown = np.full((area.height, area.width), held.clear, np.uint8)
        left, top = held.area.left - area.left, held.area.top - area.top
        grown[top : top + held.area.height, left : left + held.area.width] = held.indices
        held.area, held.indices, held.erased = area, grown, True
        nothing[area.slices] = solid[area.slices]
        return nothing

    def _indexed(
        self, wanted: npt.NDArray[np.uint32], chosen: _Mask, area: Area, delay: int
    ) -> tuple[npt.NDArray[np.uint32], _PendingFrame]:
        """Return the colors that will be shown at ``chosen``, and the frame of ``area``."""
        numbers, places, counts = np.unique(wanted[chosen], return_inverse=True, return_counts=True)
        colors = unpacked(numbers)
        room = self._max_colors if chosen.all() else 255
        if len(colors) <= room:
            palette, index = colors, np.arange(len(colors)).astype(np.uint8)
        else:
            self._inexact = True
            palette = self._palette_for(colors, counts, room)
            index = nearest(colors, palette)
        clear = len(palette) if len(palette) < 256 else None
        indices = np.full(chosen.shape, 0 if clear is None else clear, np.uint8)
        indices[chosen] = index[places]
        seen = packed(palette[index])[places] if len(palette) else numbers[places]
        return seen, _PendingFrame(area, indices, palette, clear, delay)

    def _palette_for(self, colors: Bytes, counts: npt.NDArray[Any], room: int) -> Bytes:
        if self._quantized is not None and len(self._quantized[0]) <= room:
            palette, error = self._quantized
            if squared_error(colors, counts, palette) <= _FACTOR * error + _SLACK:
                return palette
        palette = best_palette(colors, counts, room)
        self._quantized = palette, squared_error(colors, counts, palette)
        return palette

    # --- the file

    def _write_frame(self, held: _PendingFrame) -> None:
        """Write a frame, cleared afterward if ``erased``."""
        stream = self.target.stream
        table = _table(held.palette)
        if self._global is None:
            self._global = held.palette
            self._begin(table)
        own = not np.array_equal(held.palette, self._global)
        dispose = _CLEAR if held.erased else _KEEP
        control = (dispose << 2) | (held.clear is not None)
        stream.write(
            b"\x21\xf9\x04" + struct.pack("<BHBB", control, held.delay, held.clear or 0, 0)
        )
        flags = 0x80 | _exponent(table) if own else 0
        area = held.area
        stream.write(
            struct.pack("<BHHHHB", 0x2C, area.left, area.top, area.width, area.height, flags)
        )
        stream.write((table if own else b"") + _lzw(held.indices))

    def _begin(self, table: bytes) -> None:
        target = self.target
        flags = 0xF0 | _exponent(table)
        target.stream.write(
            b"GIF89a" + struct.pack("<HHBBB", target.width, target.height, flags, 0, 0) + table
        )
        if target.loop != 1:
            repeats = max(0, min(target.loop, _MAX_PLAYS) - 1)
            target.stream.write(b"\x21\xff\x0bNETSCAPE2.0" + struct.pack("<BBHB", 3, 1, repeats, 0))

    def _finish(self) -> None:
        assert self._waiting is not None
        self._write_frame(self._waiting)
        self.target.stream.write(b";")
        metadata = self.target.metadata
        lost = [
            (self._half, "GIF has no half transparency: every pixel is on or off"),
            (
                self._reduced > 0,
                f"GIF holds 256 colors a frame: reduced in {self._reduced} of {self.frames}",
            ),
            (self._rounder.rounded, "GIF counts time in 1/100 s: durations rounded"),
            (self._rounder.shortened, "GIF shows a frame for 655 s at most: shortened"),
            (self._short, "most viewers slow frames of 1/100 s down to 1/10 s"),
            (
                self.target.loop > _MAX_PLAYS,
                f"GIF is played {_MAX_PLAYS} times at most: loop count reduced",
            ),
            (metadata.exif is not None, "GIF holds no EXIF: left out"),
            (metadata.xmp is not None, "GIF holds no XMP: left out"),
            (bool(metadata.text), "GIF holds no texts like those of PNG: left out"),
        ]
        self.notes += [note for said, note in lost if said]


def _few_colors(colors: npt.NDArray[np.uint32], most: int) -> bool:
    """Return whether there are at most ``most`` distinct colors."""
    # A sample suffices for pictures with thousands of colors.
    if len(np.unique(colors[:: max(1, len(colors) // 4096)])) > most:
        return False
    return len(np.unique(colors)) <= most


def _exponent(table: bytes) -> int:
    """Return n for a color table of 2^(n + 1) colors."""
    return max(0, (len(table) // 3 - 1).bit_length() - 1)


def _table(palette: Bytes) -> bytes:
    """Return ``palette`` padded to a power of two, at least 2."""
    size = max(2, 1 << max(0, len(palette) - 1).bit_length())
    return palette.tobytes() + bytes(3 * (size - len(palette)))


def _lzw(indices: Bytes) -> bytes:
    """Return ``indices`` (h, w) compressed for GIF: the code size and the sub-blocks."""
    buffer = io.BytesIO()
    # Pillow writes the samples of gray unchanged.
    with quiet():
        Image.fromarray(indices).save(buffer, "GIF", optimize=False, interlace=False)
    data = buffer.getvalue()
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    assert data[start] == 0x2C
    start += 10 + (3 << (data[start + 9] & 7) + 1 if data[start + 9] & 0x80 else 0)
    return data[start:-1]
