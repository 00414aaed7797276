"""Many files: found, named, worked on side by side, and each one accounted for.

`inputs` finds the files and `naming` says what their results are called; `planning` joins both and
checks what can be known. `job` takes one file from start to end, through the limits of `stages` and
`memory`; `runner` carries many at once. `tree` makes directories, `results` is what became of each.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain

from ..files.task import Options
from ..pipeline.upscaler import Upscaler
from .memory import for_one_run, parse_memory
from .naming import Item
from .planning import DEFAULT_NAME, Inputs, Plan, plan_batch
from .results import BatchResult, Report, Summary
from .runner import Batch, Progress

__all__ = [
    "DEFAULT_NAME",
    "Batch",
    "BatchResult",
    "Inputs",
    "Item",
    "Plan",
    "Progress",
    "Report",
    "Summary",
    "cancelling",
    "for_one_run",
    "parse_memory",
    "plan_batch",
    "reported",
    "upscale_many",
]


def upscale_many(
    inputs: Inputs,
    out_dir: str | os.PathLike[str],
    options: Options | None = None,
    *,
    upscaler: Upscaler | None = None,
    recursive: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    name: str = DEFAULT_NAME,
    shard: str | tuple[int, int] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    keep_times: bool = False,
    memory: int | None = None,
    report: str | os.PathLike[str] | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[BatchResult]:
    """Upscale many files into a directory; yields what became of each as it ends.

    inputs: one or several of these: a file; a directory; a pattern with ``*``, ``?``, ``[...]`` or
        ``**``; ``@list.txt``, a file that names one on each line. Pictures, animations and comic
        archives are taken; in directories and patterns, by their extensions.
    out_dir: is made where it is missing. The tree below a directory or the fixed part of a pattern
        is kept in it.
    options: what to do, the same for all.
    upscaler: the model and how it runs; cunet with the defaults if left out.
    recursive: take what lies in the directories of a directory too.
    include, exclude: patterns for names, or with a ``/`` for paths below an input. With
        ``include``, they decide instead of the extensions.
    name: what results are called: text with ``{stem}`` and at its end ``{ext}``; also ``{scale}``,
        ``{model}``, ``{noise}`` and ``{parent}``, the directory. Inputs that would share a name
        get longer ones, all of them: a.png and a.jpg become a_png.png and a_jpg.png.
    shard: work on one of several parts of the files, (3, 16) or "3/16": the third of sixteen. In
        which part a file is goes by its path below the input alone.
    overwrite: replace results that exist; without it they are failures.
    resume: skip files whose result is there and no older, and replace older results.
    keep_times: give results the times of their inputs.
    memory: bytes that this process may take, about; None is half of what is free now, besides what
        it has. A picture that needs more than that is worked on alone. Where no ``upscaler`` is
        given, a network run may take a third of it.
    report: a file that gets a line of JSON for each file as it ends; see `BatchResult.as_dict`.
    cancel: an event that drops the files in flight and ends the iteration.

    Files do not share their fate: whatever is wrong with one is the ``error`` of its result. A
    result appears under its name when it is complete and on disk, so a batch that was killed is
    gone on with by ``resume``. Files end in another order than they begin.

    Raises, when called: `ArgumentError` for what cannot be and for inputs that are missing,
    `EncodeError` for ``out_dir`` or ``report``. While iterating: `EncodeError` where the report
    cannot be written any more. Closing the iterator drops the files in flight.
    """
    plan = plan_batch(
        inputs,
        out_dir,
        options,
        upscaler=upscaler,
        recursive=recursive,
        include=include,
        exclude=exclude,
        name=name,
        part=shard,
        overwrite=overwrite,
        resume=resume,
        keep_times=keep_times,
        memory=memory,
    )
    batch = Batch(plan.items, plan.rules, plan.upscaler, plan.tree, memory=memory)
    log = None if report is None else Report(report)
    return cancelling(reported(plan.problems, iter(batch), log), batch.cancel, cancel)


def reported(
    problems: Sequence[BatchResult],
    results: Generator[BatchResult, None, None],
    report: Report | None,
) -> Iterator[BatchResult]:
    """``problems`` and ``results``, each written to ``report`` first; closes it at the end."""
    with ExitStack() as stack:
        stack.callback(results.close)
        if report is not None:
            stack.callback(report.close)
        for result in chain(problems, results):
            if report is not None:
                report.write(result)
            yield result


def cancelling(
    results: Iterator[BatchResult], drop: Callable[[], object], cancel: threading.Event | None
) -> Iterator[BatchResult]:
    """``results``, until ``cancel`` is set; then ``drop`` is called, which should end them."""
    if cancel is None:
        yield from results
        return
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if cancel.wait(0.1):
                drop()
                return

    watcher = threading.Thread(target=watch, name="waifu2x-cancel", daemon=True)
    watcher.start()
    try:
        yield from results
    finally:
        over.set()
