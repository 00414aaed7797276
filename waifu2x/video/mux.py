"""Joins encoded segments with copies of all other streams, without encoding anything again."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from .._text import plural
from ..errors import EncodeError, check_cancelled
from .containers import Container
from .demux import JUMP, VideoSource, is_cover
from .encode import EncoderSettings
from .fitting import is_repeated, tags_of
from .hdr_stream import hdr_template, holds_hdr
from .library import why
from .scheduling import kept_scheduling
from .segments import Segment

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

#: Tags of the old encoder and the size of the old stream.
_STALE_IN_STREAM: Final = (
    *("encoder", "bps", "number_of_bytes", "number_of_frames", "duration", "vendor_id"),
    "alpha_mode",
    *("_statistics_writing_app", "_statistics_writing_date_utc", "_statistics_tags"),
)

#: Muxers that store the beginning of a track as an edit list.
_MOVIES: Final = ("mp4", "mov")

#: Packets that are read to find the covers, which come first.
_FIRST_PACKETS: Final = 200


@dataclass(slots=True)
class _Copy:
    """A stream that is copied, and its stream in the result."""

    target: Any
    last: int | None = None
    moved: int = 0
    offset: int = 0


@dataclass(slots=True)
class Muxer:
    """Writes one result.

    left: indices of streams to leave out. notes: remarks, filled by `write`; damaged: number of
    copied packets that are damaged, as far as the container tells.
    """

    source: VideoSource
    container: Container
    settings: EncoderSettings
    segments: Sequence[Segment]
    left: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)
    damaged: int = 0

    def write(self, sink: BinaryIO, cancel: threading.Event | None = None) -> None:
        """Write the container to ``sink``, a seekable binary file.

        Raises `EncodeError`, `DecodeError` and `CancelledError`.
        """
        av = self.source.av
        with self.source.open() as opened:
            covers = self._covers(opened)
            # The same result gets the same bytes: no random numbers, no dates.
            options = {"fflags": "+bitexact", **dict(self.container.options)}
            if self.container.for_tags and self.container.unheld(tags_of(opened)):
                options |= [self.container.for_tags]
            if self.container.muxer in _MOVIES:
                options |= self._timescale(opened)
            output = av.open(
                _Sink(sink), "w", format=self.container.muxer, container_options=options
            )
            try:
                try:
                    self._write(opened, output, covers, cancel)
                finally:
                    output.close()
            except av.error.FFmpegError as error:
                if isinstance(error.__cause__, OSError):
                    raise error.__cause__ from error
                raise EncodeError(
                    f"{self.container.label} cannot be written: {why(error)}"
                ) from error

    def _timescale(self, opened: InputContainer) -> dict[str, str]:
        """An option for tracks that begin between two milliseconds, the usual unit of edit lists.

        Chapters stay in milliseconds: in a finer unit, a long one would not fit into 32 bits.
        """
        begins = [(each.start_time or 0) * _base(each) * 1000 for each in opened.streams]
        if opened.chapters() or all(each <= 0 or each.denominator == 1 for each in begins):
            return {}
        rates = [getattr(each.codec_context, "sample_rate", 0) or 1 for each in opened.streams]
        exact = math.lcm(1000, self.source.facts.time_base.denominator, *rates)
        return {"movie_timescale": str(exact)} if exact < 1 << 31 else {}

    def _covers(self, opened: InputContainer) -> dict[int, bytes]:
        """The pictures that a container stores as attachments, by the index of their stream."""
        if not self.container.attachments:
            return {}
        wanted = {each.index for each in opened.streams.video if is_cover(each)} - self.left
        found: dict[int, bytes] = {}
        if wanted:
            with self.source.open() as again:
                for count, packet in enumerate(again.demux()):
                    if packet.stream_index in wanted and packet.size:
                        found.setdefault(packet.stream_index, bytes(packet))
                    if found.keys() == wanted or count > _FIRST_PACKETS:
                        break
        return found

    def _write(
        self,
        opened: InputContainer,
        output: Any,
        covers: dict[int, bytes],
        cancel: threading.Event | None,
    ) -> None:
        copies: dict[int, _Copy] = {}
        chapters = opened.chapters()
        video: Any = None
        for stream in opened.streams:
            if stream.index == self.source.main_index:
                video = self._video_stream(output, stream)
            elif stream.index in self.left or is_repeated(stream, chapters):
                continue
            elif stream.index in covers:
                _attach_cover(output, stream, covers[stream.index])
            else:
                copies[stream.index] = _Copy(_copied_stream(output, stream))
        output.metadata.update(tags_of(opened))
        if chapters and self.container.chapters:
            output.set_chapters(self._chapters(chapters))
        with kept_scheduling():
            output.start_encoding()
        header = bytes(video.codec_context.extradata or b"")
        if any(segment.extradata != header for segment in self.segments):
            raise EncodeError("segments are those of another encoder; delete them and start again")
        packets = self._video_packets(video)
        waiting = next(packets, None)
        for packet in self._copied_packets(opened, copies):
            check_cancelled(cancel)
            stamp = packet.dts if packet.dts is not None else packet.pts
            moment = None if stamp is None else stamp * packet.time_base
            while waiting is not None and moment is not None:
                if waiting.dts * waiting.time_base > moment:
                    break
                output.mux_one(waiting)
                waiting = next(packets, None)
            output.mux_one(packet)
        while waiting is not None:
            check_cancelled(cancel)
            output.mux_one(waiting)
            waiting = next(packets, None)
        moved = sum(each.moved for each in copies.values())
        if moved:
            self.notes.append(f"{plural(moved, 'timestamp')} of copied streams corrected")

    # --- the video ----------------------------------------------------------------------------

    def _video_stream(self, output: Any, stream: Stream) -> Any:
        settings = self.settings
        hdr = self.source.facts.hdr
        if holds_hdr(self.container.muxer, hdr):
            with hdr_template(settings, hdr, self.segments[0].extradata) as template:
                made = output.add_stream_from_template(template, opaque=True)
            settings.describe_stream(made.codec_context)
        else:
            made = output.add_stream(settings.encoder.library, rate=settings.rate)
            settings.configure(made.codec_context)
        if settings.encoder.name == "hevc" and self.container.muxer in ("mp4", "mov"):
            made.codec_context.codec_tag = "hvc1"  # what Apple's players need
        made.time_base = self._time_base(stream)
        made.metadata.update(
            {
                key: value
                for key, value in _tags(stream).items()
                if key.lower().partition("-")[0] not in _STALE_IN_STREAM
            }
        )
        made.disposition = int(stream.disposition)
        _keep_id(made, stream)
        return made

    def _time_base(self, stream: Stream) -> Fraction:
        if self.container.unit is not None:
            return self.container.unit
        if self.container.muxer == "avi":
            return 1 / self.settings.rate
        assert stream.time_base is not None
        return stream.time_base

    def _video_packets(self, stream: Any) -> Iterator[Any]:
        """The packets of all segments with the timestamps of the source."""
        av = self.source.av
        unit = self.source.facts.time_base
        base = stream.time_base
        frames = [pair for segment in self.segments for pair in segment.frames]
        shift = self._shift()
        stamps: list[int] = []
        rounded = False
        for pts, _ in frames:
            exact = (pts * unit - shift) / base
            stamp = _nearest(exact)
            rounded = rounded or stamp != exact
            if stamps and stamp <= stamps[-1]:
                stamp = stamps[-1] + 1
            stamps.append(stamp)
        if rounded:
            self.notes.append(
                f"timestamps rounded to {_unit(base)}, the unit of {self.container.label}"
            )
        decoded = list(self._decoding_order())
        # Decoding may run ahead of display by so many frames.
        delay = max((at - frame for at, frame in enumerate(decoded)), default=0)
        step = max(1, _nearest(1 / (self.settings.rate * base)))
        at = first = 0
        for segment in self.segments:
            for each in segment.read():
                frame = first + each.frame
                packet = av.Packet(each.data)
                packet.stream = stream
                packet.time_base = base
                packet.pts = stamps[frame]
                packet.dts = stamps[at - delay] if at >= delay else stamps[0] - (delay - at) * step
                packet.duration = self._duration(frames, stamps, frame, unit / base)
                packet.is_keyframe = each.key
                yield packet
                at += 1
            first += len(segment.frames)

    def _decoding_order(self) -> Iterator[int]:
        first = 0
        for segment in self.segments:
            for frame, _, _ in segment.packets:
                yield first + frame
            first += len(segment.frames)

    @staticmethod
    def _duration(
        frames: Sequence[tuple[int, int]], stamps: Sequence[int], at: int, ratio: Fraction
    ) -> int:
        duration = frames[at][1]
        return _nearest(duration * ratio) if duration else 0

    def _shift(self) -> Fraction:
        """Seconds by which a part of a video begins earlier in the result than in the source."""
        if self.source.start is None:
            return Fraction(0)
        return self.segments[0].frames[0][0] * self.source.facts.time_base

    # --- copies -------------------------------------------------------------------------------

    def _copied_packets(self, opened: InputContainer, copies: dict[int, _Copy]) -> Iterator[Any]:
        if not copies:
            return
        av = self.source.av
        streams = [each for each in opened.streams if each.index in copies]
        shift = self._shift()
        packets = opened.demux(streams)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:  # the rest of the file is damaged
                self.notes.append("the source ends with damaged data, which was left out")
                return
            if packet is None:
                return
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                continue  # the library's end of a stream
            copy = copies[packet.stream_index]
            if self.source.cut and not self._is_kept(packet, shift):
                continue
            self.damaged += bool(packet.is_corrupt)
            strict = self.container.muxer not in ("matroska", "webm")
            if strict:
                # Corrections in the unit of the source would add up where that is a coarse one.
                _rescale(packet, copy.target.time_base)
            _order(packet, copy, strict=strict)
            packet.stream = copy.target
            yield packet

    def _is_kept(self, packet: Any, shift: Fraction) -> bool:
        """Whether a packet belongs to the part that is taken; moves its timestamps if so."""
        if is_cover(packet.stream):
            return True
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            return True
        unit = packet.time_base
        moment = stamp * unit
        if self.source.after(moment):
            return False
        if self.source.start is None:
            return True
        begins = moment
        if packet.stream.type == "subtitle" and packet.duration:
            moment += packet.duration * unit
            late = moment > shift
        else:
            late = moment >= shift
        if not late:
            return False
        offset = _nearest(shift / unit)
        if begins < shift:  # a subtitle that has begun before
            packet.duration -= offset - stamp
            packet.pts = offset
            packet.dts = None if packet.dts is None else max(packet.dts, offset)
        if packet.pts is not None:
            packet.pts -= offset
        if packet.dts is not None:
            packet.dts -= offset
        return True

    def _chapters(self, chapters: Iterable[Any]) -> list[Any]:
        """The chapters of the part that is taken."""
        if not self.source.cut:
            return list(chapters)
        shift = self._shift()
        kept = []
        for each in chapters:
            unit = each["time_base"]
            start, end = each["start"] * unit, each["end"] * unit
            if self.source.after(start) or (self.source.start is not None and end <= shift):
                continue
            start, end = max(start - shift, Fraction(0)), end - shift
            kept.append({**each, "start": _nearest(start / unit), "end": _nearest(end / unit)})
        return kept


class _Sink:
    """A binary file for the library, which must not be closed, and must not be read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True


def _copied_stream(output: Any, stream: Stream) -> Any:
    """Add a stream with the codec, tags and dispositions of ``stream``."""
    made = output.add_stream_from_template(stream, opaque=True)
    made.metadata.update(_tags(stream))
    made.disposition = int(stream.disposition)
    made.time_base = stream.time_base
    _keep_id(made, stream)
    return made


def _base(stream: Stream) -> Fraction:
    """The time base of a stream; attachments may have none."""
    return stream.time_base or Fraction(1, 1000)


def _tags(stream: Stream) -> dict[str, str]:
    """The tags of a stream; demuxers of QuickTime call its title a name, and muxers do not."""
    tags = dict(stream.metadata)
    if "name" in tags and "title" not in tags:
        tags["title"] = tags.pop("name")
    return tags


def _keep_id(made: Any, stream: Stream) -> None:
    """Keep the number of a stream, which MPEG-TS calls PID."""
    with suppress(AttributeError, TypeError, ValueError):
        made.id = stream.id


def _attach_cover(output: Any, stream: Stream, data: bytes) -> None:
    """Store a cover as an attachment, as Matroska does."""
    codec = stream.codec_context.name if stream.codec_context is not None else ""
    kind = {"mjpeg": ("image/jpeg", "cover.jpg"), "png": ("image/png", "cover.png")}
    mime, name = kind.get(codec, ("application/octet-stream", "cover"))
    metadata = dict(stream.metadata)
    made = output.add_attachment(
        metadata.get("filename", name), metadata.get("mimetype", mime), data
    )
    made.metadata.update({**metadata, **made.metadata})


def _rescale(packet: Any, unit: Fraction) -> None:
    """Give a packet times in ``unit``."""
    ratio = packet.time_base / unit
    for name in ("pts", "dts", "duration"):
        value = getattr(packet, name)
        if value is not None:
            setattr(packet, name, _nearest(value * ratio))
    packet.time_base = unit


def _order(packet: Any, copy: _Copy, *, strict: bool) -> None:
    """Give a packet a decoding time after the last one, as muxers require.

    A packet with only a time of display is left to the library, which knows the order of frames.
    """
    if packet.dts is None:
        if packet.pts is None and not is_cover(packet.stream):
            packet.pts = packet.dts = copy.last = 0 if copy.last is None else copy.last + 1
            copy.moved += 1
        return
    packet.dts += copy.offset
    if packet.pts is not None:
        packet.pts += copy.offset
    if copy.last is not None and packet.dts < copy.last - JUMP / packet.time_base:
        # Recordings that were joined; `VideoSource.frames` closes the jump as well.
        jump = copy.last + (packet.duration or 1) - packet.dts
        copy.offset += jump
        packet.dts += jump
        packet.pts = None if packet.pts is None else packet.pts + jump
    least = None if copy.last is None else copy.last + int(strict)
    if least is not None and packet.dts < least:
        packet.dts = least
        if packet.pts is not None and packet.pts < least:
            packet.pts = least
        copy.moved += 1
    copy.last = packet.dts


def _nearest(value: Fraction) -> int:
    """Round to the nearest whole number, halves away from zero, as FFmpeg does."""
    doubled = abs(2 * value)
    rounded = int(doubled + 1) // 2
    return rounded if value >= 0 else -rounded


def _unit(base: Fraction) -> str:
    return "1 ms" if base == Fraction(1, 1000) else f"{base} s"
