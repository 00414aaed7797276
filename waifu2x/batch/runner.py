"""Runs a batch on this machine: a thread carries each file through the stages."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .._machine import processors
from .._record import record
from ..errors import CancelledError
from ..files.task import FrameShare
from .job import BatchContext, process
from .limits import Limits
from .memory import budget
from .naming import Item
from .planning import Plan
from .results import BatchResult, Summary

#: Files that wait for a stage, in addition to those being decoded, computed or encoded.
_AHEAD: Final = 2
_MAX_THREADS: Final = 64

#: Seconds until a wait of the main thread notices a signal that arrived as the wait began.
_SIGNAL_SECONDS: Final = 0.1


@record
class BatchProgress:
    """The progress of a batch.

    total, ended: numbers of files.
    share: share of the work done, 0 to 1, weighted by the sizes of the inputs in bytes.
    current: the files in flight, the earliest first.
    video: the progress of the first video in flight, or None.

    >>> results = waifu2x.upscale_many("pictures", "big", model="swift")
    >>> results.progress.total, results.progress.share
    (2, 0.0)
    >>> for result in results:
    ...     pass
    >>> results.progress.ended, results.progress.share
    (2, 1.0)
    """

    total: int
    ended: int
    share: float
    current: tuple[Path, ...]
    video: FrameShare | None = None


@dataclass(slots=True)
class _InFlight:
    item: Item
    weight: int
    share: float = 0.0

    def set_share(self, share: float) -> None:
        self.share = share


class Batch:
    """A batch on this machine; iterate once to process the files and yield each result."""

    def __init__(self, plan: Plan) -> None:
        """Prepare the work; raises `ArgumentError` if the memory budget is too small."""
        engine = plan.upscaler.pipeline.engine
        self.items = plan.items
        self.summary = Summary()
        self.limits = Limits(
            memory=_budget(plan),
            decoders=processors(),
            small=engine.concurrency.small,
            large=engine.concurrency.large,
        )
        self._context = BatchContext(plan.rules, plan.upscaler, self.limits, plan.tree)
        self._weights = [_weight(item) for item in plan.items]
        self._total_weight = max(1, sum(self._weights))
        self._ended_weight = 0
        self._lock = threading.Lock()
        self._next = 0
        self._in_flight: dict[int, _InFlight] = {}
        threads = max(engine.threads, engine.concurrency.large) + 2 * processors() + _AHEAD
        self.threads = min(len(plan.items), threads, _MAX_THREADS)
        self._results: queue.SimpleQueue[BatchResult | BaseException | None] = queue.SimpleQueue()

    def __iter__(self) -> Generator[BatchResult, None, None]:
        threads = [
            threading.Thread(target=self._carry, name=f"waifu2x-file-{i}", daemon=True)
            for i in range(self.threads)
        ]
        for thread in threads:
            thread.start()
        try:
            running = len(threads)
            while running:
                try:
                    result = self._results.get(timeout=_SIGNAL_SECONDS)
                except queue.Empty:
                    continue
                if result is None:
                    running -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    self.summary.count(result)
                    yield result
        finally:
            self.cancel()
            for thread in threads:
                thread.join()

    def stop(self) -> None:
        """Start no more files and finish those that have begun to compute."""
        self._context.stopping.set()

    def cancel(self) -> None:
        """Start no more files and abandon those in flight as soon as possible."""
        self._context.stopping.set()
        self._context.cancel.set()

    @property
    def progress(self) -> BatchProgress:
        """The current progress; safe to read from any thread."""
        with self._lock:
            flights = [self._in_flight[index] for index in sorted(self._in_flight)]
            done = self._ended_weight + sum(each.weight * each.share for each in flights)
        return BatchProgress(
            total=len(self.items),
            ended=self.summary.ended,
            share=min(1.0, done / self._total_weight),
            current=tuple(each.item.source for each in flights),
            video=next(
                (each.share for each in flights if isinstance(each.share, FrameShare)), None
            ),
        )

    def _carry(self) -> None:
        try:
            with suppress(CancelledError):
                while (taken := self._take()) is not None:
                    self._results.put(self._process(*taken))
        except BaseException as error:  # a defect: raised again in the main thread
            self._results.put(error)
        finally:
            self._results.put(None)

    def _take(self) -> tuple[int, _InFlight] | None:
        with self._lock:
            if self._context.stopping.is_set() or self._next == len(self.items):
                return None
            index = self._next
            self._next += 1
            flight = _InFlight(self.items[index], self._weights[index])
            self._in_flight[index] = flight
            return index, flight

    def _process(self, index: int, flight: _InFlight) -> BatchResult:
        context = self._context
        try:
            with self.limits.file(index, context.cancel, context.stopping) as stages:
                return process(context, flight.item, stages, flight.set_share)
        finally:
            with self._lock:
                del self._in_flight[index]
                self._ended_weight += flight.weight


def _budget(plan: Plan) -> int:
    """Bytes for all files together; a single file without a limit runs alone in any case."""
    memory = plan.rules.batch.memory
    return sys.maxsize if memory is None and len(plan.items) <= 1 else budget(memory)


def _weight(item: Item) -> int:
    try:
        return item.source.stat().st_size
    except (OSError, ValueError):
        return 0
