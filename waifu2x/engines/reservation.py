"""Distributes pictures among the devices of an engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from ..errors import DeviceLostError


class Reservable(Protocol):
    """A device; ``lost`` if it cannot be used any more, with so many ``jobs``."""

    lost: bool
    jobs: int


_Device = TypeVar("_Device", bound=Reservable)


@contextmanager
def least_busy(devices: Sequence[_Device], lock: threading.Lock) -> Iterator[_Device]:
    """Reserve the least busy device for a picture. Raises `DeviceLostError` without devices.

    lock: guards the numbers of jobs.
    """
    with lock:
        usable = [device for device in devices if not device.lost]
        if not usable:
            raise DeviceLostError(f"no device is left of {len(devices)}; start the program again")
        device = min(usable, key=lambda each: each.jobs)
        device.jobs += 1
    try:
        yield device
    finally:
        with lock:
            device.jobs -= 1
