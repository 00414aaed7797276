"""Processes one file of a batch; a failure stays with its file."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from .. import codec
from .._record import record
from .._text import reason, shown
from ..atomic import check_place, same_file, write_file
from ..errors import (
    CancelledError,
    DecodeError,
    LimitError,
    OutputExistsError,
    SkippedError,
    Waifu2xError,
)
from ..files.open import open_job
from ..files.task import Amount, Job, Options, Result, Share, Task
from ..picture import Picture
from ..pipeline.pipeline import Footprint
from ..pipeline.progress import ProgressCallback
from ..pipeline.upscaler import Upscaler
from .limits import FileStages, Limits
from .memory import decoding_bytes, encoder_share
from .naming import Item
from .options import BatchOptions
from .results import BatchResult
from .tree import OutputTree

_log = logging.getLogger(__name__)

#: Default output formats without a quality.
LOSSLESS_SUFFIXES: Final = tuple(
    output.extension for output in codec.ANIMATED_OUTPUT_FORMATS if not output.lossy
)


@record
class Rules:
    """What to do with each file of a batch.

    options: as for `waifu2x.upscale_file`; without a format, the name of the target decides.
    batch: how to treat existing targets, and file times.
    since: a target that appeared at this time (``st_ctime_ns``) or later counts as done. An earlier
        attempt at the same file wrote the target and died before it could report.
    """

    options: Options = field(default_factory=Options)
    batch: BatchOptions = field(default_factory=BatchOptions)
    since: int | None = None


@record
class BatchContext:
    """What all files of a batch share in one process.

    stopping: start no more files. cancel: also abandon files in flight.
    """

    rules: Rules
    upscaler: Upscaler
    limits: Limits
    tree: OutputTree
    stopping: threading.Event = field(default_factory=threading.Event)
    cancel: threading.Event = field(default_factory=threading.Event)


def process(
    context: BatchContext,
    item: Item,
    stages: FileStages,
    progress: ProgressCallback | None = None,
    share: Share | None = None,
) -> BatchResult:
    """Upscale one file.

    share: the segments of a video to compute; None for those of this part of the batch.

    Every failure is reported in the result; only `CancelledError` is raised, after
    ``context.cancel`` was set.
    """
    rules = context.rules
    began = time.perf_counter()
    made: dict[str, Any] = {}
    error: Waifu2xError | None = None
    made_earlier = False
    try:
        made = asdict(_convert(context, item, stages, progress, share))
    except CancelledError:
        raise
    except SkippedError as skipped:
        made_earlier = rules.batch.resume and _appeared(item, rules.since)
        made = {"notes": (str(skipped),)}
    except OutputExistsError as exists:
        made_earlier = _appeared(item, rules.since)
        if rules.batch.resume and is_done(item):
            made = {"notes": ("another run has finished it meanwhile",)}
        elif not made_earlier:
            error = exists
    except Waifu2xError as failed:
        context.tree.note_failure(failed)
        error = failed
    except MemoryError:
        error = LimitError(f"{shown(item.source)}: out of memory; a smaller scale needs less")
    except Exception as unexpected:
        _log.debug("%s failed", shown(item.source), exc_info=True)
        error = Waifu2xError(
            f"{shown(item.source)}: unexpected {type(unexpected).__name__}: {reason(unexpected)}; "
            "this is a defect of waifu2x"
        )
        error.__cause__ = unexpected
    if made_earlier:
        made = {"notes": ("an earlier attempt has finished it",)}
    done = made_earlier or "size_out" in made
    return BatchResult(
        source=item.source,
        target=item.target,
        status="failed" if error else "done" if done else "skipped",
        **made,
        error=error,
        seconds=time.perf_counter() - began,
        stages=stages.seconds,
    )


def is_done(item: Item) -> bool:
    """Whether a complete result exists that is no older than its input; opens neither file.

    Results get their final name only when complete, so existence is enough.
    """
    try:
        target, source = item.target.stat(), item.source.stat()
    except (OSError, ValueError):
        return False
    whole = stat.S_ISREG(target.st_mode) and target.st_size > 0
    return whole and target.st_mtime_ns >= source.st_mtime_ns


def _convert(
    context: BatchContext,
    item: Item,
    stages: FileStages,
    progress: ProgressCallback | None,
    share: Share | None,
) -> Result:
    batch = context.rules.batch
    source, options = item.source, context.rules.options
    if options.format is None and item.target.suffix in LOSSLESS_SUFFIXES:
        options = replace(options, quality=None)
    before = _status(source)
    if batch.resume and is_done(item):
        raise SkippedError("done before")
    overwrite = batch.overwrite or batch.resume
    _refuse_existing(item, overwrite=overwrite)
    context.tree.check_room(before.st_size)
    limit = context.upscaler.options.limit
    with ExitStack() as stack:
        stream, name = stack.enter_context(codec.opened(source, limit))
        job = open_within(
            *(stages, context.upscaler, stream, name, options, item.target),
            cancel=context.cancel,
            share=share or (None if batch.part is None else Share(*batch.part)),
        )
        if not job.needs_source:
            stack.close()
            _require_unchanged(item, before)
        context.tree.prepare(item.target.parent)
        place = check_place(item.target, overwrite=overwrite, source=source)
        with job.keeping(place):
            return write_file(
                place,
                lambda file: job.write(file, progress, context.cancel),
                overwrite=overwrite,
                times=(before.st_atime_ns, before.st_mtime_ns) if batch.keep_times else None,
                durable=True,
                check=lambda: _require_unchanged(item, before),
            )


def open_within(
    stages: FileStages,
    upscaler: Upscaler,
    stream: BinaryIO,
    name: str,
    options: Options,
    target: Path,
    *,
    keep_format: bool = False,
    amount: Amount | None = None,
    cancel: threading.Event | None = None,
    share: Share | None = None,
) -> Job:
    """Open a source as `open_job` does, once the limits of ``stages`` allow decoding it.

    target: the file to write; with ``keep_format``, only an estimate of the name of the result.

    Raises the errors of `open_job`, and `CancelledError`.
    """
    limit = upscaler.options.limit
    size, header = decoding_bytes(stream, limit)
    expected = Footprint(0, 0)
    if header is not None:
        # The orientation is known only after decoding.
        options.check_larger(header.width, header.height, name, rotated=True)
        if header.width * header.height <= limit:
            expected = _expected(header, upscaler, options)
    stages.encoder_share = encoder_share(target)
    with stages.decoding(size, expected):
        return open_job(
            upscaler.pipeline,
            stream,
            name,
            options,
            None if keep_format else target,
            keep_format=keep_format,
            slot=stages.computing,
            amount=amount,
            cancel=cancel,
            share=share,
        )


def _refuse_existing(item: Item, *, overwrite: bool) -> None:
    """Raise `OutputExistsError` for an existing target, before any work.

    The input itself is never replaced: a second run would upscale the first run's result.
    """
    if not os.path.lexists(item.target):
        return
    if same_file(item.target, item.source):
        raise OutputExistsError(
            f"{shown(item.target)} is the input itself, which is never replaced; choose another "
            "directory or another `name=`"
        )
    if not overwrite:
        raise OutputExistsError(
            f"{shown(item.target)} exists already; skip what is done with `resume=True`, "
            "or replace it with `overwrite=True`"
        )


def _expected(header: codec.Header, upscaler: Upscaler, options: Options) -> Footprint:
    """Estimate the footprint before decoding; zero if the picture will be refused."""
    # A broadcast array: the size of the picture without its memory.
    blank = Picture(np.broadcast_to(np.zeros(1, np.uint8), (header.height, header.width, 3)))
    try:
        task = Task.resolve(upscaler.pipeline, options, blank)
    except Waifu2xError:
        return Footprint(0, 0)
    found = upscaler.pipeline.footprint(blank, task.request, dtype=np.uint8)
    # More bytes per pixel in the file, by depth or alpha, mean as many more in the result.
    return replace(found, result=found.result * max(3, header.pixel_bytes) // 3)


def _appeared(item: Item, since: int | None) -> bool:
    try:
        return since is not None and item.target.stat().st_ctime_ns >= since
    except OSError:
        return False


def _status(source: os.PathLike[str]) -> os.stat_result:
    try:
        return os.stat(source)  # noqa: PTH116  (like `opened`, which names the fault)
    except FileNotFoundError as error:
        raise DecodeError(f"{shown(source)} does not exist") from error
    except (OSError, ValueError) as error:
        raise DecodeError(f"{shown(source)} cannot be read: {reason(error)}") from error


def _require_unchanged(item: Item, before: os.stat_result) -> None:
    """Raise `DecodeError` if the input has been changed or removed since it was opened."""
    now = _status(item.source)
    if not stat.S_ISREG(now.st_mode):
        return  # a pipe has another time once it is read
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise DecodeError(
            f"{shown(item.source)} has changed while it was worked on; run again with `resume=True`"
        )
