"""A job for one still picture."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import BinaryIO

from .. import codec
from ..picture import Picture
from ..pipeline.pipeline import Pipeline
from ..pipeline.progress import ProgressCallback
from .task import ChooseFormat, ComputeSlot, PlainJob, Result, Task, kept_metadata


class StillJob(PlainJob):
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
        dtype = codec.written_dtype(output, picture.color.dtype, options.depth)
        self._task = task = Task.resolve(pipeline, options, picture, slot)
        channels = picture.color.shape[2] + (picture.alpha is not None and output.has_alpha)
        codec.check_size(output, task.request.width, task.request.height, channels * dtype.itemsize)

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Upscale the picture and encode it, row by row if the format allows it."""
        picture, task = self._picture, self._task
        with codec.open_row_writer(
            sink,
            self._output,
            like=picture,
            width=task.request.width,
            height=task.request.height,
            quality=task.options.quality,
            depth=task.options.depth,
        ) as writer:
            # Other formats are encoded as a whole, after the slot is free.
            rows = writer.write_rows if self._output.row_writer else None
            with task.computing(picture, writer.rows_dtype):
                result = task.pipeline.run(
                    picture,
                    task.request,
                    dtype=writer.rows_dtype,
                    progress=progress,
                    cancel=cancel,
                    rows=rows,
                )
            if rows is None:
                writer.write_rows(result.color, result.alpha)
        return task.result(picture.source, *writer.notes)
