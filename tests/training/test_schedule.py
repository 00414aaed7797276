"""The learning rate: warm-up, cosine cycles and warm restarts."""

from __future__ import annotations

import math

import pytest

from waifu2x.training.config import ScheduleConfig
from waifu2x.training.schedule import learning_rate


def test_the_warm_up_is_linear() -> None:
    schedule = ScheduleConfig(rate=1.0, lowest=1.0, warmup=9, cycles=(100,))
    assert [learning_rate(schedule, step) for step in range(12)] == pytest.approx(
        [*(0.1 * count for count in range(1, 11)), 1.0, 1.0]
    )


def test_a_cycle_is_half_a_cosine() -> None:
    schedule = ScheduleConfig(rate=2.0, lowest=0.1, warmup=0, cycles=(8,))
    for step in range(8):
        wanted = 0.2 + 1.8 * (1 + math.cos(math.pi * step / 8)) / 2
        assert learning_rate(schedule, step) == pytest.approx(wanted)


def test_cycles_restart_at_a_decayed_rate() -> None:
    schedule = ScheduleConfig(rate=1.0, lowest=0.0, warmup=0, cycles=(4, 6, 2), decay=0.5)
    found = [learning_rate(schedule, step) for step in range(12)]
    assert (found[0], found[4], found[10]) == (1.0, 0.5, 0.25)
    assert found[2] == pytest.approx(0.5)
    assert found[7] == pytest.approx(0.25)
    assert found[11] == pytest.approx(0.125)
    for first, length in ((0, 4), (4, 6)):
        cycle = found[first : first + length]
        assert cycle == sorted(cycle, reverse=True)


def test_the_rate_never_falls_below_the_lowest() -> None:
    schedule = ScheduleConfig(rate=1.0, lowest=0.4, warmup=0, cycles=(4, 4, 4), decay=0.1)
    found = [learning_rate(schedule, step) for step in range(15)]
    assert min(found) == pytest.approx(0.4)
    assert found[4:] == pytest.approx([0.4] * 11)
