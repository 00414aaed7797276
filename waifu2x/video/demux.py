"""Opens a video, describes its streams, and decodes the frames of the main one.

A pass opens the file afresh and reads it from front to back. The library may open nothing but the
file itself: playlists and references to other files are refused.
"""

from __future__ import annotations

import contextlib
import io
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias, cast

import numpy as np

from .._record import record
from .._text import plural, reason
from ..errors import DecodeError, LimitError, check_cancelled
from .color import from_rgb, to_rgb
from .layout import Matrix, VideoLayout, untagged
from .library import library, why
from .pixels import planar_format, planes_of, rotated, sampling_of
from .planes import VideoFrame
from .siting import chroma_site
from .truncation import is_cut_off

if TYPE_CHECKING:
    import av
    import av.container
    import av.video.frame
    from av.stream import Stream
    from av.video.stream import VideoStream

    _Packet: TypeAlias = av.Packet[Any]

#: Names of the demuxers that may read a file.
_DEMUXERS: Final = (
    "matroska,webm",
    "mov,mp4,m4a,3gp,3g2,mj2",
    *("avi", "mpegts", "mpeg", "mpegvideo", "flv", "ogg", "asf", "ivf", "nut", "rm", "mxf"),
)

#: Matrices by their number in ITU-T H.273. Constant luminance and ICtCp are refused.
MATRICES: Final[dict[int, Matrix]] = {
    0: "rgb",
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020",
}
UNTAGGED: Final = 2

_FULL_RANGE: Final = 2

#: Frames that are decoded to find out whether a video is interlaced.
_PROBED: Final = 12

#: Seconds before the start of a part at which a keyframe is looked for.
_STEPS_BACK: Final = (0, 1, 4, 16, 64)

#: Frames without a time at the beginning that wait for the first one with a time.
_UNTIMED: Final = 48

#: Seconds back in time from which on a stream counts as another recording that was joined.
JUMP: Final = Fraction(1, 4)

#: Decoders that return the alpha of a stream, by its codec. The usual ones leave it out.
_ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

#: Side data of frames that belong to one frame, and that no encoder writes again.
_LEFT_OUT: Final = {
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
    "A53_CC": "closed captions inside the frames",
}

ADVICE: Final = "; copy or download it again"


@record
class Hdr:
    """Static metadata of HDR (SMPTE ST 2086, CTA-861.3).

    primaries: x and y of red, green, blue and white, or None. luminance: least and most in cd/m2,
    or None. light: the levels MaxCLL and MaxFALL in cd/m2, or None.
    """

    primaries: tuple[Fraction, ...] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    light: tuple[int, int] | None = None


@record
class Tags:
    """Numbers of ITU-T H.273 as the source has them; 2 means that a tag is missing.

    full_range is 0 for a missing tag, 1 for limited and 2 for full range, as in FFmpeg.
    """

    matrix: int
    primaries: int
    transfer: int
    full_range: int


@record
class VideoFacts:
    """What is known about the main stream before its frames are decoded.

    layout: of the frames that `VideoSource.frames` yields. original: the subsampling and depth of
        the stream itself, which differ for a rotated video.
    tags, hdr: color tags and HDR metadata. aspect: of a sample, or None if the source has none.
    rate: frames per second on average. time_base: the unit of timestamps in seconds.
    frames: number of frames, estimated; 0 if unknown.
    """

    layout: VideoLayout
    original: VideoLayout
    tags: Tags
    hdr: Hdr
    aspect: Fraction | None
    rate: Fraction
    time_base: Fraction
    frames: int
    index: int
    format: str


@dataclass(slots=True)
class SourceFrame:
    """A decoded frame.

    pts, duration: in units of the time base; a duration of 0 is unknown. key: whether the source
    can be decoded from this frame on.
    """

    frame: VideoFrame
    pts: int
    duration: int
    key: bool


@dataclass(slots=True)
class Counts:
    """What a pass over the frames has met."""

    frames: int = 0
    broken: int = 0
    flagged: int = 0
    ended: bool = False
    last: Fraction | None = None
    moved: int = 0
    jumps: int = 0
    interlaced: int = 0
    resized: int = 0
    left_out: set[str] = field(default_factory=set)


class VideoSource:
    """A file with a video.

    Raises `DecodeError` for a file that cannot be read, and for a video without frames.
    """

    def __init__(
        self,
        file: Path | BinaryIO,
        name: str,
        *,
        start: float | None = None,
        end: float | None = None,
        deinterlace: str | None = None,
        max_pixels: int | None = None,
    ) -> None:
        """Open ``file`` and decode its first frames.

        start, end: seconds from the beginning of the file; frames outside are left out.
        deinterlace: "bwdif" to deinterlace, "off" to take interlaced frames as they are, None to
            refuse them.
        max_pixels: limit for a frame.

        Raises `LimitError` for a larger frame.
        """
        self.av = library()
        self._file, self.name = file, name
        self.start = None if start is None else Fraction(start).limit_denominator(10**6)
        self.end = None if end is None else Fraction(end).limit_denominator(10**6)
        self._deinterlace = deinterlace
        self._turns, self._flip = 0, False
        self._counts = Counts()
        self.cut_off = self._is_cut_off()
        with self.open() as container:
            self.container_format = str(container.format.name)
            self._duration = Fraction(container.duration or 0, 10**6)
            self._origin = Fraction(container.start_time or 0, 10**6)
            stream = self._main(container)
            width, height = stream.codec_context.width, stream.codec_context.height
            if max_pixels is not None and width * height > max_pixels:
                raise LimitError(
                    f"{name} is {width}x{height} px, and the limit is {max_pixels} pixels; raise "
                    "it with `max_pixels=`"
                )
            self.main_index = stream.index
            self.extra_videos = sum(1 for each in container.streams.video if not is_cover(each)) - 1
            self.facts = self._probe(container, stream)

    def _is_cut_off(self) -> bool:
        """Whether the file is shorter than its container declares."""
        try:
            if isinstance(self._file, Path):
                with self._file.open("rb") as file:
                    return is_cut_off(file)
            return is_cut_off(self._file)
        except OSError as error:
            raise DecodeError(f"{self.name} cannot be read: {reason(error)}") from error

    @contextlib.contextmanager
    def open(self) -> Iterator[av.container.InputContainer]:
        """Open the container; raises `DecodeError`."""
        av = self.av
        file: Any = self._file
        if isinstance(file, Path):
            file = f"file:{file}"
        else:
            file.seek(0)
            file = _Unclosed(file)
        try:
            container = av.open(
                file,
                options={
                    "protocol_whitelist": "file",
                    "format_whitelist": ",".join(_DEMUXERS),
                },
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, OSError, ValueError, UnicodeError) as error:
            raise DecodeError(f"{self.name} cannot be read: {why(error)}{ADVICE}") from error
        try:
            yield container
        finally:
            container.close()

    def _main(self, container: av.container.InputContainer) -> VideoStream:
        """The stream to upscale: the one that players choose."""
        videos = [each for each in container.streams.video if not is_cover(each)]
        if not videos:
            raise DecodeError(f"{self.name} holds no video stream")
        stream = next((each for each in videos if each.disposition & 1), videos[0])
        if stream.codec_context is None:
            raise DecodeError(f"{self.name}: no decoder for its video stream")
        return stream

    def _probe(self, container: av.container.InputContainer, stream: VideoStream) -> VideoFacts:
        first: av.video.frame.VideoFrame | None = None
        interlaced = False
        for count, frame in enumerate(self._decoded(container, stream)):
            first = first or frame
            interlaced = interlaced or frame.interlaced_frame
            if count + 1 >= _PROBED:
                break
        if first is None:
            raise DecodeError(f"{self.name}: no frame of its video can be decoded{ADVICE}")
        if interlaced and self._deinterlace is None:
            raise DecodeError(
                f"{self.name} is interlaced; deinterlace it with `deinterlace='bwdif'`, or take "
                "its frames as they are with `deinterlace='off'`"
            )
        name = planar_format(self.av, first.format.name)
        grid, depth, alpha, rgb = sampling_of(name)
        tags = Tags(
            matrix=int(first.colorspace),
            primaries=int(first.color_primaries),
            transfer=int(first.color_trc),
            full_range=_FULL_RANGE if "yuvj" in first.format.name else int(first.color_range),
        )
        if not rgb and tags.matrix != UNTAGGED and tags.matrix not in MATRICES:
            raise DecodeError(
                f"{self.name} has colors with matrix {tags.matrix} of ITU-T H.273, which is not "
                "supported; convert it to BT.2020 or BT.709 first"
            )
        matrix: Matrix | None = "rgb" if rgb else MATRICES.get(tags.matrix)
        if matrix == "rgb" and not rgb:
            matrix = None
        original = untagged(
            first.width,
            first.height,
            depth=max(8, depth),
            subsampling=grid,
            alpha=alpha,
            matrix=matrix,
            full_range=True if rgb else {1: False, 2: True}.get(tags.full_range),
            chroma=chroma_site(stream) if grid == "420" else None,
        )
        aspect = stream.sample_aspect_ratio
        self._turns, self._flip = _orientation(first)
        layout = original
        if self._turns or self._flip:
            # Planes of one size, because a rotation moves the positions of chroma.
            width, height = original.width, original.height
            if self._turns % 2:
                width, height = height, width
                aspect = 1 / aspect if aspect else aspect
            original = original.sized(width, height)
            layout = replace(original, depth=16)
            if not original.mono:
                layout = replace(layout, subsampling="444")
        self._stored = (
            original if not self._turns % 2 else original.sized(original.height, original.width)
        )
        rate = _rate(stream)
        assert stream.time_base is not None
        return VideoFacts(
            layout=layout,
            original=original,
            tags=tags,
            hdr=_hdr(first),
            aspect=aspect if aspect and aspect > 0 else None,
            rate=rate,
            time_base=stream.time_base,
            frames=self._estimated(container, stream, rate),
            index=stream.index,
            format=name,
        )

    def _estimated(
        self, container: av.container.InputContainer, stream: VideoStream, rate: Fraction
    ) -> int:
        """Estimate the number of frames between start and end."""
        assert stream.time_base is not None
        seconds = Fraction(container.duration or 0, 10**6)
        if stream.duration:
            seconds = stream.duration * stream.time_base
        if self.start is None and self.end is None and stream.frames > 1:
            return int(stream.frames)
        begin = self.start or Fraction(0)
        stop = seconds if self.end is None else min(self.end, seconds or self.end)
        return max(0, round((stop - begin) * rate))

    @property
    def cut(self) -> bool:
        """Whether only a part of the video is taken."""
        return self.start is not None or self.end is not None

    def inside(self, seconds: Fraction) -> bool:
        """Whether a moment, in seconds of the source's timestamps, is between start and end."""
        moment = seconds - self._origin
        return (self.start is None or moment >= self.start) and (
            self.end is None or moment < self.end
        )

    def after(self, seconds: Fraction) -> bool:
        """Whether a moment of the source is at or beyond the end."""
        return self.end is not None and seconds - self._origin >= self.end

    def frames(self, cancel: threading.Event | None = None) -> Iterator[SourceFrame]:
        """Decode the frames between start and end, in order of their timestamps.

        Packets that cannot be decoded are left out; see `notes`. Timestamps increase: a frame
        without a timestamp comes one frame after the last, and one that is not after the last, one
        unit. If the time goes back by more than `JUMP`, the rest of the video follows without a
        gap.
        """
        self._counts = counts = Counts()
        facts, stored = self.facts, self._stored
        seek = self._place()
        with self.open() as container:
            stream = cast("VideoStream", container.streams[facts.index])
            for each in self._decoded(container, stream, seek):
                check_cancelled(cancel)
                pts = cast("int", each.pts)
                moment = pts * facts.time_base
                if self.after(moment):
                    break
                if not self.inside(moment):
                    continue
                counts.frames, counts.last = counts.frames + 1, moment
                counts.interlaced += bool(each.interlaced_frame)
                for data in _side_data(each):
                    if data.type.name in _LEFT_OUT:
                        counts.left_out.add(_LEFT_OUT[data.type.name])
                if (each.width, each.height) != (stored.width, stored.height):
                    counts.resized += 1
                    each = each.reformat(
                        stored.width, stored.height, facts.format, interpolation="LANCZOS"
                    )
                frame = VideoFrame(planes_of(each, facts.format), pts)
                if self._turns or self._flip:
                    frame = self._rotate(frame)
                yield SourceFrame(frame, pts, max(0, each.duration or 0), bool(each.key_frame))

    def _rotate(self, frame: VideoFrame) -> VideoFrame:
        full = replace(self._stored, depth=16)
        if not full.mono:
            full = replace(full, subsampling="444")
        picture = to_rgb(frame, self._stored)
        return replace(rotated(from_rgb(picture, full), self._turns, self._flip), pts=frame.pts)

    def _place(self) -> int | None:
        """Where to seek to decode all frames from the start on; None begins with the file.

        Demuxers seek by the order of decoding, and some only roughly, so that they may end behind
        the start. Each try opens the file afresh: an index that grows moves the next seek.
        """
        if not self.start:
            return None
        av, facts = self.av, self.facts
        for back in _STEPS_BACK:
            if back >= self.start:
                return None
            place = int((self.start - back + self._origin) / facts.time_base)
            with self.open() as container:
                stream = cast("VideoStream", container.streams[facts.index])
                try:
                    container.seek(place, stream=stream, backward=True)
                    keys = (each for each in container.demux(stream) if each.is_keyframe)
                    key = next(keys, None)
                except av.error.FFmpegError:
                    return None
                if key is None or key.pts is None:
                    continue
                if key.pts * facts.time_base - self._origin <= self.start:
                    return place
        return None

    def _decoded(
        self, container: av.container.InputContainer, stream: VideoStream, seek: int | None = None
    ) -> Iterator[av.video.frame.VideoFrame]:
        """Decode ``stream`` from its beginning, or from a place to seek; every frame has a time."""
        if seek is not None:
            container.seek(seek, stream=stream, backward=True)
        frames = self._timed(self._raw(container, stream, from_key=seek is not None), stream)
        if self._deinterlace == "bwdif":
            frames = self._deinterlaced(frames, stream)
        yield from frames

    def _raw(
        self, container: av.container.InputContainer, stream: VideoStream, *, from_key: bool
    ) -> Iterator[av.video.frame.VideoFrame]:
        av = self.av
        decoder = self._decoder(stream)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self._counts.ended = True
                packet = None
            if packet is None:
                break
            if from_key and packet.size and not packet.is_keyframe:
                continue  # what it refers to was not read
            from_key = False
            self._counts.flagged += bool(packet.is_corrupt)
            if packet.size == 0 and packet.dts is not None:
                continue  # the last frame stays, as in Theora
            try:
                yield from decoder.decode(packet if packet.size else None)
            except av.error.EOFError:
                break
            except (av.error.FFmpegError, ValueError):
                self._counts.broken += 1

    def _decoder(self, stream: VideoStream) -> Any:
        """The decoder of ``stream``."""
        context = stream.codec_context
        name = _ALPHA_DECODERS.get(context.name)
        if name is not None and stream.metadata.get("alpha_mode") == "1":
            with contextlib.suppress(ValueError):
                able = self.av.CodecContext.create(name, "r")
                for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
                    setattr(able, tag, getattr(context, tag))
                context = able
        context.thread_type = "AUTO"
        return context

    def _timed(
        self, frames: Iterator[av.video.frame.VideoFrame], stream: VideoStream
    ) -> Iterator[av.video.frame.VideoFrame]:
        """Give every frame a time after that of the last; see `frames`."""
        assert stream.time_base is not None
        exact = 1 / (_rate(stream) * stream.time_base)
        step = max(1, round(exact))
        jump = JUMP / stream.time_base
        counts = self._counts
        last: int | None = None
        offset = 0
        for each, pts in _counted_back(frames, exact):
            if pts is None:
                pts = 0 if last is None else last + step
            else:
                pts += offset
                if last is not None and pts < last - jump:  # recordings that were joined
                    offset += last + step - pts
                    pts = last + step
                    counts.jumps += 1
                elif last is not None and pts <= last:
                    counts.moved += 1
                    pts = last + 1
            each.pts = last = pts
            yield each

    def _deinterlaced(
        self, frames: Iterator[av.video.frame.VideoFrame], stream: VideoStream
    ) -> Iterator[av.video.frame.VideoFrame]:
        """Deinterlace by the filter bwdif, one frame for each frame."""
        av = self.av
        durations: dict[int, int] = {}
        graph: Any = None
        for frame in frames:
            if graph is None:
                graph = av.filter.Graph()
                graph.threads = 1
                graph.link_nodes(
                    graph.add_buffer(
                        width=frame.width,
                        height=frame.height,
                        format=frame.format,
                        time_base=stream.time_base,
                    ),
                    graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"),
                    graph.add("buffersink"),
                ).configure()
            frame.time_base = stream.time_base
            durations[cast("int", frame.pts)] = frame.duration
            graph.vpush(frame)
            yield from self._pulled(graph, stream, durations)
        if graph is not None:
            graph.vpush(None)
            yield from self._pulled(graph, stream, durations)

    def _pulled(
        self, graph: Any, stream: VideoStream, durations: dict[int, int]
    ) -> Iterator[av.video.frame.VideoFrame]:
        while True:
            try:
                frame = graph.vpull()
            except (BlockingIOError, EOFError):
                return
            # The filter halves the time base, for the two fields of a frame.
            frame.pts = int(frame.pts * frame.time_base / stream.time_base)
            frame.time_base = stream.time_base
            frame.duration = durations.pop(frame.pts, 0)
            yield frame

    def damage(self) -> str:
        """What was found to be wrong with the source in the last pass; empty for nothing."""
        counts = self._counts
        found = []
        if (self.cut_off or counts.ended) and self.end is None and counts.last is not None:
            place = f"it is cut off at {_clock(counts.last - self._origin)}"
            # Some containers declare no duration; the library then estimates the one that is left.
            if counts.last - self._origin + 1 < self._duration:
                place += f" of {_clock(self._duration)}"
            found.append(place)
        if counts.broken:
            found.append(f"{plural(counts.broken, 'packet')} of its video cannot be decoded")
        if counts.flagged > counts.broken:
            found.append(f"{plural(counts.flagged, 'packet')} of its video incomplete")
        if found and counts.frames < self.facts.frames:
            found.append(f"{counts.frames} of about {self.facts.frames} frames are left")
        return f"{self.name} is damaged: {', '.join(found)}" if found else ""

    def notes(self) -> Iterator[str]:
        """Remarks on the last pass over the frames."""
        counts = self._counts
        if counts.jumps:
            yield f"{plural(counts.jumps, 'jump')} back in time closed"
        if counts.moved:
            yield f"{plural(counts.moved, 'timestamp')} out of order corrected"
        if counts.resized:
            yield f"{plural(counts.resized, 'frame')} of another size resized"
        if counts.interlaced and self._deinterlace is None:
            yield f"{plural(counts.interlaced, 'interlaced frame')} not deinterlaced"
        if counts.left_out:
            yield f"left out: {', '.join(sorted(counts.left_out))}"


def _rate(stream: VideoStream) -> Fraction:
    """Frames per second on average; 25 if the stream does not tell."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(0)
    return rate if 0 < rate <= 1000 else Fraction(25)


def _counted_back(
    frames: Iterator[av.video.frame.VideoFrame], step: Fraction
) -> Iterator[tuple[av.video.frame.VideoFrame, int | None]]:
    """Yield frames with their times; ``step`` is the time between two.

    Frames at the beginning may lack one, because the library cannot tell a negative time from none
    in Matroska. They get the times before that of the next frame.
    """
    untimed: list[av.video.frame.VideoFrame] = []
    begun = False
    for each in frames:
        pts = each.pts if each.pts is not None else each.dts
        if pts is None and not begun and len(untimed) < _UNTIMED:
            untimed.append(each)
            continue
        for before, early in zip(range(len(untimed), 0, -1), untimed, strict=True):
            yield early, None if pts is None else pts - round(step * before)
        untimed.clear()
        begun = True
        yield each, pts
    for each in untimed:
        yield each, None


def _clock(seconds: Fraction) -> str:
    """A moment as in 1:02:03.5."""
    tenths = round(max(seconds, Fraction(0)) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    place = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{place}:{tenths / 10:04.1f}"


class _Unclosed(io.RawIOBase):
    """Reads from a stream that stays open."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a picture, not a video."""
    return stream.type == "video" and bool(stream.disposition & 0x400)


def _side_data(frame: av.video.frame.VideoFrame) -> Iterator[Any]:
    # The stubs describe the container as a dictionary.
    return iter(cast("Any", frame.side_data))


def _orientation(frame: av.video.frame.VideoFrame) -> tuple[int, bool]:
    """Quarter turns counterclockwise and a mirroring before them, by the display matrix."""
    for data in _side_data(frame):
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("<9i" if _LITTLE else ">9i", bytes(data)[:36])
            return _turns(_sign(a), _sign(b), _sign(c), _sign(d))
    return 0, False


_LITTLE: Final = bool(np.little_endian)


def _sign(value: int) -> int:
    # 16.16 fixed point; anything below one half is a rounding error of a rotation.
    return 0 if abs(value) < 1 << 15 else (1 if value > 0 else -1)


def _turns(a: int, b: int, c: int, d: int) -> tuple[int, bool]:
    """The orientation of a matrix that maps (x, y) to (a x + c y, b x + d y), with y downward."""
    for flip in (False, True):
        for turns in range(4):
            # A quarter turn counterclockwise, with y downward, maps x to -y and y to x.
            matrix = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), turns) @ np.diag(
                [-1 if flip else 1, 1]
            )
            if (matrix == np.array([[a, c], [b, d]])).all():
                return turns, flip
    return 0, False


def _hdr(frame: av.video.frame.VideoFrame) -> Hdr:
    primaries = luminance = light = None
    for data in _side_data(frame):
        raw = bytes(data)
        if data.type.name == "MASTERING_DISPLAY_METADATA" and len(raw) >= 88:
            numbers = struct.unpack("=20i2i", raw[:88])
            pairs = [
                Fraction(top, bottom or 1)
                for top, bottom in zip(numbers[0:20:2], numbers[1:20:2], strict=True)
            ]
            if numbers[20]:
                primaries = tuple(pairs[:8])
            if numbers[21]:
                luminance = pairs[8], pairs[9]
        elif data.type.name == "CONTENT_LIGHT_LEVEL" and len(raw) >= 8:
            light = cast("tuple[int, int]", struct.unpack("=2I", raw[:8]))
    return Hdr(primaries, luminance, light)
