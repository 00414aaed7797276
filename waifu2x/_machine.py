"""Processors, GPUs and memory that this process may use."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path
from typing import Final

#: mallopt(3): blocks from this size on are mapped, and unmapped when freed.
_M_MMAP_THRESHOLD: Final = -3
_MAPPED: Final = 4 << 20

_CGROUP: Final = Path("/sys/fs/cgroup")
#: Limit and use of memory of a control group, in version 2 and in version 1.
_MEMORY_FILES: Final = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
_KERNEL: Final = Path("/proc/sys")


def processors() -> int:
    """The number of processors this process may use, within its container or taskset."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def processor_quota() -> float | None:
    """The processors whose time the container may use, or None without a limit.

    Source: cpu.max in Documentation/admin-guide/cgroup-v2.rst of the kernel, and cpu.cfs_quota_us
    in Documentation/scheduler/sched-bwc.rst.
    """
    # A missing file, the word "max" and a quota of -1 mean no limit.
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (_CGROUP / "cpu.max").read_text("ascii").split()
        return int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (
            (_CGROUP / "cpu" / name).read_text("ascii")
            for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
        return int(quota) / int(period) if int(quota) > 0 else None
    return None


def thread_limit() -> int | None:
    """The most threads that this process can ever start, or None if the system has no limit.

    The smallest of the limits of the system, the user and the container (threads-max and
    max_map_count in proc(5), RLIMIT_NPROC in getrlimit(2), pids.max in
    Documentation/admin-guide/cgroup-v2.rst of the kernel). Fewer start if other processes have
    threads, too. A thread takes two memory mappings: its stack, and a guard page.
    """
    limits = []
    for file, of_each in (
        (_KERNEL / "kernel/threads-max", 1),
        (_KERNEL / "kernel/pid_max", 1),
        (_KERNEL / "vm/max_map_count", 2),
        (_CGROUP / "pids.max", 1),
    ):
        with contextlib.suppress(OSError, ValueError):  # not on Linux; the word "max"
            limits.append(int(file.read_text("ascii")) // of_each)
    with contextlib.suppress(ImportError, OSError):  # Windows has no such module
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        if limit != resource.RLIM_INFINITY:
            limits.append(limit)
    return min(limits, default=None)


def total_memory() -> int:
    """Memory of the machine in bytes."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        import psutil

        return int(psutil.virtual_memory().total)


def nvidia_gpus() -> int:
    """The number of NVIDIA GPUs visible to this process; 0 without a driver.

    Calls the CUDA Driver API (cuInit, cuDeviceGetCount): importing torch would take seconds, and
    most machines have no such GPU.
    """
    return _of_driver("cuDeviceGetCount")


def nvidia_driver() -> int:
    """The version of CUDA that the NVIDIA driver supports (cuDriverGetVersion); 0 without one."""
    return _of_driver("cuDriverGetVersion")


def _of_driver(function: str) -> int:
    """Return the number that a function of the CUDA Driver API gives; 0 without a driver."""
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    number = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(name)
        if driver.cuInit(0) or getattr(driver, function)(ctypes.byref(number)):
            return 0
    except (OSError, AttributeError):
        return 0
    return number.value


def available_memory() -> int:
    """Bytes available without swapping, within the limit of the container if any.

    Without /proc, cached files do not count as available.

    Source for control groups: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of
    the kernel.
    """
    try:
        import psutil  # loaded for batches only

        available = int(psutil.virtual_memory().available)
    except Exception:  # psutil raises many errors without /proc
        available = _free_memory()
    for limit, used in ((_CGROUP / limit, _CGROUP / used) for limit, used in _MEMORY_FILES):
        # A missing file, or the word "max", means no limit.
        with contextlib.suppress(OSError, ValueError):
            free = int(limit.read_text()) - int(used.read_text()) + _file_cache(limit.parent)
            available = min(available, max(free, 0))
    return available


def memory_limit() -> int | None:
    """The limit of the container in bytes, or None without one."""
    limits = []
    for name, _ in _MEMORY_FILES:
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((_CGROUP / name).read_text("ascii")))
    return min(limits, default=None)


def _free_memory() -> int:
    """Free memory in bytes; half of the machine's memory if the system does not report any."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return total_memory() // 2


def resident_memory() -> int:
    """Resident memory of this process in bytes; without /proc, the maximum so far."""
    try:
        import psutil

        return int(psutil.Process().memory_info().rss)
    except Exception:  # psutil raises many errors without /proc
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def give_memory_back() -> None:
    """Return large freed blocks to the system from now on.

    glibc keeps freed blocks of up to 32 MiB per thread, which doubled the memory of a cunet batch.
    Other C libraries have no such setting or do not keep blocks.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED)


def _file_cache(group: Path) -> int:
    """Bytes of cached files that the kernel drops when memory is needed."""
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                return int(value)
    return 0
