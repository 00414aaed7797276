"""Options for a file, resolved for one size of picture, and the result of a job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol, TypeAlias

import numpy as np

from .. import codec
from .._record import record
from .._text import shown
from ..codec import OutputFormat
from ..errors import ArgumentError, LimitError, SkippedError
from ..picture import Metadata, Picture, Source
from ..pipeline.arguments import Allowed, check, flag, optional, whole
from ..pipeline.auto_noise import AnyLevel
from ..pipeline.pipeline import Footprint, Pipeline
from ..pipeline.progress import ProgressCallback
from ..pipeline.request import Request
from ..video.containers import VIDEO_SUFFIXES, Y4M_SUFFIX, container_for
from ..video.options import VideoOptions
from .naming import ARCHIVE_SUFFIXES

#: Quality of WebP and JPEG XL for a lossy page of an archive; docs/formats.md has the sizes.
LOSSY_QUALITY: Final = 95


FormatName: TypeAlias = Literal["png", "jpeg", "webp", "avif", "tiff", "bmp", "jxl", "gif", "y4m"]
Depth: TypeAlias = Literal[8, 16]


def _format(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    plain = value.lower().removeprefix(".")
    if plain == "y4m":
        return plain
    return codec.format_named(None, "png" if plain == "apng" else plain).name


def _depth(value: object) -> int:
    depth: int = whole("", least=8, most=16).convert(value)
    if depth not in (8, 16):
        raise ValueError
    return depth


def _pair(value: object) -> tuple[int, int]:
    if not isinstance(value, Sequence) or len(value) != 2:
        raise TypeError
    side = whole("", least=1).convert
    return side(value[0]), side(value[1])


_OUTPUT: Final = {
    "format": optional(Allowed("it must be the name of a format, such as 'png'", _format)),
    "quality": optional(whole("it must be a whole number from 1 to 100", least=1, most=100)),
    "depth": optional(Allowed("it must be 8 or 16 bits per sample", _depth)),
    "strip": flag(),
    "skip_larger": optional(Allowed("it must be (width, height) in pixels, 1 or more", _pair)),
    "strict": flag(),
}

_WRITE: Final = {"overwrite": flag(), "keep_times": flag()}


@record
class Options(VideoOptions):
    """What to do with a picture: its size, the noise to remove, and how to write the result.

    format: "png", "jpeg", "webp", "avif", "tiff", "bmp", "jxl" (extra ``jxl``) or "gif"
        (animations), "y4m" (raw frames of a video in y4m); None takes the format from the target's
        name or the source.
    quality: 1 to 100 for lossy formats; None means a high quality.
    depth: 8 or 16 bits per sample; None keeps the depth if the format supports it.
    strip: drop EXIF, XMP and text; color and resolution metadata are kept.
    skip_larger: (width, height) in pixels; a wider or taller picture is skipped with
        `SkippedError`. Such a page of an archive is copied unchanged.
    strict: refuse an archive with a page that fails, or that its format cannot hold at the new
        size. Otherwise the first is carried over unchanged, and the second becomes a PNG. Also
        refuse a damaged video, which otherwise gives what is left of it.

    Raises `ArgumentError` for a value that is not allowed.

    >>> from dataclasses import asdict
    >>> options = waifu2x.Options(scale=1.5, format="JPG", quality=90)
    >>> options.format
    'jpeg'
    >>> waifu2x.upscale_file("in.png", "big.jpg", model="swift", **asdict(options)).size_out
    (60, 54)
    """

    format: FormatName | None = None
    quality: int | None = None
    depth: Depth | None = None
    strip: bool = False
    skip_larger: tuple[int, int] | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        VideoOptions.__post_init__(self)  # super() fails in a dataclass with slots
        check(self, _OUTPUT)
        if self.format == "y4m":
            self.check_raw()
        elif self.format is not None:
            self.check_output(codec.format_named(None, self.format))

    def check_output(self, output: OutputFormat) -> None:
        """Raise `ArgumentError` for a quality or depth that ``output`` does not have."""
        codec.check_quality(output, self.quality)
        if self.depth is not None and self.depth not in output.depths:
            able = " or ".join(
                each.label for each in codec.OUTPUT_FORMATS if self.depth in each.depths
            )
            raise ArgumentError(
                f"depth is {self.depth}, and {output.label} holds 8 bits per sample; write {able}"
            )

    def check_raw(self) -> None:
        """Raise `ArgumentError` for options that raw frames do not have."""
        for name, value in (("quality", self.quality), ("depth", self.depth)):
            if value is not None:
                raise ArgumentError(
                    f"{name} is {value}, and y4m holds raw frames as they are; leave it out"
                )

    def check_larger(self, width: int, height: int, name: str, *, rotated: bool = False) -> None:
        """Raise `SkippedError` for a picture larger than ``skip_larger``.

        rotated: accept a picture that fits after a rotation by 90 degrees.
        """
        if self.skip_larger is None:
            return
        limits = most_width, most_height = self.skip_larger
        for limit in (limits, limits[::-1]) if rotated else (limits,):
            if width <= limit[0] and height <= limit[1]:
                return
        raise SkippedError(
            f"{name} is {width}x{height}, larger than {most_width}x{most_height}: left alone"
        )


@record
class WriteOptions:
    """How to treat existing results, and file times.

    overwrite: replace an existing result; otherwise it is an error. An input is never replaced.
    keep_times: give the result the access and modification times of its input.

    Raises `ArgumentError` for a value that is not allowed.
    """

    overwrite: bool = False
    keep_times: bool = False

    def __post_init__(self) -> None:
        check(self, _WRITE)


def check_target(target: Path, options: Options) -> None:
    """Raise `ArgumentError` for options that contradict the name of the file ``target``.

    Raises `EncodeError` for the name of a video whose container is not written.
    """
    suffix = target.suffix.lower()
    if options.format == "y4m":
        options.check_raw()
        if suffix in {*codec.FOLDER_SUFFIXES, *VIDEO_SUFFIXES, *ARCHIVE_SUFFIXES}:
            raise ArgumentError(
                f"{shown(target)} and `format='y4m'` contradict each other; leave the format out, "
                f"or name the file {shown(target.with_suffix(Y4M_SUFFIX).name)}"
            )
    elif options.format is not None:
        output = codec.format_named(None, options.format)
        if suffix in codec.FOLDER_SUFFIXES - {*output.extensions, *output.folder_extensions}:
            raise ArgumentError(
                f"{shown(target)} and `format={options.format!r}` contradict each other; leave the "
                f"format out, or name the file {shown(target.with_suffix(output.extension).name)}"
            )
    elif suffix == Y4M_SUFFIX:
        options.check_raw()
    elif suffix in VIDEO_SUFFIXES:
        container_for(shown(target))
    elif suffix not in ("", *ARCHIVE_SUFFIXES):
        options.check_output(codec.format_named(target))


@record
class Result:
    """The result of a job; `waifu2x.FileResult` describes the fields."""

    size_in: tuple[int, int]
    size_out: tuple[int, int]
    noise: AnyLevel | None
    reason: str
    notes: tuple[str, ...]
    failures: tuple[str, ...] = ()


class FrameShare(float):
    """A share of the work on a video, 0 to 1, with what has been done so far.

    frames, total: frames done, and of how many; 0 if the total is unknown.
    computed: of the frames done, those that this run has upscaled.
    seconds: the time of this run.
    size: bytes encoded so far.

    >>> from waifu2x.files.task import FrameShare
    >>> share = FrameShare(frames=30, total=120, computed=30, seconds=6, size=40_000)
    >>> float(share), share.rate, share.seconds_left
    (0.25, 5.0, 18.0)
    """

    frames: int
    total: int
    computed: int
    seconds: float
    size: int

    def __new__(
        cls, *, frames: int, total: int, computed: int, seconds: float, size: int
    ) -> FrameShare:
        """Create the share of ``frames`` in ``total``, at most 1; 0 if the total is unknown."""
        made = super().__new__(cls, min(1.0, frames / total) if total else 0.0)
        made.frames, made.total, made.computed = frames, total, computed
        made.seconds, made.size = seconds, size
        return made

    @property
    def rate(self) -> float:
        """Frames per second of this run."""
        return self.computed / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate of the time left in seconds, or None without a frame or without their number."""
        if not self.computed or not self.total:
            return None
        return max(0, self.total - self.frames) / self.rate


@record
class Share:
    """A share of the segments of a video, if several processes compute them.

    index, count: which share, from 1, of how many.
    joining: "if complete" joins all segments if the other shares are finished, "never" leaves that
        to another process, and "at once" joins what other processes have just finished.
    """

    index: int = 1
    count: int = 1
    joining: Literal["if complete", "never", "at once"] = "if complete"

    def has(self, segment: int) -> bool:
        """Whether the share includes a segment, counted from 0."""
        return segment % self.count == self.index - 1

    def of(self, segments: int) -> range:
        """The numbers of the segments in the share, of so many in total."""
        return range(self.index - 1, segments, self.count)

    def part(self, index: int, count: int) -> Share:
        """The part ``index`` of ``count`` of this share, whose segments another process joins."""
        return Share(self.index + self.count * (index - 1), self.count * count, "never")


@dataclass(slots=True)
class Amount:
    """Counts the pixels of a source: of all pages of an archive, and of all their frames.

    most: limit for the frames of all animations together, or None.
    pixels: of everything that has been opened.
    """

    most: int | None = None
    pixels: int = 0
    _animated: int = 0

    def add(self, width: int, height: int) -> None:
        """Count a still picture."""
        self.pixels += width * height

    def add_frames(self, width: int, height: int, frames: int, name: str) -> None:
        """Count an animation; raises `LimitError` if ``most`` would be exceeded."""
        pixels = width * height * frames
        total = self._animated + pixels
        if self.most is not None and total > self.most:
            before = f", {total} with the animations before" if total > pixels else ""
            raise LimitError(
                f"{name} has {frames} frames of {width}x{height}, {pixels} pixels{before}, and the "
                f"limit is {self.most}; take out frames, or scale it down"
            )
        self._animated = total
        self.pixels += pixels


class PlainJob:
    """What jobs share that keep nothing between two runs, and write to a sink that seeks."""

    streamed = False

    def keeping(self, place: Path) -> AbstractContextManager[None]:
        """Keep nothing."""
        return nullcontext()


class Job(Protocol):
    """A source that has been opened and checked."""

    @property
    def needs_source(self) -> bool:
        """Whether `write` still reads the source."""

    @property
    def streamed(self) -> bool:
        """Whether `write` needs no sink that seeks, and writes parts as they are finished."""

    @property
    def extension(self) -> str:
        """The extension of the result, with its dot."""

    def keeping(self, place: Path) -> AbstractContextManager[None]:
        """A context around `write` and the renaming of the result to ``place``.

        A job that takes hours keeps what is finished next to ``place``, and removes it at the end.
        """

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Compute the result and write it to ``sink``, a seekable binary file that stays open.

        progress, cancel: as for `waifu2x.Upscaler.upscale`.

        Raises `EngineError`, `EncodeError`, `CancelledError`, and `DecodeError` or `LimitError` if
        the source is still read.
        """


#: Chooses the output format and the options from the source and whether it is an animation.
ChooseFormat: TypeAlias = Callable[[Source, bool], tuple[OutputFormat, Options]]

#: Context manager held while the network runs; receives the expected memory footprint.
ComputeSlot: TypeAlias = Callable[[Footprint], AbstractContextManager[object]]


def options_for_format(options: Options, output: OutputFormat, source: Source) -> Options:
    """Adapt the quality of an archive's options to the format of one page.

    Formats without a quality ignore it. Formats that default to lossless would make a lossy page
    many times larger, so such a page stays lossy.
    """
    if not output.lossy:
        return replace(options, quality=None)
    if options.quality is None and output.default_quality is None and source.lossy:
        return replace(options, quality=LOSSY_QUALITY)
    return options


def kept_metadata(metadata: Metadata, options: Options) -> Metadata:
    """The metadata of the source that is written to the result."""
    return replace(metadata, exif=None, xmp=None, text=(), iptc=None) if options.strip else metadata


@record
class Task:
    """Options resolved for pictures of one size: a still picture, or the frames of an animation.

    size: (width, height) of the source in pixels.
    noise, reason: the noise level to remove, and why if chosen automatically.
    slot: limits how many pictures compute at once; None for no limit.
    """

    pipeline: Pipeline
    options: Options
    size: tuple[int, int]
    noise: AnyLevel | None
    reason: str
    request: Request
    slot: ComputeSlot | None = None

    @classmethod
    def resolve(
        cls, pipeline: Pipeline, options: Options, like: Picture, slot: ComputeSlot | None = None
    ) -> Task:
        """Check and resolve ``options`` for pictures like ``like``.

        Raises `ArgumentError` and `LimitError`.
        """
        request, noise = pipeline.resolve(like, options)
        size = (like.width, like.height)
        return cls(pipeline, options, size, noise.level, noise.reason, request, slot)

    def computing(self, picture: Picture, dtype: np.dtype[Any]) -> AbstractContextManager[object]:
        """Wait for the compute slot; the context holds it while the network runs.

        dtype: the sample type of the result.
        """
        if self.slot is None:
            return nullcontext()
        return self.slot(self.pipeline.footprint(picture, self.request, dtype=dtype))

    def result(self, source: Source, *notes: str) -> Result:
        """Describe the finished work, with ``notes`` of the encoder."""
        idle = not self.request.passes and not self.request.resize
        return Result(
            size_in=self.size,
            size_out=(self.request.width, self.request.height),
            noise=self.noise,
            reason=self.reason,
            notes=(
                *(["16 bits per channel read as 8"] if source.reduced else []),
                *([f"{source.converted} converted to sRGB"] if source.converted else []),
                *source.notes,
                *notes,
                *(["nothing to enlarge or denoise"] if idle else []),
            ),
        )
