"""Decode, compute and encode, side by side for many files and within a budget of memory.

Every file is carried from start to end by a thread of its own, which asks here before each stage.
How many are in which stage is bounded by the threads that a stage can use and by the memory that
all files hold together, so neither grows with the number of files. Turns to compute go by the order
of the files: whatever is small enough does not pass by what is large for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from ..errors import CancelledError
from ..pipeline.pipeline import Footprint

#: Pictures of that many result bytes keep an engine busy by themselves.
_LARGE: Final = 1 << 20
_NOTHING: Final = Footprint(0, 0)

#: Seconds between two looks at whether the batch has been cancelled.
_LOOK_AROUND: Final = 0.2


@dataclass(frozen=True, slots=True)
class Seconds:
    """What a file spent in each stage, in seconds; ``wait`` is the time between them."""

    decode: float = 0.0
    compute: float = 0.0
    encode: float = 0.0
    wait: float = 0.0


@dataclass(slots=True)
class Busy:
    """For how long a stage had something to do: seconds in all, of those since it first had."""

    inside: int = 0
    seconds: float = 0.0
    first: float | None = None
    last: float = 0.0
    _since: float = field(default=0.0, repr=False)

    def enter(self) -> None:
        """One more file is in the stage."""
        now = time.perf_counter()
        if self.first is None:
            self.first = now
        if self.inside == 0:
            self._since = now
        self.inside += 1

    def leave(self) -> None:
        """One file less is."""
        self.inside -= 1
        self.last = time.perf_counter()
        if self.inside == 0:
            self.seconds += self.last - self._since

    @property
    def share(self) -> float:
        """The share of the time between first and last in which the stage was not empty."""
        if self.first is None or self.last <= self.first:
            return 1.0
        return min(1.0, self.seconds / (self.last - self.first))


class Stages:
    """The limits, and who is where. For any number of threads."""

    def __init__(self, *, memory: int, decoders: int, small: int, large: int) -> None:
        """Set the limits.

        memory: bytes that all files together may take. A file that needs more than all of that
            gets its turn when no other holds any.
        decoders: files that are decoded at once.
        small, large: pictures that compute at once, of any size and of a large one.
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
        self.compute = Busy()
        self.peak_held = 0

    @contextmanager
    def file(
        self, order: int, cancel: threading.Event, stop: threading.Event | None = None
    ) -> Iterator[FileStages]:
        """One file's way through the stages; everything it holds is given back at the end.

        order: files of a lower number compute first.
        cancel: an event that ends all waiting, with CancelledError.
        stop: an event that ends it for files that have not computed anything yet.
        """
        job = FileStages(self, order, cancel, stop)
        try:
            yield job
        finally:
            job.end()

    # --- for FileStages, each with the lock held or waiting for it

    def admit(self, order: int, size: int, expected: Footprint, over: Callable[[], bool]) -> None:
        """Wait until a file that takes ``size`` bytes while it is decoded may be.

        expected: what it will take later. Room is kept for the neediest of those that have been
        admitted, or they would hold each other up.
        """

        def free() -> bool:
            if self._decoding >= self._decoders:
                return False
            needs = (*self._expected.values(), expected)
            later = max(each.result + max(each.work, self._work_kept) for each in needs)
            return self._jobs == 0 or self._held + size + later <= self.memory

        with self._changed:
            self._wait(order, self._arriving, free, over)
            self._jobs += 1
            self._expected[order] = expected
            self._decoding += 1
            self._hold(size)

    def decoded(self) -> None:
        """One file is decoded, or could not be."""
        with self._changed:
            self._decoding -= 1
            self._changed.notify_all()

    def begin(
        self, order: int, footprint: Footprint, result: int, over: Callable[[], bool]
    ) -> None:
        """Wait for a turn to compute. result: what will be held from then on."""

        def free() -> bool:
            now = self._computing
            if not now and self._finishing == 0:
                return True  # nobody would give anything back
            if len(now) >= self._most:
                return False
            large = sum(1 for each in (*now, footprint) if each.result >= _LARGE)
            if large > self._most_large:
                return False
            work = sum(each.work for each in now) + footprint.work
            return self._held + result + max(work, self._work_kept) <= self.memory

        with self._changed:
            self._wait(order, self._queue, free, over)
            self._expected.pop(order, None)
            self._computing.append(footprint)
            # Engines keep what they have worked in, for the next picture.
            self._work_kept = max(self._work_kept, sum(each.work for each in self._computing))
            self._hold(result)
            self.compute.enter()

    def computed(self, footprint: Footprint) -> None:
        """One file has been computed, and has a result to be written."""
        with self._changed:
            self._computing.remove(footprint)
            self._finishing += 1
            self.compute.leave()
            self._changed.notify_all()

    def written(self, held: int) -> None:
        """One result has been written; ``held`` bytes are free."""
        with self._changed:
            self._finishing -= 1
            self._held -= held
            self._changed.notify_all()

    def leave(self, order: int, held: int) -> None:
        """One file is done with; ``held`` bytes are free."""
        with self._changed:
            self._expected.pop(order, None)
            self._jobs -= 1
            self._held -= held
            self._changed.notify_all()

    def _hold(self, size: int) -> None:
        self._held += size
        self.peak_held = max(self.peak_held, self._held + self._work_kept)

    def _wait(
        self,
        order: int,
        queue: list[int],
        free: Callable[[], bool],
        over: Callable[[], bool],
    ) -> None:
        """Wait, with the lock held, to be first in the queue and free to go."""
        queue.append(order)
        try:
            while True:
                if over():
                    raise CancelledError("cancelled; nothing was written")
                if order == min(queue) and free():
                    return
                self._changed.wait(_LOOK_AROUND)
        finally:
            queue.remove(order)
            self._changed.notify_all()


class FileStages:
    """One file in the `Stages`; for the thread that carries it."""

    def __init__(
        self,
        stages: Stages,
        order: int,
        cancel: threading.Event,
        stop: threading.Event | None,
    ) -> None:
        self._stages = stages
        self._order = order
        self._cancel = cancel
        self._stop = stop
        self._begun = False
        self._held = 0
        self._admitted = False
        self._result: int | None = None
        self._spent = dict.fromkeys(("decode", "compute", "encode", "wait"), 0.0)
        self._stage = "wait"
        self._since = time.perf_counter()
        #: Bytes that the encoder takes for each byte of a result.
        self.encoder_share = 0.0

    @contextmanager
    def decoding(self, size: int, expected: Footprint = _NOTHING) -> Iterator[None]:
        """The stage in which the file is read; ``size`` bytes are held from then on.

        expected: what its first turn to compute will take, as far as that is known.
        """
        self._now("wait")
        self._stages.admit(self._order, size, self._with_encoder(expected), self._over)
        self._admitted, self._held = True, size
        self._now("decode")
        try:
            yield
        finally:
            self._stages.decoded()
            self._now("encode")

    @contextmanager
    def turn(self, footprint: Footprint) -> Iterator[None]:
        """The stage in which the network runs; afterwards the result is written."""
        self._give_back()
        held = self._with_encoder(footprint).result
        self._now("wait")
        self._stages.begin(self._order, footprint, held, self._over)
        self._begun = True
        self._now("compute")
        try:
            yield
        finally:
            self._result = held
            self._stages.computed(footprint)
            self._now("encode")

    def _over(self) -> bool:
        """Whether there is nothing to wait for any more."""
        if self._cancel.is_set():
            return True
        return self._stop is not None and self._stop.is_set() and not self._begun

    def _with_encoder(self, footprint: Footprint) -> Footprint:
        """What is held until the result is written."""
        return replace(footprint, result=int(footprint.result * (1 + self.encoder_share)))

    def end(self) -> None:
        """Give back everything."""
        self._give_back()
        if self._admitted:
            self._stages.leave(self._order, self._held)
            self._admitted = False
        self._now("wait")

    @property
    def seconds(self) -> Seconds:
        """What has been spent so far."""
        self._now(self._stage)
        return Seconds(**self._spent)

    def _give_back(self) -> None:
        if self._result is not None:
            self._stages.written(self._result)
            self._result = None

    def _now(self, stage: str) -> None:
        now = time.perf_counter()
        self._spent[self._stage] += now - self._since
        self._stage, self._since = stage, now
