"""Samples, how they are taken in turns, and what is made of them."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from _environment import busy_seconds, foreign_share, load_average

T = TypeVar("T")

#: Largest difference from float64, on [0, 1], that float32 arithmetic may make here.
FLOAT32_TOLERANCE = 1e-4
#: Seconds below which the machine's account of its load, in ticks of 10 ms, says nothing.
LEAST = 0.1
#: Calls of one sample, at most.
MOST_CALLS = 200


class FailureError(RuntimeError):
    """Something that was to be measured did not work; the message says all there is to say."""


@dataclass(frozen=True)
class Sample:
    """One timed run, or the mean of so many calls in a row.

    foreign: share of the machine that others used meanwhile, 0 to 1; None where nothing can tell.
    """

    wall_s: float
    cpu_s: float
    foreign: float | None
    load_average: float | None
    peak_rss: int | None = None
    calls: int = 1


@dataclass(frozen=True)
class Summary:
    """Of the samples that count. speed: relative to the fastest float32 peer."""

    count: int
    median_s: float
    q1_s: float
    q3_s: float
    min_s: float
    max_s: float
    speed: float | None = None


@dataclass
class Result:
    """Everything about one contestant.

    uncapped: where instruction sets are capped, that this one could not be, and counts for nothing.
    max_error: largest difference from float64, on [0, 1].
    kernels: what it says that it computes convolutions with, if it says so.
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
        """The median; infinite without one."""
        return self.summary.median_s if self.summary else float("inf")


def from_json(told: dict[str, Any]) -> Result:
    """A result that another process measured, not summarised yet."""
    samples = [Sample(**sample) for sample in told["samples"]]
    return Result(**{**told, "samples": samples, "summary": None})


def to_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [asdict(result) for result in results]


def timed(call: Callable[[], object], calls: int = 1) -> Sample:
    """One call in this process, or the mean of several in a row."""
    busy, cpu, start = busy_seconds(), time.process_time(), time.perf_counter()
    for _ in range(calls):
        kept = call()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    foreign = others_share(busy, own=cpu, wall=wall)
    del kept  # the last one is freed after the clock has stopped
    return Sample(wall / calls, cpu / calls, foreign, load_average(), calls=calls)


def timed_warm(call: Callable[[], object]) -> Sample:
    """After an untimed call, as many in a row as make up more than `LEAST`.

    The untimed one warms the caches, and whoever ran before may stop spinning.
    """
    once = timed(call).wall_s
    return timed(call, min(MOST_CALLS, math.ceil(1.5 * LEAST / max(once, 1e-6))))


def others_share(busy: float | None, *, own: float, wall: float) -> float | None:
    """`foreign_share` since ``busy`` was read; None for a time too short to tell."""
    return foreign_share(busy, busy_seconds(), own=own, wall=wall) if wall >= LEAST else None


def take_turns(runs: Sequence[tuple[Result, Callable[[], Sample]]], rounds: int) -> None:
    """A sample of each in every round, in a new order every round; who fails takes no more part."""
    for index in range(rounds):
        for result, measure in random.Random(index).sample(list(runs), len(runs)):
            if result.not_run:
                continue
            sample = attempt(result, measure)
            if sample is not None:
                result.samples.append(sample)


def attempt(result: Result, call: Callable[[], T]) -> T | None:
    """What a call returns, or None if it fails; the result notes why."""
    try:
        return call()
    except Exception as error:  # of any kind: the table says which, and the others go on
        result.not_run = reason(error)
    return None


def reason(error: Exception) -> str:
    """An exception in one line for a table."""
    lines = str(error).strip().splitlines()
    # OpenVINO tells first, and on several lines, where in its source it stopped.
    text = [line for line in lines if not line.startswith("Exception from ")] or lines
    if isinstance(error, FailureError):
        return str(error)
    if isinstance(error, ImportError):
        return f"not installed or not loadable: {text[0]}"
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Of one value or more."""
    if len(values) == 1:
        return (values[0],) * 3
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return q1, median, q3


def quiet(samples: Sequence[Sample], quiet_below: float) -> list[float]:
    """Times of the samples during which others used less of the machine than that."""
    return [
        sample.wall_s
        for sample in samples
        if sample.foreign is None or sample.foreign < quiet_below or quiet_below >= 1
    ]


def summarise(results: Sequence[Result], quiet_below: float, base: str | None = None) -> None:
    """Fill in the summaries: of samples with less foreign load than that, two at the least.

    base: name of the peer that speeds are relative to, instead of the fastest.
    """
    for result in results:
        times = quiet(result.samples, quiet_below)
        if len(times) >= 2:
            q1, median, q3 = quartiles(times)
            result.summary = Summary(len(times), median, q1, q3, min(times), max(times))
    peers = [
        result.summary.median_s
        for result in results
        if result.summary
        and not result.ours
        and not result.uncapped
        and base in (None, result.name)
        and (result.max_error is None or result.max_error <= FLOAT32_TOLERANCE)
    ]
    if not peers:
        return
    for result in results:
        if s := result.summary:
            result.summary = Summary(
                s.count, s.median_s, s.q1_s, s.q3_s, s.min_s, s.max_s, min(peers) / s.median_s
            )


def inexact(results: Sequence[Result]) -> list[str]:
    """Which results of ours are not float32 arithmetic; nan is not either."""
    return [
        f"{result.name} is {result.max_error:.1e} away from float64; "
        f"at most {FLOAT32_TOLERANCE:.0e} is float32"
        for result in results
        if result.ours
        and result.max_error is not None
        and not result.max_error <= FLOAT32_TOLERANCE
    ]
