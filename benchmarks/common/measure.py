"""Timed samples, interleaved rounds, and summaries of the samples."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from .environment import busy_seconds, foreign_share, load_average

T = TypeVar("T")
Run = tuple["Result", Callable[[], "Sample"]]

#: Largest difference from float64, on [0, 1], that counts as float32 arithmetic.
FLOAT32_TOLERANCE = 1e-4
#: Shortest sample in seconds: the load counters of Linux have a resolution of 10 ms.
MIN_SAMPLE_S = 0.1
MAX_CALLS = 200


class FailureError(RuntimeError):
    """A measurement failed; the message is the complete explanation."""


class UnavailableError(FailureError):
    """A measurement does not apply to this machine."""


@dataclass(frozen=True)
class Sample:
    """One timed run, or the mean of ``calls`` consecutive runs.

    foreign: share of the machine, 0 to 1, that other processes used; None if unknown.
    peak_rss: peak memory of the process in bytes, for a run in a process of its own.
    """

    wall_s: float
    cpu_s: float
    foreign: float | None
    load_average: float | None
    peak_rss: int | None = None
    calls: int = 1


@dataclass(frozen=True)
class Summary:
    """Statistics of the samples that count. speed: relative to the fastest float32 peer."""

    count: int
    median_s: float
    q1_s: float
    q3_s: float
    min_s: float
    max_s: float
    speed: float | None = None


@dataclass
class Result:
    """Measurements of one contestant.

    not_run: why the contestant could not run; empty if it ran.
    uncapped: the cap on instruction sets does not apply; excluded as a reference for speeds.
    max_error: largest difference from float64, on [0, 1].
    kernels: convolution kernels as reported by the runtime.
    """

    name: str
    ours: bool
    detail: str
    not_run: str = ""
    uncapped: bool = False
    max_error: float | None = None
    kernels: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    summary: Summary | None = None

    @property
    def label(self) -> str:
        """The name in tables."""
        return f"{self.name} (uncapped)" if self.uncapped else self.name

    @property
    def seconds(self) -> float:
        """The median; infinite without a summary."""
        return self.summary.median_s if self.summary else float("inf")


def to_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [asdict(result) for result in results]


def timed(call: Callable[[], object], calls: int = 1) -> Sample:
    """Time one call in this process, or the mean of several consecutive calls."""
    busy, cpu, start = busy_seconds(), time.process_time(), time.perf_counter()
    for _ in range(calls):
        kept = call()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    foreign = others_share(busy, own=cpu, wall=wall)
    del kept  # the last result is freed after the clock has stopped
    return Sample(wall / calls, cpu / calls, foreign, load_average(), calls=calls)


def timed_warm(call: Callable[[], object]) -> Sample:
    """Time as many consecutive calls as exceed `MIN_SAMPLE_S`, after one untimed call.

    The untimed call warms the caches and gives threads of the previous contestant time to stop
    spinning.
    """
    once = timed(call).wall_s
    return timed(call, min(MAX_CALLS, math.ceil(1.5 * MIN_SAMPLE_S / max(once, 1e-6))))


def others_share(busy: float | None, *, own: float, wall: float) -> float | None:
    """`foreign_share` since ``busy`` was read; None if the time is below the resolution."""
    if wall < MIN_SAMPLE_S:
        return None
    return foreign_share(busy, busy_seconds(), own=own, wall=wall)


def interleave(runs: Sequence[Run], rounds: int) -> None:
    """Take a sample of each contestant per round, in a new order every round.

    A contestant that fails takes no further part.
    """
    for index in range(rounds):
        for result, measure in random.Random(index).sample(list(runs), len(runs)):
            if result.not_run:
                continue
            sample = attempt(result, measure)
            if sample is not None:
                result.samples.append(sample)


def attempt(result: Result, call: Callable[[], T]) -> T | None:
    """Return what ``call`` returns; if it raises, record the reason and return None."""
    try:
        return call()
    except Exception as error:  # of any kind: the table shows the reason, the others continue
        result.not_run = reason(error)
    return None


def reason(error: Exception) -> str:
    """Format an exception as one line for a table."""
    lines = str(error).strip().splitlines()
    # OpenVINO starts with lines that name positions in its source.
    text = [line for line in lines if not line.startswith("Exception from ")] or lines
    if isinstance(error, FailureError):
        return str(error)
    if isinstance(error, ImportError):
        return f"not installed or not loadable: {text[0]}"
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third quartile of at least one value."""
    if len(values) == 1:
        return (values[0],) * 3
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return q1, median, q3


def ratios(slower: Result, faster: Result) -> dict[str, float]:
    """Quartiles of the ratio of times within each round: how many times as fast."""
    pairs = zip(slower.samples, faster.samples, strict=True)
    q1, median, q3 = quartiles([a.wall_s / b.wall_s for a, b in pairs])
    return {"median": median, "q1": q1, "q3": q3}


def median_s(result: Result) -> float:
    """Median over all samples, disturbed samples included."""
    return statistics.median(sample.wall_s for sample in result.samples)


def quiet_times(samples: Sequence[Sample], quiet_below: float) -> list[float]:
    """Times of the samples during which other processes used less than ``quiet_below``."""
    return [
        sample.wall_s
        for sample in samples
        if sample.foreign is None or sample.foreign < quiet_below or quiet_below >= 1
    ]


def summarize(results: Sequence[Result], quiet_below: float, base: str | None = None) -> None:
    """Fill in the summaries from quiet samples; a summary needs at least two.

    base: name of the peer that speeds are relative to, instead of the fastest.
    """
    for result in results:
        times = quiet_times(result.samples, quiet_below)
        if len(times) >= 2:
            q1, median, q3 = quartiles(times)
            result.summary = Summary(len(times), median, q1, q3, min(times), max(times))
    peers = [
        result.seconds
        for result in results
        if result.summary
        and not (result.ours or result.uncapped)
        and base in (None, result.name)
        and (result.max_error is None or result.max_error <= FLOAT32_TOLERANCE)
    ]
    for result in results:
        if peers and result.summary:
            result.summary = replace(result.summary, speed=min(peers) / result.seconds)


def failures(results: Sequence[Result]) -> list[str]:
    """Reasons of the results that could not run."""
    return [f"{result.name}: {result.not_run}" for result in results if result.not_run]


def inexact(results: Sequence[Result]) -> list[str]:
    """Problems of our results whose error exceeds float32 arithmetic, or is NaN."""
    return [
        f"{result.name} is {result.max_error:.1e} away from float64; "
        f"at most {FLOAT32_TOLERANCE:.0e} is float32"
        for result in results
        if result.ours
        and result.max_error is not None
        and not result.max_error <= FLOAT32_TOLERANCE
    ]
