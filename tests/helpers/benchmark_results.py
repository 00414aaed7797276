"""Benchmark results with given times, for tests."""

from __future__ import annotations

from benchmarks.common.measure import Result, Sample


def make_result(name: str, *times: tuple[float, float], ours: bool = False, error: float = 1e-6):
    """Make a result from pairs of wall time and CPU share of other processes."""
    samples = [Sample(wall, wall, foreign, None) for wall, foreign in times]
    return Result(name, ours, "", max_error=error, samples=samples)
