"""Runs jobs on threads, within the limits of memory and processors of a batch."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import BinaryIO, Final

from .. import codec
from .._machine import processors
from ..batch import for_one_run
from ..batch.job import open_within
from ..batch.limits import FileStages, Limits
from ..batch.memory import budget
from ..batch.planning import check_quality_used
from ..errors import CancelledError, DecodeError, LimitError
from ..files.open import exact_extension
from ..files.task import Amount, Result
from ..pipeline.upscaler import Upscaler
from .cache import ResultCache
from .folder import PrivateFolder, new_file
from .jobs import Job
from .problems import STOPPING, Problem, Words, busy, problem_of
from .queue import FairQueue, QueueFullError
from .settings import ServerSettings

_log = logging.getLogger(__name__)

#: Upscalers that stay loaded.
_LOADED: Final = 4

#: Threads in addition to the threads that decode, compute and encode.
_AHEAD: Final = 2
_MAX_THREADS: Final = 64

#: The largest result in bytes, as a multiple of the largest body.
_GROWTH: Final = 64


class Upscalers:
    """The upscalers that were used last, by model and test-time augmentation."""

    def __init__(self, settings: ServerSettings) -> None:
        run_memory = for_one_run(settings.memory)
        self._options = replace(settings.upscaler, run_memory=run_memory)
        self._lock = threading.Lock()
        self._loaded: OrderedDict[tuple[str, bool], Upscaler] = OrderedDict()

    def get(self, model: str, tta: bool) -> Upscaler:
        """Return an upscaler; raises the errors of `Upscaler`."""
        key = (model, tta)
        with self._lock:
            if key not in self._loaded:
                options = replace(self._options, model=model, tta=tta)
                self._loaded[key] = Upscaler.from_options(options)
                while len(self._loaded) > _LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]


class Workshop:
    """The queue, the threads that empty it, and the private folder of all files.

    Raises the errors of `Upscaler` for the default model, and `LimitError` for too little memory.
    """

    def __init__(self, settings: ServerSettings, words: Words) -> None:
        self.settings, self._words = settings, words
        self.upscalers = Upscalers(settings)
        default = self.upscalers.get(os.fspath(settings.upscaler.model), settings.upscaler.tta)
        #: The default model.
        self.model = default.pipeline.model
        engine = default.pipeline.engine
        self._limits = Limits(
            memory=budget(settings.memory),
            decoders=processors(),
            small=engine.concurrency.small,
            large=engine.concurrency.large,
        )
        threads = max(engine.threads, engine.concurrency.large) + 2 * processors() + _AHEAD
        self.queue: FairQueue[Job] = FairQueue(settings.queue)
        self._private = PrivateFolder()
        self.folder = self._private.path
        self._cache = ResultCache(self.folder, settings.cache)
        self._lock = threading.Lock()
        self._running: set[Job] = set()
        self._taken = 0
        self._seconds = 1.0
        self._threads = [
            threading.Thread(target=self._carry, name=f"waifu2x-job-{index}", daemon=True)
            for index in range(min(threads, _MAX_THREADS))
        ]

    @property
    def running(self) -> int:
        """The number of jobs that threads work on."""
        with self._lock:
            return len(self._running)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Refuse further jobs and the jobs that wait; jobs that have begun go on."""
        for job in self.queue.stop():
            job.fail(busy(STOPPING, 5))
            job.source.unlink(missing_ok=True)

    def close(self, *, at_once: bool = False) -> None:
        """Stop, wait for the jobs that have begun, and remove all files.

        at_once: cancel the jobs that have begun.
        """
        self.stop()
        if at_once:
            with self._lock:
                for job in self._running:
                    job.cancel.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self.remove_files()

    def remove_files(self) -> None:
        """Remove the private folder."""
        self._private.remove()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self.queue.stopped

    def reserve(self, client: str, count: int = 1) -> None:
        """Hold places in the queue; raises `Problem` with status 503."""
        try:
            self.queue.reserve(client, count)
        except QueueFullError:
            raise self.full() from None

    def full(self) -> Problem:
        """The answer to a request that finds no place."""
        rounds = (self.queue.held + self.running) / max(1, processors())
        seconds = min(120.0, max(1.0, rounds * self._seconds))
        return busy("the queue is full; try again later", seconds)

    def submit(self, job: Job) -> None:
        """Put a job on a place that its client holds; a result in the cache ends the job at once.

        Raises `Problem` if the server is stopping.
        """
        if self._cache.fetch(job):
            self.queue.release(job.client)
            job.source.unlink(missing_ok=True)
            job.set_status("done")
            return
        try:
            job.cost = _cost(job, self.settings.upscaler.limit)
            self.queue.put(job.client, job, job.cost)
        except QueueFullError:
            job.remove_files()
            raise busy(STOPPING, 5) from None

    def cancel(self, job: Job) -> None:
        """Cancel a job; a thread that works on the job notices at the next tile."""
        job.cancel.set()
        if self.queue.remove(job.client, job):
            job.remove_files()
            job.set_status("canceled")

    # --- the threads

    def _carry(self) -> None:
        while (job := self.queue.take()) is not None:
            with self._lock:
                self._running.add(job)
                self._taken += 1
                order = self._taken
            try:
                self._run(order, job)
            finally:
                with self._lock:
                    self._running.discard(job)

    def _run(self, order: int, job: Job) -> None:
        began = time.monotonic()
        problem: Problem | None = None
        job.set_status("running")
        try:
            with self._limits.file(order, job.cancel) as stages:
                job.made = self._convert(job, stages)
            self._cache.store(job)
        except CancelledError:
            pass
        except Exception as error:
            if not isinstance(error, MemoryError | OSError):
                _log.debug("a job failed", exc_info=True)
            problem = problem_of(error, self._words)
        job.source.unlink(missing_ok=True)
        if job.made is None or job.cancel.is_set():
            job.result.unlink(missing_ok=True)
        with self._lock:
            self._seconds += 0.1 * (time.monotonic() - began - self._seconds)
        if problem is not None:
            job.fail(problem)
        else:
            job.set_status("canceled" if job.cancel.is_set() else "done")

    def _convert(self, job: Job, stages: FileStages) -> Result:
        options = job.choice.options
        upscaler = self.upscalers.get(job.choice.model, job.choice.tta)
        extension = exact_extension(job.source, options)
        if not job.keep_format:
            check_quality_used(options, [extension])
        target = job.result.with_suffix(extension)
        most = self.settings.max_bytes * _GROWTH
        with codec.opened(job.source, upscaler.options.limit) as (stream, _):
            _refuse_video(stream, job.name)
            amount = Amount(self.settings.animation_limit)
            try:
                opened = open_within(
                    *(stages, upscaler, stream, job.name, options, target),
                    keep_format=job.keep_format,
                    amount=amount,
                    cancel=job.cancel,
                )
            finally:
                # Frames and pages are counted only now.
                self.queue.charge(job.client, _weighted(job, amount.pixels) - job.cost)
            job.extension = opened.extension
            with new_file(job.result) as file:

                def follow(share: float) -> None:
                    _check_growth(file, most, job.name)
                    job.follow(share)

                return opened.write(file, follow, job.cancel)


def _refuse_video(stream: BinaryIO, name: str) -> None:
    """Raise `DecodeError` for a video, which would hold up all clients for hours."""
    found = codec.sniff_stream(stream)
    if found.video:
        raise DecodeError(
            f"{name} is {found.description}; the server takes pictures, animations and comics; "
            "upscale a video with the command: waifu2x in.mkv out.mkv"
        )


def _cost(job: Job, limit: int) -> float:
    """The work that a job needs, in pixels, as far as its header tells; otherwise its bytes."""
    with codec.opened(job.source, limit) as (stream, _):
        length = stream.seek(0, 2)
        header = codec.read_header(stream, limit)
    pixels = length if header is None else header.width * header.height
    return _weighted(job, pixels)


def _weighted(job: Job, pixels: int) -> float:
    return max(1.0, float(pixels) * (8 if job.choice.tta else 1))


def _check_growth(file: BinaryIO, most: int, name: str) -> None:
    if os.fstat(file.fileno()).st_size > most:
        raise LimitError(f"{name}: the result exceeds {most >> 20} MiB; a smaller scale needs less")
