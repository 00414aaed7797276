"""Many files: the batch with its bar, its summary and its exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from PIL import Image

from .._machine import give_memory_back
from ..atomic import remove_live
from ..batch import (
    DEFAULT_NAME,
    Batch,
    BatchResult,
    Plan,
    Progress,
    Report,
    Summary,
    for_one_run,
    plan_batch,
    reported,
)
from ..errors import Waifu2xError
from .options import Given
from .progress import Reporter, facts_of, reporter
from .say import summary_line
from .upscaler import upscaler_for

_log = logging.getLogger(__name__)

#: Seconds that files in flight have to clean up after themselves when all is to stop at once.
_GRACE: Final = 1.0

#: Exit codes of a program that a signal ended, as shells have them.
_SIGNALED: Final = 128


class Work(Protocol):
    """A batch, here or on a cluster."""

    summary: Summary

    def __iter__(self) -> Generator[BatchResult, None, None]:
        """Do the work, and yield results as they end."""
        ...

    def stop(self) -> None:
        """Begin no more files."""
        ...

    def cancel(self) -> None:
        """Drop those in flight as well."""
        ...

    @property
    def progress(self) -> Progress:
        """How far it is."""
        ...


def upscale_batch(given: Given, inputs: Sequence[str], out: Path) -> None:
    """Upscale ``inputs`` into ``out``; exits with 1 if any file failed."""
    began = time.perf_counter()
    upscaler = upscaler_for(given, for_one_run(given.memory))
    # This process is ours: see the modules for what these settings are for.
    Image.MAX_IMAGE_PIXELS = upscaler.options.limit
    give_memory_back()
    plan = plan_batch(
        inputs,
        out,
        given.options,
        upscaler=upscaler,
        recursive=given.recursive,
        include=given.include,
        exclude=given.exclude,
        name=given.name or DEFAULT_NAME,
        part=given.shard,
        overwrite=given.overwrite,
        resume=given.resume,
        keep_times=given.keep_times,
        stdin=None if sys.stdin is None else sys.stdin.buffer,
    )
    log = None if given.report is None else Report(given.report)
    work = _work(given, plan)
    with reporter(given, work, model=given.model, **_facts(plan)) as told:
        with _Interrupts(work, told) as interrupts:
            failure = _run(plan, work, log, told)
        seconds = time.perf_counter() - began
        summary = work.summary
        summary.failed += len(plan.problems)
        code = interrupts.code or (1 if summary.failed or failure else 0)
        line = summary_line(summary, len(plan.items) + len(plan.problems), seconds)
        busy = round(work.compute_busy, 4) if isinstance(work, Batch) else None
        if busy is not None:
            _log.debug("a network ran in %.1f%% of the time since the first picture", 100 * busy)
        told.finished(
            "; ".join([line, *_remarks(plan)]),
            **facts_of(summary, seconds, compute_busy=busy, exit_code=code),
        )
    if failure is not None:
        raise failure
    if code:
        raise SystemExit(code)


def _work(given: Given, plan: Plan) -> Work:
    if given.cluster is None:
        return Batch(plan.items, plan.rules, plan.upscaler, plan.tree, memory=given.memory)
    from ..batch.cluster import ClusterBatch

    if not given.verbose:
        # Dask logs to standard error, where nobody else has asked for the log.
        logging.getLogger().addHandler(logging.NullHandler())
    return ClusterBatch(plan, given.cluster, memory=given.memory)


def _run(plan: Plan, work: Work, log: Report | None, told: Reporter) -> Waifu2xError | None:
    """Tell of every result; returns what stops the batch: the report or the cluster is lost."""
    try:
        for result in reported(plan.problems, iter(work), log):
            told.ended(result)
    except Waifu2xError as error:
        return error
    return None


def _facts(plan: Plan) -> dict[str, Any]:
    return {"of_all_shards": plan.total, "ignored": plan.ignored, "cleaned": plan.cleaned}


def _remarks(plan: Plan) -> Iterator[str]:
    if plan.total > len(plan.items):
        yield f"this is a part of {plan.total} files"
    if plan.ignored:
        yield f"{plan.ignored} other file{'s'[: plan.ignored != 1]} in the folders"
    if plan.results:
        yield f"{plan.results} result{'s'[: plan.results != 1]} of others not taken as input"
    if plan.cleaned:
        yield f"{plan.cleaned} unfinished file{'s'[: plan.cleaned != 1]} of killed runs removed"


class _Interrupts:
    """Ctrl-C finishes what is in flight; a second one, or SIGTERM, stops at once.

    Only whole files are left in either case.
    """

    def __init__(self, work: Work, told: Reporter) -> None:
        self._work, self._told = work, told
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
        react = self._drop if self.code else self._finish
        self._react(number, react)

    def _at_once(self, number: int, frame: Any) -> None:
        self._react(number, self._drop)

    def _react(self, number: int, react: Callable[[], None]) -> None:
        """On another thread: this one may be holding any lock, or be in the middle of a line."""
        self.code = _SIGNALED + number
        threading.Thread(target=react, name="waifu2x-interrupt", daemon=True).start()

    def _finish(self) -> None:
        self._work.stop()
        self._told.say("finishing what has been begun; Ctrl-C again stops at once", err=True)

    def _drop(self) -> None:
        self._work.cancel()
        # An encoder may take seconds to hear of it; whole files are a matter of renaming.
        time.sleep(_GRACE)
        remove_live()
        os._exit(self.code)
