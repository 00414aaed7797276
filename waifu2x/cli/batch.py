"""Runs a batch with its progress, its summary and its exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from .._machine import give_memory_back
from .._text import plural
from ..atomic import remove_live
from ..batch import Batch, Plan, Report, for_one_run, open_run, plan_batch, reported
from ..errors import Waifu2xError
from ..pipeline.upscaler import Upscaler
from .options import CommandOptions
from .progress import Reporter, facts_of, reporter_for
from .say import summary_line

if TYPE_CHECKING:
    from ..batch import BatchRun

_log = logging.getLogger(__name__)

#: Seconds for files in flight to clean up before the process exits.
_GRACE: Final = 1.0

#: A shell's exit code for a program ended by a signal is this plus the signal's number.
_SIGNALED: Final = 128


def upscale_batch(command: CommandOptions, inputs: Sequence[str], out: Path) -> None:
    """Upscale ``inputs`` into ``out``; exits with 1 if any file failed."""
    began = time.perf_counter()
    batch = command.batch
    upscaler = Upscaler.from_options(
        replace(command.upscaler, run_memory=for_one_run(batch.memory))
    )
    # These settings apply to the whole process.
    Image.MAX_IMAGE_PIXELS = upscaler.options.limit
    give_memory_back()
    stdin = None if sys.stdin is None else sys.stdin.buffer
    plan = plan_batch(inputs, out, command.options, batch, upscaler=upscaler, stdin=stdin)
    log = None if command.report is None else Report(command.report)
    if command.cluster is not None and not command.verbose:
        # Dask logs to standard error unless the root logger has a handler.
        logging.getLogger().addHandler(logging.NullHandler())
    run = open_run(plan, command.cluster)
    facts = {"of_all_shards": plan.total, "ignored": plan.ignored, "cleaned": plan.cleaned}
    failure: Waifu2xError | None = None
    with reporter_for(command, run, model=command.model, **facts) as reporter:
        with _Interrupts(run, reporter) as interrupts:
            try:
                for result in reported(plan.problems, iter(run), log):
                    reporter.ended(result)
            except Waifu2xError as error:  # the report or the cluster is lost
                failure = error
        seconds = time.perf_counter() - began
        summary = run.summary
        summary.failed += len(plan.problems)
        code = interrupts.code or (1 if summary.failed or failure else 0)
        line = summary_line(summary, len(plan.items) + len(plan.problems), seconds)
        busy = run.limits.compute.share if isinstance(run, Batch) else None
        if busy is not None:
            _log.debug("a network ran in %.1f%% of the time since the first picture", 100 * busy)
            busy = round(busy, 4)
        reporter.finished(
            "; ".join([line, *_remarks(plan)]),
            **facts_of(summary, seconds, compute_busy=busy, exit_code=code),
        )
    if failure is not None:
        raise failure
    if code:
        raise SystemExit(code)


def _remarks(plan: Plan) -> Iterator[str]:
    if plan.total > len(plan.items):
        yield f"this is a part of {plan.total} files"
    if plan.ignored:
        yield f"{plural(plan.ignored, 'other file')} in the folders"
    if plan.results:
        yield f"{plural(plan.results, 'result')} of others not taken as input"
    if plan.cleaned:
        yield f"{plural(plan.cleaned, 'unfinished file')} of killed runs removed"


class _Interrupts:
    """Ctrl-C finishes the files in flight; a second Ctrl-C, or SIGTERM, exits at once.

    Both leave only complete files.
    """

    def __init__(self, run: BatchRun, reporter: Reporter) -> None:
        self._run, self._reporter = run, reporter
        self._before: dict[int, Any] = {}
        self.code = 0

    def __enter__(self) -> _Interrupts:
        self._handle(signal.SIGINT, self._interrupt)
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                self._handle(getattr(signal, name), self._at_once)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, handler: Callable[[int, Any], None]) -> None:
        if signal.getsignal(number) is signal.SIG_IGN:
            return  # nohup, or a shell's background
        with contextlib.suppress(ValueError):  # not in the main thread
            self._before[number] = signal.signal(number, handler)

    def _interrupt(self, number: int, frame: Any) -> None:
        self._react(number, self._exit if self.code else self._finish)

    def _at_once(self, number: int, frame: Any) -> None:
        self._react(number, self._exit)

    def _react(self, number: int, react: Callable[[], None]) -> None:
        """React on another thread: the interrupted one may hold any lock."""
        self.code = _SIGNALED + number
        threading.Thread(target=react, name="waifu2x-interrupt", daemon=True).start()

    def _finish(self) -> None:
        self._run.stop()
        self._reporter.say("finishing what has been begun; Ctrl-C again stops at once", err=True)

    def _exit(self) -> None:
        self._run.cancel()
        # An encoder may take seconds to notice. Exiting is safe: files appear by renaming.
        time.sleep(_GRACE)
        remove_live()
        os._exit(self.code)
