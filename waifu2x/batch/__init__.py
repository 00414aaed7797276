"""Processes many files side by side and accounts for each of them.

`inputs` finds the files, `naming` names their results, and `planning` joins both and checks the
options. `job` processes one file within the bounds of `limits` and `memory`. `runner` processes
many files on this machine, `cluster` on a Dask cluster, and `watching` files as they arrive. `tree`
creates directories; `results` holds the result of each file and the report.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

from ..errors import ArgumentError
from ..files import FileKeywords
from ..files.task import Options
from ..pipeline.arguments import (
    checked,
    documented,
    kind_of,
    optional,
    path_text,
    picked,
    refuse_unknown,
    text,
)
from ..pipeline.options import UpscalerOptions
from ..pipeline.progress import ProgressCallback
from ..pipeline.upscaler import RunKeywords, UseKeywords, checked_run, chosen_upscaler
from .inputs import is_pattern
from .memory import for_one_run, parse_memory
from .options import BatchKeywords, BatchOptions
from .planning import Inputs, Plan, plan_batch, plan_file
from .results import BatchResult, Report, Summary, check_report
from .runner import Batch, BatchProgress
from .watching import WatchBatch

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .cluster import ClusterBatch

    BatchRun: TypeAlias = Batch | ClusterBatch

__all__ = [
    "Batch",
    "BatchOptions",
    "BatchProgress",
    "BatchResult",
    "BatchResults",
    "Plan",
    "Report",
    "Summary",
    "WatchBatch",
    "check_cluster",
    "check_report",
    "for_one_run",
    "is_pattern",
    "open_run",
    "parse_memory",
    "plan_batch",
    "plan_file",
    "reported",
    "upscale_many",
]


class PlaceKeywords(TypedDict, total=False):
    """Where a batch runs and reports.

    report: a file that receives a JSON line for each file as it ends; see `BatchResult.as_dict`.
    cluster: None to run here; else the address of a Dask scheduler, such as
        "tcp://scheduler:8786", or "local" for workers on this machine that end with the batch.
    """

    report: str | os.PathLike[str] | None
    cluster: str | None


class ManyKeywords(FileKeywords, BatchKeywords, PlaceKeywords, total=False):
    """The keyword arguments of `upscale_many`."""


_RECORDS: Final = (Options, UpscalerOptions, UseKeywords, BatchOptions, PlaceKeywords, RunKeywords)

_CLUSTER: Final = {
    "cluster": optional(
        text(
            "it must be 'local' or an address such as 'tcp://scheduler:8786'",
            r"local|\w+://\S+|[^\s/]+:\d+",
        )
    )
}


def check_cluster(cluster: str | None) -> None:
    """Raise `ArgumentError` unless ``cluster`` is "local", the address of a scheduler or None."""
    checked({"cluster": cluster}, _CLUSTER)


class BatchResults(Iterator[BatchResult]):
    """The results of `upscale_many`; iterating over them does the work.

    Iterate once: each result arrives when its file has ended. A second loop continues a loop that
    was left. `close` abandons the files in progress, and so does leaving a loop over results that
    no variable holds. Results that were never iterated show a RuntimeWarning.

    summary: the numbers of files done, skipped and failed so far.

    >>> results = waifu2x.upscale_many("pictures", "big", model="swift")
    >>> results
    <BatchResults: 0 of 2 files ended (0 done, 0 skipped, 0 failed)>
    >>> sorted(result.target.name for result in results)
    ['1.png', '2.png']
    >>> results.summary.done, results.progress.share
    (2, 1.0)
    """

    summary: Summary

    def __init__(
        self,
        plan: Plan,
        run: BatchRun,
        report: Report | None,
        progress: ProgressCallback | None,
        cancel: threading.Event | None,
    ) -> None:
        self.summary = Summary()
        self._run, self._report = run, report
        self._total = len(plan.items) + len(plan.problems)
        self._begun = self._closed = False
        # The generator holds no reference to this object, so leaving a loop ends it at once.
        self._results = _counted(
            _until_cancelled(reported(plan.problems, iter(run), report), run.cancel, cancel),
            self.summary,
            run,
            progress,
        )

    def __iter__(self) -> BatchResults:
        return self

    def __next__(self) -> BatchResult:
        """Wait for the next file to end.

        Raises `EncodeError` if the report cannot be written, `EngineError` if the cluster is lost.
        """
        self._begun = True
        return next(self._results)

    def __repr__(self) -> str:
        counts = f"{self.summary.done} done, {self.summary.skipped} skipped"
        return (
            f"<BatchResults: {self.summary.ended} of {self._total} files ended "
            f"({counts}, {self.summary.failed} failed)>"
        )

    def __del__(self) -> None:
        if self.__dict__.get("_closed", True) or sys.is_finalizing():
            return
        if not self._begun:
            warnings.warn(
                "upscale_many was never iterated, so no file was processed; write "
                "`for result in waifu2x.upscale_many(...)`",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )
        with suppress(Exception):
            self.close()

    @property
    def progress(self) -> BatchProgress:
        """The share of the work done and the files in progress; for any thread."""
        return self._run.progress

    def stop(self) -> None:
        """Start no more files; the iteration ends when those in progress have ended."""
        self._run.stop()

    def cancel(self) -> None:
        """Abandon the files in progress; the iteration ends soon."""
        self._run.cancel()

    def close(self) -> None:
        """Abandon the files in progress, and wait until nothing runs."""
        if self._closed:
            return
        self._closed = True
        self._results.close()
        if not self._begun:
            # A generator that has not begun runs no cleanup: let the run end without files.
            self._run.cancel()
            for _ in self._run:
                pass
            if self._report is not None:
                self._report.close()


@documented(*_RECORDS)
def upscale_many(
    inputs: Inputs, out: str | os.PathLike[str], **options: Unpack[ManyKeywords]
) -> BatchResults:
    """Upscale many files into a directory; iterate over the result, or nothing is done.

    inputs: a file, a directory, a pattern with ``*``, ``?``, ``[...]`` or ``**``, or
        ``@list.txt``, a file with one name on each line; or several of them. Pictures, animations
        and comic archives are selected by their extensions in directories and patterns.
    out: the directory for the results, created if missing, unless no input exists. Keeps the tree
        below a directory or below the fixed part of a pattern.

    Returns a `BatchResults`, which yields a `BatchResult` for each file as it ends, in a different
    order than the files begin. The files are processed while it is iterated. Without ``upscaler``,
    a network run may use a third of ``memory`` if given.

    Failures are isolated: a missing or damaged input is a result whose ``error`` describes what
    failed. A result gets its name when it is complete and on disk, so ``resume`` continues a batch
    that was killed.

    Raises, when called: `ArgumentError` for options that are not allowed, `DecodeError` for a
    pattern or list without any file, `OutputExistsError` if a result would replace its input, the
    errors of `Upscaler`, `LimitError` for too little ``memory``, `EncodeError` for ``out`` or
    ``report``, `EngineError` for an unusable cluster. While iterating: `EncodeError` if the report
    cannot be written, `EngineError` if the cluster is lost.

    >>> for result in waifu2x.upscale_many("pictures", "big", recursive=True, model="swift"):
    ...     assert result.status == "done", result.error
    >>> from pathlib import Path
    >>> sorted(path.name for path in Path("big").rglob("*.png"))
    ['1.png', '1.png', '2.png']
    """
    refuse_unknown("upscale_many", options, *_RECORDS)
    chosen = Options(**picked(options, Options))
    batch = BatchOptions(**picked(options, BatchOptions))
    cluster = checked(options, _CLUSTER).get("cluster")
    run = checked_run(options)
    report = options.get("report")
    out = path_text("out", out)
    report = None if report is None else path_text("report", report)
    found = _listed(inputs)
    upscaler = chosen_upscaler(options, run_memory=for_one_run(batch.memory))
    plan = plan_batch(found, out, chosen, batch, upscaler=upscaler)
    log = None
    if report is not None:
        check_report(report, (item.target for item in plan.items))
        log = Report(report)
    return BatchResults(plan, open_run(plan, cluster), log, run.get("progress"), run.get("cancel"))


def _listed(inputs: Any) -> list[str | os.PathLike[str]]:
    """The inputs as a list; raises `ArgumentError` for anything but paths."""
    several = isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes | os.PathLike)
    try:
        given = list(inputs) if several else [inputs]
    except Exception as error:  # the methods of any object may raise anything
        raise ArgumentError(
            f"inputs is {kind_of(inputs)}; allowed are paths and patterns"
        ) from error
    found: list[str | os.PathLike[str]] = []
    for each in given:
        if not isinstance(each, str | os.PathLike):
            raise ArgumentError(f"inputs holds {kind_of(each)}; allowed are paths and patterns")
        text = path_text("inputs", each)
        found.append(text if isinstance(each, str) else Path(text))  # a path is never a list
    return found


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


def _counted(
    results: Iterator[BatchResult],
    summary: Summary,
    run: BatchRun,
    progress: ProgressCallback | None,
) -> Generator[BatchResult, None, None]:
    """Yield ``results``, counted in ``summary``; calls ``progress`` with the share of the work."""
    for result in results:
        summary.count(result)
        if progress is not None:
            progress(run.progress.share)
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
