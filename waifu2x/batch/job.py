"""One file of a batch, from start to end; whatever goes wrong with it stays with it."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from .. import codec
from .._text import reason, shown
from ..atomic import check_place, write_file
from ..errors import (
    CancelledError,
    DecodeError,
    LimitError,
    OutputExistsError,
    SkippedError,
    Waifu2xError,
)
from ..files.open import open_work
from ..files.task import Options, Outcome, Task
from ..picture import Picture
from ..pipeline.pipeline import Footprint
from ..pipeline.progress import ProgressCallback
from ..pipeline.upscaler import Upscaler
from .memory import decoding_bytes, encoder_share
from .naming import Item
from .results import BatchResult
from .stages import FileStages
from .tree import OutputTree

_log = logging.getLogger(__name__)


#: Of those that results get by themselves, the ones whose formats have no quality.
LOSSLESS_SUFFIXES: Final = tuple(
    output.extension for output in codec.ANIMATED_OUTPUT_FORMATS if not output.lossy
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What to do with each file of a batch.

    options: as for `waifu2x.upscale_file`; without a format, the name of the target decides.
    overwrite: replace targets that exist.
    resume: leave alone what is done: a target that is no older than its input.
    keep_times: give results the times of their inputs.
    since: a target that has appeared at this time (``st_ctime_ns``) or later is done: an earlier
        attempt at the same file made it, and was lost before it could say so.
    """

    options: Options = field(default_factory=Options)
    overwrite: bool = False
    resume: bool = False
    keep_times: bool = False
    since: int | None = None


def process(
    item: Item,
    rules: Rules,
    upscaler: Upscaler,
    stages: FileStages,
    tree: OutputTree,
    *,
    cancel: threading.Event,
    progress: ProgressCallback | None = None,
) -> BatchResult:
    """Upscale one file.

    Raises nothing but `CancelledError`, if ``cancel`` was set: every failure is in the result.
    """
    began = time.perf_counter()
    outcome: Outcome | None = None
    error: Waifu2xError | None = None
    notes: tuple[str, ...] = ()
    made_earlier = False
    try:
        outcome = _convert(item, rules, upscaler, stages, tree, cancel, progress)
        notes = outcome.notes
    except CancelledError:
        raise
    except SkippedError as skipped:
        made_earlier = rules.resume and _appeared(item, rules.since)
        notes = (str(skipped),)
    except OutputExistsError as exists:
        made_earlier = _appeared(item, rules.since)
        if rules.resume and is_done(item):
            notes = ("another run has finished it meanwhile",)
        elif not made_earlier:
            error = exists
    except Waifu2xError as failed:
        tree.note_failure(failed)
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
        notes = ("an earlier attempt has finished it",)
    return BatchResult(
        source=item.source,
        target=item.target,
        status="failed" if error else "done" if outcome or made_earlier else "skipped",
        size_in=outcome.size_in if outcome else None,
        size_out=outcome.size_out if outcome else None,
        noise=outcome.noise if outcome else None,
        reason=outcome.reason if outcome else "",
        notes=notes,
        error=error,
        seconds=time.perf_counter() - began,
        stages=stages.seconds,
    )


def is_done(item: Item) -> bool:
    """Whether a whole result is there that is no older than its input; neither is opened.

    A file has its final name only when it is complete, so being there is enough.
    """
    try:
        target, source = item.target.stat(), item.source.stat()
    except (OSError, ValueError):
        return False
    whole = stat.S_ISREG(target.st_mode) and target.st_size > 0
    return whole and target.st_mtime_ns >= source.st_mtime_ns


def _convert(
    item: Item,
    rules: Rules,
    upscaler: Upscaler,
    stages: FileStages,
    tree: OutputTree,
    cancel: threading.Event,
    progress: ProgressCallback | None,
) -> Outcome:
    source, options = item.source, _fitting(rules.options, item.target)
    if rules.resume and is_done(item):
        raise SkippedError("done before")
    overwrite = rules.overwrite or rules.resume
    _refuse_existing(item, overwrite=overwrite)
    before = _status(source)
    tree.check_room(before.st_size)
    limit = upscaler.options.limit
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        stream, name = stack.enter_context(codec.opened(source, limit))
        size, header = decoding_bytes(stream, limit)
        expected = Footprint(0, 0)
        if header is not None:
            _refuse_larger(header, options, name)
            expected = _expected(header, upscaler, options)
        stages.encoder_share = encoder_share(item.target)
        with stages.decoding(size, expected):
            work = open_work(upscaler, stream, name, options, item.target, turn=stages.turn)
        if not work.reads_on:
            stack.close()
            _require_unchanged(item, before)
        tree.prepare(item.target.parent)

        def write(file: BinaryIO) -> None:
            outcomes.append(work.write(file, progress, cancel))

        write_file(
            check_place(item.target, overwrite=overwrite, source=source),
            write,
            overwrite=overwrite,
            times=(before.st_atime_ns, before.st_mtime_ns) if rules.keep_times else None,
            durable=True,
            check=lambda: _require_unchanged(item, before),
        )
    return outcomes[0]


def _fitting(options: Options, target: Path) -> Options:
    """Where each result has a format of its own, a quality is for those that have one."""
    if options.format is None and target.suffix in LOSSLESS_SUFFIXES:
        return replace(options, quality=None)
    return options


def _refuse_existing(item: Item, *, overwrite: bool) -> None:
    """Raise for a target that exists, before any work.

    The input itself is never replaced: a second run would enlarge what the first has made of it.
    """
    if not os.path.lexists(item.target):
        return
    try:
        same = item.target.samefile(item.source)
    except OSError:
        same = False
    if same:
        raise OutputExistsError(
            f"{shown(item.target)} is the input itself; choose another directory or --name"
        )
    if not overwrite:
        raise OutputExistsError(
            f"{shown(item.target)} exists already; skip what is done with --resume (resume=True), "
            "or replace it with --overwrite (overwrite=True)"
        )


def _refuse_larger(header: codec.Header, options: Options, name: str) -> None:
    """Raise `SkippedError` where no orientation can make the picture small enough."""
    try:
        options.check_larger(header.width, header.height, name)
    except SkippedError as larger:
        try:
            options.check_larger(header.height, header.width, name)
        except SkippedError:
            raise larger from None
        # Small enough if it lies on its side, which only decoding tells.


def _expected(header: codec.Header, upscaler: Upscaler, options: Options) -> Footprint:
    """What a picture will take, before it is decoded; nothing where it will be refused."""
    # One sample seen everywhere: a picture of that size without its memory.
    blank = Picture(np.broadcast_to(np.zeros(1, np.uint8), (header.height, header.width, 3)))
    try:
        task = Task.of(upscaler, options, blank)
    except Waifu2xError:
        return Footprint(0, 0)
    found = upscaler.pipeline.footprint(blank, task.request, dtype=np.uint8)
    # Deep samples and alpha are larger in the result as they are in the file.
    return replace(found, result=found.result * max(3, header.pixel_bytes) // 3)


def _appeared(item: Item, since: int | None) -> bool:
    try:
        return since is not None and item.target.stat().st_ctime_ns >= since
    except OSError:
        return False


def _status(source: os.PathLike[str]) -> os.stat_result:
    try:
        return os.stat(source)  # noqa: PTH116  (as `opened` does, which names what is wrong)
    except FileNotFoundError as error:
        raise DecodeError(f"{shown(source)} does not exist") from error
    except (OSError, ValueError) as error:
        raise DecodeError(f"{shown(source)} cannot be read: {reason(error)}") from error


def _require_unchanged(item: Item, before: os.stat_result) -> None:
    """Raise `DecodeError` for an input that was written to, or is gone, since it was opened."""
    now = _status(item.source)
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise DecodeError(
            f"{shown(item.source)} has changed while it was worked on; run again with --resume "
            "(resume=True)"
        )
