"""What this process may use of the machine: processors and memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

#: mallopt(3): blocks from this size on are mapped, and unmapped when they are freed.
_M_MMAP_THRESHOLD: Final = -3
_MAPPED: Final = 4 << 20

_CGROUP: Final = Path("/sys/fs/cgroup")


def processors() -> int:
    """How many processors this process may use: what a container or taskset leaves it."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def total_memory() -> int:
    """Bytes of memory that the machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        import psutil

        return int(psutil.virtual_memory().total)


def nvidia_gpus() -> int:
    """How many GPUs the driver of NVIDIA shows this process; 0 without a driver.

    Asked of the driver itself (CUDA Driver API, cuInit and cuDeviceGetCount): importing torch takes
    seconds, and most machines have no such GPU.
    """
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(name)
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def available_memory() -> int:
    """Bytes that can be taken without swapping, within the limit of the container if there is one.

    Control groups: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    import psutil  # for those who work on many files

    available = int(psutil.virtual_memory().available)
    for limit, used in (
        (_CGROUP / "memory.max", _CGROUP / "memory.current"),
        (
            _CGROUP / "memory/memory.limit_in_bytes",
            _CGROUP / "memory/memory.usage_in_bytes",
        ),
    ):
        # Missing files, and the word "max", mean that there is no limit.
        with contextlib.suppress(OSError, ValueError):
            free = int(limit.read_text()) - int(used.read_text()) + _file_cache(limit.parent)
            available = min(available, max(free, 0))
    return available


def resident_memory() -> int:
    """Bytes of this process that are in memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def give_memory_back() -> None:
    """Have large blocks go back to the system when they are freed, in this process from now on.

    glibc keeps freed blocks of up to 32 MiB, for each thread by itself: a batch of cunet then took
    twice what it used. Other C libraries have no such setting, or no such habit.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED)


def _file_cache(group: Path) -> int:
    """Bytes of files that the kernel drops when somebody needs the memory."""
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                return int(value)
    return 0
