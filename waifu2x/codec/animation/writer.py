"""What animation writers share: checks, 8 bits, channels, durations, changed areas."""

from __future__ import annotations

import io
import threading
from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from ..._record import record
from ...errors import ArgumentError
from ...picture import Metadata, Picture, Samples
from ..color import ImpliedProfile, implied_profile, is_srgb, samples_to_srgb
from ..encoder import encode_stream
from ..formats import resolve_format
from ..image import matching_icc
from ..samples import convert_samples, interleave
from .frames import Bytes

# Rounding errors are carried in steps of a millionth of the format's unit of time.
_STEPS_PER_UNIT = 1_000_000


@record
class Target:
    """The output of an animation, and its properties.

    stream: an open seekable binary file.
    width, height: of every frame. loop: number of plays, 0 forever.
    quality: 1..100, or None for lossless. gray: all frames have one color channel.
    has_alpha: some frame may have transparent pixels.
    cancel: an event that stops the work, or None.
    """

    stream: BinaryIO
    width: int
    height: int
    loop: int
    quality: int | None
    metadata: Metadata
    gray: bool
    has_alpha: bool
    cancel: threading.Event | None = None


class Area(NamedTuple):
    """A rectangle; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    def union(self, other: Area) -> Area:
        """Return the smallest area that contains both."""
        return Area(*map(min, self[:2], other[:2]), *map(max, self[2:], other[2:]))


def area_of(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Area | None:
    """Return the bounding box of ``mask`` (H, W), or None if it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return Area(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


class DurationRounder:
    """Rounds durations to a format's unit and carries the rounding error to the next frame."""

    def __init__(self, per_second: int, max_units: int) -> None:
        """per_second: units per second; max_units: the longest duration of a frame."""
        self.rounded = False
        self.shortened = False
        self._per_second = per_second
        self._max_units = max_units
        self._error = Fraction(0)

    def units(self, duration: Fraction) -> int:
        """Return the next duration (seconds) in units."""
        exact = duration * self._per_second
        self.rounded |= exact.denominator != 1
        self._error += exact
        units = max(0, int(self._error + Fraction(1, 2)))
        # Limited, or adversarial fractions would grow without bound.
        self._error = (self._error - units).limit_denominator(_STEPS_PER_UNIT)
        self.shortened |= units > self._max_units
        return min(units, self._max_units)

    def notes(self, unit: str, longest: str) -> list[str]:
        """Return notes of what was lost; ``unit`` and ``longest`` state what the format holds."""
        return [
            *([f"{unit}: durations rounded"] if self.rounded else []),
            *([f"{longest} at most: shortened"] if self.shortened else []),
        ]


class AnimationWriter(ABC):
    """Writes an animation frame by frame, with one or two frames in memory.

    Call `close` to finish the file. Leaving the ``with`` block only deletes temporary files.
    """

    label: str
    #: Whether gray frames stay gray; otherwise they are written as RGB.
    holds_gray = True
    #: Whether an ICC profile can be embedded; otherwise colors are converted to sRGB.
    holds_icc = True

    def __init__(self, target: Target) -> None:
        self.target = target
        self.notes: list[str] = []
        self.frames = 0
        self._gray = target.gray and self.holds_gray
        kept = self.holds_icc and self._gray == target.gray
        #: The profile by which frames are converted to sRGB, or None.
        self._source_profile, lost = ImpliedProfile(None) if kept else _source_profile(target)
        self.notes.extend(lost)
        #: Samples per pixel, alpha included.
        self.channels = (1 if self._gray else 3) + target.has_alpha

    def __enter__(self) -> AnimationWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def add(self, picture: Picture, duration: Fraction) -> None:
        """Write the next frame.

        picture: of the size of the target; wider samples are rounded to 8 bits. Its arrays may
            change afterward.
        duration: seconds, 0 or more.

        Raises ArgumentError for another size, for transparency or color that the target does not
        have, and for a negative duration; EncodeError if the file is full; OSError.
        """
        target = self.target
        if (picture.width, picture.height) != (target.width, target.height):
            raise ArgumentError(
                f"frame {self.frames + 1} is {picture.width}x{picture.height}; "
                f"it must be {target.width}x{target.height} like the others"
            )
        if duration < 0:
            raise ArgumentError(f"duration is {duration} s; it must be 0 or more")
        self.frames += 1
        self._write(self._pixels(picture), duration)

    def close(self) -> tuple[str, ...]:
        """Finish the file; return what it does not hold of the animation, a sentence each.

        Raises ArgumentError if no frame was added, and what `add` raises.
        """
        if not self.frames:
            raise ArgumentError("an animation of no frames cannot be written; add one")
        self._finish()
        self.release()
        return tuple(dict.fromkeys(self.notes))

    def release(self) -> None:  # noqa: B027
        """Delete temporary files; may be called twice."""

    @abstractmethod
    def _write(self, pixels: Bytes, duration: Fraction) -> None:
        """Write a frame (H, W, channels); the array belongs to the writer."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what follows the frames."""

    def _pixels(self, picture: Picture) -> Bytes:
        alpha = None if picture.alpha is None else convert_samples(picture.alpha, "uint8")
        if picture.gray != self.target.gray:
            kind = "gray" if picture.gray else "RGB"
            raise ArgumentError(f"frame {self.frames} is {kind}, and the others are not")
        if alpha is not None and not self.target.has_alpha:
            if alpha.min() < 255:
                raise ArgumentError(
                    f"frame {self.frames} is transparent somewhere, and has_alpha was False"
                )
            alpha = None
        color = (
            cast("Bytes", convert_samples(picture.color, "uint8"))
            if self._source_profile is None
            else self._in_srgb(picture.color, self._source_profile)
        )
        if color.shape[2] == 1 and not self._gray:
            color = np.repeat(color, 3, axis=2)
        if alpha is None and self.target.has_alpha:
            alpha = np.full(color.shape[:2], 255, np.uint8)
        pixels = interleave(color, cast("Bytes | None", alpha))
        return pixels.copy() if pixels is picture.color else pixels

    def _in_srgb(self, color: Samples, icc: bytes) -> Bytes:
        converted = samples_to_srgb(color, icc)
        if converted is None:
            self.notes.append(f"the color profile is broken: left out of {self.label}")
            return cast("Bytes", convert_samples(color, "uint8"))
        if not self.holds_icc:
            self.notes.append(
                f"{self.label} is written without a color profile: colors converted to sRGB"
            )
        return converted


def _source_profile(target: Target) -> ImpliedProfile:
    """Return the embedded or implied profile if colors are not sRGB, else None."""
    channels = 1 if target.gray else 3
    found = ImpliedProfile(matching_icc(target.metadata.icc, channels))
    if found.icc is None:
        found = implied_profile(target.metadata, channels)
    same = found.icc is None or is_srgb(found.icc, channels)
    return found._replace(icc=None) if same else found


def still_with_metadata(target: Target, name: str) -> tuple[bytes, tuple[str, ...]]:
    """Encode a blank picture with the metadata of ``target``; return the file and notes.

    Writers copy the metadata out of it, so that all metadata has one writer.
    name: "png", "webp" or "avif".
    """
    channels = 1 if target.gray else 3
    flat = np.zeros((target.height, target.width, channels), np.uint8)
    buffer = io.BytesIO()
    notes = encode_stream(
        Picture(flat, metadata=target.metadata), buffer, resolve_format(None, name)
    )
    return buffer.getvalue(), notes
