"""Jobs whose results are raw frames in YUV4MPEG2, which are upscaled and written one by one."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from .._text import listed, plural, shown
from ..errors import DecodeError, EncodeError
from ..pipeline.pipeline import Pipeline
from ..pipeline.progress import ProgressCallback
from ..video.containers import VIDEO_SUFFIXES, Y4M_SUFFIX
from ..video.layout import VideoLayout
from ..video.planes import VideoFrame
from ..video.upscaling import Saved, UpscaledFrames
from ..video.y4m import Y4mReader, Y4mWriter, header_for
from .frames import (
    AGAIN,
    SOURCE,
    blank_frame,
    path_of,
    refuse_cut,
    refuse_depth,
    reuse_notes,
    size_of,
    video_source,
    with_level,
)
from .task import Amount, ComputeSlot, FrameShare, Options, PlainJob, Result, Task

_log = logging.getLogger(__name__)


class _RawJob(PlainJob):
    """What the jobs share: frames of a layout become raw frames.

    total: the number of frames, 0 if it is unknown.
    """

    needs_source = True
    streamed = True
    extension = Y4M_SUFFIX

    def __init__(
        self,
        pipeline: Pipeline,
        name: str,
        options: Options,
        slot: ComputeSlot | None,
        amount: Amount | None,
        layout: VideoLayout,
        total: int,
    ) -> None:
        options.check_larger(layout.width, layout.height, name)
        if amount is not None:
            amount.add_frames(layout.width, layout.height, max(1, total), name)
        self._name, self._options = name, options
        self._layout, self._total = layout, total
        blank = blank_frame(layout.width, layout.height)
        self._task = Task.resolve(pipeline, options, blank, slot)

    @property
    def _idle(self) -> bool:
        """Whether no frame changes."""
        return not self._task.request.passes and not self._task.request.resize

    def _written(
        self,
        frames: Iterator[VideoFrame],
        sink: BinaryIO,
        line: bytes,
        result: VideoLayout,
        progress: ProgressCallback | None,
        cancel: threading.Event | None,
    ) -> Saved:
        """Upscale ``frames``, and write them with the header ``line`` in the layout ``result``."""
        task, total = self._task, self._total
        began, size = time.perf_counter(), 0

        def follow(done: int) -> None:
            if progress is not None:
                progress(
                    FrameShare(
                        frames=done,
                        total=total,
                        computed=done,
                        seconds=time.perf_counter() - began,
                        size=size,
                    )
                )

        upscaled = UpscaledFrames(
            frames,
            self._layout,
            task.pipeline,
            task.request,
            result=result,
            exact=self._options.exact,
            progress=follow,
            cancel=cancel,
            slot=task.slot,
        )
        with upscaled:
            writer = Y4mWriter(sink, line)
            for frame in upscaled:
                writer.write(frame)
                size += upscaled.layout.frame_bytes
            writer.flush()
        return upscaled.saved

    def _grown(self, layout: VideoLayout) -> VideoLayout:
        return layout.sized(self._task.request.width, self._task.request.height)

    @staticmethod
    def _notes(saved: Saved) -> list[str]:
        return [
            plural(saved.frames, "frame"),
            *reuse_notes(tiles=saved.tiles, reused=saved.reused, repeated=saved.repeated),
        ]


class Y4mJob(_RawJob):
    """A YUV4MPEG2 stream, which becomes another one; a `Job`.

    Raises the errors of `StillJob`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        stream: BinaryIO,
        name: str,
        options: Options,
        slot: ComputeSlot | None = None,
        *,
        amount: Amount | None = None,
    ) -> None:
        refuse_depth(options, name)
        self._reader = reader = Y4mReader(stream, name, max_pixels=pipeline.options.limit)
        header = reader.header
        total = reader.frames_in(size_of(stream))
        super().__init__(pipeline, name, options, slot, amount, header.layout, total)
        if not self._idle:
            header.refuse_interlaced(name, options.deinterlace)
        if header.rate is None and (options.start is not None or options.end is not None):
            raise EncodeError(
                f"{name} has no frame rate, so its parts have no times; leave out `start=` and "
                "`end=`"
            )

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Upscale and write frame by frame; ``sink`` need not seek."""
        header = self._reader.header
        result = self._grown(header.layout)
        line = header.line(result)
        saved = self._written(self._chosen(), sink, line, result, progress, cancel)
        notes = self._notes(saved)
        assumptions = header.layout.assumptions()
        # They do not matter if nothing is converted.
        if assumptions and not self._idle:
            notes.append(assumptions)
        return self._task.result(SOURCE, *notes)

    def _chosen(self) -> Iterator[VideoFrame]:
        """Return the frames between start and end."""
        rate, options = self._reader.header.rate, self._options
        frames = iter(self._reader)
        if rate is None:
            return frames
        # A frame belongs to the part if it begins within.
        first = 0 if options.start is None else -int(-options.start * rate // 1)
        last = None if options.end is None else -int(-options.end * rate // 1)
        return itertools.islice(frames, first, last)


class RawVideoJob(_RawJob):
    """The frames of a video in a container, without everything else; a `Job`.

    What is lost is logged as a warning before the work begins.

    Raises the errors of `VideoJob`, and `EncodeError` for frames that y4m cannot hold.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        stream: BinaryIO,
        name: str,
        options: Options,
        slot: ComputeSlot | None = None,
        *,
        amount: Amount | None = None,
    ) -> None:
        refuse_depth(options, name)
        limit = pipeline.options.limit
        self._source = source = video_source(stream, path_of(stream), name, options, limit)
        facts = source.facts
        options = with_level(options)
        super().__init__(pipeline, name, options, slot, amount, facts.layout, facts.frames)
        held = replace(facts.original, guessed=())
        if held.matrix == "rgb":
            held = replace(held, matrix="bt709", full_range=False)
        if held.alpha:
            held = replace(held, subsampling="444")  # the only one that y4m has with alpha
        self._result = self._grown(held)
        aspect = None if facts.aspect is None else facts.aspect.as_integer_ratio()
        self._header = header_for(self._result, rate=facts.rate, aspect=aspect)
        refuse_cut(source, options, name)
        self._lost = self._left_out()
        if self._lost:
            _log.warning("%s: %s", name, self._lost)
        self._uneven = Fraction(0)

    def _left_out(self) -> str:
        """Describe what y4m does not hold of the source; empty for nothing."""
        from ..video.fitting import describe, is_repeated  # loaded when needed

        source = self._source
        with source.open() as opened:
            chapters = opened.chapters()
            lost = [
                describe(stream)
                for stream in opened.streams
                if stream.index != source.main_index and not is_repeated(stream, chapters)
            ]
        if chapters:
            lost.append("chapters")
        if source.facts.hdr.primaries is not None or source.facts.hdr.light is not None:
            lost.append("HDR metadata")
        return f"y4m holds only frames, without {listed(lost, 'and')}" if lost else ""

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Upscale and write frame by frame; ``sink`` need not seek."""
        line = self._header.line()
        saved = self._written(self._frames(cancel), sink, line, self._result, progress, cancel)
        notes = [*self._notes(saved), *self._source.notes()]
        if self._lost:
            notes.append(self._lost)
        if self._uneven > 1:
            moved = plural(round(self._uneven), "frame")
            notes.append(f"times of a variable frame rate lost, by up to {moved}")
        notes.append(f"colors are {self._result.matrix_label}, for which y4m has no tag")
        damage = self._source.damage()
        if damage and self._options.strict:
            raise DecodeError(f"{damage}{AGAIN}")
        result = self._task.result(SOURCE, *notes)
        return replace(result, failures=(damage,) if damage else ())

    def _frames(self, cancel: threading.Event | None) -> Iterator[VideoFrame]:
        facts, first = self._source.facts, 0
        for number, each in enumerate(self._source.frames(cancel)):
            first = each.pts if not number else first
            place = (each.pts - first) * facts.time_base * facts.rate
            self._uneven = max(self._uneven, abs(place - number))
            yield each.frame


def check_y4m_target(target: Path | None, format: str | None, name: str) -> None:
    """Raise `EncodeError` unless the frames of a y4m stream may become a video as ``target``."""
    suffix = Y4M_SUFFIX if target is None else target.suffix.lower()
    if format not in (None, "y4m") or (
        format is None and suffix != Y4M_SUFFIX and suffix not in VIDEO_SUFFIXES
    ):
        kind = format or suffix or "without an extension"
        raise EncodeError(
            f"{shown(name)} is a video of raw frames, which becomes another one, and the result "
            f"would be {kind}; name it with the extension .y4m, or with that of a container, such "
            "as .mkv"
        )
