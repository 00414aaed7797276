"""A job for one still picture."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import BinaryIO

from .. import codec
from ..picture import Picture
from ..pipeline.pipeline import Pipeline
from ..pipeline.progress import ProgressCallback
from .task import ChooseFormat, ComputeSlot, Result, Task, kept_metadata


class StillJob:
    """A decoded picture whose result is known to fit the output format; a `Job`.

    Raises `SkippedError` for a picture beyond ``skip_larger``, `ArgumentError`, `LimitError`, and
    `EncodeError` for a result that the format cannot hold.
    """

    needs_source = False

    def __init__(
        self,
        pipeline: Pipeline,
        picture: Picture,
        name: str,
        choose_format: ChooseFormat,
        slot: ComputeSlot | None,
    ) -> None:
        output, options = choose_format(picture.source, False)
        options.check_larger(picture.width, picture.height, name)
        codec.check_quality(output, options.quality)
        self.extension = output.extension
        self._output = output
        self._picture = replace(picture, metadata=kept_metadata(picture.metadata, options))
        self._dtype = codec.written_dtype(output, picture.color.dtype, options.depth)
        self._task = task = Task.resolve(pipeline, options, picture, slot)
        channels = picture.color.shape[2] + (picture.alpha is not None and output.has_alpha)
        codec.check_size(
            output, task.request.width, task.request.height, channels * self._dtype.itemsize
        )

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Upscale the picture and encode it, row by row if the format allows it."""
        picture, task, dtype = self._picture, self._task, self._dtype
        request, options = task.request, task.options

        def run(rows: codec.WriteRows | None = None) -> Picture:
            with task.computing(picture, dtype):
                return task.pipeline.run(
                    picture, request, dtype=dtype, progress=progress, cancel=cancel, rows=rows
                )

        if self._output.takes_rows:
            notes = codec.encode_rows_stream(
                picture,
                sink,
                self._output,
                run,
                width=request.width,
                height=request.height,
                depth=options.depth,
            )
        else:
            notes = codec.encode_stream(
                run(), sink, self._output, quality=options.quality, depth=options.depth
            )
            notes = (*codec.reduction_notes(picture.color.dtype, dtype, options.depth), *notes)
        return task.result(picture.source, *notes)
