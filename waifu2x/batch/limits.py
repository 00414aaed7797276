"""Limits how many files decode, compute and encode at once, within a memory budget.

A thread carries each file and waits here before each stage. Concurrency is bounded by the threads
that a stage can use and by the memory of all files in flight, so neither grows with the number of
files. Files compute in order, so a stream of small files cannot starve a large one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from .._record import record
from ..errors import CancelledError
from ..pipeline.pipeline import Footprint

#: Result size in bytes from which one picture keeps an engine busy.
_LARGE: Final = 1 << 20
_NOTHING: Final = Footprint(0, 0)

#: Seconds between two checks for cancellation.
_POLL_SECONDS: Final = 0.2


@record
class Seconds:
    """Time that a file spent in each stage, in seconds.

    decode: reading the picture.
    compute: running the networks.
    encode: writing the result.
    wait: the time between stages.

    >>> (result,) = waifu2x.upscale_many("in.png", "big", model="swift")
    >>> result.stages.compute > 0
    True
    """

    decode: float = 0.0
    compute: float = 0.0
    encode: float = 0.0
    wait: float = 0.0


@dataclass(slots=True)
class BusyTime:
    """Measures how long a stage was occupied, in seconds."""

    inside: int = 0
    seconds: float = 0.0
    _since: float = field(default=0.0, repr=False)

    def enter(self) -> None:
        """Count a file that enters the stage."""
        if self.inside == 0:
            self._since = time.perf_counter()
        self.inside += 1

    def leave(self) -> None:
        """Count a file that leaves the stage."""
        self.inside -= 1
        if self.inside == 0:
            self.seconds += time.perf_counter() - self._since


class Limits:
    """The limits of all stages and the files in them; safe for any number of threads."""

    def __init__(self, *, memory: int, decoders: int, small: int, large: int) -> None:
        """Set the limits.

        memory: bytes for all files together. A file that needs more waits until no other file holds
            memory.
        decoders: number of files that decode at once.
        small, large: number of pictures that compute at once, of any size and of large ones.
        """
        self.memory = memory
        self._most, self._most_large = small, large
        self._decoders = decoders
        self._changed = threading.Condition()
        self._held = 0
        self._jobs = 0
        self._decoding = 0
        self._computing: list[Footprint] = []
        self._finishing = 0
        self._work_kept = 0
        self._arriving: list[int] = []
        self._expected: dict[int, Footprint] = {}
        self._queue: list[int] = []
        self.compute = BusyTime()
        self.peak_held = 0

    @contextmanager
    def file(
        self, order: int, cancel: threading.Event, stop: threading.Event | None = None
    ) -> Iterator[FileStages]:
        """Carry one file through the stages; releases everything it holds at the end.

        order: files with lower numbers compute first.
        cancel: an event that ends every wait with `CancelledError`.
        stop: an event that ends the waits of a file that has not computed anything yet.
        """
        job = FileStages(self, order, cancel, stop)
        try:
            yield job
        finally:
            job.end()

    # --- called by FileStages

    def admit(
        self, order: int, size: int, expected: Footprint, cancelled: Callable[[], bool]
    ) -> None:
        """Wait until a file may decode; it holds ``size`` bytes from then on.

        expected: its footprint in later stages. Memory is reserved for the largest expected
            footprint of all admitted files; without the reserve, they would deadlock.
        """

        def free() -> bool:
            if self._decoding >= self._decoders:
                return False
            needs = (*self._expected.values(), expected)
            later = max(each.result + max(each.work, self._work_kept) for each in needs)
            return self._jobs == 0 or self._held + size + later <= self.memory

        with self._changed:
            self._wait(order, self._arriving, free, cancelled)
            self._jobs += 1
            self._expected[order] = expected
            self._decoding += 1
            self._hold(size)

    def decoded(self) -> None:
        """Count a file that has been decoded, or has failed to decode."""
        with self._changed:
            self._decoding -= 1
            self._changed.notify_all()

    def begin(
        self, order: int, footprint: Footprint, result: int, cancelled: Callable[[], bool]
    ) -> None:
        """Wait for a compute slot; the file holds ``result`` bytes from then on."""

        def free() -> bool:
            now = self._computing
            if not now and self._finishing == 0:
                return True  # waiting cannot free any memory
            if len(now) >= self._most:
                return False
            large = sum(1 for each in (*now, footprint) if each.result >= _LARGE)
            if large > self._most_large:
                return False
            work = sum(each.work for each in now) + footprint.work
            return self._held + result + max(work, self._work_kept) <= self.memory

        with self._changed:
            self._wait(order, self._queue, free, cancelled)
            self._expected.pop(order, None)
            self._computing.append(footprint)
            # Engines keep their working memory for the next picture.
            self._work_kept = max(self._work_kept, sum(each.work for each in self._computing))
            self._hold(result)
            if footprint.networks:
                self.compute.enter()

    def computed(self, footprint: Footprint) -> None:
        """Count a file that has been computed and will be written."""
        with self._changed:
            self._computing.remove(footprint)
            self._finishing += 1
            if footprint.networks:
                self.compute.leave()
            self._changed.notify_all()

    def written(self, held: int) -> None:
        """Count a result that has been written; releases ``held`` bytes."""
        with self._changed:
            self._finishing -= 1
            self._held -= held
            self._changed.notify_all()

    def leave(self, order: int, held: int) -> None:
        """Count a file that has ended; releases ``held`` bytes."""
        with self._changed:
            self._expected.pop(order, None)
            self._jobs -= 1
            self._held -= held
            self._changed.notify_all()

    def _hold(self, size: int) -> None:
        self._held += size
        self.peak_held = max(self.peak_held, self._held + self._work_kept)

    def _wait(
        self, order: int, queue: list[int], free: Callable[[], bool], cancelled: Callable[[], bool]
    ) -> None:
        """Wait, holding the lock, until the file is first in ``queue`` and ``free()`` holds."""
        queue.append(order)
        try:
            while True:
                if cancelled():
                    raise CancelledError("cancelled; nothing was written")
                if order == min(queue) and free():
                    return
                self._changed.wait(_POLL_SECONDS)
        finally:
            queue.remove(order)
            self._changed.notify_all()


class FileStages:
    """One file within the `Limits`; used by the thread that carries the file."""

    def __init__(
        self, limits: Limits, order: int, cancel: threading.Event, stop: threading.Event | None
    ) -> None:
        self._limits = limits
        self._order = order
        self._cancel = cancel
        self._stop = stop
        self._begun = False
        self._held: int | None = None
        self._result: int | None = None
        self._spent = dict.fromkeys(("decode", "compute", "encode", "wait"), 0.0)
        self._stage = "wait"
        self._since = time.perf_counter()
        #: Bytes that the encoder needs for each byte of a result.
        self.encoder_share = 0.0

    @contextmanager
    def decoding(self, size: int, expected: Footprint = _NOTHING) -> Iterator[None]:
        """Wait until the file may decode; it holds ``size`` bytes until it ends.

        expected: the footprint of its first compute slot, as far as known.
        """
        self._enter("wait")
        self._limits.admit(self._order, size, self._with_encoder(expected), self._cancelled)
        self._held = size
        self._enter("decode")
        try:
            yield
        finally:
            self._limits.decoded()
            self._enter("encode")

    @contextmanager
    def computing(self, footprint: Footprint) -> Iterator[None]:
        """Wait for a compute slot and hold it; the result counts as encoding afterward."""
        self._release_result()
        held = self._with_encoder(footprint).result
        self._enter("wait")
        self._limits.begin(self._order, footprint, held, self._cancelled)
        self._begun = True
        self._enter("compute")
        try:
            yield
        finally:
            self._result = held
            self._limits.computed(footprint)
            self._enter("encode")

    def end(self) -> None:
        """Release everything that the file holds."""
        self._release_result()
        if self._held is not None:
            self._limits.leave(self._order, self._held)
            self._held = None
        self._enter("wait")

    @property
    def seconds(self) -> Seconds:
        """Time spent so far."""
        self._enter(self._stage)
        return Seconds(**self._spent)

    def _cancelled(self) -> bool:
        stopped = self._stop is not None and self._stop.is_set() and not self._begun
        return stopped or self._cancel.is_set()

    def _with_encoder(self, footprint: Footprint) -> Footprint:
        """The footprint with the encoder's memory added to the result."""
        return replace(footprint, result=int(footprint.result * (1 + self.encoder_share)))

    def _release_result(self) -> None:
        if self._result is not None:
            self._limits.written(self._result)
            self._result = None

    def _enter(self, stage: str) -> None:
        now = time.perf_counter()
        self._spent[self._stage] += now - self._since
        self._stage, self._since = stage, now
