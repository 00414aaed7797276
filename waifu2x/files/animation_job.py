"""One animation, from an open file to an open file."""

from __future__ import annotations

import threading
from typing import BinaryIO, Final

import numpy as np

from .. import codec
from ..codec import OutputFormat
from ..codec.animation import Animation, animation_writer, check_animation_target, open_animation
from ..errors import ArgumentError
from ..picture import Picture
from ..pipeline.progress import ProgressCallback
from ..pipeline.upscaler import Upscaler
from .animation import upscale_animation
from .task import Choose, Options, Outcome, Task, Turn, kept

_EIGHT: Final = np.dtype(np.uint8)


def open_moving(
    upscaler: Upscaler, stream: BinaryIO, name: str, choose: Choose, turn: Turn | None
) -> Moving | None:
    """Open an animation; None for a still picture. The rest is as for `conversion.prepare`."""
    animation = open_animation(stream, name, max_pixels=upscaler.options.limit)
    if animation is None:
        return None
    output, options = choose(animation.source, True)
    options.check_larger(animation.width, animation.height, name)
    return Moving(upscaler, animation, output, options, turn)


class Moving:
    """An animation that has been opened and checked; see `conversion.Conversion`."""

    reads_on = True

    def __init__(
        self,
        upscaler: Upscaler,
        animation: Animation,
        output: OutputFormat,
        options: Options,
        turn: Turn | None,
    ) -> None:
        codec.check_quality(output, options.quality)
        codec.written_dtype(output, _EIGHT, options.depth)
        if options.depth == 16:
            raise ArgumentError("depth is 16, and animations are written with 8 bits per sample")
        self.output = output
        self._animation = animation
        blank = Picture(
            np.zeros((animation.height, animation.width, 1), np.uint8), source=animation.source
        )
        self._task = task = Task.of(upscaler, options, blank, turn)
        check_animation_target(output, task.request.width, task.request.height)

    def write(
        self,
        sink: BinaryIO,
        *,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Outcome:
        """Do the work; see `conversion.Conversion`."""
        animation, task = self._animation, self._task
        shares = _Shares(progress)
        writer = animation_writer(
            sink,
            self.output,
            width=task.request.width,
            height=task.request.height,
            loop=animation.loop,
            quality=task.options.quality,
            metadata=kept(animation.metadata, task.options),
            gray=animation.gray,
            has_alpha=animation.has_alpha,
        )
        result = upscale_animation(
            animation,
            lambda picture: task.run(picture, _EIGHT, shares.within, cancel),
            writer,
            progress=shares.reach,
        )
        frames = f"{result.frames} frames"
        if result.distinct < result.frames:
            frames += f" ({result.distinct} different)"
        return task.outcome(animation.source, frames, *result.notes)


class _Shares:
    """Progress of many pictures as that of one."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._done, self._all = 0, 1

    def reach(self, done: int, of: int) -> None:
        self._done, self._all = done, max(of, 1)
        self.within(0.0)

    def within(self, share: float) -> None:
        if self._progress is not None:
            self._progress(min(1.0, (self._done + share) / self._all))
