"""Runs a job with its progress, its report, its summary, its signals and its exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._record import record
from .._signals import SIGNALED, handled
from .._text import plural
from ..atomic import remove_live
from ..batch import Batch, BatchProgress, BatchResult, Plan, Report, Summary, reported
from ..errors import Waifu2xError
from .options import CommandOptions
from .progress import Reporter, reporter_for
from .say import shown_in_shell, summary_line

if TYPE_CHECKING:
    from ..batch import BatchRun

_log = logging.getLogger(__name__)

#: Seconds for files in progress to clean up before the process exits: many files, one file.
_GRACE: Final = (1.0, 0.3)


class Run(Protocol):
    """A batch here or on a cluster, a watch, or a pipe."""

    summary: Summary

    def __iter__(self) -> Generator[BatchResult, None, None]: ...
    def stop(self) -> None:
        """Start no more files."""

    def cancel(self) -> None:
        """Abandon the files in progress, too."""

    @property
    def progress(self) -> BatchProgress:
        """The current progress."""


@record
class Job:
    """What to run, and the facts about it that are known before.

    one: the only file that the command names, if so; it needs no summary. to_pipe: whether
        standard output receives the result, and thus nothing else.
    problems: failures found while planning. total, of_all_shards: numbers of files here and in all
        shards. ignored, cleaned, results: see `Plan`.
    begin: a line to print before the first result, on standard error.
    """

    run: Run
    one: Path | None
    to_pipe: bool = False
    problems: tuple[BatchResult, ...] = ()
    total: int = 1
    of_all_shards: int = 1
    ignored: int = 0
    cleaned: int = 0
    results: int = 0
    begin: str = ""

    @classmethod
    def of_plan(cls, plan: Plan, run: BatchRun, *, one: Path | None) -> Job:
        """The job of a plan that has been opened as ``run``."""
        return cls(
            run,
            one=one,
            problems=plan.problems,
            total=len(plan.items),
            of_all_shards=plan.total,
            ignored=plan.ignored,
            cleaned=plan.cleaned,
            results=plan.results,
        )

    def remarks(self) -> Iterator[str]:
        """Remarks for the last line."""
        if self.of_all_shards > self.total:
            yield f"this is a part of {plural(self.of_all_shards, 'file')}"
        if self.ignored:
            yield f"{plural(self.ignored, 'other file')} in the folders"
        if self.results:
            yield f"{plural(self.results, 'result')} of earlier runs not taken as input"
        if self.cleaned:
            yield f"{plural(self.cleaned, 'unfinished file')} of killed runs removed"


def run_job(command: CommandOptions, job: Job, began: float) -> None:
    """Run ``job``; exits with 1 if any file or page failed, with 128 and its number on a signal.

    began: when the command began, by `time.perf_counter`.
    """
    run = job.run
    log = None if command.report is None else Report(command.report)
    facts = {
        "of_all_shards": job.of_all_shards,
        "ignored": job.ignored,
        "cleaned": job.cleaned,
    }
    failure: Waifu2xError | None = None
    reporter = reporter_for(command, run, facts=facts, one=job.one, to_pipe=job.to_pipe)
    with reporter, _Interrupts(run, reporter, at_once=job.one is not None) as interrupts:
        if job.begin:
            reporter.say(job.begin, err=True)
        problems = [shown_in_shell(each) for each in job.problems]
        try:
            for result in reported(problems, _in_shell_words(iter(run)), log):
                reporter.ended(result)
        except Waifu2xError as error:  # the report or the cluster is lost
            failure = error
        seconds = time.perf_counter() - began
        summary = run.summary
        summary.failed += len(problems)
        wrong = summary.failed or summary.incomplete or failure
        code = interrupts.code or (1 if wrong else 0)
        line = summary_line(summary, run.progress.total + len(problems), seconds)
        busy = run.limits.compute.seconds / seconds if isinstance(run, Batch) else 0.0
        if busy:
            _log.debug("a network ran in %.1f%% of the time", 100 * busy)
        reporter.finished(
            "; ".join([line, *job.remarks()]),
            **asdict(summary),
            seconds=round(seconds, 3),
            compute_busy=round(busy, 4) or None,
            exit_code=code,
        )
    if failure is not None:
        raise failure
    if code:
        raise SystemExit(code)


def _in_shell_words(
    results: Generator[BatchResult, None, None],
) -> Generator[BatchResult, None, None]:
    with contextlib.closing(results):
        for result in results:
            yield shown_in_shell(result)


class _Interrupts:
    """Ctrl-C finishes the files in progress; a second Ctrl-C, or SIGTERM, exits at once.

    With ``at_once``, the first Ctrl-C exits. All of them leave only complete files.
    """

    def __init__(self, run: Run, reporter: Reporter, *, at_once: bool) -> None:
        self._run, self._reporter, self._at_once = run, reporter, at_once
        self._handled = handled(self._react)
        self._finishing: threading.Thread | None = None
        self.code = 0

    def __enter__(self) -> _Interrupts:
        self._handled.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handled.__exit__(*error)
        if self._finishing is not None:
            self._finishing.join()

    def _react(self, number: int, frame: object) -> None:
        """React on another thread: the interrupted one may hold any lock."""
        gently = number == signal.SIGINT and not self._at_once and not self.code
        self.code = SIGNALED + number
        react = self._finish if gently else self._exit
        thread = threading.Thread(target=react, name="waifu2x-interrupt", daemon=True)
        if gently:
            self._finishing = thread
        thread.start()

    def _finish(self) -> None:
        # Says so first: a run that waits for pictures ends as soon as it is stopped.
        self._reporter.say("finishing what has been begun; Ctrl-C again stops at once", err=True)
        self._run.stop()

    def _exit(self) -> None:
        self._run.cancel()
        # A codec may take seconds to notice. Exiting is safe: files appear by renaming.
        time.sleep(_GRACE[self._at_once])
        remove_live()
        os._exit(self.code)
