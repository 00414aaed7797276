"""Processes many files side by side and accounts for each of them.

`inputs` finds the files, `naming` names their results, and `planning` joins both and checks the
options. `job` processes one file within the bounds of `limits` and `memory`. `runner` processes
many files on this machine, `cluster` on a Dask cluster. `tree` creates directories; `results` holds
the result of each file and the report.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from ..files.task import Options
from ..pipeline.upscaler import Upscaler
from .memory import for_one_run, parse_memory
from .options import BatchKeywords, BatchOptions
from .planning import Inputs, Plan, plan_batch, plan_file
from .results import BatchResult, Report, Summary
from .runner import Batch, BatchProgress

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .cluster import ClusterBatch

    BatchRun: TypeAlias = Batch | ClusterBatch

__all__ = [
    "Batch",
    "BatchOptions",
    "BatchProgress",
    "BatchResult",
    "Plan",
    "Report",
    "Summary",
    "for_one_run",
    "open_run",
    "parse_memory",
    "plan_batch",
    "plan_file",
    "reported",
    "upscale_many",
]


def upscale_many(
    inputs: Inputs,
    out_dir: str | os.PathLike[str],
    options: Options | None = None,
    *,
    upscaler: Upscaler | None = None,
    cluster: str | None = None,
    report: str | os.PathLike[str] | None = None,
    cancel: threading.Event | None = None,
    **batch: Unpack[BatchKeywords],
) -> Iterator[BatchResult]:
    """Upscale many files into a directory; yields the result of each file as it ends.

    inputs: a file, a directory, a pattern with ``*``, ``?``, ``[...]`` or ``**``, or
        ``@list.txt``, a file with one name on each line; or several of them. Pictures, animations
        and comic archives are selected by their extensions in directories and patterns.
    out_dir: created if missing. Keeps the tree below a directory or below the fixed part of a
        pattern.
    options: what to do with every file.
    upscaler: the model and how it runs. None means cunet with the defaults, and a network run may
        use a third of ``memory`` if given.
    cluster: None to run here; else the address of a Dask scheduler, such as
        ``tcp://scheduler:8786``, or ``local`` for workers on this machine that end with the batch.
    report: a file that receives a JSON line for each file as it ends; see `BatchResult.as_dict`.
    cancel: an event that abandons the files in flight and ends the iteration.
    batch: the fields of `BatchOptions`.

    Failures are isolated: the ``error`` of a result describes what failed with its file. A result
    gets its name when it is complete and on disk, so ``resume`` continues a batch that was killed.
    Files end in a different order than they begin.

    Raises, when called: `ArgumentError` for options that are not allowed and inputs that are
    missing, `EncodeError` for ``out_dir`` or ``report``, `EngineError` for an unusable cluster.
    While iterating: `EncodeError` if the report cannot be written, `EngineError` if the cluster is
    lost. Closing the iterator abandons the files in flight.
    """
    plan = plan_batch(inputs, out_dir, options, BatchOptions(**batch), upscaler=upscaler)
    log = None if report is None else Report(report)
    run = open_run(plan, cluster)
    return _until_cancelled(reported(plan.problems, iter(run), log), run.cancel, cancel)


def open_run(plan: Plan, cluster: str | None = None) -> BatchRun:
    """Prepare to run ``plan`` here or on a cluster; see `upscale_many`."""
    if cluster is None:
        return Batch(plan)
    from .cluster import ClusterBatch  # loaded when needed

    return ClusterBatch(plan, cluster)


def reported(
    problems: Sequence[BatchResult],
    results: Generator[BatchResult, None, None],
    report: Report | None,
) -> Iterator[BatchResult]:
    """Write ``problems`` and ``results`` to ``report`` and yield them; closes the report."""
    with ExitStack() as stack:
        stack.callback(results.close)
        if report is not None:
            stack.callback(report.close)
        for result in chain(problems, results):
            if report is not None:
                report.write(result)
            yield result


def _until_cancelled(
    results: Iterator[BatchResult], abandon: Callable[[], object], cancel: threading.Event | None
) -> Iterator[BatchResult]:
    """Yield ``results``; calls ``abandon``, which ends them, once ``cancel`` is set."""
    if cancel is None:
        yield from results
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if cancel.wait(0.1):
                abandon()
                return

    threading.Thread(target=watch, name="waifu2x-cancel", daemon=True).start()
    try:
        yield from results
    finally:
        ended.set()
