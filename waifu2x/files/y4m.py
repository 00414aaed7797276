"""A job for a YUV4MPEG2 stream, whose frames are read, upscaled and written one by one."""

from __future__ import annotations

import itertools
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from .._text import plural, shown
from ..errors import EncodeError
from ..pipeline.pipeline import Pipeline
from ..pipeline.progress import ProgressCallback
from ..video.containers import Y4M_SUFFIX
from ..video.planes import VideoFrame
from ..video.upscaling import UpscaledFrames
from ..video.y4m import Y4mReader, Y4mWriter
from .frames import SOURCE, blank_frame, refuse_depth, reuse_notes
from .task import Amount, ComputeSlot, FrameShare, Options, PlainJob, Result, Task

#: Bytes of the line before a frame.
_FRAME_LINE: Final = 6


class Y4mJob(PlainJob):
    """A YUV4MPEG2 stream, which becomes another one; a `Job`.

    Raises the errors of `StillJob`.
    """

    needs_source = True
    streamed = True
    extension = Y4M_SUFFIX

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
        self._options = options
        self._reader = reader = Y4mReader(stream, name, max_pixels=pipeline.options.limit)
        header = reader.header
        layout = header.layout
        options.check_larger(layout.width, layout.height, name)
        self._total = self._frames_in(_size(stream))
        if amount is not None:
            amount.add_frames(layout.width, layout.height, max(1, self._total), name)
        blank = blank_frame(layout.width, layout.height)
        self._task = task = Task.resolve(pipeline, options, blank, slot)
        idle = not task.request.passes and not task.request.resize
        if header.interlaced and not idle and options.deinterlace != "off":
            raise EncodeError(
                f"{name} is interlaced; deinterlace it first, for example with "
                "ffmpeg -vf bwdif, or take its frames as they are with `deinterlace='off'`"
            )
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
        task, header = self._task, self._reader.header
        began, size, total = time.perf_counter(), 0, self._total

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
            self._chosen(),
            header.layout,
            task.pipeline,
            task.request,
            exact=self._options.exact,
            progress=follow,
            cancel=cancel,
            slot=task.slot,
        )
        with upscaled:
            writer = Y4mWriter(sink, header.line(upscaled.layout))
            for frame in upscaled:
                writer.write(frame)
                size += upscaled.layout.frame_bytes
            writer.flush()
        saved = upscaled.saved
        notes = [
            plural(saved.frames, "frame"),
            *reuse_notes(tiles=saved.tiles, reused=saved.reused, repeated=saved.repeated),
        ]
        request, assumptions = task.request, header.layout.assumptions()
        # They do not matter if nothing is converted.
        if assumptions and (request.passes or request.resize):
            notes.append(assumptions)
        return task.result(SOURCE, *notes)

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

    def _frames_in(self, size: int) -> int:
        """Return the number of frames of a file, 0 if it is unknown."""
        header = self._reader.header
        frames = (size - len(header.line())) // (header.layout.frame_bytes + _FRAME_LINE)
        return max(0, frames)


def check_y4m_target(target: Path | None, format: str | None, name: str) -> None:
    """Raise `EncodeError` unless a y4m stream may be written as ``target``."""
    suffix = Y4M_SUFFIX if target is None else target.suffix.lower()
    if format not in (None, "y4m") or (format is None and suffix != Y4M_SUFFIX):
        kind = format or suffix or "without an extension"
        raise EncodeError(
            f"{shown(name)} is a video of raw frames, which becomes another one, and the result "
            f"would be {kind}; name it with the extension .y4m, or pipe it to an encoder"
        )


def _size(stream: BinaryIO) -> int:
    """The size of a regular file in bytes, else 0."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
