"""What every writer of animations does: checks, 8 bits, channels, time, areas that changed."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np

from ...errors import ArgumentError
from ...picture import Metadata, Picture
from ..color import Labeled, implied_profile, is_srgb
from ..encoder import encode_stream
from ..formats import resolve_format
from ..image import image_over, matching_icc, to_srgb
from ..samples import convert_samples, merged
from .frames import Bytes

# The finest step a remainder of time is carried in, a millionth of a unit of the format.
_FINEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """What an animation is written to, and what is known of it beforehand.

    stream: an open binary file that can seek and read what was written.
    width, height: of every frame. loop: how often it is played, 0 forever.
    quality: 1..100, or None for lossless. gray: all frames have one color channel.
    has_alpha: some frame may have transparent pixels.
    """

    stream: BinaryIO
    width: int
    height: int
    loop: int
    quality: int | None
    metadata: Metadata
    gray: bool
    has_alpha: bool


class Area(tuple[int, int, int, int]):
    """A rectangle: left, top, right, bottom, the last two exclusive."""

    __slots__ = ()

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        left, top, right, bottom = self
        return slice(top, bottom), slice(left, right)

    @property
    def width(self) -> int:
        """In pixels."""
        return self[2] - self[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self[3] - self[1]

    def joined(self, other: Area) -> Area:
        """The least area that holds both."""
        return Area(
            (
                min(self[0], other[0]),
                min(self[1], other[1]),
                max(self[2], other[2]),
                max(self[3], other[3]),
            )
        )


def area_of(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Area | None:
    """The least area that holds all of ``mask`` (H, W), or None where that is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return Area((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


class Clock:
    """Durations in whole units of a format; what one is rounded by, the next ones make up for."""

    def __init__(self, per_second: int, most: int) -> None:
        """per_second: units in a second; most: units that a frame may last."""
        self.rounded = False
        self.cut = False
        self._per_second = per_second
        self._most = most
        self._rest = Fraction(0)

    def units(self, duration: Fraction) -> int:
        """The next duration (seconds) in units."""
        exact = duration * self._per_second
        self.rounded |= exact.denominator != 1
        self._rest += exact
        units = max(0, int(self._rest + Fraction(1, 2)))
        # Coarsened, or adversarial fractions would grow without end.
        self._rest = (self._rest - units).limit_denominator(_FINEST)
        if units > self._most:
            self.cut = True
            return self._most
        return units


class AnimationWriter(ABC):
    """Writes an animation frame by frame, with one frame or two in memory.

    As a context manager it closes nothing by itself: call `close`. Leaving the block gives
    temporary files back.
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
        #: Through this profile to sRGB, which the frames must go, or None.
        self._foreign, lost = Labeled(None) if kept else _foreign_profile(target)
        self.notes.extend(lost)
        #: Samples of a pixel, alpha among them.
        self.channels = (1 if self._gray else 3) + target.has_alpha

    def __enter__(self) -> AnimationWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def add(self, picture: Picture, duration: Fraction) -> None:
        """Write the next frame.

        picture: of the size given before; samples of more than 8 bits are rounded to 8. Its arrays
            may change afterwards.
        duration: seconds, 0 or more.

        Raises ArgumentError for another size, for transparency or color that was not announced,
        and for a negative duration; EncodeError where the file cannot hold more; OSError.
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
        """Finish the file; returns what it does not hold of the animation, a sentence each.

        Raises ArgumentError where no frame was added, and what `add` raises.
        """
        if not self.frames:
            raise ArgumentError("an animation of no frames cannot be written; add one")
        self._finish()
        self.release()
        return tuple(dict.fromkeys(self.notes))

    def release(self) -> None:  # noqa: B027
        """Give temporary files back; twice is no harm."""

    @abstractmethod
    def _write(self, pixels: Bytes, duration: Fraction) -> None:
        """Write a frame (H, W, channels), which belongs to the writer."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what comes last."""

    def _pixels(self, picture: Picture) -> Bytes:
        color = cast("Bytes", convert_samples(picture.color, "uint8"))
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
        if self._foreign is not None:
            color = self._in_srgb(color, self._foreign)
        if color.shape[2] == 1 and not self._gray:
            color = np.repeat(color, 3, axis=2)
        if alpha is None and self.target.has_alpha:
            alpha = np.full(color.shape[:2], 255, np.uint8)
        pixels = merged(color, cast("Bytes | None", alpha))
        return pixels.copy() if pixels is picture.color else pixels

    def _in_srgb(self, color: Bytes, icc: bytes) -> Bytes:
        converted = to_srgb(image_over(color, None), icc)
        if converted is None:
            self.notes.append(f"the color profile is broken: left out of {self.label}")
            return color
        if not self.holds_icc:
            self.notes.append(
                f"{self.label} is written without a color profile: colors converted to sRGB"
            )
        return np.array(converted, np.uint8)


def _foreign_profile(target: Target) -> Labeled:
    """The profile of colors that are not sRGB, whatever says so, else None."""
    channels = 1 if target.gray else 3
    found = Labeled(matching_icc(target.metadata.icc, channels))
    if found.icc is None:
        found = implied_profile(target.metadata, channels)
    same = found.icc is None or is_srgb(found.icc, channels)
    return found._replace(icc=None) if same else found


def still_with_metadata(target: Target, name: str) -> tuple[bytes, tuple[str, ...]]:
    """A file of one flat picture with the metadata of ``target``, and what it does not hold.

    What belongs around the frames is taken out of it, so that metadata has one writer.
    name: "png", "webp" or "avif".
    """
    channels = 1 if target.gray else 3
    flat = np.zeros((target.height, target.width, channels), np.uint8)
    buffer = io.BytesIO()
    notes = encode_stream(
        Picture(flat, metadata=target.metadata), buffer, resolve_format(None, name)
    )
    return buffer.getvalue(), notes
