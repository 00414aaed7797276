"""Runs a batch on a Dask cluster (extra ``dask``, https://distributed.dask.org).

The client plans the batch, and every file is a Dask task. A video is several tasks: each computes a
share of its segments, and the last joins them. A worker keeps one upscaler and one set
of limits per batch, so it loads a network once and overlaps decoding, computing and encoding as far
as it has threads. Workers read and write the files and must see them under the same names. If a
worker dies, Dask gives its files in flight to another worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from .._machine import available_memory, give_memory_back
from .._record import record
from .._text import reason, shown
from .._version import __version__
from ..atomic import temporary_in
from ..errors import (
    CancelledError,
    EncodeError,
    EngineError,
    LimitError,
    MissingExtraError,
    Waifu2xError,
)
from ..files.task import Share
from ..pipeline.upscaler import Upscaler
from .job import BatchContext, Rules, process
from .limits import Limits
from .memory import budget
from .naming import Item
from .planning import Plan, is_video
from .results import BatchResult, Summary
from .runner import BatchProgress
from .tree import OutputTree

#: Dask has no types for strict checking.
_Future: TypeAlias = Any
_Worker: TypeAlias = Any

#: Seconds to wait for the scheduler, and then for the first worker.
_PATIENCE = 30.0
#: Seconds for workers to prepare, and for a cluster without any workers.
_LONG_PATIENCE = 120.0
#: Seconds for workers to answer calls other than tasks.
_ANSWER: Final = 5.0
#: Seconds between two checks of the connection.
_POLL_SECONDS: Final = 1.0
#: Files submitted per thread of the workers: the next file is there when one ends.
_AHEAD: Final = 2
#: Tasks for each worker into which a batch of few videos is divided.
_SHARES_PER_WORKER: Final = 2
#: Share of a worker's memory limit for files; from 0.8 on, Dask pauses the worker.
_MEMORY_SHARE: Final = 0.6
#: Batches that a worker remembers; each holds an upscaler in memory.
_MAX_STATES: Final = 4
#: Threads of a worker process on this machine, and its files in flight per thread.
_LOCAL_THREADS: Final = 8
_LOCAL_FILES: Final = 3


@record
class _Task:
    """A task: the file ``index``, or ``share`` of its segments."""

    index: int
    share: Share | None = None


class ClusterBatch:
    """A batch on a cluster, with the interface of `waifu2x.batch.Batch`."""

    def __init__(self, plan: Plan, address: str) -> None:
        """Connect to the cluster and prepare its workers.

        address: the address of a scheduler, such as ``tcp://scheduler:8786``, or ``local`` for
            workers on this machine that end with the batch.

        Raises `MissingExtraError` without Dask, `EncodeError` for an output directory that cannot
        be written, and `EngineError` for a cluster that does not answer, has no workers, or has a
        worker that cannot take part.
        """
        self.items = plan.items
        self.summary = Summary()
        self._tree = plan.tree
        self._stack = contextlib.ExitStack()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        #: All tasks by number; joining a video becomes a task when its shares are finished.
        self._tasks: list[_Task] = []
        self._shares_left: dict[int, int] = {}
        self._given_up: set[int] = set()
        self._waiting: deque[int] = deque()
        self._in_flight: dict[int, _Future] = {}
        self._suspects: list[int] = []
        self._tried_alone: set[int] = set()
        self._ended: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._threads = 0
        self._checked = 0.0
        self._alone_since: float | None = None
        try:
            self._connect(plan, address)
            self._divide(plan)
        except BaseException:
            self._close()
            raise

    def __iter__(self) -> Generator[BatchResult, None, None]:
        try:
            self._submit()
            while self._in_flight:
                result = self._wait()
                self._submit()
                if result is not None:
                    self.summary.count(result)
                    yield result
        finally:
            self.cancel()
            self._call(_end_batch)
            self._close()
            # Delete the temporary files of killed workers.
            self._tree.clean(item.target.parent for item in self.items)
            self._remove_unused()

    def stop(self) -> None:
        """Start no more files and finish those that workers have begun."""
        self._stopping.set()
        begun = set[int]().union(*self._call(_stop_batch))
        with self._lock:
            waiting = [future for i, future in self._in_flight.items() if i not in begun]
        self._cancel_futures(waiting)

    def cancel(self) -> None:
        """Start no more files and abandon those that workers have begun."""
        self._stopping.set()
        with self._lock:
            waiting = list(self._in_flight.values())
        if waiting:
            self._call(_cancel_batch)
            self._cancel_futures(waiting)

    @property
    def progress(self) -> BatchProgress:
        """The progress by number of files; safe to read from any thread."""
        with self._lock:
            # Workers begin tasks in approximately this order.
            begun = sorted(self._in_flight)[: max(1, self._threads)]
            files = dict.fromkeys(self._tasks[number].index for number in begun)
        return BatchProgress(
            total=len(self.items),
            ended=self.summary.ended,
            share=self.summary.ended / max(1, len(self.items)),
            current=tuple(self.items[index].source for index in files),
        )

    # --- connection

    def _connect(self, plan: Plan, address: str) -> None:
        try:
            import distributed
        except ImportError as error:
            raise MissingExtraError(
                f"a cluster needs Dask, which cannot be loaded ({reason(error)}); "
                "run `pip install distributed`"
            ) from error
        except Exception as error:  # psutil, which Dask imports, fails without /proc
            raise EngineError(
                f"a cluster needs Dask, which fails on this machine: {reason(error)}; "
                "leave out `cluster=`"
            ) from error
        self._dask: Any = distributed
        memory, threads = plan.rules.batch.memory, None
        server: Any = address
        if address == "local":
            workers, threads = local_shape(plan.upscaler.pipeline.engine.threads)
            memory = (memory or available_memory() // 2) // workers
            server = self._stack.enter_context(_local(self._dask, workers, threads))
        try:
            if address != "local":
                _check_scheduler(self._dask, address)
            self._client = self._stack.enter_context(
                self._dask.Client(server, timeout=_PATIENCE, set_as_default=False)
            )
        except Exception as error:  # any server may answer at an address
            raise EngineError(
                f"cluster {shown(address)!r} does not answer as a scheduler would: "
                f"{reason(error)}; give the address of a Dask scheduler, such as "
                "tcp://host:8786, or local"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=_PATIENCE)
        except Exception as error:
            raise EngineError(
                f"cluster {shown(address)} has no workers after {_PATIENCE:g} s; start one with: "
                f"dask worker {self._client.scheduler.address}"
            ) from error
        root = plan.tree.root.absolute()
        try:
            with temporary_in(root) as probe:
                # The clock of the file system that holds the results.
                rules = replace(plan.rules, since=probe.path.stat().st_ctime_ns)
                spec = BatchSpec(plan.upscaler, rules, root, memory, threads)
                self._handle = BatchHandle(uuid.uuid4().hex, __version__, pickle.dumps(spec))
                self._prepare(probe.path)
        except OSError as error:
            raise EncodeError(
                f"output directory {shown(plan.tree.root)} takes no files: {reason(error)}; "
                "choose another directory"
            ) from error

    def _prepare(self, probe: Path) -> None:
        """Prepare every worker; raises `EngineError` if any of them would fail all its files."""
        try:
            answers = self._client.run(
                _prepare, self._handle, probe, on_error="return", callback_timeout=_LONG_PATIENCE
            )
        except Exception as error:
            raise EngineError(f"the cluster does not work: {reason(error)}") from error
        for worker, answer in answers.items():
            if isinstance(answer, Exception):
                raise EngineError(
                    f"worker {worker} cannot take part: {type(answer).__name__}: {reason(answer)}; "
                    f"install waifu2x-native {__version__} where the workers run"
                ) from answer
            if answer:
                raise EngineError(answer)

    def _call(self, function: Callable[[str], Any]) -> list[Any]:
        """Call ``function`` on all workers; returns the results of those that answer."""
        if self._client.status == "running":
            # The call fails if the scheduler has just gone.
            with contextlib.suppress(Exception):
                answers = self._client.run(
                    function, self._handle.token, on_error="ignore", callback_timeout=_ANSWER
                )
                return list(answers.values())
        return []

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # raised by Dask if the other end has gone
            self._stack.close()

    def _check_workers(self) -> None:
        """Count the workers' threads, at intervals; raises `EngineError` if none are left."""
        now = time.monotonic()
        if now - self._checked < _POLL_SECONDS:
            return
        self._checked = now
        try:
            self._threads = sum(self._client.nthreads(callback_timeout=_ANSWER).values())
        except Exception:
            self._threads = 0
        if self._client.status != "running":
            raise _lost()
        if self._threads:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > _LONG_PATIENCE:
            raise EngineError(
                f"the cluster has had no workers for {_LONG_PATIENCE:g} s; start some and run "
                "again with `resume=True`"
            )

    # --- files

    def _divide(self, plan: Plan) -> None:
        """List the tasks: a task for each file, or several for a video."""
        videos = sum(map(is_video, plan.items))
        workers = len(self._client.nthreads(callback_timeout=_ANSWER))
        # Every share decodes the whole video, so many videos are not divided.
        shares = -(-_SHARES_PER_WORKER * workers // max(1, videos)) if workers > 1 else 1
        own = Share(*(plan.rules.batch.part or (1, 1)))
        for index, item in enumerate(plan.items):
            if is_video(item) and shares > 1:
                self._shares_left[index] = shares
                parts = (own.part(part, shares) for part in range(1, shares + 1))
                self._tasks += [_Task(index, share) for share in parts]
            else:
                self._tasks.append(_Task(index))
        self._joined = replace(own, joining="at once")
        self._waiting.extend(range(len(self._tasks)))

    def _remove_unused(self) -> None:
        """Delete folders without a segment; the shares of a video leave that to this process."""
        if self._shares_left:
            from ..files.video import remove_unused  # loaded when needed

            for index in self._shares_left:
                remove_unused(self.items[index].target)

    def _submit(self) -> None:
        """Submit files until every worker has enough."""
        if self._stopping.is_set() or not (self._suspects or self._waiting):
            return
        self._check_workers()
        with self._lock:
            if self._stopping.is_set():
                return
            most = max(1, _AHEAD * self._threads)
            while len(self._in_flight) < most and self._waiting:
                number = self._waiting.popleft()
                if self._tasks[number].index not in self._given_up:
                    self._submit_one(number)
            if self._suspects and not self._in_flight:
                self._tried_alone.add(self._suspects[0])
                self._submit_one(self._suspects.pop(0))

    def _submit_one(self, number: int) -> None:
        task = self._tasks[number]
        item = self.items[task.index]
        try:
            future = self._client.submit(
                _upscale,
                self._handle,
                number,
                replace(item, source=item.source.absolute(), target=item.target.absolute()),
                task.share,
                key=f"waifu2x-{self._handle.token}-{number}-{len(self._tried_alone)}",
                pure=False,
            )
        except Exception as error:
            raise _lost() from error
        self._in_flight[number] = future
        self._client.loop.add_callback(self._follow, number, future)

    async def _follow(self, number: int, future: _Future) -> None:
        """Wait for the result of a task, on Dask's thread."""
        try:
            # If the worker that holds the result dies, this waits for another worker's result.
            outcome = await future
        except BaseException as error:
            outcome = error
        self._ended.put((number, outcome))

    def _cancel_futures(self, futures: list[_Future]) -> None:
        with contextlib.suppress(Exception):
            self._client.cancel(futures)

    def _wait(self) -> BatchResult | None:
        """The next result; None for a share, an abandoned file, or one to be tried again."""
        while True:
            try:
                number, outcome = self._ended.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._check_workers()
                continue
            with self._lock:
                del self._in_flight[number]
            result = self._result(number, outcome)
            task = self._tasks[number]
            shared = task.share is not None and task.share.joining == "never"
            return self._after_share(task.index, result) if result and shared else result

    def _after_share(self, index: int, result: BatchResult) -> BatchResult | None:
        """Join a video after its last share; the first share that fails is the result."""
        if index in self._given_up:
            return None
        if result.status == "failed":
            self._given_up.add(index)
            return result
        self._shares_left[index] -= 1
        if not self._shares_left[index]:
            with self._lock:
                self._tasks.append(_Task(index, self._joined))
                self._waiting.appendleft(len(self._tasks) - 1)
        return None

    def _result(
        self, number: int, outcome: BatchResult | BaseException | None
    ) -> BatchResult | None:
        item = self.items[self._tasks[number].index]
        if isinstance(outcome, BatchResult):
            return _with_given_names(outcome, item, self._tree.root)
        if outcome is None:
            return None
        if isinstance(outcome, self._dask.KilledWorker):
            if number not in self._tried_alone:
                # Dask blames every file that was on a dying worker. Each file is tried again
                # alone.
                self._suspects.append(number)
                return None
            what = (
                "every worker that took it has died; it may need more memory than a worker has "
                "(a smaller scale needs less)"
            )
        elif isinstance(outcome, self._dask.CancelledError | OSError):
            if self._stopping.is_set():
                return None
            raise _lost() from outcome
        else:
            what = f"unexpected {type(outcome).__name__}: {reason(outcome)}"
        error = EngineError(f"{shown(item.source)}: {what}")
        return BatchResult(source=item.source, target=item.target, status="failed", error=error)


def _check_scheduler(dask: Any, address: str) -> None:
    """Raise an error unless a scheduler answers at ``address``.

    Dask's own client would hang or stay half open.
    """

    async def shake_hands() -> str:
        arguments = dask.Security().get_connection_args("client")
        comm = await dask.core.connect(address, timeout=_PATIENCE, **arguments)
        try:
            identity = await dask.core.send_recv(comm, op="identity")
        finally:
            comm.abort()
        return str(identity["type"])

    # `connect` waits forever for a server that accepts and never answers.
    kind = dask.utils.LoopRunner().run_sync(asyncio.wait_for, shake_hands(), _PATIENCE + 1)
    if kind != "Scheduler":
        raise EngineError(f"it is a {kind}")


def local_shape(threads: int) -> tuple[int, int]:
    """The number of local workers, and of threads in each, for ``threads`` in total."""
    workers = -(-threads // _LOCAL_THREADS)
    return workers, max(1, threads // workers)


def _local(dask: Any, workers: int, threads: int) -> Any:
    """A scheduler in this process and worker processes, reachable from this machine only."""
    own = {
        "host": "127.0.0.1",
        "protocol": "tcp://",
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",  # the default would serve health checks to all
    }
    worker = {
        **own,
        "nthreads": _LOCAL_FILES * threads,
        "memory_limit": 0,  # `Limits` bounds the memory
        "silence_logs": logging.CRITICAL,
        # Ctrl-C reaches all processes of a terminal; only this process reacts.
        "preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
    }
    try:
        return dask.SpecCluster(
            scheduler={"cls": dask.Scheduler, "options": own},
            workers={i: {"cls": dask.Nanny, "options": worker} for i in range(workers)},
            silence_logs=logging.CRITICAL,
        )
    except (OSError, RuntimeError) as error:
        raise EngineError(
            f"workers cannot be started on this machine: {reason(error)}; put the code of a script "
            'under if __name__ == "__main__", since every worker imports the script'
        ) from error


def _lost() -> EngineError:
    return EngineError("the connection to the cluster is lost; run again with `resume=True`")


def _with_given_names(result: BatchResult, item: Item, root: Path) -> BatchResult:
    """``result`` with the names given by the user in place of the worker's absolute names."""

    def named(text: str) -> str:
        for path in (item.source, item.target, root):
            if not path.is_absolute():
                text = text.replace(shown(path.absolute()), shown(path))
        return text

    error = result.error
    return replace(
        result,
        source=item.source,
        target=item.target,
        notes=tuple(map(named, result.notes)),
        failures=tuple(map(named, result.failures)),
        error=None if error is None else type(error)(named(str(error))),
    )


# --- on the workers


@record
class BatchSpec:
    """The specification of a batch for workers.

    memory: bytes for each worker process. threads: threads of its engine. None takes the values
    that Dask gave the worker.
    """

    upscaler: Upscaler
    rules: Rules
    root: Path
    memory: int | None
    threads: int | None


@record
class BatchHandle:
    """Identifies a batch in every task; ``spec`` is unpickled once, by the same version only."""

    token: str
    version: str
    spec: bytes


@record
class WorkerState:
    """What a worker keeps for a batch; ``begun`` has the numbers of tasks it has begun."""

    context: BatchContext
    begun: set[int] = field(default_factory=set)

    @classmethod
    def create(cls, spec: BatchSpec, worker: _Worker) -> WorkerState:
        """Set up ``worker`` for a batch."""
        give_memory_back()
        threads = min(spec.upscaler.pipeline.engine.threads, spec.threads or worker.state.nthreads)
        upscaler = spec.upscaler.with_threads(threads)
        concurrency = upscaler.pipeline.engine.concurrency
        limits = Limits(
            memory=_budget(spec.memory, worker),
            decoders=threads,
            small=concurrency.small,
            large=concurrency.large,
        )
        return cls(BatchContext(spec.rules, upscaler, limits, OutputTree(spec.root)))


def _budget(memory: int | None, worker: _Worker) -> int:
    limit = worker.memory_manager.memory_limit
    if memory is not None or not limit:
        return budget(memory)
    try:
        return budget(int(limit * _MEMORY_SHARE))
    except LimitError:
        return 0  # other work uses the memory: one file at a time


_states: dict[str, WorkerState] = {}
_states_lock = threading.Lock()


def _state(handle: BatchHandle, worker: _Worker) -> WorkerState:
    """The state of ``worker`` for a batch; raises `Waifu2xError` if it cannot take part."""
    with _states_lock:
        state = _states.pop(handle.token, None)
        if state is None:
            if handle.version != __version__:
                raise EngineError(
                    f"worker {worker.address} has waifu2x {__version__}, and the batch is from "
                    f"{handle.version}; install the same on both"
                )
            spec: BatchSpec = pickle.loads(handle.spec)
            if not spec.root.is_dir():
                raise EngineError(_not_visible(spec.root, worker))
            state = WorkerState.create(spec, worker)
            while len(_states) >= _MAX_STATES:
                del _states[next(iter(_states))]  # the least recently used
        _states[handle.token] = state
        return state


def _not_visible(root: Path, worker: _Worker) -> str:
    return (
        f"worker {worker.address} does not see {shown(root)}, the directory of the results; all "
        "machines must have the files under the same names"
    )


def _prepare(handle: BatchHandle, probe: Path, dask_worker: _Worker) -> str:
    """Return why this worker cannot take part, or ""; ``probe`` is a file of the output."""
    try:
        _state(handle, dask_worker)
    except Waifu2xError as error:
        return str(error)
    return "" if probe.exists() else _not_visible(probe.parent, dask_worker)


def _upscale(
    handle: BatchHandle, number: int, item: Item, share: Share | None
) -> BatchResult | None:
    """Process a file, or a share of a video; returns None if it was abandoned."""
    from distributed import get_worker

    try:
        state = _state(handle, get_worker())
        context = state.context
        # Before the check: `_stop_batch` sets the event, then reads `begun`.
        state.begun.add(number)
        if context.stopping.is_set():
            return None
        with context.limits.file(number, context.cancel) as stages:
            result = process(context, item, stages, None, share)
    except CancelledError:
        return None
    except Waifu2xError as error:  # this worker cannot take part
        result = BatchResult(source=item.source, target=item.target, status="failed", error=error)
    if result.error is not None:
        # Drop the cause: Dask may pickle its traceback and fails on deep ones.
        result = replace(result, error=type(result.error)(str(result.error)))
    return result


def _known_state(token: str) -> WorkerState | None:
    with _states_lock:
        return _states.get(token)


def _stop_batch(token: str) -> set[int]:
    """Start no more tasks; returns the numbers of those that have begun."""
    state = _known_state(token)
    if state is None:
        return set()
    state.context.stopping.set()
    return state.begun.copy()


def _cancel_batch(token: str) -> None:
    """Abandon the files in flight."""
    state = _known_state(token)
    if state is not None:
        state.context.stopping.set()
        state.context.cancel.set()


def _end_batch(token: str) -> None:
    """Forget the batch."""
    with _states_lock:
        _states.pop(token, None)
