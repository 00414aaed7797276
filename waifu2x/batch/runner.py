"""Many files at once, each carried through the stages by a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .._machine import processors
from ..errors import CancelledError
from ..pipeline.upscaler import Upscaler
from .job import Rules, process
from .memory import budget
from .naming import Item
from .results import BatchResult, Summary
from .stages import Stages
from .tree import OutputTree

#: Files that wait for their turn beyond those that are decoded, computed or encoded.
_AHEAD: Final = 2
_MOST_CARRIERS: Final = 64


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is.

    total, ended: files. share: of the work, 0 to 1, by the bytes of the inputs. current: the files
    that are being worked on, the longest first.
    """

    total: int
    ended: int
    share: float
    current: tuple[Path, ...]


@dataclass(slots=True)
class _InFlight:
    item: Item
    weight: int
    share: float = 0.0

    def reach(self, share: float) -> None:
        self.share = share


class Batch:
    """Files to be upscaled. Iterating does the work, once, and yields results as they end."""

    def __init__(
        self,
        items: Sequence[Item],
        rules: Rules,
        upscaler: Upscaler,
        tree: OutputTree,
        *,
        memory: int | None = None,
    ) -> None:
        """Prepare the work.

        memory: bytes that the process may take, as for `waifu2x.upscale_many`.

        Raises `ArgumentError` where the memory is too little to begin with.
        """
        engine = upscaler.pipeline.engine
        self.items = items
        self._rules, self._upscaler, self._tree = rules, upscaler, tree
        self.stages = Stages(
            memory=budget(memory),
            decoders=processors(),
            small=engine.concurrency.small,
            large=engine.concurrency.large,
        )
        self.summary = Summary()
        self._weights = [_weight(item) for item in items]
        self._total_weight = max(1, sum(self._weights))
        self._ended_weight = 0
        self._stopping = threading.Event()
        self._cancel = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self._in_flight: dict[int, _InFlight] = {}
        carriers = max(engine.threads, engine.concurrency.large) + 2 * processors() + _AHEAD
        self._carriers = min(len(items), carriers, _MOST_CARRIERS)
        self._results: queue.SimpleQueue[BatchResult | BaseException | None] = queue.SimpleQueue()

    def __iter__(self) -> Generator[BatchResult, None, None]:
        threads = [
            threading.Thread(target=self._carry, name=f"waifu2x-file-{i}", daemon=True)
            for i in range(self._carriers)
        ]
        for thread in threads:
            thread.start()
        try:
            running = len(threads)
            while running:
                result = self._results.get()
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
        """Compute no more files; those that have begun to are finished."""
        self._stopping.set()

    def cancel(self) -> None:
        """Compute no more files, and drop those that have begun to as soon as they can be."""
        self._stopping.set()
        self._cancel.set()

    @property
    def progress(self) -> Progress:
        """How far it is; may be asked from any thread."""
        with self._lock:
            flights = [self._in_flight[index] for index in sorted(self._in_flight)]
            done = self._ended_weight + sum(each.weight * each.share for each in flights)
        return Progress(
            total=len(self.items),
            ended=self.summary.ended,
            share=min(1.0, done / self._total_weight),
            current=tuple(each.item.source for each in flights),
        )

    @property
    def compute_busy(self) -> float:
        """The share of the time between the first and the last turn in which a network ran."""
        return self.stages.compute.share

    def _carry(self) -> None:
        try:
            with suppress(CancelledError):
                while (taken := self._take()) is not None:
                    self._results.put(self._carry_one(*taken))
        except BaseException as error:  # a defect of ours: it must not be lost with the thread
            self._results.put(error)
        finally:
            self._results.put(None)

    def _take(self) -> tuple[int, _InFlight] | None:
        with self._lock:
            if self._stopping.is_set() or self._next == len(self.items):
                return None
            index = self._next
            self._next += 1
            flight = _InFlight(self.items[index], self._weights[index])
            self._in_flight[index] = flight
            return index, flight

    def _carry_one(self, index: int, flight: _InFlight) -> BatchResult:
        try:
            with self.stages.file(index, self._cancel, self._stopping) as stages:
                return process(
                    flight.item,
                    self._rules,
                    self._upscaler,
                    stages,
                    self._tree,
                    cancel=self._cancel,
                    progress=flight.reach,
                )
        finally:
            with self._lock:
                del self._in_flight[index]
                self._ended_weight += flight.weight


def _weight(item: Item) -> int:
    try:
        return item.source.stat().st_size
    except (OSError, ValueError):
        return 0
