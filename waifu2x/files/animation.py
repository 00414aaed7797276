"""A job for one animation: every distinct frame is upscaled once."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import BinaryIO, Final

import numpy as np

from .. import codec
from .._record import record
from .._text import plural
from ..codec.animation import (
    Animation,
    AnimationWriter,
    Kept,
    PictureStore,
    animation_writer,
    check_animation_target,
)
from ..errors import EncodeError, check_cancelled
from ..picture import Picture
from ..pipeline.gray import GrayTest
from ..pipeline.pipeline import Pipeline
from ..pipeline.progress import ProgressCallback
from .task import ChooseFormat, ComputeSlot, PlainJob, Result, Task, kept_metadata

_EIGHT_BITS: Final = np.dtype(np.uint8)


class AnimationJob(PlainJob):
    """An animation whose result is known to fit the output format; a `Job`.

    Raises the errors of `StillJob`.
    """

    needs_source = True

    def __init__(
        self,
        pipeline: Pipeline,
        animation: Animation,
        name: str,
        choose_format: ChooseFormat,
        slot: ComputeSlot | None,
    ) -> None:
        output, options = choose_format(animation.source, True)
        options.check_larger(animation.width, animation.height, name)
        codec.check_quality(output, options.quality)
        codec.written_dtype(output, _EIGHT_BITS, options.depth)
        if options.depth == 16:
            raise EncodeError(
                f"depth is 16, and {name} is an animation, which is written with 8 bits; "
                "leave out `depth=`"
            )
        self.extension = output.extension
        self._output = output
        self._animation = animation
        blank = Picture(
            np.zeros((animation.height, animation.width, 1), np.uint8), source=animation.source
        )
        self._task = task = Task.resolve(pipeline, options, blank, slot)
        check_animation_target(output, task.request.width, task.request.height)

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Upscale and encode frame by frame."""
        animation, task = self._animation, self._task
        request = task.request
        frames_done, frames_total = 0, 1

        def advance(share: float) -> None:
            if progress is not None:
                progress(min(1.0, (frames_done + share) / frames_total))

        def begin_frame(done: int, total: int) -> None:
            nonlocal frames_done, frames_total
            frames_done, frames_total = done, max(total, 1)
            advance(0.0)

        test = GrayTest(animation.source)
        gray: bool | None = None

        def upscale(picture: Picture) -> Picture:
            nonlocal gray
            gray = test.result() if gray is None else gray
            with task.computing(picture, _EIGHT_BITS):
                return task.pipeline.run(
                    picture,
                    request,
                    dtype=_EIGHT_BITS,
                    progress=advance,
                    cancel=cancel,
                    gray=gray,
                )

        writer = animation_writer(
            sink,
            self._output,
            width=request.width,
            height=request.height,
            loop=animation.loop,
            quality=task.options.quality,
            metadata=kept_metadata(animation.metadata, task.options),
            gray=animation.gray,
            has_alpha=animation.has_alpha,
            cancel=cancel,
        )
        made = upscale_animation(
            animation, upscale, writer, survey=test.add, progress=begin_frame, cancel=cancel
        )
        frames = plural(made.frames, "frame")
        if made.distinct < made.frames:
            frames += f" ({made.distinct} different)"
        return task.result(animation.source, frames, *made.notes)


@record
class AnimationResult:
    """The result of `upscale_animation`.

    frames: number of frames written.
    distinct: number of distinct frames, each upscaled once.
    notes: what the file cannot hold, one short sentence each.
    """

    frames: int
    distinct: int
    notes: tuple[str, ...]


def upscale_animation(
    animation: Animation,
    upscale: Callable[[Picture], Picture],
    writer: AnimationWriter,
    *,
    survey: Callable[[Picture], object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> AnimationResult:
    """Upscale every frame of ``animation``, write it to ``writer``, and close the writer.

    upscale: called once for each distinct frame, in order of appearance; returns a picture of the
        size of ``writer``. Its errors, such as `CancelledError`, propagate.
    survey: called with each distinct frame before the first call of ``upscale``.
    progress: called with the number of distinct frames done and their total, once before the first
        frame and after each frame.
    cancel: an event that stops the work before the next frame, in both passes.

    The animation is read twice. The first pass finds repeated frames, and damaged ones before any
    network runs. Results of repeated frames wait in a temporary file, not in memory.

    Raises `DecodeError` for a damaged frame, `CancelledError` if ``cancel`` was set, and the errors
    of ``upscale`` and ``writer``.
    """
    uses: Counter[bytes] = Counter()
    for frame in animation:
        check_cancelled(cancel)
        key = digest(frame.picture)
        if survey is not None and key not in uses:
            survey(frame.picture)
        uses[key] += 1
    distinct, done = len(uses), 0
    kept: dict[bytes, Kept] = {}
    if progress is not None:
        progress(0, distinct)
    with closing(PictureStore()) as store, writer:
        for frame in animation:
            check_cancelled(cancel)
            key = digest(frame.picture)
            uses[key] -= 1
            if key in kept:
                result = store.get(kept[key])
            else:
                result = upscale(frame.picture)
                if uses[key]:
                    kept[key] = store.put(result)
                done += 1
                if progress is not None:
                    progress(done, distinct)
            if not uses[key]:
                kept.pop(key, None)
            writer.add(result, frame.duration)
        notes = writer.close()
    return AnimationResult(writer.frames, distinct, notes)


def digest(picture: Picture) -> bytes:
    """A 128-bit hash of the samples of ``picture``."""
    state = hashlib.blake2b(digest_size=16)
    for plane in (picture.color, picture.alpha):
        if plane is not None:
            state.update(f"{plane.dtype}{plane.shape}".encode())
            state.update(np.ascontiguousarray(plane).data.cast("B"))
    return state.digest()
