"""Animated AVIF in, and the boxes of its container that hold durations and the loop count.

libavif decodes and encodes the frames, but neither Pillow nor imagecodecs gives access to its loop
count. Boxes: ISO/IEC 14496-12. A repeating edit list (a flag of ``elst``) plays its segment as
often as fits into the duration of the movie; a duration of all ones is forever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ..._record import record
from ...errors import ArgumentError, DecodeError
from ...picture import Picture
from .._pillow import pillow_errors
from ..avif_header import AvifHeader
from ..avif_reader import checked_header, decodable, frame_of
from ..boxes import boxes
from ..faults import damaged
from ..limits import check_pixels
from .frames import FOREVER, Animation, Frame
from .stills import to_8_bits

_PARENTS = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl")
_FOREVER = (1 << 64) - 1

# Boxes take some tens of bytes for each frame.
_MAX_MOVIE = 1 << 28


@record
class Timing:
    """Durations and loop count.

    loop: number of plays, 0 forever.
    timescale: units per second, of ``durations``.
    durations: (count, units) of runs of frames.
    plays_at: offsets in the file of the 64-bit duration of all plays.
    repeats_at: offsets of the byte with the repeat flag of edit lists.
    total: duration of one play, in units of the movie.
    """

    loop: int
    timescale: int
    durations: tuple[tuple[int, int], ...]
    plays_at: tuple[int, ...]
    repeats_at: tuple[int, ...]
    total: int


def open_avif(stream: BinaryIO, name: str, limit: int) -> Animation | None:
    """Open the animation in an AVIF of at least two frames, else return None.

    Without an edit list it is played forever, as in browsers.
    """
    timing = timing_of(stream)
    if timing is None:
        return None
    header = checked_header(stream, name, limit)
    stream = decodable(stream, header)
    with _opened(stream, name) as image:
        check_pixels(image.width, image.height, limit, name)
        frames = int(getattr(image, "n_frames", 1))
        has_alpha = image.mode == "RGBA"
        if frames < 2:
            return None
        first = _frame(image, header, 0, name)

    def play() -> Iterator[Frame]:
        durations = _durations(timing)
        with _opened(stream, name) as image:
            for number in range(frames):
                picture = _frame(image, header, number, f"frame {number + 1} of {name}")
                yield Frame(picture, next(durations, Fraction(0)))

    return Animation(
        width=first.width,
        height=first.height,
        frames=frames,
        loop=timing.loop,
        metadata=first.metadata,
        source=first.source,
        gray=first.gray,
        has_alpha=has_alpha,
        play=play,
    )


def _opened(stream: BinaryIO, name: str) -> Image.Image:
    stream.seek(0)
    with pillow_errors(name):
        try:
            return Image.open(stream, formats=["AVIF"])
        except UnidentifiedImageError as error:
            raise damaged(name, "AVIF", "cannot be opened as such") from error


def _frame(image: Image.Image, header: AvifHeader, number: int, name: str) -> Picture:
    with pillow_errors(name):
        image.seek(number)
        try:
            picture = frame_of(image, header)
        except ArgumentError as error:
            raise DecodeError(f"{name}: {error}") from error
    alpha = None if picture.alpha is None else to_8_bits(picture.alpha)
    opaque = alpha is not None and bool(alpha.min() == 255)
    return replace(picture, color=to_8_bits(picture.color), alpha=None if opaque else alpha)


def _durations(timing: Timing) -> Iterator[Fraction]:
    for count, units in timing.durations:
        for _ in range(count):
            yield Fraction(units, timing.timescale)


def timing_of(stream: BinaryIO) -> Timing | None:
    """Read the timing of an AVIF; None without a readable movie."""
    for kind, start, size in boxes(stream):
        if kind == b"moov" and size <= _MAX_MOVIE:
            stream.seek(start)
            return _timing(stream.read(size), start)
    return None


def _timing(movie: bytes, start: int) -> Timing | None:
    """Return the timing in ``movie``, the content of the box at ``start`` of the file."""
    plays_at: list[int] = []
    repeats_at: list[int] = []
    movie_duration = segment = None
    timescale = movie_scale = 0
    durations: tuple[tuple[int, int], ...] = ()
    for kind, at, end in _leaf_boxes(movie, 0, len(movie)):
        box = memoryview(movie)[at:end]
        wide = len(box) > 0 and box[0] == 1
        if kind in (b"mvhd", b"tkhd", b"mdhd"):
            # version and flags, creation, modification; a time scale or a track and 4 spare bytes
            field = (20 if wide else 12) + (8 if kind == b"tkhd" else 4)
            scale = _number(box, field - 4, 4)
            duration = _number(box, field, 8 if wide else 4)
            if kind == b"mvhd":
                movie_scale, movie_duration = scale, duration
                if not wide and duration == (1 << 32) - 1:
                    movie_duration = _FOREVER
            elif kind == b"mdhd" and not timescale:
                timescale = scale
            if kind != b"mdhd" and wide:
                plays_at.append(start + at + field)
        elif kind == b"elst" and _number(box, 4, 4):
            if segment is None:
                segment = _number(box, 8, 8 if wide else 4) if box[3] & 1 else 0
            repeats_at.append(start + at + 3)
        elif kind == b"stts" and not durations:
            durations = tuple(_runs(box))
    if not timescale:
        return None
    loop = FOREVER
    if segment == 0:
        loop = 1
    elif segment and movie_duration is not None and movie_duration != _FOREVER:
        loop = max(1, -(-movie_duration // segment))
    units = sum(count * length for count, length in durations)
    return Timing(
        loop=loop,
        timescale=timescale,
        durations=durations,
        plays_at=tuple(plays_at),
        repeats_at=tuple(repeats_at),
        total=units * movie_scale // timescale,
    )


def _runs(box: memoryview) -> Iterator[tuple[int, int]]:
    """Yield (count, units) of the box stts."""
    for at in range(8, min(len(box) - 7, 8 + 8 * _number(box, 4, 4)), 8):
        yield _number(box, at, 4), _number(box, at + 4, 4)


def _leaf_boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the content of every leaf box."""
    while at + 8 <= end:
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if length < 8 or at + length > end:
            return
        if kind in _PARENTS:
            yield from _leaf_boxes(data, at + 8, at + length)
        else:
            yield kind, at + 8, at + length
        at += length


def _number(box: memoryview, at: int, size: int) -> int:
    return int.from_bytes(box[at : at + size], "big")


def set_loop(stream: BinaryIO, loop: int) -> None:
    """Set the number of plays of an AVIF that libavif wrote; 0 is forever.

    Raises ValueError if the boxes are not those of libavif.
    """
    timing = timing_of(stream)
    if timing is None or not timing.plays_at or not timing.repeats_at:
        raise ValueError("no edit list")
    total = _FOREVER if loop == FOREVER else timing.total * loop
    for at in timing.plays_at:
        stream.seek(at)
        stream.write(total.to_bytes(8, "big"))
    for at in timing.repeats_at:
        stream.seek(at)
        stream.write(b"\0" if loop == 1 else b"\1")
