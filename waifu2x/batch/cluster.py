"""The same batch on a Dask cluster: extra ``dask``, https://distributed.dask.org.

The work list is made here and every file is a task of its own. A worker keeps one upscaler and one
set of limits, so it loads a network once and decodes, computes and encodes side by side like a
batch on one machine, as far as it has threads. Files are read and written by the workers, which
must see them under the same names. A worker that dies takes nothing with it but the files it had in
hand, and Dask gives those to another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from .._machine import available_memory, give_memory_back
from .._text import reason, shown
from .._version import __version__
from ..atomic import temporary_in
from ..errors import (
    ArgumentError,
    CancelledError,
    EncodeError,
    EngineError,
    MissingExtraError,
    Waifu2xError,
)
from ..files.task import Options
from ..pipeline.upscaler import Upscaler
from . import (
    DEFAULT_NAME,
    BatchResult,
    Inputs,
    Item,
    Plan,
    Progress,
    Report,
    Summary,
    cancelling,
    plan_batch,
    reported,
)
from .job import Rules, process
from .memory import budget
from .stages import Stages
from .tree import OutputTree

#: Dask has no types that strict checking takes.
_Client: TypeAlias = Any
_Future: TypeAlias = Any
_Worker: TypeAlias = Any

#: Seconds to wait for the scheduler, and then for the first worker.
_PATIENCE = 30.0
#: Seconds that workers may take to get ready, and that a cluster may be without any.
_LONG_PATIENCE = 120.0
#: Seconds for workers to answer what is not a task.
_ANSWER: Final = 5.0
#: Seconds between two looks at whether anybody is there.
_LOOK: Final = 1.0
#: Files handed over for each thread of the workers, so that none waits for its next one.
_AHEAD: Final = 2
#: The share of a worker's memory limit that files may take: from 0.8 on, Dask holds it up.
_MEMORY_SHARE: Final = 0.6
#: Batches that a worker remembers; their upscalers take memory.
_MOST_STATIONS: Final = 4
#: Of workers on this machine: threads of a process, and files it has in hand for each of them.
_LOCAL_THREADS: Final = 8
_LOCAL_FILES: Final = 3


def upscale_many(
    inputs: Inputs,
    out_dir: str | os.PathLike[str],
    options: Options | None = None,
    *,
    cluster: str,
    upscaler: Upscaler | None = None,
    recursive: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    name: str = DEFAULT_NAME,
    shard: str | tuple[int, int] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    keep_times: bool = False,
    memory: int | None = None,
    report: str | os.PathLike[str] | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[BatchResult]:
    """`waifu2x.upscale_many` on a cluster.

    cluster, memory: as for `ClusterBatch`. The rest, and what it yields and raises, is as for
    `waifu2x.upscale_many`; `EngineError` besides, when called for a cluster that cannot be used
    and while iterating for one that is lost.
    """
    plan = plan_batch(
        inputs,
        out_dir,
        options,
        upscaler=upscaler,
        recursive=recursive,
        include=include,
        exclude=exclude,
        name=name,
        part=shard,
        overwrite=overwrite,
        resume=resume,
        keep_times=keep_times,
        memory=memory,
    )
    log = None if report is None else Report(report)
    batch = ClusterBatch(plan, cluster, memory=memory)
    return cancelling(reported(plan.problems, iter(batch), log), batch.cancel, cancel)


class ClusterBatch:
    """Files to be upscaled by the workers of a cluster; like `waifu2x.batch.Batch`."""

    def __init__(self, plan: Plan, where: str, *, memory: int | None = None) -> None:
        """Connect.

        where: the address of a scheduler, such as ``tcp://scheduler:8786``, or ``local`` for
            workers on this machine, which end with the batch.
        memory: bytes that each worker process may take, or with ``local`` all of them together;
            None is six tenths of a worker's limit in Dask, and half of what is free where it has
            none.

        Raises `MissingExtraError` without Dask, `EncodeError` for an output directory that takes
        no files, and `EngineError` for a cluster that does not answer, has no workers, or has one
        that cannot take part.
        """
        self.items = plan.items
        self.summary = Summary()
        self._tree = plan.tree
        self._stack = contextlib.ExitStack()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._in_flight: dict[int, _Future] = {}
        self._next = 0
        self._suspects: list[int] = []
        self._tried_alone: set[int] = set()
        self._ended: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._threads = 0
        self._looked = 0.0
        self._alone_since: float | None = None
        try:
            self._connect(plan, where, memory)
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
            self._ask(_leave)
            self._close()
            # What workers that were killed have left.
            self._tree.clean(item.target.parent for item in self.items)

    def stop(self) -> None:
        """Begin no more files; those that workers have begun are finished."""
        self._stopping.set()
        begun = set[int]().union(*self._ask(_stop))
        with self._lock:
            waiting = [future for i, future in self._in_flight.items() if i not in begun]
        self._forget(waiting)

    def cancel(self) -> None:
        """Begin no more files, and drop those that workers have begun."""
        self._stopping.set()
        with self._lock:
            waiting = list(self._in_flight.values())
        if waiting:
            self._ask(_drop)
            self._forget(waiting)

    @property
    def progress(self) -> Progress:
        """How far it is, by the number of files; may be asked from any thread."""
        with self._lock:
            # Workers take them about in this order.
            begun = sorted(self._in_flight)[: max(1, self._threads)]
        return Progress(
            total=len(self.items),
            ended=self.summary.ended,
            share=self.summary.ended / max(1, len(self.items)),
            current=tuple(self.items[index].source for index in begun),
        )

    # --- the connection

    def _connect(self, plan: Plan, where: str, memory: int | None) -> None:
        try:
            import distributed
        except ImportError as error:
            raise MissingExtraError(
                f"a cluster needs Dask, which cannot be loaded ({reason(error)}); "
                "pip install 'waifu2x-native[dask]'"
            ) from error
        self._dask: Any = distributed
        threads: int | None = None
        address: Any = where
        if where == "local":
            workers, threads = local_shape(plan.upscaler.pipeline.engine.threads)
            memory = (memory or available_memory() // 2) // workers
            address = self._stack.enter_context(_local(self._dask, workers, threads))
        try:
            if where != "local":
                _reach(self._dask, where)
            self._client = self._stack.enter_context(
                self._dask.Client(address, timeout=_PATIENCE, set_as_default=False)
            )
        except Exception as error:  # anything may sit at an address
            raise EngineError(
                f"cluster {shown(where)!r} does not answer as a scheduler would: {reason(error)}; "
                "give the address of a Dask scheduler, such as tcp://host:8786, or local"
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=_PATIENCE)
        except Exception as error:
            raise EngineError(
                f"cluster {shown(where)} has no workers after {_PATIENCE:g} s; start one with: "
                f"dask worker {self._client.scheduler.address}"
            ) from error
        root = plan.tree.root.absolute()
        try:
            with temporary_in(root) as probe:
                # The time as the file system has it that results go to.
                rules = replace(plan.rules, since=probe.path.stat().st_ctime_ns)
                order = _Order(plan.upscaler, rules, root, memory, threads)
                self._ticket = _Ticket(uuid.uuid4().hex, __version__, pickle.dumps(order))
                self._prepare(probe.path)
        except OSError as error:
            raise EncodeError(
                f"output directory {shown(plan.tree.root)} takes no files: {reason(error)}; "
                "choose another directory"
            ) from error

    def _prepare(self, probe: Path) -> None:
        """Have every worker get ready; one that cannot is one that would fail all its files."""
        try:
            answers = self._client.run(
                _prepare, self._ticket, probe, on_error="return", callback_timeout=_LONG_PATIENCE
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

    def _ask(self, function: Callable[[str], Any]) -> list[Any]:
        """What ``function`` returns on the workers that answer."""
        if self._client.status == "running":
            # None does where the scheduler has just gone.
            with contextlib.suppress(Exception):
                answers = self._client.run(
                    function, self._ticket.token, on_error="ignore", callback_timeout=_ANSWER
                )
                return list(answers.values())
        return []

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # of Dask, where the other end has gone
            self._stack.close()

    def _look(self) -> None:
        """See who is there, now and then; raises `EngineError` if that is nobody."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
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
                "again with --resume (resume=True)"
            )

    # --- the files

    def _submit(self) -> None:
        """Keep all workers supplied, and no more than that."""
        if self._stopping.is_set() or not (self._suspects or self._next < len(self.items)):
            return
        self._look()
        with self._lock:
            if self._stopping.is_set():
                return
            most = max(1, _AHEAD * self._threads)
            while len(self._in_flight) < most and self._next < len(self.items):
                self._hand_over(self._next)
                self._next += 1
            if self._suspects and not self._in_flight:
                self._tried_alone.add(self._suspects[0])
                self._hand_over(self._suspects.pop(0))

    def _hand_over(self, index: int) -> None:
        item = self.items[index]
        try:
            future = self._client.submit(
                _upscale,
                self._ticket,
                index,
                replace(item, source=item.source.absolute(), target=item.target.absolute()),
                key=f"waifu2x-{self._ticket.token}-{index}-{len(self._tried_alone)}",
                pure=False,
            )
        except Exception as error:
            raise _lost() from error
        self._in_flight[index] = future
        self._client.loop.add_callback(self._follow, index, future)

    async def _follow(self, index: int, future: _Future) -> None:
        """Wait for what becomes of a file; on Dask's thread."""
        try:
            # If the worker dies that has the result, this waits until another one has it.
            outcome = await future
        except BaseException as error:
            outcome = error
        self._ended.put((index, outcome))

    def _forget(self, futures: list[_Future]) -> None:
        with contextlib.suppress(Exception):
            self._client.cancel(futures)

    def _wait(self) -> BatchResult | None:
        """The next file that has ended; None if it was dropped."""
        while True:
            try:
                index, outcome = self._ended.get(timeout=_LOOK)
            except queue.Empty:
                self._look()
                continue
            with self._lock:
                del self._in_flight[index]
            return self._result(index, outcome)

    def _result(
        self, index: int, outcome: BatchResult | BaseException | None
    ) -> BatchResult | None:
        item = self.items[index]
        if isinstance(outcome, BatchResult):
            return _as_given(outcome, item, self._tree.root)
        if outcome is None:
            return None
        if isinstance(outcome, self._dask.KilledWorker):
            if index not in self._tried_alone:
                # Dask blames all files that were on a worker when it died, so each gets a chance
                # to show that it was another one.
                self._suspects.append(index)
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


def _reach(dask: Any, where: str) -> None:
    """Raise what keeps a scheduler from being reached.

    Dask's client, finding that out by itself, would hang or be left half open.
    """

    async def shake_hands() -> str:
        arguments = dask.Security().get_connection_args("client")
        comm = await dask.core.connect(where, timeout=_PATIENCE, **arguments)
        try:
            identity = await dask.core.send_recv(comm, op="identity")
        finally:
            comm.abort()
        return str(identity["type"])

    # Where somebody listens, and says nothing, `connect` waits for ever.
    kind = dask.utils.LoopRunner().run_sync(asyncio.wait_for, shake_hands(), _PATIENCE + 1)
    if kind != "Scheduler":
        raise EngineError(f"it is a {kind}")


def local_shape(threads: int) -> tuple[int, int]:
    """How many workers there are on this machine, and threads in each, for ``threads`` in all."""
    workers = -(-threads // _LOCAL_THREADS)
    return workers, max(1, threads // workers)


def _local(dask: Any, workers: int, threads: int) -> Any:
    """A scheduler in this process and workers in others, which can be reached from here only."""
    own = {
        "host": "127.0.0.1",
        "protocol": "tcp://",
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",  # without it, everybody may ask for the health
    }
    worker = {
        **own,
        "nthreads": _LOCAL_FILES * threads,
        "memory_limit": 0,  # files keep to theirs
        "silence_logs": logging.CRITICAL,
        # Ctrl-C goes to all processes of a terminal, but what becomes of it is decided here.
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
            f"workers cannot be started on this machine: {reason(error)}; what a script does must "
            'stand under if __name__ == "__main__", since every worker imports it'
        ) from error


def _lost() -> EngineError:
    return EngineError(
        "the connection to the cluster is lost; run again with --resume (resume=True)"
    )


def _as_given(result: BatchResult, item: Item, root: Path) -> BatchResult:
    """``result`` with the names that were given here, where a worker has absolute ones."""

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
        error=None if error is None else type(error)(named(str(error))),
    )


# --- on the workers


@dataclass(frozen=True, slots=True)
class _Order:
    """What a worker must know of a batch.

    memory: bytes that its process may take. threads: those of its engine. None is what Dask has
        given it.
    """

    upscaler: Upscaler
    rules: Rules
    root: Path
    memory: int | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class _Ticket:
    """What comes with every file: the order is unpacked once, and by the same version only."""

    token: str
    version: str
    order: bytes


class _Station:
    """What a worker keeps for a batch."""

    def __init__(self, order: _Order, worker: _Worker) -> None:
        give_memory_back()
        engine = order.upscaler.pipeline.engine
        threads = min(engine.threads, order.threads or worker.state.nthreads)
        self.upscaler = order.upscaler.with_threads(threads)
        self.rules = order.rules
        concurrency = self.upscaler.pipeline.engine.concurrency
        self.stages = Stages(
            memory=_budget(order.memory, worker),
            decoders=threads,
            small=concurrency.small,
            large=concurrency.large,
        )
        self.tree = OutputTree(order.root)
        self.begun: set[int] = set()
        self.stopping = threading.Event()
        self.cancel = threading.Event()


def _budget(memory: int | None, worker: _Worker) -> int:
    limit = worker.memory_manager.memory_limit
    if memory is not None or not limit:
        return budget(memory)
    try:
        return budget(int(limit * _MEMORY_SHARE))
    except ArgumentError:
        return 0  # other work has left nothing of it: one file at a time


_stations: dict[str, _Station] = {}
_stations_lock = threading.Lock()


def _station(ticket: _Ticket, worker: _Worker) -> _Station:
    """What ``worker`` keeps for a batch. Raises `Waifu2xError` where it cannot take part."""
    with _stations_lock:
        station = _stations.pop(ticket.token, None)
        if station is None:
            if ticket.version != __version__:
                raise EngineError(
                    f"worker {worker.address} has waifu2x {__version__}, and the batch is from "
                    f"{ticket.version}; install the same on both"
                )
            order: _Order = pickle.loads(ticket.order)
            if not order.root.is_dir():
                raise EngineError(_unseen(order.root, worker))
            station = _Station(order, worker)
            while len(_stations) >= _MOST_STATIONS:
                del _stations[next(iter(_stations))]  # the one that was needed longest ago
        _stations[ticket.token] = station
        return station


def _unseen(root: Path, worker: _Worker) -> str:
    return (
        f"worker {worker.address} does not see {shown(root)}, where results go; all machines must "
        "have the files under the same names"
    )


def _prepare(ticket: _Ticket, probe: Path, dask_worker: _Worker) -> str:
    """What keeps this worker from taking part; nothing if it may.

    probe: a file where results go.
    """
    try:
        _station(ticket, dask_worker)
    except Waifu2xError as error:
        return str(error)
    return "" if probe.exists() else _unseen(probe.parent, dask_worker)


def _upscale(ticket: _Ticket, index: int, item: Item) -> BatchResult | None:
    """One file; None if it was dropped."""
    from distributed import get_worker

    try:
        station = _station(ticket, get_worker())
        station.begun.add(index)  # first, so that `_stop` cannot miss it
        if station.stopping.is_set():
            return None
        with station.stages.file(index, station.cancel) as stages:
            result = process(
                item,
                station.rules,
                station.upscaler,
                stages,
                station.tree,
                cancel=station.cancel,
            )
    except CancelledError:
        return None
    except Waifu2xError as error:  # this worker cannot take part
        result = BatchResult(source=item.source, target=item.target, status="failed", error=error)
    if result.error is not None:
        # Without its cause: Dask may carry the traceback too, and chokes on deep ones.
        result = replace(result, error=type(result.error)(str(result.error)))
    return result


def _stop(token: str) -> set[int]:
    """Begin no more files; returns those that have been begun."""
    with _stations_lock:
        station = _stations.get(token)
    if station is None:
        return set()
    station.stopping.set()
    return station.begun.copy()


def _drop(token: str) -> None:
    """Drop the files in hand."""
    with _stations_lock:
        station = _stations.get(token)
    if station is not None:
        station.stopping.set()
        station.cancel.set()


def _leave(token: str) -> None:
    """The batch is over."""
    with _stations_lock:
        _stations.pop(token, None)
