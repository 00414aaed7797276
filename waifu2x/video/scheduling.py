"""Keeps encoders from changing how the system schedules this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TASKS: Final = Path("/proc/self/task")


@contextlib.contextmanager
def kept_scheduling() -> Iterator[None]:
    """Restore the scheduling policy of this thread, and give it to threads started meanwhile.

    As root, SVT-AV1 makes the thread that opens it, and its own threads, real-time threads of the
    highest priority. Threads and processes that they start inherit that, and all other programs,
    and the callbacks of a run, wait for the networks.
    """
    if not hasattr(os, "sched_getscheduler") or not _TASKS.is_dir():
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = set(_threads())
    try:
        yield
    finally:
        for thread in (0, *(each for each in _threads() if each not in before)):
            with contextlib.suppress(OSError):  # the thread has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)


def _threads() -> Iterator[int]:
    return (int(each.name) for each in _TASKS.iterdir())
