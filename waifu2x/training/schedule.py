"""The learning rate of a step."""

from __future__ import annotations

import math

from .config import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, step: int) -> float:
    """Return the learning rate of ``step``, which counts from 0.

    Source of cosine cycles with warm restarts: I. Loshchilov and F. Hutter
    (https://arxiv.org/abs/1608.03983).
    """
    peak, start = schedule.rate, 0
    for length in schedule.cycles:
        if step < start + length:
            break
        start += length
        peak *= schedule.decay
    else:
        start -= length
        peak /= schedule.decay
    lowest = schedule.rate * schedule.lowest
    progress = min((step - start) / length, 1.0)
    rate = lowest + (max(peak, lowest) - lowest) * 0.5 * (1 + math.cos(math.pi * progress))
    return rate * min(1.0, (step + 1) / (schedule.warmup + 1))
