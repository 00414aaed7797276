"""One picture or animation (`moving`), from an open file to an open file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final, Protocol

import numpy as np

from .. import codec
from ..codec import OutputFormat
from ..errors import ArgumentError, SkippedError
from ..picture import Metadata, Picture, Source
from ..pipeline.auto_noise import Noise, resolve_noise
from ..pipeline.pipeline import Footprint
from ..pipeline.progress import ProgressCallback
from ..pipeline.request import Request
from ..pipeline.streamed import RowsCallback
from ..pipeline.upscaler import Upscaler

#: Of WebP and JPEG XL in an archive where the page was lossy; see docs/formats.md for its size.
LOSSY_QUALITY: Final = 95


@dataclass(frozen=True, slots=True)
class Options:
    """What to do with a picture; see `waifu2x.Upscaler.upscale` for the first four.

    format: name of the format to write; None goes by the name of the target or by the source.
    quality: 1 to 100 for the lossy formats; None is a high one.
    depth: 8 or 16 bits per sample; None keeps the depth where the format holds it.
    strip: leave out EXIF, XMP and texts; what colors and sizes mean is kept.
    skip_larger: (width, height) in pixels; a picture that is wider or taller is left alone, with
        `SkippedError`. A page of an archive is carried over as it is.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    noise: Noise = "auto"
    format: str | None = None
    quality: int | None = None
    depth: int | None = None
    strip: bool = False
    skip_larger: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.skip_larger is not None and min(self.skip_larger) < 1:
            width, height = self.skip_larger
            raise ArgumentError(f"skip_larger is {width}x{height}; both sides must be 1 or more")

    def check_larger(self, width: int, height: int, name: str) -> None:
        """Raise `SkippedError` for a picture that ``skip_larger`` leaves alone."""
        if self.skip_larger is None:
            return
        most_width, most_height = self.skip_larger
        if width > most_width or height > most_height:
            raise SkippedError(
                f"{name} is {width}x{height}, larger than {most_width}x{most_height}: left alone"
            )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a picture or an animation.

    size_in, size_out: (width, height) in pixels.
    noise: the level of noise removed, or None; ``reason`` says why if it was chosen here.
    notes: what else the user should know.
    """

    size_in: tuple[int, int]
    size_out: tuple[int, int]
    noise: int | None
    reason: str
    notes: tuple[str, ...]


class Conversion(Protocol):
    """A source that has been read and checked, and can be converted."""

    @property
    def output(self) -> OutputFormat:
        """The format that is written."""
        ...

    @property
    def reads_on(self) -> bool:
        """Whether the source is read while writing, and not only before."""
        ...

    def write(
        self,
        sink: BinaryIO,
        *,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        """Do the work, into an open binary file that can seek, which stays open."""
        ...


#: Given what a file tells of itself, and whether it is an animation: what to write, and how.
Choose = Callable[[Source, bool], tuple[OutputFormat, Options]]

#: A turn to compute: entered with what the picture will take before a network runs, left when the
#: result is there.
Turn = Callable[[Footprint], AbstractContextManager[object]]


def prepare(
    upscaler: Upscaler, stream: BinaryIO, name: str, choose: Choose, turn: Turn | None = None
) -> Conversion:
    """Read a picture or open an animation, and check everything that can be known beforehand.

    stream: an open binary file that can seek; it must stay open as long as the conversion
        ``reads_on``.
    name: what messages call it.
    choose: chooses the format that is written, and the options.
    turn: entered whenever a network is to run, by those who work on many files at once.

    Raises the errors of `Upscaler.upscale`, `EncodeError` for a result that the format cannot
    hold, and `SkippedError`.
    """
    if codec.may_be_animation(stream):
        from .animation_job import open_moving  # loaded for those who need it

        moving = open_moving(upscaler, stream, name, choose, turn)
        if moving is not None:
            return moving
    picture = codec.decode_stream(stream, name, upscaler.options.limit)
    output, options = choose(picture.source, False)
    options.check_larger(picture.width, picture.height, name)
    return _Still(upscaler, picture, output, options, turn)


def fitting(options: Options, output: OutputFormat, source: Source) -> Options:
    """The options for one of many: no quality where there is none, and lossy stays lossy.

    Formats that are lossless unless told otherwise would make lossy pages many times as large.
    """
    if not output.lossy:
        return replace(options, quality=None)
    if options.quality is None and output.default_quality is None and source.lossy:
        return replace(options, quality=LOSSY_QUALITY)
    return options


@dataclass(frozen=True, slots=True)
class Task:
    """What to do with pictures of one size, resolved; for a still picture or all frames.

    size: (width, height) in pixels.
    """

    upscaler: Upscaler
    options: Options
    size: tuple[int, int]
    noise: int | None
    reason: str
    request: Request
    turn: Turn | None = None

    @classmethod
    def of(
        cls, upscaler: Upscaler, options: Options, like: Picture, turn: Turn | None = None
    ) -> Task:
        """Check and resolve ``options`` for pictures like this one."""
        noise, reason = resolve_noise(options.noise, like)
        request = upscaler.pipeline.request(
            like,
            scale=options.scale,
            width=options.width,
            height=options.height,
            noise=noise,
        )
        return cls(upscaler, options, (like.width, like.height), noise, reason, request, turn)

    def run(
        self,
        picture: Picture,
        dtype: np.dtype[Any],
        progress: ProgressCallback | None,
        cancel: threading.Event | None,
        ready: RowsCallback | None = None,
    ) -> Picture:
        """Enlarge and denoise ``picture`` when it is its turn; see `PictureUpscaler.run`."""
        if self.turn is not None:
            footprint = self.upscaler.pipeline.footprint(picture, self.request, dtype=dtype)
            with self.turn(footprint):
                return replace(self, turn=None).run(picture, dtype, progress, cancel, ready)
        return self.upscaler.pipeline.run(
            picture,
            self.request,
            dtype=dtype,
            progress=progress,
            cancel=cancel,
            rows=ready,
        )

    def outcome(self, source: Source, *notes: str) -> Outcome:
        """What became of it."""
        idle = not self.request.passes and not self.request.resize
        return Outcome(
            size_in=self.size,
            size_out=(self.request.width, self.request.height),
            noise=self.noise,
            reason=self.reason,
            notes=(
                *(["16 bits per channel read as 8"] if source.reduced else []),
                *([f"{source.converted} converted to sRGB"] if source.converted else []),
                *notes,
                *(["nothing to enlarge or denoise"] if idle else []),
            ),
        )


class _Still:
    reads_on = False

    def __init__(
        self,
        upscaler: Upscaler,
        picture: Picture,
        output: OutputFormat,
        options: Options,
        turn: Turn | None,
    ) -> None:
        codec.check_quality(output, options.quality)
        self.output = output
        self._picture = replace(picture, metadata=kept(picture.metadata, options))
        self._dtype = codec.written_dtype(output, picture.color.dtype, options.depth)
        self._task = task = Task.of(upscaler, options, picture, turn)
        channels = picture.color.shape[2] + (picture.alpha is not None and output.has_alpha)
        codec.check_size(
            output, task.request.width, task.request.height, channels * self._dtype.itemsize
        )

    def write(
        self,
        sink: BinaryIO,
        *,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        picture, task, options = self._picture, self._task, self._task.options
        with codec.open_row_writer(
            sink,
            self.output,
            like=picture,
            width=task.request.width,
            height=task.request.height,
            quality=options.quality,
            depth=options.depth,
        ) as writer:
            task.run(picture, writer.dtype, progress, cancel, writer.write_rows)
        return task.outcome(picture.source, *writer.notes)


def kept(metadata: Metadata, options: Options) -> Metadata:
    """What is written of the source's metadata."""
    return replace(metadata, exif=None, xmp=None, text=()) if options.strip else metadata
